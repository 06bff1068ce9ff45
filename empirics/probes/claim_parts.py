"""What the claims on one run's score share: onsets over bootstrap draws, how two onsets compare, and what follows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..onsets import Onset, first_lasting
from ..statistics.claims import Verdict
from ..statistics.resampling import stratified_weights

SAME_TIME = 2.0
"""Two onsets within this factor of each other count as one event."""


def bootstrap_weights(n: int, n_boot: int, seed: int) -> np.ndarray:
    """Bootstrap weights of n samples (1 + n_boot, n); the first row is the data."""
    return np.concatenate([np.ones((1, n)), stratified_weights(np.zeros(n), n_boot, np.random.default_rng(seed))])


def onset_of_draws(steps: np.ndarray, met: np.ndarray) -> Onset:
    """When a criterion is first met, as an interval that covers the evaluations and 95% of bootstrap draws.

    Args:
        steps: (T,), increasing.
        met: bool (draws, T), the data's own first.

    Returns:
        The step is the data's own.
    """
    step, lower = first_lasting(steps, met, patience=1)
    first = float(np.quantile(lower, 0.025, method="lower"))
    last = float(np.quantile(step, 0.975, method="higher"))
    return Onset(float(step[0]), first, last, math.isinf(last))


def onset_ratio(over: Onset, under: Onset) -> tuple[float, float]:
    """All that the ratio of two onsets can be, wherever in their intervals they are; up to inf where unknown."""
    low = over.lower / under.upper if math.isfinite(under.upper) else 0.0
    return low, over.upper / under.lower if under.lower > 0 else math.inf


def interval_verdict(interval: tuple[float, float], claimed: tuple[float, float]) -> Verdict:
    """Supported when an interval lies within what is claimed, not supported when it lies outside."""
    if claimed[0] <= interval[0] and interval[1] <= claimed[1]:
        return "supported"
    return "not supported" if interval[0] > claimed[1] or interval[1] < claimed[0] else "undecided"


def same_time(over: Onset, under: Onset) -> Verdict:
    """Whether two onsets lie within a factor SAME_TIME of each other."""
    return interval_verdict(onset_ratio(over, under), (1 / SAME_TIME, SAME_TIME))


def together(parts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim whose parts must all hold."""
    if "not supported" in parts:
        return "not supported"
    return "supported" if set(parts) == {"supported"} else "undecided"


def compared_text(what: str, over: Onset, under: Onset, name: str) -> str:
    """Two onsets and their ratio in words."""
    low, high = onset_ratio(over, under)
    return f"{what} in step {over}, {low:.2g} to {high:.2g} times {name} {under}"
