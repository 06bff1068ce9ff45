"""Gaussians and their mixtures: densities whose score under noise has a closed form at every sigma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .density import Density
from .rows import BLOCK, Rows

CovarianceKind = Literal["full", "diag", "spherical"]


@dataclass(frozen=True)
class _Spectrum:
    """A covariance: variances along orthonormal directions, and one variance for all directions that are left."""

    directions: Tensor | None  # float64 (n, k); None: the coordinates themselves
    variances: Tensor  # float64 (k,)
    rest: float
    dim: int

    @staticmethod
    def of(covariance: Tensor | float, dim: int) -> _Spectrum:
        """From a matrix (n, n), variances (n,), or one variance ().

        Raises:
            ValueError: another shape, or a covariance that is not finite, symmetric and positive semidefinite.
        """
        c = torch.as_tensor(covariance, dtype=torch.float64).cpu()
        if c.ndim == 0:
            c = c.expand(dim)
        if c.shape not in ((dim,), (dim, dim)) or not bool(c.isfinite().all()):
            raise ValueError(f"a covariance must be finite, ({dim}, {dim}), ({dim},) or a number, got {tuple(c.shape)}")
        directions = None
        if c.ndim == 2:
            if float((c - c.T).abs().max()) > 1e-8 * float(c.abs().max()):
                raise ValueError("a covariance matrix must be symmetric; give (C + C.T) / 2")
            c, directions = torch.linalg.eigh((c + c.T) / 2)
        if float(c.min()) < -1e-8 * float(c.abs().max()):
            raise ValueError(f"a covariance must have no negative variance, got {float(c.min()):.3g}")
        return _Spectrum(directions, c.clamp_min(0), 0.0, dim)

    def to(self, like: Tensor) -> _Spectrum:
        directions = None if self.directions is None else self.directions.to(like)
        return _Spectrum(directions, self.variances.to(like), self.rest, self.dim)

    def scaled(self, v: Tensor, gain: Tensor, rest: Tensor) -> Tensor:
        """v (B, n) times a gain (B, k) along the directions, and rest (B,) elsewhere."""
        if self.directions is None:
            return gain * v
        along = v @ self.directions
        if self.directions.shape[1] == self.dim:
            return (gain * along) @ self.directions.T
        return rest[:, None] * v + ((gain - rest[:, None]) * along) @ self.directions.T

    def seen(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Variances under noise: (B, k) along the directions and (B,) elsewhere."""
        return self.variances + s[:, None] ** 2, self.rest + s**2

    def root(self, noise: Tensor) -> Tensor:
        """Standard normal draws (N, n) as draws of this covariance."""
        return self.scaled(noise, self.variances.sqrt().expand(len(noise), -1), noise.new_full((1,), self.rest).sqrt())


class GaussianDensity(Density):
    """A normal density; its score under noise is linear: E[x | y] = m + C (C + sigma^2)^-1 (y - m).

    Args:
        mean: (...), whose shape is that of a sample.
        covariance: of the flattened sample, (n, n); or its diagonal (n,); or one variance.

    Raises:
        ValueError: shapes that do not fit, or a covariance that is not positive semidefinite.
    """

    def __init__(self, mean: Tensor, covariance: Tensor | float | _Spectrum) -> None:
        mean = torch.as_tensor(mean, dtype=torch.float64).cpu()
        if not mean.numel() or not bool(mean.isfinite().all()):
            raise ValueError(f"mean must be finite, with at least one number, got shape {tuple(mean.shape)}")
        self.shape = tuple(mean.shape)
        self.mean = mean.flatten()
        self._spectrum = covariance if isinstance(covariance, _Spectrum) else _Spectrum.of(covariance, self.dim)

    @classmethod
    def fit(cls, x: Any, rank: int | None = None) -> GaussianDensity:
        """The maximum-likelihood normal density of data: their mean and covariance (with 1 / N).

        Args:
            x: the data (N, ...), as of `EmpiricalDensity`; read in blocks.
            rank: keep so many leading directions, and the mean variance of the others in all of them, which is the
                maximum-likelihood probabilistic PCA (Tipping and Bishop, 1999); by default all.

        Raises:
            ValueError: data that do not fit, or a rank outside 1..n-1.
        """
        rows = Rows(x)
        mean, covariance = _moments(rows)
        return cls(mean.reshape(rows.shape), covariance if rank is None else _leading(covariance, rank))

    def moved(self, scale: float, shift: float) -> GaussianDensity:
        """The density of scale * x + shift."""
        s = self._spectrum
        wide = _Spectrum(s.directions, s.variances * scale**2, s.rest * scale**2, s.dim)
        return GaussianDensity((self.mean * scale + shift).reshape(self.shape), wide)

    @property
    def covariance(self) -> Tensor:
        """Of the flattened sample, float64 (n, n)."""
        unit = torch.eye(self.dim, dtype=torch.float64)
        variances = self._spectrum.variances.expand(self.dim, -1)
        return self._spectrum.scaled(unit, variances, unit.new_full((self.dim,), self._spectrum.rest))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(n, self.dim, generator=generator, dtype=torch.float64)
        return (self.mean + self._spectrum.root(noise)).reshape(n, *self.shape)

    def _posterior(self, y: Tensor, s: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        y, spectrum, mean = self._wide(y)
        variances, rest = spectrum.seen(s)
        off = y - mean
        precise = spectrum.scaled(off, 1 / variances, 1 / rest)
        others = self.dim - variances.shape[1]
        volume = variances.log().sum(1) + others * rest.log() + self.dim * math.log(2 * math.pi)
        signal = spectrum.scaled(off, spectrum.variances / variances, spectrum.rest / rest)
        return -(off * precise).sum(1) / 2 - volume / 2, mean + signal

    def _covariance_product(self, y: Tensor, s: Tensor, v: Tensor, labels: Tensor | None) -> Tensor:
        v, spectrum, _ = self._wide(v)
        variances, rest = spectrum.seen(s)
        left = s[:, None] ** 2 / variances * spectrum.variances
        return spectrum.scaled(v, left, s**2 / rest * spectrum.rest)

    def _wide(self, y: Tensor) -> tuple[Tensor, _Spectrum, Tensor]:
        y = y.double()
        return y, self._spectrum.to(y), self.mean.to(y)


class GaussianMixture(Density):
    """A mixture of normal densities, with the closed-form score of Eq. 3 of Bonnaire et al. (2025) at every sigma.

    Args:
        weights: (K,), positive; scaled to sum to 1.
        means: (K, ...), each of the shape of a sample.
        covariances: for each component one of the forms of `GaussianDensity`: (K, n, n), (K, n) or (K,).

    Raises:
        ValueError: shapes that do not fit, weights that are not positive, or covariances that are not positive
            semidefinite.
    """

    def __init__(self, weights: Tensor | Sequence[float], means: Tensor, covariances: Tensor | Sequence[Any]) -> None:
        w = torch.as_tensor(weights, dtype=torch.float64).cpu()
        means = torch.as_tensor(means, dtype=torch.float64)
        if w.ndim != 1 or not len(w) or not bool(((w > 0) & w.isfinite()).all()):
            raise ValueError(f"weights must be positive numbers (K,), got shape {tuple(w.shape)}")
        if means.ndim < 1 or not len(w) == len(means) == len(covariances):
            raise ValueError(
                f"means and covariances must hold one for each of {len(w)} weights, got {tuple(means.shape)} and "
                f"{len(covariances)} covariances"
            )
        self.weights = w / w.sum()
        self.components = [GaussianDensity(m, c) for m, c in zip(means, covariances, strict=True)]
        self.shape = self.components[0].shape

    @classmethod
    def fit(
        cls,
        x: Any,
        n_components: int,
        covariance: CovarianceKind = "full",
        rank: int | None = None,
        seed: int = 0,
    ) -> GaussianMixture:
        """A mixture fitted by expectation maximisation, with scikit-learn (extra ``data``).

        Args:
            x: the data (N, ...), as of `EmpiricalDensity`.
            n_components: K, at least 1 and at most N.
            covariance: of a component: ``"full"``, ``"diag"``, or ``"spherical"``.
            rank: fit the mixture along so many leading directions of the data; in the others all components share the
                data's mean and mean variance. By default all directions.
            seed: of the first guess.

        Raises:
            ValueError: data, a number of components, a kind or a rank that do not fit.
            ImportError: no scikit-learn.
        """
        rows = Rows(x)
        if not 1 <= n_components <= rows.n:
            raise ValueError(f"n_components must lie in 1..{rows.n}, the number of samples, got {n_components}")
        if covariance not in ("full", "diag", "spherical"):
            raise ValueError(f"covariance must be 'full', 'diag' or 'spherical', got {covariance!r}")
        try:
            from sklearn.mixture import GaussianMixture as Fitted
        except ImportError as missing:
            raise ImportError("a mixture is fitted by scikit-learn: pip install 'twoclocks[data]'") from missing
        mean, frame = rows.centre, None
        if rank is not None:
            mean, moments = _moments(rows)
            frame = _leading(moments, rank)
        parts = []
        for first in range(0, rows.n, step := max(1, BLOCK // rows.dim)):
            part = rows.read(slice(first, first + step)).cpu().double() - mean
            parts.append(part if frame is None or frame.directions is None else part @ frame.directions)
        points = torch.cat(parts)
        scale = float(points.square().mean().sqrt()) or 1.0  # its floor on variances, 1e-6, is in units of the data
        fitted = Fitted(n_components, covariance_type=covariance, random_state=seed).fit((points / scale).numpy())
        means = torch.from_numpy(fitted.means_) * scale
        covariances: list[Any] = [torch.as_tensor(c) * scale**2 for c in fitted.covariances_]
        if frame is not None and frame.directions is not None:
            inner = [_Spectrum.of(c, len(frame.variances)) for c in covariances]
            covariances = [
                _Spectrum(
                    frame.directions if c.directions is None else frame.directions @ c.directions,
                    c.variances, frame.rest, rows.dim,
                )
                for c in inner
            ]  # fmt: skip
            means = means @ frame.directions.T
        return cls(torch.from_numpy(fitted.weights_), (means + mean).reshape(-1, *rows.shape), covariances)

    def moved(self, scale: float, shift: float) -> GaussianMixture:
        """The density of scale * x + shift."""
        parts = [c.moved(scale, shift) for c in self.components]
        means = torch.stack([c.mean.reshape(c.shape) for c in parts])
        return GaussianMixture(self.weights, means, [c._spectrum for c in parts])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        of = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        x = torch.zeros(n, *self.shape, dtype=torch.float64)
        for k, component in enumerate(self.components):
            x[of == k] = component.sample(int((of == k).sum()), generator)
        return x

    def _posterior(self, y: Tensor, s: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        step = max(1, BLOCK // (len(self.components) * self.dim))
        logs, mean = [], []
        for low in range(0, max(1, len(y)), step):
            log_density, shares, means = self._parts(y[low : low + step], s[low : low + step])
            logs.append(log_density)
            mean.append(torch.einsum("bk,bkn->bn", shares, means))
        return torch.cat(logs), torch.cat(mean)

    def _covariance_product(self, y: Tensor, s: Tensor, v: Tensor, labels: Tensor | None) -> Tensor:
        _, shares, means = self._parts(y, s)
        off = means - torch.einsum("bk,bkn->bn", shares, means)[:, None]  # (B, K, n)
        within = torch.stack([c._covariance_product(y, s, v, None) for c in self.components], 1)
        between = torch.einsum("bkn,bn->bk", off, v.double())[..., None] * off
        return torch.einsum("bk,bkn->bn", shares, within + between)

    def _parts(self, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p_sigma(y) (B,); of each component its posterior weight (B, K) and posterior mean (B, K, n)."""
        logs, means = zip(*(c._posterior(y, s, None) for c in self.components), strict=True)
        weighted = torch.stack(logs, 1) + self.weights.to(s).log()
        return weighted.logsumexp(1), weighted.softmax(1), torch.stack(means, 1)


def _moments(rows: Rows) -> tuple[Tensor, Tensor]:
    """Mean (n,) and covariance (n, n) of data, float64, a block at a time."""
    total, shift = torch.zeros(rows.dim, rows.dim, dtype=torch.float64), torch.zeros(rows.dim, dtype=torch.float64)
    for block in rows.blocks(torch.float64, torch.device("cpu"), max(1, BLOCK // rows.dim)):
        total.addmm_(block.x.T, block.x)
        shift += block.x.sum(0)
    shift /= rows.n  # the centre of bytes is rounded
    return rows.centre + shift, total / rows.n - torch.outer(shift, shift)


def _leading(covariance: Tensor, rank: int) -> _Spectrum:
    n = len(covariance)
    if not 1 <= rank < n:
        raise ValueError(f"rank must lie in 1..{n - 1}, below the numbers of a sample, got {rank}")
    variances, directions = torch.linalg.eigh(covariance)
    variances = variances.clamp_min(0)
    return _Spectrum(directions[:, -rank:].contiguous(), variances[-rank:], float(variances[:-rank].mean()), n)
