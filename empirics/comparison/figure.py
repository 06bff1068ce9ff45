"""The figure of learned against optimal over training: where and when a model moves from rule to memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import LogLocator, NullFormatter

from ..runs.run import Run
from ..style import COLOURS, cell_edges, draw_measured, figure_style, new_figure
from .moves import telling
from .splits import condensation_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

COORDINATE = "memorization coordinate"
_MAP = LinearSegmentedColormap.from_list("rule to memory", [COLOURS["rule"], "#f4f4f4", COLOURS["memorization"]])
_OPAQUE: dict[str, Any] = {"frameon": True, "framealpha": 1, "edgecolor": "none"}  # over the lines of the clocks
_SPLITS = {"train": "-", "held-out": "--"}
_PLACES = {
    "sigma": "noise level sigma",
    "position": "position of the predicted symbol",
    "mask_rate": "mask rate",
}
_REFERENCES = {  # label, colour, line style and marker of each reference's KL
    "population": ("rule", COLOURS["rule"], "-", "o"),
    "empirical": ("training set", COLOURS["memorization"], "--", "s"),
    "ngram_1": ("bigrams of the rule", COLOURS["local"], "-.", "^"),
    "ngram_2": ("trigrams of the rule", COLOURS["chance"], ":", "v"),
}


def plot_comparison(table: pd.DataFrame, run: Run, path: str | Path) -> None:
    """Write `comparison_figure` of the same table and run, as PNG or PDF by the path's suffix."""
    with figure_style():
        comparison_figure(table, run).savefig(path)


def comparison_figure(table: pd.DataFrame, run: Run) -> Figure:
    """Draw a comparison over training.

    For a DiT: the memorization coordinate over step and sigma, on train and held-out samples; the same as curves at
    some sigmas; and the squared displacement towards the training set against sigma, beside the condensation scale.
    For an MDM: the same coordinates by mask rate; and the KL of each reference from the learned law against it. For a
    GPT: the coordinate over step, of all positions and of each; and the KL over step. Both clocks are marked. Bands are
    95% intervals. Hatched: the coordinate is undefined or says little, as the
    signal is below 1% of its largest value or comes from fewer than 5 effective samples, or the error exceeds 0.2.

    Args:
        table: from `compare_over_training`.
        run: the run it is of.

    Raises:
        ValueError: a table of another kind of run.
    """
    place = run.family.place
    if place not in table.columns:
        raise ValueError(f"the table has no column {place!r}: it is not of a {run.config.model} run")
    with figure_style():
        figure, axes = new_figure(2, 2, 9.6, 6.6)
        if place == "sigma":
            scale = _scale(run)
            mesh = _map(axes[0][0], table, "train", "sigma", run)
            _mark_scale(axes[0][0], scale, horizontal=True)
            if _has_held_out(axes[0][1], table):
                _map(axes[0][1], table, "held-out", "sigma", run)
                _mark_scale(axes[0][1], scale, horizontal=True)
            _curves_by_place(axes[1][0], table, "sigma", run)
            _displacement(axes[1][1], table, scale)
        elif place == "mask_rate":
            mesh = _map(axes[0][0], table, "train", "mask_rate", run)
            if _has_held_out(axes[0][1], table):
                _map(axes[0][1], table, "held-out", "mask_rate", run)
            _curves_by_place(axes[1][0], table, "mask_rate", run)
            _divergences_by_rate(axes[1][1], table)
        else:
            _curves_by_split(axes[0][0], table, run)
            mesh = _map(axes[0][1], table, "train", "position", run)
            _divergences(axes[1][0], table, "train", run)
            if _has_held_out(axes[1][1], table):
                _divergences(axes[1][1], table, "held-out", run)
            figure.legend(*axes[1][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.colorbar(mesh, ax=axes[0][1], label=COORDINATE, extend="both", ticks=[0, 0.25, 0.5, 0.75, 1])
        c, most = run.config, table["n_samples"].max()
        title = f"{c.model}, {c.rule}, N = {c.n_train}, seed {c.seed}; at most {most} samples a split"
        figure.suptitle(title, fontsize=9)
        return figure


def _has_held_out(ax: Axes, table: pd.DataFrame) -> bool:
    """Whether there are held-out samples to draw; if not, the axes say so."""
    if "held-out" in set(table["split"]):
        return True
    ax.text(0.5, 0.5, "no held-out samples:\nevery valid grid is in the training set", ha="center", va="center")
    ax.set_axis_off()
    return False


def _map(ax: Axes, table: pd.DataFrame, split: str, place: str, run: Run) -> QuadMesh:
    """Step x place in colour, with contours, so that grayscale tells the two sides of 1/2."""
    rows = table[(table["split"] == split) & table[place].notna()]
    shown = rows.assign(shown=rows["memorization_coordinate"].where(telling(rows)))
    grid = shown.pivot(index=place, columns="step", values="shown")
    value, steps, places = grid.to_numpy(dtype=float), grid.columns.to_numpy(), grid.index.to_numpy(dtype=float)
    x, y = cell_edges(steps), cell_edges(places, log=place == "sigma")
    mesh = ax.pcolormesh(x, y, value, cmap=_MAP, vmin=0, vmax=1, rasterized=True)
    ax.patch.set(hatch="////", edgecolor="#aaaaaa", linewidth=0)  # shows through where there is no value
    if place == "sigma" and min(value.shape) > 1 and np.isfinite(value).any():
        lines = ax.contour(
            steps, places, value, [0.25, 0.5, 0.75],
            colors="black", linestyles=[":", "-", "--"], linewidths=[1, 1.8, 1],
        )  # fmt: skip
        ax.clabel(lines, fmt="%g", fontsize=7)
    if place == "sigma":
        ax.set_yscale("log")
        plain_ticks(ax.yaxis)
    else:  # rows alternate, so that contours would not read
        row, column = np.nonzero(value >= 0.5)
        ax.plot(steps[column], places[row], "k.", ms=2.5)
    ax.set_ylabel(_PLACES[place])
    ax.grid(False)
    what = "samples" if place == "sigma" else f"{'prefixes' if place == 'position' else 'samples'} (dots: at least 1/2)"
    ax.set_title(f"{COORDINATE}, {split} {what}", pad=16)
    step_axis(ax, run, steps, on_map=True)
    return mesh


def _curves_by_place(ax: Axes, table: pd.DataFrame, place: str, run: Run) -> None:
    rows = table[(table["split"] == "train") & telling(table)]
    values = np.sort(rows[place].unique())
    chosen = values[np.unique(np.linspace(0, len(values) - 1, 5).round().astype(int))] if len(values) else values
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.85, max(1, len(chosen))))
    name = "sigma" if place == "sigma" else "rate"
    for value, shade, marker in zip(chosen, shades, "osD^v", strict=False):
        for split, style in _SPLITS.items():
            curve = table[(table["split"] == split) & (table[place] == value)]
            label = f"{name} {value:.2g}" if split == "train" else None
            _band(ax, curve, "step", "memorization_coordinate", ls=style, color=shade, marker=marker, label=label)
    _between(ax)
    ax.set_ylim(top=1.5)
    ax.set_title("train samples: solid, held-out samples: dashed", pad=16)
    ax.legend(loc="upper left", ncols=3, **_OPAQUE)
    step_axis(ax, run, table["step"].unique())


def _displacement(ax: Axes, table: pd.DataFrame, scale: float | None) -> None:
    last = table["step"].max()
    rows = table[(table["step"] == last) & (table["split"] == "train")]
    rows = rows[telling(rows)]
    memory = COLOURS["memorization"]
    ax.plot(rows["sigma"], rows["signal"], "--s", ms=3, color=memory, label="full memorization: signal")
    c, error = rows["memorization_coordinate"], 1.96 * rows["memorization_coordinate_se"]
    pull, spread = c**2 * rows["signal"], 2 * c.abs() * error * rows["signal"]
    ax.plot(rows["sigma"], pull, "-o", ms=3, color=COLOURS["loss"], label="learned: coordinate$^2$ x signal")
    ax.fill_between(rows["sigma"], (pull - spread).clip(lower=0), pull + spread, color=COLOURS["loss"], alpha=0.2, lw=0)
    ax.set_xscale("log")
    ax.set_xlim(table["sigma"].min(), table["sigma"].max())
    ax.set_ylim(0, 1.35 * rows["signal"].max() if len(rows) else 1)
    plain_ticks(ax.xaxis)
    ax.set_xlabel("noise level sigma")
    ax.set_ylabel("squared displacement per dimension")
    ax.set_title(f"pull towards the training set, train samples, step {last}", pad=16)
    ax.legend(loc="upper left", **_OPAQUE)
    _mark_scale(ax, scale, horizontal=False)


def _curves_by_split(ax: Axes, table: pd.DataFrame, run: Run) -> None:
    for split, style in _SPLITS.items():
        curve = table[(table["split"] == split) & table["position"].isna()]
        look = {"ls": style, "color": COLOURS["memorization"], "marker": "o", "label": f"{split} prefixes"}
        _band(ax, curve, "step", "memorization_coordinate", **look)
    _between(ax)
    ax.set_title("all positions where both optima are defined", pad=16)
    ax.legend(loc="upper left", **_OPAQUE)
    step_axis(ax, run, table["step"].unique())


def _divergences(ax: Axes, table: pd.DataFrame, split: str, run: Run) -> None:
    rows = table[(table["split"] == split) & table["position"].isna()]
    for name, (label, colour, style, marker) in _REFERENCES.items():
        if f"kl_{name}" in rows.columns:
            _band(ax, rows, "step", f"kl_{name}", ls=style, color=colour, marker=marker, label=label)
    ax.set_yscale("log")
    ax.set_ylabel("KL(reference || learned), nats per token")
    ax.set_title(f"{split} prefixes", pad=16)
    step_axis(ax, run, table["step"].unique())


def _divergences_by_rate(ax: Axes, table: pd.DataFrame) -> None:
    last = table["step"].max()
    for split, style in _SPLITS.items():
        rows = table[(table["step"] == last) & (table["split"] == split)]
        for name, (label, colour, _, marker) in _REFERENCES.items():
            if f"kl_{name}" in rows.columns:
                look = {"ls": style, "color": colour, "marker": marker, "label": f"{label}, {split}"}
                _band(ax, rows, "mask_rate", f"kl_{name}", **look)
    ax.set_yscale("log")
    ax.set_xlabel("mask rate")
    ax.set_ylabel("KL(reference || learned), nats a masked cell")
    ax.set_title(f"divergence from each reference, step {last}", pad=16)
    ax.legend(fontsize=7, **_OPAQUE)


def _band(ax: Axes, rows: pd.DataFrame, x: str, y: str, **look: Any) -> None:
    """A measured column with its 95% interval; that of a divergence stays above 0, for a log axis."""
    draw_measured(ax, rows, x, y, rows[y].min() / 2 if y.startswith("kl") else None, ms=3, **look)


def _between(ax: Axes) -> None:
    """The ends of the line, named."""
    for level, name, colour in ((0, "rule", COLOURS["rule"]), (1, "training\nset", COLOURS["memorization"])):
        ax.axhline(level, color=colour, lw=0.9, ls=":")
        ax.annotate(name, (1.01, level), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=7)
    ax.set_ylim(-0.15, 1.15)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.set_ylabel(COORDINATE)


def step_axis(ax: Axes, run: Run, steps: np.ndarray, on_map: bool = False) -> None:
    """Log steps, with both clocks of an ended run."""
    ax.set_xscale("log")
    ax.set_xlabel("training step")
    if not on_map:
        ax.set_xlim(steps.min() / 1.15, steps.max() * 1.15)
    for name, colour, symbol in (("tau_rule", "rule", r"$\tau_{rule}$"), ("tau_mem", "memorization", r"$\tau_{mem}$")):
        if run.result and not (onset := run.onsets[name]).censored:
            shade = "black" if on_map else COLOURS[colour]
            ax.axvline(onset.upper, color=shade, lw=1.2, ls="-." if name == "tau_mem" else "-")
            ax.annotate(symbol, (onset.upper, 1.01), xycoords=("data", "axes fraction"), ha="center", fontsize=9)


def _scale(run: Run) -> float | None:
    try:
        return condensation_scale(run)
    except ValueError:  # N too small or too large
        return None


def _mark_scale(ax: Axes, scale: float | None, horizontal: bool) -> None:
    if scale is not None:
        (ax.axhline if horizontal else ax.axvline)(scale, color="black", lw=1, ls=(0, (6, 2)))
        where = (0.01, scale) if horizontal else (scale, 1.01)
        coordinates = ("axes fraction", "data") if horizontal else ("data", "axes fraction")
        align = {"ha": "left", "va": "bottom"} if horizontal else {"ha": "center", "va": "bottom"}
        ax.annotate(r"$\sigma_c(N)$", where, xycoords=coordinates, fontsize=9, **align)  # type: ignore[arg-type]


def plain_ticks(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
