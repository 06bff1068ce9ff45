"""Where runs end for each group size: accuracy and memorization against G with exact chance levels (Fig. 1 and 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ...empirics.style import COLOURS
from .curves import LineStyle


@dataclass(frozen=True)
class Level:
    """Which columns of `final_table` one level of evaluation reads."""

    accuracy: str
    memorization: str
    chance: str
    """of memorization, for the true law"""
    cube: str
    """of memorization, for a uniform sampler of all grids"""
    cube_accuracy: str


SAMPLE = Level("rule_accuracy", "memorization", "chance", "cube", "cube_accuracy")
GROUP = Level("group_accuracy", "group_memorization", "group_chance", "group_cube", "group_cube_accuracy")

FEWEST_NOVEL = 10
"""Generations that are not copies, below which their accuracy says nothing."""


def draw_ending(ax: Axes, final: pd.DataFrame, level: Level) -> None:
    """Accuracy and memorization of every seed with 95% intervals, their medians, and the chance lines.

    Args:
        ax: linear in the ratios; group sizes stand at equal distances.
        final: from `final_table`, of one model and N.
        level: sample or group.
    """
    place = group_places(final)
    for name, colour, style, marker, shift in (
        (level.accuracy, COLOURS["rule"], "-", "o", -0.1),
        (level.memorization, COLOURS["memorization"], "--", "s", 0.1),
    ):
        label = "accuracy" if name == level.accuracy else "memorization"
        middle = final.groupby("G")[name].median()
        ax.plot([place[G] + shift for G in middle.index], middle, style, color=colour, lw=1.6, label=label)
        _draw_runs(ax, final, place, name, colour, marker, shift)
    _draw_chance(ax, final, place, level)
    ax.set_ylim(-0.03, 1.03)


def draw_memorization(ax: Axes, final: pd.DataFrame, level: Level) -> None:
    """Memorization and its chance lines on a logarithmic axis; a run without a copy is an arrow at its 95% bound."""
    place = group_places(final)
    _draw_chance(ax, final, place, level, accuracy=False)
    colour = COLOURS["memorization"]
    some = final[final[level.memorization] > 0]
    _draw_runs(ax, some, place, level.memorization, colour, "s", 0.0)
    none = final[final[level.memorization] == 0]
    if len(none):
        bound = none[f"{level.memorization}_high"]
        ax.errorbar([place[G] for G in none["G"]], bound, yerr=0.6 * bound, uplims=True, fmt="s", mfc="white",
                    color=colour, ms=3.5, lw=1, label="no copy: at most this (95%)")  # fmt: skip
    ax.set_yscale("log")


def not_copied_skill(final: pd.DataFrame) -> pd.DataFrame:
    """Rule accuracy among generations that are not copies, relative to a rule-blind sampler's: a column `skill`.

    With v the valid fraction among non-copies and b that of a uniform sampler of the grids outside the training set,
    skill = (v - b) / (1 - b), at least 0: 0 no better than that, 1 always valid; NaN where nearly all generations are
    copies. Unlike accuracy it does not rise by copying, and unlike v it is the same for an untrained model at every G.
    """
    others = 1 - final["memorization"]
    valid = final["novel_valid"] / others.where(others * final["n_eval"] >= FEWEST_NOVEL)
    blind = (final["cube_accuracy"] - final["cube"]) / (1 - final["cube"])
    return final.assign(skill=((valid - blind) / (1 - blind)).clip(lower=0))


def group_places(final: pd.DataFrame) -> dict[int, float]:
    """Group sizes at equal distances along an axis."""
    return {int(G): float(k) for k, G in enumerate(sorted(final["G"].unique()))}


def label_groups(ax: Axes, final: pd.DataFrame) -> None:
    """Name the group sizes below an axis."""
    place = group_places(final)
    ax.set_xticks(list(place.values()), [str(G) for G in place])
    ax.set_xlim(-0.5, len(place) - 0.5)


def _draw_runs(
    ax: Axes, final: pd.DataFrame, place: dict[int, float], name: str, colour: str, marker: str, shift: float
) -> None:
    """A marker a run with its 95% interval, the seeds of a cell side by side."""
    if final.empty:
        return
    seeds = sorted(final["seed"].unique())
    spread = dict(zip(seeds, np.linspace(-0.06, 0.06, len(seeds)) if len(seeds) > 1 else [0.0], strict=True))
    at = np.array([place[G] + shift + spread[seed] for G, seed in zip(final["G"], final["seed"], strict=True)])
    value = final[name].to_numpy()
    bars = np.maximum(np.stack([value - final[f"{name}_low"], final[f"{name}_high"] - value]), 0.0)
    ax.errorbar(at, value, yerr=bars, fmt=marker, color=colour, ms=3.5, elinewidth=0.8, alpha=0.85)


def _draw_chance(ax: Axes, final: pd.DataFrame, place: dict[int, float], level: Level, accuracy: bool = True) -> None:
    lines: list[tuple[str, str, LineStyle, str, str]] = [
        (level.chance, COLOURS["chance"], ":", "v", "memorization of the true law"),
        (level.cube, COLOURS["cube"], "-.", "^", "memorization of a uniform sampler of all grids"),
    ]
    if accuracy:
        lines.append(
            (level.cube_accuracy, COLOURS["cube"], (0, (1, 3)), "", "accuracy of a uniform sampler of all grids")
        )
    for name, colour, style, marker, label in lines:
        middle = final.groupby("G")[name].mean()  # training sets differ by seed
        ax.plot([place[G] for G in middle.index], middle, ls=style, marker=marker, ms=3, color=colour, lw=1.2,
                label=label)  # fmt: skip
    label_groups(ax, final)
