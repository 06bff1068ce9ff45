"""Learning dynamics across N: accuracy against steps, memorization against steps and passes (Fig. 8 and 9)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...empirics import Run
from ...empirics.style import COLOURS, new_figure
from ..store import Data
from .curves import LineStyle, copies_axis, plot_seeds, ratio_axis, scale_text, shades
from .run_tables import evaluations_table, runs_table

COLUMNS = (
    *(f"rule_accuracy{end}" for end in ("", "_low", "_high")),
    *(f"memorization{end}" for end in ("", "_low", "_high")),
)
STYLES: tuple[LineStyle, ...] = ("-", (0, (6, 1.5)), "-.", (0, (2, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (1, 1)))


def dynamics_tables(runs: list[Run]) -> dict[str, pd.DataFrame]:
    """The tables that `plot_dynamics` draws."""
    return {"runs": runs_table(runs), "evaluations": evaluations_table(runs, COLUMNS)}


def plot_dynamics(data: Data) -> Figure:
    """One row per group size; shades of a colour are N, faint lines are seeds, thick ones their median.

    Memorization has a logarithmic axis, for it is small for long.
    """
    runs = data["runs"]
    curves = data["evaluations"].merge(runs, on="run")
    curves["passes"] = curves["step"] * curves["batch_size"] / curves["n_train"]
    group_sizes, sizes = sorted(runs["G"].unique()), sorted(runs["n_train"].unique())
    figure, axes = new_figure(len(group_sizes), 3, 9.6, 1.85 * len(group_sizes) + 1.1, sharex="col", sharey="col")
    panels = (("step", "rule_accuracy", "rule"), ("step", "memorization", "memorization"),
              ("passes", "memorization", "memorization"))  # fmt: skip
    for row, G in zip(axes, group_sizes, strict=True):
        for ax, (x, y, colour) in zip(row, panels, strict=True):
            ratio_axis(ax)
            if y == "memorization":
                copies_axis(ax, 1 / runs["n_eval"].max())
            for n, shade, style in zip(sizes, shades(COLOURS[colour], len(sizes)), _styles(len(sizes)), strict=True):
                cell = curves[(curves["G"] == G) & (curves["n_train"] == n)]
                if len(cell):
                    _draw_cell(ax, cell, x, y, shade, style, f"N = {n}")
        row[0].axhline(0.9, color=COLOURS["chance"], lw=0.8, ls=(0, (1, 2)))
        blind = runs.loc[runs["G"] == G, "cube_accuracy"].iloc[0]
        row[0].axhline(blind, color=COLOURS["cube"], lw=1.2, ls="-.")
        row[0].set_ylabel(f"G = {G}\nfraction of samples")
    for ax, title in zip(axes[0], ("rule accuracy", "memorization", "memorization"), strict=True):
        ax.set_title(title)
    for ax, label in zip(axes[-1], ("training step", "training step", "passes: step x batch / N"), strict=True):
        ax.set_xlabel(label)
    _legends(axes)
    figure.suptitle(
        f"{scale_text(runs)} (faint; thick: median)\ndotted: accuracy 0.9; dash-dotted: accuracy of a uniform sampler "
        "of all grids; thin dashed: exact chance memorization of each N, in its shade\nmemorization: logarithmic from "
        "one generation of an evaluation on, linear below", fontsize=9,
    )  # fmt: skip
    return figure


def _draw_cell(ax: Axes, cell: pd.DataFrame, x: str, y: str, shade: str, style: LineStyle, label: str) -> None:
    plot_seeds(ax, cell, x, y, shade, style, label)
    if y == "memorization":
        ax.axhline(cell["chance"].mean(), color=shade, lw=0.9, ls=(0, (3, 3)))


def _legends(axes: list[list[Axes]]) -> None:
    """N by shade below the accuracy column and below the memorization columns."""
    for ax in axes[-1][:2]:
        handles, labels = ax.get_legend_handles_labels()
        ncols = 2 if len(labels) == 4 else 3
        ax.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=ncols, fontsize=7.5)


def _styles(n: int) -> list[LineStyle]:
    return [STYLES[k % len(STYLES)] for k in range(n)]
