"""Reading a folder that a stranger may have made: no link is followed, and no size, type or depth is believed.

What is allocated is bounded by the size of the file that is there, and that by what a run can have written.
"""

from __future__ import annotations

import io
import json
import math
import os
import stat
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class DamagedFile(ValueError):
    """A file of a run that cannot be what was written: cut short, altered, or of an unknown format."""


def read_regular(path: str | Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        DamagedFile: a link, a pipe or a device, or larger than the limit.
        OSError: no such file, or one that cannot be read.
    """
    _check_regular(path, os.lstat(path))  # before opening: to open a device can do something
    # O_NONBLOCK: opening a pipe would wait for a writer that never comes
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        facts = os.fstat(file.fileno())
        _check_regular(path, facts)
        content = b"" if facts.st_size > limit else file.read(facts.st_size + 1)
    if facts.st_size > limit or len(content) > limit:
        raise DamagedFile(f"{printable(path)} is larger than {limit:,} bytes, more than a run can have written")
    return content


def _check_regular(path: str | Path, facts: os.stat_result) -> None:
    if stat.S_ISLNK(facts.st_mode):
        raise DamagedFile(f"{printable(path)} is a symbolic link; put the file itself there")
    if not stat.S_ISREG(facts.st_mode):
        raise DamagedFile(f"{printable(path)} is not a regular file")


def own_folder(path: str | Path, make: bool = False) -> Path:
    """The path of a folder inside another, unless it is a link, by which a stranger's folder would reach elsewhere.

    Args:
        path: the folder; it may be missing.
        make: make it where it is missing.

    Raises:
        DamagedFile: a link, or no folder.
    """
    path = Path(path)
    if make and not os.path.lexists(path):
        path.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        raise DamagedFile(f"{printable(path)} is a symbolic link; put a folder there, or remove it")
    if path.exists() and not path.is_dir():
        raise DamagedFile(f"{printable(path)} is not a folder")
    return path


def read_json_object(path: str | Path, limit: int) -> tuple[dict[str, Any], bytes]:
    """The JSON object of a file of at most `limit` bytes, and its text.

    Raises:
        DamagedFile: missing, unreadable, too large, or not a JSON object.
    """
    try:
        content = read_regular(path, limit)
        value = load_json(content)
    except DamagedFile:
        raise
    except ValueError as fault:
        raise DamagedFile(printable(f"{path} is not valid JSON ({fault})")) from None
    except OSError as fault:
        raise DamagedFile(f"{printable(path)} cannot be read ({fault.strerror})") from None
    if not isinstance(value, dict):
        raise DamagedFile(f"{printable(path)} is not a JSON object")
    return value, content


def load_json(content: bytes) -> Any:
    """What JSON says; ValueError for anything else, nested too deeply included."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_arrays(path: Path, limit: int, kinds: str = "bui") -> dict[str, np.ndarray]:
    """The arrays of an .npz file that `np.savez` wrote: never compressed, so never a bomb.

    Args:
        path: of the file.
        limit: bytes that it may have.
        kinds: of numbers that it may hold, as numpy names them: by default whole ones and booleans.

    Raises:
        DamagedFile: missing, or anything else than such a file of at most `limit` bytes.
    """
    try:
        content = read_regular(path, limit)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > 16:
                raise ValueError(f"{len(entries)} arrays")
            if packed := [e for e in entries if e.compress_type != zipfile.ZIP_STORED or e.file_size > len(content)]:
                raise ValueError(f"{packed[0].filename[:60]!r} is compressed")
            return {entry.filename.removesuffix(".npy"): _array(archive.read(entry), kinds) for entry in entries}
    except DamagedFile:
        raise
    except FileNotFoundError:
        raise DamagedFile(f"{printable(path)} is missing") from None
    except (ValueError, TypeError, LookupError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile) as fault:
        what = "numbers" if "f" in kinds else "grids of symbols"
        raise DamagedFile(printable(f"{path} does not hold {what} ({fault})")) from None


def _array(content: bytes, kinds: str) -> np.ndarray:
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of an unknown format")
    shape, by_columns, kind = np.lib.format.read_array_header_1_0(stream)
    size = len(content) - stream.tell()
    if kind.kind not in kinds or kind.hasobject or by_columns:
        raise ValueError(f"an array of type {kind}, not of {'numbers' if 'f' in kinds else 'whole numbers'}")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != size:
        raise ValueError(f"an array of {size} bytes cannot have the shape {str(shape)[:60]}")
    return np.frombuffer(content, kind, offset=stream.tell()).reshape(shape).copy()


class TensorHeader(NamedTuple):
    """What a safetensors file says of itself."""

    shapes: dict[str, tuple[int, ...]]
    note: dict[str, Any]  # what `write_tensors` was told to note; empty in files that were written without


_ITEM = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LONGEST_HEADER = 2**22
NOTE = "twoclocks"
"""The key of the note in a safetensors header."""


def tensor_header(path: Path) -> TensorHeader:
    """The header of a safetensors file, held against the length of the file; reads nothing else of it.

    Raises:
        DamagedFile: cut short, a link, or with a header that no run wrote.
        OSError: no such file.
    """
    facts = os.lstat(path)
    _check_regular(path, facts)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_LONGEST_HEADER, facts.st_size - 8):
                raise ValueError("it is cut short, or its header has an absurd length")
            entries = load_json(file.read(length))
        if not isinstance(entries, dict):
            raise ValueError("its header is not a JSON object")
        note = entries.pop("__metadata__", {})
        shapes, end = {}, 0
        for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            shape = tuple(entry["shape"])
            if not all(type(n) is int and 0 <= n < 2**48 for n in shape) or len(shape) > 8:
                raise ValueError(f"tensor {name[:60]!r} has an impossible shape")
            if entry["data_offsets"] != [end, end := end + math.prod(shape) * _ITEM[entry["dtype"]]]:
                raise ValueError(f"tensor {name[:60]!r} does not lie where it must")
            shapes[name] = shape
        if 8 + length + end != facts.st_size:
            raise ValueError("it is cut short")
        noted = load_json(note[NOTE].encode()) if NOTE in note else {}
        if not isinstance(noted, dict):
            raise ValueError("its note is not a JSON object")
    except (ValueError, TypeError, LookupError, AttributeError) as fault:
        raise DamagedFile(printable(f"{path} does not hold tensors ({type(fault).__name__}: {fault})")) from None
    return TensorHeader(shapes, noted)


def printable(text: object) -> str:
    """A name fit for a message: what could steer a terminal is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(text))


def brief(value: Any) -> str:
    """A value for a message; never the whole of a huge one."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__} of {len(value)}"
    text = str(value)[:60] if not isinstance(value, int) or abs(value) < 10**60 else "a huge number"
    return printable(text)
