"""Claim C8 in numbers: at which noise the train / held-out gap opens first, and when random cube samples split off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ..onsets import Onset, first_lasting
from ..statistics.claims import STATEMENTS, ClaimVerdict
from ..statistics.resampling import percentile_interval
from .claim_parts import bootstrap_weights, compared_text, interval_verdict, onset_of_draws, same_time, together
from .phases import LEARNED
from .spectra import GAP_SIGNIFICANCE, gap_onsets, gap_table
from .summary import RULE_HALF

TEST = (
    "sigma at which the gap first reaches a tenth of its largest value; over tau_rule, the step at which the cube gap "
    "reaches half the rule optimum's (bootstrap over samples)"
)
BAND = (0.2, 2.0)
"""Where the paper sees the gap open, in data units."""

OPEN = 0.1
"""The gap is open where it reaches this part of the largest that the run shows at any sigma and step."""

SPLIT_OFF = 0.5
"""Cube samples have split off where their gap, summed over BAND, reaches this part of the rule optimum's."""


@dataclass(frozen=True)
class GapOpening:
    """Where the gap opens first.

    Attributes:
        sigma: noise at which the gap reaches its level first; among several, that of the largest gap at that step.
        interval: its 95% bootstrap interval over samples.
        onset: the step.
    """

    sigma: float
    interval: tuple[float, float]
    onset: Onset


def gap_opening(
    gaps: pd.DataFrame, level: float = OPEN, patience: int = 2, n_boot: int = 2000, seed: int = 0
) -> GapOpening | None:
    """The noise scale at which a gap first opens.

    Args:
        gaps: from `sample_gaps`, of one split and one denoiser over its steps, or `gap_beyond_cells`.
        level: part of the largest gap, over all sigmas and steps, that counts as open.
        patience: evaluations in a row that must reach it; the first counts.
        n_boot: bootstrap draws of samples, shared by all steps and sigmas.
        seed: of the bootstrap.

    Returns:
        None where no gap ever opens: the largest is not significant (t-test, p < `GAP_SIGNIFICANCE`), or none lasts, in
        the data or in more than one bootstrap draw in forty.
    """
    steps, sigmas, values = _course(gaps)
    n = values.shape[-1]
    largest = values.reshape(-1, n)[values.mean(-1).argmax()]
    if stats.ttest_1samp(largest, 0, alternative="greater").pvalue >= GAP_SIGNIFICANCE:
        return None
    weights = bootstrap_weights(n, n_boot, seed)
    means = np.moveaxis(values @ weights.T, -1, 0) / n  # (draws, steps, sigmas), the data's own first
    top = means.max((1, 2), keepdims=True)
    met = np.moveaxis((means >= level * top) & (top > 0), 1, -1)  # (draws, sigmas, steps)
    step, lower = first_lasting(steps, met, patience)
    earliest = step.min(1)
    found = np.isfinite(earliest)
    if not found[0] or found.mean() < 1 - 1 / 40:
        return None
    at = np.searchsorted(steps, earliest[found])
    there = means[found, at]  # (draws, sigmas)
    chosen = np.where(step[found] == earliest[found, None], there, -np.inf).argmax(1)
    first = Onset(float(earliest[0]), float(lower[0, chosen[0]]), float(earliest[0]), False)
    return GapOpening(float(sigmas[chosen[0]]), percentile_interval(sigmas[chosen]), first)


def gap_beyond_cells(gaps: pd.DataFrame) -> pd.DataFrame:
    """The learned gap on the held-out split less that of the training-cells optimum on the same noise.

    A small training set differs from the rule in how often each cell holds each symbol, and a net that knows these
    frequencies alone loses less on it, by about 2/N per dimension at large sigma. What remains is memory of more.

    Args:
        gaps: from `sample_gaps`, with the training-cells optimum.

    Raises:
        ValueError: the table lacks that optimum.
    """
    held_out = gaps[gaps["split"] == "held-out"]
    cells = held_out[held_out["denoiser"] == "training-cells optimum"]
    if cells.empty:
        raise ValueError("the gaps need the training-cells optimum; add it to the optima of run_errors")
    learned = held_out[held_out["denoiser"] == LEARNED]
    both = learned.merge(cells[["sigma", "sample", "gap"]], on=["sigma", "sample"], suffixes=("", "_cells"))
    return both.assign(gap=both["gap"] - both["gap_cells"]).drop(columns="gap_cells")


def cube_share(gaps: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How far cube samples have split off from training samples, of what the rule optimum shows, summed over BAND.

    Args:
        gaps: from `sample_gaps`, with the rule optimum.
        n_boot: bootstrap draws of samples.
        seed: of the bootstrap.

    Returns:
        One row a kept step: share (0: the net knows no rule; 1: as the rule optimum), low, high (95% interval).

    Raises:
        ValueError: the table lacks the rule optimum.
    """
    steps, draws = _cube_shares(gaps, n_boot, seed)
    low, high = np.quantile(draws[1:], [0.025, 0.975], axis=0)
    return pd.DataFrame({"step": steps.astype(int), "share": draws[0], "low": low, "high": high})


def cube_onset(gaps: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> Onset:
    """When cube samples split off, as an interval that covers the evaluations and 95% of bootstrap draws of samples.

    Args: as `cube_share`.
    """
    steps, draws = _cube_shares(gaps, n_boot, seed)
    return onset_of_draws(steps, draws >= SPLIT_OFF)


def claim_gap(gaps: pd.DataFrame, onsets: Mapping[str, Onset], n_boot: int = 2000, seed: int = 0) -> ClaimVerdict:
    """C8: the train / held-out gap opens first at noise of about 0.2 to 2; cube samples split off at rule learning.

    The first part holds when the interval of `gap_opening` lies within BAND, and is refuted when it lies outside. The
    second holds when the ratio of `cube_onset` to tau_rule lies within a factor SAME_TIME of 1, wherever in their
    intervals the two onsets are, and is refuted when it lies beyond wherever they are. Both must hold.

    Args:
        gaps: from `sample_gaps` of `run_errors`, with the rule optimum; with the training-cells optimum the note tells
            where the gap opens beyond what cell frequencies explain.
        onsets: the run's clocks, ``run.onsets``; with those of `RunSummary` the note compares with half accuracy too.
        n_boot: bootstrap draws of samples.
        seed: of the bootstrap.

    Returns:
        The verdict on this one run; its intervals are over samples, not over training seeds. The estimate is the sigma
        of the first opening.
    """
    held_out = gaps[(gaps["split"] == "held-out") & (gaps["denoiser"] == LEARNED)]
    opening = gap_opening(held_out, n_boot=n_boot, seed=seed)
    cube, rule = cube_onset(gaps, n_boot, seed), onsets["tau_rule"]
    notes = ["no gap opens"]
    if opening:
        notes = [f"opens in step {opening.onset}", f"significant first at {_first_significant(held_out)}"]
        if "training-cells optimum" in set(gaps["denoiser"]):
            beyond = gap_opening(gap_beyond_cells(gaps), n_boot=n_boot, seed=seed)
            notes.append(f"beyond cell frequencies it opens first at {opening_text(beyond)}")
    notes.append(compared_text("cube samples split off", cube, rule, "tau_rule"))
    if RULE_HALF in onsets:
        notes.append(compared_text("that is", cube, onsets[RULE_HALF], "half rule accuracy"))
    notes.append("one run: intervals over samples")
    verdict = together([interval_verdict(opening.interval, BAND) if opening else "undecided", same_time(cube, rule)])
    estimate, interval = (opening.sigma, opening.interval) if opening else (None, None)
    return ClaimVerdict("C8", STATEMENTS["C8"], estimate, interval, TEST, None, verdict, 1, "; ".join(notes))


def opening_text(opening: GapOpening | None) -> str:
    """Where and when a gap opens, in words."""
    if opening is None:
        return "no noise scale"
    low, high = opening.interval
    return f"sigma = {opening.sigma:.2g} [{low:.2g}, {high:.2g}], step {opening.onset}"


def _first_significant(gaps: pd.DataFrame) -> str:
    """Where and when a gap is first significant, which depends on how many samples there are."""
    found = {sigma: onset for sigma, onset in gap_onsets(gap_table(gaps)).items() if not onset.censored}
    first = min(found.values(), key=lambda onset: onset.upper, default=None)
    if first is None:
        return "no noise scale"
    sigmas = [f"{sigma:.2g}" for sigma, onset in found.items() if onset.upper == first.upper]
    return f"sigma = {', '.join(sigmas)}, step {first}"


def _course(gaps: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps (T,), sigmas (S,), both ascending, and gaps (T, S, n)."""
    wide = gaps.pivot(index=["step", "sigma"], columns="sample", values="gap").sort_index()
    steps, sigmas = (np.unique(wide.index.get_level_values(name).to_numpy(float)) for name in ("step", "sigma"))
    return steps, sigmas, wide.to_numpy(float).reshape(len(steps), len(sigmas), -1)


def _cube_shares(gaps: pd.DataFrame, n_boot: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps (T,), and shares (1 + n_boot, T), the data's own first."""
    cube = gaps[(gaps["split"] == "cube") & gaps["sigma"].between(*BAND)]
    rule = cube[cube["denoiser"] == "rule optimum"]
    if rule.empty:
        raise ValueError("the gaps need the rule optimum; add it to the optima of run_errors")
    steps, _, values = _course(cube[cube["denoiser"] == LEARNED])
    learned = values.sum(1)  # (T, n)
    exact = rule.groupby("sample")["gap"].sum().to_numpy(float)  # (n,)
    weights = bootstrap_weights(len(exact), n_boot, seed)
    return steps, (weights @ learned.T) / (weights @ exact)[:, None]
