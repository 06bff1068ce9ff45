"""Runs tables from files: text in columns, JSON, Parquet, Feather. What may be read in two ways is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .delimited_text import Cells, read_delimited
from .runs_table import as_numbers, intervals_from_steps, onset_names
from .written_numbers import Marks, find_marks

LINE = "line"
"""Name of an index that holds each run's line in its file."""

_MOST_BYTES = 2**28
_MOST_JSON = 2**26  # an empty object takes thirty times its text
_MOST_CELLS = 100_000_000
_KNOWN = re.compile(r"\w+_(?:lower|upper)|seed|n_train|rule|model")
_TRUTHS = {"true": True, "false": False}


def read_runs_csv(
    path: str | os.PathLike[str],
    tau: str | None = None,
    grid_ratio: float | None = None,
    grid_step: float | None = None,
    last_step: float | str | None = None,
) -> pd.DataFrame:
    """Read a runs table; ``inf`` is an upper end beyond the last evaluation.

    Text in columns may be separated by commas, semicolons, tabs or bars, with decimal points or commas, in UTF-8,
    UTF-16 or UTF-32. JSON (records, columns or split), JSON lines, Parquet and Feather are told by their content, as is
    a file compressed by gzip, bzip2 or xz. Names are stripped of blanks, and ``NA`` and ``None`` are text.

    Args:
        path: a file with at least one pair of columns ``NAME_lower``, ``NAME_upper``, and ``seed``.
        tau: a single column with the first evaluation that meets the criterion, inf where none does. Its lower and
            upper ends are made from the grid of evaluations: give the grid's ratio or its step.
        grid_ratio: of the steps of successive evaluations: the onset lies in (tau / grid_ratio, tau].
        grid_step: steps between evaluations: the onset lies in (tau - grid_step, tau].
        last_step: of training, a number or a column: a run whose tau is inf is censored there.

    Returns:
        The table, with float64 onset columns and `n_train`. `check_runs` says whether it can be fitted.

    Raises:
        ValueError: not a table, no onset columns, or a cell that should hold a number; names line and column. Also what
            may be read in two ways, and files of more than 256 MiB (JSON: 64).
        OSError: no such file, or one that cannot be read.
    """
    return read_runs_by_line(path, tau, grid_ratio, grid_step, last_step).reset_index(drop=True)


def read_runs_by_line(
    path: str | os.PathLike[str],
    tau: str | None = None,
    grid_ratio: float | None = None,
    grid_step: float | None = None,
    last_step: float | str | None = None,
) -> pd.DataFrame:
    """As `read_runs_csv`, indexed by the line of each run where the file has lines, so that messages name it."""
    name = os.fspath(path)
    try:
        df = _table(_content(path), tau)
        if df.empty:
            raise ValueError("it holds no runs")
        if tau is not None or grid_ratio is not None or grid_step is not None:
            df = intervals_from_steps(df, tau, grid_ratio, grid_step, last_step)
        if not onset_names(df):
            raise ValueError(_no_onset(df))
        if "seed" not in df.columns:
            raise ValueError("it has no column 'seed': a label that tells the runs of a cell apart")
        for column in _numeric(df):
            df[column] = as_numbers(df, column)
    except ValueError as fault:
        raise ValueError(f"{name}: {' '.join(str(fault).split())}") from None
    return df


def _content(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file, unpacked, at most `_MOST_BYTES` of them."""
    with open(path, "rb") as file:
        content = _at_most(file)
    openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    for magic, unpack in openers.items():
        if content.startswith(magic):
            try:
                with unpack(io.BytesIO(content)) as file:
                    return _at_most(file)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as fault:
                raise ValueError(f"it is compressed and damaged: {fault}") from None
    return content


def _at_most(file: Any) -> bytes:
    content: bytes = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it holds more than {_MOST_BYTES >> 20} MiB; keep the columns and runs that the fit needs")
    return content


def _table(content: bytes, tau: str | None) -> pd.DataFrame:
    if content[:4] == b"PAR1":
        return _named(_arrow(content, _read_parquet, "Parquet"))
    if content[:6] == b"ARROW1":
        return _named(_arrow(content, pd.read_feather, "Feather"))
    if content[:2] == b"PK":
        raise ValueError("it is an Excel workbook or a zip archive; save the sheet as CSV")
    text = _text(content)
    if text.lstrip()[:1] in ("{", "["):
        if len(text) > _MOST_JSON:
            raise ValueError(
                f"it holds more than {_MOST_JSON >> 20} MiB of JSON; save so large a table as CSV or Parquet"
            )
        return _named(_json(text))
    return _typed(read_delimited(text, _KNOWN), tau)


def _read_parquet(buffer: io.BytesIO) -> pd.DataFrame:
    """The table, unless it unpacks to more cells than memory should hold."""
    import pyarrow.parquet as pq

    facts = pq.ParquetFile(buffer).metadata
    if facts.num_rows * facts.num_columns > _MOST_CELLS:
        raise ValueError(f"{facts.num_rows:,} rows of {facts.num_columns} columns; keep what the fit needs")
    return pd.read_parquet(buffer)


def _arrow(content: bytes, read: Any, kind: str) -> pd.DataFrame:
    try:
        df: pd.DataFrame = read(io.BytesIO(content))
    except Exception as fault:  # of many kinds: pyarrow's own, KeyError, struct.error
        raise ValueError(
            f"it is no readable {kind} file: {str(fault).splitlines()[0] if str(fault) else fault!r}"
        ) from None
    named = [level for level in df.index.names if level is not None]
    return df.reset_index(level=named).reset_index(drop=True) if named else df.reset_index(drop=True)


def _text(content: bytes) -> str:
    """Text in the encoding that its first bytes tell, or UTF-8."""
    marks = {
        b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
        b"\xef\xbb\xbf": "utf-8-sig",
    }  # fmt: skip
    encoding = next((name for mark, name in marks.items() if content.startswith(mark)), None)
    if encoding is None:  # letters of a header without a mark: where their zero bytes lie tells the width and the order
        zeros = "".join("0" if byte == 0 else "x" for byte in content[:4])
        widths = {"x0x0": "utf-16-le", "0x0x": "utf-16-be", "x000": "utf-32-le", "000x": "utf-32-be"}
        encoding = widths.get(zeros, "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as fault:
        if b"\x00" in content[:4096] and encoding == "utf-8":
            raise ValueError("it is a binary file, not a table; use CSV, JSON, Parquet or Feather") from None
        line = content[: fault.start].count(b"\n") + 1
        advice = (
            "save it as UTF-8, such as by: iconv -f WINDOWS-1252 -t UTF-8" if encoding == "utf-8" else "save it anew"
        )
        raise ValueError(f"line {line}: byte {content[fault.start]:#x} is not {encoding}; {advice}") from None
    if "\x00" in text:
        raise ValueError("it is a binary file, not a table; use CSV, JSON, Parquet or Feather")
    return text


def _json(text: str) -> pd.DataFrame:
    """A table from JSON as pandas writes it (records, columns, list, split, table, index), or from JSON lines."""
    try:
        document = _parse(text)
    except json.JSONDecodeError as fault:
        if not fault.msg.startswith("Extra data"):
            raise ValueError(f"line {fault.lineno} is no JSON: {fault.msg}") from None
        return _json_lines(text)
    if isinstance(document, dict):
        if "schema" in document and isinstance(document.get("data"), list):
            document = document["data"]
        elif isinstance(document.get("columns"), list) and isinstance(document.get("data"), list):
            return _rows(document["columns"], document["data"])
    if isinstance(document, list):
        return _records(document, [f"run {k}" for k in range(len(document))])
    values = list(document.values())
    if values and all(isinstance(value, list) for value in values):
        if len({len(value) for value in values}) > 1:
            lengths = ", ".join(f"{name}: {len(value)}" for name, value in document.items())
            raise ValueError(f"its columns have different lengths ({lengths})")
        return _frame(document)
    if values and all(isinstance(value, dict) for value in values):
        by_column = any(_KNOWN.fullmatch(name.strip()) for name in document)
        table = {column: dict(cells) for column, cells in document.items()}
        if by_column:
            labels = list(dict.fromkeys(label for cells in values for label in cells))
            return _frame({column: [cells.get(label) for label in labels] for column, cells in table.items()})
        return _records(values, [f"run {label}" for label in document])
    return _records([document], ["run 0"])


def _json_lines(text: str) -> pd.DataFrame:
    records, lines = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            records.append(_parse(line))
        except json.JSONDecodeError as fault:
            raise ValueError(f"line {number} is no JSON: {fault.msg}") from None
        lines.append(number)
    table = _records(records, [f"line {number}" for number in lines])
    table.index = pd.Index(lines, name=LINE)
    return table


def _parse(text: str) -> Any:
    def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
        return table

    def number(written: str) -> float:
        if np.isinf(value := float(written)):
            raise ValueError(f"{written} is beyond the range of numbers; write inf in quotes for a censored run")
        return value

    def whole(written: str) -> int | float:
        return int(written) if len(written) < 300 else number(written)

    try:
        return json.loads(text, object_pairs_hook=no_twins, parse_float=number, parse_int=whole)
    except RecursionError:
        raise ValueError("it nests too deep for a table") from None


def _records(records: Sequence[Any], places: Sequence[str]) -> pd.DataFrame:
    for record, place in zip(records, places, strict=True):
        if not isinstance(record, dict):
            raise ValueError(f"{place} is no object with a value for each column: {str(record)[:40]}")
    names = list(dict.fromkeys(name for record in records for name in record))
    return _frame({name: [record.get(name) for record in records] for name in names})


def _rows(names: Sequence[Any], rows: Sequence[Any]) -> pd.DataFrame:
    for k, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise ValueError(f"run {k} has not one value for each of the {len(names)} columns")
    return _frame({str(name): [row[k] for row in rows] for k, name in enumerate(names)})


def _frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    for name, values in columns.items():
        if any(isinstance(value, dict | list) for value in values):
            raise ValueError(f"{name} holds lists or objects, not one value for each run")
    return pd.DataFrame(columns)


def _named(df: pd.DataFrame) -> pd.DataFrame:
    """The table with names stripped of blanks, each there once."""
    df.columns = pd.Index([str(name).strip() for name in df.columns])
    if (twice := df.columns.duplicated()).any():
        raise ValueError(f"two columns are called {df.columns[twice][0]!r}; rename one")
    return df


def _typed(cells: Cells, tau: str | None) -> pd.DataFrame:
    """Numbers where all of a column's cells are numbers, else text; onsets and N must be numbers."""
    names = cells.names
    strict = [*_numeric(pd.DataFrame(columns=names)), *([tau] if tau in names else [])]
    first: dict[str, str] = {}  # onsets and N show the marks: other columns may be labels, such as 1,2 for two rules
    for name in dict.fromkeys([*strict, *(name for name in names if name.startswith("tau"))]):
        for line, text in zip(cells.lines, cells.columns[names.index(name)], strict=True):
            if text not in first:
                first[text] = f"line {line}: {name}"
    marks = find_marks(((place, text) for text, place in first.items()), wary=cells.separator != ",")
    columns: dict[str, Any] = {}
    for name, column in zip(names, cells.columns, strict=True):
        if name in strict:
            columns[name] = _all_numbers(name, column, cells.lines, marks)
        else:
            columns[name] = _typed_column(column, marks)
    return pd.DataFrame(columns, index=pd.Index(cells.lines, name=LINE))


def _all_numbers(name: str, column: list[str], lines: list[int], marks: Marks) -> np.ndarray:
    known: dict[str, float] = {}
    values = np.empty(len(column))
    for k, text in enumerate(column):
        if text not in known:
            hint = "; write inf for a censored run" if not name.endswith("_lower") and name != "n_train" else ""
            try:
                value = marks.number(text)
            except ValueError as fault:
                raise ValueError(f"line {lines[k]}: {name} {fault}{hint}") from None
            if value is None:
                said = f"is {text!r}, not a number" if text else "is missing"
                raise ValueError(f"line {lines[k]}: {name} {said}{hint}")
            known[text] = value
        values[k] = known[text]
    return values


def _typed_column(column: list[str], marks: Marks) -> Any:
    distinct = set(column) - {""}
    if distinct and all(re.fullmatch(r"[+-]?[0-9]{1,18}", text) for text in distinct):
        whole = {text: int(text) for text in distinct}
        return [whole[text] for text in column] if "" not in column else [whole.get(text, np.nan) for text in column]
    if distinct and {text.lower() for text in distinct} <= set(_TRUTHS) and "" not in column:
        return [_TRUTHS[text.lower()] for text in column]
    numbers: dict[str, float | None] = {}
    for text in distinct:
        try:
            numbers[text] = marks.number(text) if text[-1:].isdigit() or text[-1:] in ".," else None
        except ValueError:
            numbers[text] = None
        if numbers[text] is None:
            return np.array([text or None for text in column], dtype=object)
    return [numbers.get(text, np.nan) for text in column]


def _numeric(df: pd.DataFrame) -> list[str]:
    """The columns that must hold numbers."""
    ends = [f"{name}_{end}" for name in onset_names(df) for end in ("lower", "upper")]
    return [*ends, *(["n_train"] if "n_train" in df.columns else [])]


def _no_onset(df: pd.DataFrame) -> str:
    names = [str(name) for name in df.columns]
    has = f"it has {', '.join(names)}"
    for half, other in (("_lower", "_upper"), ("_upper", "_lower")):
        if mine := [name for name in names if name.endswith(half)]:
            return (
                f"it has {mine[0]} but no {mine[0].removesuffix(half)}{other}: an onset lies in (lower, upper]; {has}"
            )
    if singles := [name for name in names if name.startswith("tau")]:
        tau = singles[0]
        return (
            f"it has {tau} but no {tau}_lower and {tau}_upper: the onset lies between two evaluations; where their "
            f"steps grow by a ratio R, add --tau {tau} --grid-ratio R (--grid-step S where they lie S apart), that is "
            f"{tau}_lower = {tau} / R and {tau}_upper = {tau}"
        )
    return (
        "it has no onset: columns NAME_lower and NAME_upper, such as tau_mem_lower and tau_mem_upper, or one column "
        f"and its grid (--tau COLUMN --grid-ratio R); {has}"
    )
