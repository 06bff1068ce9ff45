"""Figure 9: learning dynamics across N at the group sizes beyond reach.

The paper repeats Fig. 8 at G = 9, 12, 18, 36. Ours shows the preset's large group sizes in the same format: accuracy
rises above a rule-blind sampler's only as copies do, so the window stays shut.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from .catalogue import beyond
from .presets import Preset
from .shared.across_n import dynamics_tables, plot_dynamics
from .shared.verdicts import most_word, window_states
from .store import Data

PAPER = (
    "As Figure 8, at G = 9, 12, 18, 36. The caption says no more; tested is what the paper says of complex rules, "
    "that the window may vanish, tau_rule >= tau_mem."
)
MISSING = "the paper's mini model, 6x6 grids and N = 4096; of the paper's group sizes only 12 divides 24 cells"


def configs(preset: Preset) -> list[RunConfig]:
    return beyond(preset, preset.dit)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    return dynamics_tables(runs)


def plot(data: Data) -> Figure:
    return plot_dynamics(data)


def measured(data: Data) -> str:
    runs = data["runs"]
    states = window_states(runs, data["evaluations"])
    shut, is_open = int((states == "shut").sum()), int((states == "open").sum())
    verdict, (low, high) = most_word(shut, shut + is_open)
    copied = int((runs["tau_mem_upper"] < float("inf")).sum())
    sizes = ", ".join(map(str, sorted(runs["G"].unique())))
    return (
        f"G = {sizes}: the window (accuracy > 0.9, memorization < 0.1) is missed in {shut} of {shut + is_open} decided "
        f"runs, which memorize before it opens (proportion [{low:.2f}, {high:.2f}]; {len(runs) - shut - is_open} more "
        f"cannot tell); tau_mem is seen in {copied} of {len(runs)}; {verdict}"
    )
