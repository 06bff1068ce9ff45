"""Runs that are too many and too large to commit, as what is committed of them: light runs, and two tables to read.

``runs-N.zip`` holds the light runs (`empirics/sweeps/light.py`): laid out in a folder they are ended runs, which no
sweep trains again and which figures and reports read. ``runs.csv`` has a row for each of them, with its clocks and
where it was trained, and ``evaluations.csv`` a row for each evaluation: what it generated, counted.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from ..empirics import Run, load_run
from ..empirics.runs.files import write_atomically, write_table
from ..empirics.statistics.claim_trends import SETTINGS
from ..empirics.sweeps.folders import run_name
from ..empirics.sweeps.light import Members, light_run, read_archives, unpack_runs, write_archives
from .shared.clock_tables import IDENTITY, onset_table
from .store import RESULTS, changed_fields

SCALE = RESULTS / "paper_scale"
"""Where runs of the paper's scale are committed."""


def bring(runs: Path, folder: Path = SCALE) -> list[str]:
    """Lay out the committed runs in a folder of runs; the names of those that were not there yet."""
    return unpack_runs(read_archives(sorted(folder.glob("runs-*.zip"))), runs)


def collect(trained: Path, folder: Path = SCALE) -> int:
    """Add the runs that have ended under `trained` to the committed ones; how many there are now.

    Raises:
        ValueError: a run in a folder that is not named after its configuration.
    """
    members = read_archives(sorted(folder.glob("runs-*.zip")))
    runs, evaluations = read_tables(folder)
    known = run_names(members)
    fresh = [run for run in ended_under(trained) if run.path.name not in known]
    for run in fresh:
        if run_name(run.config) != run.path.name:
            raise ValueError(f"{run.path} holds a run of another configuration; choose another folder of runs")
        members |= light_run(run)
    if not fresh and known:
        return len(known)
    folder.mkdir(parents=True, exist_ok=True)
    if members:
        write_archives(folder, members, "runs", most=99)
    write_table(folder / "runs.csv", _sorted(runs, [run_row(run) for run in fresh], ["name"]))
    counted = [counted_evaluations(run) for run in fresh]
    write_table(folder / "evaluations.csv", _sorted(evaluations, counted, ["name", "step"]))
    return len(run_names(members))


def write_figures(members: Members, preset: str, data: Path) -> list[str]:
    """Lay out the tables of figures that an archive holds for a preset; the folders that were written."""
    written = {}
    for name, content in members.items():
        kind, of, *rest = name.split("/")
        if kind == "figures" and of == preset:
            path = data.joinpath(of, *rest)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
            written[str(path.parent)] = True
    return list(written)


def read_tables(folder: Path = SCALE) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The committed tables, runs and evaluations; empty ones where nothing is committed yet."""
    tables = [folder / name for name in ("runs.csv", "evaluations.csv")]
    if not all(path.exists() for path in tables):
        return pd.DataFrame({"name": []}), pd.DataFrame({"name": []})
    runs, evaluations = (pd.read_csv(path) for path in tables)
    return runs, evaluations


def ended_under(trained: Path) -> list[Run]:
    """The runs in a folder that have ended, by name; not those in its quarantine."""
    return [load_run(path.parent) for path in sorted(trained.glob("*/result.json"))]


def run_names(members: Members) -> set[str]:
    """The runs that an archive holds."""
    return {name.split("/")[1] for name in members if name.startswith("runs/")}


def run_row(run: Run) -> dict[str, object]:
    """What is kept of a run besides its evaluations: identity, clocks (intervals, in steps), where it was trained."""
    result = run.result
    (onsets,) = onset_table([run]).to_dict("records")
    return {
        "name": run.path.name,
        **{name: onsets[name] for name in IDENTITY},
        **{name: getattr(run.config, name) for name in ("n_eval", *SETTINGS)},
        "status": result["status"],
        "steps": result["steps"],
        "chance": result["chance"],
        "null": run.null,
        "rung": result["null"]["rung"],
        "null_error": result["null"]["standard_error"],
        **{str(name): value for name, value in onsets.items() if str(name).startswith("tau_")},
        "seconds": result["seconds"],
        "device": result["device"],
        "precision": result["precision"],
        "environment": json.dumps(result["environment"]),
        "config": json.dumps(changed_fields(run.config)),
    }


def counted_evaluations(run: Run) -> pd.DataFrame:
    """A row for each evaluation: name, step, how many generations were in each state, and the training loss."""
    losses = run.metrics[["step", "loss"]].round({"loss": 6})
    counted = run.state_counts.merge(losses, on="step")
    counted.insert(0, "name", run.path.name)
    return counted


def _sorted(table: pd.DataFrame, rows: list, by: list[str]) -> pd.DataFrame:
    """With more rows, as mappings or tables; in an order that does not depend on which run ended first."""
    more = [row if isinstance(row, pd.DataFrame) else pd.DataFrame([row]) for row in rows]
    both = pd.concat([*([table] if len(table) else []), *more], ignore_index=True) if more else table
    return both.sort_values(by, kind="stable").reset_index(drop=True) if len(both) else both
