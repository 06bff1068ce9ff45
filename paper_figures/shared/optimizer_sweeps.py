"""Figures 24 to 27 are one figure four times: both clocks against a setting of the optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...empirics import Run, RunConfig
from ...empirics.criteria import copying_threshold
from ...empirics.onsets import CLOCKS
from ...empirics.statistics.runs_table import rule_complexity
from ...empirics.statistics.verdicts import p_phrase
from ...empirics.style import COLOURS, new_figure
from ..catalogue import learning_rates, weight_decays
from ..exhibit import Parts
from ..presets import Preset
from ..store import Data
from .clock_plots import (
    DASHES,
    Colour,
    draw_clocks,
    onset_legend,
    ordered_colour,
    step_axis,
)
from .clock_statistics import later_at_top, turn
from .clock_tables import curve_table, median_text, onset_table, rule_shape
from .curves import plot_seeds

ONSET_OF = {"rule_accuracy": "tau_rule", "memorization": "tau_mem"}
NAMES = {"lr": "learning rate", "weight_decay": "weight decay"}


def sweep_tables(runs: Sequence[Run], field: str) -> dict[str, pd.DataFrame]:
    """Tables ``runs``, both clocks and the best accuracy, and ``curves``, accuracy and memorization, of a sweep."""
    runs_table = onset_table(runs, CLOCKS, (field, "steps"))
    best = [run.metrics["rule_accuracy"].max() if len(run.metrics) else 0.0 for run in runs]
    return {
        "runs": runs_table.assign(best_accuracy=best),
        "curves": curve_table(runs, ("rule_accuracy", "memorization"), (field,)),
    }


def plot_sweep(data: Data, field: str) -> Figure:
    """Accuracy and memorization over training, a colour per value of the field, and both clocks against it.

    Dots on the curves of single runs are the onsets that the last panel shows.
    """
    runs, curves = data["runs"], data["curves"]
    values = sorted(set(runs[field]))
    figure, ((left, middle, right),) = new_figure(1, 3, 11.0, 4.0, width_ratios=[1, 1, 1.05])
    for ax, metric, title in (
        (left, "rule_accuracy", "A. rule accuracy"),
        (middle, "memorization", "B. memorization"),
    ):
        for k, value in enumerate(values):
            cell = curves[curves[field] == value]
            if len(cell):
                colour, dash = ordered_colour(k, len(values)), DASHES[k % len(DASHES)]
                plot_seeds(ax, cell, "step", metric, colour, dash, f"{value:g}", by="seed", least=0.5)
                _mark_onsets(ax, cell, runs[runs[field] == value], metric, colour)
        ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel="training step", ylabel="fraction of generations", title=title)
        step_axis(ax.xaxis)
    for ax, level, name in ((left, 0.9, r"$\tau_{rule}$"), (middle, _copying_level(runs), r"$\tau_{mem}$")):
        ax.axhline(level, color=COLOURS["chance"], lw=0.8, ls=(0, (1, 3)))
        ax.annotate(f"{name}: {level:.2g}", (0.02, level + 0.01), xycoords=("axes fraction", "data"), fontsize=7)
    middle.axhline(runs["chance"].median(), color=COLOURS["chance"], ls=":", lw=1.2)
    middle.annotate("chance", (0.02, runs["chance"].median() + 0.01), xycoords=("axes fraction", "data"), fontsize=7)
    middle.legend(*left.get_legend_handles_labels(), title=NAMES[field], loc="upper left", fontsize=7, title_fontsize=7)
    draw_clocks(right, runs, field, values, [f"{value:g}" for value in values], CLOCKS)
    _mark_diverged(right, runs, field, values)
    right.set(xlabel=NAMES[field], ylabel="training step", title="C. both clocks")
    onset_legend(figure, CLOCKS)
    figure.suptitle(scale(runs), fontsize=10)
    return figure


def learning_rate_answer(runs: pd.DataFrame) -> str:
    """Is there a best learning rate in between, with tau_rule later on both sides? One line for the gallery."""
    medians = medians_text(runs, "lr", "tau_rule")
    text = (
        f"median tau_rule by learning rate: {medians}; tau_mem: {medians_text(runs, 'lr', 'tau_mem')}; {len(runs)} runs"
    )
    try:
        found = turn(runs, "tau_rule", "lr")
    except ValueError as fault:
        return f"{text}; {fault}; undecided"
    return f"tau_rule {found}; {text}; an optimum in between: {found.answer}"


def weight_decay_answer(runs: pd.DataFrame, delayed: str) -> str:
    """Does the largest weight decay, and only that, delay a clock? One line for the gallery.

    Args:
        runs: of `sweep_tables`.
        delayed: the clock that the paper says a large weight decay delays.
    """
    others = runs[runs["weight_decay"] < runs["weight_decay"].max()]
    learned = int((others["tau_rule_upper"] < float("inf")).sum())
    text = "; ".join(f"median {name} by weight decay: {medians_text(runs, 'weight_decay', name)}" for name in CLOCKS)
    text += f"; the rule is reached in {learned} of {len(others)} runs below the largest; {len(runs)} runs"
    try:
        top = later_at_top(runs, delayed, "weight_decay")
    except ValueError as fault:
        return f"{text}; {fault}; undecided"
    answer = top.answer if learned == len(others) or top.answer == "differ" else "undecided"
    p_value = p_phrase(top.p_value, top.p_floor)
    return f"{text}; {delayed}, largest over the others: {top.text} (permutation test, {p_value}): {answer}"


def scale(runs: pd.DataFrame) -> str:
    """Model, rule, N, steps and seeds of a sweep."""
    first = runs.iloc[0]
    return (
        f"{first['model']}, parity on {rule_shape(first['rule'])} grids, G = {rule_complexity(first['rule'])}, "
        f"N = {first['n_train']}; {first['steps']} steps; {runs['seed'].nunique()} seeds (faint; dots: their clocks), "
        "median (thick)"
    )


def medians_text(runs: pd.DataFrame, field: str, onset: str) -> str:
    """The median onset at each value of the field, in steps."""
    return ", ".join(f"{value:g}: {median_text(cell, onset)}" for value, cell in runs.groupby(field))


def _copying_level(runs: pd.DataFrame) -> float:
    """The memorization that tau_mem asks for, median over training sets."""
    null = runs["null" if "null" in runs else "chance"].median()
    return copying_threshold(float(null))


def _mark_onsets(ax: Axes, curves: pd.DataFrame, runs: pd.DataFrame, metric: str, colour: Colour) -> None:
    """A dot on each run's own curve at the evaluation where its clock struck."""
    clock = ONSET_OF[metric]
    at = runs[["seed", f"{clock}_upper"]].rename(columns={f"{clock}_upper": "step"})
    struck = curves.astype({"step": float}).merge(at, on=["seed", "step"])
    ax.plot(struck["step"], struck[metric], "o", ms=4, color=colour, mec="k", mew=0.6, zorder=5)


def _mark_diverged(ax: Axes, runs: pd.DataFrame, field: str, values: Sequence[float]) -> None:
    """Say below the clocks how many runs diverged at a value."""
    for k, value in enumerate(values):
        count = int(((runs[field] == value) & (runs["status"] == "diverged")).sum())
        if count:
            ax.annotate(f"{count} diverged", (k, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=7)


def sweep_exhibit(kind: Literal["dit", "gpt"], field: Literal["lr", "weight_decay"]) -> Parts:
    """`configs`, `compute` and `plot` of the figure of one setting of one architecture."""
    swept = {"lr": learning_rates, "weight_decay": weight_decays}[field]

    def configs(preset: Preset) -> list[RunConfig]:
        return swept(preset, preset.architectures[kind])

    def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
        return sweep_tables(runs, field)

    return configs, compute, lambda data: plot_sweep(data, field)
