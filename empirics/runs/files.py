"""Files that survive a crash: written under a temporary name, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load as safetensors_load
from safetensors.torch import save as safetensors_save
from torch import Tensor


class DamagedFile(ValueError):
    """A file of a run that cannot be what was written: cut short, altered, or of an unknown format."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file as a whole: after a crash it holds the old content or the new, never a part.

    A link at its place is replaced, not followed, and no name that someone may have planted is written to.

    Raises:
        OSError: the disk is full or not writable; the old file is intact.
    """
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:  # refuses a name that exists
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as fault:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if not isinstance(fault, OSError):
            raise
        raise OSError(
            fault.errno, f"could not write {path} ({fault.strerror}); what was there before is intact"
        ) from None
    _flush_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, atomically."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file; DamagedFile when it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as fault:
        raise DamagedFile(f"{path} is not valid JSON ({fault})") from None


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Named tensors as safetensors, atomically, with a SHA-256 of the file beside it."""
    content = safetensors_save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})
    write_atomically(path, content)
    write_atomically(_digest_path(path), hashlib.sha256(content).hexdigest().encode())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors that `write_tensors` wrote.

    Raises:
        DamagedFile: missing, cut short, or altered since.
    """
    try:
        content = path.read_bytes()
        digest = _digest_path(path).read_bytes()
    except FileNotFoundError as fault:
        raise DamagedFile(f"{path} is incomplete: {Path(fault.filename).name} is missing") from None
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise DamagedFile(f"{path} does not match its SHA-256: it was cut short or altered")
    return safetensors_load(content)


def remove_tensors(path: Path) -> None:
    """Delete what `write_tensors` wrote."""
    _digest_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def append_line(path: Path, value: dict[str, Any]) -> None:
    """One more line of JSON, flushed to the disk."""
    with open(path, "ab") as file:
        file.write((json.dumps(value) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that `append_line` wrote; a last line cut short by a crash is left out.

    Raises:
        DamagedFile: any other line is not a JSON object.
    """
    content = path.read_bytes() if path.exists() else b""
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):  # after the last newline there is only a cut line, or nothing
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ValueError("not an object")
        except ValueError as fault:
            raise DamagedFile(f"{path}, line {number}: {fault}") from None
        yield value


def write_symbols(path: Path, x: np.ndarray, alphabet: int, **flags: np.ndarray) -> None:
    """Grids (n, D) of symbols with boolean flags (n,), bit-packed where the alphabet has two symbols."""
    symbols = np.packbits(x.astype(np.uint8), axis=1) if alphabet == 2 else x.astype(np.uint8)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"symbols": symbols, "dim": np.array(x.shape[1]), "alphabet": np.array(alphabet), **flags}
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_symbols(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Grids int64 (n, D) and flags that `write_symbols` wrote; DamagedFile for anything else."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            values = dict(stored)
        dim, alphabet, symbols = int(values.pop("dim")), int(values.pop("alphabet")), values.pop("symbols")
        x = np.unpackbits(symbols, axis=1, count=dim) if alphabet == 2 else symbols
        return x.astype(np.int64), values
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as fault:
        raise DamagedFile(f"{path} does not hold grids of symbols ({fault})") from None


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _flush_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
