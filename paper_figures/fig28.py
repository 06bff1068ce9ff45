"""Figure 28: do independent runs agree near the frontier of what can be learned?

The paper overlays seeds of matched GPT-mini and DiT-mini runs over N and G, raw faint and smoothed thick. Ours shows
the group sizes on both sides of that frontier at the largest three N of each architecture's smallest model, smoothed by
an exponential moving average over evaluations (`tc.empirics.ema`), which are evenly spaced in log steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..empirics import Run, RunConfig, ema
from ..empirics.style import COLOURS, new_figure
from .catalogue import parity
from .presets import Preset
from .shared.curves import STYLES, ratio_axis, seeds_text, shades
from .shared.run_tables import evaluations_table, runs_table
from .shared.verdicts import most_word
from .store import Data

PAPER = (
    "Matched GPT-mini and DiT-mini runs near the frontier of learnability, seeds overlaid. The caption is cut off "
    "before a conclusion; tested is that seeds of one configuration are consistent with each other."
)
MISSING = "the paper's mini model, 6x6 grids and N = 4096; more than three seeds"
HALFLIFE = 1.0
"""Evaluations after which a weight of the moving average has halved."""
FACTOR = 2.0
"""Seeds agree when their clocks may lie within this factor: that between neighbouring N."""


def configs(preset: Preset) -> list[RunConfig]:
    return [
        config
        for kind in (preset.gpt, preset.dit)
        for config in parity(preset, kind, kind.frontier_group_sizes, kind.n_train[-3:])
    ]


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    return {"runs": runs_table(runs), "evaluations": evaluations_table(runs, ("rule_accuracy", "memorization"))}


def plot(data: Data) -> Figure:
    runs, curves = data["runs"], data["evaluations"]
    rows = list(runs[["model", "G"]].drop_duplicates().itertuples(index=False))
    sizes = {model: sorted(cell["n_train"].unique()) for model, cell in runs.groupby("model")}
    across = max(map(len, sizes.values()))
    seeds = sorted(runs["seed"].unique())
    tones = {
        name: dict(zip(seeds, shades(COLOURS[colour], len(seeds)), strict=True)) for name, (colour, _) in STYLES.items()
    }
    figure, axes = new_figure(len(rows), across, 3.1 * across + 0.3, 1.75 * len(rows) + 0.9, sharex="row", sharey=True)
    for line, (model, G) in zip(axes, rows, strict=True):
        for ax in line[len(sizes[model]) :]:
            ax.axis("off")
        for ax, n in zip(line, sizes[model], strict=False):
            cell = runs[(runs["model"] == model) & (runs["G"] == G) & (runs["n_train"] == n)]
            _draw_runs(ax, cell, curves, tones)
            ax.set_title(f"{model}, G = {G}, N = {n}")
        line[0].set_ylabel("fraction of samples")
    for ax in axes[-1]:
        ax.set_xlabel("training step")
    handles = [
        Line2D([], [], color=tone, ls=STYLES[name][1], lw=1.8, label=f"{name.replace('_', ' ')}, seed {seed}")
        for name, of_seed in tones.items()
        for seed, tone in of_seed.items()
    ]
    handles.append(Line2D([], [], color=COLOURS["chance"], ls=":", lw=1.2, label="exact chance memorization"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    figure.suptitle(
        f"{' and '.join(runs['shape'].unique())} grids, {seeds_text(runs)}, {runs['n_eval'].max()} "
        "generations per evaluation\nraw faint, smoothed thick (moving average of half-life "
        f"{HALFLIFE:g} evaluation: it lags)",
        fontsize=9,
    )
    return figure


def measured(data: Data) -> str:
    counts = {clock: agreement(data["runs"], clock) for clock in ("tau_rule", "tau_mem")}
    verdict, (low, high) = most_word(sum(k for k, _ in counts.values()), sum(n for _, n in counts.values()))
    each = ", ".join(f"{clock} in {k} of {n} cells" for clock, (k, n) in counts.items())
    return (
        f"seeds may lie within a factor {FACTOR:g} of each other (the step between neighbouring N) for {each} where "
        f"the clock is seen; together [{low:.2f}, {high:.2f}] of the cells, {len(data['runs'])} runs; {verdict}"
    )


def agreement(runs: pd.DataFrame, clock: str) -> tuple[int, int]:
    """In how many cells the seeds' onsets may all lie within `FACTOR`, and of how many cells with an onset.

    The intervals (lower, upper] decide: the latest lower end over the earliest upper one is how far two runs of a cell
    are apart at least. A censored run is later than its last evaluation, so that one seed that learns and one that does
    not are told apart. Cells with fewer than two runs, or without any onset, are left out.
    """
    together = total = 0
    for _, cell in runs.groupby(["model", "G", "n_train"]):
        earliest = cell[f"{clock}_upper"].min()
        if len(cell) < 2 or np.isinf(earliest):
            continue
        total += 1
        together += int(cell[f"{clock}_lower"].max() < FACTOR * earliest)
    return together, total


def _draw_runs(ax: Axes, cell: pd.DataFrame, curves: pd.DataFrame, tones: Mapping[str, Mapping[int, str]]) -> None:
    for name, (_, style) in STYLES.items():
        for number, seed in zip(cell["run"], cell["seed"], strict=True):
            run, tone = curves[curves["run"] == number].sort_values("step"), tones[name][seed]
            ax.plot(run["step"], run[name], style, color=tone, lw=0.6, alpha=0.5)
            ax.plot(run["step"], ema(run[name].to_numpy(), HALFLIFE), style, color=tone, lw=1.8)
    ax.axhline(cell["chance"].mean() if len(cell) else np.nan, color=COLOURS["chance"], ls=":", lw=1.2)
    ratio_axis(ax)
