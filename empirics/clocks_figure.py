"""The clocks of finished runs, for people: one table and one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from .onsets import Onset
from .runs.run import Run
from .style import COLOURS, figure_style, new_figure


def clocks_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run: model, rule, N, |S|, chance, null of copying, both clocks as intervals of steps, the window.

    Of runs that learn data: how many samples are held out, in place of |S|; the chance is theirs; and tau_best, the
    best held-out loss, in place of tau_rule.
    """
    rows = []
    for run in runs:
        onsets, result = run.onsets, run.result
        first = next(iter(onsets))
        size = {"|S|": f"{run.rule.support_size:.4g}"} if run.task.rule else {"held out": str(result["control_size"])}
        rows.append(
            {
                "model": run.config.model,
                "rule": run.config.rule,
                "N": run.config.n_train,
                **size,
                "chance": f"{result['chance']:.2g}",
                "null": f"{run.null:.2g}",
                first: str(onsets[first]),
                "tau_mem": str(onsets["tau_mem"]),
                "window": window_text(onsets[first], onsets["tau_mem"]),
            }
        )
    return pd.DataFrame(rows).fillna("")


def window_text(rule: Onset, mem: Onset) -> str:
    """How much later tau_mem is than tau_rule or tau_best, as the range of ratios that the two intervals allow."""
    if rule.censored:
        return "unknown" if mem.censored or mem.upper > rule.lower else "none"
    low, high = mem.lower / rule.upper, mem.upper / rule.lower if rule.lower else math.inf
    if high <= 1:
        return "none"
    return f"> x{low:.2g}" if math.isinf(high) else f"x{low:.2g} to x{high:.2g}"


def plot_clocks(runs: Sequence[Run], path: str | Path) -> None:
    """Both clocks of each run, a column per run, as PNG or PDF by the path's suffix.

    Above: rule accuracy and memorization with their 95% intervals, chance, the null of copying, clocks and window.
    Below: the training loss, with the losses of the two exact optima.
    """
    with figure_style():
        figure, axes = new_figure(2, len(runs), 4.2 * len(runs), 4.8, sharex="col", height_ratios=[1.6, 1])
        for column, run in enumerate(runs):
            _plot_ratios(axes[0][column], run)
            _plot_loss(axes[1][column], run)
        axes[0][0].set_ylabel("fraction of generations")
        columns = 3 if len(runs) > 1 else 2
        figure.legend(*_entries(axes[0]), loc="outside upper center", ncols=columns)
        figure.legend(*_entries(axes[1]), loc="outside lower center", ncols=columns)
        figure.savefig(path)


def _entries(row: Sequence[Axes]) -> tuple[list[Artist], list[str]]:
    """Each label once, with the first line or patch that bears it."""
    entries: dict[str, Artist] = {}
    for ax in row:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(str(label), handle)
    return list(entries.values()), list(entries)


def _plot_ratios(ax: Axes, run: Run) -> None:
    metrics, onsets = run.metrics, run.onsets
    curves = (("rule_accuracy", "rule accuracy", "-", "rule"), ("memorization", "memorization", "--", "memorization"))
    for name, label, style, meaning in curves:
        if name not in metrics:  # of a run without a rule, or diverged before the first evaluation
            continue
        colour = COLOURS[meaning]
        ax.plot(metrics["step"], metrics[name], style, color=colour, label=label)
        ax.fill_between(metrics["step"], metrics[f"{name}_low"], metrics[f"{name}_high"], color=colour, alpha=0.2, lw=0)
    if run.task.rule is None:
        ax.axhline(run.result["chance"], color=COLOURS["chance"], ls=":", lw=1.2, label="chance, of held-out samples")
    else:
        ax.axhline(run.result["chance"], color=COLOURS["chance"], ls=":", lw=1.2, label="chance memorization")
        ax.axhline(run.null, color=COLOURS["memorization"], ls="-.", lw=1, label="memorization without copying")
    first = next(iter(onsets))
    rule, mem = onsets[first], onsets["tau_mem"]
    end = run.result["steps"]
    if not rule.censored and rule.upper < (mem.upper if not mem.censored else end):
        ax.axvspan(rule.upper, mem.upper if not mem.censored else end, color=COLOURS["window"], alpha=0.25, lw=0,
                   label="innovation window" if run.task.rule else "between the clocks")  # fmt: skip
    symbols = {name: rf"$\tau_{{{name.removeprefix('tau_')}}}$" for name in onsets}
    for onset, name, symbol in ((rule, "rule", symbols[first]), (mem, "memorization", symbols["tau_mem"])):
        if not onset.censored:
            ax.axvline(onset.upper, color=COLOURS[name], lw=0.9)
            ax.annotate(symbol, (onset.upper, 1.01), xycoords=("data", "axes fraction"), ha="center", fontsize=9)
    config = run.config
    ax.set_title(f"{config.model}, {config.rule}, N = {config.n_train}, seed {config.seed}", pad=16)
    ax.set_xscale("log")
    ax.set_ylim(-0.03, 1.03)


def _plot_loss(ax: Axes, run: Run) -> None:
    floors = run.floors
    metrics = run.metrics
    if not metrics.empty:
        ax.plot(metrics["step"], metrics["loss"], color=COLOURS["loss"], label="training loss")
    if "held_out_loss" in metrics:
        ax.plot(metrics["step"], metrics["held_out_loss"], color=COLOURS["rule"], label="held-out loss")
    if "population" in floors:
        ax.axhline(floors["population"], color=COLOURS["rule"], ls="-.", lw=1.2, label="exact optimum of the rule")
    ax.axhline(
        floors["empirical"], color=COLOURS["memorization"], ls=":", lw=1.6, label="exact optimum of the training set"
    )
    ax.set_xlabel("training step")
    ax.set_ylabel(run.family.loss_label)
    ax.set_ylim(bottom=0)
