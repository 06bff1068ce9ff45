"""What all commands share: plugins, and a word on where the results lie when one is interrupted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import tyro

from ..empirics.interrupts import Terminated

Precision = Literal["auto", "fp32", "bf16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command with its options; called once they are parsed and the plugins are loaded."""

    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers rules, model families or presets of your own; may be given several times"""

    def __call__(self) -> None:
        """Do it. ValueError and OSError become one line and exit status 2."""
        raise NotImplementedError


@contextmanager
def if_interrupted(note: str) -> Iterator[None]:
    """Where the results lie, should what is inside be interrupted: the line that `main` then prints ends with it."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as interruption:
        interruption.add_note(note)
        raise
