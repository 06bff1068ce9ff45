"""From measured numbers to one of three words, by tests at the 5% level."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from ...empirics.statistics.ordered_trend import trend_test
from ...empirics.statistics.verdicts import p_phrase
from ...theory.memorization import binomial_interval

Word = Literal["agree", "differ", "undecided"]
LEVEL = 0.05
RESOLUTION = 0.05
"""Two ratios nearer than this are not told apart: sampling moves them as much, and less would not matter."""


def word(agrees: bool, differs: bool) -> Word:
    """The verdict; two contradicting answers decide nothing."""
    if agrees == differs:
        return "undecided"
    return "agree" if agrees else "differ"


def trend_word(values: np.ndarray, level: np.ndarray, strata: np.ndarray, rises: bool) -> tuple[Word, str]:
    """Do ratios rise (or fall) with a level among runs of a stratum? By Jonckheere and Terpstra's permutation test.

    Args:
        values: one ratio a run (n,), finite; two that differ by less than `RESOLUTION` count as equal.
        level: ordered factor (n,).
        strata: label (n,) within which runs are compared.
        rises: the claimed direction.

    Returns:
        agree when the claimed direction is significant at 5%, differ when the opposite is; and the p-value, one-sided,
        of the claim in words, "p = 0.03". Undecided with p = 1 where no two runs can be compared.
    """
    signed = values if rises else -values
    half = RESOLUTION / 2
    try:
        claimed = trend_test(signed - half, signed + half, level, strata)
        p_against = trend_test(-signed - half, -signed + half, level, strata).p_value
    except ValueError:
        return "undecided", "p = 1"
    return word(claimed.p_value < LEVEL, p_against < LEVEL), p_phrase(claimed.p_value, claimed.p_floor)


def most_word(hits: int, trials: int) -> tuple[Word, tuple[float, float]]:
    """Is it so in most of the trials? By the exact 95% interval of the proportion, which is returned too."""
    if trials == 0:
        return "undecided", (0.0, 1.0)
    interval = binomial_interval(hits, trials)
    return word(interval[0] > 0.5, interval[1] < 0.5), interval


def window_states(runs: pd.DataFrame, evaluations: pd.DataFrame) -> pd.Series:
    """For each run, whether its innovation window (rule accuracy > 0.9, memorization < 0.1) was seen.

    Args:
        runs: a table with run.
        evaluations: run, rule_accuracy and memorization with bounds in _low and _high, of 95%, in order of steps.

    Returns:
        By run: ``open`` when the bounds of some evaluation are inside the window; ``shut`` when every evaluation has a
        bound outside and the last one memorizes, so that the window was missed for good; ``unclear`` otherwise, as for
        a run that was too short for either clock.
    """
    states = {}
    groups = dict(list(evaluations.groupby("run")))
    for number in runs["run"]:
        states[number] = "unclear"
        if number not in groups:
            continue
        table = groups[number]
        inside = ((table["rule_accuracy_low"] > 0.9) & (table["memorization_high"] < 0.1)).to_numpy()
        outside = ((table["rule_accuracy_high"] <= 0.9) | (table["memorization_low"] >= 0.1)).to_numpy()
        if inside.any():
            states[number] = "open"
        elif outside.all() and table["memorization_low"].iloc[-1] >= 0.1:
            states[number] = "shut"
    return pd.Series(states, dtype=object)


def spread_text(values: pd.Series, digits: int = 2) -> str:
    """The median with the range over runs: ``0.98 [0.97, 0.99]``."""
    numbers = values.dropna()
    if numbers.empty:
        return "unknown"
    return f"{numbers.median():.{digits}f} [{numbers.min():.{digits}f}, {numbers.max():.{digits}f}]"


def clock_text(runs: pd.DataFrame, clock: str) -> str:
    """The median onset of runs as an interval of steps: ``(154, 185]``, or ``> 2048`` where it is censored."""
    lower, upper = runs[f"{clock}_lower"].to_numpy(float), runs[f"{clock}_upper"].to_numpy(float)
    if not len(runs):
        return "unknown"
    low, high = _middle(lower), _middle(upper)
    return f"> {low:.0f}" if np.isinf(high) else f"({low:.0f}, {high:.0f}]"


def _middle(values: np.ndarray) -> float:
    """The median, infinite as soon as one of the two middle values is."""
    ordered = np.sort(values)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)
