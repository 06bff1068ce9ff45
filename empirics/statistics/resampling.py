"""Bootstrap weights and intervals: the data stay fixed, a resample is a row of weights."""

from __future__ import annotations

import numpy as np
from scipy import special

Array = np.ndarray

MOST_RESAMPLES = 1_000_000
_BLOCK = 2**24  # weights held at once


def stratified_weights(strata: Array, n_boot: int, rng: np.random.Generator, counts: Array | None = None) -> Array:
    """Rescaled multinomial weights within strata (Rao and Wu 1988).

    Drawing m of a stratum's m runs understates variances by (m - 1) / m, a fifth at five seeds. Drawing m - 1 of them,
    each with weight m / (m - 1), is unbiased. A stratum of one run keeps weight 1: it has no scatter to offer.

    Args:
        strata: label of each run's stratum (n,).
        n_boot: number of resamples.
        rng: random generator.
        counts: how many equal runs each of the n stands for; one each when left out.

    Returns:
        Weights (n_boot, n), each stratum summing to its number of runs.
    """
    counts = np.ones(len(strata)) if counts is None else counts
    weights = np.tile(counts, (n_boot, 1))
    _, sizes = np.unique(strata, return_counts=True)
    for runs in np.split(np.argsort(strata, kind="stable"), np.cumsum(sizes)[:-1]):
        m = int(counts[runs].sum())
        if m > 1:
            weights[:, runs] = rng.multinomial(m - 1, counts[runs] / m, size=n_boot) * (m / (m - 1))
    return weights


def cluster_weights(clusters: Array, n_boot: int, rng: np.random.Generator) -> Array:
    """As `stratified_weights` with whole clusters drawn: all runs of a cluster share a weight."""
    labels, index = np.unique(clusters, return_inverse=True)
    return stratified_weights(np.zeros(len(labels)), n_boot, rng)[:, index]


def block_sizes(n: int, n_boot: int) -> list[int]:
    """How many resamples of n weights to make at a time, so that memory holds them."""
    rows = max(_BLOCK // n, 1)
    return [min(rows, n_boot - first) for first in range(0, n_boot, rows)]


def percentile_interval(draws: Array, confidence: float = 0.95) -> tuple[float, float]:
    """The central interval of bootstrap draws (B,)."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bca_interval(draws: Array, estimate: float, influence: Array, confidence: float = 0.95) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987).

    Args:
        draws: bootstrap draws (B,).
        estimate: the estimate from the data.
        influence: empirical influence of each unit that is resampled, centred in its stratum, up to a factor.
        confidence: two-sided.
    """
    below = np.clip(np.mean(draws < estimate) + np.mean(draws == estimate) / 2, 1 / len(draws), 1 - 1 / len(draws))
    bias = special.ndtri(below)
    spread = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    z = bias + special.ndtri(np.array([(1 - confidence) / 2, (1 + confidence) / 2]))
    low, high = np.quantile(draws, special.ndtr(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def centre(values: Array, strata: Array) -> Array:
    """Values less the mean of their stratum."""
    _, index = np.unique(strata, return_inverse=True)
    sums = np.bincount(index, weights=values)
    return values - (sums / np.bincount(index))[index]
