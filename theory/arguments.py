"""Numbers that callers pass, checked where they come in: one line names the value, the allowed range and the fix."""

from __future__ import annotations

import math

import numpy as np


def whole_number(name: str, value: object, least: int = 0, most: int | None = None) -> int:
    """An int from a whole number, also one held in a float, a NumPy or a torch scalar; a truth value is none.

    Args:
        name: what it is called in the message.
        value: the number.
        least, most: the allowed range, ends included; most may be left open.

    Raises:
        ValueError: anything else.
    """
    number = _scalar(value)
    whole = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
    if isinstance(number, bool) or not whole or not least <= number or (most is not None and number > most):  # type: ignore[operator]
        allowed = f"of at least {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name} must be a whole number {allowed}, got {value!r}")
    return int(number)  # type: ignore[call-overload]


def probability(name: str, value: object) -> float:
    """A float in 0..1.

    Raises:
        ValueError: anything else, NaN and truth values too.
    """
    number = _scalar(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
        raise ValueError(f"{name} must be a number in 0..1 (divide a percentage by 100), got {value!r}")
    return float(number)


def real_number(name: str, value: object) -> float:
    """A float that is not NaN, from any real number; a truth value is none.

    Raises:
        ValueError: anything else.
    """
    number = _scalar(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or math.isnan(number):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(number)


def _scalar(value: object) -> object:
    """The Python number in a NumPy or torch scalar."""
    return value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value  # type: ignore[arg-type]
