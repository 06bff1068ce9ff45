"""A probe: one way to look into a run that has ended, measured apart from being drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from ..discovery import offered

if TYPE_CHECKING:
    from ..families import Family
    from ..runs.run import Run
    from ..statistics.claims import ClaimVerdict

Tables = Mapping[str, pd.DataFrame]
"""What a probe measured, by name. `dissect` keeps each as NAME.csv, but for names that begin with an underscore."""


def _no_claims(tables: Tables, run: Run) -> list[ClaimVerdict]:
    return []


@dataclass(frozen=True)
class Probe:
    """One probe. `dissect` asks every probe that serves a run's family; a figure of one's own may ask one alone.

    Attributes:
        name: a word.
        title: what it shows, in one line.
        measure: (run, **options) -> tables, from the run's weights and generations.
        draw: (tables, run) -> figures by name, each kept as NAME.png; called inside `figure_style`.
        channels: those whose networks it looks into: "gaussian", "prefix", "mask"; all of them where it is empty.
        options: which options of `dissect` its `measure` takes, such as ``n_noises``.
        judge: (tables, run) -> verdicts on claims.
    """

    name: str
    title: str
    measure: Callable[..., Tables]
    draw: Callable[[Tables, Run], Mapping[str, Figure]]
    channels: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    judge: Callable[[Tables, Run], list[ClaimVerdict]] = _no_claims

    def serves(self, family: Family) -> bool:
        """Whether it can look into the networks of a family."""
        return not self.channels or family.channel in self.channels


def probes() -> dict[str, Probe]:
    """Every probe by its name: those in the ``PROBES`` of this folder's modules, and registered ones."""
    return {**_own_probes(), **_registered}


def register_probe(added: Probe) -> None:
    """Make a probe of one's own part of every `dissect` in this process.

    Raises:
        ValueError: its name is taken or is no plain word.
    """
    if not added.name.isidentifier() or added.name in probes():
        raise ValueError(f"a probe's name is a word that no other probe has, got {added.name!r}")
    _registered[added.name] = added


@cache
def _own_probes() -> dict[str, Probe]:
    found = offered(__package__ or "", "PROBES").values()
    return {probe.name: probe for several in found for probe in several}


_registered: dict[str, Probe] = {}
