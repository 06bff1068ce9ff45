"""Figure 22: learning dynamics on categorical rules.

The paper trains DiT-mini on three n = 6 datasets (rows as permutations, Latin squares, 6x6 Sudoku) and shows training
loss, the valid ratios of whole samples, rows and columns, and memorization. Ours does so with the preset's smallest DiT
and N, in both encodings; a row or column counts when it is a permutation and the sample has no ambiguous cell, and the
columns of the first rule, which asks nothing of them, are counted too.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.probes.phases import outer_legend
from ..empirics.style import COLOURS, new_figure
from ..theory import rule as build_rule
from .presets import Preset
from .shared.categorical import ENCODINGS, categorical_runs, family_name, scale
from .shared.clock_plots import DASHES, ordered_colour, step_axis
from .shared.clock_statistics import clock_order
from .shared.clock_tables import curve_table, onset_table
from .shared.curves import copies_axis, plot_seeds
from .store import Data

PAPER = (
    "Training trajectories on row-only, Latin-square and Sudoku grids. The caption's conclusion is cut off; tested is "
    "the paper's order, the rule first and memorization later."
)
MISSING = (
    "the paper's mini model and N = 4096, with which Latin squares and Sudoku may be learned; the validity of the "
    "blocks of a Sudoku; runs long enough to copy, or a smaller N"
)
PANELS = {
    "loss": "training loss (EDM)",
    "rule_accuracy": "valid samples",
    "row": "valid rows",
    "column": "valid columns",
    "memorization": "memorized samples",
}


def configs(preset: Preset) -> list[RunConfig]:
    return categorical_runs(preset)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    curves = curve_table(runs, ("loss", "rule_accuracy", "memorization"), ("encoding",))
    lines = [line for run in runs for step in _steps(run) for line in [_line_validity(run, step)]]
    alphabet = [run.rule.alphabet for run in runs]
    return {
        "runs": onset_table(runs, fields=("encoding",)).assign(alphabet=alphabet),
        "curves": pd.concat([curves, pd.DataFrame(lines, columns=["row", "column"], dtype=np.float32)], axis=1),
    }


def plot(data: Data) -> Figure:
    runs, curves = data["runs"], data["curves"]
    specs = list(dict.fromkeys(runs["rule"]))
    present = [name for name in ENCODINGS if (runs["encoding"] == name).any()]
    figure, axes = new_figure(len(present), len(PANELS), 13.0, 2.45 * len(present) + 1.0, sharex=True)
    for row, encoding in zip(axes, present, strict=True):
        for ax, (metric, title) in zip(row, PANELS.items(), strict=True):
            for k, spec in enumerate(specs):
                cell = curves[(curves["rule"] == spec) & (curves["encoding"] == encoding)]
                if len(cell):
                    colour = ordered_colour(k, len(specs))
                    plot_seeds(ax, cell, "step", metric, colour, DASHES[k], family_name(spec), by="seed", least=0.5)
            if metric in ("row", "column"):
                for n in sorted(set(runs["alphabet"])):
                    ax.axhline(
                        math.factorial(n) / n**n, color=COLOURS["chance"], ls=":", lw=1.2, label="random symbols"
                    )
                ax.axhspan(*_needed(runs), color=COLOURS["window"], alpha=0.5, lw=0, label="needed (see above)")
            if metric == "rule_accuracy":
                ax.axhline(0.85, color=COLOURS["chance"], lw=0.8, ls=(0, (1, 3)), label=r"$\tau_{rule}$: 0.85")
            if metric == "loss":
                ax.set_yscale("log")
                step_axis(ax.yaxis)
            elif metric == "memorization":
                copies_axis(ax)
            else:
                ax.set_ylim(-0.03, 1.03)
            ax.set(xscale="log", title=title)
            step_axis(ax.xaxis)
        row[0].set_ylabel(ENCODINGS[encoding])
    for ax in axes[-1]:
        ax.set_xlabel("training step")
    outer_legend(figure, axes[0], ncols=5)
    low, high = _needed(runs)
    figure.suptitle(
        f"{scale(runs)} (faint), median (thick)\nA sample is valid when all of its lines are: rows; rows and "
        "columns of a Latin square; rows, columns and blocks of a Sudoku. Were lines valid independently,\n"
        rf"$\tau_{{rule}}$ would need {low:.3f} to {high:.3f} of them (yellow). "
        f"Valid at the end: {_lines_at_the_end(curves)}",
        fontsize=9,
    )
    return figure


def measured(data: Data) -> str:
    runs, curves = data["runs"], data["curves"]
    best = curves.groupby(["encoding", "rule", "seed"], sort=False)[["rule_accuracy", "row", "memorization"]].max()
    parts = []
    for (encoding, spec), cell in best.groupby(level=[0, 1], sort=False):
        medians = cell.median()
        parts.append(
            f"{family_name(str(spec))} {encoding} {medians['rule_accuracy']:.2f} / {medians['row']:.2f} / "
            f"{medians['memorization']:.2f}"
        )
    order = clock_order(runs)
    return (
        f"{len(runs)} runs; best valid samples / valid rows / memorization over training, median over seeds: "
        f"{'; '.join(parts)}; tau_rule precedes tau_mem in {order}: {order.answer}"
    )


def _needed(runs: pd.DataFrame) -> tuple[float, float]:
    """The share of valid lines at which 0.85 of samples have valid lines only, if independent: fewest, most lines."""
    n = int(runs["alphabet"].max())
    return 0.85 ** (1 / n), 0.85 ** (1 / (3 * n))


def _lines_at_the_end(curves: pd.DataFrame) -> str:
    """The shares of rows and columns that are valid at the last evaluation of each rule, median over its runs."""
    last = curves.sort_values("step").groupby(["encoding", "rule", "seed"], sort=False).tail(1)
    middle = last.groupby("rule", sort=False)[["row", "column"]].median()
    parts = []
    for spec in dict.fromkeys(curves["rule"]):
        row, column = middle.loc[spec]
        columns = "" if str(spec).startswith("permutation") else f" and {column:.2f} of columns"
        parts.append(f"{str(spec).partition(':')[0]} {row:.2f} of rows{columns}")
    return "; ".join(parts)


def _steps(run: Run) -> list[int]:
    metrics = run.metrics
    return [int(step) for step in metrics["step"]] if len(metrics) else []


def _line_validity(run: Run, step: int) -> tuple[float, float]:
    """The fractions of generated rows and columns that are permutations, ambiguous samples counting as wrong."""
    generations = run.samples(step)
    lines = build_rule(f"latin:{run.rule.alphabet}").constraints(generations.symbols)
    clear = ~generations.ambiguous[:, None]
    return float((lines["row"] & clear).double().mean()), float((lines["column"] & clear).double().mean())
