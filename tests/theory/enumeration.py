"""The reference that every exact law is held against: sums over an enumerated support, in float64 with numpy.

Supports are listed here from the definition of each rule, without the package.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp


@dataclass(frozen=True)
class Enumeration:
    """A law given by its support.

    Attributes:
        support: (S, D) symbols, rows distinct.
        alphabet: Q.
        log_probs: (S,) log p(x); uniform by default.
    """

    support: np.ndarray
    alphabet: int
    log_probs: np.ndarray | None = None

    @property
    def _log_p(self) -> np.ndarray:
        if self.log_probs is not None:
            return self.log_probs
        return np.full(len(self.support), -np.log(len(self.support)))

    def log_partition(self, h: np.ndarray) -> np.ndarray:
        """(B,) for fields (B, D, Q)."""
        return logsumexp(self._scores(h), axis=1)

    def marginals(self, h: np.ndarray) -> np.ndarray:
        """(B, D, Q) for fields (B, D, Q); zero where they forbid the whole support."""
        return np.einsum("bn,nis->bis", _softmax(self._scores(h)), self._onehot())

    def pair_marginals(self, h: np.ndarray) -> np.ndarray:
        """(B, D, Q, D, Q) for fields (B, D, Q)."""
        onehot = self._onehot()
        flat = onehot.reshape(len(onehot), -1)
        joint = np.stack([(flat * weight[:, None]).T @ flat for weight in _softmax(self._scores(h))])
        return joint.reshape(len(h), *onehot.shape[1:], *onehot.shape[1:])

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """(B,) for symbols (B, D)."""
        match = (x[:, None] == self.support).all(-1)
        return logsumexp(np.where(match, self._log_p, -np.inf), axis=1)

    def next_token_probs(self, x: np.ndarray) -> np.ndarray:
        """(B, D, Q) for symbols (B, D); zero rows for prefixes outside the law."""
        agree = np.ones((len(x), len(self.support)), dtype=bool)
        probs = np.zeros((*x.shape, self.alphabet))
        for t in range(x.shape[1]):
            weight = agree * np.exp(self._log_p)
            for s in range(self.alphabet):
                probs[:, t, s] = weight[:, self.support[:, t] == s].sum(1)
            probs[:, t] /= np.maximum(probs[:, t].sum(1, keepdims=True), 1e-300)
            agree &= x[:, t, None] == self.support[:, t]
        return probs

    def denoiser(self, y: np.ndarray, sigma: float, codes: np.ndarray) -> np.ndarray:
        """Posterior mean (B, C, H, W) of images y (B, C, H, W), for codes (Q, C)."""
        images = self._images(codes)
        return (_softmax(self._log_joint(y, sigma, images)) @ images).reshape(y.shape)

    def log_density(self, y: np.ndarray, sigma: float, codes: np.ndarray) -> np.ndarray:
        """log p_sigma(y) (B,)."""
        images = self._images(codes)
        joint = self._log_joint(y, sigma, images)
        return logsumexp(joint, axis=1) - images.shape[1] / 2 * np.log(2 * np.pi * sigma**2)

    def covariance(self, y: np.ndarray, sigma: float, codes: np.ndarray) -> np.ndarray:
        """Posterior covariance (B, n, n) of the flattened image, n = C * D."""
        images = self._images(codes)
        covariances = []
        for weight in _softmax(self._log_joint(y, sigma, images)):
            centred = images - weight @ images
            covariances.append((centred * weight[:, None]).T @ centred)
        return np.stack(covariances)

    def _scores(self, h: np.ndarray) -> np.ndarray:
        cells = np.arange(self.support.shape[1])
        return np.stack([field[cells, self.support].sum(1) for field in h]) + self._log_p

    def _onehot(self) -> np.ndarray:
        return np.eye(self.alphabet)[self.support]

    def _images(self, codes: np.ndarray) -> np.ndarray:
        return codes[self.support].transpose(0, 2, 1).reshape(len(self.support), -1)  # (S, C * D)

    def _log_joint(self, y: np.ndarray, sigma: float, images: np.ndarray) -> np.ndarray:
        flat = y.reshape(len(y), 1, -1)
        return self._log_p - ((flat - images) ** 2).sum(-1) / (2 * sigma**2)


def _softmax(scores: np.ndarray) -> np.ndarray:
    top = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)


SMALL_SPECS = (
    "parity:2x3,G=3",
    "parity:2x4,G=4",
    "parity:3x3,G=9",
    "exact-k:3x3,K=4",
    "exact-k:2x3,K=0",
    "exact-k:2x3,K=6",
    "row-k:3x4,K=2",
    "row-variable-k:3x3,K=0+1+3",
    "row-variable-k:2x4,K=1+3",
    "global-k:3x3,K=2+5+9",
    "global-k:2x4,K=0+8",
    "permutation:3",
    "permutation:2x4",
    "permutation:1x6",
    "latin:3",
    "latin:4",
    "sudoku:2x2",
)
"""Rules small enough to enumerate, every family among them."""


def enumerate_rule(spec: str) -> Enumeration:
    """The support of a small rule, straight from its definition."""
    name, grid, option = re.fullmatch(r"([a-z-]+):([0-9x]+)(?:,[GK]=([0-9+]+))?", spec).groups()
    sides = [int(side) for side in grid.split("x")]
    if name == "permutation":
        height, n = sides if len(sides) == 2 else sides * 2
        return Enumeration(_rows_of_permutations(height, n).reshape(-1, height * n), n)
    if name in ("latin", "sudoku"):
        n = sides[0] if name == "latin" else sides[0] * sides[1]
        grids = _rows_of_permutations(n, n)
        grids = grids[[all(len(set(column)) == n for column in g.T) for g in grids]]
        if name == "sudoku":
            height, width = sides
            corners = list(itertools.product(range(0, n, height), range(0, n, width)))
            grids = grids[
                [all(len(np.unique(g[i : i + height, j : j + width])) == n for i, j in corners) for g in grids]
            ]
        return Enumeration(grids.reshape(-1, n * n), n)
    height, width = sides
    grids = all_grids(height * width, 2)
    numbers = [int(number) for number in option.split("+")]
    if name == "parity":
        keep = (grids.reshape(len(grids), -1, numbers[0]).sum(-1) % 2 == 0).all(1)
    else:
        size = width if name.startswith("row") else height * width
        keep = np.isin(grids.reshape(len(grids), -1, size).sum(-1), numbers).all(1)
    return Enumeration(grids[keep], 2)


def all_grids(dim: int, alphabet: int) -> np.ndarray:
    """(Q^D, D): every configuration, in lexicographic order."""
    return np.stack(np.unravel_index(np.arange(alphabet**dim), [alphabet] * dim), -1)


def _rows_of_permutations(height: int, n: int) -> np.ndarray:
    rows = np.array(list(itertools.permutations(range(n))))
    return rows[all_grids(height, len(rows))]  # (n!^height, height, n)


def random_fields(shape: tuple[int, ...], scale: float, blocked: float, seed: int) -> torch.Tensor:
    """Gaussian fields of some scale, clipped at 1e3, a share of them -inf: float64."""
    rng = np.random.default_rng(seed)
    h = np.clip(scale * rng.standard_normal(shape), -1e3, 1e3)
    return torch.from_numpy(np.where(rng.random(shape) < blocked, -np.inf, h))
