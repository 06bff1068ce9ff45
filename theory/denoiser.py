"""The optimal denoiser of any law, with its score, log-density and posterior covariance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

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
        self.encoding = encoding
        self._spins = encoding.is_spins

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """The posterior mean of the encoded configuration.

        Args:
            y: noisy images (B, C, H, W), or (B, D) where C = 1.
            sigma: noise standard deviation in data units, a number or (B,), positive.

        Returns:
            Like y.

        Raises:
            ValueError: wrong shapes or dtype, or sigma not positive.
        """
        cells, s = self._inputs(y, sigma)
        if self._spins:
            return self.encoding.like(self.law.binary_mean(cells[..., 0] * (2 / s**2)[:, None])[..., None], y)
        marginals = self.law.marginals(self._fields(cells, s)[0])
        return self.encoding.like(marginals @ self.encoding.codes.to(cells), y)

    def score(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """grad_y log p_sigma(y) = (D(y) - y) / sigma^2, like y."""
        _, s = self._inputs(y, sigma)
        return ((self(y, sigma) - y) / s.reshape(-1, *[1] * (y.ndim - 1)) ** 2).to(y.dtype)

    def log_density(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """log p_sigma(y) in nats, the density of y in R^(C D): (B,)."""
        cells, s = self._inputs(y, sigma)
        h, offset = self._fields(cells, s)
        dims = cells.shape[1] * cells.shape[2]
        return self.law.log_partition(h) + offset - dims / 2 * torch.log(2 * math.pi * s**2)

    def posterior_covariance(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Cov[x | y] of the flattened image, sigma^2 times the Jacobian of the denoiser (Miyasawa 1961): (B, n, n).

        n = C * H * W, in the order of ``y.flatten(1)``. Exact, by conditioning on each cell: D * Q marginals.
        """
        cells, s = self._inputs(y, sigma)
        h = self._fields(cells, s)[0]
        codes = self.encoding.codes.to(cells)
        marginals = self.law.marginals(h)
        mean = (marginals @ codes).transpose(1, 2).flatten(1)  # (B, C * D)
        second = torch.einsum("bisju,sc,ud->bcidj", self.law.pair_marginals(h), codes, codes)
        n = mean.shape[1]
        return second.reshape(-1, n, n) - mean[:, :, None] * mean[:, None, :]

    def _inputs(self, y: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
        """Cells (B, D, C), float32 or wider, for half precision does not hold 1 / sigma^2; and sigma (B,) likewise."""
        if not isinstance(y, Tensor) or not y.dtype.is_floating_point:
            raise ValueError(f"y must be a floating-point tensor, got {getattr(y, 'dtype', type(y).__name__)}")
        cells = self.encoding.cells(y)
        cells = cells.to(torch.promote_types(y.dtype, torch.float32))
        s = torch.as_tensor(sigma, dtype=cells.dtype, device=y.device)
        if s.numel() not in (1, len(y)) or s.ndim > max(1, y.ndim):
            raise ValueError(f"sigma must be a number or have shape ({len(y)},), got shape {tuple(s.shape)}")
        if not bool((s > 0).all()) or not bool(s.isfinite().all()):
            raise ValueError("sigma must be positive and finite")
        return cells, s.reshape(-1).expand(len(y))

    def _fields(self, cells: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Fields (B, D, Q) relative to each cell's nearest code, and what they leave out (B,), without cancellation."""
        codes = self.encoding.codes.to(cells)  # (Q, C)
        near = codes[self.encoding.distances(cells).argmin(-1)]  # (B, D, C)
        step = codes - near[..., None, :]  # (B, D, Q, C)
        h = (step * (cells[..., None, :] - near[..., None, :] - step / 2)).sum(-1) / s[:, None, None] ** 2
        return h, -(cells - near).square().sum((1, 2)) / (2 * s**2)
