"""Figure 5: what the binary rules look like.

The paper shows a 5 x 5 montage of 6x6 training samples for each variant: group parity, exact-K, row-K,
row-variable-K and global-K. Ours shows the same families on the paper's grid (A), and on the grid that the preset
trains on where it is another (B), drawn exactly uniformly from each rule; the number of valid grids stands above each
panel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from .catalogue import all_group_sizes
from .presets import Preset
from .shared.montage import all_valid, count_text, draw_montage, sample_rows
from .shared.verdicts import word
from .store import Data

PAPER = (
    "One space of binary images holds qualitatively different constraints: group parity, exact-K, row-K, "
    "row-variable-K and global-K."
)
MISSING = ""
SIDE = 5
GRID = "6x6"
"""of the paper"""
VARIANTS = {
    "parity": "G=2 G=3 G=4 G=6 G=9 G=12 G=18 G=36",
    "exact-k": "K=3 K=6 K=9 K=12 K=15 K=18 K=24 K=30",
    "row-k": "K=1 K=2 K=3 K=4 K=5",
    "row-variable-k": "K=1+2 K=1+3 K=1+5 K=2+4 K=0+6 K=0+3+6 K=1+3+5 K=4+5",
    "global-k": "K=9+18 K=6+30 K=12+24 K=3+18+33 K=9+18+27 K=12+18+24",
}
"""on that grid, a row per family"""
FAMILIES = tuple(VARIANTS)


def configs(preset: Preset) -> list[RunConfig]:
    return []


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    specs = [f"{family}:{GRID},{variant}" for family, variants in VARIANTS.items() for variant in variants.split()]
    if preset.shape != GRID:
        specs += [*(f"parity:{preset.shape},G={G}" for G in all_group_sizes(preset)), *preset.binary_rules]
    rows = [sample_rows(spec, SIDE**2, seed) for seed, spec in enumerate(specs)]
    return {"samples": pd.concat(rows, ignore_index=True)}


def plot(data: Data) -> Figure:
    grids = [panel for _, panel in data["samples"].groupby(["rows", "columns"], sort=False)]
    lines = [_by_family(panel) for panel in grids]
    lines[1:] = [pack(block) for block in lines[1:]]
    across = max(len(line) for block in lines for line in block)
    tall = [1.4 * (panel["rows"].iloc[0] + 1) / (panel["columns"].iloc[0] + 1) + 0.35 for panel in grids]
    heights = [len(block) * height + 0.35 for block, height in zip(lines, tall, strict=True)]
    figure = Figure(figsize=(1.4 * across, sum(heights)))
    parts = figure.subfigures(len(grids), 1, squeeze=False, height_ratios=heights)[:, 0]
    for letter, part, block, panel in zip("AB", parts, lines, grids, strict=False):
        axes = part.subplots(len(block), across, squeeze=False)
        for ax in axes.flat:
            ax.axis("off")
        for row, line in zip(axes, block, strict=True):
            for ax, spec in zip(row, line, strict=False):
                if spec:
                    samples = panel[panel["rule"] == spec]
                    draw_montage(ax, samples, SIDE)
                    ax.set_title(f"{_name(spec)}\n{count_text(samples)} valid", fontsize=7)
        shape = f"{panel['rows'].iloc[0]}x{panel['columns'].iloc[0]}"
        whose = "the paper's" if shape == GRID else "those of our runs"
        text = f"{letter}  Binary rules on {shape} grids ({whose}): exactly uniform samples, ones dark"
        part.suptitle(text, fontsize=10, x=0.01, ha="left")
    return figure


def measured(data: Data) -> str:
    samples = data["samples"]
    valid = all_valid(samples)
    specs = samples.drop_duplicates("rule")
    counted = [int(size) == count_valid(spec) for spec, size in zip(specs["rule"], specs["support_size"], strict=True)]
    fault = valid < len(samples) or not all(counted)
    shown = {spec.partition(":")[0] for spec in specs["rule"]}
    verdict = word(shown == set(FAMILIES) and not fault, fault)
    return (
        f"{valid} of {len(samples)} drawn grids satisfy their rule; {sum(counted)} of {len(counted)} numbers of valid "
        f"grids equal their closed form exactly; no training; {verdict}"
    )


def pack(families: Sequence[Sequence[str]]) -> list[list[str]]:
    """Families in their order on as few lines as the longest allows, one empty place between two on a line."""
    width = max(map(len, families))
    lines: list[list[str]] = []
    for family in filter(None, families):
        if lines and len(lines[-1]) + 1 + len(family) <= width:
            lines[-1] += ["", *family]
        else:
            lines.append(list(family))
    return lines


def count_valid(spec: str) -> int:
    """The number of valid grids of a binary rule by its closed form, from the spec alone."""
    family, _, rest = spec.partition(":")
    shape, _, variant = rest.partition(",")
    rows, columns = map(int, shape.split("x"))
    numbers = list(map(int, variant.partition("=")[2].split("+")))
    cells = rows * columns
    if family == "parity":
        return 2 ** (cells - cells // numbers[0])
    if family in ("row-k", "row-variable-k"):
        return sum(math.comb(columns, k) for k in numbers) ** rows
    return sum(math.comb(cells, k) for k in numbers)


def _name(spec: str) -> str:
    """A rule for a title: ``row-variable-K, K = 1, 2``."""
    family, _, rest = spec.partition(":")
    letter, _, values = rest.partition(",")[2].partition("=")
    return f"{family.replace('-k', '-K')}, {letter} = {values.replace('+', ', ')}"


def _by_family(samples: pd.DataFrame) -> list[list[str]]:
    """The rules of some samples, one line per family."""
    specs = list(dict.fromkeys(samples["rule"]))
    return [[spec for spec in specs if spec.startswith(f"{family}:")] for family in FAMILIES]
