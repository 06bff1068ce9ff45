"""When a clock strikes: an onset is known only to lie between two evaluations, or beyond the last one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..theory.arguments import probability, real_number, whole_number
from .criteria import CRITERIA, Criterion, Measured, find_criterion

CLOCKS = ("tau_rule", "tau_mem")
"""The two criteria that training itself watches."""
DATA_CLOCKS = ("tau_best", "tau_mem")
"""Those of data without a rule, see `Clocks.onsets`."""


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
    steps: Sequence[float] | np.ndarray | pd.Series,
    values: Sequence[float] | np.ndarray | pd.Series,
    threshold: float,
    patience: int = 1,
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
        ValueError: no evaluations, lengths that differ, steps that do not increase, a threshold that is no number, or
            patience that is no whole number or below 1.
    """
    at = check_steps(steps)
    met = np.asarray(values, dtype=float) >= real_number("threshold", threshold)
    if at.shape != met.shape:
        raise ValueError(f"steps and values must be equally long lists, got shapes {at.shape} and {met.shape}")
    return _as_onset(*first_lasting(at, met, patience))


def find_onsets(
    metrics: pd.DataFrame,
    chance: float,
    alphabet: int = 2,
    criteria: Sequence[str] = tuple(CRITERIA),
    patience: int | None = None,
    ema_halflife: float = 0.0,
    null: float | None = None,
    n_generated: int | np.ndarray | None = None,
) -> dict[str, Onset]:
    """The onsets of a run by the criteria of `CRITERIA`.

    Args:
        metrics: one row per evaluation, as `Run.metrics`: step, and the columns that the criteria read.
        chance: sample-level chance memorization, in 0..1.
        alphabet: Q, the number of symbols.
        criteria: names from `CRITERIA`, or one of them.
        patience: evaluations in a row that must meet a criterion; by default the criterion's own.
        ema_halflife: smooth the ratios over evaluations first, see `ema`; 0 is off. The interval (lower, upper] is then
            that of the smoothed curve, which comes late. P-values are left as they are: counts of different evaluations
            come from different models, and their weighted sum is not binomial. So tau_mem_chance asks the smoothed
            curve for its margin, and each evaluation's own counts for the exact test.
        null: the null of copying, see `null_of_copying`, against which tau_mem is judged; by default chance.
        n_generated: generations per evaluation, a number or one each, of which tau_rule wants 20 that are no copies; by
            default enough.

    Returns:
        An onset for each name, in training steps.

    Raises:
        ValueError: an unknown criterion, a column that is missing, there twice or holds other values than numbers in
            0..1, chance outside 0..1, no evaluations, steps that do not increase, patience or alphabet that are no
            whole numbers or below 1, or a negative half-life.
    """
    chosen = [find_criterion(name) for name in ((criteria,) if isinstance(criteria, str) else criteria)]
    chance, alphabet = probability("chance", chance), whole_number("alphabet", alphabet, 1)
    needed = ("step", *dict.fromkeys(column for criterion in chosen for column in criterion.columns))
    if not isinstance(metrics, pd.DataFrame):
        raise ValueError(f"the metrics are a pandas DataFrame, got {type(metrics).__name__}")
    for column in needed:
        if (times := list(metrics.columns).count(column)) != 1:
            fault = f"{times} columns {column!r}; keep one" if times else f"no column {column!r}"
            raise ValueError(f"the metrics have {fault}; they have {', '.join(map(str, metrics.columns)) or 'none'}")
    steps = check_steps(metrics["step"].to_numpy())
    measured = smoothed({column: _ratios(metrics[column]) for column in needed[1:]}, ema_halflife)
    levels = (chance, alphabet, patience, null, n_generated)
    return {c.name: _as_onset(*locate(c, steps, measured, *levels)) for c in chosen}


def clock_onsets(
    metrics: pd.DataFrame, chance: float, alphabet: int = 2, null: float | None = None, n_generated: int | None = None
) -> dict[str, Onset]:
    """The two clocks of a run by `find_onsets`: ``{"tau_rule": Onset, "tau_mem": Onset}``, in training steps.

    Args:
        metrics: one row per evaluation, with step, rule_accuracy and memorization.
        chance: sample-level chance memorization.
        alphabet: Q, the number of symbols.
        null, n_generated: as in `find_onsets`.
    """
    return find_onsets(metrics, chance, alphabet, CLOCKS, null=null, n_generated=n_generated)


def onset_as_json(onset: Onset) -> dict[str, Any]:
    """Fields of an onset with null for infinity."""

    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "step": finite(onset.step),
        "lower": onset.lower,
        "upper": finite(onset.upper),
        "censored": onset.censored,
    }


def ema(values: np.ndarray, halflife: float) -> np.ndarray:
    """Exponential moving average over evaluations, of those seen so far: it never looks ahead.

    s_k = sum_{j<=k} w^(k-j) v_j / sum_{j<=k} w^(k-j) with w = 2^(-1/halflife). The half-life counts evaluations, and
    their grid is geometric, so it is a half-life in log steps: a factor of eval_ratio^halflife in training time.

    Smoothing delays. After a jump from 0 to 1 the average reaches a threshold c with the m-th evaluation at 1, where
    m <= ceil(halflife log2(1 / (1 - c))), hence up to m - 1 evaluations late; a slow ramp is seen w / (1 - w), about
    1.44 halflife, evaluations late. Compare onsets only at equal half-life and grid.

    Args:
        values: float (..., E); a NaN has no weight in later averages and stays NaN itself.
        halflife: evaluations after which a weight has halved; 0 leaves the values as they are.

    Raises:
        ValueError: a half-life that is negative or not finite.
    """
    if not 0 <= real_number("ema_halflife", halflife) < math.inf:
        raise ValueError(f"ema_halflife must be a finite number of evaluations, at least 0 (off), got {halflife}")
    values = np.asarray(values, dtype=float)
    if halflife == 0:
        return values
    decay = 0.5 ** (1 / halflife)
    means = np.full_like(values, np.nan)
    mean, weight = np.zeros(values.shape[:-1]), np.zeros(values.shape[:-1])
    for k in range(values.shape[-1]):  # as a running correction, which keeps a constant curve to the last bit
        known = ~np.isnan(values[..., k])
        weight = decay * weight + known
        mean = mean + np.where(known, values[..., k] - mean, 0.0) / np.where(known, weight, 1.0)
        means[..., k] = np.where(known, mean, np.nan)
    return means


# What follows serves many resamples at once: arrays (..., E) over evaluations.


def check_steps(steps: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    """Steps of evaluations as float64 (E,).

    Raises:
        ValueError: none, dates, infinite or negative ones, or steps that do not strictly increase.
    """
    given = np.asarray(steps)
    if given.dtype.kind in "Mm":
        raise ValueError("steps must be numbers, such as training steps, got dates")
    at = given.astype(float)
    if at.ndim != 1 or len(at) == 0:
        raise ValueError(f"steps and values must be equally long lists, not empty, got steps of shape {at.shape}")
    if not (np.diff(at) > 0).all() or not at[0] >= 0 or not np.isfinite(at[-1]):
        raise ValueError("steps must be finite, non-negative and strictly increasing")
    return at


def smoothed(measured: Measured, ema_halflife: float) -> Measured:
    """The ratios smoothed by `ema`; p-values, in columns that end in _p, as they are."""
    return {name: v if name.endswith("_p") else ema(v, ema_halflife) for name, v in measured.items()}


def locate(
    criterion: Criterion,
    steps: np.ndarray,
    measured: Measured,
    chance: float,
    alphabet: int,
    patience: int | None,
    null: float | None = None,
    n_generated: int | np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Where a criterion is first met: (step, lower) (...), as `first_lasting` gives them; n_generated may be (E,)."""
    level = chance if criterion.level == "chance" or null is None else null
    n = np.asarray(math.inf if n_generated is None else n_generated)
    met = criterion.met({**measured, "n_generated": n}, level, alphabet)
    if criterion.after:
        before, _ = locate(CRITERIA[criterion.after], steps, measured, chance, alphabet, patience, null, n_generated)
        met = met & (steps > before[..., None])
    return first_lasting(steps, met, criterion.patience if patience is None else patience)


def first_lasting(steps: np.ndarray, met: np.ndarray, patience: int) -> tuple[np.ndarray, np.ndarray]:
    """The first of `patience` evaluations in a row that meet a criterion.

    Args:
        steps: (E,), increasing.
        met: bool (..., E).
        patience: at least 1.

    Returns:
        step (...): inf where there is none; lower (...): the evaluation before it, 0 before the first; where there is
        none, the last evaluation before a run of `met` that reaches the end too short.

    Raises:
        ValueError: patience that is no whole number, or below 1.
    """
    patience = whole_number("patience", patience, 1)
    E = len(steps)
    lasting = np.zeros_like(met)
    starts = max(E - patience + 1, 0)
    if starts:
        lasting[..., :starts] = np.lib.stride_tricks.sliding_window_view(met, patience, axis=-1).all(-1)
    found = lasting.any(-1)
    first = lasting.argmax(-1)
    unfinished = np.where(met.all(-1), E, np.argmin(met[..., ::-1], -1))  # length of the run of met that ends the row
    before = np.where(found, first, E - unfinished) - 1
    step = np.where(found, steps[first], np.inf)
    return step, np.where(before >= 0, steps[before], 0.0)


def _ratios(values: pd.Series) -> np.ndarray:
    """Ratios or p-values as float64 (E,); NaN where none was measured."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    outside = (numbers < 0) | (numbers > 1) | (np.isnan(numbers) & values.notna().to_numpy())
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"row {row}: {values.name} is {values.iloc[row]}; it must lie in 0..1 (divide percentages by 100)"
        )
    return numbers


def _as_onset(step: np.ndarray, lower: np.ndarray) -> Onset:
    at = float(step)
    return Onset(at, float(lower), at, math.isinf(at))
