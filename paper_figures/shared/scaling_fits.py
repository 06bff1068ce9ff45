"""Power laws of tau_mem in N, by model and rule, with the fits that the runs do not determine left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...empirics import ScalingFit, fit_scaling

POOLED = "all"
"""In the column `rule` of an exponent that several rules share, and in `model` likewise."""

POINTS = 40


def exponent_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Exponents of tau_mem in N with 95% profile-likelihood intervals.

    For each model, in the order of the table: one row per rule, and one with an exponent shared by its rules.

    Args:
        runs: an `onset_table`.

    Returns:
        Columns model, rule (or `POOLED`), exponent, low, high, n_runs, n_censored.
    """
    rows = []
    for model, table in runs.groupby("model", sort=False):
        for rule, fit in _separate(table).items():
            rows.append({"model": model, "rule": rule, **_exponent(fit)})
        if shared := _fit(_fittable(table), ("rule",), 0):
            rows.append({"model": model, "rule": POOLED, **_exponent(shared)})
    return pd.DataFrame(rows, columns=["model", "rule", "exponent", "low", "high", "n_runs", "n_censored"])


def line_table(runs: pd.DataFrame, n_boot: int = 2000) -> pd.DataFrame:
    """The fitted power laws by model and rule: median tau_mem in steps over N, with a pointwise 95% bootstrap band.

    Returns:
        Columns model, rule, n_train, tau_mem, low, high; the band is NaN where the bootstrap refuses (the scatter is
        finer than the evaluation grid, or resamples leave the fit undetermined).
    """
    rows = []
    for model, table in runs.groupby("model", sort=False):
        for rule, fit in _separate(table, n_boot).items():
            x = fit.table["x"]
            at = np.geomspace(x.min() / 1.15, x.max() * 1.15, POINTS)
            try:
                low, high = fit.band(at)
            except ValueError:
                low = high = np.full(POINTS, np.nan)
            rows.append(
                pd.DataFrame(
                    {"model": model, "rule": rule, "n_train": at, "tau_mem": fit.predict(at), "low": low, "high": high}
                )
            )
    columns = ["model", "rule", "n_train", "tau_mem", "low", "high"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def quality_table(runs: pd.DataFrame) -> pd.DataFrame:
    """How well a power law of tau_mem in N describes the runs of each model and rule.

    Returns:
        Columns model, rule; r2, the share of the variance of log tau_mem that the fit explains (McKelvey and Zavoina,
        1975); p_value, that medians of the N lie on one line by chance if the law holds (likelihood ratio against a
        mean of its own for each N), NaN where the runs cannot tell.
    """
    rows = []
    for model, table in runs.groupby("model", sort=False):
        for rule, fit in _separate(table).items():
            p_value = fit.tests["log_linear"].p_value
            p_value = math.nan if p_value is None else p_value
            rows.append({"model": model, "rule": rule, "r2": fit.pseudo_r2, "p_value": p_value})
    return pd.DataFrame(rows, columns=["model", "rule", "r2", "p_value"])


def equal_exponents_p(table: pd.DataFrame, x: str, by: str) -> float:
    """p that the groups of a column share an exponent of tau_mem in x, by the fit's own test; NaN if it cannot tell."""
    p_value = fit_scaling(table, "tau_mem", x, by, n_boot=0).tests["equal_slopes"].p_value
    return math.nan if p_value is None else p_value


def shared_exponent(
    table: pd.DataFrame, onset: str = "tau_mem", by: str | Sequence[str] = ()
) -> tuple[float, float, float]:
    """The exponent of an onset in N, shared by the groups, with its 95% profile-likelihood interval."""
    return _with_interval(fit_scaling(table, onset, by=by, n_boot=0))


def _separate(table: pd.DataFrame, n_boot: int = 0) -> dict[str, ScalingFit]:
    """A fit for each rule that has one."""
    fits = {str(rule): _fit(cell, (), n_boot) for rule, cell in table.groupby("rule", sort=False)}
    return {rule: fit for rule, fit in fits.items() if fit}


def _fittable(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of rules that show tau_mem between two evaluations at all."""
    seen = (table["tau_mem_lower"] > 0) & np.isfinite(table["tau_mem_upper"])
    return table[table["rule"].isin(table["rule"][seen])]


def _fit(table: pd.DataFrame, by: tuple[str, ...], n_boot: int) -> ScalingFit | None:
    try:
        return fit_scaling(table, "tau_mem", by=by, n_boot=n_boot)
    except ValueError:  # too few onsets, seeds or N
        return None


def _exponent(fit: ScalingFit) -> dict[str, float]:
    exponent, low, high = _with_interval(fit)
    return {"exponent": exponent, "low": low, "high": high, "n_runs": fit.n_runs, "n_censored": fit.n_censored}


def _with_interval(fit: ScalingFit) -> tuple[float, float, float]:
    assert isinstance(fit.exponent, float)
    assert isinstance(fit.ci, tuple)
    return fit.exponent, *fit.ci
