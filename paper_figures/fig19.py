"""Figure 19: planes of the score from memorization on.

The paper follows the plane of Fig. 17 through the onset of memorization and beyond. Ours does so for the dissected DiT
run of the preset at three kept steps from tau_mem on, as means over many such planes, beside the exact optima of rule
and training set.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from .catalogue import dissected
from .presets import Preset
from .shared.score_planes import (
    learned_steps,
    mean_over_planes,
    percent,
    plane_tables,
    planes_figure,
    share_at,
    share_elsewhere,
)
from .shared.verdicts import word
from .store import Data

PAPER = (
    "From memorization on the basin of the training sample a expands towards b until it dominates much of the plane, "
    "most at the intermediate noise where the train / held-out gap opens."
)
STAGE = "late"


def configs(preset: Preset) -> list[RunConfig]:
    return dissected(preset, preset.dit)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    return plane_tables(preset, runs[0], STAGE)


def plot(data: Data) -> Figure:
    return planes_figure(data, STAGE)


def measured(data: Data) -> str:
    shares = data["shares"]
    steps = learned_steps(shares)
    parts = [f"{percent(mean_over_planes(share_at(shares, step)))} at step {step}" for step in steps]
    agrees = differs = False
    change = ""
    if len(steps) > 1:
        last = share_at(shares, steps[-1])
        growth = mean_over_planes(last - share_at(shares, steps[0]))
        lead = mean_over_planes(last - share_elsewhere(shares, steps[-1]))
        final = mean_over_planes(last)
        agrees = growth[1] > 0 and final[1] > 0.5 and lead[1] > 0
        differs = growth[2] < 0 or final[2] < 0.5 or lead[2] < 0
        change = f"change {percent(growth)}; at the end {percent(lead)} more than at sigma 0.2 and 2; "
    return (
        "share of the square abcd that is drawn to the training sample a, sigma 0.5 and 1 (95% interval over "
        f"{shares['plane'].nunique()} planes; rule optimum 50%): {', '.join(parts)}; {change}n = 1 run: "
        f"{word(agrees, differs)}"
    )
