"""Figure 23: onsets on categorical rules, scalar against one-hot encoding.

The paper compares, for row-only, Latin-square and Sudoku grids, the first steps with rule accuracy >= 0.85, with a
novel-valid fraction >= 0.5, and with memorization; scalar encoding on the left, one-hot on the right. Ours does so with
the runs of Figure 22, an interval a run.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.style import new_figure
from .presets import Preset
from .shared.categorical import ENCODINGS, categorical_runs, family_name, scale
from .shared.clock_plots import draw_clocks, onset_legend
from .shared.clock_statistics import answer_of, clock_order, onset_ratio
from .shared.clock_tables import median_text, onset_table
from .store import Data

PAPER = (
    "Onsets of the rule, of novel valid generation and of memorization in each categorical task and encoding. The "
    "caption's conclusion is cut off; tested is the paper's order, both of the former before memorization."
)
MISSING = (
    "the paper's mini model and N = 4096, with which Latin squares and Sudoku may be learned; runs long enough to "
    "copy, or a smaller N"
)
ONSETS = ("tau_rule", "tau_novel", "tau_mem")


def configs(preset: Preset) -> list[RunConfig]:
    return categorical_runs(preset)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    return {"runs": onset_table(runs, ONSETS, ("encoding", "steps"))}


def plot(data: Data) -> Figure:
    runs = data["runs"]
    present = [name for name in ENCODINGS if (runs["encoding"] == name).any()]
    specs = list(dict.fromkeys(runs["rule"]))
    figure, (row,) = new_figure(1, len(present), 4.2 * len(present) + 0.6, 3.9, sharey=True)
    labels = [family_name(spec).replace(", ", "\n") for spec in specs]
    for ax, encoding in zip(row, present, strict=True):
        table = runs[runs["encoding"] == encoding].reset_index(drop=True)
        draw_clocks(ax, table, "rule", specs, labels, ONSETS, joined=False)
        ax.set_title(ENCODINGS[encoding])
    row[0].set_ylabel("training step")
    onset_legend(figure, ONSETS, ncols=3)
    figure.suptitle(f"{scale(runs)}, {runs['steps'].max()} steps; rule: accuracy $\\geq$ 0.85\n"
                    "Why Latin squares and Sudoku are not learned: Figure 22", fontsize=10)  # fmt: skip
    return figure


def measured(data: Data) -> str:
    runs = data["runs"]
    parts = []
    for (encoding, spec), cell in runs.groupby(["encoding", "rule"], sort=False):
        medians = " / ".join(median_text(cell, name) for name in ONSETS)
        parts.append(f"{family_name(str(spec))} {encoding} {medians}")
    rule, novel = clock_order(runs), clock_order(runs, "tau_novel")
    return (
        f"{len(runs)} runs; median tau_rule / novel-valid >= 0.5 / tau_mem: {'; '.join(parts)}; tau_rule, scalar over "
        f"one-hot, {_encoding_ratio(runs)}; before tau_mem come tau_rule in {rule} and novel-valid in {novel}: "
        f"{answer_of([rule.answer, novel.answer])}"
    )


def _encoding_ratio(runs: pd.DataFrame) -> str:
    """Only rules that both encodings learn can be compared."""
    seen = runs[runs["tau_rule_upper"] < float("inf")]
    both = [rule for rule, cell in seen.groupby("rule") if cell["encoding"].nunique() == 2]
    table = runs[runs["rule"].isin(both)].reset_index(drop=True)
    if table.empty:
        return "undetermined: no rule is learned in both encodings"
    try:
        return str(onset_ratio(table, "tau_rule", (table["encoding"] == "scalar").to_numpy(), table["rule"]))
    except ValueError as fault:
        return f"undetermined: {fault}"
