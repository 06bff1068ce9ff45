"""Figure 3: rule learning and memorization of one DiT from several sides.

The paper follows 2000 fixed initial noises: their state at each step below stacked counts, with transition matrices;
then denoising losses against sigma at four phases, and landscapes of the score around a training sample. Ours shows the
same for the dissected DiT of the preset: states (A), transitions in windows set by the run's own clocks (B), losses
with those of the exact optima of rule and training set (C), and the displacement on planes through a training sample
and a valid novel grid, beside that of the exact optima (D).
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from scipy import stats

from ..empirics import Run, RunConfig
from ..empirics.probes.gap_claim import BAND
from ..empirics.probes.phases import AFTER, AT_RULE, LEARNED, OPTIMA, WINDOW, by_denoiser, outer_legend, phase_steps
from ..empirics.probes.planes import mean_planes, training_share
from ..empirics.probes.planes_figure import BORDER_TEXT, CORNERS_TEXT, draw_planes, row_names
from ..empirics.probes.spectra import spectra_table
from ..empirics.probes.spectra_figures import BELOW_TEXT, loss_floor
from ..empirics.probes.states import draw_raster, draw_windows
from ..empirics.probes.summary import RunSummary, read_summary, run_summary
from ..empirics.style import COLOURS
from .catalogue import dissected
from .presets import Preset
from .shared.rasters import novel_before_memorized, raster_columns, read_raster_columns, run_raster
from .shared.score_tables import (
    COPYING,
    LEARNED_RULE,
    compact,
    loss_errors,
    paper_phases,
    phase_table,
    planes,
    read_phases,
    record,
    stage_steps,
)
from .shared.verdicts import LEVEL, Word, most_word, word
from .store import Data

PAPER = (
    "Samples of fixed noises turn valid and novel, then memorized; with memorization the held-out loss leaves the "
    "train loss, and the basin of a training sample comes to dominate the landscape."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; 2000 noises in place of 1000; more than one run (other seeds: "
    "`results/other_seeds/report.md`)"
)
PLANE_SIGMAS = (0.5, 1.0)
SHARE_SIGMA = 1.0
"""Where the share of the landscape that is drawn to the training sample is read off, in data units."""
_SPLITS = {  # colour, marker
    "train": (COLOURS["memorization"], "o"),
    "held-out": (COLOURS["novel"], "s"),
    "cube": (COLOURS["cube"], "^"),
}
_OPTIMA = {"rule optimum": "-.", "training-set optimum": ":"}


def configs(preset: Preset) -> list[RunConfig]:
    return dissected(preset, preset.dit)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    [run] = runs
    phases = paper_phases(run_summary(run), run.state_counts)
    spectra = spectra_table(loss_errors(preset, run))
    of_phase = spectra["denoiser"].isin(OPTIMA) | spectra["step"].isin(list(phases.values()))
    around = planes(preset, run)
    of_landscape = around["denoiser"].isin(OPTIMA) | around["step"].isin(landscape_steps(run))
    shown = around[of_landscape & around["sigma"].isin(PLANE_SIGMAS)]
    return {
        "raster": raster_columns(run_raster(run, preset.n_probe)),
        "run": record(run),
        "phases": phase_table(phases),
        "spectra": compact(spectra[of_phase]),
        "planes": compact(mean_planes(shown)),
        "shares": compact(training_share(shown)),
    }


def plot(data: Data) -> Figure:
    raster, run = read_raster_columns(data["raster"]), read_summary(data["run"])
    figure = Figure(figsize=(10.0, 13.6))
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[1.35, 0.85, 1.05], squeeze=False).ravel()
    states, windows = top.subfigures(1, 2, width_ratios=[1.8, 1], squeeze=False).ravel()
    draw_raster(states, raster, run)
    draw_windows(windows, raster, run, across=False)
    _name(states, "A", "states of generations over training")
    _name(windows, "B", "samples by state; shades: share of a row")
    _draw_spectra(middle, data["spectra"], read_phases(data["phases"]))
    _name(middle, "C", f"denoising loss by noise, with 95% intervals; thin: exact optima\n{BELOW_TEXT}")
    _draw_landscapes(bottom, data["planes"], data["shares"], run)
    n = int(data["shares"]["n_planes"].iloc[0])
    what = f"displacement D(y) - y from b towards a (1: the whole way), mean over {n} planes; {CORNERS_TEXT}"
    _name(bottom, "D", f"{what}\n{BORDER_TEXT}; 'to a': share of the square abcd drawn to a")
    return figure


def measured(data: Data) -> str:
    novel, memorized = novel_before_memorized(read_raster_columns(data["raster"]))
    path, (low, high) = most_word(novel, memorized)
    gap, gap_text = gap_growth(data["spectra"], read_phases(data["phases"]))
    share, share_text = share_growth(data["shares"], read_summary(data["run"]))
    words = (path, gap, share)
    verdict = word(all(one == "agree" for one in words), "differ" in words)
    rate = f"{novel / memorized:.2f} [{low:.2f}, {high:.2f}]" if memorized else "unknown"
    return (
        f"valid and novel before it was memorized: {rate} of the {memorized} fixed noises (of {len(data['raster'])}) "
        f"memorized in the end; {gap_text}; {share_text}; n = 1 run: {verdict}"
    )


def landscape_steps(run: Run | RunSummary) -> list[int]:
    """Of `stage_steps`: before and at tau_rule, the middle of the window, the first from tau_mem on, and the last."""
    early, mid, late = stage_steps(run).values()
    return sorted({*early[-2:], mid[len(mid) // 2], late[0], late[-1]})


def gap_growth(spectra: pd.DataFrame, phases: Mapping[str, int]) -> tuple[Word, str]:
    """Does the held-out less train loss grow from the learned rule to the end? By the largest z over sigmas in BAND.

    Bonferroni's correction keeps the level over the sigmas.
    """
    if LEARNED_RULE not in phases or COPYING not in phases:
        return "undecided", "held-out gap not compared, for a clock did not strike"
    inside = spectra[(spectra["split"] == "held-out") & spectra["sigma"].between(*BAND)]
    steps = (phases[LEARNED_RULE], max(phases.values()))
    then, now = (inside[(inside["step"] == step).fillna(False)].set_index("sigma") for step in steps)
    z = (now["gap"] - then["gap"]) / (now["gap_se"] ** 2 + then["gap_se"] ** 2) ** 0.5
    enough = stats.norm.isf(LEVEL / 2 / len(z))
    most = int(z.to_numpy().argmax())
    text = (
        f"held-out less train loss per dimension at sigma = {z.index[most]:.2f}: {_estimate(then.iloc[most])} at step "
        f"{steps[0]}, {_estimate(now.iloc[most])} at step {steps[1]}"
    )
    return word(bool(z.max() > enough), bool(z.max() < -enough)), text


def share_growth(shares: pd.DataFrame, run: RunSummary) -> tuple[Word, str]:
    """Does the training sample draw most of the landscape in the end, and more than at tau_rule?"""
    steps = phase_steps(run)
    if AT_RULE not in steps or AFTER not in steps:
        return "undecided", "landscapes not compared, for a clock did not strike"
    at = shares[(shares["sigma"] == SHARE_SIGMA) & (shares["denoiser"] == LEARNED)]
    then, now = (at[at["step"] == steps[phase]].iloc[0] for phase in (AT_RULE, AFTER))
    text = (
        f"share of the landscape at sigma = {SHARE_SIGMA:g} drawn to the training sample: "
        f"{then['share']:.2f} [{then['low']:.2f}, {then['high']:.2f}] at tau_rule, "
        f"{now['share']:.2f} [{now['low']:.2f}, {now['high']:.2f}] in the end"
    )
    return word(now["low"] > max(0.5, then["high"]), now["high"] < max(0.5, then["low"])), text


def _estimate(row: pd.Series) -> str:
    reach = stats.norm.isf(LEVEL / 2) * row["gap_se"]
    return f"{row['gap']:.3f} [{row['gap'] - reach:.3f}, {row['gap'] + reach:.3f}]"


def _name(figure: SubFigure, letter: str, text: str) -> None:
    figure.suptitle(f"{letter}  {text}", fontsize=9, x=0.01, ha="left")


def _draw_spectra(figure: SubFigure, table: pd.DataFrame, phases: Mapping[str, int]) -> None:
    axes: list[Axes] = figure.subplots(1, len(phases), sharey=True, squeeze=False)[0].tolist()
    for ax, (phase, step) in zip(axes, phases.items(), strict=True):
        for split, (colour, marker) in _SPLITS.items():
            of_split = table[table["split"] == split]
            rows = of_split[(of_split["step"] == step).fillna(False)]
            ax.plot(rows["sigma"], rows["loss"], color=colour, marker=marker, ms=3, lw=1.4, label=f"learned, {split}")
            ax.errorbar(rows["sigma"], rows["loss"], 1.96 * rows["loss_se"], color=colour, ls="none", elinewidth=1)
            for optimum, style in _OPTIMA.items():
                exact = of_split[of_split["denoiser"] == optimum]
                ax.plot(exact["sigma"], exact["loss"], ls=style, color=colour, lw=1, label=f"{optimum}, {split}")
        ax.set(xscale="log", yscale="log", ylim=(loss_floor(table), 2), xlabel=r"noise $\sigma$ (data units)")
        ax.set_title(f"{phase}\nstep {step}")
    axes[0].set_ylabel("loss per dimension")
    outer_legend(figure, axes[:1], ncols=len(_SPLITS))


def _draw_landscapes(figure: SubFigure, means: pd.DataFrame, shares: pd.DataFrame, run: RunSummary) -> None:
    """A row per sigma, a column per step or optimum, and the share of the square drawn to the training sample."""
    names = _column_names(means, run)
    grid = figure.subplots(len(PLANE_SIGMAS), len(names), squeeze=False)
    for row, (axes, sigma) in enumerate(zip(grid, sorted(PLANE_SIGMAS), strict=True)):
        # A column of panels for `draw_planes`, laid out here as a row.
        draw_planes(figure, [[ax] for ax in axes], means[means["sigma"] == sigma], "displacement")
        for ax, name, (*_, share) in zip(axes, names, by_denoiser(shares[shares["sigma"] == sigma]), strict=True):
            to_a = f"to a: {100 * share['share'].iloc[0]:.0f}%"
            ax.set_title(to_a if row else f"{name}\n{to_a}", fontsize=8, pad=3)
        axes[0].set_ylabel(rf"$\sigma$ = {sigma:g}")


def _column_names(means: pd.DataFrame, run: RunSummary) -> list[str]:
    """`row_names`, with steps in the window called so even where they do not stand for it elsewhere."""
    low, high = run.onsets["tau_rule"].upper, run.onsets["tau_mem"].lower
    names = []
    for name, (_, step, _) in zip(row_names(means, run), by_denoiser(means), strict=True):
        inside = step is not None and low < step <= high
        names.append(f"{WINDOW}\n{name}" if inside and name == f"step {step}" else name)
    return names
