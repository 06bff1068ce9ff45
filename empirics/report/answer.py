"""What a report opens with: when each run, or cell of runs, learned the rule, when it began to copy, and the window."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from ..clocks_figure import window_text
from ..onsets import CLOCKS, Onset
from ..runs.folder import RunsFolder
from ..runs.reading import UNFINISHED
from ..statistics.runs_table import median_end
from .data import natural, setting_text
from .findings import FOLDER, setting_fields

MOST_RUNS = 12
"""Runs that the answer lists one by one; of more, it lists cells."""
_MOST_CELLS = 40
_CELL = ("model", "rule", "n_train")


def answer(found: RunsFolder) -> pd.DataFrame:
    """Both clocks and the window of each ended run, or of each cell of model, rule, N and setting.

    Args:
        found: the runs.

    Returns:
        One row per run, or per cell where more than `MOST_RUNS` have ended: the columns that tell rows apart, ``runs``
        (how many the row stands for), ``tau_rule`` and ``tau_mem`` as `Onset` (of a cell: the median), ``window`` as
        text. At most 40 rows; ``.attrs["left_out"]`` counts the others.
    """
    runs = found.runs[found.runs["status"] != UNFINISHED]
    runs = runs.dropna(subset=[f"{clock}_{end}" for clock in CLOCKS for end in ("lower", "upper")])
    settings = setting_fields(runs)
    apart = [*_CELL, *settings]
    if len(runs) <= MOST_RUNS:
        apart.append("seed")
    named = runs.assign(**{name: runs[name].map(setting_text) for name in settings})
    rows = []
    for key, cell in named.groupby(apart, sort=False, dropna=False):
        clocks = {name: _median(cell, name) for name in CLOCKS}
        window = window_text(clocks["tau_rule"], clocks["tau_mem"])
        rows.append({**dict(zip(apart, key, strict=True)), "runs": len(cell), **clocks, "window": window})
    rows.sort(key=lambda row: [natural(str(row[name])) for name in apart])
    table = pd.DataFrame(rows[:_MOST_CELLS], columns=[*apart, "runs", *CLOCKS, "window"])
    table.attrs["left_out"] = len(rows) - len(table)
    return table


def _median(cell: pd.DataFrame, clock: str) -> Onset:
    lower, upper = (median_end(cell[f"{clock}_{end}"].to_numpy(dtype=float)) for end in ("lower", "upper"))
    return Onset(upper, lower, upper, bool(np.isinf(upper)))


def in_words(row: pd.Series) -> str:
    """One row of the answer as a sentence."""
    settings = [name for name in row.index[len(_CELL) : row.index.get_loc("runs")] if name != "seed"]
    more = "".join(f", {name} {row[name]}" for name in ("seed", *settings) if name in row)
    who = f"{row['model']} on {row['rule']}, N = {row['n_train']:,}{more}"
    rule, mem = row["tau_rule"], row["tau_mem"]
    learned = f"learned the rule {_when(rule)}" if not rule.censored else f"had not learned the rule by {_end(rule)}"
    copied = f"began to copy {_when(mem)}" if not mem.censored else f"had not begun to copy by {_end(mem)}"
    window = str(row["window"])
    said = {"none": "no window of innovation", "unknown": "whether there is a window is not known"}
    return f"{who}: {learned}, {copied}: {said.get(window, 'a window of ' + window)}."


def _when(onset: Onset) -> str:
    if onset.lower > 0:
        return f"between steps {onset.lower:,.0f} and {onset.upper:,.0f}"
    return f"by step {onset.upper:,.0f}"


def _end(onset: Onset) -> str:
    return f"step {onset.lower:,.0f}"


def strip(rule: Onset, mem: Onset, first: float, last: float) -> str:
    """Where the page's script draws both clocks on a logarithmic axis of steps from `first` to `last`."""
    ends = (rule.lower, rule.upper, mem.lower, mem.upper)
    numbers = ",".join("-1" if np.isinf(end) else f"{end:g}" for end in (*ends, first, last))
    return f'<span data-clocks="{numbers}"></span>'


def span(table: pd.DataFrame) -> tuple[float, float]:
    """The steps that the strips of an answer cover."""
    ends = [end for name in CLOCKS for onset in table[name] for end in (onset.lower, onset.upper)]
    known = [end for end in ends if 0 < end < np.inf]
    low, high = (min(known), max(known)) if known else (1.0, 10.0)
    return low / 1.2, high * 1.2


def telling(table: pd.DataFrame) -> list[str]:
    """The columns that tell rows apart, without those that say the same in each: a phone has room for few."""
    names = table.columns[: table.columns.get_loc("runs")]
    return [str(name) for name in names if table[name].nunique() > 1]


def header(names: Sequence[str]) -> list[str]:
    """Names of columns, as shown."""
    shown = {"n_train": "N", FOLDER: "Folder"}
    return [shown.get(name, name.capitalize()) for name in names]


def cells_of(row: pd.Series, names: Sequence[str]) -> list[str]:
    """Columns of a row, escaped."""
    values = [row[name] for name in names]
    return [f"{value:,}" if isinstance(value, int | np.integer) else escape(str(value)) for value in values]


def shared(table: pd.DataFrame) -> str:
    """What all rows have in common, in words."""
    names = [str(name) for name in table.columns[: table.columns.get_loc("runs")] if table[name].nunique() <= 1]
    values = cells_of(table.iloc[0], names)
    plain = ("model", "rule")
    return ", ".join(
        value if name in plain else f"{title if title == 'N' else title.lower()} {value}"
        for name, title, value in zip(names, header(names), values, strict=True)
    )
