"""The figure and the text of a ladder: what each rung costs, and when a model reaches it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..references import reference_title
from ..runs.run import Run
from ..style import COLOURS, draw_measured, figure_style, new_figure
from ..text_tables import plain_table
from .figure import plain_ticks, step_axis
from .ladder import LEARNED, half_way, overall, place_of, rungs_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = {
    "cube": (COLOURS["cube"], (0, (1, 1)), "v"),
    "cells": (COLOURS["ambiguous"], (0, (5, 1, 1, 1)), "D"),
    "pairs": (COLOURS["local"], "-.", "^"),
    "population": (COLOURS["rule"], "-", "o"),
    "empirical": (COLOURS["memorization"], "--", "s"),
}
"""Colour, line style and marker of each rung."""
PLACES = {
    "sigma": ("noise level sigma", "denoising loss per dimension"),
    "position": ("position of the symbol", "loss, nats per token"),
    "mask_rate": ("mask rate", "loss, nats a masked cell"),
}
THE = {"pairs": "rule and "}
LOWEST = -0.6
"""Of the axis of `reached`: how far below the cube is drawn."""


def plot_ladder(ladder: pd.DataFrame, run: Run, path: str | Path) -> None:
    """Draw a ladder, as PNG or PDF: above the loss of every rung by place, below how far training comes to each.

    Left on training samples, right on held-out ones, where there are any. Bands are 95% intervals over samples.

    Args:
        ladder: from `ladder_over_training`.
        run: the run it is of.
        path: where to write.
    """
    splits = list(dict.fromkeys(ladder["split"]))
    with figure_style():
        figure, axes = new_figure(2, len(splits), 4.8 * len(splits), 6.8, sharey="row")
        for column, split in enumerate(splits):
            _losses(axes[0][column], ladder, split)
            _climb(axes[1][column], ladder, split, run)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        c, most = run.config, ladder["n_samples"].max()
        title = f"{c.model}, {c.rule}, N = {c.n_train}, seed {c.seed}; at most {most} samples a split"
        figure.suptitle(title, fontsize=9)
        figure.savefig(path)


def ladder_text(ladder: pd.DataFrame, run: Run) -> str:
    """What a ladder says, in lines of at most 80 characters.

    Each rung's loss, how far the network has come at each checkpoint, and when it was half way.

    Args:
        ladder: from `ladder_over_training`.
        run: the run it is of.
    """
    names = rungs_of(ladder)
    splits = list(dict.fromkeys(ladder["split"]))
    together = ladder[ladder[place_of(ladder)].isna()]
    rows = []
    for R in ("cube", *names):
        mine = together[together["of"] == R].set_index("split")["loss"]
        rows.append([reference_title(R), *(_number(mine[split]) for split in splits)])
    last = together[together["of"] == LEARNED].sort_values("step").groupby("split")["loss"].last()
    rows.append([f"learned, step {overall(ladder, splits[0])['step'].max():.0f}", *(_number(last[s]) for s in splits)])
    parts = [
        f"Ladder: {PLACES[place_of(ladder)][1]}, all places together",
        plain_table(["exact optimum", *splits], rows),
    ]
    climb = []
    for _, row in overall(ladder, "train").iterrows():
        climb.append([f"{row['step']:.0f}", *(_number(row[f"reached_{R}"]) for R in names)])
    parts += [
        "Share of the way from the cube's optimum to each, train samples",
        plain_table(["step", *(reference_title(R) for R in names)], climb),
    ]
    if f"explained_{names[0]}" in ladder:
        shares = [
            [f"{row['step']:.0f}", *(_number(row[f"explained_{R}"]) for R in ("cube", *names))]
            for _, row in overall(ladder, "train").iterrows()
        ]
        title = "Share of the learned score that a rung explains, mean over sigma, train samples"
        parts += [title, plain_table(["step", *(reference_title(R) for R in ("cube", *names))], shares)]
    reached = ", ".join(f"{reference_title(R)} {_step(step)}" for R, step in half_way(ladder).items())
    return "\n\n".join([*parts, f"Half way by step: {reached}"])


def _losses(ax: Axes, ladder: pd.DataFrame, split: str) -> None:
    place = place_of(ladder)
    rows = ladder[(ladder["split"] == split) & ladder[place].notna()]
    for R, (colour, style, marker) in LOOKS.items():
        curve = rows[rows["of"] == R]
        if np.isfinite(curve["loss"]).any():
            _band(
                ax, curve, place, "loss", colour, style, marker, f"optimum of {THE.get(R, 'the ')}{reference_title(R)}"
            )
    learned = rows[rows["of"] == LEARNED]
    last = learned[learned["step"] == learned["step"].max()]
    _band(ax, last, place, "loss", "black", "-", "", f"learned, step {learned['step'].max():.0f}")
    if place == "sigma":
        ax.set_xscale("log")
        plain_ticks(ax.xaxis)
    ax.set_xlabel(PLACES[place][0])
    ax.set_ylabel(PLACES[place][1])
    ax.set_title(f"what each rung costs, {split} samples")


def _climb(ax: Axes, ladder: pd.DataFrame, split: str, run: Run) -> None:
    rows = overall(ladder, split)
    for R in rungs_of(ladder):
        if rows[f"reached_{R}"].notna().any():
            colour, style, marker = LOOKS[R]
            _band(ax, rows, "step", f"reached_{R}", colour, style, marker, None)
    for level, name in ((0, "cube"), (1, "there")):
        ax.axhline(level, color=COLOURS["chance"], lw=0.9, ls=":")
        ax.annotate(name, (1.01, level), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    ax.set_ylim(LOWEST, 1.08)
    ax.set_ylabel("share of the way to each rung")
    ax.set_title(f"how far training comes, {split} samples", pad=16)
    step_axis(ax, run, rows["step"].to_numpy())


def _band(
    ax: Axes, curve: pd.DataFrame, x: str, y: str, colour: str, style: object, marker: str, label: str | None
) -> None:
    """A measured column with its 95% interval."""
    look = {"ls": style, "color": colour, "marker": marker, "ms": 3, "lw": 1.4, "label": label}
    draw_measured(ax, curve, x, y, 0 if y == "loss" else None, alpha=0.15, **look)


def _number(value: float) -> str:
    """Three digits; a share far below the cube's tells no more than that."""
    return "." if np.isnan(value) else "< -1" if value < -1 else f"{value:.3g}"


def _step(step: float) -> str:
    return f"{step:.0f}" if np.isfinite(step) else "never"
