"""Figure 6: what the categorical rules look like.

The paper shows three training samples for each of: rows are permutations of six symbols, Latin squares of order five
and six, and 6x6 Sudoku. Ours shows the same, drawn exactly uniformly, at every preset: these need no training.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.style import new_figure
from .presets import Preset
from .shared.montage import all_valid, count_text, draw_montage, sample_rows
from .shared.verdicts import word
from .store import Data

PAPER = (
    "Structured categorical rules: rows that are permutations of six symbols, Latin squares of order 5 and 6, and 6x6 "
    "Sudoku with 2 x 3 blocks."
)
MISSING = ""
FAMILIES = {
    "permutation:6": "rows are permutations",
    "latin:5": "Latin squares, n = 5",
    "latin:6": "Latin squares, n = 6",
    "sudoku:2x3": "Sudoku, 2 x 3 blocks",
}
SAMPLES = 3
PUBLISHED = {"permutation:6": 720**6, "latin:5": 161_280, "latin:6": 812_851_200, "sudoku:2x3": 28_200_960}
"""Numbers of valid grids: Latin squares from OEIS A002860; Sudoku of 2 x 3 blocks from its published enumeration."""


def configs(preset: Preset) -> list[RunConfig]:
    return []


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    rows = [sample_rows(spec, SAMPLES, seed) for seed, spec in enumerate(FAMILIES)]
    return {"samples": pd.concat(rows, ignore_index=True)}


def plot(data: Data) -> Figure:
    figure, axes = new_figure(len(FAMILIES), 1, 4.6, 1.6 * len(FAMILIES) + 0.4)
    for (ax,), (spec, panel) in zip(axes, data["samples"].groupby("rule", sort=False), strict=True):
        draw_montage(ax, panel, SAMPLES)
        ax.set_title(f"{FAMILIES[str(spec)]}: {count_text(panel)} valid grids", fontsize=8)
    figure.suptitle("Categorical rules: exactly uniform samples", fontsize=10)
    return figure


def measured(data: Data) -> str:
    samples = data["samples"]
    valid = all_valid(samples)
    sizes = samples.drop_duplicates("rule").set_index("rule")["support_size"]
    counted = [int(sizes[spec]) == PUBLISHED[spec] for spec in sizes.index]
    fault = valid < len(samples) or not all(counted)
    verdict = word(set(sizes.index) == set(FAMILIES) and not fault, fault)
    return (
        f"{valid} of {len(samples)} drawn grids satisfy their rule; {sum(counted)} of {len(counted)} numbers of valid "
        f"grids equal the published ones exactly; no training; {verdict}"
    )
