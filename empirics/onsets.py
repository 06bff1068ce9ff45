"""When a clock strikes: an onset is known only to lie between two evaluations, or beyond the last one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Onset:
    """The training step at which a criterion is first met, as far as the evaluations tell.

    Attributes:
        step: the first evaluation that meets the criterion; inf when none does.
        lower, upper: the onset lies in (lower, upper], in training steps; upper is inf when censored.
        censored: whether training ended before the criterion was met.
    """

    step: float
    lower: float
    upper: float
    censored: bool

    def __str__(self) -> str:
        return f"> {self.lower:g}" if self.censored else f"({self.lower:g}, {self.upper:g}]"


def detect_onset(
    steps: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray, threshold: float, patience: int = 1
) -> Onset:
    """The first evaluation at which values reach a threshold and stay there for `patience` evaluations.

    Args:
        steps: training steps of the evaluations, positive or zero, strictly increasing.
        values: the measured quantity at each; NaN counts as below the threshold.
        threshold: met when value >= threshold.
        patience: how many evaluations in a row must meet it; the onset is the first of them.

    Returns:
        The onset. A last run of evaluations too short for `patience` is left undecided: censored from before it began.

    Raises:
        ValueError: no evaluations, lengths that differ, steps that do not increase, or patience below 1.
    """
    at = np.asarray(steps, dtype=float)
    met = np.asarray(values, dtype=float) >= threshold
    if at.ndim != 1 or at.shape != met.shape or len(at) == 0:
        raise ValueError(f"steps and values must be equally long lists, got shapes {at.shape} and {met.shape}")
    if not (np.diff(at) > 0).all() or not at[0] >= 0:
        raise ValueError("steps must be non-negative and strictly increasing")
    if patience < 1:
        raise ValueError(f"patience must be at least 1, got {patience}")
    run = 0
    for k, yes in enumerate(met):
        run = run + 1 if yes else 0
        if run == patience:
            first = k - patience + 1
            return Onset(float(at[first]), float(at[first - 1]) if first else 0.0, float(at[first]), False)
    last = len(at) - 1 - run  # the last evaluation known to lie before the onset
    return Onset(math.inf, float(at[last]) if last >= 0 else 0.0, math.inf, True)


SIGNIFICANCE = 1e-3
"""One-sided exact binomial p-value below which memorization exceeds chance."""
MARGIN = 0.01
"""How far memorization must exceed chance, besides significantly, for tau_mem."""


def clock_onsets(metrics: pd.DataFrame, chance: float, alphabet: int = 2) -> dict[str, Onset]:
    """The two clocks of a run.

    tau_rule is the first evaluation with sample-level rule accuracy of at least 0.9 (0.85 for more than two symbols);
    tau_mem the first of two evaluations in a row whose memorization exceeds chance by MARGIN and with p < SIGNIFICANCE.

    Args:
        metrics: one row an evaluation, with step, rule_accuracy, memorization and memorization_p.
        chance: sample-level chance memorization.
        alphabet: Q, the number of symbols.

    Returns:
        ``{"tau_rule": Onset, "tau_mem": Onset}``, in training steps.
    """
    steps = metrics["step"].to_numpy()
    copying = (metrics["memorization"] >= chance + MARGIN) & (metrics["memorization_p"] < SIGNIFICANCE)
    return {
        "tau_rule": detect_onset(steps, metrics["rule_accuracy"].to_numpy(), 0.9 if alphabet == 2 else 0.85),
        "tau_mem": detect_onset(steps, copying.to_numpy().astype(float), 1.0, patience=2),
    }
