"""What counts as an onset: every criterion by name, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..theory.memorization import binomial_tail

Measured = Mapping[str, np.ndarray]
"""Ratios by their column of `Run.metrics`, float (..., E) over the E evaluations."""

SIGNIFICANCE = 1e-3
"""One-sided exact binomial p-value below which memorization exceeds a level."""
MARGIN = 0.01
"""How far memorization must exceed chance, besides significantly, for tau_mem_chance."""
EXCESS = 0.1
"""How far memorization must exceed the null of copying for tau_mem, as a share of what is left to 1."""
FEWEST = 20
"""Generations that are no copies, below which tau_rule does not judge them."""
FORMER = {"tau_rule": "tau_rule_all", "tau_mem": "tau_mem_chance"}
"""What the names of the clocks stood for in runs whose result states no null of copying."""


@dataclass(frozen=True)
class Criterion:
    """What must be seen at an evaluation for an onset to have come.

    Attributes:
        name: its key in `CRITERIA`; an onset of this name fills the columns NAME_lower, NAME_upper of a runs table.
        describe: the criterion in words.
        columns: the metrics that it reads.
        met: (measured, level, number of symbols) -> bool (..., E), whether each evaluation meets it. A missing value,
            NaN, meets nothing. Beside its columns, measured holds ``n_generated``, inf where it is not known.
        patience: evaluations in a row that must meet it; the onset is the first of them.
        after: another criterion whose onset must come at an earlier evaluation.
        level: what memorization is held against, ``"chance"`` or ``"null"``, the null of copying.
    """

    name: str
    describe: str
    columns: tuple[str, ...]
    met: Callable[[Measured, float, int], np.ndarray]
    patience: int = 1
    after: str | None = None
    level: Literal["chance", "null"] = "chance"


def copying_threshold(null: float) -> float:
    """The memorization that tau_mem asks for: the null of copying and a tenth of what is left to 1."""
    return null + EXCESS * (1 - null)


def fewest_generations(null: float) -> int:
    """Generations an evaluation from which on all that reaches `copying_threshold` is significant by itself.

    With fewer, a sampler that copies nothing reaches it at one evaluation with a chance above `SIGNIFICANCE`.
    """
    n = np.arange(1, 2**14)
    needed = np.ceil(n * copying_threshold(null) - 1e-9)
    too_few = np.flatnonzero(binomial_tail(needed, n, null) >= SIGNIFICANCE)
    return int(n[too_few[-1]]) + 1 if len(too_few) else 1


def _obeys(measured: Measured, level: float, alphabet: int) -> np.ndarray:
    return measured["rule_accuracy"] >= (0.9 if alphabet == 2 else 0.85)


def _obeys_without_copies(measured: Measured, level: float, alphabet: int) -> np.ndarray:
    """Copies of valid training samples are valid: what is left of accuracy is that of the other generations."""
    others = 1 - measured["memorization"]
    valid = measured["rule_accuracy"] - measured["memorization"]
    enough = others > (FEWEST - 1e-6) / measured["n_generated"]
    return enough & (valid >= (0.9 if alphabet == 2 else 0.85) * others - 1e-9)


def _copies(measured: Measured, level: float, alphabet: int) -> np.ndarray:
    return measured["memorization"] >= copying_threshold(level) - 1e-9


def _copies_beyond_chance(measured: Measured, level: float, alphabet: int) -> np.ndarray:
    return (measured["memorization"] >= level + MARGIN) & (measured["memorization_p"] < SIGNIFICANCE)


def _copies_a_tenth(measured: Measured, level: float, alphabet: int) -> np.ndarray:
    return measured["memorization"] >= 0.1


def _innovates(measured: Measured, level: float, alphabet: int) -> np.ndarray:
    return measured["novel_valid"] >= 0.5


def _window_is_open(measured: Measured, level: float, alphabet: int) -> np.ndarray:
    return (measured["rule_accuracy"] > 0.9) & (measured["memorization"] < 0.1)


def _window_is_shut(measured: Measured, level: float, alphabet: int) -> np.ndarray:
    return (measured["rule_accuracy"] <= 0.9) | (measured["memorization"] >= 0.1)


CRITERIA: dict[str, Criterion] = {
    criterion.name: criterion
    for criterion in (
        Criterion(
            "tau_rule",
            "among the generations that are no copies of training samples, rule accuracy of at least 0.9, or 0.85 with "
            "more than two symbols; at least 20 of them",
            ("rule_accuracy", "memorization"),
            _obeys_without_copies,
        ),
        Criterion(
            "tau_mem",
            "memorization above the null of copying by a tenth of what is left to 1, at two evaluations in a row",
            ("memorization",),
            _copies,
            patience=2,
            level="null",
        ),
        Criterion(
            "tau_rule_all",
            "rule accuracy of whole samples of at least 0.9, or 0.85 with more than two symbols (Fig. 21, 22)",
            ("rule_accuracy",),
            _obeys,
        ),
        Criterion(
            "tau_mem_chance",
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
