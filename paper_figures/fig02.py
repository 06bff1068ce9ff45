"""Figure 2: the two clocks scale differently with rule, data and model.

The paper shows A a schematic of tau_rule, tau_mem and the innovation window; B the dynamics of one run of DiT-mini at
N = 4096, G = 3: accuracy, memorization and the fraction of quantization-ambiguous samples; C both clocks against G, N
and model size. Ours draws B from the preset's dissected DiT run, and both clocks, an interval per run, from C on: three
panels for DiT, three for GPT.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.onsets import CLOCKS
from ..empirics.statistics.claim_trends import SETTINGS
from ..empirics.statistics.claims import claim_capacity, claim_memorization_exponent, claim_rule_complexity
from ..empirics.statistics.runs_table import rule_complexity
from ..empirics.style import COLOURS
from .catalogue import dissected, parity, scaling
from .presets import Architecture, Preset
from .shared.clock_plots import draw_clocks, not_measured, onset_legend, step_axis
from .shared.clock_statistics import answer_of, estimate_text, tested
from .shared.clock_tables import ARCHITECTURES, IDENTITY, curve_table, onset_table, rule_shape
from .store import Data

PAPER = "G delays tau_rule, N scales tau_mem nearly linearly, model size shifts both; between them lies the window."
MISSING = "the paper's mini model, 6x6 grids and N = 4096, and its larger models"
PANELS = ("G", "N", "size")
METRICS = ("rule_accuracy", "memorization", "ambiguous")


def configs(preset: Preset) -> list[RunConfig]:
    compared = [
        config
        for kind in preset.architectures.values()
        for chosen in _panels(preset, kind).values()
        for config in chosen
    ]
    return [*dissected(preset, preset.dit), *dict.fromkeys(compared)]


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    """Tables: single and curves, the dissected run; runs, with the panel that a row belongs to."""
    one = dissected(preset, preset.dit)
    single = [run for run in runs if run.config in one]
    tables = []
    for kind in preset.architectures.values():
        for panel, chosen in _panels(preset, kind).items():
            members = set(chosen)
            tables.append(
                onset_table([run for run in runs if run.config in members], fields=tuple(SETTINGS)).assign(panel=panel)
            )
    return {
        "single": onset_table(single, fields=("n_eval",)),
        "curves": curve_table(
            single, [*METRICS, *(f"{name}_{end}" for name in METRICS[:2] for end in ("low", "high"))]
        ),
        "runs": pd.concat([table for table in tables if len(table)], ignore_index=True),
    }


def plot(data: Data) -> Figure:
    runs = data["runs"]
    kinds = list(dict.fromkeys(runs["architecture"]))
    figure = Figure(figsize=(10.5, 3.3 + 2.75 * len(kinds)))
    layout: list[Any] = [["A"] * 5 + ["B"] * 7]
    layout += [[f"{kind} {panel}" for panel in PANELS for _ in range(4)] for kind in kinds]
    axes = figure.subplot_mosaic(layout, height_ratios=[1.15] + [1.0] * len(kinds))
    _draw_schematic(axes["A"])
    _draw_single(axes["B"], data["single"], data["curves"])
    letters = iter("CDEFGH")
    for kind in kinds:
        for panel in PANELS:
            letter = next(letters)
            table = runs[(runs["architecture"] == kind) & (runs["panel"] == panel)]
            if panel == "size":
                table = table[table["n_train"] == _reference(runs, kind)]
            _draw_panel(axes[f"{kind} {panel}"], letter, kind, panel, table.reset_index(drop=True))
        _same_limits([axes[f"{kind} {panel}"] for panel in PANELS])
    onset_legend(figure, CLOCKS)
    return figure


def measured(data: Data) -> str:
    runs = data["runs"]
    parts, verdicts = [], []
    for kind, table in runs.groupby("architecture", sort=False):
        panels = {panel: table[table["panel"] == panel] for panel in PANELS}
        found = [
            tested(claim_rule_complexity, panels["G"]),
            tested(claim_memorization_exponent, panels["N"]),
            tested(claim_capacity, panels["size"]),
        ]
        verdicts += found
        names = ("tau_rule in G", "tau_mem in N", "tau_rule in parameters")
        texts = [f"{name} {estimate_text(v)}" for name, v in zip(names, found, strict=True)]
        n_runs = len(table.drop_duplicates(list(IDENTITY)))  # a run may belong to several panels
        parts.append(f"{ARCHITECTURES[str(kind)]}, {n_runs} runs: {', '.join(texts)}")
    return f"elasticities with 95% interval: {'; '.join(parts)}; all as claimed: {answer_of(verdicts)}"


def _panels(preset: Preset, kind: Architecture) -> dict[str, list[RunConfig]]:
    """The runs of C to H: one factor varies, the others stay at the reference; sizes at other N too, for the test."""
    G = kind.group_size if kind.group_size in kind.capacity_group_sizes else kind.capacity_group_sizes[-1]
    rule = f"parity:{preset.shape},G={G}"
    return {
        "G": parity(preset, kind, preset.group_sizes, [kind.reference_n]),
        "N": parity(preset, kind, [kind.group_size], kind.n_train),
        "size": [c for c in scaling(preset, kind) if c.rule == rule and c.n_train in kind.capacity_n_train],
    }


def _reference(runs: pd.DataFrame, kind: str) -> int:
    """The N at which sizes are drawn: that of the panel against G where it has been measured, or the largest."""
    mine = runs[runs["architecture"] == kind]
    sizes = set(mine.loc[mine["panel"] == "size", "n_train"])
    wanted = sizes & set(mine.loc[mine["panel"] == "G", "n_train"])
    return int(max(wanted or sizes, default=0))


def _draw_schematic(ax: Axes) -> None:
    """The two clocks as idealised curves, with what moves each."""
    t = np.linspace(0, 10, 300)
    rule, mem = 1 / (1 + np.exp(-3.2 * (t - 3.2))), 1 / (1 + np.exp(-3.2 * (t - 7.2)))
    ax.axvspan(3.9, 6.5, ymax=0.72, color=COLOURS["window"], alpha=0.35, lw=0)
    ax.plot(t, rule, color=COLOURS["rule"])
    ax.plot(t, mem, "--", color=COLOURS["memorization"])
    ax.text(5.2, 0.68, "innovation\nwindow:\nvalid, novel", ha="center", va="center", fontsize=8)
    for at, text, what, colour in (
        (3.9, r"$\tau_{rule}$", "G $\\uparrow$: later", "rule"),
        (6.5, r"$\tau_{mem}$", r"$\propto N^{\alpha},\ \alpha \approx 1$", "memorization"),
    ):
        ax.plot([at, at], [0, 1.04], color=COLOURS[colour], lw=0.9)
        ax.text(at, 1.06, text, ha="center", va="bottom", color=COLOURS[colour])
        ax.annotate("", (at + 1.5, 1.25), (at, 1.25), arrowprops={"arrowstyle": "->", "color": COLOURS[colour]})
        ax.text(at + 0.1, 1.28, what, fontsize=8, va="bottom", color=COLOURS[colour])
        ax.annotate("", (at - 0.7, 0.36), (at + 0.7, 0.36), arrowprops={"arrowstyle": "<->", "color": "0.3"})
    ax.text(5.2, 0.17, "model size\nmoves both", fontsize=8, va="center", ha="center", color="0.3")
    ax.text(2.6, 0.83, "accuracy", color=COLOURS["rule"], ha="right", fontsize=8)
    ax.text(7.9, 0.83, "memorization", color=COLOURS["memorization"], fontsize=8)
    ax.set(xlim=(0, 10.4), ylim=(-0.03, 1.45), xticks=[], yticks=[0, 1], xlabel="training step (log, schematic)")
    ax.grid(False)
    ax.set_title("A. the two clocks (schematic)", loc="left")


def _draw_single(ax: Axes, single: pd.DataFrame, curves: pd.DataFrame) -> None:
    if single.empty:
        not_measured(ax)
        return
    run = single.iloc[0]
    for name, colour, dash, label in (
        ("rule_accuracy", "rule", "-", "rule accuracy"),
        ("memorization", "memorization", "--", "memorization"),
    ):
        ax.plot(curves["step"], curves[name], dash, color=COLOURS[colour], label=label)
        ax.fill_between(
            curves["step"], curves[f"{name}_low"], curves[f"{name}_high"], color=COLOURS[colour], alpha=0.2, lw=0
        )
    ax.plot(curves["step"], curves["ambiguous"], "-.", color=COLOURS["ambiguous"], label="ambiguous")
    ax.axhline(run["chance"], color=COLOURS["chance"], ls=":", lw=1.2, label="chance memorization")
    opens, closes = run["tau_rule_upper"], min(run["tau_mem_upper"], run["last_step"])
    if opens < closes:
        ax.axvspan(opens, closes, color=COLOURS["window"], alpha=0.3, lw=0, label="innovation window")
    for name, colour, text in (("tau_rule", "rule", r"$\tau_{rule}$"), ("tau_mem", "memorization", r"$\tau_{mem}$")):
        at = run[f"{name}_upper"]
        if np.isfinite(at):
            ax.axvline(at, color=COLOURS[colour], lw=0.9)
            ax.annotate(text, (at, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom")
    ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel="training step", ylabel="fraction of generations")
    step_axis(ax.xaxis)
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(0.13, 0.5))
    ax.set_title(
        f"B. one run: {run['model']}, {run['rule']}, N = {run['n_train']}; {run['n_eval']} generations per point, "
        "95% bands", fontsize=8, loc="left", pad=14,
    )  # fmt: skip


def _draw_panel(ax: Axes, letter: str, kind: str, panel: str, table: pd.DataFrame) -> None:
    if table.empty:
        not_measured(ax)
        return
    G, first = table["rule"].map(rule_complexity), table.iloc[0]
    shape, N = rule_shape(first["rule"]), first["n_train"]
    if panel == "G":
        values = sorted(set(G))
        table, by, labels = table.assign(G=G), "G", [str(value) for value in values]
        title, label = f"{first['model']}, N = {N}", "group size G"
    elif panel == "N":
        values = sorted(set(table["n_train"]))
        by, labels = "n_train", [str(value) for value in values]
        title, label = f"{first['model']}, G = {G.iloc[0]}", "training samples N"
    else:
        values = list(dict.fromkeys(table["model"]))
        by, labels = "model", [value.partition("-")[2] for value in values]
        title, label = f"G = {G.iloc[0]}, N = {N}", "model size"
    draw_clocks(ax, table, by, values, labels, CLOCKS)
    if panel == "N":
        _draw_linear(ax, values, table)
    ax.set_xlabel(label)
    ax.set_title(f"{letter}. {ARCHITECTURES[kind]}: {title}, {shape}", loc="left")
    if panel == "G":
        ax.set_ylabel("training step")


def _same_limits(row: list[Axes]) -> None:
    """One range of steps for the panels of an architecture that have been measured."""
    drawn = [ax for ax in row if ax.get_yscale() == "log"]
    ends = np.array([ax.get_ylim() for ax in drawn])
    for ax in drawn:
        ax.set_ylim(ends[:, 0].min(), ends[:, 1].max())
        step_axis(ax.yaxis)


def _draw_linear(ax: Axes, values: list[int], table: pd.DataFrame) -> None:
    """A line of slope 1 in N through the middle of the tau_mem that were seen."""
    seen = table[np.isfinite(table["tau_mem_upper"])]
    if len(seen):
        level = np.exp(np.mean(np.log(seen["tau_mem_upper"] / seen["n_train"])))
        ax.plot(range(len(values)), level * np.array(values), color=COLOURS["chance"], ls=":", lw=1)
        ax.annotate(r"$\propto N$", (len(values) - 0.9, level * values[-1]), fontsize=8, va="center")
