"""Fits to resamples of a table, in blocks that memory holds, with a bar where they take long."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from .aft import CensoredRegression
from .resampling import block_sizes, cluster_weights, stratified_weights

_LONG = 10_000_000
"""Runs times resamples, beyond which a bar shows how far the bootstrap is."""


def bootstrap(
    regression: CensoredRegression,
    strata: np.ndarray,
    clusters: bool,
    n_boot: int,
    rng: np.random.Generator,
    start: np.ndarray,
) -> np.ndarray:
    """Coefficients (B, p) of the resamples whose fit converged; runs that look alike are fitted as one.

    Args:
        regression: of n runs.
        strata: within which runs are drawn (n,); with clusters, whole strata are.
        clusters: see there.
        n_boot: resamples.
        rng: random generator.
        start: coefficients and sigma (p + 1,) to start from.
    """
    n = len(strata)
    first, alike = _alike(regression)
    kinds, long = regression.rows(first), n * n_boot > _LONG
    if long and not clusters:  # runs that look alike are drawn as one, too
        n, strata, counts = len(first), strata[first], np.bincount(alike).astype(float)
        together = None
    else:
        counts = None
        together = sparse.csr_array((np.ones(n), (alike, np.arange(n))), shape=(len(first), n))
    draws = []
    with tqdm(total=n_boot, desc="bootstrap", unit="fit", disable=not long, leave=False) as bar:
        for size in block_sizes(n, n_boot):
            draw = cluster_weights(strata, size, rng) if clusters else stratified_weights(strata, size, rng, counts)
            for weights in np.array_split(draw, max(draw.size // _LONG * 10, 1)):
                fitted = kinds.fit(weights if together is None else (together @ weights.T).T, start=start)
                draws.append(fitted.beta[fitted.converged])
                bar.update(len(weights))
    return np.concatenate(draws)


def _alike(regression: CensoredRegression) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal interval and covariates: the first of each kind, and the kind of each run (n,)."""
    covariates, kind = regression.covariates, np.zeros(len(regression.log_lower), dtype=np.int64)
    for values in (
        regression.log_lower,
        regression.log_upper,
        covariates.group,
        *covariates.own.T,
        *covariates.shared.T,
    ):
        codes, distinct = pd.factorize(values)
        kind = np.unique(kind * len(distinct) + codes, return_inverse=True)[1]
    _, first = np.unique(kind, return_index=True)
    return (first, kind) if len(first) < len(kind) else (np.arange(len(kind)), np.arange(len(kind)))
