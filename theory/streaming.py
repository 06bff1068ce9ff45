"""The sums over a training set behind its law: softmax(fields . x_n) and its read-out, a block of samples at a time.

Several neighbouring cells make a word, so that a sample is a few words from a small vocabulary. The log-weight of a
sample is then a sum of a few rows of a table, and the read-out adds the weights of the samples that share a word:
both are sums of rows, which take a fraction of the matrix products that one-hot samples would need, and fewer
roundings. Weights are those of fields relative to the likeliest symbol of each cell, so nothing cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

VOCABULARY = 40  # words at most, unless the alphabet itself is larger
SAMPLES = 2**11  # training samples a block
KEPT = 2**5  # blocks of samples whose indices are kept from call to call
QUERIES = 2**7  # queries a block: tables and weights stay in the processor's cache


@dataclass
class _Queries:
    """A block of queries, and their sums so far over the training set."""

    table: Tensor  # (words, B) the part of a word in a sample's log-weight; here logarithms are binary
    read: Tensor | None  # (words, B) the same sum over the samples that hold the word
    top: Tensor = field(init=False)  # (B,) the largest log-weight of a sample
    total: Tensor = field(init=False)  # (B,) sum of exp(log-weight - top)

    def __post_init__(self) -> None:
        self.top = self.table.new_full((self.table.shape[1],), -torch.inf)
        self.total = torch.zeros_like(self.top)


class _Block(NamedTuple):
    """A block of training samples."""

    words: Tensor  # (samples, columns)
    at: Tensor  # int32 (samples * columns,), the row of each word in a table
    starts: Tensor  # int32 (samples,), where each sample begins there
    holders: tuple[Tensor, Tensor]  # see Words._holders


class Words:
    """A training set as words.

    Args:
        x: symbols (N, D), integers.
        alphabet: Q.
    """

    def __init__(self, x: Tensor, alphabet: int) -> None:
        self.dim, self.alphabet = x.shape[1], alphabet
        self._kept: dict[tuple[int, torch.device], _Block] = {}
        self.cells = 1  # of a word
        while alphabet ** (self.cells + 1) <= VOCABULARY and self.cells < x.shape[1]:
            self.cells += 1
        self.columns = -(-x.shape[1] // self.cells)  # words of a sample
        self.padding = self.columns * self.cells - x.shape[1]
        self.vocabulary = alphabet**self.cells
        places = alphabet ** torch.arange(self.cells)
        self.spelling: Tensor | None = None  # (vocabulary, cells * Q); a word of one cell is its symbol
        if self.cells > 1:
            digits = torch.arange(self.vocabulary)[:, None] // places % alphabet
            self.spelling = F.one_hot(digits, alphabet).flatten(1)
        dtype = torch.uint8 if self.vocabulary <= 256 else torch.int32
        blocks = F.pad(x, (0, self.padding)).unflatten(1, (self.columns, self.cells)).split(2**16)
        self.words = torch.cat([(block * places.to(x.device)).sum(-1).to(dtype) for block in blocks])  # (N, columns)

    def sums(self, h: Tensor, read: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Softmax sums for fields h (B, D, Q), float32 or float64, of which some symbol of each cell has 0.

        Returns:
            top (B,), the largest log-weight of a sample; total (B,), the sum of exp(log-weight - top); and, if asked,
            the same sum over the samples with symbol s at cell i (B, D, Q).
        """
        n = len(h)
        h = F.pad(h, (0, 0, 0, 0, 0, -n % 8 if n else 8))  # short rows of tables are slow to add
        tables = map(self._table, h.split(QUERIES))
        queries = [_Queries(table, torch.zeros_like(table) if read else None) for table in tables]
        for first in range(0, len(self.words), SAMPLES):
            words, at, starts, holders = self._block(first, h.device)
            for q in queries:
                weights = F.embedding_bag(at, q.table, starts, mode="sum")  # (samples, B), binary logarithms
                top = torch.maximum(q.top, weights.amax(0))
                kept = torch.exp2(q.top - top)
                q.top = top
                seen = holders if read else None
                weights.sub_(top)
                if h.dtype == torch.float64:  # fields are large, few samples matter, and sums of rows are slow
                    near = (weights.amax(1) > -1100).nonzero()[:, 0]  # else its exponential is 0
                    if 2 * len(near) < len(weights):
                        weights = weights[near]
                        seen = self._holders(words[near.to(words.device)], h.device) if read else None
                weights.exp2_()
                q.total.mul_(kept).add_(weights.sum(0))
                if q.read is not None and seen is not None:
                    q.read.mul_(kept)
                    if len(weights):
                        q.read.add_(F.embedding_bag(seen[0], weights, seen[1], mode="sum"))
        top, total = (torch.cat(parts)[:n] for parts in zip(*((q.top, q.total) for q in queries), strict=True))
        by_symbol = [self._by_symbol(q.read) for q in queries if q.read is not None]
        return top * math.log(2), total, torch.cat(by_symbol)[:n] if read else total

    def _block(self, first: int, device: torch.device) -> _Block:
        """The block of samples that begins with one, on a device; the early ones are kept."""
        if (first, device) not in self._kept:
            words = self.words[first : first + SAMPLES]
            columns = self.vocabulary * torch.arange(self.columns, dtype=torch.int32, device=device)
            at = (words.to(device) + columns).flatten()
            starts = torch.arange(0, len(at), self.columns, dtype=torch.int32, device=device)
            block = _Block(words, at, starts, self._holders(words, device))
            if first >= KEPT * SAMPLES:
                return block
            self._kept[first, device] = block
        return self._kept[first, device]

    def _table(self, h: Tensor) -> Tensor:
        """The binary log-weight of each word of each column: (columns * vocabulary, B), for fields (B, D, Q)."""
        spelled = F.pad(h / math.log(2), (0, 0, 0, self.padding)).unflatten(1, (self.columns, self.cells)).flatten(2)
        symbols = spelled.permute(1, 2, 0)
        words = symbols.contiguous() if self.spelling is None else self.spelling.to(h) @ symbols
        return words.flatten(0, 1)

    def _holders(self, words: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """The samples that hold each word of each column, one word after the other, and where each begins."""
        spelled = words.T.contiguous().cpu().numpy()
        order = np.argsort(spelled, axis=1, kind="stable").astype(np.int32)  # of bytes: as fast as counting
        column = self.vocabulary * np.arange(self.columns)[:, None]
        counts = np.bincount((spelled + column).ravel(), minlength=self.columns * self.vocabulary)
        starts = (np.cumsum(counts) - counts).astype(np.int32)
        return torch.from_numpy(order.ravel()).to(device), torch.from_numpy(starts).to(device)

    def _by_symbol(self, read: Tensor) -> Tensor:
        """Sums by word (columns * vocabulary, B) as sums by symbol of a cell (B, D, Q)."""
        by_symbol = read.unflatten(0, (self.columns, self.vocabulary))
        if self.spelling is not None:
            by_symbol = self.spelling.to(read).T @ by_symbol
        return by_symbol.unflatten(1, (self.cells, self.alphabet)).flatten(0, 1)[: self.dim].permute(2, 0, 1)
