"""Curves over training: one faint line a seed with their median, shades for N, the window, and words for the scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb

from ...empirics.style import COLOURS, cell_edges

LineStyle = str | tuple[float, tuple[float, ...]]
"""A name such as ``--``, or an offset and lengths of dashes and gaps."""

STYLES = {"rule_accuracy": ("rule", "-"), "memorization": ("memorization", "--")}
"""Colour by meaning, and the line style that tells it in grayscale."""


def seed_median(curves: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The median over runs at each x, in order of x: columns x and y."""
    return curves.groupby(x)[y].median().reset_index()


def plot_seeds(
    ax: Axes, curves: pd.DataFrame, x: str, y: str, colour: Any, style: LineStyle = "-", label: str | None = None,
    by: str = "run", least: float = 0.0,
) -> None:  # fmt: skip
    """A faint line for each run and a thick one for their median at each x.

    Args:
        ax: the axes.
        curves: one row per evaluation.
        x, y: columns.
        colour, style, label: of the lines.
        by: column that tells the runs apart.
        least: the share of all runs that must be there at an x for a median: the others ended before.
    """
    runs = list(curves.groupby(by))
    for _, run in runs:
        ax.plot(run[x], run[y], ls=style, color=colour, lw=0.7, alpha=0.45)
    middle = seed_median(curves[curves.groupby(x)[y].transform("size") >= least * len(runs)], x, y)
    ax.plot(middle[x], middle[y], ls=style, color=colour, lw=1.8, label=label)


def shades(colour: str, n: int) -> list[str]:
    """n shades of a colour from light to dark, told apart by lightness alone."""
    base = np.array(to_rgb(colour))
    depths = np.linspace(-0.55, 0.6, n) if n > 1 else np.array([0.0])
    return [to_hex(base * (1 - d) if d > 0 else base + (1 - base) * -d) for d in depths]


def shade_window(ax: Axes, steps: np.ndarray, is_open: np.ndarray, label: str | None = None) -> bool:
    """Shade the evaluations at which the innovation window is open; whether there were any."""
    edges = cell_edges(steps)
    for k in np.flatnonzero(is_open):
        ax.axvspan(edges[k], edges[k + 1], color=COLOURS["window"], alpha=0.3, lw=0, label=label, zorder=0)
        label = None
    return bool(is_open.any())


def ratio_axis(ax: Axes, ylabel: str | None = None) -> None:
    """Logarithmic steps below, a ratio from 0 to 1 upward."""
    ax.set(xscale="log", ylim=(-0.03, 1.03))
    if ylabel:
        ax.set_ylabel(ylabel)


def copies_axis(ax: Axes, least: float = 0.002) -> None:
    """A ratio upward that is small for long: logarithmic from `least` on, such as one generation; linear below."""
    ax.set_yscale("symlog", linthresh=least, linscale=0.3)
    ax.set_yticks([0, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
    ax.set_ylim(-0.3 * least, 1.3)


def scale_text(runs: pd.DataFrame) -> str:
    """The scale of a table of runs in words: grid, models, N, seeds, generations per evaluation."""
    sizes = sorted(runs["n_train"].unique())
    few = f"N = {sizes[0]}" if len(sizes) == 1 else f"N = {sizes[0]} to {sizes[-1]}"
    parts = [
        f"{' and '.join(runs['shape'].unique())} grids",
        " and ".join(runs["model"].unique()),
        few,
        seeds_text(runs),
        f"{runs['n_eval'].max()} generations per evaluation",
    ]
    return ", ".join(parts)


def seeds_text(runs: pd.DataFrame) -> str:
    """How many seeds a cell has: ``3 seeds``, or ``1 to 3 seeds``."""
    counts = runs.groupby(["model", "rule", "n_train"]).size()
    low, high = int(counts.min()), int(counts.max())
    number = f"{low}" if low == high else f"{low} to {high}"
    return f"{number} seed{'s' if high > 1 else ''}"
