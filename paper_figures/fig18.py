"""Figure 18: planes of the score in the innovation window.

The paper follows the plane of Fig. 17 through the generalizing phase. Ours does so for the dissected DiT run of the
preset at three kept steps from tau_rule to tau_mem, as means over many such planes, beside the exact optima of rule and
training set.
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
    "In the window the border between the basins of the training sample a and of its valid novel neighbour b stays "
    "visible while the attraction to a strengthens, most at intermediate noise."
)
STAGE = "mid"
NEGLIGIBLE_SHARE = 0.05
"""A change of the share by less than this counts as none, and a border as gone when less than this is left."""


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
        here, elsewhere = (share(shares, steps[-1]) - share(shares, steps[0]) for share in (share_at, share_elsewhere))
        growth, lead = mean_over_planes(here), mean_over_planes(here - elsewhere)
        final = mean_over_planes(share_at(shares, steps[-1]))
        agrees = growth[1] > 0 and lead[1] > 0 and final[2] < 1 - NEGLIGIBLE_SHARE
        differs = growth[2] < NEGLIGIBLE_SHARE or lead[2] < 0 or final[1] > 1 - NEGLIGIBLE_SHARE
        change = f"change {percent(growth)}, {percent(lead)} more than at sigma 0.2 and 2; "
    return (
        "share of the square abcd that is drawn to the training sample a, sigma 0.5 and 1 (95% interval over "
        f"{shares['plane'].nunique()} planes; rule optimum 50%): {', '.join(parts)}; {change}n = 1 run: "
        f"{word(agrees, differs)}"
    )
