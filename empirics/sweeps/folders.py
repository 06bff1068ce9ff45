"""The folder of a run in a sweep: its name, its condition, its lock, and quarantine for a damaged one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ...theory import rule
from ..config import RunConfig, difference
from ..runs.files import DamagedFile, read_lines, read_symbols
from ..runs.folder import QUARANTINE
from ..runs.run import Run, load_run

LOCKS = ".locks"
"""Where a worker locks the run that it trains, beside the runs."""

ENDED = ("finished", "stopped", "diverged")


class Condition(NamedTuple):
    """What a run folder holds."""

    status: str  # "new", "unfinished", "damaged", or one of ENDED
    step: int  # of the last evaluation
    fault: str  # why it is damaged


def run_name(config: RunConfig) -> str:
    """The folder name of a run, the same in every sweep: model, rule, N, seed, and a hash of the whole config.

    The hash is of the fields that differ from their defaults, so that a field added to RunConfig renames no run.
    """
    defaults = RunConfig().to_dict()
    values = {name: value for name, value in config.to_dict().items() if value != defaults[name]}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
    readable = f"{config.model}-{config.rule[:60]}-N={config.n_train}-seed={config.seed}"
    return f"{re.sub(r'[^A-Za-z0-9=+]+', '-', readable)}-{digest}"


@cache
def rule_size(spec: str) -> tuple[int, int]:
    """Cells of a rule's grid, and how many grids are valid; kept, for some rules take seconds to build."""
    built = rule(spec)
    return built.dim, built.support_size


def check_name(name: str) -> None:
    """ValueError unless a name can be a run folder beside others."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9=+,._-]*", name) or name == QUARANTINE:
        raise ValueError(f"a run cannot be named {name!r}; use letters, digits and = + , . _ -")


def condition(folder: Path, config: RunConfig) -> Condition:
    """What is in the folder of a run that was asked for with this config.

    Reads the config, the result, every line of metrics and the training set; of the bulk (generations, weights) only
    whether each file is there and whole, so that hundreds of ended runs are looked through in seconds.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return Condition("damaged", 0, f"{folder} is not a folder of its own")
    if not (folder / "config.json").exists():
        left = [name for name in ("result.json", "metrics.jsonl") if (folder / name).exists()]
        return (
            Condition("damaged", 0, f"{folder} has {left[0]} but no config.json") if left else Condition("new", 0, "")
        )
    step = 0
    try:
        run = load_run(folder)
        if run.config != config:
            raise DamagedFile(
                f"{folder / 'config.json'} is not the config that was asked for: {difference(run.config, config)}"
            )
        lines = list(read_lines(folder / "metrics.jsonl"))
        steps = [int(line["step"]) for line in lines]
        if steps != sorted(set(steps)) or not all(isinstance(line["seconds"], int | float) for line in lines):
            raise DamagedFile(f"{folder / 'metrics.jsonl'} does not hold one evaluation a line")
        step = steps[-1] if steps else 0
        _check_archive(folder / "training_set.npz")
        if read_symbols(folder / "training_set.npz")[0].shape != (config.n_train, rule_size(config.rule)[0]):
            raise DamagedFile(f"{folder / 'training_set.npz'} does not hold {config.n_train} grids")
        _check_bulk(run, steps)
        if (folder / "result.json").exists():
            _check_result(run, step)
        elif len(steps) > 1 and not run.state_steps:  # a state is kept after every evaluation
            raise DamagedFile(f"{folder} has neither a result nor a training state to resume from")
        return Condition(run.status, step, "")
    except OSError as fault:
        if not isinstance(fault, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise  # the disk or the network, not the folder
        return Condition("damaged", step, f"{fault.filename}: {fault.strerror}")
    except DamagedFile as fault:
        return Condition("damaged", step, " ".join(str(fault).split()))
    except Exception as fault:  # whatever a wrong value in a file leads to
        return Condition("damaged", step, " ".join(f"{folder}: {type(fault).__name__}: {fault}".split()))


def quarantine(folder: Path) -> Path:
    """Move a damaged run folder aside, to quarantine/NAME-1 or the first number that is free; where it is now."""
    place = folder.parent / QUARANTINE
    place.mkdir(exist_ok=True)
    number = 1
    while os.path.lexists(target := place / f"{folder.name}-{number}"):
        number += 1
    folder.rename(target)
    return target


@contextmanager
def hold(folder: Path) -> Iterator[bool]:
    """Lock a run while its folder is written; yields whether the lock was free.

    The lock is the system's (flock) on a file beside the runs: it ends with the process that holds it, however that
    dies, so that no lock is ever stale. NFS keeps it too (version 4, or 3 with its lock service), across machines.

    Raises:
        OSError: the file system keeps no locks, or cannot be written.
    """
    path = folder.parent / LOCKS / f"{folder.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        if not _lock(file.fileno(), path):
            yield False
            return
        file.truncate(0)
        file.write(f"{socket.gethostname()} {os.getpid()}\n")  # for people
        file.flush()
        yield True


def is_held(folder: Path) -> bool:
    """Whether some process, on whatever machine, holds the lock of a run."""
    path = folder.parent / LOCKS / f"{folder.name}.lock"
    if not path.exists():
        return False
    with open(path, "a") as file:
        return not _lock(file.fileno(), path)


def _lock(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as fault:
        message = f"cannot lock {path} ({fault.strerror}): choose an --out on a file system that keeps locks"
        raise OSError(fault.errno, message) from None


def _check_bulk(run: Run, steps: list[int]) -> None:
    """DamagedFile unless each evaluation's generations, and the weights kept so far, are there and whole."""
    for step in steps:
        _check_archive(run.path / "samples" / f"step-{step:010d}.npz")
    # Weights newer than the newest state were being written when the run was killed; resuming writes them again.
    last = max(run.state_steps, default=-1) if not run.result else max(run.checkpoint_steps, default=-1)
    for step in run.checkpoint_steps:
        if step <= last:
            _check_tensors(run.path / "checkpoints" / f"weights-{step:010d}.safetensors")


def _check_archive(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise DamagedFile(f"{path} is missing or cut short")


def _check_tensors(path: Path) -> None:
    """DamagedFile unless a safetensors file is as long as its header says, with a digest beside it."""
    digest = path.with_suffix(".sha256")
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length)) if 0 < length < size else {}
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if not ends or 8 + length + max(ends) != size:
        raise DamagedFile(f"{path} is cut short")
    if not digest.is_file() or digest.stat().st_size != 64:
        raise DamagedFile(f"{path} is incomplete: {digest.name} is missing or cut short")


def _check_result(run: Run, last_step: int) -> None:
    """DamagedFile unless the result of an ended run has all that a table of runs reads, and fits the metrics."""
    result, where = run.result, run.path / "result.json"
    if run.status not in ENDED:
        raise DamagedFile(f"{where}: unknown status {run.status!r}")
    for name in ("chance", "group_chance", "seconds", "steps"):
        if not isinstance(result[name], int | float):
            raise DamagedFile(f"{where}: {name} is not a number")
    if set(run.onsets) != {"tau_rule", "tau_mem"}:
        raise DamagedFile(f"{where}: a clock is missing")
    if result["status"] == "finished" and result["steps"] != run.config.steps:
        raise DamagedFile(f"{where}: finished after {result['steps']} of {run.config.steps} steps")
    if result["status"] != "diverged" and last_step != result["steps"]:
        raise DamagedFile(f"{run.path / 'metrics.jsonl'} ends at step {last_step}, the run at step {result['steps']}")
