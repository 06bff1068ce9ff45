"""A ratio over training step and group size as a heatmap in the colour of its meaning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, PowerNorm

from ...empirics.style import cell_edges
from .curves import seed_median, shades


def ramp(colour: str) -> LinearSegmentedColormap:
    """From white through a colour to its darkest shade: lightness alone orders the values."""
    return LinearSegmentedColormap.from_list(f"ramp {colour}", ["#FFFFFF", colour, shades(colour, 3)[-1]])


def draw_heatmap(
    ax: Axes, curves: pd.DataFrame, column: str, colour: str, group_sizes: Sequence[int],
    large_from: int | None = None, gamma: float = 1.0,
) -> QuadMesh:  # fmt: skip
    """The median over seeds of a ratio, a row per group size, the smallest below.

    Args:
        ax: gets a logarithmic step axis.
        curves: run, step, G and the column.
        column: the ratio, in [0, 1].
        colour: of its meaning.
        group_sizes: the rows; those without runs stay hatched.
        large_from: a line is drawn below this group size.
        gamma: colours follow the ratio to this power; below 1 small ratios are told apart.

    Returns:
        The mesh of the last row, for a colour bar.
    """
    ax.set_facecolor("#E5E5E5")
    mesh: QuadMesh | None = None
    for row, G in enumerate(group_sizes):
        cell = curves[curves["G"] == G]
        if cell.empty:
            continue
        middle = seed_median(cell, "step", column)
        mesh = ax.pcolormesh(
            cell_edges(middle["step"].to_numpy()), np.array([row - 0.5, row + 0.5]), middle[column].to_numpy()[None],
            cmap=ramp(colour), norm=PowerNorm(gamma, 0, 1), rasterized=True,
        )  # fmt: skip
    if mesh is None:
        raise ValueError("a heatmap needs at least one evaluation")
    if large_from is not None:
        ax.axhline(list(group_sizes).index(large_from) - 0.5, color="black", lw=1.0, ls="--")
    ax.set_xscale("log")
    ax.set_yticks(range(len(group_sizes)), [str(G) for G in group_sizes])
    ax.set_ylim(-0.5, len(group_sizes) - 0.5)
    ax.grid(False)
    return mesh
