"""Figure 7: final accuracy and memorization against G for every N, at group and sample level, with chance lines.

The paper overlays memorization on accuracy for each N, with the memorization of the true law and of a uniform sampler
of the cube. Ours shows the same for the smallest DiT at the preset's N. Where the preset trains longer on larger N, the
medians at the number of steps that the shortest runs took are drawn too: the paper's comparison is at equal steps. A
third row repeats memorization of whole samples on a logarithmic axis, where chance can be told from zero.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.probes.phases import outer_legend
from ..empirics.style import COLOURS, new_figure
from .catalogue import beyond, parity
from .presets import Preset
from .shared.curves import scale_text
from .shared.endings import GROUP, SAMPLE, Level, draw_ending, draw_memorization, group_places, not_copied_skill
from .shared.run_tables import final_table
from .shared.verdicts import spread_text, trend_word
from .store import Data

PAPER = (
    "Final accuracy and memorization across G and N against two chance lines, a sampler of the true law and a uniform "
    "one of the cube. The caption is cut off before a conclusion; tested is that less is memorized the larger N, as "
    "tau_mem grows with it."
)
MISSING = "the paper's mini model, 6x6 grids and N = 4096; group sizes beyond 6 at the largest N"


def configs(preset: Preset) -> list[RunConfig]:
    return [*parity(preset, preset.dit, preset.group_sizes, preset.dit.n_train), *beyond(preset, preset.dit)]


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    common = min((run.config.steps for run in runs), default=0)
    return {"final": final_table(runs), "equal_steps": final_table(runs, [common] * len(runs))}


def plot(data: Data) -> Figure:
    final, equal = data["final"], data["equal_steps"]
    sizes = sorted(final["n_train"].unique())
    figure, axes = new_figure(3, len(sizes), max(2.45 * len(sizes) + 0.4, 7.5), 7.2, sharex="col", sharey="row")
    for column, n in enumerate(sizes):
        end, early = final[final["n_train"] == n], equal[equal["n_train"] == n]
        for ax, level in ((axes[0][column], GROUP), (axes[1][column], SAMPLE)):
            draw_ending(ax, end, level)
            if len(early) and early["step"].max() < end["step"].max():
                _draw_early(ax, early, level)
        draw_memorization(axes[2][column], end, SAMPLE)
        axes[0][column].set_title(f"N = {n}")
        axes[2][column].set_xlabel("group size G (cells)")
    labels = ("A  fraction of groups", "B  fraction of samples", "B  memorization of\nsamples, log scale")
    for row, label in zip(axes, labels, strict=True):
        row[0].set_ylabel(label)
    outer_legend(figure, [ax for row in axes for ax in row])
    figure.suptitle(f"At the end of training: {scale_text(final)}", fontsize=9)
    return figure


def measured(data: Data) -> str:
    equal = data["equal_steps"]
    beyond = ((equal["memorization"] - equal["chance"]) / (1 - equal["chance"])).clip(lower=0)
    verdict, p = trend_word(beyond.to_numpy(), equal["n_train"].to_numpy(), equal["G"].to_numpy(), rises=False)
    sizes = sorted(equal["n_train"].unique())
    few, many = (beyond[equal["n_train"] == n] for n in (sizes[0], sizes[-1]))
    skilled = not_copied_skill(data["final"]).query("skill >= 0.9")
    gap = skilled["group_memorization"] - skilled["group_chance"]
    return (
        f"within {int(equal['step'].max())} steps for every N, {len(equal)} runs: sample memorization beyond exact "
        f"chance is {spread_text(few)} at N = {sizes[0]} and {spread_text(many)} at N = {sizes[-1]} (median [range "
        f"over G and seeds]; falls with N at equal G: {p}); group memorization less the true law's, in the "
        f"{len(skilled)} runs that end with the rule learned: {spread_text(gap, 3)}; {verdict}"
    )


def _draw_early(ax: Axes, early: pd.DataFrame, level: Level) -> None:
    """Medians at the steps of the shortest runs, hollow."""
    place = group_places(early)
    steps = int(early["step"].max())
    for name, colour, marker in (
        (level.accuracy, COLOURS["rule"], "o"),
        (level.memorization, COLOURS["memorization"], "s"),
    ):
        word = "accuracy" if name == level.accuracy else "memorization"
        middle = early.groupby("G")[name].median()
        ax.plot([place[int(G)] for G in middle.index], middle, ls=(0, (4, 2, 1, 2)), marker=marker, mfc="white", ms=4,
                lw=0.8, color=colour, alpha=0.8, label=f"{word} after {steps} steps")  # fmt: skip
