"""A scaling fit as tables and text."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..text_tables import plain_table

if TYPE_CHECKING:
    from .scaling import ScalingFit

COLUMNS = (
    "lower", "upper", "x", "n_runs", "n_censored", "exponent", "exponent_low", "exponent_high", "prefactor",
    "prefactor_low", "prefactor_high", "sigma", "fitted", "residual",
)  # fmt: skip
"""Names that the tables of a fit use, so that no column of groups can have them."""

METHODS: tuple[Literal["profile", "percentile", "bca"], ...] = ("profile", "percentile", "bca")


def scaling_frame(fit: ScalingFit) -> pd.DataFrame:
    """One row a group; see `ScalingFit.to_frame`."""
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
    """The fit, its intervals, tests and the least-squares comparison."""
    G = len(fit.groups)
    lines = [
        f"{fit.onset} ~ {fit.x}^exponent, {fit.slope} slope, groups by {', '.join(fit.by) or 'nothing'}: {G}",
        f"{fit.n_runs} runs, {fit.n_censored} censored; log-normal scatter, maximum likelihood on intervals",
        *([f"{fit.n_left_out} more left out: (0, inf] says nothing of them"] if fit.n_left_out else []),
        "",
        plain_table(*scaling_rows(fit)),
        "",
    ]
    if not isinstance(fit.exponent, dict):
        lines += [f"exponent {fit.exponent:.3f}, 95% intervals:"]
        lines += [f"  {method:<11}{_interval_text(fit, method)}" for method in METHODS]
        ols, (low, high) = fit.ols, _of(fit.ols.ci, None)
        lines += [f"least squares without censored runs: {ols.exponent:.3f} [{low:.3f}, {high:.3f}], {ols.n_runs} runs"]
    bound = ", ill-determined: finer than the evaluation grid" if fit.at_resolution else ""
    lines += [
        f"sigma {fit.sigma:.3f}{bound}; log-likelihood {fit.log_likelihood:.2f}; AIC {fit.aic:.2f}; "
        f"McKelvey-Zavoina R2 {fit.pseudo_r2:.3f}",
        *(str(test) for test in fit.tests.values()),
    ]
    return "\n".join(lines)


def _of(value: Any, key: Hashable) -> Any:
    """A group's entry of a dict, or the value that all groups share."""
    return value[key] if isinstance(value, dict) else value


def _interval_text(fit: ScalingFit, method: Literal["profile", "percentile", "bca"]) -> str:
    try:
        low, high = _of(fit.interval(method), None)
    except ValueError as fault:
        return str(fault)
    return f"[{low:.3f}, {high:.3f}]"
