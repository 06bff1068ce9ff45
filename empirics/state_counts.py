"""The state of each generation, counted: all that rule accuracy, memorization and novelty are made of."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..theory.arguments import whole_number
from ..theory.memorization import binomial_tail

STATES = ("ambiguous", "violating", "novel_valid", "memorized")
"""Every generation is in one of them, mostly in this order. A memorized one is valid too, for training samples are."""


def state_counts(metrics: pd.DataFrame, n_generated: int) -> pd.DataFrame:
    """The joint counts of states behind the ratios of `Run.metrics`, exact.

    Args:
        metrics: one row per evaluation: step, rule_accuracy, memorization, novel_valid, ambiguous.
        n_generated: generations per evaluation, RunConfig.n_eval.

    Returns:
        One row per evaluation: step, and an int64 column for each of `STATES`, which add up to n_generated.

    Raises:
        ValueError: n_generated that is no whole number or below 1, ratios outside 0..1, that are not counts of
            n_generated, or that contradict each other.
    """
    n_generated = whole_number("n_generated", n_generated, 1)
    valid, memorized, novel, ambiguous = (
        _as_counts(metrics[name], n_generated) for name in ("rule_accuracy", "memorization", "novel_valid", "ambiguous")
    )
    counts = np.stack([ambiguous, n_generated - valid - ambiguous, novel, memorized], -1)
    if ((novel + memorized != valid) | (counts < 0).any(-1)).any():
        raise ValueError("the metrics contradict each other: novel_valid and memorization must add up to rule_accuracy")
    return pd.DataFrame({"step": metrics["step"].to_numpy(), **dict(zip(STATES, counts.T, strict=True))})


def ratios(counts: np.ndarray, columns: Iterable[str], chance: float) -> dict[str, np.ndarray]:
    """Columns of `Run.metrics` from counts of `STATES` (..., 4): float64 (...) each.

    Args:
        counts: in the order of `STATES`; their sum is the number of generations.
        columns: among rule_accuracy, memorization, memorization_p, novel_valid.
        chance: sample-level chance memorization, for the exact one-sided binomial memorization_p.
    """
    novel, memorized = counts[..., STATES.index("novel_valid")], counts[..., STATES.index("memorized")]
    n = counts.sum(-1)
    compute = {
        "rule_accuracy": lambda: (novel + memorized) / n,
        "memorization": lambda: memorized / n,
        "memorization_p": lambda: binomial_tail(memorized, n, chance),
        "novel_valid": lambda: novel / n,
    }
    return {column: compute[column]() for column in columns}


def check_counts(counts: pd.DataFrame) -> np.ndarray:
    """The counts of a table with the columns of `STATES`, int64 (E, 4).

    Raises:
        ValueError: missing columns, no rows, numbers that are not counts, or evaluations without generations.
    """
    if missing := [name for name in ("step", *STATES) if name not in counts.columns]:
        raise ValueError(f"the counts have no column {missing[0]!r}; they need step, {', '.join(STATES)}")
    truths = [name for name in STATES if counts[name].dtype == bool]
    values = counts[list(STATES)].to_numpy(float)
    if truths or not len(values) or not (np.isfinite(values) & (values >= 0) & (values == np.round(values))).all():
        raise ValueError("counts must be whole numbers, at least 0, for at least one evaluation")
    if (values.sum(-1) == 0).any():
        raise ValueError("every evaluation must count at least one generation")
    return values.astype(np.int64)


def _as_counts(ratio: pd.Series, n: int) -> np.ndarray:
    values = ratio.to_numpy(float)
    if not ((values >= 0) & (values <= 1)).all():
        worst = values[~((values >= 0) & (values <= 1))][0]
        raise ValueError(f"{ratio.name} is {worst:g}; ratios lie in 0..1 (divide percentages by 100)")
    exact = values * n
    counts = np.round(exact)
    if not (np.abs(exact - counts) < 1e-6 * max(n, 1)).all():
        raise ValueError(f"{ratio.name} does not hold counts of {n} generations divided by {n}")
    return counts.astype(np.int64)
