"""Figure 12: how near generations are to the training set.

The paper shows, for each group size, the mean Hamming distance from generations to the nearest training sample late in
training: of all, of the valid ones, and of those that are valid and not memorized. Ours shows the same for the smallest
DiT of the preset over the whole of training, with every seed, and with what exact samplers of the rule and of the cube
would reach.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from ..empirics import Run, RunConfig
from ..empirics.probes.nearest import (
    FEW,
    GENERATION_LOOKS,
    draw_references,
    hamming_over_training,
    hamming_references,
)
from ..empirics.probes.phases import outer_legend
from ..empirics.style import COLOURS, new_figure
from .catalogue import parity
from .presets import Preset
from .shared.clock_tables import median_onset
from .shared.curves import LineStyle, plot_seeds, scale_text
from .shared.run_tables import runs_table
from .shared.verdicts import LEVEL, clock_text, word
from .store import Data

PAPER = "Valid generations, those not memorized among them, move closer and closer to the training set before tau_mem."
MISSING = "the paper's mini model, 6x6 grids and N = 4096; at G = 3 and beyond, runs that go on until tau_mem"
STYLES: dict[str, LineStyle] = {"all": "-", "valid": (0, (3, 2)), "novel": "-"}
DRAWS = 16_384
"""Draws of each exact sampler; the mean distance is known to about 0.01 cells."""


def configs(preset: Preset) -> list[RunConfig]:
    return parity(preset, preset.dit, preset.group_sizes, [preset.dit.reference_n])


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    distances, references = [], []
    for number, run in enumerate(runs):
        references.append(hamming_references(run, DRAWS).assign(run=number))
        if len(run.metrics):
            distances.append(hamming_over_training(run).assign(run=number))
    table = pd.concat(distances, ignore_index=True) if distances else pd.DataFrame(columns=_COLUMNS)
    return {
        "runs": runs_table(runs),
        "distances": table[_COLUMNS].astype({"hamming": "float32", "hamming_se": "float32", "n": "int32"}),
        "references": pd.concat(references, ignore_index=True),
    }


def plot(data: Data) -> Figure:
    runs = data["runs"]
    group_sizes = sorted(runs["G"].unique())
    across = min(2, len(group_sizes))
    down = -(-len(group_sizes) // across)
    figure, axes = new_figure(down, across, max(7.0, 4.3 * across), 2.9 * down + 1.2, sharex=True, sharey=True)
    places = [ax for row in axes for ax in row]
    for ax, G in zip(places, group_sizes, strict=False):
        _draw(ax, data, runs[runs["G"] == G])
        ax.set_title(f"G = {G}", pad=15)
    for ax in places[len(group_sizes) :]:
        ax.axis("off")
    for row in axes:
        row[0].set_ylabel("mean Hamming distance to the\nnearest training sample (cells)")
    for ax in places[max(0, len(group_sizes) - across) : len(group_sizes)]:
        ax.set_xlabel("training step")
        ax.xaxis.set_tick_params(labelbottom=True)
    outer_legend(figure, places, ncols=across + 1)
    lines = f"faint: single runs; thick: median of those with {FEW} such generations or more"
    figure.suptitle(f"{scale_text(runs)}\n{lines}", fontsize=9)
    return figure


def measured(data: Data) -> str:
    parts, falls = [], {}
    for of, label in (("novel", "valid and not memorized"), ("valid", "valid")):
        falls[of] = approach(data["runs"], data["distances"], of)
        low, high = mean_interval(falls[of])
        mean = f"{falls[of].mean():.2f} [{low:.2f}, {high:.2f}]" if len(falls[of]) else "unknown"
        parts.append(f"{label} {mean} cells over {len(falls[of])} runs")
    low, high = mean_interval(falls["novel"])
    verdict = word(low > 0, high < 0)
    clocks = f"tau_rule {clock_text(data['runs'], 'tau_rule')}, tau_mem {clock_text(data['runs'], 'tau_mem')} (medians)"
    return f"approach to the training set from tau_rule to just before tau_mem: {'; '.join(parts)}; {clocks}; {verdict}"


def approach(runs: pd.DataFrame, distances: pd.DataFrame, of: str) -> np.ndarray:
    """How many cells nearer generations are at the last evaluation before tau_mem than at the first with the rule.

    One number for each run that has both, as means of `FEW` generations or more, at different steps.
    """
    nearer = []
    for run in runs.to_dict("records"):
        course = distances[(distances["run"] == run["run"]) & (distances["of"] == of) & (distances["n"] >= FEW)]
        inside = course[course["step"].between(run["tau_rule_upper"], run["tau_mem_lower"])].sort_values("step")
        if len(inside) > 1:
            nearer.append(float(inside["hamming"].iloc[0] - inside["hamming"].iloc[-1]))
    return np.array(nearer)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95% t-interval of a mean over runs; unbounded for fewer than two."""
    if len(values) < 2:
        return -np.inf, np.inf
    reach = stats.t.isf(LEVEL / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - reach), float(values.mean() + reach)


_COLUMNS = ["run", "step", "of", "n", "hamming", "hamming_se"]


def _draw(ax: Axes, data: Data, runs: pd.DataFrame) -> None:
    distances = data["distances"][data["distances"]["run"].isin(runs["run"]) & (data["distances"]["n"] >= FEW)]
    for of, (label, colour, _) in GENERATION_LOOKS.items():
        rows = distances[distances["of"] == of]
        if len(rows):
            plot_seeds(ax, rows, "step", "hamming", colour, STYLES[of], label)
    references = data["references"][data["references"]["run"].isin(runs["run"])]
    draw_references(ax, references.groupby("of", sort=False)["hamming"].mean().reset_index())
    _mark_clocks(ax, runs)
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)


def _mark_clocks(ax: Axes, runs: pd.DataFrame) -> None:
    """The medians of both clocks as lines, and the window between them, to the end of training if tau_mem is unseen."""
    rule, mem = (median_onset(runs, clock) for clock in ("tau_rule", "tau_mem"))
    end = float(runs["steps"].max())
    for step, colour, symbol in ((rule, "rule", r"$\tau_{rule}$"), (mem, "memorization", r"$\tau_{mem}$")):
        if np.isfinite(step):
            ax.axvline(step, color=COLOURS[colour], lw=0.9)
            side = "right" if step <= min(rule, mem) else "left"  # so that the names of near clocks do not overlap
            ax.annotate(symbol, (step, 1.01), xycoords=("data", "axes fraction"), ha=side)
    if rule < min(mem, end):
        label = "innovation window of the medians"
        ax.axvspan(rule, min(mem, end), color=COLOURS["window"], alpha=0.3, lw=0, zorder=0, label=label)
