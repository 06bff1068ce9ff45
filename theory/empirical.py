"""The law of a finite training set: the optimum that memorizes."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .channels import Mask
from .law import BLOCKED, Law
from .streaming import Words


class EmpiricalLaw(Law):
    """The uniform law on the rows of a training set, repeated rows counted as often as they occur.

    The posterior mean is one attention read-out, softmax(fields . x_n) over the N training samples, streamed so that
    no memory grows with N but the training set, two bytes a cell (cf. the closed-form score of Scarvelis et al.,
    2023).

    Args:
        x_train: integer symbols (N, D), or (N, H, W); copied.
        alphabet: Q, the number of symbols.
        shape: (H, W); by default the shape of x_train's grid, or (1, D).

    Raises:
        ValueError: no samples, or symbols outside 0..Q-1.
    """

    def __init__(self, x_train: Tensor, alphabet: int = 2, shape: tuple[int, int] | None = None) -> None:
        x_train = torch.as_tensor(x_train)
        if x_train.ndim not in (2, 3) or x_train.shape[0] == 0:
            raise ValueError(f"x_train must have shape (N, D) or (N, H, W) with N >= 1, got {tuple(x_train.shape)}")
        if shape is None:
            shape = (1, x_train.shape[1]) if x_train.ndim == 2 else (x_train.shape[1], x_train.shape[2])
        super().__init__(shape, alphabet)
        x_train = x_train.flatten(1)
        x_train = self.check_symbols(x_train, batch=True)
        self.x_train = x_train.to(torch.uint8 if alphabet <= 256 else torch.int64, copy=True)
        self._sorted: np.ndarray | None = None

    @property
    def n_train(self) -> int:
        """N, the number of training samples, repetitions included."""
        return self.x_train.shape[0]

    @property
    def entropy(self) -> float:
        rows = self._sorted_rows()
        starts = np.flatnonzero(np.r_[True, (rows[1:] != rows[:-1]).any(1)])
        p = np.diff(np.r_[starts, len(rows)]) / len(rows)
        return float((p * np.log(1 / p)).sum())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.x_train[torch.randint(self.n_train, (n,), generator=generator)].long()

    def _log_normaliser(self, h: Tensor) -> Tensor:
        return self._stream(h, read=False)[0]

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return self._stream(h, read=True)

    def _contrast(self, log_odds: Tensor) -> Tensor:
        h = torch.stack([-log_odds.clamp_min(0), log_odds.clamp_max(0)], -1)
        read = self._words.sums(h, read=True)[2]
        return (read[..., 1] - read[..., 0]) / (read[..., 1] + read[..., 0])

    def _stream(self, h: Tensor, read: bool) -> tuple[Tensor, Tensor]:
        likeliest = h.amax(-1, keepdim=True)
        top, total, shares = self._words.sums(h - likeliest, read)
        log_z = likeliest.sum((1, 2)) + top + total.log() - float(np.log(self.n_train))
        return log_z, shares / shares.sum(-1, keepdim=True) if read else shares

    def _unmask(self, x: Tensor) -> Tensor:
        """Counts among the samples that agree with every visible cell: the weights are 0 and 1."""
        dtype = torch.float32 if self.n_train < 2**24 else torch.float64  # counts stay exact
        h = Mask().fields(x, self.alphabet).to(dtype).clamp_min_(BLOCKED)
        top, agreeing, counts = self._words.sums(h, read=True)
        return torch.where((top == 0)[:, None, None], counts.double() / agreeing.double()[:, None, None], 0.0)

    @cached_property
    def _words(self) -> Words:
        return Words(self.x_train, self.alphabet)

    def next_token_probs(self, x: Tensor) -> Tensor:
        """The empirical next-token law by binary search in the sorted training set; see `Law.next_token_probs`."""
        x = self.check_symbols(x, batch=True)
        rows = self._sorted_rows()
        queries = x.cpu().numpy()
        probs = np.zeros((*queries.shape, self.alphabet))
        low = np.zeros(len(queries), dtype=np.int64)
        high = np.full(len(queries), len(rows))  # the rows that share the prefix: low <= row < high
        for t in range(self.dim):
            column = rows[:, t]
            edges = [low, *(_first_at_least(column, low, high, s) for s in range(1, self.alphabet)), high]
            counts = np.diff(np.stack(edges, -1), axis=-1)  # (B, Q)
            probs[:, t] = counts / np.maximum(high - low, 1)[:, None]
            low = np.take_along_axis(np.stack(edges, -1), queries[:, t, None], -1)[:, 0]
            high = low + np.take_along_axis(counts, queries[:, t, None], -1)[:, 0]
        return torch.from_numpy(probs).to(x.device)

    def _sorted_rows(self) -> np.ndarray:
        if self._sorted is None:
            rows = self.x_train.cpu().numpy()
            self._sorted = rows[np.lexsort(rows.T[::-1])]
        return self._sorted


def _first_at_least(column: np.ndarray, low: np.ndarray, high: np.ndarray, symbol: int) -> np.ndarray:
    """For each query, the first row in [low, high) whose entry is at least symbol, else high; entries ascend there."""
    low, high = low.copy(), high.copy()
    while (active := low < high).any():
        middle = (low + high) // 2
        smaller = active & (column[np.minimum(middle, len(column) - 1)] < symbol)
        low = np.where(smaller, middle + 1, low)
        high = np.where(active & ~smaller, middle, high)
    return low
