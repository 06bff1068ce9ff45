"""Heatmaps of score planes: a row per step or exact optimum, a column per sigma (Fig. 17, 18, 19)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from ..runs.run import Run
from ..style import new_figure
from .phases import LEARNED, affordable, by_denoiser, phase_steps, run_title
from .planes import CORNERS, mean_planes, run_planes, training_share
from .probe import Probe, Tables
from .summary import RunSummary, run_summary

Quantity = Literal["score", "displacement"]
_MARKERS = {"a": "o", "b": "s", "c": "X", "d": "X"}
WHAT = {
    "score": r"score magnitude $|D(y) - y| / \sigma^2$ (per data unit)",
    "displacement": "displacement D(y) - y from b towards a (1: the whole way)",
}
_BAR = {"score": r"$|D(y) - y| / \sigma^2$", "displacement": "from b towards a"}
CORNERS_TEXT = "a training sample, b valid and novel, c and d invalid"
BORDER_TEXT = "black line: no displacement, the border between points drawn towards a (orange) and towards b (purple)"


def planes_figure(table: pd.DataFrame, run: Run, quantity: Quantity = "displacement") -> Figure:
    """Heatmaps of one quantity, mean over planes.

    Args:
        table: from `run_planes`.
        run: gives the title and the names of the phases.
        quantity: column of the table to draw.
    """
    means = mean_planes(table)
    names = row_names(means, run_summary(run))
    sigmas = sorted(set(means["sigma"]))
    figure, axes = new_figure(len(names), len(sigmas), 1.6 * len(sigmas) + 1.0, 1.62 * len(names) + 1.2,
                              sharex=True, sharey=True)  # fmt: skip
    draw_planes(figure, axes, means, quantity, training_share(table) if quantity == "displacement" else None)
    for (first, *_), name in zip(axes, names, strict=True):
        first.set_ylabel(name)
    what = WHAT[quantity]
    if quantity == "displacement":
        what += f"\n{BORDER_TEXT}; 'to a': share of the square abcd drawn to a"
    planes = f"mean over {table['plane'].nunique()} planes"
    figure.suptitle(f"{what}\n{run_title(run)}; {planes}\n{CORNERS_TEXT}", fontsize=9)
    return figure


def row_names(means: pd.DataFrame, run: RunSummary, phases: Mapping[str, int] | None = None) -> list[str]:
    """A name for each denoiser of a table, in its order: the phase and step, or the optimum.

    Args:
        means: from `mean_planes`.
        run: gives `phase_steps`.
        phases: steps of more phases, by name; they come first.
    """
    named = {step: phase for phase, step in [*phase_steps(run).items(), *(phases or {}).items()]}
    names = []
    for denoiser, step, _ in by_denoiser(means):
        if step is None:
            names.append(denoiser.replace(" optimum", "\noptimum"))
        else:
            names.append(f"{named[step]}\nstep {step}" if step in named else f"step {step}")
    return names


def draw_planes(
    figure: Figure | SubFigure,
    axes: Sequence[Sequence[Axes]],
    means: pd.DataFrame,
    quantity: Quantity,
    shares: pd.DataFrame | None = None,
) -> None:
    """Heatmaps of one quantity with the corners marked, the zero of displacement in black, and a colour bar a column.

    The colours of a column span what the learned denoisers show within the square abcd; beyond they end in an arrow.

    Args:
        figure: of the axes.
        axes: a row for each denoiser of the table in its order, a column for each sigma, ascending.
        means: from `mean_planes`.
        quantity: column of the table to draw.
        shares: from `training_share`, written above each panel.
    """
    drawn = {} if shares is None else {
        (name, step): dict(zip(part["sigma"], part["share"], strict=True)) for name, step, part in by_denoiser(shares)
    }  # fmt: skip
    signed = quantity == "displacement"
    for column, sigma in enumerate(sorted(set(means["sigma"]))):
        level = means[means["sigma"] == sigma]
        low, high = _colour_ends(level, quantity)
        for row, (denoiser, step, part) in enumerate(by_denoiser(level)):
            ax = axes[row][column]
            grid = part.pivot(index="v", columns="u", values=quantity)
            values = grid.to_numpy(float)
            mesh = ax.pcolormesh(
                grid.columns, grid.index, values, cmap="PuOr_r" if signed else "viridis", vmin=low, vmax=high,
                shading="gouraud", rasterized=True,
            )  # fmt: skip
            if signed and values.min() < 0 < values.max():
                ax.contour(grid.columns, grid.index, values, [0.0], colors="k", linewidths=0.8)
            _mark_corners(ax)
            title = [rf"$\sigma$ = {sigma:g}"] if row == 0 else []
            if drawn:
                title.append(f"to a: {100 * drawn[denoiser, step][sigma]:.0f}%")
            ax.set_title("\n".join(title), fontsize=8, pad=3)
        below = [line[column] for line in axes]
        bar = figure.colorbar(mesh, ax=below, location="bottom", shrink=0.9, aspect=14, pad=0.03, extend="both")
        bar.locator = MaxNLocator(3, steps=[1, 2, 5, 10])
        bar.ax.tick_params(labelsize=7)
        bar.set_label(_BAR[quantity], fontsize=8)


def _colour_ends(level: pd.DataFrame, quantity: Quantity) -> tuple[float, float]:
    """The least and largest value of the learned denoisers of a table within the square; symmetric when signed."""
    learned = level[level["denoiser"] == LEARNED]
    inside = learned[learned["u"].between(0, 1) & learned["v"].between(0, 1)]
    values = (inside if len(inside) else level)[quantity]
    high = max(float(values.abs().max()), 1e-9)
    return (-high, high) if quantity == "displacement" else (float(values.min()), high)


def _mark_corners(ax: Axes) -> None:
    for name, (u, v) in CORNERS.items():
        ax.plot(u, v, _MARKERS[name], color="white", markeredgecolor="black", markersize=6)
        outside = (0.22 if u else -0.22, 0.22 if v else -0.22)
        disc = {"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        ax.text(u + outside[0], v + outside[1], name, ha="center", va="center", fontsize=8, bbox=disc)
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.grid(False)


def _measure(run: Run) -> Tables:
    return {"planes": run_planes(run, optima=affordable(run, "rule optimum", "training-set optimum"))}


def _draw(tables: Tables, run: Run) -> dict[str, Figure]:
    table = tables["planes"]
    return {"planes": planes_figure(table, run), "planes_score": planes_figure(table, run, "score")}


PROBES = (Probe("planes", "The score on planes through four grids", _measure, _draw, ("gaussian",)),)
