"""The report of `masked_clocks`, from its tables and those of the figures."""

from __future__ import annotations

from pathlib import Path

COMMAND = "python -m twoclocks.paper_figures.studies.masked_clocks"


def write_report(folder: Path) -> None:
    """report.md and clocks.png beside runs.csv, from it and from the figures' tables."""
