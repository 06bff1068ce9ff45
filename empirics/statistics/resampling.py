"""Bootstrap weights and intervals: the data stay fixed, a resample is a row of weights."""

from __future__ import annotations

import numpy as np
from scipy import special

Array = np.ndarray


def stratified_weights(strata: Array, n_boot: int, rng: np.random.Generator) -> Array:
    """Rescaled multinomial weights within strata (Rao and Wu 1988).

    Drawing m of a stratum's m runs understates variances by (m - 1) / m, a fifth at five seeds. Drawing m - 1 of them,
    each with weight m / (m - 1), is unbiased. A stratum of one run keeps weight 1: it has no scatter to offer.

    Args:
        strata: label of each run's stratum (n,).
        n_boot: number of resamples.
        rng: random generator.

    Returns:
        Weights (n_boot, n), each stratum summing to its number of runs.
    """
    weights = np.ones((n_boot, len(strata)))
    for label in np.unique(strata):
        runs = np.flatnonzero(strata == label)
        m = len(runs)
        if m > 1:
            weights[:, runs] = rng.multinomial(m - 1, np.full(m, 1 / m), size=n_boot) * (m / (m - 1))
    return weights


def cluster_weights(clusters: Array, n_boot: int, rng: np.random.Generator) -> Array:
    """As `stratified_weights` with whole clusters drawn: all runs of a cluster share a weight."""
    labels, index = np.unique(clusters, return_inverse=True)
    return stratified_weights(np.zeros(len(labels)), n_boot, rng)[:, index]


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
