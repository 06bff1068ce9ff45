"""What training can be measured against: Bayes-optimal loss curves, the rule gap, and the loss floors of a GPT."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .arguments import whole_number
from .checks import count_text
from .denoiser import OptimalDenoiser
from .dsm import check_sigmas, dsm_loss
from .empirical import EmpiricalLaw
from .encodings import Encoding
from .law import Law, Rule
from .product import ProductLaw


class Estimate(NamedTuple):
    """A Monte Carlo estimate at each sigma, with its standard error."""

    value: Tensor  # float64 (n_sigmas,)
    standard_error: Tensor  # float64 (n_sigmas,)


def bayes_curves(
    law: Law,
    splits: Mapping[str, Tensor],
    sigmas: Sequence[float] | Tensor,
    encoding: Encoding | None = None,
    n_noise: int = 1,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """The denoising loss of a law's optimal denoiser on each split: the references of Fig. 13-15, with no training.

    Args:
        law: a `Rule` (the optimum of rule learning), `EmpiricalLaw` (of memorization), or any other `Law`.
        splits: clean symbols (N, D) by name, such as train, held-out valid, and random cube samples.
        sigmas: noise standard deviations, in data units.
        encoding: how symbols become images; by default pm1 for two symbols, onehot above.
        n_noise: noise draws for each sample and sigma.
        generator: source of the noise. Every split starts from its present state, so equal splits give equal curves;
            by default seeded with 0.

    Returns:
        For each split, float64 (len(sigmas),): mean squared error per dimension; see `dsm_loss`.

    Raises:
        ValueError: symbols, encoding or sigmas that do not fit.
    """
    denoiser = OptimalDenoiser(law, encoding)
    generator = generator or torch.Generator().manual_seed(0)
    start = generator.get_state()
    curves = {}
    for name, x in splits.items():
        law.check_symbols(x, batch=True)
        generator.set_state(start)
        curves[name] = dsm_loss(denoiser, x, sigmas, n_noise=n_noise, generator=generator)
    return curves


def rule_gap(
    law: Law,
    sigmas: Sequence[float] | Tensor,
    encoding: Encoding | None = None,
    n_samples: int = 4096,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How much denoising loss knowing the rule saves, at each sigma: the signal that rule learning must find.

    It is the loss of the best denoiser that treats cells as independent (the product of the rule's single-cell
    marginals) minus that of the rule's own, both on the rule's samples. For group parity at large sigma it falls as
    (1 + sigma^2)^(G-1) / sigma^(4(G-1)), so every further cell of a group makes the rule sigma^2 times fainter.

    Args:
        law: a rule, or any other law.
        sigmas: noise standard deviations, in data units.
        encoding: how symbols become images; by default pm1 for two symbols, onehot above.
        n_samples: configurations drawn, each with one noise shared by all sigmas.
        generator: source of samples and noise; by default seeded with 0.

    Returns:
        float64 (len(sigmas),), mean squared error per dimension, never negative, exact to rounding at about 1e-32;
        `rule_gap_estimate` adds the standard error.

    Raises:
        ValueError: an encoding that does not fit, a sigma that is not positive and finite, or n_samples < 2.
    """
    return rule_gap_estimate(law, sigmas, encoding, n_samples, generator).value


@torch.no_grad()
def rule_gap_estimate(
    law: Law,
    sigmas: Sequence[float] | Tensor,
    encoding: Encoding | None = None,
    n_samples: int = 4096,
    generator: torch.Generator | None = None,
) -> Estimate:
    """`rule_gap` with its standard error; same arguments.

    The rule's denoiser is the posterior mean, so its error is orthogonal to any function of y, and the difference of
    the two losses is E|D_rule(y) - D_product(y)|^2 exactly. We average that: it needs no clean sample beside y, cannot
    be negative, and stays accurate where both losses agree to many digits. At small sigma it lives on rare noise that
    carries one cell half way to another symbol; half of the draws are made so, and weighted for it.
    """
    with_rule, without = OptimalDenoiser(law, encoding), OptimalDenoiser(ProductLaw.of(law), encoding)
    levels = check_sigmas(sigmas)
    draws = _ShiftedDraws(law, with_rule.encoding, n_samples, generator)
    gaps = []
    for sigma in levels.tolist():
        y, weight = draws.at(sigma)
        gaps.append(weight * (with_rule(y, sigma) - without(y, sigma)).square().flatten(1).mean(1))
    return summarise(gaps)


class _ShiftedDraws:
    """Noisy images of a law, half of them with one cell moved half way to another symbol, and importance weights.

    At small sigma two denoisers differ where noise carries a cell to the middle between two codes, which plain draws
    never see. The proposal is p(y | x) / 2 plus half the average, over cells and other symbols, of p(y | x) with its
    mean moved so; no weight exceeds 2. The same draws serve every sigma.
    """

    def __init__(self, law: Law, encoding: Encoding, n_samples: int, generator: torch.Generator | None) -> None:
        n = whole_number("n_samples", n_samples, 2)  # for a standard error
        generator = generator or torch.Generator().manual_seed(0)
        self.encoding, self.x = encoding, law.sample(n, generator)
        self.clean = encoding.encode(self.x, torch.float64)
        self.noise = torch.randn(self.clean.shape, generator=generator, dtype=torch.float64)
        cell = torch.randint(law.dim, (n,), generator=generator)
        other = torch.randint(1, law.alphabet, (n,), generator=generator)
        self.codes = encoding.codes
        row = torch.arange(n)
        symbol = self.x[row, cell]
        shift = (self.codes[(symbol + other) % law.alphabet] - self.codes[symbol]) / 2  # (n, C)
        cells = torch.zeros_like(encoding.cells(self.clean))
        cells[row, cell] = shift * (torch.rand(n, 1, generator=generator, dtype=torch.float64) < 0.5)
        self.shift = encoding.like(cells, self.clean)

    def at(self, sigma: float) -> tuple[Tensor, Tensor]:
        """Images (n, C, H, W), and the weight of each (n,), at a noise level."""
        moved = sigma * self.noise + self.shift
        along = self.encoding.cells(moved) @ self.codes.T  # (n, D, Q)
        along = along - along.gather(-1, self.x[..., None])
        squared = (self.codes[:, None] - self.codes).square().sum(-1)[self.x]  # (n, D, Q)
        ratio = (along / 2 - squared / 8) / sigma**2
        ratio.scatter_(-1, self.x[..., None], -math.inf)  # a shift to the symbol itself is none
        n_shifts = ratio.shape[1] * (ratio.shape[2] - 1)
        shifted = ratio.flatten(1).logsumexp(1) - math.log(n_shifts)
        return self.clean + moved, 2 * torch.sigmoid(-shifted)


class GptFloors(NamedTuple):
    """The lowest next-token losses, in nats per token."""

    population: float  # of the rule, log|S| / D: no model does better on fresh samples
    memorization: float | None  # of the training set, its entropy / D: where training loss ends; None without one


def gpt_floors(law: Law, train: Tensor | int | None = None) -> GptFloors:
    """Where the next-token loss of an autoregressive model ends: at rule learning, and at full memorization.

    Args:
        law: the rule, or any other law, whose samples are modelled, cells in raster order.
        train: training symbols (N, D), repeated rows counted as often as they occur; or an int N, for N distinct
            samples; or None.

    Returns:
        GptFloors(population, memorization), averages over the D tokens in nats.

    Raises:
        ValueError: no training samples, symbols of another shape, or N beyond the support.
    """
    population = law.entropy / law.dim
    if train is None:
        return GptFloors(population, None)
    if isinstance(train, int | np.integer):
        if train < 1 or (isinstance(law, Rule) and train > law.support_size):
            most = f"..{count_text(law.support_size)}" if isinstance(law, Rule) else " or more"
            raise ValueError(f"a training set of distinct samples holds 1{most} of them, got N={train}")
        return GptFloors(population, math.log(train) / law.dim)
    train = law.check_symbols(train, batch=True)
    return GptFloors(population, EmpiricalLaw(train, law.alphabet, law.shape).entropy / law.dim)


def noisy_samples(
    law: Law, encoding: Encoding, n_samples: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Encoded draws of a law and standard normal noise, both float64 (n_samples, C, H, W)."""
    n_samples = whole_number("n_samples", n_samples, 2)  # for a standard error
    generator = generator or torch.Generator().manual_seed(0)
    clean = encoding.encode(law.sample(n_samples, generator), torch.float64)
    return clean, torch.randn(clean.shape, generator=generator, dtype=torch.float64)


def summarise(draws: Sequence[Tensor]) -> Estimate:
    """Mean and standard error of independent draws (n_samples,), one tensor for each sigma."""
    if not draws:
        return Estimate(torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
    stacked = torch.stack(list(draws))
    largest = stacked.abs().amax(1, keepdim=True).clamp_min(torch.finfo(stacked.dtype).tiny)  # squares may underflow
    error = (stacked / largest).std(1) * largest[:, 0] / math.sqrt(stacked.shape[1])
    return Estimate(stacked.mean(1), error)
