"""The folder of a run in a sweep: its name, its condition, and quarantine for a damaged one."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from ..config import RunConfig, difference
from ..runs.folder import QUARANTINE
from ..runs.foreign_files import DamagedFile, own_folder
from ..runs.lock import LOCK
from ..runs.run import load_run
from ..runs.writing import blocks_a_start

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


def check_name(name: str) -> None:
    """ValueError unless a name can be a run folder beside others."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9=+,._-]*", name) or name == QUARANTINE:
        raise ValueError(f"a run cannot be named {name!r}; use letters, digits and = + , . _ -")


def condition(folder: Path, config: RunConfig) -> Condition:
    """What is in the folder of a run that was asked for with this config.

    Reads the config, the result, every line of metrics, the training set and the generations; of the weights only
    whether each file is whole and of its step, so that hundreds of ended runs are looked through in seconds.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return Condition("damaged", 0, f"{folder} is not a folder of its own")
    step = 0
    try:
        if not os.path.lexists(folder / "config.json"):
            if left := blocks_a_start(folder):
                raise DamagedFile(f"{folder} has {left} but no config.json")
            return Condition("new", 0, "")
        run = load_run(folder)
        if run.config != config:
            raise DamagedFile(
                f"{folder / 'config.json'} is not the config that was asked for: {difference(run.config, config)}"
            )
        steps = run.read().evaluations.steps
        step = steps[-1] if steps else 0
        _ = run.train_set
        run.check_bulk()
        if not run.ended and len(steps) > 1 and not run.state_steps:  # a state is kept after every evaluation
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
    place = own_folder(folder.parent / QUARANTINE, make=True)
    number = 1
    while os.path.lexists(target := place / f"{folder.name}-{number}"):
        number += 1
    folder.rename(target)
    if target.is_dir() and not target.is_symlink():
        (target / LOCK).unlink(missing_ok=True)  # the caller's own, which belongs to the folder that comes next
    return target
