"""Figure 4: a diffusion and an autoregressive transformer side by side.

The paper shows DiT-mini and GPT-mini at G = 3, N = 4096: rule accuracy and memorization against steps with the window
shaded (A), and heatmaps over steps and G for each (B). Ours shows the smallest sizes of the preset at one N for both,
with the training loss and the losses of the two exact optima below the curves.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.families import families
from ..empirics.probes.phases import outer_legend
from ..empirics.style import COLOURS
from .catalogue import matched
from .presets import Preset
from .shared.across_n import COLUMNS
from .shared.clock_plots import not_measured
from .shared.clock_tables import ARCHITECTURES
from .shared.curves import STYLES, plot_seeds, ratio_axis, scale_text, seed_median, shade_window
from .shared.heatmaps import draw_heatmap
from .shared.run_tables import evaluations_table, runs_table
from .shared.verdicts import clock_text, window_states, word
from .store import Data

PAPER = (
    "DiT and GPT at G = 3, N = 4096 share the two clocks, with the window (accuracy > 0.9, memorization < 0.1) between "
    "them, on different timescales."
)
MISSING = (
    "the paper's mini models, 6x6 grids and N = 4096; DiT runs that go on until the window closes: their tau_mem is"
    " censored (Figure 3 follows one run of the same setting to its copies)"
)


def configs(preset: Preset) -> list[RunConfig]:
    return matched(preset)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    table = runs_table(runs)
    shown = {name: kind.group_size for name, kind in preset.architectures.items()}
    table["shown"] = table["G"] == table["architecture"].map(shown)
    table["large"] = table["G"].isin(preset.large_group_sizes)
    floors = []
    for number in table.loc[table["shown"], "run"]:
        run = runs[number]
        floors.append({"run": number, **run.floors})
    return {
        "runs": table,
        "evaluations": evaluations_table(runs, (*COLUMNS, "loss")),
        "floors": pd.DataFrame(floors, columns=["run", "population", "empirical"]),
    }


def plot(data: Data) -> Figure:
    runs = data["runs"]
    curves = data["evaluations"].merge(runs.drop(columns="steps"), on="run")
    figure = Figure(figsize=(9.6, 8.6))
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.1, 1.0]).flat
    axes = top.subplots(2, 2, sharex="col", height_ratios=[1.5, 1])
    heat = bottom.subplots(2, 2, sharex="col", sharey=True)
    group_sizes = sorted(runs["G"].unique())
    for column, (architecture, title) in enumerate(ARCHITECTURES.items()):
        mine = runs[(runs["architecture"] == architecture)]
        shown = curves[(curves["architecture"] == architecture) & curves["shown"]]
        if len(shown):
            _draw_curves(axes[0][column], shown)
            _draw_loss(axes[1][column], shown, data["floors"])
            first = shown.iloc[0]
            axes[0][column].set_title(f"{first['model']}, G = {first['G']}, N = {first['n_train']}")
        all_sizes = curves[curves["architecture"] == architecture]
        large = runs.loc[runs["large"], "G"].min() if runs["large"].any() else None
        for ax, (name, (colour, _)) in zip(heat[:, column], STYLES.items(), strict=True):
            if len(all_sizes):
                gamma = 0.5 if name == "memorization" else 1.0
                mesh = draw_heatmap(ax, all_sizes, name, COLOURS[colour], group_sizes, large, gamma)
                if column == len(ARCHITECTURES) - 1:
                    bar = bottom.colorbar(mesh, ax=list(heat[0 if name == "rule_accuracy" else 1]), pad=0.01)
                    bar.set_label(name.replace("_", " "))
                    if gamma < 1:
                        bar.set_ticks([0, 0.01, 0.1, 0.3, 0.6, 1])
        if len(mine):
            heat[0][column].set_title(str(mine["model"].iloc[0]))
        else:
            for ax in (*axes[:, column], *heat[:, column]):
                not_measured(ax, f"{title} not measured yet")
            for ax in heat[:, 0]:
                ax.tick_params(left=True, labelleft=True)  # the group sizes of both columns
        heat[1][column].set_xlabel("training step")
        axes[1][column].set_xlabel("training step")
    axes[0][0].set_ylabel("fraction of generations")
    for ax in heat[:, 0]:
        ax.set_ylabel("group size G (cells)")
    outer_legend(top, axes.flat, ncols=4)
    top.suptitle(f"A  {scale_text(runs)} (faint; thick: median)", fontsize=9, x=0.01, ha="left")
    blind = runs.loc[runs["G"] == group_sizes[-1], "cube_accuracy"].max()
    bottom.suptitle(
        "B  median over seeds; memorization in colours by its square root; above the dashed line: group sizes beyond "
        f"reach.\nA uniform sampler of all grids has accuracy {blind:.2g} at G = {group_sizes[-1]}",
        fontsize=9, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def measured(data: Data) -> str:
    runs = data["runs"][data["runs"]["shown"]]
    states = window_states(runs, data["evaluations"])
    parts, is_open, is_shut = [], [], []
    for architecture, name in ARCHITECTURES.items():
        mine = runs[runs["architecture"] == architecture]
        seen = states.reindex(mine["run"])
        is_open.append(len(mine) > 0 and bool((seen == "open").all()))
        is_shut.append(len(mine) > 0 and bool((seen == "shut").all()))
        parts.append(
            f"{name} tau_rule {clock_text(mine, 'tau_rule')}, tau_mem {clock_text(mine, 'tau_mem')} "
            f"steps (medians), window open in {int((seen == 'open').sum())} of {len(mine)} runs"
        )
    apart = [clock for clock in ("tau_rule", "tau_mem") if _apart(runs, clock)]
    verdict = word(all(is_open) and bool(apart), any(is_shut))
    scales = f"every DiT run is apart from every GPT run in {' and '.join(apart)}" if apart else "clocks not told apart"
    first = runs.iloc[0]
    return f"G = {first['G']}, N = {first['n_train']}: {'; '.join(parts)}; {scales}; {verdict}"


def _draw_curves(ax: Axes, shown: pd.DataFrame) -> None:
    middle = {name: seed_median(shown, "step", name) for name in STYLES}
    steps = middle["rule_accuracy"]["step"].to_numpy()
    is_open = (middle["rule_accuracy"]["rule_accuracy"] > 0.9) & (middle["memorization"]["memorization"] < 0.1)
    if not shade_window(ax, steps, is_open.to_numpy(), "innovation window of the medians"):
        ax.text(0.5, 0.5, "no window", transform=ax.transAxes, ha="center", color=COLOURS["chance"])
    elif is_open.iloc[-1]:
        ax.text(0.95, 0.3, f"still open when\nthe runs end:\ncensored at\nstep {steps[-1]}", transform=ax.transAxes,
                ha="right", fontsize=7)  # fmt: skip
        ax.annotate("", (1.04, 0.25), (0.82, 0.25), xycoords="axes fraction", annotation_clip=False,
                    arrowprops={"arrowstyle": "-|>", "color": "k"})  # fmt: skip
    for name, (colour, style) in STYLES.items():
        plot_seeds(ax, shown, "step", name, COLOURS[colour], style, name.replace("_", " "))
    ax.axhline(shown["chance"].mean(), color=COLOURS["chance"], ls=":", lw=1.2, label="chance memorization")
    for height in (0.9, 0.1):
        ax.axhline(height, color=COLOURS["chance"], lw=0.6, ls=(0, (1, 3)))
    ratio_axis(ax)


def _draw_loss(ax: Axes, shown: pd.DataFrame, floors: pd.DataFrame) -> None:
    plot_seeds(ax, shown, "step", "loss", COLOURS["loss"], label="training loss")
    mean = floors[floors["run"].isin(shown["run"])].mean()
    ax.axhline(mean["population"], color=COLOURS["rule"], ls="-.", lw=1.2, label="exact optimum of the rule")
    ax.axhline(mean["empirical"], color=COLOURS["memorization"], ls=":", lw=1.6, label="exact optimum of training set")
    ax.set_ylabel(families()[shown["architecture"].iloc[0]].loss_label)
    ax.set_ylim(bottom=0)


def _apart(runs: pd.DataFrame, clock: str) -> bool:
    """Whether the onsets of one architecture all lie after those of the other, by their intervals."""
    dit, gpt = (runs[runs["architecture"] == name] for name in ARCHITECTURES)
    if dit.empty or gpt.empty:
        return False
    lower, upper = f"{clock}_lower", f"{clock}_upper"
    return bool(dit[lower].min() >= gpt[upper].max() or gpt[lower].min() >= dit[upper].max())
