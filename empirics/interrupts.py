"""Ctrl-C and SIGTERM end a training between two steps, when its state can be saved."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """SIGTERM came; where nobody handles it, the process exits with status 143, as the shell expects.

    Args:
        text: what was saved.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(128 + signal.SIGTERM)
        self.text = text

    def __str__(self) -> str:
        return self.text


def raise_terminated(number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
    """A handler of SIGTERM that raises `Terminated`."""
    raise Terminated


@contextmanager
def terminable() -> Iterator[None]:
    """Within, SIGTERM raises `Terminated`, so that what is under way ends as by Ctrl-C.

    Only in the main thread, which alone can arrange that, and not over a handler of the caller's.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


_of_threads: set[Interrupts] = set()  # of trainings outside the main thread, which no signal reaches


def stop_threads() -> None:
    """Let the trainings in threads of this process end as by SIGTERM: each between two steps, its state saved."""
    for interrupts in list(_of_threads):
        interrupts.came = signal.SIGTERM


class Interrupts:
    """Which signal has come, if any."""

    def __init__(self, notice: bool) -> None:
        self.notice = notice
        self.came = 0

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The handler: the first signal is remembered, the second acts at once."""
        if self.came:
            _act(number)
        self.came = number
        if self.notice:
            print("\nstopping at the end of this step; once more to stop at once", file=sys.stderr, flush=True)

    def act(self, text: str) -> None:
        """Raise for the signal that has come: KeyboardInterrupt or `Terminated`, with what was saved as its text."""
        number, self.came = self.came, 0
        _act(number, text)


@contextmanager
def deferred(notice: bool) -> Iterator[Interrupts]:
    """While inside, Ctrl-C and SIGTERM are remembered, to be acted on by `Interrupts.act`, or else at the end.

    Only in the main thread, and only where the signals do what they do by default: handlers of the caller stay. In
    other threads `stop_threads` has the effect of SIGTERM.

    Args:
        notice: tell on stderr that the signal has come.
    """
    interrupts = Interrupts(notice)
    usual = {signal.SIGINT: (signal.default_int_handler,), signal.SIGTERM: (signal.SIG_DFL, raise_terminated)}
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in usual}
        before = {number: handler for number, handler in before.items() if handler in usual[number]}
    else:
        _of_threads.add(interrupts)
    for number in before:
        signal.signal(number, interrupts.receive)
    try:
        yield interrupts
    finally:
        _of_threads.discard(interrupts)
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupts.came:
        interrupts.act("")


def _act(number: int, text: str = "") -> None:
    if number == signal.SIGTERM:
        raise Terminated(text)
    raise KeyboardInterrupt(*([text] if text else []))
