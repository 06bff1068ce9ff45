"""Does the scatter between runs of a cell change with x, and what is the line if it does?

    log tau = mean + sigma (x / x0)^gamma * Normal

is the law of equal scatter for log tau and design divided by (x / x0)^gamma, so its likelihood is that of `aft`. The
power gamma is that of the scatter about each cell's own mean: about the line, a bend would pass for scatter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize

from .aft import CensoredRegression, corrected_p_value
from .designs import Design

Array = np.ndarray

_WIDEST = 2.0  # |gamma|: a factor of 16 in scatter for each factor of 4 in x
_LEAST_RUNS = 8


@dataclass(frozen=True, eq=False)
class ScatterTrend:
    """A regression whose scatter is a power of x.

    Attributes:
        regression: the law of equal scatter.
        log_x: log x of each run (n,).
        cells: the index of each run's cell (n,); its scatter is about the line where there are too few runs in cells.
    """

    regression: CensoredRegression
    log_x: Array
    cells: Array

    @cached_property
    def gamma(self) -> float:
        """The power, by maximum likelihood."""
        found = optimize.minimize_scalar(
            lambda gamma: -self._log_likelihood(float(gamma)),
            bounds=(-_WIDEST, _WIDEST),
            method="bounded",
            options={"xatol": 1e-2},
        )
        return float(found.x)

    @cached_property
    def weighted(self) -> CensoredRegression:
        """The regression with every run weighted for its scatter; sigma is that at the mean of log x."""
        return self.at(self.gamma)

    def at(self, gamma: float) -> CensoredRegression:
        """The regression weighted for a given power."""
        return _divided(self.regression, self._ratio(gamma))

    def likelihood_ratio(self) -> tuple[float, float]:
        """Twice the log-likelihood gain over equal scatter, and its p-value as in `CensoredRegression`."""
        lr = max(2 * (self._log_likelihood(self.gamma) - self._log_likelihood(0.0)), 0.0)
        return lr, corrected_p_value(lr, 1, self._about.n_uncensored, self._about.degrees_of_freedom - 1)

    @property
    def unknown(self) -> str:
        """Why the scatter's trend cannot be told, or an empty string."""
        if len(np.unique(self.log_x[self._kept])) < 2:
            return "a single value of x"
        if self._about.degrees_of_freedom < _LEAST_RUNS:
            return "too few uncensored runs"
        if float(self._about.fit().sigma[0]) <= self._about.resolution:
            return "scatter below the evaluation grid"
        return ""

    @cached_property
    def _within(self) -> tuple[CensoredRegression, Array] | None:
        """A free mean for each cell with an onset, and its runs; None where they leave too few degrees of freedom."""
        cells, line = self.cells, self.regression
        known = np.unique(cells[line.informative])
        kept = np.flatnonzero(np.isin(cells, known))
        index = np.searchsorted(known, cells[kept])
        design = Design.of(index, np.ones((len(kept), 1)), np.empty((len(kept), 0)))
        means = CensoredRegression(line.log_lower[kept], line.log_upper[kept], design)
        return (means, kept) if means.degrees_of_freedom >= _LEAST_RUNS else None

    @property
    def _about(self) -> CensoredRegression:
        """What the scatter is about: cells' means, or the line."""
        return self._within[0] if self._within else self.regression

    @property
    def _kept(self) -> Array:
        return self._within[1] if self._within else np.arange(len(self.log_x))

    @cached_property
    def _start(self) -> Array:
        best = self._about.fit()
        return np.append(best.beta[0], best.sigma[0])

    def _log_likelihood(self, gamma: float) -> float:
        ratio = self._ratio(gamma)[self._kept]
        value = float(_divided(self._about, ratio).fit(start=self._start).log_likelihood[0])
        return value - float(np.log(ratio)[self._about.exact].sum())  # a density of log tau

    def _ratio(self, gamma: float) -> Array:
        return np.exp(gamma * (self.log_x - self.log_x.mean()))


def _divided(regression: CensoredRegression, ratio: Array) -> CensoredRegression:
    """The regression with each run's log tau and covariates divided by its relative scatter."""
    design = regression.covariates
    parts = Design(design.group, design.n_groups, design.own / ratio[:, None], design.shared / ratio[:, None])
    return CensoredRegression(regression.log_lower / ratio, regression.log_upper / ratio, parts)
