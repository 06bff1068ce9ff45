"""What a law is for symbols, a density is for numbers: one question, log p_sigma(y) and E[x | y], at every sigma."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .denoiser import OptimalDenoiser


class Posterior(NamedTuple):
    """What noise of a given sigma leaves to know of x, for each y."""

    log_density: Tensor  # (B,), log p_sigma(y) in nats
    mean: Tensor  # like y, E[x | y]


class Density(ABC):
    """A probability density, or a sum of point masses, on arrays of numbers of one shape.

    Attributes:
        shape: of one sample, without the batch.

    A subclass implements `_posterior`, `_covariance_product` and `sample`.
    """

    shape: tuple[int, ...]

    @property
    def dim(self) -> int:
        """n, how many numbers a sample has."""
        return math.prod(self.shape)

    def posterior(self, y: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Posterior:
        """log p_sigma(y) and E[x | y] for y = x + sigma * noise.

        Args:
            y: noisy samples (B, *shape), or (B, n); floating point, finite.
            sigma: noise standard deviation in data units, a number or (B,), positive and finite.
            labels: the class of each y, integers (B,), for a density with classes: the posterior within that class.

        Returns:
            log_density (B,), float64 where y is and float32 elsewhere; mean, like y.

        Raises:
            ValueError: shapes, dtype, sigma or labels that do not fit.
        """
        rows, s = self._inputs(y, sigma)
        log_density, mean = self._posterior(rows, s, self._check_labels(labels, len(y)))
        wide = torch.promote_types(y.dtype, torch.float32)
        return Posterior(log_density.to(wide), mean.to(y.dtype).reshape(y.shape))

    def score(self, y: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """grad_y log p_sigma(y) = (E[x | y] - y) / sigma^2, like y. Arguments as of `posterior`."""
        rows, s = self._inputs(y, sigma)
        mean = self._posterior(rows, s, self._check_labels(labels, len(y)))[1]
        return ((mean - rows) / s[:, None] ** 2).to(y.dtype).reshape(y.shape)

    def covariance_product(self, y: Tensor, sigma: float | Tensor, v: Tensor, labels: Tensor | None = None) -> Tensor:
        """Cov[x | y] v, sigma^2 times the Jacobian of the denoiser applied to v: like y, without the matrix.

        Args:
            y, sigma, labels: as of `posterior`.
            v: a vector for each y, like y.
        """
        rows, s = self._inputs(y, sigma)
        if v.shape != y.shape:
            raise ValueError(f"v must have the shape of y, {tuple(y.shape)}, got {tuple(v.shape)}")
        product = self._covariance_product(rows, s, v.reshape(rows.shape).to(rows), self._check_labels(labels, len(y)))
        return product.to(y.dtype).reshape(y.shape)

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n independent draws, without noise: (n, *shape)."""

    @abstractmethod
    def _posterior(self, y: Tensor, s: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """log p_sigma(y) (B,) and E[x | y] (B, n), float64, for y (B, n) float32 or wider and s (B,) float64."""

    @abstractmethod
    def _covariance_product(self, y: Tensor, s: Tensor, v: Tensor, labels: Tensor | None) -> Tensor:
        """Cov[x | y] v (B, n)."""

    def _check_labels(self, labels: Tensor | None, n: int) -> Tensor | None:
        if labels is not None:
            raise ValueError(f"{type(self).__name__} has no classes; leave labels out")
        return None

    def _inputs(self, y: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
        """y as (B, n), float32 or wider, and sigma as float64 (B,)."""
        if not isinstance(y, Tensor) or not y.dtype.is_floating_point:
            raise ValueError(f"y must be a floating-point tensor, got {getattr(y, 'dtype', type(y).__name__)}")
        if y.ndim < 1 or (tuple(y.shape[1:]) != self.shape and tuple(y.shape[1:]) != (self.dim,)):
            raise ValueError(f"y must have shape (B, {', '.join(map(str, self.shape))}), got {tuple(y.shape)}")
        if not bool(y.detach().isfinite().all()):
            raise ValueError("y must be finite; found NaN or an infinity")
        rows = y.reshape(len(y), self.dim)
        return rows.to(torch.promote_types(y.dtype, torch.float32)), _levels(sigma, len(y), y.device)


class DensityDenoiser(OptimalDenoiser):
    """E[x | y] for y = x + sigma * noise, x drawn from a density; what ``OptimalDenoiser(density)`` returns.

    Args:
        density: `EmpiricalDensity`, `GaussianDensity`, `GaussianMixture`, or a `Density` of your own.

    Raises:
        ValueError: an encoding: numbers need none.
    """

    density: Density

    def __init__(self, density: Density, encoding: None = None) -> None:
        if encoding is not None:
            raise ValueError("a density lives on numbers and takes no encoding; leave encoding out")
        self.density = density

    def __call__(self, y: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """The posterior mean, like y; arguments as of `Density.posterior`."""
        return self.density.posterior(y, sigma, labels).mean

    def score(self, y: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        return self.density.score(y, sigma, labels)

    def log_density(self, y: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        return self.density.posterior(y, sigma, labels).log_density

    def posterior_covariance(self, y: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """Cov[x | y] of ``y.flatten(1)``: (B, n, n), by n products with unit vectors; see `covariance_product`."""
        n, B = self.density.dim, len(y)
        s = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1).expand(B)
        unit = torch.eye(n, dtype=y.dtype, device=y.device)
        rows, levels = y.flatten(1).repeat_interleave(n, 0), s.repeat_interleave(n)
        classes = None if labels is None else labels.repeat_interleave(n)
        return self.density.covariance_product(rows, levels, unit.repeat(B, 1), classes).reshape(B, n, n)


def _levels(sigma: float | Sequence[float] | Tensor, n: int, device: torch.device) -> Tensor:
    s = torch.as_tensor(sigma, dtype=torch.float64, device=device)
    if s.numel() not in (1, n):
        raise ValueError(f"sigma must be a number or have shape ({n},), got shape {tuple(s.shape)}")
    if not bool(((s > 0) & s.isfinite()).all()):
        raise ValueError("sigma must be positive and finite")
    return s.reshape(-1).expand(n)
