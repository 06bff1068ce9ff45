"""Scaling laws of clocks: tau = c_group * x^exponent with log-normal scatter, from onsets known only to an interval.

    log tau = log c_group + exponent * log x + sigma * Normal

is a log-normal accelerated-failure-time model; a censored run counts as "later than its last evaluation" instead of
being dropped, which would bias the exponent downward (tests/benchmarks/results/scaling_coverage.md).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ...theory.arguments import whole_number
from ..text_tables import latex_table, markdown_table
from .aft import CensoredRegression
from .resampling import MOST_RESAMPLES, bca_interval, centre, percentile_interval
from .runs_table import check_runs, column_names, says_something, unit_of
from .scaling_bootstrap import bootstrap
from .scaling_least_squares import LeastSquares, fit_least_squares
from .scaling_tests import ScalingTest, cell_of, group_keys, line_design, scaling_tests, unidentified
from .scaling_text import COLUMNS, scaling_frame, scaling_rows, scaling_summary
from .scatter import ScatterTrend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Slope = Literal["shared", "separate"]
Resample = Literal["cell", "seed"]
Method = Literal["profile", "percentile", "bca", "weighted"]
Interval = tuple[float, float]

_MOST_PROFILES = 100
"""Groups up to which each prefactor has a profile-likelihood interval."""


def fit_scaling(
    df: pd.DataFrame,
    onset: str = "tau_mem",
    x: str = "n_train",
    by: str | Sequence[str] = ("model", "rule"),
    n_boot: int = 2000,
    seed: int = 0,
    slope: Slope = "shared",
    resample: Resample = "cell",
) -> ScalingFit:
    """Fit a scaling law to interval- and right-censored onsets by maximum likelihood.

    Args:
        df: a runs table (`runs_table`): columns ``ONSET_lower``, ``ONSET_upper`` (training steps, or what a column
            ``unit`` says; upper is inf for a censored run, lower is 0 for an onset before the first evaluation), ``x``,
            the `by` columns and ``seed``. A run that says nothing, (0, inf], is left out and counted.
        onset: which onset, such as ``tau_mem``.
        x: what it scales with, positive.
        by: columns whose values define groups, each with its own prefactor; empty for one group.
        n_boot: bootstrap resamples, for the percentile and BCa intervals and the figure's band; 0 for none. Drawn in
            blocks, with a progress bar where they take long.
        seed: of the bootstrap.
        slope: one exponent, ``"shared"``, or one for each group, ``"separate"``.
        resample: runs within cells of equal (group, x), ``"cell"``, which suits runs that are independent; or whole
            seeds, ``"seed"``, which allows for what runs of a seed share, but needs ten seeds or so.

    Returns:
        The fit.

    Raises:
        ValueError: a table that `check_runs` refuses, or one that does not determine the fit: a group without onsets, a
            single value of x, all runs censored, exact onsets without scatter.
    """
    if slope not in ("shared", "separate"):
        raise ValueError(f"slope must be 'shared' or 'separate', got {slope!r}")
    if resample not in ("cell", "seed"):
        raise ValueError(f"resample must be 'cell' or 'seed', got {resample!r}")
    n_boot, seed = whole_number("n_boot", n_boot, 0, MOST_RESAMPLES), whole_number("seed", seed)
    by = column_names(by)
    if taken := [column for column in by if column in COLUMNS]:
        raise ValueError(f"a column that names groups cannot be called {taken[0]!r} here; rename it")
    table = check_runs(df, onset, x, by)
    told = says_something(table)
    table, n_left_out = table[told].reset_index(drop=True), int((~told).sum())
    if table.empty:
        raise ValueError(f"every run's {onset} lies in (0, inf], which says nothing")
    groups, group = group_keys(table, by)
    regression = _regression(table, groups, group, slope, onset, x)
    fit = regression.fit()
    beta, sigma = fit.beta[0], float(fit.sigma[0])
    if not fit.converged[0] or sigma <= 2e-6:
        raise ValueError(f"the {onset} lie on a line exactly, so their scatter is unknown; give intervals or more runs")
    strata = cell_of(group, table["x"].to_numpy()) if resample == "cell" else pd.factorize(table["seed"])[0]
    draws = np.empty((0, len(beta)))
    if n_boot and not _single_runs(strata):
        start = np.append(beta, sigma)
        draws = bootstrap(regression, strata, resample == "seed", n_boot, np.random.default_rng(seed), start)
    G = len(groups)
    return ScalingFit(
        onset=onset,
        x=x,
        by=by,
        slope=slope,
        resample=resample,
        groups=groups,
        exponent=float(beta[-1]) if slope == "shared" else dict(zip(groups, beta[G:].tolist(), strict=True)),
        prefactor=dict(zip(groups, np.exp(beta[:G]).tolist(), strict=True)) if by else float(np.exp(beta[0])),
        sigma=sigma,
        log_likelihood=float(fit.log_likelihood[0] - regression.log_lower[regression.exact].sum()),
        n_runs=len(table),
        n_censored=int(np.isinf(table["upper"]).sum()),
        n_left_out=n_left_out,
        unit=unit_of(df),
        n_boot=n_boot,
        table=table if "group" in by else table.assign(group=group),
        group=group,
        regression=regression,
        beta=beta,
        draws=draws,
        strata=strata,
    )


@dataclass(frozen=True, eq=False)
class ScalingFit:
    """A fitted scaling law tau = prefactor * x^exponent, in the table's unit of training time.

    Attributes:
        groups: keys of the groups: the value of one `by` column, tuples of several.
        exponent: shared, or a dict by group with separate slopes.
        prefactor: median onset at x = 1, in the unit: a dict by group, a float without groups.
        sigma: standard deviation of log tau about the line, in nats (natural log).
        log_likelihood: in nats; an interval counts by its probability, an exact onset by its density per step.
        n_runs, n_censored: runs, and those of them right-censored.
        n_left_out: runs besides, of which nothing is known.
        unit: of training time, from the table's column ``unit``: steps where it has none.
        n_boot: resamples asked for; `draws` holds those whose fit converged.
        table: the runs: lower, upper, x, seed, the `by` columns, and group unless a `by` column has its name.
        group: each run's index into `groups` (n,).
        regression, beta, draws, strata: the likelihood, its maximum, bootstrap coefficients and resampling strata.
    """

    onset: str
    x: str
    by: tuple[str, ...]
    slope: Slope
    resample: Resample
    groups: tuple[Hashable, ...]
    exponent: float | dict[Hashable, float]
    prefactor: float | dict[Hashable, float]
    sigma: float
    log_likelihood: float
    n_runs: int
    n_censored: int
    n_left_out: int
    unit: str
    n_boot: int
    table: pd.DataFrame
    group: np.ndarray
    regression: CensoredRegression
    beta: np.ndarray
    draws: np.ndarray
    strata: np.ndarray

    @cached_property
    def ci(self) -> Interval | dict[Hashable, Interval]:
        """The 95% interval of the exponent by profile likelihood, the default for its coverage; see `interval`."""
        return self.interval("profile")

    @cached_property
    def ci_percentile(self) -> Interval | dict[Hashable, Interval]:
        """The 95% interval of the exponent from bootstrap percentiles."""
        return self.interval("percentile")

    @cached_property
    def ci_bca(self) -> Interval | dict[Hashable, Interval]:
        """The 95% interval of the exponent from the bias-corrected and accelerated bootstrap."""
        return self.interval("bca")

    def interval(self, method: Method = "profile", confidence: float = 0.95) -> Interval | dict[Hashable, Interval]:
        """An interval of the exponent, or a dict of them by group.

        Args:
            method: ``"profile"``, the profile likelihood with a small-sample cut-off (exact for uncensored Gaussian
                scatter), which covers 94 to 97% in simulated sweeps; ``"percentile"`` or ``"bca"``, from the bootstrap,
                which assumes no shape of the scatter but has few runs in each cell to draw, and covers 90 to 95%;
                ``"weighted"``, the profile likelihood with scatter that is a power of x, for use where the
                equal_scatter test rejects: about the estimate `weighted_exponent`.
            confidence: two-sided, between 0 and 1.

        Raises:
            ValueError: an unknown method; for the bootstrap: none was made, the scatter is finer than the evaluation
                grid, or more than 5% of the resamples failed to converge.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
        G = len(self.groups)
        ends = [self._coefficient_interval(column, method, confidence) for column in range(G, len(self.beta))]
        return ends[0] if self.slope == "shared" else dict(zip(self.groups, ends, strict=True))

    @cached_property
    def scatter(self) -> ScatterTrend:
        """The law with scatter that is a power of x."""
        x = self.table["x"].to_numpy()
        return ScatterTrend(self.regression, np.log(x), cell_of(self.group, x))

    @property
    def weighted_exponent(self) -> float | dict[Hashable, float]:
        """The exponent with every run weighted for a scatter that is a power of x."""
        slopes = self.scatter.weighted.fit().beta[0, len(self.groups) :].tolist()
        return slopes[0] if self.slope == "shared" else dict(zip(self.groups, slopes, strict=True))

    @property
    def failures(self) -> list[str]:
        """The assumptions that a test rejects at 5%, in words, each with its p-value."""
        slopes = self.tests.get("equal_slopes")
        differ = self.slope == "shared" and slopes is not None and slopes.p_value is not None and slopes.p_value < 0.05
        words = {
            "log_linear": "one power law for all groups is rejected" if differ else "a power law is rejected",
            "no_curvature": "a power law is rejected for a bend",
            "equal_slopes": "the groups' exponents differ" if self.slope == "shared" else "",
            "equal_scatter": f"the scatter changes with {self.x}",
            "normal_residuals": "the scatter is not log-normal",
        }
        found = [(text, self.tests[name]) for name, text in words.items() if text and name in self.tests]
        return [f"{text} (p = {t.p_value:.2g})" for text, t in found if t.p_value is not None and t.p_value < 0.05]

    @cached_property
    def prefactor_ci(self) -> Interval | dict[Hashable, Interval]:
        """95% intervals of the prefactors, in the unit: by profile likelihood, and by the standard error of the log of
        the prefactor where there are more than 100 groups."""
        G = len(self.groups)
        if G > _MOST_PROFILES:
            ends = list(np.exp(self.regression.wald_intervals(np.arange(G))))
        else:
            ends = [np.exp(self.regression.profile_interval(k)) for k in range(G)]
        pairs = [(float(low), float(high)) for low, high in ends]
        return dict(zip(self.groups, pairs, strict=True)) if self.by else pairs[0]

    @cached_property
    def tests(self) -> dict[str, ScalingTest]:
        """Likelihood-ratio and residual tests by name; see `scaling_tests`."""
        return scaling_tests(self.table, self.by, self.slope == "separate")

    @property
    def aic(self) -> float:
        """Akaike's criterion, 2 (coefficients + 1) - 2 log-likelihood; comparable between fits to the same runs."""
        return 2 * (len(self.beta) + 1) - 2 * self.log_likelihood

    @property
    def pseudo_r2(self) -> float:
        """McKelvey and Zavoina's (1975): the share of the variance of log tau that the fitted means explain."""
        explained = float(np.var(self.regression.means(self.beta)))
        return explained / (explained + self.sigma**2)

    @property
    def at_resolution(self) -> bool:
        """Whether the scatter is finer than the evaluation grid: sigma is then ill-determined, and only the profile
        intervals, which range over all sigma that the runs allow, are to be trusted; the bootstrap refuses."""
        return self.sigma <= self.regression.resolution

    @property
    def single_runs(self) -> bool:
        """Whether every cell of equal group and x has one run: scatter and lack of fit then look alike, so intervals
        hold if the power law does, no test can reject it, and the bootstrap within cells has nothing to draw."""
        return _single_runs(cell_of(self.group, self.table["x"].to_numpy()))

    @cached_property
    def residuals(self) -> pd.DataFrame:
        """The runs with their fitted median onset, ``fitted``, and generalised ``residual`` in units of sigma.

        The residual is the mean error over the run's interval (Gourieroux et al. 1987); see the normal_residuals test.
        """
        fitted = np.exp(self.regression.means(self.beta))
        return self.table.assign(fitted=fitted, residual=self.regression.residuals(self.beta, self.sigma))

    @cached_property
    def ols(self) -> LeastSquares:
        """Least squares without the censored runs, with Student's 95% intervals; the tests check it by statsmodels."""
        return fit_least_squares(self.regression, self.groups, self.slope == "shared", bool(self.by))

    def predict(self, x: np.ndarray | Sequence[float], group: Hashable = None) -> np.ndarray:
        """Median onset, in the unit, at values of x, for a group (or the only one)."""
        return np.exp(self._lines(x, group) @ self.beta)

    def band(self, x: np.ndarray | Sequence[float], group: Hashable = None) -> tuple[np.ndarray, np.ndarray]:
        """Pointwise 95% bootstrap band of `predict`; ValueError as for bootstrap intervals."""
        self._check_bootstrap()
        low, high = np.quantile(self._lines(x, group) @ self.draws.T, [0.025, 0.975], axis=1)
        return np.exp(low), np.exp(high)

    def to_frame(self) -> pd.DataFrame:
        """One row per group: n_runs, n_censored, exponent and prefactor with 95% intervals, sigma."""
        return scaling_frame(self)

    def to_markdown(self) -> str:
        """`to_frame` as a Markdown table, intervals in brackets."""
        return markdown_table(*scaling_rows(self))

    def to_latex(self) -> str:
        """`to_frame` as a LaTeX tabular (booktabs)."""
        return latex_table(*scaling_rows(self))

    def summary(self) -> str:
        """The fit, its intervals, tests and the least-squares comparison, as text."""
        return scaling_summary(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Points with interval bars, censored runs as arrows, fitted lines with bootstrap bands; see `plot_scaling`."""
        from .scaling_figure import plot_scaling

        return plot_scaling(self, ax)

    def _coefficient_interval(self, column: int, method: Method, confidence: float) -> Interval:
        if method == "profile":
            return self.regression.profile_interval(column, confidence)
        if method == "weighted":
            return self.scatter.weighted.profile_interval(column, confidence)
        if method not in ("percentile", "bca"):
            raise ValueError(f"method must be 'profile', 'percentile', 'bca' or 'weighted', got {method!r}")
        self._check_bootstrap()
        draws = self.draws[:, column]
        if method == "percentile":
            return percentile_interval(draws, confidence)
        influence = self.regression.influence(self.beta, self.sigma, column)
        if self.resample == "seed":
            influence = np.bincount(self.strata, weights=influence)
            return bca_interval(draws, float(self.beta[column]), influence - influence.mean(), confidence)
        return bca_interval(draws, float(self.beta[column]), centre(influence, self.strata), confidence)

    def _check_bootstrap(self) -> None:
        if self.n_boot == 0:
            raise ValueError("this fit has no bootstrap; fit with n_boot=2000")
        if _single_runs(self.strata):
            raise ValueError("undecided: every cell has a single run, so there is nothing to draw; add seeds")
        if self.at_resolution:
            raise ValueError("undecided: the scatter is finer than the evaluation grid, so resamples hide it")
        if len(self.draws) < 0.95 * self.n_boot:
            failed = self.n_boot - len(self.draws)
            raise ValueError(f"undecided: {failed} of {self.n_boot} bootstrap fits did not converge; add runs")

    def _lines(self, x: np.ndarray | Sequence[float], group: Hashable) -> np.ndarray:
        if group is None and len(self.groups) == 1:
            group = self.groups[0]
        if group not in self.groups:
            raise ValueError(f"name a group, one of {list(self.groups)}, got {group!r}")
        k = self.groups.index(group)
        values = np.atleast_1d(np.asarray(x, dtype=float))
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"{self.x} must be positive and finite, got {values.tolist()}")
        log_x = np.log(values)
        design = np.zeros((len(log_x), len(self.beta)))
        design[:, k] = 1.0
        design[:, len(self.groups) + (k if self.slope == "separate" else 0)] = log_x
        return design


def _regression(
    table: pd.DataFrame, groups: tuple[Hashable, ...], group: np.ndarray, slope: Slope, onset: str, x: str
) -> CensoredRegression:
    """The likelihood of the table; ValueError where it has no finite maximum, naming what is missing."""
    values = table["x"].to_numpy()
    if len(np.unique(values)) < 2:
        raise ValueError(f"all runs have {x}={values[0]:g}; an exponent needs at least two values")
    if np.isinf(table["upper"]).all():
        raise ValueError(f"all {len(table)} runs are censored: no {onset} was seen; train longer")
    with np.errstate(divide="ignore"):  # lower = 0 is left-censored
        lower, upper = np.log(table["lower"].to_numpy()), np.log(table["upper"].to_numpy())
    regression = CensoredRegression(lower, upper, line_design(group, np.log(values), slope == "separate"))
    informative = regression.informative
    for k, key in enumerate(groups):
        mine = values[informative & (group == k)]
        if len(mine) == 0:
            raise ValueError(f"group {key!r} never shows {onset} between two evaluations; drop it or train longer")
        if slope == "separate" and len(np.unique(mine)) < 2:
            raise ValueError(f"group {key!r} has {onset} at {x}={mine[0]:g} alone; its slope needs two values of {x}")
    if fault := unidentified(regression):
        raise ValueError(f"{onset} against {x}: {fault}; add runs or train longer")
    return regression


def _single_runs(strata: np.ndarray) -> bool:
    return int(strata.max()) + 1 == len(strata)
