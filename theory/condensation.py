"""The noise level below which a training set looks like separate points: where I(x; y) outgrows log N."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.optimize import brentq
from torch import Tensor

from .arguments import whole_number
from .channels import Gaussian
from .denoiser import OptimalDenoiser
from .dsm import check_sigmas
from .encodings import Encoding
from .law import Law
from .references import Estimate, noisy_samples, summarise

LOWEST_LOG_SIGMA = -12.0  # where the search for sigma_c gives up


@torch.no_grad()
def mutual_information(
    law: Law,
    sigmas: Sequence[float] | Tensor,
    encoding: Encoding | None = None,
    n_samples: int = 4096,
    generator: torch.Generator | None = None,
) -> Estimate:
    """I(x; y) in nats between a configuration of the law and its noisy image y = e(x) + sigma n, at each sigma.

    I = E[log p(y | x) - log p_sigma(y)]. Its average over the posterior of x given y is known exactly: the divergence
    KL(p(x | y) || p(x)) = sum h marginals(h) - log_partition(h), which we average over y. It is never negative, has a
    smaller variance, and with the same draws at every sigma is a smooth curve. The relation
    dI / d(1/sigma^2) = E|x - D(y)|^2 / 2 (Guo, Shamai, Verdu 2005) gives the same curve by integration.

    Args:
        law: a rule, or any other law.
        sigmas: noise standard deviations, in data units.
        encoding: how symbols become images; by default pm1 for two symbols, onehot above.
        n_samples: configurations drawn, each with one noise shared by all sigmas.
        generator: source of samples and noise; by default seeded with 0.

    Returns:
        Estimate(value, standard_error), float64 (len(sigmas),) each; it runs from 0 to `law.entropy` as sigma falls.

    Raises:
        ValueError: an encoding that does not fit, a sigma that is not positive and finite, or n_samples < 2.
    """
    encoding = OptimalDenoiser(law, encoding).encoding  # the same default and checks
    levels = check_sigmas(sigmas)
    clean, noise = noisy_samples(law, encoding, n_samples, generator)
    return summarise([_divergence(law, encoding, clean + sigma * noise, sigma) for sigma in levels.tolist()])


@torch.no_grad()
def condensation_sigma(
    law: Law,
    n_train: int,
    encoding: Encoding | None = None,
    n_samples: int = 4096,
    generator: torch.Generator | None = None,
) -> float:
    """The noise level sigma_c(N) at which a noisy image tells its configuration from N others: I(x; y) = log N.

    Below it the posterior under N training samples condenses on a single one, and the optimal denoisers of training
    set and population part: the predicted place of the train / held-out gap of Fig. 15 (cf. the collapse time of
    Biroli et al., 2024, and the random energy model behind it).

    Args:
        law: the rule, or any other law, that training samples are drawn from.
        n_train: N, the number of distinct training samples.
        encoding: how symbols become images; by default pm1 for two symbols, onehot above.
        n_samples: configurations drawn for the Monte Carlo average, the same at every sigma. The error of the result
            is about the standard error of `mutual_information` over the slope of I in log sigma: below 1 % at the
            default on binary 6x6 rules. Lower it for rules whose marginals are expensive: 16 draws take about a minute
            on 6x6 Latin squares and leave an error of a few percent.
        generator: source of samples and noise; by default seeded with 0.

    Returns:
        sigma, in data units.

    Raises:
        ValueError: N not a whole number, or below 2, where log N is reached only as sigma grows without bound; or N at
            or beyond the size of the support, where it is never reached, as I(x; y) stays below the law's entropy.
    """
    n_train = whole_number("n_train", n_train, 2)  # a single sample has no scale to tell apart
    target = math.log(n_train)
    if target >= law.entropy:
        raise ValueError(
            f"n_train={n_train} must be below exp({law.entropy:.6g}), the exponential of the law's entropy: "
            "I(x; y) saturates there and never reaches log N"
        )
    encoding = OptimalDenoiser(law, encoding).encoding
    clean, noise = noisy_samples(law, encoding, n_samples, generator)

    def excess(log_sigma: float) -> float:
        sigma = math.exp(log_sigma)
        return float(_divergence(law, encoding, clean + sigma * noise, sigma).mean()) - target

    low = high = 0.0
    while excess(low) <= 0:
        low -= 1.0
        if low < LOWEST_LOG_SIGMA:
            raise ValueError(f"n_train={n_train} is too close to the size of the support for {n_samples} draws to tell")
    while excess(high) > 0:
        high += 1.0
    return math.exp(brentq(excess, low, high, xtol=1e-5))


def _divergence(law: Law, encoding: Encoding, y: Tensor, sigma: float) -> Tensor:
    """KL(p(x | y) || p(x)) in nats for images y: (B,)."""
    h = Gaussian(encoding).fields(y, sigma)
    log_z, marginals = law.posterior(h)  # both in one pass: this is all the cost
    return (h * marginals).sum((1, 2)) - log_z
