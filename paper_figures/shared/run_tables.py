"""Runs as tidy tables for the figures of learning dynamics: one row per run, and one row per evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...empirics import Run
from ...empirics.statistics.runs_table import architecture, rule_complexity
from ...theory import chance_memorization
from .clock_tables import judged_by_all

FINAL = ("rule_accuracy", "group_accuracy", "memorization", "group_memorization", "novel_valid")
"""Ratios of `Run.metrics` that have bounds in _low and _high."""


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a parity run that has ended, in the order given.

    Returns:
        run, its number; architecture (dit, gpt), model, rule, shape (rows x columns), G, n_train, seed, batch_size,
        n_eval, status; steps taken; chance and group_chance, the exact memorization of the true law on the run's own
        training set, cube and group_cube that of a uniform sampler of all grids; cube_accuracy and
        group_cube_accuracy, how often such a sampler obeys the rule; both clocks, (lower, upper] in steps, and
        what `judged_by_all` adds.
    """
    rows = []
    for number, run in enumerate(runs):
        config, rule, train = run.config, run.rule, run.train_set
        row = {
            "run": number,
            "architecture": architecture(config.model),
            "model": config.model,
            "rule": config.rule,
            "shape": "x".join(map(str, rule.shape)),
            "G": rule_complexity(config.rule),
            "n_train": config.n_train,
            "seed": config.seed,
            "batch_size": config.batch_size,
            "n_eval": config.n_eval,
            "status": run.status,
            "steps": int(run.result["steps"]),
            "chance": run.chance,
            "group_chance": float(run.result["group_chance"]),
            "cube": chance_memorization(rule, train, "sample", "cube"),
            "group_cube": chance_memorization(rule, train, "group", "cube"),
            "cube_accuracy": rule.support_size / rule.alphabet**rule.dim,
            "group_cube_accuracy": 0.5,
        }
        for name, onset in run.onsets.items():
            row |= {f"{name}_lower": onset.lower, f"{name}_upper": onset.upper}
        if len(run.metrics):
            row |= judged_by_all(run)
        rows.append(row)
    return pd.DataFrame(rows)


def evaluations_table(runs: Sequence[Run], columns: Sequence[str]) -> pd.DataFrame:
    """One row per evaluation: run, its number as in `runs_table`; step; the columns of `Run.metrics`, in float32.

    A run that diverged before its first evaluation has no rows.
    """
    tables = []
    for number, run in enumerate(runs):
        metrics = run.metrics
        if len(metrics):
            table = metrics[list(columns)].astype("float32")
            table.insert(0, "step", metrics["step"].astype("int32"))
            table.insert(0, "run", number)
            tables.append(table)
    return (
        pd.concat(tables, ignore_index=True)
        if tables
        else pd.DataFrame({name: pd.Series(dtype=float) for name in ("run", "step", *columns)})
    )


def final_table(runs: Sequence[Run], at: Sequence[int] | None = None) -> pd.DataFrame:
    """`runs_table` with the ratios of `FINAL` and their 95% bounds; runs without an evaluation are left out.

    Args:
        runs: the runs.
        at: for each run, the step whose evaluation is wanted: the last one that is not later; by default the run's end.
    """
    rows = []
    for number, run in enumerate(runs):
        metrics = run.metrics
        if len(metrics) and at is not None:
            metrics = metrics[metrics["step"] <= at[number]]
        if len(metrics):
            last = metrics.iloc[-1]
            ends = [name + end for name in FINAL for end in ("", "_low", "_high")]
            rows.append({"run": number, "step": int(last["step"]), **{name: float(last[name]) for name in ends},
                         "memorization_p": float(last["memorization_p"])})  # fmt: skip
    columns = ["run", "step", "memorization_p", *(name + end for name in FINAL for end in ("", "_low", "_high"))]
    return runs_table(runs).merge(pd.DataFrame(rows, columns=columns), on="run")
