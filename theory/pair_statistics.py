"""Single-cell and pair statistics of symbol grids, and the coefficients at which a support shows given ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from .halves import Block


class PairStatistics:
    """The statistics of a grid: Q - 1 contrasts of each cell, and their products over each pair of cells.

    Contrasts are orthonormal under a uniform symbol: for Q = 2 they are -1 and +1. With independent uniform cells each
    statistic has mean 0 and variance 1. As a vector: the D (Q - 1) contrasts, then the products, row by row.

    Args:
        alphabet: Q.
        blocks: the support, from `halves`.
        log_weights: of the upper halves of each block, float64 (a,): how many grids each of them stands for, in logs;
            by default one.
    """

    CHUNK = 2**19  # energies held at once

    def __init__(self, alphabet: int, blocks: Sequence[Block], log_weights: Sequence[Tensor] | None = None) -> None:
        self.contrasts = contrasts(alphabet)
        self.parts = [(self.code(block.upper), self.code(block.lower)) for block in blocks]
        self.log_weights = log_weights
        self.cut = self.parts[0][0].shape[1]
        self.n_single = self.cut + self.parts[0][1].shape[1]
        cell = torch.arange(self.n_single) // (alphabet - 1)
        self.pairs = (cell[:, None] < cell).nonzero(as_tuple=True)

    def code(self, x: Tensor) -> Tensor:
        """Contrasts (n, cells * (Q - 1)) of symbols (n, cells)."""
        return self.contrasts[x.long()].flatten(1)

    def pack(self, single: Tensor, pair: Tensor) -> Tensor:
        """One vector of values for single contrasts (n_single,) and for pairs (n_single, n_single)."""
        return torch.cat([single, pair[self.pairs]])

    def unpack(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `pack`; the pairs symmetric, zero within a cell."""
        pair = vector.new_zeros(self.n_single, self.n_single)
        pair[self.pairs] = vector[self.n_single :]
        return vector[: self.n_single], pair + pair.T

    def mean(self, x: Tensor) -> Tensor:
        """The statistics of samples (N, D), averaged."""
        phi = self.code(x)
        return self.pack(phi.mean(0), phi.T @ phi / len(phi))

    def energy(self, theta: Tensor, phi: Tensor) -> Tensor:
        """theta . statistics (n,) of coded grids (n, n_single)."""
        single, pair = self.unpack(theta)
        return phi @ single + (phi @ pair * phi).sum(1) / 2

    def energies(
        self, coefficients: tuple[Tensor, Tensor], part: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The energies of a block's halves, upper (a,) and lower (b,), and the factor (a, k) of those across the cut.

        Args:
            coefficients: theta, unpacked.
            part: codes of the upper halves (a, cut) and of the lower ones (b, k).

        Returns:
            theta . statistics of grid (i, j) is upper[i] + lower[j] + across[i] . part[1][j].
        """
        (single, pair), (upper, lower), cut = coefficients, part, self.cut
        of_upper = upper @ single[:cut] + (upper @ pair[:cut, :cut] * upper).sum(1) / 2
        of_lower = lower @ single[cut:] + (lower @ pair[cut:, cut:] * lower).sum(1) / 2
        return of_upper, of_lower, upper @ pair[:cut, cut:]

    def expected(self, theta: Tensor) -> tuple[float, Tensor]:
        """log sum_x exp(theta . statistics(x)) over the support, and the mean statistics of that law."""
        log_z, total = -math.inf, torch.zeros(len(theta), dtype=torch.float64)
        for upper, lower, energy in self._chunks(theta, self.log_weights):
            top = float(energy.max())
            weights = energy.sub_(top).exp_()
            log_mass = top + math.log(float(weights.sum()))
            both = np.logaddexp(log_z, log_mass)
            total = total * math.exp(log_z - both) + self._sums(weights, upper, lower) * math.exp(top - both)
            log_z = float(both)
        return log_z, total

    def covariance_times(self, theta: Tensor, log_z: float, mean: Tensor, vector: Tensor) -> Tensor:
        """The covariance of the statistics under the law of `theta`, times a vector."""
        total, mass = torch.zeros_like(theta), 0.0
        pairs = zip(self._chunks(theta, self.log_weights), self._chunks(vector, None), strict=True)
        for (upper, lower, energy), (_, _, slope) in pairs:
            weights = energy.sub_(log_z).exp_().mul_(slope)
            total += self._sums(weights, upper, lower)
            mass += float(weights.sum())
        return total - mass * mean

    def _chunks(self, theta: Tensor, log_weights: Sequence[Tensor] | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Upper codes, lower codes, and theta . statistics plus log weights (rows, b) of the grids that they make."""
        coefficients = self.unpack(theta)
        for k, part in enumerate(self.parts):
            of_upper, of_lower, across = self.energies(coefficients, part)
            if log_weights is not None:
                of_upper = of_upper + log_weights[k]
            size = max(1, self.CHUNK // len(of_lower))
            for upper, factor, energy in zip(
                part[0].split(size), across.split(size), of_upper.split(size), strict=True
            ):
                yield upper, part[1], torch.addmm(of_lower, factor, part[1].T).add_(energy[:, None])

    def _sums(self, weights: Tensor, upper: Tensor, lower: Tensor) -> Tensor:
        """Statistics summed over grids with weights (a, b)."""
        by_upper, by_lower = weights.sum(1), weights.sum(0)
        top_left = upper.T @ (by_upper[:, None] * upper)
        bottom_right = lower.T @ (by_lower[:, None] * lower)
        across = upper.T @ (weights @ lower)
        pair = torch.cat([torch.cat([top_left, across], 1), torch.cat([across.T, bottom_right], 1)])
        return self.pack(torch.cat([by_upper @ upper, by_lower @ lower]), pair)


def contrasts(alphabet: int) -> Tensor:
    """Q - 1 orthogonal functions of a symbol, of mean 0 and mean square 1 (Helmert): float64 (Q, Q - 1)."""
    table = torch.zeros(alphabet, alphabet - 1, dtype=torch.float64)
    for k in range(1, alphabet):
        table[:k, k - 1], table[k, k - 1] = -1.0, k
    return table * (alphabet / table.square().sum(0)).sqrt()


def maximise(
    statistics: PairStatistics, wanted: Tensor, ridge: float, tolerance: float = 1e-10
) -> tuple[Tensor, Tensor]:
    """The theta that maximises theta . wanted - log Z(theta) - ridge / 2 |theta|^2, and the mean statistics there.

    Newton's method, each step by conjugate gradients; the objective is strictly concave.

    Args:
        statistics: of the support.
        wanted: their values.
        ridge: positive.
        tolerance: the largest entry of mean - wanted + ridge theta, which is 0 at the maximum.

    Raises:
        ValueError: no convergence, as when a minute ridge lets energies overflow.
    """

    def evaluate(theta: Tensor) -> tuple[float, float, Tensor, Tensor]:
        log_z, mean = statistics.expected(theta)
        value = log_z - float(theta @ wanted) + ridge / 2 * float(theta @ theta)
        return value, log_z, mean, mean - wanted + ridge * theta

    theta = torch.zeros_like(wanted)
    value, log_z, mean, gradient = evaluate(theta)
    for _ in range(100):
        if not float(gradient.abs().max()) > tolerance:  # nan ends the search too
            break
        direction = _newton_direction(statistics, theta, log_z, mean, gradient, ridge)
        slope, step = float(direction @ gradient), 1.0
        ahead = evaluate(theta + direction)
        while not ahead[0] <= value + 1e-4 * step * slope + 1e-13 * max(1.0, abs(value)) and step > 1e-6:
            step /= 2
            ahead = evaluate(theta + step * direction)
        theta = theta + step * direction
        value, log_z, mean, gradient = ahead
    if not float(gradient.abs().max()) <= tolerance:
        raise ValueError(f"the statistics could not be matched with ridge {ridge:g}; give a larger one")
    return theta, mean


def _newton_direction(
    statistics: PairStatistics, theta: Tensor, log_z: float, mean: Tensor, gradient: Tensor, ridge: float
) -> Tensor:
    """Minus the inverse curvature times the gradient, nearly: closer as the gradient shrinks."""

    def curvature(vector: np.ndarray) -> np.ndarray:
        v = torch.from_numpy(vector)
        return (statistics.covariance_times(theta, log_z, mean, v) + ridge * v).numpy()

    operator = LinearOperator((len(theta),) * 2, matvec=curvature, dtype=np.float64)
    nearly = min(0.1, math.sqrt(float(gradient.norm())))
    return torch.from_numpy(cg(operator, -gradient.numpy(), rtol=nearly, maxiter=200)[0])
