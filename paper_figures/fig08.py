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
from .shared.verdicts import Word, clock_text
from .store import Data

PAPER = (
    "G = 2, 3, 4, 6: memorization comes nearly in proportion to N, so that its curves fall together against passes "
    "over the data (step x batch / N)."
)
WORDS: dict[str, Word] = {"supported": "agree", "not supported": "differ", "undecided": "undecided"}


def configs(preset: Preset) -> list[RunConfig]:
    return parity(preset, preset.dit, preset.group_sizes, preset.dit.n_train)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    return dynamics_tables(runs)


def plot(data: Data) -> Figure:
    return plot_dynamics(data)


def measured(data: Data) -> str:
    return exponent_line(data["runs"])


def exponent_line(runs: pd.DataFrame) -> str:
    """How tau_mem grows with N over the runs: curves that fall together against passes have an exponent of 1."""
    usable = runs[(runs["tau_mem_lower"] > 0) | (runs["tau_mem_upper"] < float("inf"))]
    seen = int((usable["tau_mem_upper"] < float("inf")).sum())
    try:
        claim = claim_memorization_exponent(usable)
    except ValueError as fault:
        return f"tau_mem seen in {seen} of {len(runs)} runs, too few to fit its growth with N ({fault}); undecided"
    if claim.estimate is None or claim.ci is None:
        return (
            f"tau_mem seen in {seen} of {len(runs)} runs, its growth with N is not determined ({claim.note}); undecided"
        )
    few, many = (runs[runs["n_train"] == n] for n in (runs["n_train"].min(), runs["n_train"].max()))
    return (
        f"tau_mem ~ N^{claim.estimate:.2f} [{claim.ci[0]:.2f}, {claim.ci[1]:.2f}] over {len(usable)} runs ({seen} with "
        f"tau_mem seen), against an exponent of 1 for curves that fall together in passes (0.8 to 1.2 counts as 1); "
        f"median tau_rule at N = {few['n_train'].iloc[0]} and {many['n_train'].iloc[0]}: {clock_text(few, 'tau_rule')} "
        f"and {clock_text(many, 'tau_rule')} steps over all G; {WORDS[claim.verdict]}"
    )
