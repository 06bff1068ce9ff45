"""The measured data of a figure: one folder of Parquet tables with a record of how they were made."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..empirics import Run, RunConfig, load_run
from ..empirics.runs.run import environment
from ..empirics.sweeps.folders import run_name
from ..empirics.versions import own_version

Data = Mapping[str, pd.DataFrame]
"""Tables by name; what `compute` of a figure returns and `plot` draws."""


RESULTS = Path(__file__).parent / "results"
OWN = Path("figures-data")
"""Where data are computed from an installed package, which is nobody's place to write to: in the present folder."""
FROM_SOURCE = (
    "an installed package holds no measured tables: get them by"
    " `pip download --no-deps --no-binary twoclocks twoclocks`, unpack the file,"
    " and name its folder by --data twoclocks-{version}/paper_figures/results"
)
"""How to get the tables where there is no clone; the source distribution holds them."""


def results_folder(preset: str, number: int) -> Path:
    """Where the committed data of a figure lie."""
    return figure_folder(RESULTS, preset, f"fig{number:02d}")


def figure_folder(data: Path, preset: str, stem: str) -> Path:
    """Where the data of an exhibit lie in a data folder."""
    return data / preset / stem


def written_data(data: Path | None = None) -> Path:
    """The data folder to write to: the one given; else a clone's own results, or OWN outside a clone."""
    if data is not None:
        return data
    return RESULTS if (RESULTS.parents[1] / ".git").exists() else OWN


def drawn_folder(preset: str, stem: str, data: Path | None = None) -> Path:
    """The folder whose data are drawn: in the data folder given; else in OWN where there are any, or committed.

    Committed ones are in a clone alone.
    """
    if data is not None:
        return figure_folder(data, preset, stem)
    own = figure_folder(OWN, preset, stem)
    return own if any(own.glob("*.parquet")) else figure_folder(RESULTS, preset, stem)


def check_writable(folder: Path, fix: str) -> None:
    """Make a folder, and make sure that files can be written there.

    Raises:
        ValueError: they cannot; the message ends with the fix.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise ValueError(f"{folder} cannot be written ({fault.strerror}); {fix}") from None


def existing_runs(configs: Iterable[RunConfig], folder: Path) -> dict[RunConfig, Run]:
    """Those of some runs that have ended in a folder of runs, by their configs; light runs too.

    A run of which a figure needs weights (`checkpoint_ratio` of 1) counts only with its weights.
    """
    found = {}
    for config in dict.fromkeys(configs):
        path = folder / run_name(config)
        if (path / "result.json").exists():
            run = load_run(path)
            if config.checkpoint_ratio > 1 or "weights" not in run.left_out:
                found[config] = run
    return found


def write_data(folder: Path, data: Data, runs: Sequence[Run], seconds: float, command: str, **facts: Any) -> None:
    """Write the tables of a figure and `provenance.json`: command, configs, versions, wall time.

    Args:
        folder: made if missing; tables of an earlier computation are removed.
        data: the tables.
        runs: the training runs that they come from.
        seconds: wall time of the computation beside training.
        command: that makes the tables again.
        facts: what else is recorded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.parquet"):
        old.unlink()
    for name, table in data.items():
        table.to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")
    write_provenance(folder, runs, command, seconds=round(seconds, 1), **facts)


def write_provenance(folder: Path, runs: Sequence[Run], command: str, **facts: Any) -> None:
    """Write `provenance.json`: command, runs, their configs, time, device and precision, versions, further facts."""
    record: dict[str, Any] = {
        "command": command,
        "runs": len(runs),
        "training_seconds": round(sum(float(run.result["seconds"]) for run in runs)),
        **facts,
        "hardware": [dict(kind) for kind in dict.fromkeys(tuple(run.hardware.items()) for run in runs)],
        **environment(),
        "configs": [changed_fields(run.config) for run in runs],
    }
    (folder / "provenance.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_data(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables that `write_data` wrote.

    Raises:
        ValueError: there are none.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        there = "" if RESULTS.exists() else f"; {FROM_SOURCE.format(version=own_version())}"
        raise ValueError(f"no data in {folder}; make them with --recompute{there}")
    return {file.stem: pd.read_parquet(file) for file in files}


def read_provenance(folder: Path) -> dict[str, Any]:
    """How the data of a folder were made."""
    return dict(json.loads((folder / "provenance.json").read_text(encoding="utf-8")))


def changed_fields(config: RunConfig) -> dict[str, Any]:
    """The fields of a config that differ from the defaults."""
    default = RunConfig().to_dict()
    return {name: value for name, value in config.to_dict().items() if value != default[name]}
