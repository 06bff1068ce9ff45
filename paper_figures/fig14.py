"""Figure 14: denoising loss over training in noise bands.

The paper tracks the loss on training, held-out valid and random cube samples in bands of sigma, with the counts of
generations by state above. Ours does so for the dissected DiT run of the preset, with the exact losses of the rule's
and the training set's optimal denoisers on the same images, and both clocks.
"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.probes.phases import LEARNED, OPTIMA
from ..empirics.probes.spectra import noise_bands, spectra_table
from ..empirics.probes.spectra_figures import noise_band_figure
from ..empirics.probes.summary import read_summary
from .catalogue import dissected
from .presets import Preset
from .shared.score_tables import QUANTIZED, compact, loss_errors, paper_phases, record
from .shared.verdicts import word
from .store import Data

PAPER = (
    "At low noise the losses of all three splits collapse quickly. The caption is cut off after it; tested is that "
    "they collapse before the rule is learned."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; more than one run (other seeds: `results/other_seeds/report.md`)"
)
COLLAPSED = 0.5
"""Part of the first loss below which a loss counts as collapsed."""


def configs(preset: Preset) -> list[RunConfig]:
    return dissected(preset, preset.dit)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    (run,) = runs
    bands = noise_bands(spectra_table(loss_errors(preset, run)))
    shown = bands["denoiser"].isin((LEARNED, *OPTIMA))
    return {"bands": compact(bands[shown]), "states": run.state_counts, "run": record(run)}


def plot(data: Data) -> Figure:
    return noise_band_figure(data["bands"], data["states"], read_summary(data["run"]))


def measured(data: Data) -> str:
    run, bands = read_summary(data["run"]), data["bands"]
    first, then = run.checkpoint_steps[0], paper_phases(run, data["states"]).get(QUANTIZED)
    low = bands[(bands["denoiser"] == LEARNED) & (bands["band_low"] == bands["band_low"].min())]
    if then is None:
        return f"no evaluation has quantized generations before tau_rule, n = 1 run: {word(False, False)}"
    parts, intervals = [], []
    for split, rows in low.groupby("split", sort=False):
        loss = rows.set_index("step")
        ratio, low_end, high_end = _ratio(loss.loc[then], loss.loc[first])
        intervals.append((low_end, high_end))
        parts.append(f"{split} {100 * ratio:.0f}% [{100 * low_end:.0f}, {100 * high_end:.0f}]")
    learned = not run.onsets["tau_rule"].censored  # a run that never learns the rule cannot say what comes before
    agrees = learned and all(high < COLLAPSED for _, high in intervals)
    differs = learned and any(low > COLLAPSED for low, _ in intervals)
    edges = low.iloc[0]
    return (
        f"loss at sigma {edges['band_low']:g} to {edges['band_high']:g} when most generations are quantized but break "
        f"the rule (step {then}), of that at step {first} (95% interval over samples): {', '.join(parts)}; tau_rule "
        f"{run.onsets['tau_rule']}; collapsed taken as below half; n = 1 run: {word(agrees, differs)}"
    )


def _ratio(over: pd.Series, under: pd.Series) -> tuple[float, float, float]:
    """A ratio of losses with its 95% interval, as if independent; they share their noise, so it is rather wide."""
    ratio = float(over["loss"] / under["loss"])
    error = 1.96 * math.hypot(over["loss_se"] / over["loss"], under["loss_se"] / under["loss"])
    return ratio, ratio * math.exp(-error), ratio * math.exp(error)
