"""Does an onset rise with an ordered factor? Jonckheere and Terpstra's test for interval-censored times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class TrendTest(NamedTuple):
    """Attributes: concordance in [-1, 1], pairs of runs ordered as the levels less those against, over all ordered
    pairs; p_value, one-sided, that the onsets rise with the level; n_pairs, the pairs of runs whose order is known."""

    concordance: float
    p_value: float
    n_pairs: int


def trend_test(
    lower: Array, upper: Array, level: Array, strata: Array, n_permutations: int = 4999, seed: int = 0
) -> TrendTest:
    """Stratified Jonckheere-Terpstra test by permutation (Jonckheere 1954; Gehan 1965 for the scores).

    Two runs of a stratum are ordered when their intervals do not overlap; other pairs score 0. The levels are permuted
    among the runs of each stratum, so the test is exact when, without an effect, a stratum's runs are exchangeable:
    they share schedule and length of training.

    Args:
        lower, upper: ends (n,) of the intervals (lower, upper].
        level: ordered factor (n,).
        strata: label (n,) of the stratum within which runs are compared.
        n_permutations: the p-value is a multiple of 1 / (n_permutations + 1).
        seed: of the permutations.

    Raises:
        ValueError: no two runs of one stratum at different levels have ordered onsets.
    """
    rng = np.random.default_rng(seed)
    observed, possible = 0.0, 0
    permuted = np.zeros(n_permutations)
    for label in np.unique(strata):
        runs = np.flatnonzero(strata == label)
        later = (lower[runs][None, :] >= upper[runs][:, None]).astype(float)  # [i, j]: j certainly after i
        np.fill_diagonal(later, 0.0)  # an exact onset is not later than itself
        order = np.triu(later - later.T)
        order -= order.T  # equal exact onsets score 0
        levels = level[runs]
        observed += _score(order, levels[None])[0]
        possible += int((np.triu(order) != 0)[levels[:, None] != levels[None, :]].sum())
        for block in np.array_split(np.arange(n_permutations), max(1, n_permutations * len(runs) ** 2 // 4_000_000)):
            shuffled = rng.permuted(np.tile(levels, (len(block), 1)), axis=1)
            permuted[block] += _score(order, shuffled)
    if possible == 0:
        raise ValueError("no two runs at different levels have onsets whose order is known")
    p_value = (1 + int((permuted >= observed - 1e-9).sum())) / (n_permutations + 1)
    return TrendTest(observed / possible, p_value, possible)


def _score(order: Array, levels: Array) -> Array:
    """Concordant less discordant pairs (B,) for labellings (B, n)."""
    signs = np.sign(levels[:, None, :] - levels[:, :, None])  # [b, i, j]: the level of j against that of i
    return np.einsum("ij,bij->b", order, signs) / 2
