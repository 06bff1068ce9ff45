"""A scaling fit as tables and text."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..text_tables import plain_table
from ..versions import own_version

if TYPE_CHECKING:
    from .scaling import ScalingFit
    from .scaling_tests import ScalingTest

COLUMNS = (
    "lower", "upper", "x", "n_runs", "n_censored", "exponent", "exponent_low", "exponent_high", "prefactor",
    "prefactor_low", "prefactor_high", "sigma", "fitted", "residual",
)  # fmt: skip
"""Names that the tables of a fit use, so that no column of groups can have them."""

METHODS: tuple[Literal["profile", "percentile", "bca", "weighted"], ...] = (
    "profile",
    "percentile",
    "bca",
    "weighted",
)


def scaling_frame(fit: ScalingFit) -> pd.DataFrame:
    """One row per group; see `ScalingFit.to_frame`."""
    rows = []
    for k, key in enumerate(fit.groups):
        values = key if isinstance(key, tuple) and len(fit.by) > 1 else (key,)
        mine = fit.group == k
        low, high = _of(fit.ci, key)
        c_low, c_high = _of(fit.prefactor_ci, key)
        rows.append(
            {
                **dict(zip(fit.by or ("group",), values, strict=True)),
                "n_runs": int(mine.sum()),
                "n_censored": int(np.isinf(fit.table["upper"].to_numpy()[mine]).sum()),
                "exponent": _of(fit.exponent, key),
                "exponent_low": low,
                "exponent_high": high,
                "prefactor": _of(fit.prefactor, key),
                "prefactor_low": c_low,
                "prefactor_high": c_high,
                "sigma": fit.sigma,
            }
        )
    return pd.DataFrame(rows)


def scaling_rows(fit: ScalingFit) -> tuple[list[str], list[list[str]]]:
    """Header and rows of text, for a table in any format."""
    frame = scaling_frame(fit)
    names = [str(name) for name in frame.columns[: len(fit.by) or 1]]
    header = [*names, "runs", "censored", "exponent [95% CI]", f"prefactor, {fit.unit} [95% CI]"]
    rows = [
        [
            *(str(row[name]) for name in names),
            str(row["n_runs"]),
            str(row["n_censored"]),
            f"{row['exponent']:.3f} [{row['exponent_low']:.3f}, {row['exponent_high']:.3f}]",
            f"{row['prefactor']:.3g} [{row['prefactor_low']:.3g}, {row['prefactor_high']:.3g}]",
        ]
        for _, row in frame.iterrows()
    ]
    return header, rows


def scaling_summary(fit: ScalingFit) -> str:
    """The law, the runs, its intervals and tests, the assumptions that fail, and how to cite."""
    upper, lower, x = fit.table["upper"].to_numpy(), fit.table["lower"].to_numpy(), fit.table["x"].to_numpy()
    n_exact = int(fit.regression.exact.sum())
    c = "c_group" if fit.by else "c"
    shared = not isinstance(fit.exponent, dict)
    lines = [
        f"{fit.onset} ~ {fit.x}^exponent, {fit.slope} slope, groups by {', '.join(fit.by) or 'nothing'}: "
        f"{len(fit.groups)}",
        f"log {fit.onset} = log {c} + exponent{'' if shared else '_group'} log {fit.x} + sigma * Normal(0, 1); "
        f"{fit.onset} in {fit.unit}, natural logs",
        "sigma: standard deviation of the log of the onset about the line, between runs of a cell",
        f"{fit.n_runs} runs, {fit.n_censored} censored (later than the last evaluation), "
        f"{int((lower == 0).sum())} earlier than the first, {n_exact} exact, the others between two evaluations",
        *([f"{fit.n_left_out} more left out: (0, inf] says nothing of them"] if fit.n_left_out else []),
        f"{fit.x} from {x.min():g} to {x.max():g}, {len(np.unique(x))} values; {fit.table['seed'].nunique()} seeds; "
        f"{fit.regression.degrees_of_freedom} degrees of freedom ({int(np.isfinite(upper).sum())} uncensored runs less "
        f"{len(fit.beta)} coefficients)",
        "maximum likelihood on intervals, converged; " + _resampling(fit),
        "",
        plain_table(*scaling_rows(fit)),
        "",
    ]
    if shared:
        lines += [f"exponent {fit.exponent:.3f}, 95% intervals:"]
        lines += [f"  {method:<11}{_interval_text(fit, method)}" for method in METHODS]
        ols, (low, high) = fit.ols, _of(fit.ols.ci, None)
        lines += [f"least squares without censored runs: {ols.exponent:.3f} [{low:.3f}, {high:.3f}], {ols.n_runs} runs"]
    bound = ", ill-determined: finer than the evaluation grid" if fit.at_resolution else ""
    failures = fit.failures
    lines += [
        f"sigma {fit.sigma:.3f}{bound}; log-likelihood {fit.log_likelihood:.2f}; AIC {fit.aic:.2f}; "
        f"McKelvey-Zavoina R2 {fit.pseudo_r2:.3f}",
        *(str(test) for test in fit.tests.values()),
        f"assumptions rejected at 5%: {'; '.join(failures)}" if failures else "no assumption is rejected at 5%",
        *(_advice(fit)),
        f"twoclocks {own_version()}; how to cite: CITATION.cff of the package, and the paper whose claims it tests",
    ]
    return "\n".join(lines)


def _resampling(fit: ScalingFit) -> str:
    if not fit.n_boot:
        return "no bootstrap"
    if fit.single_runs and fit.resample == "cell":
        return "no bootstrap: every cell has a single run"
    what = "runs within cells" if fit.resample == "cell" else "whole seeds"
    return f"{fit.n_boot} resamples of {what} (Rao-Wu weights), {len(fit.draws)} of them converged"


def _advice(fit: ScalingFit) -> list[str]:
    """What to read in place of what an assumption spoils."""
    lines = []
    tests, shared = fit.tests, fit.slope == "shared"
    if fit.single_runs:
        lines.append(
            "every cell has a single run: sigma and the intervals take the power law for true; add seeds to test it"
        )
    if shared and any(rejected(tests.get(name)) for name in ("equal_slopes", "log_linear", "no_curvature")):
        lines.append("read the exponent as an average: it is no law of every group and x; fit slope='separate' too")
    if rejected(tests["equal_scatter"]) and not any(rejected(tests[name]) for name in ("log_linear", "no_curvature")):
        lines.append("read the weighted interval: the others take the scatter to be the same at all x")
    if rejected(tests["normal_residuals"]):
        lines.append("read the bootstrap intervals: the others take the scatter to be log-normal")
    return lines


def rejected(test: ScalingTest | None) -> bool:
    """Whether a test decides against its hypothesis at 5%."""
    return test is not None and test.p_value is not None and test.p_value < 0.05


def _of(value: Any, key: Hashable) -> Any:
    """A group's entry of a dict, or the value that all groups share."""
    return value[key] if isinstance(value, dict) else value


def _interval_text(fit: ScalingFit, method: Literal["profile", "percentile", "bca", "weighted"]) -> str:
    if method == "weighted" and fit.tests["equal_scatter"].p_value is None:
        return f"undecided: {fit.tests['equal_scatter'].note}"
    try:
        low, high = _of(fit.interval(method), None)
    except ValueError as fault:
        return str(fault)
    about = f" about {fit.weighted_exponent:.3f}" if method == "weighted" else ""
    return f"[{low:.3f}, {high:.3f}]{about}"
