"""Figure 15: at which noise the train / held-out loss gap opens.

The paper maps the gap over training step and sigma, zoomed to sigma from 0.2 to 2, and draws it over training at fixed
sigma: it first opens around intermediate noise. Ours does so for the dissected DiT run of the preset, over all the
noise that matters, so that the claim can fail. The gap is paired by noise, less that of the rule optimum, whose
expectation is 0. Drawn too: where each sigma's gap becomes significant; where the gap first reaches a tenth of its
largest value, which decides claim C8; the condensation scale; and the gap against sigma beside those of the training
set's optimal denoiser and of one that knows only how often each cell of the training set holds each symbol.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import ClaimVerdict, Run, RunConfig
from ..empirics.probes.gap_claim import BAND, claim_gap
from ..empirics.probes.phases import LEARNED
from ..empirics.probes.spectra import sample_gaps
from ..empirics.probes.spectra_figures import condensation, gap_figure
from ..empirics.probes.summary import read_summary
from .catalogue import dissected
from .presets import Preset
from .shared.clock_statistics import answer_of, estimate_text
from .shared.score_tables import compact, loss_errors, record
from .store import Data

PAPER = (
    "The train / held-out loss gap first opens around intermediate noise, sigma 0.2 to 2; random cube samples split "
    "off at rule learning."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; more than one run (other seeds: `results/other_seeds/report.md`)"
)


def configs(preset: Preset) -> list[RunConfig]:
    return dissected(preset, preset.dit)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    (run,) = runs
    gaps = sample_gaps(loss_errors(preset, run))
    cube = gaps["split"] == "cube"
    learned, rule = (gaps["denoiser"] == name for name in (LEARNED, "rule optimum"))
    needed = (cube & (learned | rule) & gaps["sigma"].between(*BAND)) | (~cube & ~rule)
    scale = condensation(run)
    return {
        "gaps": compact(gaps[needed & (gaps["denoiser"] != "cube optimum")]).astype({"sample": "int16"}),
        "condensation": pd.DataFrame({"sigma": [] if scale is None else [scale]}, dtype=float),
        "run": record(run),
    }


def plot(data: Data) -> Figure:
    scale = data["condensation"]["sigma"]
    return gap_figure(data["gaps"], read_summary(data["run"]), float(scale.iloc[0]) if len(scale) else None)


def claim(data: Data) -> ClaimVerdict:
    """C8 on this run."""
    return claim_gap(data["gaps"], read_summary(data["run"]).onsets)


def measured(data: Data) -> str:
    verdict = claim(data)
    estimate = "" if verdict.estimate is None else (
        "sigma at which the gap first reaches a tenth of its largest value (95% interval over samples): "
        f"{estimate_text(verdict)}; "
    )  # fmt: skip
    note = verdict.note.replace("one run: intervals over samples", "n = 1 run")
    return f"{estimate}{note} (C8): {answer_of([verdict])}"
