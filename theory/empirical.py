"""The law of a finite training set: the optimum that memorizes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .law import Law


class EmpiricalLaw(Law):
    """The uniform law on the rows of a training set, repeated rows counted as often as they occur.

    The posterior mean is one attention read-out, softmax(fields . x_n) over the N training samples, streamed so that
    memory does not grow with the number of queries times N (cf. the closed-form score of Scarvelis et al., 2023).

    Args:
        x_train: integer symbols (N, D), or (N, H, W).
        alphabet: Q, the number of symbols.
        shape: (H, W); by default the shape of x_train's grid, or (1, D).

    Raises:
        ValueError: no samples, or symbols outside 0..Q-1.
    """

    BLOCK = 2**22  # entries of the (queries, training samples) matrix held at once where its log-sum-exp is needed

    def __init__(self, x_train: Tensor, alphabet: int = 2, shape: tuple[int, int] | None = None) -> None:
        x_train = torch.as_tensor(x_train)
        if x_train.ndim not in (2, 3) or x_train.shape[0] == 0:
            raise ValueError(f"x_train must have shape (N, D) or (N, H, W) with N >= 1, got {tuple(x_train.shape)}")
        if shape is None:
            shape = (1, x_train.shape[1]) if x_train.ndim == 2 else (x_train.shape[1], x_train.shape[2])
        super().__init__(shape, alphabet)
        x_train = x_train.flatten(1)
        self.check_symbols(x_train, batch=True)
        self.x_train = x_train.to(torch.uint8) if alphabet <= 256 else x_train
        self._kept_keys: tuple[tuple[bool, torch.dtype, torch.device], Tensor] | None = None
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
        return float(-(p * np.log(p)).sum())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.x_train[torch.randint(self.n_train, (n,), generator=generator)].long()

    def _keys(self, like: Tensor, spins: bool) -> Tensor:
        """The training set as attention keys in the dtype and place of `like`: -1/+1 (N, D), or one-hot (N, D * Q)."""
        tag = (spins, like.dtype, like.device)
        if self._kept_keys is None or self._kept_keys[0] != tag:  # one copy alone: it may fill much of the memory
            self._kept_keys = None
            x = self.x_train.to(like.device)
            if spins:
                keys = x.to(like.dtype).mul_(2).sub_(1)
            else:
                keys = x.new_zeros(*x.shape, self.alphabet, dtype=like.dtype)
                keys = keys.scatter_(-1, x.long().unsqueeze(-1), 1.0).flatten(1)
            self._kept_keys = (tag, keys)
        return self._kept_keys[1]

    def _log_normaliser(self, h: Tensor) -> Tensor:
        q = h.flatten(1)
        keys = self._keys(h, spins=False)
        total = h.new_full((len(q),), -torch.inf)
        for block in keys.split(max(1, self.BLOCK // max(1, len(q)))):
            total = torch.logaddexp(total, (q @ block.T).logsumexp(-1))
        return total - float(np.log(self.n_train))

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return self._log_normaliser(h), _attend(h.flatten(1), self._keys(h, spins=False)).reshape(h.shape)

    def _contrast(self, log_odds: Tensor) -> Tensor:
        work = log_odds.to(torch.promote_types(log_odds.dtype, torch.float32))
        return _attend(work / 2, self._keys(work, spins=True)).to(log_odds.dtype)

    def next_token_probs(self, x: Tensor) -> Tensor:
        """The empirical next-token law by binary search in the sorted training set; see `Law.next_token_probs`."""
        self.check_symbols(x, batch=True)
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


def _attend(q: Tensor, keys: Tensor) -> Tensor:
    """softmax(q keys^T) keys without the (B, N) matrix."""
    k = keys[None, None]
    return F.scaled_dot_product_attention(q[None, None], k, k, scale=1.0)[0, 0]


def _first_at_least(column: np.ndarray, low: np.ndarray, high: np.ndarray, symbol: int) -> np.ndarray:
    """For each query, the first row in [low, high) whose entry is at least symbol, else high; entries ascend there."""
    low, high = low.copy(), high.copy()
    while (active := low < high).any():
        middle = (low + high) // 2
        smaller = active & (column[np.minimum(middle, len(column) - 1)] < symbol)
        low = np.where(smaller, middle + 1, low)
        high = np.where(active & ~smaller, middle, high)
    return low
