"""Figure 13: denoising loss against noise at the phases of training.

The paper draws the loss against sigma for training, held-out valid and random cube samples at four checkpoints:
generations not yet quantized, quantized but breaking the rule, obeying it, and at the onset of memorization. Ours does
so for the dissected DiT run of the preset, at the end of training too, with the exact losses of the rule's and the
training set's optimal denoisers on the same images.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.probes.gap_claim import SPLIT_OFF, cube_share
from ..empirics.probes.phases import OPTIMA
from ..empirics.probes.spectra import sample_gaps, spectra_table
from ..empirics.probes.spectra_figures import spectra_figure
from ..empirics.probes.summary import read_summary, run_summary
from .catalogue import dissected
from .presets import Preset
from .shared.score_tables import (
    COPYING,
    LEARNED_RULE,
    QUANTIZED,
    compact,
    loss_errors,
    paper_phases,
    phase_table,
    read_phases,
    record,
)
from .shared.verdicts import word
from .store import Data

PAPER = (
    "Before rule learning the losses on train, held-out and random cube samples hardly differ. The caption is cut off "
    "after it; tested is what the paper says elsewhere, that the cube samples split off at rule learning."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; more than one run (other seeds: `results/other_seeds/report.md`)"
)


def configs(preset: Preset) -> list[RunConfig]:
    return dissected(preset, preset.dit)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    (run,) = runs
    errors = loss_errors(preset, run)
    phases = paper_phases(run_summary(run), run.state_counts)
    table = spectra_table(errors)
    shown = table["denoiser"].isin(OPTIMA) | table["step"].isin(list(phases.values()))
    return {
        "spectra": compact(table[shown]),
        "cube": compact(cube_share(sample_gaps(errors))),
        "phases": phase_table(phases),
        "run": record(run),
    }


def plot(data: Data) -> Figure:
    return spectra_figure(data["spectra"], read_summary(data["run"]), read_phases(data["phases"]))


def measured(data: Data) -> str:
    phases = read_phases(data["phases"])
    shares = {int(row["step"]): row for row in data["cube"].to_dict("records")}
    parts = [f"{name} (step {step}) {_share(shares[step])}" for name, step in phases.items()]
    agrees = differs = False
    if QUANTIZED in phases and LEARNED_RULE in phases:
        before, after = shares[phases[QUANTIZED]], shares[phases[LEARNED_RULE]]
        agrees = before["high"] < SPLIT_OFF < after["low"]
        differs = before["low"] > SPLIT_OFF or after["high"] < SPLIT_OFF
    return (
        "how far cube samples have split off, of what the rule optimum shows at sigma 0.2 to 2 (95% interval over "
        f"samples): {', '.join(parts)}; {_gap(data)}split off taken as half; n = 1 run: {word(agrees, differs)}"
    )


def _share(row: Mapping[Hashable, float]) -> str:
    return f"{100 * row['share']:.0f}% [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"


def _gap(data: Data) -> str:
    """The largest train / held-out gap where memorization begins."""
    step = read_phases(data["phases"]).get(COPYING)
    table = data["spectra"]
    rows = table[(table["step"] == step).fillna(False) & (table["split"] == "held-out")] if step else table.iloc[:0]
    if rows.empty:
        return ""
    top = rows.iloc[int(rows["gap"].to_numpy().argmax())]
    error = 1.96 * top["gap_se"]
    return (
        f"largest train / held-out gap where memorization begins {top['gap']:.3f} [{top['gap'] - error:.3f}, "
        f"{top['gap'] + error:.3f}] at sigma = {top['sigma']:.2g}; "
    )
