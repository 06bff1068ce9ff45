"""Covariates in two parts, so that a thousand groups cost no more than their runs: each group's own, and shared ones.

The matrix sum_i w_i d_i d_i^T of such covariates is an arrow: a small block for each group, and a border that the
groups share. Sums, products and solutions below never hold the zeros between the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

Array = np.ndarray

_DENSE_COLUMNS = 16
_DENSE_NUMBERS = 4_000_000  # products of columns held at once


@dataclass(frozen=True, eq=False)
class Design:
    """Covariates of n runs; coefficients in the order: each own covariate over all groups, then the shared ones.

    Attributes:
        group: each run's group (n,), 0..n_groups-1.
        n_groups: G.
        own: covariates (n, k) with a coefficient for each group.
        shared: covariates (n, m) with one coefficient.
    """

    group: Array
    n_groups: int
    own: Array
    shared: Array

    @staticmethod
    def of(group: Array, own: Array, shared: Array) -> Design:
        """The design with an own part, or all of it as shared columns where these are few: then products are faster."""
        design = Design(group, int(group.max(initial=-1)) + 1, own, shared)
        p = design.shape[1]
        small = p <= _DENSE_COLUMNS and len(group) * p * p <= _DENSE_NUMBERS
        return Design.dense(np.asarray(design)) if small else design

    @staticmethod
    def dense(columns: Array) -> Design:
        """Columns (n, m), all shared."""
        n = len(columns)
        return Design(np.zeros(n, dtype=int), 0, np.empty((n, 0)), np.asarray(columns, dtype=float))

    @property
    def shape(self) -> tuple[int, int]:
        """Runs n and coefficients p = G k + m."""
        return len(self.group), self.n_groups * self.own.shape[1] + self.shared.shape[1]

    def __len__(self) -> int:
        return len(self.group)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> Array:
        """All columns (n, p)."""
        n, k = self.own.shape
        columns = np.zeros((n, k, self.n_groups))
        if k:
            columns[np.arange(n), :, self.group] = self.own
        return np.column_stack([columns.reshape(n, -1), self.shared])

    def __getitem__(self, index: Array) -> Design:
        """The same covariates of some runs."""
        return Design(self.group[index], self.n_groups, self.own[index], self.shared[index])

    def without(self, column: int) -> Design:
        """The design with one coefficient's covariate set to 0, so that it says nothing."""
        own, shared = self.own.copy(), self.shared.copy()
        which, group = divmod(column, self.n_groups) if self.n_groups else (0, 0)
        if which < own.shape[1] and self.n_groups:
            own[self.group == group, which] = 0.0
        else:
            shared[:, column - own.shape[1] * self.n_groups] = 0.0
        return Design(self.group, self.n_groups, own, shared)

    def column(self, column: int) -> Array:
        """One coefficient's covariate (n,)."""
        which, group = divmod(column, self.n_groups) if self.n_groups else (0, 0)
        if which < self.own.shape[1] and self.n_groups:
            return np.where(self.group == group, self.own[:, which], 0.0)
        return self.shared[:, column - self.own.shape[1] * self.n_groups]

    def times(self, coefficients: Array) -> Array:
        """Each run's covariates . coefficients: (B, p) to (B, n)."""
        B, k = len(coefficients), self.own.shape[1]
        split = k * self.n_groups
        product = coefficients[:, split:] @ self.shared.T
        if k:
            own = coefficients[:, :split].reshape(B, k, self.n_groups)
            for j in range(k):
                product += own[:, j, self.group] * self.own[:, j]
        return product

    def sums(self, values: Array) -> Array:
        """Values times covariates, summed over runs: (B, n) to (B, p)."""
        parts = [self._by_group(values * column) for column in self.own.T]
        return np.concatenate([*parts, values @ self.shared], axis=1)

    def arrow(self, squares: Array, cross: Array, corner: Array) -> Arrow:
        """The symmetric matrices sum_i squares_i d_i d_i^T, bordered by sum_i cross_i d_i and a corner.

        Args:
            squares, cross: (B, n).
            corner: (B,).
        """
        B, k, m = len(squares), self.own.shape[1], self.shared.shape[1]
        blocks = np.empty((B, self.n_groups, k, k))
        border = np.empty((B, self.n_groups, k, m + 1))
        for i in range(k):
            for j in range(i + 1):
                blocks[..., i, j] = blocks[..., j, i] = self._by_group(squares * (self.own[:, i] * self.own[:, j]))
            for j in range(m):
                border[..., i, j] = self._by_group(squares * (self.own[:, i] * self.shared[:, j]))
            border[..., i, m] = self._by_group(cross * self.own[:, i])
        full = np.empty((B, m + 1, m + 1))
        full[:, :m, :m] = self._squares(squares)
        full[:, :m, m] = full[:, m, :m] = cross @ self.shared
        full[:, m, m] = corner
        return Arrow(blocks, border, full)

    def gram(self) -> Arrow:
        """The matrix sum_i d_i d_i^T (1, p, p)."""
        ones = np.ones((1, len(self)))
        return self.arrow(ones, ones, np.ones(1)).without_last()

    def full_rank(self, mask: Array) -> bool:
        """Whether the runs of a mask (n,) tell every coefficient from the others."""
        kept = self[mask]
        if not len(kept):
            return False
        shared = kept.shared
        if kept.n_groups:
            scale = np.sqrt((kept.own**2).mean(0)) + 1e-300
            own = kept.own / scale
            blocks = np.stack(
                [np.stack([kept._by_group((a * b)[None])[0] for b in own.T], -1) for a in own.T], -2
            )  # (G, k, k)
            widths = np.linalg.eigvalsh(blocks)
            if (widths[:, 0] <= 1e-11 * widths[:, -1]).any():
                return False
            right = np.stack(
                [np.stack([kept._by_group((a * b)[None])[0] for b in shared.T], -1) for a in own.T], -2
            ) if shared.shape[1] else np.empty((kept.n_groups, own.shape[1], 0))  # fmt: skip
            shared = shared - np.einsum("ik,ikm->im", own, np.linalg.solve(blocks, right)[kept.group])
        if not shared.shape[1]:
            return True
        scale = np.sqrt((kept.shared**2).sum(0)) + 1e-300
        return int(np.linalg.matrix_rank(shared / scale, tol=1e-8)) == shared.shape[1]

    def _by_group(self, values: Array) -> Array:
        """Sums over the runs of each group: (B, n) to (B, G)."""
        if len(values) == 1:
            return np.bincount(self.group, weights=values[0], minlength=self.n_groups)[None]
        return (self._members @ values.T).T

    @cached_property
    def _members(self) -> sparse.csr_array:
        n = len(self.group)
        return sparse.csr_array((np.ones(n), (self.group, np.arange(n))), shape=(self.n_groups, n))

    @cached_property
    def _outer(self) -> Array | None:
        """(n, m^2) products of shared columns, where they are few enough to be held."""
        n, m = self.shared.shape
        if n * m * m > _DENSE_NUMBERS:
            return None
        return (self.shared[:, :, None] * self.shared[:, None, :]).reshape(n, m * m)

    def _squares(self, weights: Array) -> Array:
        B, m = len(weights), self.shared.shape[1]
        if self._outer is not None:
            return (weights @ self._outer).reshape(B, m, m)
        return np.stack([(self.shared * row[:, None]).T @ self.shared for row in weights])


@dataclass(frozen=True, eq=False)
class Arrow:
    """Symmetric matrices (B, q, q) with blocks (B, G, k, k) on the diagonal and a border that all blocks share.

    A vector (B, q) holds each of the k own entries over all G groups, then the M entries of the border.

    Attributes:
        blocks: (B, G, k, k).
        border: (B, G, k, M), beside the blocks.
        corner: (B, M, M).
    """

    blocks: Array
    border: Array
    corner: Array

    def __neg__(self) -> Arrow:
        return Arrow(-self.blocks, -self.border, -self.corner)

    def __getitem__(self, chosen: Array) -> Arrow:
        """The matrices of some resamples."""
        return Arrow(self.blocks[chosen], self.border[chosen], self.corner[chosen])

    def largest(self) -> Array:
        """The largest diagonal entry (B,)."""
        B = len(self.corner)
        own, shared = np.einsum("bgii->bgi", self.blocks), np.einsum("bii->bi", self.corner)
        return np.concatenate([own.reshape(B, own.shape[1] * own.shape[2]), shared], axis=1).max(1)

    def raised(self, by: Array) -> Arrow:
        """The matrices with (B,) added to their diagonals."""
        k, M = self.blocks.shape[-1], self.corner.shape[-1]
        return Arrow(
            self.blocks + by[:, None, None, None] * np.eye(k), self.border, self.corner + by[:, None, None] * np.eye(M)
        )

    def without_last(self) -> Arrow:
        """The matrices less their last row and column."""
        return Arrow(self.blocks, self.border[..., :-1], self.corner[:, :-1, :-1])

    def last(self) -> Array:
        """The last column less its last entry (B, q - 1)."""
        B, G, k, _ = self.border.shape
        own = self.border[..., -1].transpose(0, 2, 1).reshape(B, k * G)
        return np.concatenate([own, self.corner[:, :-1, -1]], axis=1)

    def solve(self, right: Array) -> Array:
        """x (B, q) with matrix x = right, by elimination of the blocks."""
        B, G, k, M = self.border.shape
        if not k * G:
            return np.linalg.solve(self.corner, right[..., None])[..., 0] if M else right
        own = right[:, : k * G].reshape(B, k, G).transpose(0, 2, 1)[..., None]  # (B, G, k, 1)
        both = np.linalg.solve(self.blocks, np.concatenate([self.border, own], axis=-1))
        inner, own = both[..., :M], both[..., M:]
        x = np.empty((B, M))
        if M:
            turned = self.border.swapaxes(-1, -2)
            complement = self.corner - (turned @ inner).sum(1)
            x = np.linalg.solve(complement, right[:, k * G :, None] - (turned @ own).sum(1))[..., 0]
        left = own[..., 0] - (inner @ x[:, None, :, None])[..., 0]
        return np.concatenate([left.transpose(0, 2, 1).reshape(B, k * G), x], axis=1)

    def inverse_diagonal(self) -> Array:
        """The diagonal (B, q) of the inverse matrices."""
        B, G, k, _ = self.border.shape
        inverse = np.linalg.inv(self.blocks)
        inner = inverse @ self.border  # (B, G, k, M)
        complement = np.linalg.inv(self.corner - (self.border.swapaxes(-1, -2) @ inner).sum(1))
        own = np.einsum("bgii->bgi", inverse) + ((inner @ complement[:, None]) * inner).sum(-1)
        shared = np.einsum("bii->bi", complement)
        return np.concatenate([own.transpose(0, 2, 1).reshape(B, k * G), shared], axis=1)

    def dense(self) -> Array:
        """The matrices in full (B, q, q)."""
        B, G, k, M = self.border.shape
        full = np.zeros((B, k * G + M, k * G + M))
        at = np.arange(G)
        for i in range(k):
            for j in range(k):
                full[:, i * G + at, j * G + at] = self.blocks[..., i, j]
            full[:, i * G : (i + 1) * G, k * G :] = self.border[:, :, i]
            full[:, k * G :, i * G : (i + 1) * G] = self.border[:, :, i].swapaxes(1, 2)
        full[:, k * G :, k * G :] = self.corner
        return full
