"""The table of all clocks as text: a row for each rule, model and N, a column for each onset."""

from __future__ import annotations

import math

import pandas as pd

from ..text_tables import latex_table, markdown_table
from .runs_table import MEASURES


def cells_to_markdown(cells: pd.DataFrame) -> str:
    """The table of `clocks_by_cell` in Markdown.

    An entry such as ``(94, 108]; all in (81, 124]`` holds the median onset in steps and the range of all runs of the
    cell; ``1 of 3 censored`` follows where runs ended before the onset.
    """
    return markdown_table(*cell_rows(cells))


def cells_to_latex(cells: pd.DataFrame) -> str:
    """The table of `clocks_by_cell` as a LaTeX tabular (booktabs), entries as in `cells_to_markdown`."""
    return latex_table(*cell_rows(cells))


def cell_rows(cells: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows of text, for a table in any format."""
    by = [str(column) for column in cells.columns if column not in MEASURES]
    onsets = list(dict.fromkeys(cells["onset"]))
    rows = []
    for key, cell in cells.groupby(by, sort=False, observed=True) if by else [((), cells)]:
        entries = {row["onset"]: _entry(row) for _, row in cell.iterrows()}
        rows.append([*map(str, key), str(cell["n_runs"].max()), *(entries.get(onset, "") for onset in onsets)])
    return [*by, "runs", *onsets], rows


def _entry(row: pd.Series) -> str:
    parts = [_interval(row["median_lower"], row["median_upper"])]
    if (row["lowest"], row["highest"]) != (row["median_lower"], row["median_upper"]):
        parts.append(f"all {'' if math.isinf(row['highest']) else 'in '}{_interval(row['lowest'], row['highest'])}")
    if row["n_censored"]:
        parts.append(f"{row['n_censored']} of {row['n_runs']} censored")
    return "; ".join(parts)


def _interval(lower: float, upper: float) -> str:
    return f"> {lower:g}" if math.isinf(upper) else f"({lower:g}, {upper:g}]"
