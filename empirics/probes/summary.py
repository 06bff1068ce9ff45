"""What figures must know of a run beside their tables, kept as a row, so that they draw without the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ..onsets import CLOCKS, Onset, detect_onset
from ..runs.run import Run

RULE_HALF = "rule_half"
"""Onset of a rule accuracy of a half: the middle of rule learning, where tau_rule waits for nine tenths."""


@dataclass(frozen=True)
class RunSummary:
    """The scale and the clocks of one ended run.

    Attributes:
        rule, model, n_train, seed: of its config.
        onsets: tau_rule and tau_mem, as `Run.onsets`, and `RULE_HALF`.
        checkpoint_steps: training steps whose weights are kept.
    """

    rule: str
    model: str
    n_train: int
    seed: int
    onsets: Mapping[str, Onset]
    checkpoint_steps: tuple[int, ...]


def run_summary(run: Run | RunSummary) -> RunSummary:
    """The summary of an ended run; a summary itself as it is.

    Raises:
        ValueError: the run has not ended.
    """
    if isinstance(run, RunSummary):
        return run
    config, onsets, metrics = run.config, run.onsets, run.metrics
    if len(metrics):  # a run that diverged at once has none
        onsets[RULE_HALF] = detect_onset(metrics["step"].to_numpy(), metrics["rule_accuracy"].to_numpy(), 0.5)
    steps = tuple(run.checkpoint_steps)
    return RunSummary(config.rule, config.model, config.n_train, config.seed, onsets, steps)


def summary_table(record: RunSummary) -> pd.DataFrame:
    """The summary as one row: its fields, and each onset's ends in NAME_lower and NAME_upper (inf when censored)."""
    ends: dict[str, float] = {}
    for name, onset in record.onsets.items():
        ends |= {f"{name}_lower": onset.lower, f"{name}_upper": onset.upper}
    fields = {name: getattr(record, name) for name in ("rule", "model", "n_train", "seed")}
    return pd.DataFrame([{**fields, **ends, "checkpoint_steps": list(record.checkpoint_steps)}])


def read_summary(table: pd.DataFrame) -> RunSummary:
    """The summary that `summary_table` made a row of.

    Raises:
        ValueError: not exactly one row.
    """
    if len(table) != 1:
        raise ValueError(f"a record is a table of one row, got {len(table)}")
    row = table.iloc[0]
    onsets = {}
    for name in (*CLOCKS, *([RULE_HALF] if f"{RULE_HALF}_lower" in table else [])):
        lower, upper = float(row[f"{name}_lower"]), float(row[f"{name}_upper"])
        onsets[name] = Onset(upper, lower, upper, upper == float("inf"))
    steps = tuple(int(step) for step in row["checkpoint_steps"])
    return RunSummary(str(row["rule"]), str(row["model"]), int(row["n_train"]), int(row["seed"]), onsets, steps)
