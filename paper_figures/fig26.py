"""Figure 26: learning rates of GPT.

The paper trains GPT-mini on parity with G = 6 at learning rates from 1e-5 to 3e-3 and shows accuracy, memorization, and
both clocks. Ours does so with the preset's smallest GPT, group size, N and learning rates, over the preset's seeds.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from .catalogue import learning_rates
from .presets import Preset
from .shared.optimizer_sweeps import learning_rate_answer, plot_sweep, sweep_tables
from .store import Data

PAPER = (
    "Rule learning depends strongly on the learning rate: 1e-4 and 3e-4 reach high accuracy rapidly, larger ones fail."
)


def configs(preset: Preset) -> list[RunConfig]:
    return learning_rates(preset, preset.gpt)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    return sweep_tables(runs, "lr")


def plot(data: Data) -> Figure:
    return plot_sweep(data, "lr")


def measured(data: Data) -> str:
    return learning_rate_answer(data["runs"])
