"""Figure 27: weight decay of GPT.

The paper trains GPT-mini on parity with G = 6 at several weight decays and a fixed learning rate, and shows accuracy,
memorization, and both clocks. Ours does so with the preset's smallest GPT, group size, N and weight decays, over the
preset's seeds.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from .catalogue import weight_decays
from .presets import Preset
from .shared.optimizer_sweeps import plot_sweep, sweep_tables, weight_decay_answer
from .store import Data

PAPER = (
    "The rule is learned rapidly across most weight decays from 0 to 1; a large one strongly affects memorization "
    "time. The caption is cut off at how; tested is a delay."
)


def configs(preset: Preset) -> list[RunConfig]:
    return weight_decays(preset, preset.gpt)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    return sweep_tables(runs, "weight_decay")


def plot(data: Data) -> Figure:
    return plot_sweep(data, "weight_decay")


def measured(data: Data) -> str:
    return weight_decay_answer(data["runs"], delayed="tau_mem")
