"""The folder of a run's weights and training states: each file is bound to the config and to its step by a note."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from .evaluations import scheduled
from .files import digest_path, read_tensors
from .foreign_files import DamagedFile, own_folder, printable, tensor_header
from .reading import RunRecord

_NOTED = {"config": "run", "step": "step", "evaluations": "history: metrics.jsonl is not what it was when it was saved"}


def checkpoint_path(run: Path, kind: str, step: int) -> Path:
    """Where the "weights" or the "state" of a step are kept in a run's folder; DamagedFile where a link leads away."""
    return own_folder(run / "checkpoints") / f"{kind}-{step:010d}.safetensors"


def kept_steps(run: Path, kind: str) -> list[int]:
    """The steps whose "weights" or "state" are kept, ascending."""
    folder = own_folder(run / "checkpoints")
    names = os.listdir(folder) if folder.exists() else ()
    matches = (re.fullmatch(rf"{kind}-(\d{{10,13}})\.safetensors", name) for name in names)
    return sorted(int(match[1]) for match in matches if match)


def state_files(run: Path, orphans: bool) -> list[Path]:
    """The files of training states with their digests; or the digests alone that belong to no state any more."""
    folder = own_folder(run / "checkpoints")
    names = os.listdir(folder) if folder.exists() else ()
    found = [folder / name for name in names if re.fullmatch(r"state-\d{10,13}\.(safetensors|sha256)", name)]
    return [path for path in found if not orphans or not path.with_suffix(".safetensors").exists()]


def check_weights(run: Path, record: RunRecord, step: int, shapes: dict[str, tuple[int, ...]] | None = None) -> None:
    """DamagedFile unless the weights of a step are there and as long as they say, of this run and of this step.

    Reads the header alone, so that hundreds of files are looked through in seconds.

    Args:
        run: folder of the run.
        record: what else is in it.
        step: of a checkpoint.
        shapes: of the tensors that it must hold; by default any.
    """
    path = checkpoint_path(run, "weights", step)
    try:
        header, digest = tensor_header(path), os.lstat(digest_path(path))
    except FileNotFoundError as fault:
        name = printable(Path(fault.filename).name)
        raise DamagedFile(f"{printable(path)} is incomplete: {name} is missing or cut short") from None
    if digest.st_size != 64:
        raise DamagedFile(f"{printable(path)} is incomplete: {digest_path(path).name} is missing or cut short")
    if header.note or record.evaluations.bound:
        _check_note(path, header.note, {"config": record.config_digest, "step": step})
    if shapes is not None and header.shapes != shapes:
        name = min(n for n in shapes.keys() | header.shapes.keys() if shapes.get(n) != header.shapes.get(n))
        raise DamagedFile(
            f"{printable(path)}: tensor {printable(name)[:80]!r} has shape {header.shapes.get(name)}, not the "
            f"{shapes.get(name)} of {record.config.model}"
        )


def read_state(run: Path, record: RunRecord, step: int, largest: int) -> dict[str, Tensor]:
    """The training state of a step.

    Args:
        run: folder of the run.
        record: what else is in it.
        step: whose state is kept.
        largest: bytes that it may have.

    Raises:
        DamagedFile: it was altered, is of another run or step, or was saved after evaluations that are lost or edited.
    """
    path, evaluations = checkpoint_path(run, "state", step), record.evaluations
    tensors, header = read_tensors(path, largest)
    due = scheduled(record.config, step)
    if evaluations.steps[: len(due)] != due:
        raise DamagedFile(
            f"{printable(path)} was saved after the evaluation at step {due[-1]}, which metrics.jsonl lacks"
        )
    if header.note or evaluations.bound:
        wanted = {"config": record.config_digest, "step": step, "evaluations": evaluations.digest_at(step)}
        _check_note(path, header.note, wanted)
    elif "counts" in tensors and int(tensors["counts"][0]) != step:
        raise DamagedFile(f"{printable(path)} is of step {int(tensors['counts'][0])}")
    return tensors


def _check_note(path: Path, note: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if note.get(name) != value:
            raise DamagedFile(f"{printable(path)} is of another {_NOTED[name]}")
