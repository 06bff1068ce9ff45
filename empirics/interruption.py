"""Ctrl-C and SIGTERM during training: held back until a step is whole, and its state saved, for a resume."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Answer = Callable[[Callable[[], None]], None]
"""Called between two steps with what saves the state: does nothing, or saves and lets the signal act."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_between_steps() -> Iterator[Answer]:
    """Hold Ctrl-C and SIGTERM back inside; the yielded function, called between steps, saves and lets them act.

    They then act as they would have without this: Ctrl-C raises KeyboardInterrupt, SIGTERM ends the process or does
    what its handler says. A second one acts at once. Where a signal is ignored, or this is not the main thread, nothing
    is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda save: None
        return
    came: list[int] = []
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    held = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]

    def hold(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            act()
        if multiprocessing.parent_process() is None:
            print("twoclocks: saving after this step; once more to stop at once", file=sys.stderr)

    def act() -> None:
        """Let the first signal do what it would have done; it may also return, as where a handler only takes notes."""
        number = came[0]
        came.clear()
        signal.signal(number, before[number])
        signal.raise_signal(number)
        signal.signal(number, hold)

    def answer(save: Callable[[], None]) -> None:
        if came:
            save()
            act()

    for number in held:
        signal.signal(number, hold)
    try:
        yield answer
    finally:
        for number in held:
            signal.signal(number, before[number])
    if came:  # after the last question
        signal.raise_signal(came[0])
