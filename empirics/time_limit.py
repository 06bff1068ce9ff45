"""A limit on the time that training may take: what runs out of it is saved, and continued by the same call.

Like Ctrl-C and SIGTERM (`interrupts.py`) it belongs to all that is called within, so that a figure's sweep obeys the
limit of the command that draws the figure.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_UNTIL: ContextVar[float | None] = ContextVar("until", default=None)
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_LONGEST = 366 * 86400.0


class TimeOver(Exception):
    """The time is over before the work is; what was done is saved, and the text says how to continue."""


def parse_duration(text: str) -> float:
    """Seconds from 480, 8m, 1h30m or 90s.

    Raises:
        ValueError: no such text, or not from 1 s to a year.
    """
    plain = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        seconds = float(plain)
    elif plain and (parts := re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", plain)):
        seconds = sum(float(part or 0) * unit for part, unit in zip(parts.groups(), _UNITS.values(), strict=True))
    else:
        raise ValueError(f"a time is seconds, or such as 8m, 1h30m, 90s; got {text!r}")
    if not 1 <= seconds <= _LONGEST:
        raise ValueError(f"a time must lie between 1s and 366d, got {text!r}")
    return seconds


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Within, trainings end when the time is over: `train` returns its run unfinished, and `sweep` starts no more runs.

    Of limits within each other, the one that ends first holds.

    Args:
        seconds: from now; None for no limit.
    """
    with limited_until(None if seconds is None else time.time() + seconds):
        yield


@contextmanager
def limited_until(moment: float | None) -> Iterator[None]:
    """`time_limit` as a moment of `time.time`, which workers on other machines share; None changes nothing."""
    before = _UNTIL.get()
    ends = [end for end in (before, moment) if end is not None]
    token = _UNTIL.set(min(ends, default=None))
    try:
        yield
    finally:
        _UNTIL.reset(token)


def time_ends() -> float | None:
    """The moment of `time.time` when the time is over; None without a limit."""
    return _UNTIL.get()


def time_left() -> float:
    """Seconds left; inf without a limit."""
    end = _UNTIL.get()
    return float("inf") if end is None else end - time.time()
