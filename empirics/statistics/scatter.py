"""Does the scatter about a line change with x, and what is the line if it does?

    log tau = design . beta + sigma (x / x0)^gamma * Normal

is the law of equal scatter for log tau and design divided by (x / x0)^gamma, so its likelihood is that of `aft`.
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
    """

    regression: CensoredRegression
    log_x: Array

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

    def likelihood_ratio(self) -> tuple[float, float]:
        """Twice the log-likelihood gain over equal scatter, and its p-value as in `CensoredRegression`."""
        lr = max(2 * (self._log_likelihood(self.gamma) - self._log_likelihood(0.0)), 0.0)
        n, df = self.regression.n_uncensored, self.regression.degrees_of_freedom - 1
        return lr, corrected_p_value(lr, 1, n, df)

    @property
    def unknown(self) -> str:
        """Why the scatter's trend cannot be told, or an empty string."""
        if len(np.unique(self.log_x)) < 2:
            return "a single value of x"
        if self.regression.degrees_of_freedom < _LEAST_RUNS:
            return "too few uncensored runs"
        return ""

    def _log_likelihood(self, gamma: float) -> float:
        value = float(self.at(gamma).fit(start=self._start).log_likelihood[0])
        return value - float(np.log(self._ratio(gamma))[self.regression.exact].sum())  # a density of log tau

    @cached_property
    def _start(self) -> Array:
        best = self.regression.fit()
        return np.append(best.beta[0], best.sigma[0])

    def _ratio(self, gamma: float) -> Array:
        return np.exp(gamma * (self.log_x - self.log_x.mean()))

    def at(self, gamma: float) -> CensoredRegression:
        """The regression weighted for a given power."""
        ratio, design = self._ratio(gamma), self.regression.covariates
        parts = Design(design.group, design.n_groups, design.own / ratio[:, None], design.shared / ratio[:, None])
        return CensoredRegression(self.regression.log_lower / ratio, self.regression.log_upper / ratio, parts)
