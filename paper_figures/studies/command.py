"""What the command of a study does: train and measure, unless the tables are to stay as they are, then report."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ...empirics import Run
from ...empirics.interrupts import terminable
from ...empirics.time_limit import TimeOver, parse_duration, time_limit
from ..exhibit import study
from ..store import check_writable, write_provenance

Measured = tuple[Sequence[Run], dict[str, pd.DataFrame]]
"""The runs of a study, and its tables by name."""


def run_study(
    doc: str, folder: Path, command: str, measure: Callable[[], Measured], write_report: Callable[[Path], None]
) -> None:
    """Write the tables as CSV, provenance.json and the report into a folder; ``--report-only`` writes the report alone,
    and ``--max-time 8m`` ends the training after so long, to be continued by the same command.

    Args:
        doc: the study's docstring, whose first line describes the command.
        folder: made if missing.
        command: that makes all this again, for the record.
        measure: trains what is missing and makes the tables.
        write_report: from the folder's tables alone.
    """
    options = argparse.ArgumentParser(description=doc.splitlines()[0])
    options.add_argument("--report-only", action="store_true", help="only make the report again, from committed data")
    options.add_argument("--max-time", type=parse_duration, help="end after so long, such as 8m; the same call goes on")
    asked = options.parse_args()
    folder.mkdir(parents=True, exist_ok=True)
    if not asked.report_only:
        try:
            with terminable(), time_limit(asked.max_time):
                _write_tables(folder, command, measure)
        except TimeOver as over:
            print(f"{over}; the same command continues")
            return
    write_report(folder)


def draw_study(name: str, out: Path, recompute: bool = False) -> Path:
    """Write a study's tables and report into a folder of its name, from the committed tables or measured again.

    Args:
        name: of one of `studies`.
        out: where the folder is made.
        recompute: train what is missing and measure again.

    Returns:
        The report.
    """
    chosen, folder = study(name), out / name
    check_writable(folder, "choose another folder for the report (--out)")
    if recompute:
        _write_tables(folder, chosen.COMMAND, chosen.measure)
    elif not chosen.RESULTS.is_dir():
        raise ValueError(f"the tables of {name} are in a clone, not in the wheel; --recompute measures them, in hours")
    else:
        for file in chosen.RESULTS.iterdir():
            if file.suffix in (".csv", ".json"):
                shutil.copyfile(file, folder / file.name)
    chosen.write_report(folder)
    return folder / "report.md"


def _write_tables(folder: Path, command: str, measure: Callable[[], Measured]) -> None:
    runs, tables = measure()
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    write_provenance(folder, runs, command)
