"""One run folder as plain checked values, for tables of many runs; nothing in it is believed before it is checked."""

from __future__ import annotations

import json
import math
import re
import types
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from ..config import RunConfig
from ..onsets import CLOCKS
from .files import DamagedFile
from .foreign_files import printable, read_regular
from .run import FORMAT

STATUSES = ("finished", "stopped", "diverged")
UNFINISHED = "unfinished"

_SMALL, _LARGE = 2**20, 2**27  # bytes: of config.json and result.json; of metrics.jsonl, some 180,000 evaluations
_MOST_COLUMNS = 100
_LONGEST_TEXT = 300
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds.

    Attributes:
        values: config fields, status and, once the run has ended, chance, group_chance, null (not in old runs, whose
            clocks are those of `FORMER`), seconds, steps_done,
            support_size, environment (JSON), and each clock's _step, _lower, _upper, _censored.
        metrics: columns of metrics.jsonl, float64, equally long.
    """

    values: dict[str, Any]
    metrics: dict[str, np.ndarray]


def read_record(folder: str | Path) -> RunRecord:
    """Read config.json, result.json and metrics.jsonl of a run.

    Raises:
        DamagedFile: one of them cannot be what a run wrote; the message names the file and the fault.
    """
    folder = Path(folder)
    values: dict[str, Any] = {**_config(folder / "config.json")}
    metrics = _metrics(folder / "metrics.jsonl")
    result = folder / "result.json"
    if result.is_symlink() or result.exists():
        values |= _result(result)
    else:
        values["status"] = UNFINISHED
    return RunRecord(values, metrics)


@cache
def config_kinds() -> dict[str, tuple[type, bool]]:
    """For each RunConfig field: int, float, bool or str, and whether it may be None."""
    return {name: _kind(hint) for name, hint in get_type_hints(RunConfig).items()}


def _kind(hint: Any) -> tuple[type, bool]:
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0]), False
    if get_origin(hint) is types.UnionType:
        (kind,) = (part for part in get_args(hint) if part is not type(None))
        return _kind(kind)[0], True
    return hint, False


def _config(path: Path) -> dict[str, Any]:
    stored = _json_object(path, _SMALL)
    if stored.pop("format", None) != FORMAT:
        raise DamagedFile(f"{printable(path)} is not of format {FORMAT}")
    kinds = config_kinds()
    for name in stored.keys() & kinds.keys():
        kind, optional = kinds[name]
        if not (optional and stored[name] is None):
            stored[name] = _checked(path, name, stored[name], kind)
    try:
        config = RunConfig.from_dict(stored)
        return {name: getattr(config, name) for name in kinds}
    except (ValueError, TypeError) as fault:
        raise DamagedFile(printable(f"{path}: {fault}")) from None


def _result(path: Path) -> dict[str, Any]:
    stored = _json_object(path, _SMALL)
    status = stored.get("status")
    if status not in STATUSES:
        raise DamagedFile(f"{printable(path)}: status must be one of {', '.join(STATUSES)}, got {_brief(status)}")
    values: dict[str, Any] = {"status": status}
    for name in ("chance", "group_chance", "seconds"):
        values[name] = _checked(path, name, stored.get(name), float)
    if isinstance(null := stored.get("null"), dict):
        values["null"] = _checked(path, "null", null.get("memorization"), float)
    values["steps_done"] = _checked(path, "steps", stored.get("steps"), int)
    values["support_size"] = _checked(path, "support_size", stored.get("support_size", ""), str)
    environment = stored.get("environment", {})
    if not isinstance(environment, dict) or len(environment) > _MOST_COLUMNS:
        raise DamagedFile(f"{printable(path)}: environment must be an object of texts")
    checked = {_checked(path, "environment", k, str): _checked(path, k, v, str) for k, v in environment.items()}
    values["environment"] = json.dumps(checked, sort_keys=True)
    onsets = stored.get("onsets")
    for clock in CLOCKS:
        onset = onsets.get(clock) if isinstance(onsets, dict) else None
        if not isinstance(onset, dict):
            raise DamagedFile(f"{printable(path)} has no onset {clock}")
        lower = _checked(path, f"{clock} lower", onset.get("lower"), float)
        upper = _or_infinite(path, f"{clock} upper", onset.get("upper"))
        if not 0 <= lower <= upper or onset.get("censored") is not math.isinf(upper):
            raise DamagedFile(f"{printable(path)}: {clock} must have 0 <= lower <= upper, censored when upper is null")
        step = _or_infinite(path, f"{clock} step", onset.get("step"))
        ends = {"step": step, "lower": lower, "upper": upper, "censored": math.isinf(upper)}
        values |= {f"{clock}_{part}": value for part, value in ends.items()}
    return values


def _metrics(path: Path) -> dict[str, np.ndarray]:
    """Columns of the evaluations; a last line cut short by a crash is left out, as in `Run.metrics`."""
    try:
        lines = read_regular(path, _LARGE).split(b"\n")[:-1]
    except FileNotFoundError:
        return {}
    if not lines:
        return {}
    try:
        rows = _loads(b"[" + b",".join(lines) + b"]")  # one call is twice as fast as one a line
        if len(rows) != len(lines) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is not one JSON object")
        names = list(rows[0])
        if any(list(row) != names for row in rows):  # a run that a newer version continued, with more columns
            names = list(dict.fromkeys(name for row in rows for name in row))
            rows = [{name: row.get(name) for name in names} for row in rows]
        if len(names) > _MOST_COLUMNS or not all(_NAME.fullmatch(name) for name in names):
            raise ValueError(f"the columns must be at most {_MOST_COLUMNS} plain names")
        for number, row in enumerate(rows, start=1):
            if not {type(value) for value in row.values()} <= {int, float, types.NoneType}:
                raise ValueError(f"line {number} holds something that is not a number")
        table = np.array([list(row.values()) for row in rows], dtype=float)
    except (ValueError, OverflowError) as fault:
        raise DamagedFile(printable(f"{path}: {_first_bad_line(lines) or fault}")) from None
    columns = dict(zip(names, table.T, strict=True))
    steps = columns.get("step", np.full(len(table), np.nan))
    if not (np.isfinite(steps).all() and (steps >= 0).all() and (np.diff(steps) > 0).all() and steps[-1] < 2**53):
        raise DamagedFile(f"{printable(path)}: step must be there, at least 0 and increasing")
    return columns


def _first_bad_line(lines: list[bytes]) -> str:
    for number, line in enumerate(lines, start=1):
        try:
            if not isinstance(_loads(line), dict):
                return f"line {number} is not a JSON object"
        except ValueError as fault:
            return f"line {number}: {fault}"
    return ""


def _json_object(path: Path, limit: int) -> dict[str, Any]:
    try:
        value = _loads(read_regular(path, limit))
    except DamagedFile:
        raise
    except ValueError as fault:
        raise DamagedFile(printable(f"{path} is not valid JSON ({fault})")) from None
    except OSError as fault:
        raise DamagedFile(f"{printable(path)} cannot be read ({fault.strerror})") from None
    if not isinstance(value, dict):
        raise DamagedFile(f"{printable(path)} is not a JSON object")
    return value


def _loads(content: bytes) -> Any:
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _checked(path: Path, name: str, value: Any, kind: type) -> Any:
    """A value of the kind, or DamagedFile: numbers finite, whole where they must be; text short and printable."""
    good = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if kind is str:
        good = good and len(value) <= _LONGEST_TEXT and value.isprintable()
    elif kind in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        good = math.isfinite(number) and (kind is float or number.is_integer())
        value = kind(value) if good else value
    if not good:
        wanted = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a short text"}[kind]
        raise DamagedFile(f"{printable(path)}: {printable(name)[:60]} must be {wanted}, got {_brief(value)}")
    return value


def _or_infinite(path: Path, name: str, value: Any) -> float:
    return math.inf if value is None else float(_checked(path, name, value, float))


def _brief(value: Any) -> str:
    """A value for a message; never the whole of a huge one."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__} of {len(value)}"
    text = str(value)[:60] if not isinstance(value, int) or abs(value) < 10**60 else "a huge number"
    return printable(text)
