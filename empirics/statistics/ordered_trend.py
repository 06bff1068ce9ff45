"""Does an onset rise with an ordered factor? Jonckheere and Terpstra's test for interval-censored times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from tqdm import tqdm

Array = np.ndarray

N_PERMUTATIONS = 4999
_LONG = 100_000_000
"""Permutations times runs, beyond which a bar shows how far they are."""


class TrendTest(NamedTuple):
    """Attributes: concordance in [-1, 1], pairs of runs ordered as the levels less those against, over all ordered
    pairs; p_value, one-sided, that the onsets rise with the level; n_pairs, the pairs of runs whose order is known;
    p_floor, the smallest p-value that the permutations can give: there p is at most that."""

    concordance: float
    p_value: float
    n_pairs: int
    p_floor: float


def trend_test(
    lower: Array, upper: Array, level: Array, strata: Array, n_permutations: int | None = None, seed: int = 0
) -> TrendTest:
    """Stratified Jonckheere-Terpstra test by permutation (Jonckheere 1954; Gehan 1965 for the scores).

    Two runs of a stratum are ordered when their intervals do not overlap; other pairs score 0. The levels are permuted
    among the runs of each stratum, so the test is exact when, without an effect, a stratum's runs are exchangeable:
    they share schedule and length of training.

    Args:
        lower, upper: ends (n,) of the intervals (lower, upper].
        level: ordered factor (n,).
        strata: label (n,) of the stratum within which runs are compared.
        n_permutations: `N_PERMUTATIONS` when left out; the p-value is a multiple of 1 / (n_permutations + 1).
        seed: of the permutations.

    Raises:
        ValueError: no two runs of one stratum at different levels have ordered onsets.
    """
    n_permutations = N_PERMUTATIONS if n_permutations is None else n_permutations
    rng = np.random.default_rng(seed)
    observed, possible = 0, 0
    permuted = np.zeros(n_permutations, dtype=np.int64)
    _, sizes = np.unique(strata, return_counts=True)
    parts = np.split(np.argsort(strata, kind="stable"), np.cumsum(sizes)[:-1])
    with tqdm(total=len(parts), desc="permutations", disable=n_permutations * len(level) < _LONG, leave=False) as bar:
        for runs in parts:
            order = np.argsort(lower[runs], kind="stable")
            after = np.searchsorted(lower[runs][order], upper[runs])  # from this place in the order on: certainly later
            levels, code = np.unique(level[runs], return_inverse=True)
            rises, falls = _pairs(code[None], order, after, len(levels))
            observed += int((rises - falls)[0])
            possible += int((rises + falls)[0]) - 2 * _ties(lower[runs], upper[runs], code)
            cost = n_permutations * len(runs) * len(levels)
            for block in np.array_split(np.arange(n_permutations), max(1, cost // 4_000_000)):
                shuffled = rng.permuted(np.tile(code, (len(block), 1)), axis=1)
                rises, falls = _pairs(shuffled, order, after, len(levels))
                permuted[block] += rises - falls
            bar.update()
    if possible == 0:
        raise ValueError("no two runs at different levels have onsets whose order is known")
    p_value = (1 + int((permuted >= observed).sum())) / (n_permutations + 1)
    return TrendTest(observed / possible, p_value, possible, 1 / (n_permutations + 1))


def _pairs(code: Array, order: Array, after: Array, n_levels: int) -> tuple[Array, Array]:
    """Pairs (i, j) with j certainly after i and at a higher level, and at a lower one: (B,), (B,).

    Counted level by level along the order of lower ends, without a matrix of pairs.

    Args:
        code: levels (B, n) as 0..n_levels-1.
        order: runs by lower end (n,).
        after: for each run, where in the order those begin that come certainly after it (n,).
    """
    along = code[:, order]
    totals = [np.zeros(len(code), dtype=np.int64) for _ in range(2)]
    for k in range(n_levels):
        mine = code == k
        for total, far in zip(totals, (along > k, along < k), strict=True):
            seen = np.zeros((len(code), len(order) + 1), dtype=np.int64)
            np.cumsum(far, axis=1, out=seen[:, 1:])
            total += ((seen[:, -1:] - seen[:, after]) * mine).sum(1)
    return totals[0], totals[1]


def _ties(lower: Array, upper: Array, code: Array) -> int:
    """Pairs at different levels with equal exact onsets: neither comes after the other."""
    exact = lower == upper
    pairs = 0
    for value in np.unique(lower[exact]):
        counts = np.bincount(code[exact & (lower == value)])
        pairs += (int(counts.sum()) ** 2 - int((counts**2).sum())) // 2
    return pairs
