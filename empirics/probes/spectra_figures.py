"""Figures of loss spectra: by phase (Fig. 13), in noise bands over training (Fig. 14), onset of the gap (Fig. 15)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from ...theory import condensation_sigma
from ..runs.run import Run
from ..statistics.claims import ClaimVerdict
from ..style import COLOURS, cell_edges, new_figure
from .gap_claim import BAND, GapOpening, claim_gap, gap_opening, opening_text
from .phases import LEARNED, affordable, mark_clocks, outer_legend, phase_steps, run_title, sigma_colour
from .probe import Probe, Tables
from .spectra import gap_onsets, gap_table, noise_bands, run_errors, sample_gaps, spectra_table
from .summary import RunSummary, run_summary

BELOW_TEXT = "on grids that they know, the exact optima fall below the axis at low noise: their loss there is almost 0"

_SPLIT_COLOURS = {"train": COLOURS["memorization"], "held-out": COLOURS["novel"], "cube": COLOURS["cube"]}
_SPLIT_MARKERS = {"train": "o", "held-out": "s", "cube": "^"}
_OPTIMUM_STYLES = {"rule optimum": "-.", "training-set optimum": ":"}
_GAP_STYLES = {"training-set optimum": (":", "k"), "training-cells optimum": ("--", COLOURS["local"])}
_STATE_STYLES = {
    "novel_valid": ("novel", "-", "valid and novel"),
    "memorized": ("memorization", "--", "memorized"),
    "violating": ("violating", "-.", "violating"),
    "ambiguous": ("ambiguous", ":", "ambiguous"),
}


def run_spectra_figure(table: pd.DataFrame, run: Run) -> Figure:
    """`spectra_figure` of a table from `run_spectra`."""
    return spectra_figure(table, run_summary(run))


def run_bands_figure(table: pd.DataFrame, run: Run) -> Figure:
    """`noise_band_figure` of a table from `run_spectra`."""
    return noise_band_figure(noise_bands(table), run.state_counts, run_summary(run))


def run_gap_figure(gaps: pd.DataFrame, run: Run) -> Figure:
    """`gap_figure` of a table from `sample_gaps`.

    `condensation_sigma` is drawn where the table has the rule optimum; without it, exact posteriors are too costly.
    """
    scale = condensation(run) if "rule optimum" in set(gaps["denoiser"]) else None
    return gap_figure(gaps, run_summary(run), scale)


def condensation(run: Run) -> float | None:
    """sigma_c(N) in data units, where the rule has one for this training set."""
    try:
        return condensation_sigma(run.rule, run.config.n_train, run.encoding, n_samples=512)
    except ValueError:  # N is 1 or the whole support
        return None


def spectra_figure(table: pd.DataFrame, run: RunSummary, phases: Mapping[str, int] | None = None) -> Figure:
    """Loss against sigma by split at each phase that the run reached, with the exact optima; inside `figure_style`.

    Args:
        table: from `spectra_table`, with at least the steps of the phases.
        run: gives the scale.
        phases: steps by name; by default `phase_steps`.

    Raises:
        ValueError: the table holds no step of a phase.
    """
    known = set(table["step"].dropna())
    shown = {name: step for name, step in (phases or phase_steps(run)).items() if step in known}
    if not shown:
        raise ValueError("the table holds no step of a phase of the run; make it with run_spectra's default steps")
    figure, axes = new_figure(1, len(shown), 2.7 * len(shown) + 0.6, 4.0, sharey=True)
    for ax, (phase, step) in zip(axes[0], shown.items(), strict=True):
        for name, rows in table[(table["step"] == step).fillna(False)].groupby("split", sort=False):
            colour, marker = _SPLIT_COLOURS[str(name)], _SPLIT_MARKERS[str(name)]
            ax.errorbar(rows["sigma"], rows["loss"], 1.96 * rows["loss_se"], color=colour, marker=marker,
                        markersize=3, elinewidth=1, label=f"learned, {name}")  # fmt: skip
        _draw_optima(ax, table)
        ax.set(xscale="log", yscale="log", title=f"{phase}\nstep {step}", xlabel=r"noise $\sigma$ (data units)")
        ax.set_ylim(loss_floor(table), 2)
    axes[0][0].set_ylabel("denoising loss per dimension\n(95% interval)")
    outer_legend(figure, axes[0][:1])
    figure.suptitle(f"{run_title(run)}\n{BELOW_TEXT}", fontsize=9)
    return figure


def loss_floor(table: pd.DataFrame) -> float:
    """The power of ten below every learned loss of a table from `spectra_table`, where the axis of losses begins."""
    learned = table.loc[table["denoiser"] == LEARNED, "loss"]
    return float(10.0 ** np.floor(np.log10(learned[learned > 0].min())))


def noise_band_figure(bands: pd.DataFrame, counts: pd.DataFrame, run: RunSummary) -> Figure:
    """Loss over training in noise bands by split, with the exact optima, both clocks, and states above.

    Args:
        bands: from `noise_bands`.
        counts: `Run.state_counts`.
        run: gives clocks and scale.
    """
    names = list(bands.groupby(["band_low", "band_high"], sort=False))
    figure, axes = new_figure(2, len(names), 2.9 * len(names) + 0.6, 5.2, sharex="col", height_ratios=[0.6, 1])
    for states, ax, (band, part) in zip(*axes, names, strict=True):
        for state, (colour, style, label) in _STATE_STYLES.items():
            states.plot(counts["step"], counts[state], color=COLOURS[colour], ls=style, label=f"generations, {label}")
        learned = part[part["denoiser"] == LEARNED]
        for name, rows in learned.groupby("split", sort=False):
            colour, marker = _SPLIT_COLOURS[str(name)], _SPLIT_MARKERS[str(name)]
            ax.errorbar(rows["step"].to_numpy(dtype=float), rows["loss"], 1.96 * rows["loss_se"], color=colour,
                        marker=marker, markersize=3, elinewidth=1, label=f"learned, {name}")  # fmt: skip
            for optimum, style in _OPTIMUM_STYLES.items():
                for level in part[(part["denoiser"] == optimum) & (part["split"] == name)]["loss"]:
                    ax.axhline(level, color=colour, ls=style, lw=1, label=f"{optimum}, {name}")
        least, most = float(learned["loss"].min()), float(part["loss"].max())
        if most > 5 * least:
            ax.set(yscale="log", ylim=(max(1e-5, least / 1.5), 1.5 * most))
        ax.set(xscale="log", xlabel="training step")
        states.set_title(rf"loss at $\sigma$ in {band[0]:g} to {band[1]:g}", pad=15)
        mark_clocks(states, run)
        mark_clocks(ax, run, labels=False)
    axes[0][0].set_ylabel("generations")
    axes[1][0].set_ylabel("denoising loss per dimension\n(95% interval)")
    outer_legend(figure, [axes[0][0], axes[1][0]], ncols=4)
    figure.suptitle(run_title(run), fontsize=9)
    return figure


def gap_figure(gaps: pd.DataFrame, run: RunSummary, scale: float | None = None) -> Figure:
    """The held-out less train loss over step and sigma with its onsets, over training at fixed sigma, and its spectrum.

    Args:
        gaps: from `sample_gaps`.
        run: gives clocks and scale.
        scale: `condensation_sigma`, drawn where given.
    """
    held_out = gaps[gaps["split"] == "held-out"]
    table = gap_table(held_out)
    figure, ((ax, curves, spectrum),) = new_figure(
        1, 3, 14, 4.5, width_ratios=[1.25, 1, 1], gridspec_kw={"wspace": 0.08}
    )
    opening = gap_opening(held_out[held_out["denoiser"] == LEARNED])
    _draw_gap_map(figure, ax, table, opening, scale)
    _draw_gap_curves(curves, table)
    for panel in (ax, curves):
        mark_clocks(panel, run)
    _draw_gap_spectrum(spectrum, table, None if opening is None else int(opening.onset.upper), scale)
    n = held_out["sample"].nunique()
    found = f"first open at {opening_text(opening)}".replace("sigma", r"$\sigma$")
    figure.suptitle(f"{run_title(run)}; {n} pairs of a training and a held-out image; gap {found}", fontsize=9)
    return figure


def _draw_optima(ax: Axes, table: pd.DataFrame) -> None:
    for optimum, style in _OPTIMUM_STYLES.items():
        for name, rows in table[table["denoiser"] == optimum].groupby("split", sort=False):
            colour = _SPLIT_COLOURS[str(name)]
            ax.plot(rows["sigma"], rows["loss"], style, color=colour, lw=1, label=f"{optimum}, {name}")


def _draw_gap_map(
    figure: Figure, ax: Axes, table: pd.DataFrame, opening: GapOpening | None, scale: float | None
) -> None:
    """Symmetric logarithmic colours, linear below a fiftieth of the largest gap."""
    grid = table[table["denoiser"] == LEARNED].pivot(index="sigma", columns="step", values="gap")
    sigmas, steps = grid.index.to_numpy(float), grid.columns.to_numpy(float)
    reach = max(float(np.abs(grid.to_numpy()).max()), 1e-9)
    norm = SymLogNorm(reach / 50, vmin=-reach, vmax=reach)
    mesh = ax.pcolormesh(
        cell_edges(steps), cell_edges(sigmas), grid.to_numpy(), cmap="RdBu_r", norm=norm, rasterized=True
    )
    powers = [10.0**k for k in range(-9, 3) if reach / 50 <= 10.0**k <= reach]
    ticks = [-p for p in powers[::-1]] + [0.0, *powers]
    bar = figure.colorbar(mesh, ax=ax, ticks=ticks, label="held-out less train loss, per dimension")
    bar.ax.minorticks_off()
    onsets = {sigma: onset for sigma, onset in gap_onsets(table).items() if not onset.censored}
    ax.plot([o.upper for o in onsets.values()], list(onsets), "k-", lw=0.8, label="significant from this line on")
    if opening is not None:
        reach_sigma = [[opening.sigma - opening.interval[0]], [opening.interval[1] - opening.sigma]]
        ax.errorbar(opening.onset.upper, opening.sigma, reach_sigma, color=COLOURS["window"], marker="*", markersize=9,
                    markeredgecolor="k", ecolor="k", elinewidth=1.2, ls="none",
                    label="first at a tenth of its largest (95%)")  # fmt: skip
    for k, edge in enumerate(BAND):
        label = f"paper: opens at $\\sigma$ {BAND[0]:g} to {BAND[1]:g}" if k == 0 else None
        ax.axhline(edge, color=COLOURS["chance"], ls=":", lw=1.2, label=label)
    if scale is not None:
        ax.axhline(scale, color="k", ls="--", lw=1.2, label=rf"condensation $\sigma_c$(N) = {scale:.2f}")
    ax.set(xscale="log", yscale="log", xlabel="training step", ylabel=r"noise $\sigma$ (data units)")
    ax.set_xlim(cell_edges(steps)[0], cell_edges(steps)[-1])
    ax.grid(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)


def _draw_gap_curves(ax: Axes, table: pd.DataFrame) -> None:
    """The gap over training at five sigmas spread over those of the table, from BAND on."""
    sigmas = np.array(sorted(set(table["sigma"])))
    inside = sigmas[sigmas > 0.95 * BAND[0]]
    picked = inside[np.unique(np.linspace(0, len(inside) - 1, 5).round().astype(int))]
    for k, sigma in enumerate(picked):
        at = table[table["sigma"] == sigma]
        rows = at[at["denoiser"] == LEARNED]
        shade = sigma_colour(k, len(picked))
        ax.errorbar(rows["step"].to_numpy(float), rows["gap"], 1.96 * rows["gap_se"], color=shade, marker="osD^v"[k],
                    markersize=4, elinewidth=1, label=rf"$\sigma$ = {sigma:.2f}")  # fmt: skip
    _gap_axis(ax)
    ax.set(xscale="log", xlabel="training step", ylabel="gap, per dimension (95% interval)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)


def _draw_gap_spectrum(ax: Axes, table: pd.DataFrame, opening: int | None, scale: float | None) -> None:
    """The gap against sigma where it first opens and at the last step, with that of exact optima."""
    learned = table[table["denoiser"] == LEARNED]
    last = int(learned["step"].max())
    for step, marker, style in ((opening, "o", "-"), (last, "s", (0, (5, 1)))):
        rows = learned[(learned["step"] == step).fillna(False)] if step is not None else learned.iloc[:0]
        if len(rows):
            what = "first open" if step == opening else "last"
            ax.errorbar(rows["sigma"], rows["gap"], 1.96 * rows["gap_se"], color=COLOURS["memorization"], ls=style,
                        marker=marker, markersize=4, elinewidth=1, label=f"learned, {what}: step {step}")  # fmt: skip
    for name, (line, colour) in _GAP_STYLES.items():
        rows = table[table["denoiser"] == name]
        if len(rows):
            ax.plot(rows["sigma"], rows["gap"], ls=line, color=colour, lw=1.4, label=name)
    ax.axvspan(*BAND, color=COLOURS["chance"], alpha=0.08, lw=0)
    if scale is not None:
        ax.axvline(scale, color="k", ls="--", lw=1.2)
    _gap_axis(ax)
    ax.set(xscale="log", xlabel=r"noise $\sigma$ (data units)", ylabel="gap, per dimension (95% interval)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)


def _gap_axis(ax: Axes) -> None:
    """Logarithmic above a gap of 0.01, linear around 0."""
    ax.set_yscale("symlog", linthresh=0.01, linscale=0.5)
    ax.set_yticks([0, 0.005, 0.01, 0.1, 1], ["0", "0.005", "0.01", "0.1", "1"])
    ax.set_ylim(bottom=-0.003)


def _measure(run: Run) -> Tables:
    errors = run_errors(run, optima=affordable(run, "rule optimum", "training-set optimum"))
    return {"spectra": spectra_table(errors), "_gaps": sample_gaps(errors)}


def _draw(tables: Tables, run: Run) -> dict[str, Figure]:
    return {
        "spectra": run_spectra_figure(tables["spectra"], run),
        "noise_bands": run_bands_figure(tables["spectra"], run),
        "gap": run_gap_figure(tables["_gaps"], run),
    }


def _judge(tables: Tables, run: Run) -> list[ClaimVerdict]:
    gaps = tables["_gaps"]
    return [claim_gap(gaps, run.onsets)] if "rule optimum" in set(gaps["denoiser"]) else []


PROBES = (
    Probe("spectra", "Denoising loss by noise level, and when the train / held-out gap opens", _measure, _draw,
          ("gaussian",), judge=_judge),
)  # fmt: skip
