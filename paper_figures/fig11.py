"""Figure 11: which state turns into which, and when.

The paper shows the state raster of Fig. 3, sorted by the step at which a sample is first memorized, and the matrices of
transition counts in three windows: quantization, rule learning, memorization. Ours shows the same for the dissected DiT
of the preset, with each window set by the run's own clocks and by when its generations leave ambiguity.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.probes.states import draw_raster, draw_windows
from ..empirics.probes.summary import read_summary
from .catalogue import dissected
from .presets import Preset
from .shared.rasters import (
    CLAIMED,
    changes_text,
    changes_word,
    claimed_changes,
    raster_columns,
    read_raster_columns,
    run_raster,
)
from .shared.score_tables import record
from .store import Data

PAPER = (
    "Samples change state in stages: they leave ambiguity, then come to obey the rule, then are memorized, each in a "
    "window of its own."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; more than one run (other seeds: `results/other_seeds/report.md`)"
)


def configs(preset: Preset) -> list[RunConfig]:
    return dissected(preset, preset.dit)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    [run] = runs
    return {
        "raster": raster_columns(run_raster(run, preset.n_probe)),
        "record": record(run),
    }


def plot(data: Data) -> Figure:
    raster, run = read_raster_columns(data["raster"]), read_summary(data["record"])
    figure = Figure(figsize=(8.6, 8.4))
    above, below = figure.subfigures(2, 1, height_ratios=[2.0, 1], squeeze=False).ravel()
    draw_raster(above, raster, run)
    draw_windows(below, raster, run, across=True)
    below.suptitle("Samples by state at both ends of a window; shades: share of a row", fontsize=9)
    return figure


def measured(data: Data) -> str:
    changes = claimed_changes(read_raster_columns(data["raster"]), read_summary(data["record"]))
    verdict = changes_word(changes, windows=len(CLAIMED))
    return f"{changes_text(changes)}; {len(data['raster'])} fixed noises of 1 run; {verdict}"
