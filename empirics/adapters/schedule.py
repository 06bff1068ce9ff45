"""When to evaluate: geometric steps give onsets to the same relative precision early and late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

Generate = Callable[[Any], Any]
"""Lets a model generate, for `Clocks.see`: symbols (n, D), or images that the clocks' encoding reads."""


def geometric_steps(first: int = 10, ratio: float = 1.2) -> Iterator[int]:
    """first, about first * ratio, first * ratio^2, ...: whole steps, each later than the one before, without end.

    Raises:
        ValueError: first below 1, or a ratio not above 1.
    """
    if first < 1 or not ratio > 1:
        raise ValueError(f"the first step must be at least 1 and the ratio above 1, got {first} and {ratio}")
    step, exact = first, float(first)
    while True:
        yield step
        exact *= ratio
        step = max(step + 1, round(exact))


class Due:
    """Whether an evaluation is due, for loops that report every step: true once at or after each step of a schedule."""

    def __init__(self, steps: Iterator[int]) -> None:
        self._steps = steps
        self._next = next(steps)

    def __call__(self, step: int) -> bool:
        if step < self._next:
            return False
        while self._next <= step:
            self._next = next(self._steps)
        return True


class Evaluating:
    """A model in evaluation mode for the time of a `with`, and then as it was."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.training = model, model.training

    def __enter__(self) -> nn.Module:
        return self.model.eval()

    def __exit__(self, *error: object) -> None:
        self.model.train(self.training)
