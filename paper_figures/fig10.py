"""Figure 10: tau_mem against the training-set size.

The paper draws tau_mem against N for every DiT and GPT size and group size, a point per experiment, with a power law
fitted to each (model, G): exponents about 1 to 1.1. Ours does so at the preset's grid and sizes, with censored runs in
the fits (log-normal accelerated failure time), pointwise 95% bootstrap bands, and every exponent with its 95% profile-
likelihood interval beside the paper's range, with R^2 of each fit and p of its power law. The larger models stop once
both clocks are known, and train at a learning rate of their own where they diverge at that of the smallest
(`Architecture.own_lr`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..empirics import Run, RunConfig
from ..empirics.statistics.claim_trends import SETTINGS
from ..empirics.statistics.claims import claim_memorization_exponent
from ..empirics.statistics.runs_table import rule_complexity
from ..empirics.style import COLOURS
from .catalogue import scaling
from .presets import Preset
from .shared.clock_plots import (
    DASHES,
    MARKERS,
    draw_onsets,
    not_measured,
    onset_legend,
    ordered_colour,
    plain_log_ticks,
    step_axis,
)
from .shared.clock_statistics import answer_of, estimate_text, law_rejected, tested
from .shared.clock_tables import ARCHITECTURES, known, onset_table, rule_shape
from .shared.scaling_fits import POOLED, exponent_table, line_table, quality_table
from .store import Data

PAPER = "tau_mem grows with N as a power law, with exponents of about 1 to 1.1 for every DiT and GPT size and G."
MISSING = "the paper's mini and small models, 6x6 grids and N to 4096"
RANGE = (1.0, 1.1)
"""of the paper's exponents"""
WIDEST = (-1.0, 3.0)
"""of the axis of exponents; intervals beyond end in an arrow"""


def configs(preset: Preset) -> list[RunConfig]:
    return [config for kind in preset.architectures.values() for config in scaling(preset, kind)]


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    table = onset_table(runs, fields=tuple(SETTINGS))
    return {"runs": table, **derived(table)}


def derived(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables that follow from that of the runs."""
    return {"exponents": exponent_table(runs), "lines": line_table(runs)}


def plot(data: Data) -> Figure:
    runs, exponents, lines = data["runs"], data["exponents"], data["lines"]
    kinds = list(dict.fromkeys(runs["architecture"]))
    models = {kind: list(dict.fromkeys(runs.loc[runs["architecture"] == kind, "model"])) for kind in kinds}
    across = max(map(len, models.values()))
    figure = Figure(figsize=(2.75 * across + 3.9, 3.3 * len(kinds) + 0.9))
    grid = figure.add_gridspec(len(kinds), across + 1, width_ratios=[1] * across + [1.1])
    sizes = sorted({rule_complexity(spec) for spec in runs["rule"]})
    styles = {G: (ordered_colour(k, len(sizes)), MARKERS[k % 8], DASHES[k % 6]) for k, G in enumerate(sizes)}
    empty: Axes | None = None
    for row, kind in enumerate(kinds):
        first: Axes | None = None
        for column, model in enumerate(models[kind]):
            ax = figure.add_subplot(grid[row, column], sharex=first, sharey=first)
            first = first or ax
            _draw_model(ax, runs[runs["model"] == model], lines[lines["model"] == model], styles)
            plain_log_ticks(ax, sorted(set(runs.loc[runs["architecture"] == kind, "n_train"])))
            ax.set_title(model)
            if column == 0:
                ax.set_ylabel(r"$\tau_{mem}$ (training steps)")
        for column in range(len(models[kind]), across):
            empty = figure.add_subplot(grid[row, column])
            empty.set_axis_off()
    tables = {str(model): table for model, table in runs.groupby("model", sort=False)}
    flagged = {model for model, table in tables.items() if law_rejected(tested(claim_memorization_exponent, table))}
    _draw_exponents(figure.add_subplot(grid[:, -1]), exponents, quality_table(runs), styles, flagged)
    shape = rule_shape(runs["rule"].iloc[0])
    seeds, known_runs = runs["seed"].nunique(), len(known(runs, "tau_mem"))
    counts = f"{seeds} seed{'s' * (seeds > 1)}, {known_runs} runs"
    figure.suptitle(f"Parity on {shape} grids, colour and marker by G; {counts}", fontsize=10)
    extra: list[tuple[Artist, str]] = [
        (Line2D([], [], color=c, marker=m, ls=d, ms=4), f"G = {G}") for G, (c, m, d) in styles.items()
    ]
    extra.append((Patch(color=COLOURS["chance"], alpha=0.2), f"paper: {RANGE[0]:g} to {RANGE[1]:g}"))
    onset_legend(empty or figure, (), ncols=1 if empty else 4, extra=extra)
    return figure


def measured(data: Data) -> str:
    runs = data["runs"]
    parts, verdicts = [], []
    for kind, name in ARCHITECTURES.items():
        verdict = tested(claim_memorization_exponent, runs[runs["architecture"] == kind])
        verdicts.append(verdict)
        parts.append(f"{name} {estimate_text(verdict)} ({verdict.n_runs} runs)")
    separate = data["exponents"][data["exponents"]["rule"] != POOLED]
    inside = int(((separate["low"] <= RANGE[1]) & (separate["high"] >= RANGE[0])).sum())
    return (
        f"shared exponent of tau_mem in N with 95% interval: {', '.join(parts)}; of {len(separate)} exponents by model "
        f"and G, {inside} have an interval that meets 1 to 1.1; about 1 taken as 0.8 to 1.2: {answer_of(verdicts)}"
    )


def _draw_model(ax: Axes, runs: pd.DataFrame, lines: pd.DataFrame, styles: dict) -> None:
    ax.set_yscale("log")
    sizes = sorted({rule_complexity(spec) for spec in runs["rule"]})
    values = sorted(set(runs["n_train"]))
    gap = np.log(values[1] / values[0]) if len(values) > 1 else 1.0
    for k, G in enumerate(sizes):
        colour, marker, dash = styles[G]
        cell = runs[runs["rule"].map(rule_complexity) == G]
        rank = cell.groupby("n_train").cumcount() / max(1, cell["seed"].nunique())
        shift = 0.6 * gap * ((k + rank.to_numpy(float)) / len(sizes) - 0.5)
        draw_onsets(ax, cell, "tau_mem", cell["n_train"].to_numpy(float) * np.exp(shift), (colour, marker), size=3.5)
        line = lines[lines["rule"].map(rule_complexity) == G]
        if len(line):
            ax.plot(line["n_train"], line["tau_mem"], color=colour, ls=dash, lw=1.3)
            if line["low"].notna().all():
                ax.fill_between(line["n_train"], line["low"], line["high"], color=colour, alpha=0.13, lw=0)
    step_axis(ax.yaxis)
    ax.set_xlabel("training samples N")


def _draw_exponents(ax: Axes, exponents: pd.DataFrame, quality: pd.DataFrame, styles: dict, flagged: set[str]) -> None:
    """One row per exponent, its interval as a bar and the quality of its fit; that of a model in black, open where its
    law is rejected."""
    ax.set_title("exponent of $\\tau_{mem}$ in N, 95% interval;\n$R^2$ and p (power law) of its fit")
    if exponents.empty:
        not_measured(ax)
        return
    ax.axvspan(*RANGE, color=COLOURS["chance"], alpha=0.2, lw=0)
    ax.axvline(1, color=COLOURS["chance"], lw=0.8, ls=":")
    labels = []
    fits = quality.set_index(["model", "rule"])
    left, right = max(exponents["low"].min() - 0.1, WIDEST[0]), min(exponents["high"].max() + 0.1, WIDEST[1])
    for k, row in enumerate(exponents.to_dict("records")):
        pooled = row["rule"] == POOLED
        colour, marker, _ = ("k", "o", "") if pooled else styles[rule_complexity(row["rule"])]
        rejected = pooled and row["model"] in flagged
        name = f"{row['model']}, " + ("all G" if pooled else f"G = {rule_complexity(row['rule'])}")
        labels.append(f"{name}*" if rejected else name)
        if (row["model"], row["rule"]) in fits.index:
            fit = fits.loc[(row["model"], row["rule"])]
            p_text = "" if np.isnan(fit["p_value"]) else f", p {fit['p_value']:.2g}"
            text, at = f"$R^2$ {fit['r2']:.2f}{p_text}", (0.99, k + 0.28)
            ax.annotate(text, at, xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=6.5)
        ends = [[row["exponent"] - row["low"]], [row["high"] - row["exponent"]]]
        ax.errorbar(row["exponent"], k, xerr=ends, color=colour, marker=marker, ms=6 if pooled else 4, elinewidth=1.2,
                    mfc="white" if rejected else colour)  # fmt: skip
        for outside, edge, arrow in ((row["low"] < left, left, "<"), (row["high"] > right, right, ">")):
            if outside:
                ax.plot(edge, k, marker=arrow, color=colour, ms=5, clip_on=False)
    ax.set_yticks(range(len(labels)), labels, fontsize=7)
    ax.invert_yaxis()
    ax.set_xlim(left, right)
    ax.set_xlabel("exponent" + ("\n* open: one law for\nall G is rejected" if flagged else ""))
