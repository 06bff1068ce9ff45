"""What can be shown: figures of the paper, studies beside them, and exhibits of one's own; files are found by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Protocol, cast

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from .presets import Preset
from .store import Data

Name = int | str
"""The number of a figure of the paper, or the name of an exhibit of one's own."""


Parts = tuple[
    Callable[[Preset], list[RunConfig]],
    Callable[[Preset, list[Run]], dict[str, pd.DataFrame]],
    Callable[[Data], Figure],
]
"""The functions `configs`, `compute` and `plot` of an `Exhibit`."""


class Exhibit(Protocol):
    """A figure with the runs behind it: what each file figNN.py offers, and what `register_exhibit` takes.

    One whose other tables follow from its table `runs` may offer `derived(runs)` for them, by which they are made again
    when the clocks of its runs are judged anew (`studies/rejudged.py`).
    """

    PAPER: str
    """what the paper's figure claims, in one line"""
    MISSING: str
    """what of it ours lacks, for the gallery; empty for nothing"""

    def configs(self, preset: Preset) -> list[RunConfig]:
        """The training runs that the figure needs; other figures may share them."""

    def compute(self, preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
        """The figure's tables, from its runs in the order of `configs`."""

    def plot(self, data: Data) -> Figure:
        """The figure, from its tables."""

    def measured(self, data: Data) -> str:
        """What ours shows: numbers with intervals and runs, and whether it agrees, in one line."""


class Study(Protocol):
    """An experiment with a report: what a file in studies/ offers."""

    RESULTS: Path
    """the folder of its committed tables and report"""
    COMMAND: str
    """what makes them again"""
    measure: Callable[[], tuple[Sequence[Run], dict[str, pd.DataFrame]]]
    """trains what is missing and makes the tables"""
    write_report: Callable[[Path], None]
    """writes the report into a folder, from the tables there"""


def exhibits() -> dict[Name, Exhibit]:
    """Every figure of the paper by its number, in order, then the registered ones by name."""
    return {number: figure_module(number) for number in FIGURES} | dict(_registered)


def figure_module(name: Name) -> Exhibit:
    """The exhibit of a number or name; ValueError for one that there is not."""
    if name in _registered:
        return _registered[str(name)]
    if name not in FIGURES:
        own = f", and {', '.join(_registered)}" if _registered else ""
        raise ValueError(f"the paper has figures 1 to {FIGURES[-1]}{own}, not {name}")
    return cast(Exhibit, import_module(f".{stem(name)}", __package__))


def register_exhibit(name: str, exhibit: Exhibit) -> None:
    """Make a figure of one's own one that `twoclocks figure NAME` computes and draws.

    Args:
        name: a word, also of its files.
        exhibit: any object, such as a module, with the functions of `Exhibit`.

    Raises:
        ValueError: the name is taken or no plain word, or a function is missing.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in (*_registered, *studies(), "all"):
        raise ValueError(f"an exhibit's name is a free word of small letters, got {name!r}")
    if missing := [part for part in ("configs", "compute", "plot") if not callable(getattr(exhibit, part, None))]:
        raise ValueError(f"the exhibit {name!r} lacks the function {missing[0]}")
    _registered[name] = exhibit


def studies() -> dict[str, str]:
    """The studies: the module of each by the name that a command takes."""
    folder = Path(__file__).parent / "studies"
    offering = [path.stem for path in sorted(folder.glob("*.py")) if "\ndef measure(" in path.read_text("utf-8")]
    return {name.replace("_", "-"): name for name in offering}


def study(name: str) -> Study:
    """The study of a name; ValueError for one that there is not."""
    if name not in studies():
        raise ValueError(f"no study {name!r}; there are {', '.join(studies())}")
    return cast(Study, import_module(f".studies.{studies()[name]}", __package__))


def stem(name: Name) -> str:
    """What the files of an exhibit are called."""
    return name if isinstance(name, str) else f"fig{name:02d}"


FIGURES: tuple[int, ...] = tuple(
    sorted(int(module.name[3:]) for module in iter_modules([str(Path(__file__).parent)]) if module.name[3:].isdecimal())
)
"""The numbers of the paper's figures that have a file here."""
_registered: dict[str, Exhibit] = {}
