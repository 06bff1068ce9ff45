"""Figure 5: what the binary rules look like.

The paper shows a 5 x 5 montage of 6x6 training samples for each variant: group parity, exact-K, row-K,
row-variable-K and global-K. Ours shows the same families at the preset's grid, drawn exactly uniformly from each rule;
the number of valid grids stands above each panel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.style import new_figure
from .catalogue import all_group_sizes
from .presets import Preset
from .shared.montage import all_valid, count_text, draw_montage, sample_rows
from .shared.verdicts import word
from .store import Data

PAPER = (
    "One space of binary images holds qualitatively different constraints: group parity, exact-K, row-K, "
    "row-variable-K and global-K."
)
SIDE = 5
FAMILIES = ("parity", "exact-k", "row-k", "row-variable-k", "global-k")


def configs(preset: Preset) -> list[RunConfig]:
    return []


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    specs = [*(f"parity:{preset.shape},G={G}" for G in all_group_sizes(preset)), *preset.binary_rules]
    rows = [sample_rows(spec, SIDE**2, seed) for seed, spec in enumerate(specs)]
    return {"samples": pd.concat(rows, ignore_index=True)}


def plot(data: Data) -> Figure:
    panels = {str(spec): panel for spec, panel in data["samples"].groupby("rule", sort=False)}
    families = [[spec for spec in panels if spec.startswith(f"{family}:")] for family in FAMILIES]
    lines = pack(families)
    first = data["samples"].iloc[0]
    tall = (first["rows"] + 1) / (first["columns"] + 1)  # of a montage, relative to its width
    across = max(map(len, lines))
    figure, axes = new_figure(len(lines), across, 1.4 * across, (1.4 * tall + 0.35) * len(lines) + 0.35)
    for row, line in zip(axes, lines, strict=True):
        for ax in row:
            ax.axis("off")
        for ax, spec in zip(row, line, strict=False):
            if spec:
                draw_montage(ax, panels[spec], SIDE)
                ax.set_title(f"{_name(spec)}\n{count_text(panels[spec])} valid", fontsize=7)
    shape = f"{first['rows']}x{first['columns']}"
    figure.suptitle(f"Binary rules on {shape} grids: exactly uniform samples, ones dark", fontsize=10)
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
