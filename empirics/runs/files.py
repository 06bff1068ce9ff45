"""Files that survive a crash: written under a temporary name, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from safetensors.torch import save as safetensors_save
from torch import Tensor

from .foreign_files import NOTE, DamagedFile, TensorHeader, printable, read_arrays, read_regular, tensor_header

_TEMPORARY = re.compile(r"\..+-[0-9a-f]{16}")
_SYMBOLS_LIMIT = 2**33


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


def temporaries(folder: Path, older: float = 0.0) -> Iterator[Path]:
    """What `write_atomically` left in a folder when it was killed.

    Args:
        folder: where to look, not below it.
        older: seconds since it was last written; where others may write at this moment, leave them some.
    """
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(facts.st_mode) and facts.st_mtime <= time.time() - older:
                    yield folder / entry.name


def write_json(path: Path, value: Any) -> None:
    """A JSON file, atomically."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A table as CSV without its index, atomically."""
    write_atomically(path, table.to_csv(index=False, lineterminator="\n").encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: dict[str, Any] | None = None) -> None:
    """Named tensors as safetensors, atomically, with a SHA-256 of the file beside it.

    Args:
        path: of the file.
        tensors: by name.
        note: kept in the file's header, such as the step that the tensors are of.
    """
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    # One key: safetensors would write several in an order that changes from call to call.
    content = safetensors_save(plain, None if note is None else {NOTE: json.dumps(note)})
    # The digest first: from the moment that the file is there it is whole.
    write_atomically(digest_path(path), hashlib.sha256(content).hexdigest().encode())
    write_atomically(path, content)


def read_tensors(path: Path, largest: int = 2**36) -> tuple[dict[str, Tensor], TensorHeader]:
    """The tensors that `write_tensors` wrote, and the header of their file, with the note.

    Args:
        path: of the file.
        largest: bytes that it may have.

    Raises:
        DamagedFile: missing, cut short, too large, or altered since.
    """
    try:
        digest = read_regular(digest_path(path), 64)
        content = read_regular(path, largest)
    except FileNotFoundError as fault:
        raise DamagedFile(
            f"{printable(path)} is incomplete: {printable(Path(fault.filename).name)} is missing"
        ) from None
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise DamagedFile(f"{printable(path)} does not match its SHA-256: it was cut short or altered")
    header = tensor_header(path)
    try:
        return safetensors_load(content), header
    except SafetensorError as fault:
        raise DamagedFile(printable(f"{path} does not hold tensors ({fault})")) from None


def remove_tensors(path: Path) -> None:
    """Delete what `write_tensors` wrote."""
    path.unlink(missing_ok=True)
    digest_path(path).unlink(missing_ok=True)


def append_line(path: Path, line: bytes) -> None:
    """One more line, flushed to the disk.

    Raises:
        OSError: the disk is full, or a link is at its place.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(path, flags, 0o666), "ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def write_symbols(path: Path, x: np.ndarray, alphabet: int, **flags: np.ndarray) -> str:
    """Grids (n, D) of symbols with boolean flags (n,), bit-packed for two symbols; returns the file's SHA-256."""
    symbols = np.packbits(x.astype(np.uint8), axis=1) if alphabet == 2 else x.astype(np.uint8)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"symbols": symbols, "dim": np.array(x.shape[1]), "alphabet": np.array(alphabet), **flags}
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def read_symbols(
    path: Path, rows: int | None = None, dim: int | None = None, alphabet: int | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Grids int64 (n, D) and flags that `write_symbols` wrote.

    Args:
        path: of the file.
        rows, dim, alphabet: n, D and Q that it must have; by default any.

    Raises:
        DamagedFile: missing, or anything else than such grids.
    """
    limit = _SYMBOLS_LIMIT if rows is None or dim is None else 2**16 + rows * (dim + 8)
    values = read_arrays(path, limit)
    try:
        width, symbols_of, symbols = int(values.pop("dim")), int(values.pop("alphabet")), values.pop("symbols")
        packed = symbols_of == 2
        if symbols.ndim != 2 or symbols.dtype != np.uint8 or symbols.shape[1] != (-(-width // 8) if packed else width):
            raise ValueError(f"symbols of shape {symbols.shape} for {width} cells")
        found, wanted = (len(symbols), width, symbols_of), (rows, dim, alphabet)
        if any(want is not None and have != want for have, want in zip(found, wanted, strict=True)):
            raise ValueError(
                f"{len(symbols)} grids of {width} cells and {symbols_of} symbols, not {rows} of {dim} and {alphabet}"
            )
        if any(flag.shape != (len(symbols),) or flag.dtype != bool for flag in values.values()):
            raise ValueError("flags of another length or type")
        x = np.unpackbits(symbols, axis=1, count=width) if packed else symbols
        if x.size and x.max() >= symbols_of:
            raise ValueError(f"the symbol {x.max()}, beyond {symbols_of} symbols")
        return x.astype(np.int64), values
    except (ValueError, TypeError, KeyError) as fault:
        raise DamagedFile(printable(f"{path} does not hold grids of symbols ({fault})")) from None


def write_samples(path: Path, **arrays: np.ndarray) -> str:
    """Arrays of floats, bytes or booleans by name; returns the file's SHA-256."""
    buffer = io.BytesIO()
    contiguous: dict[str, Any] = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    np.savez(buffer, **contiguous)
    write_atomically(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def read_samples(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of these names that `write_samples` wrote.

    Raises:
        DamagedFile: missing, other arrays, or anything but float32, bytes and booleans.
    """
    arrays = read_arrays(path, _SYMBOLS_LIMIT, kinds="bfu")
    known = (np.dtype(np.float32), np.dtype(np.uint8), np.dtype(bool))
    if set(arrays) != set(names) or any(array.dtype not in known for array in arrays.values()):
        raise DamagedFile(f"{printable(path)} does not hold the arrays {', '.join(names)}")
    return arrays


def digest_path(path: Path) -> Path:
    """Where the SHA-256 of a file of tensors is kept."""
    return path.with_suffix(".sha256")


def _flush_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
