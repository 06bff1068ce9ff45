"""Figure 16: how wide the basin of a training sample is.

The paper denoises points on segments from a training sample to an invalid Hamming-1 neighbour, a valid novel Hamming-2
neighbour and the nearest other training sample, at several phases: exact-bit match, Hamming distance and L2 distance.
Ours does so for the dissected DiT run of the preset, with the exact optima of rule and training set. Beside it stands
what decides claim C7 by sampling: how often noisy training samples and novel valid grids are denoised back to
themselves, and the ratio of the two, over training.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import ClaimVerdict, Run, RunConfig, claim_basins
from ..empirics.probes.basin_claim import draw_basin_ratio
from ..empirics.probes.phases import outer_legend, run_title
from ..empirics.probes.segments import ENDS, draw_segments
from ..empirics.probes.summary import read_summary
from .catalogue import dissected
from .presets import Preset
from .shared.clock_statistics import answer_of, estimate_text
from .shared.score_tables import basins, compact, record, segments
from .store import Data

PAPER = (
    "Basins of rule-valid samples expand around tau_rule; those of training samples begin to dominate around tau_mem."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; more than one run (other seeds: `results/other_seeds/report.md`)"
)


def configs(preset: Preset) -> list[RunConfig]:
    return dissected(preset, preset.dit)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    (run,) = runs
    counts = dict.fromkeys(("anchor", "n_draws", "itself", "valid", "train"), "int16")
    return {
        "segments": compact(segments(preset, run)),
        "basins": basins(preset, run).astype(counts),
        "run": record(run),
    }


def plot(data: Data) -> Figure:
    run = read_summary(data["run"])
    figure = Figure(figsize=(13.6, 7.4))
    left, right = figure.subfigures(1, 2, width_ratios=[2.35, 1], squeeze=False)[0]
    axes = left.subplots(3, len(ENDS), sharex=True, sharey="row")
    title = draw_segments(axes.tolist(), data["segments"], run)
    outer_legend(left, axes[0][:1])
    left.suptitle(f"{run_title(run)}; {title}", fontsize=9)
    panels = right.subplots(2, 1).tolist()
    title = draw_basin_ratio(panels, data["basins"], run)
    outer_legend(right, panels[:1], ncols=2)
    right.suptitle(f"basins by sampling (claim C7)\n{title}", fontsize=9)
    return figure


def claim(data: Data) -> ClaimVerdict:
    """C7 on this run."""
    return claim_basins(data["basins"], read_summary(data["run"]).onsets)


def measured(data: Data) -> str:
    verdict = claim(data)
    estimate = "" if verdict.estimate is None else (
        "returns to itself of noisy training samples over novel valid grids, smallest ratio from tau_mem on (95% "
        f"interval over anchors): {estimate_text(verdict)}; "
    )  # fmt: skip
    note = verdict.note.replace("one run: intervals over anchors and noise", "n = 1 run")
    return f"{estimate}{note} (C7): {answer_of([verdict])}"
