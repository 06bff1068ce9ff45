"""Grids of symbols drawn as small images, for the montages of training samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from ...theory import rule

SYMBOLS = ("#F7F7F7", "#56B4E9", "#F0E442", "#009E73", "#D55E00", "#332288")  # by lightness, told apart in grayscale


def sample_rows(spec: str, n: int, seed: int = 0) -> pd.DataFrame:
    """n exactly uniform valid grids of a rule, as digits, with support_size as text, rows, columns and alphabet."""
    built = rule(spec)
    x = built.sample(n, torch.Generator().manual_seed(seed))
    return pd.DataFrame(
        {
            "rule": spec,
            "support_size": str(built.support_size),
            "rows": built.shape[0],
            "columns": built.shape[1],
            "alphabet": built.alphabet,
            "symbols": ["".join(map(str, grid)) for grid in x.tolist()],
        }
    )


def draw_montage(ax: Axes, samples: pd.DataFrame, across: int) -> None:
    """The grids of one rule, `across` in a row, with thin lines between cells and wide gaps between grids.

    Beyond two symbols, which white and dark tell apart, each cell shows its symbol, too: 1, 2, ...
    """
    first = samples.iloc[0]
    rows, columns, alphabet = int(first["rows"]), int(first["columns"]), int(first["alphabet"])
    grids = np.array([list(map(int, text)) for text in samples["symbols"]]).reshape(-1, rows, columns)
    palette = ListedColormap(["#F7F7F7", "#333333"] if alphabet == 2 else list(SYMBOLS[:alphabet]))
    for number, grid in enumerate(grids):
        left, top = (number % across) * (columns + 1), (number // across) * (rows + 1)
        edges_x, edges_y = np.arange(columns + 1) + left, np.arange(rows + 1) + top
        ax.pcolormesh(edges_x, edges_y, grid, cmap=palette, vmin=0, vmax=alphabet - 1, edgecolors="#999999", lw=0.25)
        for (row, column), symbol in np.ndenumerate(grid if alphabet > 2 else grid[:0]):
            at = left + column + 0.5, top + row + 0.5
            ax.annotate(str(symbol + 1), at, ha="center", va="center", fontsize=6,
                        color="w" if _luminance(palette(symbol)) < 0.4 else "k")  # fmt: skip
    down = -(-len(grids) // across)
    ax.set(xlim=(-0.2, across * (columns + 1) - 0.8), ylim=(down * (rows + 1) - 0.8, -0.2), aspect="equal")
    ax.axis("off")


def _luminance(colour: tuple[float, float, float, float]) -> float:
    """How bright a colour looks in grayscale, 0 to 1 (Rec. 601)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def all_valid(samples: pd.DataFrame) -> int:
    """How many of the grids satisfy the rule that they were drawn from, read back from their digits."""
    valid = 0
    for spec, panel in samples.groupby("rule", sort=False):
        x = torch.tensor([list(map(int, text)) for text in panel["symbols"]])
        valid += int(rule(str(spec)).is_valid(x).sum())
    return valid


def count_text(samples: pd.DataFrame) -> str:
    """The number of valid grids, in full up to a million."""
    count = int(samples["support_size"].iloc[0])
    if count < 10**6:
        return f"{count:,}"
    digits, _, power = f"{count:.2e}".partition("e+")
    return rf"${digits} \times 10^{{{int(power)}}}$"
