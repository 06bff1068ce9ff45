"""How sure an onset is: evaluations generate finitely many samples, so another draw might have struck elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...theory.arguments import probability, whole_number
from ..criteria import find_criterion
from ..onsets import Onset, check_steps, locate, smoothed
from ..state_counts import check_counts, ratios
from .resampling import MOST_RESAMPLES


@dataclass(frozen=True, eq=False)
class OnsetBootstrap:
    """An onset with the uncertainty that its finite generations leave. All steps are training steps.

    Attributes:
        criterion: name of the criterion.
        onset: from the generations as they were.
        interval: central percentile interval of the onset's step over resamples; an end is inf where censored.
        lower, upper: the onset with both uncertainties lies in (lower, upper]: the hull of onset's own interval between
            evaluations and the central percentiles of the resamples' intervals. upper is inf where more resamples are
            censored than the interval leaves out.
        censored_fraction: of the resamples.
        draws: the step of each resample, inf when censored: float64 (n_boot,).
    """

    criterion: str
    onset: Onset
    interval: tuple[float, float]
    lower: float
    upper: float
    censored_fraction: float
    draws: np.ndarray


def onset_bootstrap(
    counts: pd.DataFrame,
    criterion: str,
    chance: float,
    alphabet: int = 2,
    n_boot: int = 2000,
    seed: int = 0,
    patience: int | None = None,
    ema_halflife: float = 0.0,
    confidence: float = 0.95,
    null: float | None = None,
) -> OnsetBootstrap:
    """Resample the generations of every evaluation, and find the onset in each resample.

    Generations are independent given the weights, so the counts of their states are multinomial; evaluations are
    resampled independently of each other. Where an evaluation showed 0 or n of something, so does every resample: with
    few generations the interval is too narrow there. As an onset is a first passage, noise brings it forward, in the
    run and once more in its resamples. In simulated runs (lower, upper] holds the onset that infinitely many
    generations would show in 99% of runs or more, but in 92% where only 64 generations watch a slow rise.

    Args:
        counts: one row per evaluation, as `Run.state_counts`: step, and a column for each of `STATES`.
        criterion: a name from `CRITERIA`.
        chance: sample-level chance memorization.
        alphabet: Q, the number of symbols.
        n_boot: resamples.
        seed: of the resampling.
        patience, ema_halflife: as in `find_onsets`.
        confidence: of the interval.
        null: the null of copying, for tau_mem; by default chance.

    Raises:
        ValueError: an unknown criterion, a table that does not hold counts, steps that do not increase, chance outside
            0..1, confidence outside (0, 1), or n_boot, seed, alphabet or patience that are no whole numbers or below
            their least.
    """
    rule = find_criterion(criterion)
    n_boot, seed = whole_number("n_boot", n_boot, 1, MOST_RESAMPLES), whole_number("seed", seed)
    chance, alphabet = probability("chance", chance), whole_number("alphabet", alphabet, 1)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    observed = check_counts(counts)
    steps = check_steps(counts["step"].to_numpy())
    n = observed.sum(-1)
    shares = (observed / n[:, None])[:, _DRAWN]
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=(n_boot, len(n)))[
        ..., np.argsort(_DRAWN)
    ]  # (B, E, 4)
    every = np.concatenate([observed[None], drawn])
    measured = smoothed(ratios(every, rule.columns, chance), ema_halflife)
    step, lower = locate(rule, steps, measured, chance, alphabet, patience, null, n)
    onset = Onset(float(step[0]), float(lower[0]), float(step[0]), bool(np.isinf(step[0])))
    draws, tails = step[1:], ((1 - confidence) / 2, (1 + confidence) / 2)
    low, high = _percentile(draws, tails[0]), _percentile(draws, tails[1])
    return OnsetBootstrap(
        criterion=criterion,
        onset=onset,
        interval=(low, high),
        lower=min(onset.lower, _percentile(lower[1:], tails[0])),
        upper=max(onset.upper, high),
        censored_fraction=float(np.isinf(draws).mean()),
        draws=draws,
    )


_DRAWN = [2, 3, 1, 0]  # the order in which the states are drawn is part of what a seed means


def _percentile(values: np.ndarray, q: float) -> float:
    """The smallest value that a share q of them do not exceed: one of them, as steps and inf do not interpolate."""
    return float(np.quantile(values, q, method="inverted_cdf"))
