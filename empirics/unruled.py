"""Clocks of data that no rule defines: copying beyond held-out chance, and the best held-out loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .criteria import MARGIN, SIGNIFICANCE
from .memorization import Memorization
from .onsets import Onset, detect_onset


class DataEvaluator:
    """Measures generations against a training set, with held-out samples for chance.

    Args:
        memorization: the test.
    """

    def __init__(self, memorization: Memorization) -> None:
        self.memorization = memorization

    @property
    def chance(self) -> float:
        """The share of held-out samples that count as copies."""
        return self.memorization.chance

    def metrics(self, generated: Any) -> dict[str, float]:
        """Ratios in [0, 1] with their exact 95% bounds, the p-value, and the median distance to the nearest."""
        result = self.memorization.test(generated)
        distance = {} if self.memorization.metric == "exact" else {"distance": float(result.distance.median())}
        return {
            "memorization": result.ratio,
            "memorization_low": result.ci_low,
            "memorization_high": result.ci_high,
            "memorization_p": result.p_value,
            "chance": result.chance,
            "chance_low": result.chance_low,
            "chance_high": result.chance_high,
            **distance,
        }


def data_onsets(table: pd.DataFrame) -> dict[str, Onset]:
    """``tau_best`` and ``tau_mem`` from a `Clocks.table`, see `Clocks.onsets`."""
    unknown = Onset(np.inf, 0.0, np.inf, True)
    if table.empty:
        return {"tau_best": unknown, "tau_mem": unknown}
    beyond = (table["memorization"] >= table["chance"] + MARGIN) & (table["memorization_p"] < SIGNIFICANCE)
    copies = detect_onset(table["step"].to_numpy(), beyond.to_numpy(float), 1.0, patience=2)
    return {"tau_best": _best(table) or unknown, "tau_mem": copies}


def _best(table: pd.DataFrame) -> Onset | None:
    """Between the evaluations on either side of the least loss; None without losses."""
    known = table[table["held_out_loss"].notna()] if "held_out_loss" in table else table[:0]
    if known.empty:
        return None
    steps, k = known["step"].to_numpy(float), int(known["held_out_loss"].to_numpy().argmin())
    lower = float(steps[k - 1]) if k else 0.0
    if k == len(steps) - 1:
        return Onset(np.inf, lower, np.inf, True)
    return Onset(float(steps[k]), lower, float(steps[k + 1]), False)
