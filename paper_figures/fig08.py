"""Figure 8: learning dynamics across N at the group sizes within reach.

The paper shows, for DiT-mini at G = 2, 3, 4, 6, sample accuracy and memorization across N, against steps and against
step x batch / N, with the chance memorization of each N. Ours shows the same for the smallest DiT of the preset, with
every seed; the chance lines are exact.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.statistics.claims import claim_memorization_exponent
from .catalogue import parity
from .presets import Preset
from .shared.across_n import dynamics_tables, plot_dynamics
from .shared.clock_statistics import answer_of, estimate_text, tested
from .shared.verdicts import clock_text
from .store import Data

PAPER = (
    "Accuracy and memorization over training across N at G = 2, 3, 4, 6, against steps and against step x batch / N. "
    "The caption is cut off before a conclusion; tested is what the paper says elsewhere, that tau_mem grows nearly "
    "in proportion to N."
)
MISSING = "the paper's mini model, 6x6 grids and N = 4096; runs at the largest N that go on until they copy"


def configs(preset: Preset) -> list[RunConfig]:
    return parity(preset, preset.dit, preset.group_sizes, preset.dit.n_train)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    return dynamics_tables(runs)


def plot(data: Data) -> Figure:
    return plot_dynamics(data)


def measured(data: Data) -> str:
    """Curves that fall together against passes have an exponent of 1."""
    runs = data["runs"]
    seen = int((runs["tau_mem_upper"] < float("inf")).sum())
    claim = tested(claim_memorization_exponent, runs)
    few, many = (runs[runs["n_train"] == n] for n in (runs["n_train"].min(), runs["n_train"].max()))
    return (
        f"exponent of tau_mem in N {estimate_text(claim)} over {claim.n_runs} runs (tau_mem seen in {seen} of "
        f"{len(runs)}), against 1 for curves that fall together in passes (0.8 to 1.2 counts as 1); median tau_rule at "
        f"N = {runs['n_train'].min()} and {runs['n_train'].max()}: {clock_text(few, 'tau_rule')} and "
        f"{clock_text(many, 'tau_rule')} steps over all G; {answer_of([claim])}"
    )
