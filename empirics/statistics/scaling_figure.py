"""The figure of a scaling fit (Fig. 10): intervals, censored runs, lines and bands, readable in grayscale."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ..style import figure_style, new_figure
from .scaling_tests import cell_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .scaling import ScalingFit

# Okabe and Ito's colour-blind safe colours, dark enough on white; markers and dashes tell them apart in grayscale.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#8A5A00", "#56B4E9", "#5D3A9B")
_MARKERS = ("o", "s", "D", "v", "P", "X", "<", ">")
_MOST_NAMED = 30
_KNOWN = {"n_train": "training samples N", "tau_mem": r"$\tau_{mem}$", "tau_rule": r"$\tau_{rule}$"}
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (1, 1)), (0, (3, 3)))


def plot_scaling(fit: ScalingFit, ax: Axes | None = None) -> Axes:
    """Draw a scaling fit on log-log axes.

    A run is a bar over the interval that holds its onset, with a marker at the geometric middle; a censored run is an
    open marker with an arrow at its last evaluation. Lines are fitted medians, bands pointwise 95% bootstrap intervals.

    Args:
        fit: from `fit_scaling`.
        ax: axes to draw on; new ones when left out.

    Returns:
        The axes.
    """
    if ax is None:
        with figure_style():
            width = 5.6 if len(fit.groups) <= 4 else 7.6
            return plot_scaling(fit, new_figure(1, 1, width, 4.2)[1][0][0])
    from matplotlib.ticker import NullLocator

    x = fit.table["x"].to_numpy()
    lower, upper = fit.table["lower"].to_numpy(), fit.table["upper"].to_numpy()
    group, censored = fit.group, np.isinf(upper)
    smallest = min(lower[lower > 0].min(initial=np.inf), upper.min()) / 1.5
    spread = _spread(x, group, len(fit.groups))
    names = []
    for k, key in enumerate(fit.groups):
        colour, marker, dash = _COLOURS[k % 8], _MARKERS[k % 8], _DASHES[k % 8]
        name = ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)
        name = f" {name}" if name.startswith("_") else name  # a legend leaves out what begins with an underscore
        seen, late = (group == k) & ~censored, (group == k) & censored
        low = np.where(lower[seen] > 0, lower[seen], smallest)
        middle = np.sqrt(low * upper[seen])
        bars = np.stack([middle - low, upper[seen] - middle])
        ax.errorbar(spread[seen], middle, yerr=bars, fmt=marker, color=colour, markersize=4, elinewidth=1, alpha=0.85)
        if late.any():
            foot, reach = lower[late], 0.22 * lower[late]
            ax.errorbar(
                spread[late], foot, yerr=reach, lolims=True, fmt=marker, color=colour, mfc="white", markersize=4
            )
        line = np.geomspace(x[group == k].min() / 1.15, x[group == k].max() * 1.15, 100)
        mine = key if fit.by else None
        ax.plot(line, fit.predict(line, mine), color=colour, linestyle=dash, lw=1.6)
        if fit.by and k < _MOST_NAMED:
            ax.lines[-1].set_label(name)
            names.append(name)
        with suppress(ValueError):  # a bootstrap that is not to be trusted has no band
            ax.fill_between(line, *fit.band(line, mine), color=colour, alpha=0.15, lw=0)
    if len(fit.groups) > _MOST_NAMED:
        ax.plot([], [], " ", label=f"and {len(fit.groups) - _MOST_NAMED} more groups")
    if censored.any():
        late_label = "censored: later than the arrow's foot"
        ax.errorbar([], [], fmt="o", color="0.3", mfc="white", markersize=4, label=late_label)
    ax.set(xscale="log", yscale="log")
    for axis, name, unit in ((ax.xaxis, fit.x, ""), (ax.yaxis, fit.onset, f" ({fit.unit})")):
        axis.set_label_text(_KNOWN.get(name, name) + unit)
        axis.label.set_parse_math(name in _KNOWN)
    values = np.unique(x)
    if len(values) <= 8:
        ax.set_xticks(values, [f"{v:g}" for v in values])
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_title(_title(fit))
    if ax.get_legend_handles_labels()[1]:
        legend = ax.legend(frameon=False)
        if len(fit.groups) > 4:  # a long legend would hide the runs
            legend = ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        for text in legend.get_texts():
            if text.get_text() in names:
                text.set_parse_math(False)  # a name is no formula: dollars, underscores and backslashes stay
    return ax


def _spread(x: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """x moved a little, each run of a cell to its own place, so that bars do not hide each other."""
    values = np.unique(x)
    gap = np.diff(np.log(values)).min() if len(values) > 1 else 1.0
    moved = np.log(x)
    cell = cell_of(group, x)
    _, sizes = np.unique(cell, return_counts=True)
    for runs in np.split(np.argsort(cell, kind="stable"), np.cumsum(sizes)[:-1]):
        within = np.linspace(-0.5, 0.5, len(runs) + 2)[1:-1]
        moved[runs] += 0.6 * gap * ((group[runs[0]] + 0.5 + 0.8 * within) / n_groups - 0.5)
    return np.exp(moved)


def _title(fit: ScalingFit) -> str:
    counts = f"{fit.n_runs} runs, {fit.n_censored} censored"
    flags = "".join(f"\n{failure}" for failure in fit.failures if "power law" in failure or "exponents" in failure)
    if isinstance(fit.exponent, dict) or isinstance(fit.ci, dict):
        return f"separate exponents; {counts}{flags}"
    return f"exponent {fit.exponent:.2f} [{fit.ci[0]:.2f}, {fit.ci[1]:.2f}]; {counts}{flags}"
