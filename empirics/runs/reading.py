"""One run folder as plain checked values, the only reader of all commands; nothing in it is believed before a check.

result.json carries a digest of itself, and those of config.json, the training set and metrics.jsonl as they were when
the run ended. Runs that ended before there were digests are checked as far as can be: against the evaluations that were
due, and against the clocks and the chance that follow from them.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from ...theory import rule
from ..config import RunConfig
from ..criteria import CRITERIA, FORMER
from ..onsets import CLOCKS, DATA_CLOCKS, locate
from .evaluations import MOST_COLUMNS, Evaluations, check_against, read_evaluations
from .foreign_files import DamagedFile, brief, printable, read_json_object

FORMAT = 1
STATUSES = ("finished", "stopped", "diverged")
UNFINISHED = "unfinished"

_SMALL = 2**20  # bytes: of config.json and result.json
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds.

    Attributes:
        config: of the run.
        config_digest: SHA-256 of config.json.
        evaluations: from metrics.jsonl.
        result: of result.json; empty before the run has ended.
        values: config fields, status and, once the run has ended, chance, group_chance, null (not in old runs, whose
            clocks are those of `FORMER`), seconds, steps_done,
            support_size, environment (JSON), and each clock's _step, _lower, _upper, _censored. Of a run that learns
            data tau_rule says nothing, (0, inf], and tau_best is there too.
    """

    config: RunConfig
    config_digest: str
    evaluations: Evaluations
    result: dict[str, Any]
    values: dict[str, Any]

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of metrics.jsonl, float64, equally long."""
        return self.evaluations.columns


def read_record(folder: str | Path) -> RunRecord:
    """Read config.json, result.json and metrics.jsonl of a run, and hold them against each other.

    Raises:
        DamagedFile: one of them cannot be what a run wrote; the message names the file and the fault.
    """
    folder = Path(folder)
    config, digest = read_config(folder / "config.json")
    path, metrics = folder / "result.json", folder / "metrics.jsonl"
    # The result before the metrics: a run that ends while it is read has written all of them by then.
    has_ended = path.is_symlink() or path.exists()
    result = read_json_object(path, _SMALL)[0] if has_ended else {}
    ended = _result(path, result, config) if has_ended else {"status": UNFINISHED}
    evaluations = read_evaluations(metrics, config, digest)
    if has_ended:
        check_against(metrics, evaluations, config, ended["status"], ended["steps_done"])
        if "digest" in result or evaluations.bound:
            _check_digests(path, result, evaluations, digest)
        else:
            _check_old(path, ended, evaluations, config)
    return RunRecord(config, digest, evaluations, result, {**config.to_dict(), **ended})


def result_digest(result: dict[str, Any]) -> str:
    """SHA-256 of a result, but for the digest itself and the wall time, which no rerun repeats."""
    bound = {name: value for name, value in result.items() if name not in ("seconds", "digest")}
    return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()


def alphabet_of(spec: str) -> int | None:
    """The number of symbols of a rule; None for one that is not known here."""
    if any(len(number) > 3 for number in "".join(c if c.isdecimal() else " " for c in spec).split()):
        return None  # a grid that nobody trained on: do not build it
    return _alphabet(spec)


@cache
def _alphabet(spec: str) -> int | None:
    try:
        return rule(spec).alphabet
    except ValueError:
        return None


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


def read_config(path: Path) -> tuple[RunConfig, str]:
    """The config of a run, and the SHA-256 of its file.

    Raises:
        DamagedFile: missing, or not a config of a format that this version knows.
    """
    stored, content = read_json_object(path, _SMALL)
    if stored.pop("format", None) != FORMAT:
        raise DamagedFile(f"{printable(path)} is not of format {FORMAT}")
    kinds = config_kinds()
    for name in stored.keys() & kinds.keys():
        kind, optional = kinds[name]
        if not (optional and stored[name] is None):
            stored[name] = _checked(path, name, stored[name], kind)
    try:
        return RunConfig.from_dict(stored), hashlib.sha256(content).hexdigest()
    except (ValueError, TypeError) as fault:
        raise DamagedFile(printable(f"{path}: {fault}")[:1000]) from None


def _result(path: Path, stored: dict[str, Any], config: RunConfig) -> dict[str, Any]:
    status = stored.get("status")
    if status not in STATUSES:
        raise DamagedFile(f"{printable(path)}: status must be one of {', '.join(STATUSES)}, got {brief(status)}")
    values: dict[str, Any] = {"status": status}
    ruled = config.data is None
    for name, most in (("chance", 1.0), *((("group_chance", 1.0),) if ruled else ()), ("seconds", math.inf)):
        values[name] = _checked(path, name, stored.get(name), float)
        if not 0 <= values[name] <= most:
            wanted = "lie in 0..1" if most == 1 else "be at least 0"
            raise DamagedFile(f"{printable(path)}: {name} must {wanted}, got {values[name]:g}")
    if isinstance(null := stored.get("null"), dict):
        values["null"] = _checked(path, "null", null.get("memorization"), float)
        if not 0 <= values["null"] <= 1:
            raise DamagedFile(f"{printable(path)}: null must lie in 0..1, got {values['null']:g}")
    values["steps_done"] = _checked(path, "steps", stored.get("steps"), int)
    values["support_size"] = _checked(path, "support_size", stored.get("support_size", ""), str)
    environment = stored.get("environment", {})
    if not isinstance(environment, dict) or len(environment) > MOST_COLUMNS:
        raise DamagedFile(f"{printable(path)}: environment must be an object of texts")
    checked = {_checked(path, "environment", k, str): _checked(path, k, v, str) for k, v in environment.items()}
    values["environment"] = json.dumps(checked, sort_keys=True)
    if not ruled:  # nothing is known of a rule
        values |= {"group_chance": math.nan, **_ends("tau_rule", math.inf, 0.0, math.inf)}
    onsets = stored.get("onsets")
    for clock in CLOCKS if ruled else DATA_CLOCKS:
        onset = onsets.get(clock) if isinstance(onsets, dict) else None
        if not isinstance(onset, dict):
            raise DamagedFile(f"{printable(path)} has no onset {clock}")
        lower = _checked(path, f"{clock} lower", onset.get("lower"), float)
        upper = _or_infinite(path, f"{clock} upper", onset.get("upper"))
        if not 0 <= lower <= upper or onset.get("censored") is not math.isinf(upper):
            raise DamagedFile(f"{printable(path)}: {clock} must have 0 <= lower <= upper, censored when upper is null")
        step = _or_infinite(path, f"{clock} step", onset.get("step"))
        values |= _ends(clock, step, lower, upper)
    return values


def _ends(clock: str, step: float, lower: float, upper: float) -> dict[str, Any]:
    ends = {"step": step, "lower": lower, "upper": upper, "censored": math.isinf(upper)}
    return {f"{clock}_{part}": value for part, value in ends.items()}


def _check_digests(path: Path, result: dict[str, Any], evaluations: Evaluations, config_digest: str) -> None:
    if result.get("digest") != result_digest(result):
        raise DamagedFile(f"{printable(path)} does not match its digest: it was edited")
    digests = result.get("digests")
    stated = digests if isinstance(digests, dict) else {}
    for name, found, file in (
        ("config", config_digest, "config.json"),
        ("evaluations", evaluations.digests[-1], "metrics.jsonl"),
    ):
        if stated.get(name) != found:
            where = printable(path.with_name(file))
            raise DamagedFile(f"{where} is not what result.json was made from: it was edited or is of another run")


def _check_old(path: Path, ended: dict[str, Any], evaluations: Evaluations, config: RunConfig) -> None:
    """A result from before there were digests must be the one that follows from the evaluations."""
    size = ended["support_size"]
    if size.isdecimal() and not math.isclose(ended["chance"] * int(size), config.n_train, rel_tol=1e-9):
        raise DamagedFile(
            f"{printable(path)}: chance is {ended['chance']:g}, not the {config.n_train} / {size} that follows from N"
        )
    alphabet = alphabet_of(config.rule)
    if alphabet is None:
        return
    for clock in CLOCKS:
        step, lower = math.inf, 0.0
        if evaluations.lines:
            columns, null = evaluations.columns, ended.get("null")
            criterion = CRITERIA[clock if null is not None else FORMER[clock]]
            at = locate(criterion, columns["step"], columns, ended["chance"], alphabet, None, null, config.n_eval)
            step, lower = map(float, at)
        stated = tuple(ended[f"{clock}_{part}"] for part in ("step", "lower", "upper"))
        if stated != (step, lower, step):
            raise DamagedFile(
                f"{printable(path)}: {clock} is ({stated[1]:g}, {stated[2]:g}], by metrics.jsonl ({lower:g}, {step:g}]"
            )


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
        raise DamagedFile(f"{printable(path)}: {printable(name)[:60]} must be {wanted}, got {brief(value)}")
    return value


def _or_infinite(path: Path, name: str, value: Any) -> float:
    return math.inf if value is None else float(_checked(path, name, value, float))
