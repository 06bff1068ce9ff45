"""State rasters of the dissected runs: kept as compact tables, and the transitions that tell stages apart."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from ...empirics import Run, StateRaster, state_raster, transition_matrix
from ...empirics.probes.states import STATES, transition_windows
from ...empirics.probes.summary import RunSummary
from ...theory.memorization import binomial_interval
from .verdicts import Word, word

CLAIMED = {
    "quantization": ("ambiguous", "violating"),
    "rule learning": ("violating", "novel_valid"),
    "memorization": ("novel_valid", "memorized"),
}
"""In each of `transition_windows`, the change of state that the paper shows to prevail."""

COPIED = 0.1
"""Memorization has come far enough to be judged once this part of the samples is memorized, where the window shuts."""


@lru_cache(maxsize=4)
def run_raster(run: Run, n: int) -> StateRaster:
    """`state_raster` of a run, kept for the next figure that asks for the same."""
    return state_raster(run, n)


def raster_columns(raster: StateRaster) -> pd.DataFrame:
    """The raster as a compact table: one row per sample, one int8 column per step, named by the step."""
    return pd.DataFrame(raster.states, columns=[str(step) for step in raster.steps])


def read_raster_columns(table: pd.DataFrame) -> StateRaster:
    """The raster that `raster_columns` made a table of."""
    return StateRaster(table.to_numpy(np.int8), tuple(int(step) for step in table.columns))


def claimed_changes(raster: StateRaster, run: RunSummary) -> pd.DataFrame:
    """How many of the samples whose state changes in a window change as the paper shows.

    Returns:
        One row a window of `transition_windows`: window; first_step, last_step; start and end, the names of the states
        of the claimed change; changed, how many samples are in different states at the two steps; claimed, how many
        made the claimed change; low, high, the exact 95% interval of their ratio; arrived, the share of all samples
        that are in the end state at the last step.
    """
    rows = []
    for name, (first, last) in transition_windows(raster, run.onsets).items():
        counts = transition_matrix(raster, first, last).to_numpy()
        start, end = CLAIMED[name]
        changed = int(counts.sum() - np.trace(counts))
        claimed = int(counts[STATES.index(start), STATES.index(end)])
        low, high = binomial_interval(claimed, changed) if changed else (0.0, 1.0)
        arrived = float(counts[:, STATES.index(end)].sum() / counts.sum())
        rows.append({"window": name, "first_step": first, "last_step": last, "start": start, "end": end,
                     "changed": changed, "claimed": claimed, "low": low, "high": high,
                     "arrived": arrived})  # fmt: skip
    columns = ["window", "first_step", "last_step", "start", "end", "changed", "claimed", "low", "high", "arrived"]
    return pd.DataFrame(rows, columns=columns)


def changes_word(changes: pd.DataFrame, windows: int) -> Word:
    """agree: in all of so many windows most changes are the claimed one; differ: in one they are the lesser part.

    Memorization that has only begun, with a part below `COPIED` memorized at its end, is not judged.
    """
    judged = changes[~_begun(changes)]
    return word(len(judged) == windows and bool((judged["low"] > 0.5).all()), bool((judged["high"] < 0.5).any()))


def changes_text(changes: pd.DataFrame) -> str:
    """In words: ``memorization (steps 86 to 258): 95 of 98 changes are valid and novel to memorized, 0.97 [..]``."""
    parts = [
        f"{row['window']} (steps {row['first_step']} to {row['last_step']}): {row['claimed']} of {row['changed']} "
        f"changes are {_plain(row['start'])} to {_plain(row['end'])}, {row['claimed'] / max(1, row['changed']):.2f} "
        f"[{row['low']:.2f}, {row['high']:.2f}]"
        for row in changes.to_dict("records")
    ]
    for share in changes.loc[_begun(changes), "arrived"]:
        parts.append(f"only {share:.2f} of the samples are memorized in the end, too few to judge that stage")
    return "; ".join(parts) or "no clock struck"


def novel_before_memorized(raster: StateRaster) -> tuple[int, int]:
    """Of the samples that are memorized at the last step, how many were valid and novel at an earlier one; and all."""
    last = raster.states[:, -1] == STATES.index("memorized")
    novel = (raster.states[:, :-1] == STATES.index("novel_valid")).any(1)
    return int((last & novel).sum()), int(last.sum())


def _plain(state: str) -> str:
    return "valid and novel" if state == "novel_valid" else state


def _begun(changes: pd.DataFrame) -> pd.Series:
    return (changes["window"] == "memorization") & (changes["arrived"] < COPIED)
