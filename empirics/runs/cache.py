"""The Parquet file in which a folder keeps its runs as read, and which may come from a stranger."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..versions import own_version
from .files import temporaries, write_atomically
from .foreign_files import read_regular

FOLDER, FILE = ".twoclocks-cache", "runs.parquet"
METRIC = "metric:"
"""Begins the names of the columns that list a metric of all evaluations of a run."""

_FORMAT = 2
_KEY = b"twoclocks"
_A_RUN = 2**20  # bytes that the rows of one run may take


def read_cache(folder: Path, schema: pa.Schema, prints: dict[str, str], metrics: bool) -> pa.Table | None:
    """The rows of the runs whose fingerprint still holds; None when there is no sound cache with any.

    Args:
        folder: the folder that was searched.
        schema: the columns that are not metrics.
        prints: relative path and fingerprint of each run found.
        metrics: also the metrics.
    """
    path = folder / FOLDER / FILE
    if not _is_plain_folder(path.parent):
        return None
    try:
        most = 2 * len(prints) + 64  # rows; more were never written for these runs, and would only fill the memory
        file = pq.ParquetFile(pa.BufferReader(read_regular(path, _A_RUN * most)))
        facts = file.metadata
        sizes = [facts.row_group(k).total_byte_size for k in range(min(facts.num_row_groups, most))]
        if facts.num_row_groups > most or facts.num_rows > most or sum(sizes) > _A_RUN * most:
            return None
        stored = file.schema_arrow
        lists = [field for field in stored if field.name.startswith(METRIC)]
        sound = (
            (stored.metadata or {}).get(_KEY) == _stamp()
            and pa.schema([f for f in stored if f not in lists]).equals(schema.remove_metadata())
            and all(field.type == pa.large_list(pa.float64()) for field in lists)
        )
        if not sound:
            return None
        # First the keys alone: nothing else is read of a cache that is not of these files.
        keys = file.read(columns=["run", "fingerprint"])
        runs, marks = keys.column("run").to_pylist(), keys.column("fingerprint").to_pylist()
        keep = [prints.get(run) == mark for run, mark in zip(runs, marks, strict=True)]
        if not any(keep) or len(set(runs)) != len(runs):
            return None
        table = file.read(columns=[*schema.names, *(f.name for f in lists if metrics)])
        table = table.replace_schema_metadata()
        table = table if all(keep) else table.filter(pa.array(keep))
        counts = table.column("evaluations")
        lengths = [pc.list_value_length(table.column(f.name)).fill_null(counts) for f in lists if metrics]
        return table if all(length.equals(counts) for length in lengths) else None
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError):
        return None


def write_cache(folder: Path, table: pa.Table) -> None:
    """Keep the table, or do nothing where the folder cannot be written."""
    target = folder / FOLDER
    with contextlib.suppress(OSError):
        target.mkdir(exist_ok=True)
        if _is_plain_folder(target):
            buffer = io.BytesIO()
            pq.write_table(table.replace_schema_metadata({_KEY: _stamp()}), buffer, compression="zstd")
            write_atomically(target / FILE, buffer.getvalue())
            for left in temporaries(target, older=3600):
                left.unlink()


def _stamp() -> bytes:
    """A cache of another version is of no use: it may lack onsets, or define them otherwise."""
    return f"{_FORMAT} {own_version()}".encode()


def _is_plain_folder(path: Path) -> bool:
    """Whether it is a folder, and not a link by which a stranger's folder would reach into another."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
