"""One look for every figure: a colour means the same thing throughout, and a line style tells it in grayscale too."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .runs.files import write_atomically

COLOURS = {  # Okabe and Ito's colour-blind safe palette, ordered in lightness
    "rule": "#0072B2",
    "memorization": "#D55E00",
    "novel": "#009E73",
    "ambiguous": "#999999",
    "chance": "#444444",
    "window": "#F0E442",
    "violating": "#332288",
    "loss": "#000000",
    "cube": "#CC79A7",
    "local": "#56B4E9",
}

_RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw what is inside in the package's style, whatever a matplotlibrc of the reader's says, such as text.usetex."""
    with mpl.style.context(["default", _RC]):
        yield


def new_figure(
    rows: int, columns: int, width: float, height: float, **options: object
) -> tuple[Figure, list[list[Axes]]]:
    """A figure in inches that no window manages, and its axes as a list of rows; use inside `figure_style`."""
    figure = _Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **options).tolist()  # type: ignore[call-overload]


class _Figure(Figure):
    def savefig(self, fname: Any, **options: Any) -> None:
        if isinstance(fname, str | os.PathLike):
            save_figure(self, fname, **options)
        else:
            super().savefig(fname, **options)


def save_figure(figure: Figure, path: str | os.PathLike[str], **options: Any) -> None:
    """Save a figure, in the format of the path's suffix, whole or not at all and never through a link at its place.

    Args:
        figure: one of `new_figure` does this by itself.
        path: of the file.
        options: of `Figure.savefig`.
    """
    place, content = Path(path), io.BytesIO()
    kind = options.pop("format", None) or place.suffix[1:] or mpl.rcParams["savefig.format"]
    Figure.savefig(figure, content, format=kind, **options)
    write_atomically(place if place.suffix else place.with_name(f"{place.name}.{kind}"), content.getvalue())


def draw_measured(
    ax: Axes, rows: pd.DataFrame, x: str, y: str, lowest: float | None = None, alpha: float = 0.2, **look: Any
) -> None:
    """Column y over column x, with the 95% interval of y_se, cut off at `lowest`; `look` of the line has a color."""
    value, error = rows[y], 1.96 * rows[f"{y}_se"]
    ax.plot(rows[x], value, **look)
    low = value - error if lowest is None else (value - error).clip(lower=lowest)
    ax.fill_between(rows[x], low, value + error, color=look["color"], alpha=alpha, lw=0)


def cell_edges(centres: Sequence[float] | np.ndarray, log: bool = True) -> np.ndarray:
    """Where the cells about centres (n,), such as steps or sigmas, begin and end: (n + 1,), midway between them.

    Args:
        centres: in the units of the axis, ascending.
        log: the axis is logarithmic, so that midway is the geometric mean.
    """
    at = np.asarray(centres, dtype=float)
    at = np.log(at) if log else at
    half = (0.1 if log else 0.5) if len(at) == 1 else (at[1] - at[0]) / 2
    last = half if len(at) == 1 else (at[-1] - at[-2]) / 2
    edges = np.r_[at[0] - half, (at[1:] + at[:-1]) / 2, at[-1] + last]
    return np.exp(edges) if log else edges
