"""The null of copying of runs whose result does not state it, found again from what fixes their training set."""

from __future__ import annotations

from functools import cache

from ..theory import chance_memorization, null_of_copying, rule
from .data import training_set
from .references import references_of

LARGEST = 2**22
"""The most valid grids of a rule whose null is found again: a folder of many runs must load in seconds per run."""


@cache
def null_again(spec: str, n_train: int, seed: int) -> float:
    """The null of copying of a run by its rule, N and seed; chance for rules beyond 2^22 valid grids.

    Raises:
        ValueError: an unknown rule, or N beyond its support.
    """
    built = rule(spec)
    if built.support_size > LARGEST:
        return chance_memorization(built, n_train)
    train = training_set(built, n_train, seed)
    return null_of_copying(built, train, references_of(built, train)).memorization
