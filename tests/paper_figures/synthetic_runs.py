"""Onset tables and curves of runs that never were, with known laws, to draw figures of and to try their answers on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from twoclocks.paper_figures.shared.clock_tables import IDENTITY

GRID = 1.15
"""Ratio of the steps of successive evaluations."""

Clocks = Mapping[str, float]
"""Onset in steps by name."""


def onset_rows(
    settings: Iterable[Mapping[str, Any]], clocks: Callable[[Mapping[str, Any]], Clocks], last_step: float = 1e5,
    scatter: float = 0.1, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """A row for each setting, its onsets log-normal about what `clocks` says, seen on a grid up to the last step."""
    rng = np.random.default_rng(seed)
    rows = []
    for setting in settings:
        row = {"architecture": str(setting["model"]).partition("-")[0], **setting, "status": "finished",
               "last_step": int(last_step), "chance": 0.01}  # fmt: skip
        for name, step in clocks(setting).items():
            drawn = step * np.exp(scatter * rng.standard_normal())
            lower = GRID ** np.floor(np.log(drawn) / np.log(GRID))
            seen = lower * GRID <= last_step
            row |= {f"{name}_lower": min(lower, last_step), f"{name}_upper": lower * GRID if seen else np.inf}
        rows.append(row)
    return pd.DataFrame(rows)


def curve_rows(runs: pd.DataFrame, fields: tuple[str, ...] = ()) -> pd.DataFrame:
    """Accuracy and memorization that rise from 0 to 1 about each run's onsets, 20 evaluations per run."""
    tables = []
    for _, run in runs.iterrows():
        step = np.geomspace(10, run["last_step"], 20).round()
        rise = {
            metric: 1 / (1 + (np.minimum(run[f"{clock}_upper"], 1e9) / step) ** 6 / 9)
            for metric, clock in (("rule_accuracy", "tau_rule"), ("memorization", "tau_mem"))
        }
        identity = {name: run[name] for name in (*IDENTITY, *fields)}
        tables.append(pd.DataFrame({"step": step, **rise}).assign(**identity))
    return pd.concat(tables, ignore_index=True)
