"""What counts as an onset: every criterion by name, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Measured = Mapping[str, np.ndarray]
"""Ratios by their column of `Run.metrics`, float (..., E) over the E evaluations."""

SIGNIFICANCE = 1e-3
"""One-sided exact binomial p-value below which memorization exceeds chance."""
MARGIN = 0.01
"""How far memorization must exceed chance, besides significantly, for tau_mem."""


@dataclass(frozen=True)
class Criterion:
    """What must be seen at an evaluation for an onset to have come.

    Attributes:
        name: its key in `CRITERIA`; an onset of this name fills the columns NAME_lower, NAME_upper of a runs table.
        describe: the criterion in words.
        columns: the metrics that it reads.
        met: (measured, chance memorization, number of symbols) -> bool (..., E), whether each evaluation meets it. A
            missing value, NaN, meets nothing.
        patience: evaluations in a row that must meet it; the onset is the first of them.
        after: another criterion whose onset must come at an earlier evaluation.
    """

    name: str
    describe: str
    columns: tuple[str, ...]
    met: Callable[[Measured, float, int], np.ndarray]
    patience: int = 1
    after: str | None = None


def _obeys(measured: Measured, chance: float, alphabet: int) -> np.ndarray:
    return measured["rule_accuracy"] >= (0.9 if alphabet == 2 else 0.85)


def _copies_beyond_chance(measured: Measured, chance: float, alphabet: int) -> np.ndarray:
    return (measured["memorization"] >= chance + MARGIN) & (measured["memorization_p"] < SIGNIFICANCE)


def _copies_a_tenth(measured: Measured, chance: float, alphabet: int) -> np.ndarray:
    return measured["memorization"] >= 0.1


def _innovates(measured: Measured, chance: float, alphabet: int) -> np.ndarray:
    return measured["novel_valid"] >= 0.5


def _window_is_open(measured: Measured, chance: float, alphabet: int) -> np.ndarray:
    return (measured["rule_accuracy"] > 0.9) & (measured["memorization"] < 0.1)


def _window_is_shut(measured: Measured, chance: float, alphabet: int) -> np.ndarray:
    return (measured["rule_accuracy"] <= 0.9) | (measured["memorization"] >= 0.1)


CRITERIA: dict[str, Criterion] = {
    criterion.name: criterion
    for criterion in (
        Criterion(
            "tau_rule",
            "rule accuracy of whole samples of at least 0.9, or 0.85 with more than two symbols (Fig. 21, 22)",
            ("rule_accuracy",),
            _obeys,
        ),
        Criterion(
            "tau_mem",
            "memorization above exact chance, at two evaluations in a row: by a margin of 0.01, and with p < 1e-3 in a "
            "one-sided exact binomial test",
            ("memorization", "memorization_p"),
            _copies_beyond_chance,
            patience=2,
        ),
        Criterion("tau_mem_10", "memorization of at least 0.1 (as in Fig. 4)", ("memorization",), _copies_a_tenth),
        Criterion(
            "tau_novel", "at least half of the generations are valid and novel (Fig. 22)", ("novel_valid",), _innovates
        ),
        Criterion(
            "window_opens",
            "rule accuracy above 0.9 with memorization below 0.1 (Fig. 4)",
            ("rule_accuracy", "memorization"),
            _window_is_open,
        ),
        Criterion(
            "window_closes",
            "the first evaluation after window_opens at which rule accuracy is no longer above 0.9, or memorization no "
            "longer below 0.1 (Fig. 4)",
            ("rule_accuracy", "memorization"),
            _window_is_shut,
            after="window_opens",
        ),
    )
}
"""Every onset criterion by name.

The window of Fig. 4 is the first stretch of evaluations that it would shade. It may open and close between two
evaluations and go unseen. An accuracy that hovers about 0.9 may close it at once: ask for patience then. A run that
never opened its window has not closed it either: window_closes is censored at its last evaluation. A run that copies
before it obeys stays so for ever: its window is not late but absent, which a fit to censored onsets cannot know, so
leave such runs out of fits to the edges.
"""


def find_criterion(name: str) -> Criterion:
    """The criterion of a name; ValueError with the known ones."""
    if name not in CRITERIA:
        raise ValueError(f"unknown onset {name!r}; known onsets: {', '.join(CRITERIA)}")
    return CRITERIA[name]
