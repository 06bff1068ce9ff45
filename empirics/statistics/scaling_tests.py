"""Tests beside a scaling fit: nested models by likelihood ratio, and whether its residuals are normal."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from .aft import CensoredRegression
from .designs import Design
from .scatter import ScatterTrend

Array = np.ndarray

_MOST_TESTED = 5000
"""Runs that Shapiro and Wilk's test takes: its p-value is not known for more."""


@dataclass(frozen=True)
class ScalingTest:
    """One test of a hypothesis about a scaling fit.

    Attributes:
        hypothesis: what a small p-value speaks against.
        statistic: twice the log-likelihood ratio, or Shapiro and Wilk's W; None when undecided.
        df: degrees of freedom; None where the statistic has none.
        p_value: None when undecided.
        note: why it is undecided, or which distribution gave the p-value.
    """

    hypothesis: str
    statistic: float | None
    df: int | None
    p_value: float | None
    note: str

    def __str__(self) -> str:
        if self.p_value is None:
            return f"{self.hypothesis}: undecided ({self.note})"
        df = f", df {self.df}" if self.df else ""
        return f"{self.hypothesis}: statistic {self.statistic:.3g}{df}, p = {self.p_value:.3g} ({self.note})"


def group_keys(table: pd.DataFrame, by: Sequence[str]) -> tuple[tuple[Hashable, ...], Array]:
    """The groups in sorted order, and each run's index into them: the value of one `by` column, tuples of several."""
    if not by:
        return ("all",), np.zeros(len(table), dtype=int)
    grouped = table.groupby(list(by), sort=True, observed=True)
    keys = [key if len(by) > 1 else key[0] for key, _ in grouped]
    return tuple(keys), grouped.ngroup().to_numpy()


def line_design(group: Array, log_x: Array, separate: bool) -> Design:
    """An intercept for each group, then one slope on log x, or one for each group: (n, G + 1) or (n, 2 G)."""
    ones, none = np.ones((len(group), 1)), np.empty((len(group), 0))
    if separate:
        return Design.of(group, np.column_stack([ones, log_x]), none)
    return Design.of(group, ones, log_x[:, None])


def mean_design(group: Array) -> Design:
    """A free mean for each group: (n, G)."""
    return Design.of(group, np.ones((len(group), 1)), np.empty((len(group), 0)))


def cell_of(group: Array, x: Array) -> Array:
    """The index (n,) of each run's cell of equal group and x, in the order of both."""
    values, at = np.unique(x, return_inverse=True)
    return np.unique(group * len(values) + at, return_inverse=True)[1]


def scaling_tests(table: pd.DataFrame, by: Sequence[str], separate: bool) -> dict[str, ScalingTest]:
    """Likelihood-ratio and residual tests of log tau = log c_group + exponent log x + sigma Normal.

    Args:
        table: from `check_runs`, with columns lower, upper, x and the groups.
        by: the columns that define groups.
        separate: whether each group has an exponent of its own.

    Returns:
        By name: ``exponent_one`` (every exponent is 1), ``equal_slopes``, ``no_rule_effect`` (groups that differ by
        ``rule`` alone are one; ``no_group_effect`` where the groups have no rule), ``log_linear`` (a free mean in every
        cell fits no better), ``no_curvature`` (nor does a bend that all groups share), ``normal_residuals`` and
        ``equal_scatter`` (sigma does not change with x).
    """
    _, group = group_keys(table, by)
    log_x = np.log(table["x"].to_numpy())
    with np.errstate(divide="ignore"):  # lower = 0 is left-censored
        lower, upper = np.log(table["lower"].to_numpy()), np.log(table["upper"].to_numpy())

    def model(design: Design) -> CensoredRegression:
        return CensoredRegression(lower, upper, design)

    n_groups = int(group.max()) + 1
    fitted = model(line_design(group, log_x, separate))
    at_one = CensoredRegression(lower - log_x, upper - log_x, mean_design(group))
    tests = {"exponent_one": _ratio_test("exponent = 1", fitted, at_one)}
    shared, each = model(line_design(group, log_x, False)), model(line_design(group, log_x, True))
    if n_groups > 1:
        tests["equal_slopes"] = _ratio_test("equal slopes", each, shared)
        rest = [column for column in by if column != "rule"]
        name, merge = ("rule", rest) if "rule" in by else ("group", [])
        _, merged = group_keys(table, merge)
        reduced = model(line_design(merged, log_x, separate))
        tests[f"no_{name}_effect"] = _ratio_test(f"no {name} effect", fitted, reduced)
    tests["log_linear"] = _lack_of_fit(fitted, cell_of(group, log_x))
    tests["no_curvature"] = _curvature(fitted, group, log_x, separate)
    tests["normal_residuals"] = normality_test(fitted)
    tests["equal_scatter"] = scatter_test(ScatterTrend(fitted, log_x, cell_of(group, log_x)))
    return tests


def normality_test(regression: CensoredRegression) -> ScalingTest:
    """Shapiro and Wilk's test on randomised quantile residuals (Dunn and Smyth 1996).

    An interval tells only a range for its error; the test runs on 200 completions of the errors, and the p-values
    are combined by the Cauchy rule (Liu and Xie 2020), which allows for their dependence. Beyond 5000 runs, where the
    test's distribution is no longer known, it takes 5000 of them at random.
    """
    name = "normal residuals"
    if regression.degrees_of_freedom < 8:
        return ScalingTest(name, None, None, None, "too few uncensored runs")
    fit = regression.fit()
    beta, sigma = fit.beta[0], float(fit.sigma[0])
    if sigma <= regression.resolution:
        return ScalingTest(name, None, None, None, "scatter below the evaluation grid")
    rng = np.random.default_rng(0)
    if (n := len(regression.log_lower)) > _MOST_TESTED:
        chosen = np.sort(rng.choice(n, _MOST_TESTED, replace=False))
        regression = regression.rows(chosen)
    errors = regression.quantile_residuals(beta, sigma, 200, rng)
    tested = [stats.shapiro(row) for row in errors]
    p_values = np.clip([t.pvalue for t in tested], 1e-15, 1 - 1e-15)
    p_value = float(stats.cauchy.sf(np.mean(stats.cauchy.isf(p_values))))
    note = "mean Shapiro-Wilk W" + (f" of {_MOST_TESTED} runs at random" if n > _MOST_TESTED else "")
    return ScalingTest(name, float(np.mean([t.statistic for t in tested])), None, p_value, note)


def scatter_test(trend: ScatterTrend) -> ScalingTest:
    """Likelihood-ratio test that the scatter within cells is no power of x."""
    name = "equal scatter at all x"
    if fault := trend.unknown:
        return ScalingTest(name, None, 1, None, fault)
    lr, p_value = trend.likelihood_ratio()
    return ScalingTest(name, lr, 1, p_value, f"F-corrected likelihood ratio; sigma ~ x^{trend.gamma:.2g}")


def _ratio_test(name: str, full: CensoredRegression, reduced: CensoredRegression) -> ScalingTest:
    df = full.design.shape[1] - reduced.design.shape[1]
    for model in (full, reduced):
        if fault := unidentified(model):
            return ScalingTest(name, None, df, None, fault)
    lr, p_value = full.likelihood_ratio(reduced, df)
    return ScalingTest(name, lr, df, p_value, "F-corrected likelihood ratio")


def _lack_of_fit(fitted: CensoredRegression, cells: Array) -> ScalingTest:
    """The line against a free mean in each cell; a cell without onsets adds nothing to the best log-likelihood."""
    name = "log-linear"
    known = np.unique(cells[fitted.informative])
    df = int(cells.max()) + 1 - fitted.design.shape[1]
    keep = np.isin(cells, known)
    means = CensoredRegression(
        fitted.log_lower[keep], fitted.log_upper[keep], mean_design(np.searchsorted(known, cells[keep]))
    )
    if df < 1 or len(known) <= fitted.design.shape[1]:
        return ScalingTest(name, None, df, None, "too few values of x")
    if means.degrees_of_freedom < 1:
        return ScalingTest(name, None, df, None, "too few runs in each cell")
    lr, p_value = means.likelihood_ratio(fitted, df)
    return ScalingTest(name, lr, df, p_value, "F-corrected likelihood ratio")


def _curvature(fitted: CensoredRegression, group: Array, log_x: Array, separate: bool) -> ScalingTest:
    """The lines against parabolas of one curvature in log x: sees a smooth bend that `_lack_of_fit` spreads thin."""
    name = "no curvature"
    if len(np.unique(log_x[fitted.informative])) < 3:
        return ScalingTest(name, None, 1, None, "too few values of x")
    bend = (log_x - log_x.mean()) ** 2
    ones = np.ones((len(group), 1))
    own, shared = (
        (np.column_stack([ones, log_x]), bend[:, None]) if separate else (ones, np.column_stack([log_x, bend]))
    )
    bent = CensoredRegression(fitted.log_lower, fitted.log_upper, Design.of(group, own, shared))
    return _ratio_test(name, bent, fitted)


def unidentified(regression: CensoredRegression) -> str:
    """Why the coefficients have no finite maximum, or an empty string."""
    if not regression.covariates.full_rank(regression.informative):
        return "a coefficient has no uncensored runs to tell it from the others"
    if regression.degrees_of_freedom < 1:
        return f"{regression.n_uncensored} uncensored runs for {regression.design.shape[1]} coefficients"
    return ""
