"""What a worker does, wherever it is: train one run in its folder. Arguments and answer are plain values."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..hardware import resolve_device
from ..plugins import load_installed_plugins, load_plugins
from ..runs.files import write_atomically
from ..runs.foreign_files import DamagedFile, own_folder
from ..runs.lock import FolderInUse, hold
from ..runs.reading import UNFINISHED
from ..time_limit import limited_until, time_left
from ..training import train
from .folders import ENDED, condition, quarantine

_ONE_A_PROCESS = threading.Lock()  # torch's number of threads belongs to the process, and matters to bits on a CPU


def train_run(
    values: dict[str, Any],
    folder: str,
    tensorboard: bool = False,
    plugins: Sequence[str] = (),
    until: float | None = None,
) -> dict[str, Any]:
    """Start, resume or skip the run of a folder.

    Args:
        values: the config, as `RunConfig.to_dict` gives it.
        folder: of the run, on a file system that all workers share.
        tensorboard: see `train`.
        plugins: the files that define the rule, from `loaded_plugins`.
        until: the moment when the time is over, from `time_ends`.

    Returns:
        ``status``: finished, stopped or diverged; unfinished where the time is over; ``"busy"`` when another process
        trains this run; ``"failed"``.
        ``error``: what went wrong, in one line; the whole text is in the folder's error.txt.
        ``again``: whether to try again a run that failed.
        ``notes``: a line for each damaged folder that was moved aside.
    """
    try:
        load_installed_plugins()
        load_plugins(plugins)
    except ValueError as fault:  # as where a worker does not see the file
        return {"status": "failed", "error": " ".join(str(fault).split()), "again": False, "notes": []}
    config, path = RunConfig.from_dict(values), Path(folder)
    with nullcontext() if _shares_a_gpu(config) else _ONE_A_PROCESS, limited_until(until):
        if time_left() <= 0:
            return {"status": UNFINISHED, "error": "", "again": True, "notes": []}
        try:
            return _train(config, path, tensorboard)
        except FolderInUse:
            return {"status": "busy", "error": "", "again": True, "notes": []}


def _shares_a_gpu(config: RunConfig) -> bool:
    try:
        return resolve_device(config.device).startswith("cuda")
    except ValueError:  # `train` refuses it
        return False


def write_error(folder: Path, text: str) -> None:
    """Keep what went wrong in the run's folder, as error.txt; nothing where that is no folder of its own."""
    with contextlib.suppress(DamagedFile):
        write_atomically(own_folder(folder, make=True) / "error.txt", text.encode(errors="backslashreplace"))


def _train(config: RunConfig, folder: Path, tensorboard: bool) -> dict[str, Any]:
    notes: list[str] = []
    answer = {"status": "failed", "error": "", "again": True, "notes": notes}
    for _ in range(2):  # a second time after a damaged folder was moved aside
        found = condition(folder, config)
        if found.status in ENDED:
            return {**answer, "status": found.status}
        try:
            if found.status == "damaged":
                raise DamagedFile(found.fault)
            run = train(config, folder, resume=True, progress=False, tensorboard=tensorboard)
            (folder / "error.txt").unlink(missing_ok=True)
            return {**answer, "status": run.status}
        except DamagedFile as fault:
            if moved := _set_aside(folder, config, found.status == "damaged"):
                notes.append(f"{' '.join(str(fault).split())}; moved to {moved} and redone")
            answer["error"] = str(fault)
        except FolderInUse:
            raise
        except Exception as fault:
            write_error(folder, traceback.format_exc())
            final = isinstance(fault, ValueError)  # an impossible config stays impossible
            return {**answer, "error": f"{type(fault).__name__}: {' '.join(str(fault).split())}", "again": not final}
    return answer


def _set_aside(folder: Path, config: RunConfig, look_again: bool) -> Path | None:
    """Move a damaged folder aside; None where it was only seen half-way through a write of another process."""
    if folder.is_symlink() or not folder.is_dir():
        return quarantine(folder)
    with hold(folder):  # FolderInUse: whoever trains there now will see to it
        return None if look_again and condition(folder, config).status != "damaged" else quarantine(folder)
