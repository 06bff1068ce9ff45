"""Training sets and random streams: everything random in a run comes from its seed, by name."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from ..theory import Rule


def random_stream(seed: int, name: str, index: int = 0) -> torch.Generator:
    """An independent CPU generator for each (seed, name, index)."""
    words = np.random.SeedSequence([seed, zlib.crc32(name.encode()), index]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def sample_distinct(rule: Rule, n: int, generator: torch.Generator, exclude: Tensor | None = None) -> Tensor:
    """n different valid grids, every set of n equally likely: int64 (n, D).

    Args:
        rule: the population.
        n: how many.
        generator: source of randomness, on the CPU.
        exclude: grids (M, D) that must not occur, such as the training set when held-out samples are wanted.

    Raises:
        ValueError: the rule has fewer than n such grids.
    """
    taken = np.unique(rows_as_bytes(exclude if exclude is not None else torch.empty(0, rule.dim, dtype=torch.int64)))
    available = rule.support_size - len(taken)
    if n > available:
        raise ValueError(f"{rule.spec} has {available} grids to draw from, fewer than the {n} asked for")
    rows = np.empty((0, rule.dim), dtype=np.int64)
    while len(rows) < n:
        fresh = rule.sample(max(64, 2 * (n - len(rows))), generator).numpy()
        both = np.concatenate([rows, fresh])
        keys = rows_as_bytes(torch.from_numpy(both))
        first = np.sort(np.unique(keys, return_index=True)[1])  # first occurrences, in the order drawn
        rows = both[first[~np.isin(keys[first], taken)]]
    return torch.from_numpy(rows[:n])


def training_set(rule: Rule, n_train: int, seed: int) -> Tensor:
    """The N different training samples of a run: int64 (N, D)."""
    return sample_distinct(rule, n_train, random_stream(seed, "training set"))


def rows_as_bytes(x: Tensor) -> np.ndarray:
    """Each row of symbols (N, D) as one opaque item, so that equality, sorting and look-up see whole rows: (N,)."""
    rows = x.cpu().numpy()
    if rows.size and not 0 <= rows.min() <= rows.max() <= 65535:
        raise ValueError(f"symbols must lie in 0..65535 to be compared by rows, got {rows.min()}..{rows.max()}")
    rows = np.ascontiguousarray(rows.astype(np.uint16))
    return rows.view(f"V{2 * rows.shape[1]}")[:, 0]


def hash_rows(x: Tensor) -> frozenset[bytes]:
    """The different rows of symbols (N, D), for `occur`."""
    return frozenset(rows_as_bytes(x).tolist())


def occur(x: Tensor, known: frozenset[bytes]) -> Tensor:
    """Whether each row of symbols (n, D) is among the known ones, by hash: bool (n,)."""
    return torch.tensor([row in known for row in rows_as_bytes(x).tolist()], dtype=torch.bool)
