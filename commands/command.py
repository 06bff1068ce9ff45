"""What commands share: plugins, a limit of time, and a word on where the results lie when one is interrupted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import tyro

from ..empirics.interrupts import Terminated
from ..empirics.time_limit import TimeOver, parse_duration, time_limit

Precision = Literal["auto", "fp32", "bf16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command with its options; called once they are parsed and the plugins are loaded."""

    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers rules, model families or presets of your own; may be given several times"""

    def __call__(self) -> None:
        """Do it. ValueError and OSError become one line and exit status 2."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingCommand(Command):
    """A command that trains, and can be held to a time."""

    max_time: str | None = None
    """end after so long, such as 480 (seconds), 8m or 1h30m, with all runs saved; the same command continues"""

    def limited(self) -> AbstractContextManager[None]:
        """Within: the time that was asked for, from now. ValueError for a text that is no time."""
        return time_limit(None if self.max_time is None else parse_duration(self.max_time))


@contextmanager
def if_interrupted(note: str) -> Iterator[None]:
    """Where the results lie, should what is inside be interrupted: the line that `main` then prints ends with it."""
    try:
        yield
    except (KeyboardInterrupt, Terminated, TimeOver) as interruption:
        interruption.add_note(note)
        raise
