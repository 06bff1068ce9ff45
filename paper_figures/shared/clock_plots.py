"""Onsets and learning curves of many runs, drawn the same way in every figure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from ...empirics.style import COLOURS
from .clock_tables import known, median_onset, middles

Colour = tuple[float, float, float]

CLOCK_STYLES = {  # colour, marker, line style, label
    "tau_rule": (COLOURS["rule"], "o", "-", r"$\tau_{rule}$"),
    "tau_novel": (COLOURS["novel"], "D", "-.", r"novel valid $\geq$ 0.5"),
    "tau_mem": (COLOURS["memorization"], "s", "--", r"$\tau_{mem}$"),
}
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)))
MARKERS = ("o", "s", "D", "v", "P", "X", "<", ">")


def ordered_colour(k: int, n: int) -> Colour:
    """The colour of the k-th of n values of an ordered factor, from dark to light."""
    red, green, blue, _ = colormaps["viridis"](0.82 * k / max(1, n - 1))
    return red, green, blue


def draw_onsets(
    ax: Axes,
    table: pd.DataFrame,
    onset: str,
    at: np.ndarray,
    style: tuple[Colour | str, str] | None = None,
    size: float = 4,
) -> None:
    """One bar a run over the interval that holds its onset, with a marker at the geometric middle.

    A censored onset is an open marker with an arrow upward from the last evaluation; one before the first evaluation a
    filled marker with an arrow downward. A run that says nothing is left out.

    Args:
        ax: with a logarithmic y axis.
        table: an `onset_table`.
        onset: name of its columns.
        at: x of each row (n,).
        style: colour and marker; by default those of the clock.
        size: of markers, points.
    """
    colour, marker = style or CLOCK_STYLES[onset][:2]
    rows = known(table, onset)
    x = np.asarray(at, dtype=float)[table.index.isin(rows.index)]
    lower, upper = rows[f"{onset}_lower"].to_numpy(float), rows[f"{onset}_upper"].to_numpy(float)
    late, early = np.isinf(upper), lower == 0
    seen = ~late & ~early
    middle = middles(rows, onset)
    kind: dict[str, Any] = {"color": colour, "marker": marker, "ls": "none", "ms": size, "elinewidth": 1, "alpha": 0.85}
    if seen.any():
        ax.errorbar(x[seen], middle[seen], [middle[seen] - lower[seen], upper[seen] - middle[seen]], **kind)
    if early.any():
        ax.errorbar(x[early], upper[early], 0.3 * upper[early], uplims=True, **kind)
    if late.any():
        ax.errorbar(x[late], lower[late], 0.35 * lower[late], lolims=True, mfc="white", **kind)


def draw_medians(
    ax: Axes, table: pd.DataFrame, onset: str, by: str, at: Mapping[Hashable, float], joined: bool = True
) -> None:
    """The median over seeds at each value of a column; none where half of the runs or more are censored.

    Args:
        ax: the axes.
        table: an `onset_table`.
        onset: name of its columns.
        by: the column.
        at: x of each of its values.
        joined: as one line through all medians, for an ordered factor; otherwise as a dash each.
    """
    colour, _, style, _ = CLOCK_STYLES[onset]
    cells: dict[Hashable, float] = {key: median_onset(cell, onset) for key, cell in table.groupby(by)}
    keys = [key for key in at if key in cells]
    x = np.array([at[key] for key in keys])
    medians = np.array([cells[key] if np.isfinite(cells[key]) else np.nan for key in keys])
    if joined:
        ax.plot(x, medians, color=colour, ls=style)
    else:
        ax.hlines(medians, x - 0.09, x + 0.09, color=colour, lw=2.2)


def draw_clocks(
    ax: Axes, table: pd.DataFrame, by: str, values: Sequence[Hashable], labels: Sequence[str], onsets: Sequence[str],
    joined: bool = True,
) -> None:  # fmt: skip
    """Onsets against a factor at equally spaced places: bars for runs, and their medians.

    Args:
        ax: gets a logarithmic y axis in steps.
        table: an `onset_table`.
        by: the factor's column.
        values: of the factor, in the order of their places.
        labels: of the ticks.
        onsets: names.
        joined: see `draw_medians`.
    """
    ax.set_yscale("log")
    table = table[table[by].isin(values)]
    at = {value: float(k) for k, value in enumerate(values)}
    for j, onset in enumerate(onsets):
        shift = 0.3 * ((j + 0.5) / len(onsets) - 0.5)
        places = table[by].map(at).to_numpy(float) + shift + within(table, by, 0.24 / len(onsets))
        draw_onsets(ax, table, onset, places)
        draw_medians(ax, table, onset, by, {value: place + shift for value, place in at.items()}, joined)
    ax.set_xticks(range(len(values)), labels)
    ax.set_xlim(-0.5, len(values) - 0.5)
    step_axis(ax.yaxis)


def within(table: pd.DataFrame, by: str, width: float) -> np.ndarray:
    """A small displacement (n,) for each run of a cell, so that bars do not hide each other."""
    rank = table.groupby(by).cumcount().to_numpy(float)
    count = table.groupby(by)[by].transform("size").to_numpy(float)
    return np.asarray(width * ((rank + 0.5) / count - 0.5))


def plain_log_ticks(ax: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with exactly these ticks, written out."""
    ax.set_xscale("log")
    ax.set_xticks(list(values), [f"{value:g}" for value in values])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())


def step_axis(axis: Axis) -> None:
    """Round numbers written out on a logarithmic axis of training steps, also where it spans less than a decade.

    Call it when all is drawn: it looks at the limits.
    """
    low, high = axis.get_view_interval()
    subs = (1.0,) if high / low > 300 else (1.0, 3.0) if high / low > 20 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def onset_legend(
    place: Figure | Axes, onsets: Sequence[str], ncols: int = 4, extra: Sequence[tuple[Artist, str]] = ()
) -> None:
    """What bars, arrows and lines mean: below a figure, or in the middle of empty axes."""
    entries: list[tuple[Artist, str]] = []
    for onset in onsets:
        colour, marker, dash, name = CLOCK_STYLES[onset]
        entries.append(
            (Line2D([], [], color=colour, marker=marker, ls=dash, ms=4), f"{name}: one bar per run, line: median")
        )
    for arrow, meaning in (("$\\uparrow$", "not reached by then"), ("$\\downarrow$", "before the first evaluation")):
        entries.append((Line2D([], [], color="0.3", marker=arrow, ls="none", ms=7), meaning))
    entries += extra
    handles, labels = [handle for handle, _ in entries], [label for _, label in entries]
    if isinstance(place, Figure):
        place.legend(handles, labels, loc="outside lower center", ncols=ncols)
    else:
        place.legend(handles, labels, loc="center", ncols=ncols)


def not_measured(ax: Axes, text: str = "not measured yet") -> None:
    """An empty panel that says why."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color="0.4")
    ax.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)  # not of panels that share its axes
    ax.grid(visible=False)
