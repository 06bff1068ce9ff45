"""Onsets and learning curves of many runs as tables, for the figures that compare runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...empirics import Run, find_onsets
from ...empirics.onsets import CLOCKS
from ...empirics.statistics.runs_table import architecture, median_end
from ...theory import rule

ARCHITECTURES = {"dit": "DiT", "gpt": "GPT"}
"""Names of the values of the column `architecture`."""

IDENTITY = ("architecture", "model", "rule", "n_train", "seed")
"""Columns that tell the runs of a figure apart, with those of the config that it varies besides."""


OTHERS = ("tau_rule_all", "tau_mem_chance", "tau_mem_10")
"""Other criteria of rule and copying, kept beside the clocks so that a figure can be judged by them too."""


def judged_by_all(run: Run) -> dict[str, float]:
    """The null of copying of a run with evaluations, and the ends of each of `OTHERS`, as columns."""
    found = find_onsets(
        run.metrics, run.chance, run.rule.alphabet, OTHERS, null=run.null, n_generated=run.config.n_eval
    )
    ends = {f"{name}_{end}": getattr(onset, end) for name, onset in found.items() for end in ("lower", "upper")}
    return {"null": run.null, **ends}


def onset_table(runs: Sequence[Run], criteria: Sequence[str] = CLOCKS, fields: Sequence[str] = ()) -> pd.DataFrame:
    """One row per run: `IDENTITY`, the config's `fields`, status, last_step, chance, the ends of each onset (steps),
    and what `judged_by_all` adds.

    An onset lies in (lower, upper], upper = inf when censored, as in `runs_table`. A run that diverged before its
    first evaluation has (0, inf): nothing is known.
    """
    rows = []
    for run in runs:
        metrics, chance = run.metrics, run.chance
        row = {**_identity(run, fields), "status": run.status, "last_step": 0, "chance": chance}
        row |= {f"{name}_{end}": value for name in OTHERS for end, value in (("lower", 0.0), ("upper", np.inf))}
        ends = dict.fromkeys(criteria, (0.0, np.inf))
        if len(metrics):
            row["last_step"] = int(metrics["step"].iloc[-1])
            found = find_onsets(
                metrics, chance, run.rule.alphabet, criteria, null=run.null, n_generated=run.config.n_eval
            )
            ends = {name: (onset.lower, onset.upper) for name, onset in found.items()}
            row |= judged_by_all(run)
        for name, (lower, upper) in ends.items():
            row |= {f"{name}_lower": lower, f"{name}_upper": upper}
        rows.append(row)
    columns = [*IDENTITY, *fields, "status", "last_step", "chance"]
    columns += [f"{name}_{end}" for name in criteria for end in ("lower", "upper")]
    others = ["null", *(f"{name}_{end}" for name in OTHERS for end in ("lower", "upper"))]
    return pd.DataFrame(rows, columns=[*columns, *(name for name in others if name not in columns)])


def curve_table(runs: Sequence[Run], metrics: Sequence[str], fields: Sequence[str] = ()) -> pd.DataFrame:
    """One row per evaluation: `IDENTITY`, the config's `fields`, step, and columns of `Run.metrics` as float32."""
    tables = []
    for run in runs:
        measured = run.metrics
        if measured.empty:
            continue
        table = measured[["step", *metrics]].astype(dict.fromkeys(metrics, np.float32))
        tables.append(table.assign(**_identity(run, fields)))
    order = [*IDENTITY, *fields, "step", *metrics]
    return pd.concat(tables, ignore_index=True)[order] if tables else pd.DataFrame(columns=order)


def known(table: pd.DataFrame, onset: str) -> pd.DataFrame:
    """The rows whose interval of an onset says anything."""
    return table[~((table[f"{onset}_lower"] == 0) & np.isinf(table[f"{onset}_upper"]))]


def middles(table: pd.DataFrame, onset: str) -> np.ndarray:
    """Geometric middles (n,) of an onset's intervals, in steps: inf when censored, the upper end where lower is 0."""
    lower, upper = (table[f"{onset}_{end}"].to_numpy(float) for end in ("lower", "upper"))
    return np.where(
        np.isinf(upper), np.inf, np.where(lower > 0, np.sqrt(lower * np.where(np.isinf(upper), 1, upper)), upper)
    )


def median_onset(table: pd.DataFrame, onset: str) -> float:
    """The median over runs of an onset, in steps: inf when half of them or more are censored, NaN without runs."""
    seen = middles(known(table, onset), onset)
    return float(np.exp(median_end(np.log(seen)))) if len(seen) else np.nan


def median_text(table: pd.DataFrame, onset: str) -> str:
    """`median_onset` in words: steps, ``not reached`` when infinite, ``unknown`` when no run says anything."""
    median = median_onset(table, onset)
    if np.isnan(median):
        return "unknown"
    return steps_text(median, "not reached")


def steps_text(steps: float, never: str = "not seen") -> str:
    """A number of steps, or what stands for infinity."""
    return f"{steps:.0f}" if np.isfinite(steps) else never


def rule_shape(spec: str) -> str:
    """The grid in a rule's spec as text, such as 6x6."""
    return "x".join(map(str, rule(str(spec)).shape))


def _identity(run: Run, fields: Sequence[str]) -> dict[str, Any]:
    config = run.config
    return {
        "architecture": architecture(config.model),
        "model": config.model,
        "rule": config.rule,
        "n_train": config.n_train,
        "seed": config.seed,
        **{field: getattr(config, field) for field in fields},
    }
