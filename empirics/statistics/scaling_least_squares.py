"""Least squares on the runs that saw their onset: for comparison, biased when runs are censored."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .aft import CensoredRegression, least_squares

Interval = tuple[float, float]


@dataclass(frozen=True)
class LeastSquares:
    """Ordinary least squares on log ONSET_upper, censored runs dropped: for comparison, biased when runs are censored.

    Attributes:
        exponent, ci: float and (low, high), or dicts by group, as in `ScalingFit`; the interval is Student's.
        prefactor: in steps, by group.
        sigma: residual standard deviation, n - p in the denominator.
        r_squared: share of the variance explained.
        n_runs: runs that entered.
    """

    exponent: float | dict[Hashable, float]
    ci: Interval | dict[Hashable, Interval]
    prefactor: float | dict[Hashable, float]
    sigma: float
    r_squared: float
    n_runs: int


def fit_least_squares(
    regression: CensoredRegression, groups: Sequence[Hashable], shared: bool, grouped: bool
) -> LeastSquares:
    """Least squares on log upper ends, censored runs dropped.

    Args:
        regression: intercepts of the groups first, then one slope, or one for each group.
        groups: their keys.
        shared: whether there is one slope.
        grouped: whether prefactors are named by group.
    """
    seen = np.isfinite(regression.log_upper)
    known, y = regression.rows(seen), regression.log_upper[seen]
    beta = least_squares(known.covariates, y)
    (n, p), G = known.covariates.shape, len(groups)
    residual = float(((y - known.means(beta)) ** 2).sum())
    variance = residual / (n - p) if n > p else np.nan
    slopes = np.arange(G, p)
    inverse = known.covariates.gram().inverse_diagonal()[0, slopes]
    reach = stats.t.ppf(0.975, max(n - p, 1)) * np.sqrt(variance * inverse)
    ends = list(zip((beta[slopes] - reach).tolist(), (beta[slopes] + reach).tolist(), strict=True))
    c = np.exp(beta[:G]).tolist()
    return LeastSquares(
        exponent=float(beta[G]) if shared else dict(zip(groups, beta[slopes].tolist(), strict=True)),
        ci=ends[0] if shared else dict(zip(groups, ends, strict=True)),
        prefactor=dict(zip(groups, c, strict=True)) if grouped else c[0],
        sigma=float(np.sqrt(variance)),
        r_squared=1 - residual / float(((y - y.mean()) ** 2).sum()),
        n_runs=int(seen.sum()),
    )
