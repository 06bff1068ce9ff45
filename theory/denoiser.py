"""The optimal denoiser of any law, with its score, log-density and posterior covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .channels import Gaussian, noise_levels
from .encodings import Encoding, default_encoding
from .law import Law

if TYPE_CHECKING:
    from .density import Density


class OptimalDenoiser:
    """E[x | y] for y = encode(x) + sigma * noise, x drawn from a law: the minimiser of the denoising loss.

    The posterior is the law tilted by the fields h[i, s] = -|y_i - e(s)|^2 / (2 sigma^2), so D(y) is the mean code
    under `law.marginals(h)`. It is called like any EDM network, ``D(y, sigma)``.

    Args:
        law: a `Rule` (population optimum), an `EmpiricalLaw` (memorizing optimum), or any other `Law`; or a density,
            `EmpiricalDensity`, `GaussianDensity`, `GaussianMixture`: then x are numbers, y = x + sigma * noise.
        encoding: how symbols become images; by default pm1 for two symbols, onehot above. None for a density.

    Raises:
        ValueError: an encoding of another alphabet or number of cells.
    """

    def __new__(cls, law: Law | Density | None = None, encoding: Encoding | None = None) -> OptimalDenoiser:
        """Of a density, the `DensityDenoiser`, which answers all the same questions; None when a copy is made."""
        from .density import Density, DensityDenoiser

        return super().__new__(DensityDenoiser if isinstance(law, Density) else cls)

    def __init__(self, law: Law | Density, encoding: Encoding | None = None) -> None:
        assert isinstance(law, Law)  # a density has become a DensityDenoiser
        encoding = encoding or default_encoding(law.shape, law.alphabet)
        if encoding.alphabet != law.alphabet or encoding.dim != law.dim:
            raise ValueError(f"{encoding} does not fit a law of {law.dim} cells and {law.alphabet} symbols")
        self.law = law
        self.channel = Gaussian(encoding)

    @property
    def encoding(self) -> Encoding:
        """How symbols become images."""
        return self.channel.encoding

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """The posterior mean of the encoded configuration.

        Args:
            y: noisy images (B, C, H, W), or (B, D) where C = 1.
            sigma: noise standard deviation in data units, a number or (B,), positive.

        Returns:
            Like y.

        Raises:
            ValueError: wrong shapes or dtype, y not finite, or sigma not positive and finite.
        """
        codes = self.encoding.codes
        if self.law.alphabet == 2:
            mean = self.law.contrast(self.channel.log_odds(y, sigma))[..., None]
            if not self.encoding.is_spins:
                middle, half = ((codes[1] + codes[0]) / 2).to(mean), ((codes[1] - codes[0]) / 2).to(mean)
                mean = middle + half * mean
        else:
            marginals = self.law.marginals(self.channel.fields(y, sigma))
            mean = marginals @ codes.to(marginals)
        return self.encoding.like(mean, y)

    def score(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """grad_y log p_sigma(y) = (D(y) - y) / sigma^2, like y."""
        mean = self(y, sigma)
        s = noise_levels(sigma, len(y), y.device).reshape(-1, *[1] * (y.ndim - 1))
        return ((mean - y) / s / s).to(y.dtype)

    def log_density(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """log p_sigma(y) in nats, the density of y in R^(C D): (B,)."""
        h, offset = self.channel.log_likelihood(y, sigma)
        return (self.law.log_partition(h) + offset).to(torch.promote_types(y.dtype, torch.float32))

    def posterior_covariance(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Cov[x | y] of the flattened image, sigma^2 times the Jacobian of the denoiser (Miyasawa 1961): (B, n, n).

        n = C * H * W, in the order of ``y.flatten(1)``. Exact, by conditioning on each cell: D * Q marginals.
        """
        h = self.channel.fields(y, sigma)
        codes = self.encoding.codes.to(h)
        mean = (self.law.marginals(h) @ codes).transpose(1, 2).flatten(1)  # (B, C * D)
        second = torch.einsum("bisju,sc,ud->bcidj", self.law.pair_marginals(h), codes, codes)
        n = mean.shape[1]
        covariance = second.reshape(-1, n, n) - mean[:, :, None] * mean[:, None, :]
        return covariance.to(torch.promote_types(y.dtype, torch.float32))
