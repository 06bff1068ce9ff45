"""metrics.jsonl: a line per evaluation, each bound to the config, to its generations and to all lines before it.

A line ends in ``"seconds", "samples", "digest"``: the wall time so far, the SHA-256 of the file of its generations, and
the SHA-256 of the digest before it, of that file's, and of what the line says before ``"seconds"``. The digest before
the first is that of config.json. So no line can be lost, edited or brought from another run unnoticed; the wall time,
which no rerun repeats, is not bound. Lines written before there were digests end in ``"seconds"``.
"""

from __future__ import annotations

import hashlib
import json
import re
import types
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..config import RunConfig
from .foreign_files import DamagedFile, load_json, printable, read_regular

MOST_COLUMNS = 100

_LONGEST_LINE = 2**13
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
_LINE = re.compile(
    rb'(\{.*), "seconds": [0-9.eE+-]+(?:, "samples": "([0-9a-f]{64})", "digest": "([0-9a-f]{64})")?\}', re.DOTALL
)
_BOUND = ("samples", "digest")  # columns of text, in lines that match
_REQUIRED = ("loss", "seconds", "memorization", "memorization_p")
_WITH_BOUNDS = ("rule_accuracy", "group_accuracy", "memorization", "group_memorization", "novel_valid", "chance")
_RATIOS = {*(f"{name}{end}" for name in _WITH_BOUNDS for end in ("", "_low", "_high")),
           "memorization_p", "ambiguous", "distinct"}  # fmt: skip


@dataclass(frozen=True)
class Evaluations:
    """What metrics.jsonl holds.

    Attributes:
        columns: float64, equally long, by name.
        lines: as written.
        digests: before the first line, and after each; also where the lines state none.
        samples: SHA-256 of each evaluation's generations; empty where the line states none.
    """

    columns: dict[str, np.ndarray]
    lines: list[bytes]
    digests: list[str]
    samples: list[str]

    @property
    def steps(self) -> list[int]:
        """The step of each evaluation."""
        return [int(step) for step in self.columns.get("step", ())]

    @property
    def bound(self) -> bool:
        """Whether any line was written with a digest."""
        return any(self.samples)

    def digest_at(self, step: int) -> str:
        """The digest after the last evaluation up to a step."""
        return self.digests[sum(at <= step for at in self.steps)]


def next_digest(digest: str, samples: str, body: bytes) -> str:
    """The digest after a line, from the one before it."""
    return hashlib.sha256(f"{digest} {samples} ".encode() + body).hexdigest()


def evaluation_line(metrics: dict[str, float], samples: str, digest: str) -> tuple[bytes, str]:
    """A line of metrics.jsonl, and the digest after it.

    Args:
        metrics: of one evaluation, with ``seconds``.
        samples: SHA-256 of the file of its generations.
        digest: before it.
    """
    body = json.dumps({name: value for name, value in metrics.items() if name != "seconds"}).encode()[:-1]
    digest = next_digest(digest, samples, body)
    end = json.dumps({"seconds": metrics["seconds"], "samples": samples, "digest": digest}).encode()[1:]
    return body + b", " + end, digest


def scheduled(config: RunConfig, up_to: float) -> list[int]:
    """The steps of a run's evaluations, those up to a step."""
    return [step for step in _schedule(config.steps, config.eval_first, config.eval_ratio) if step <= up_to]


@lru_cache(64)
def _schedule(steps: int, first: int, ratio: float) -> Sequence[int]:
    return RunConfig(steps=steps, eval_first=first, eval_ratio=ratio).eval_steps()


def read_evaluations(path: Path, config: RunConfig, root: str) -> Evaluations:
    """The evaluations of a run, from the first on; a last line cut short by a crash is left out.

    Args:
        path: metrics.jsonl; where it is missing there are none.
        config: of the run.
        root: SHA-256 of config.json.

    Raises:
        DamagedFile: a line that no run wrote, an evaluation that is missing or was not due, or a digest that does not
            follow; the message names the line.
    """
    due = scheduled(config, config.steps)
    try:
        lines = read_regular(path, _LONGEST_LINE * (len(due) + 1)).split(b"\n")[:-1]
    except FileNotFoundError:
        lines = []
    if len(lines) > len(due):
        raise DamagedFile(f"{printable(path)} has {len(lines):,} lines, more than the run's {len(due)} evaluations")
    if not lines:
        return Evaluations({}, [], [root], [])
    matches = [_LINE.fullmatch(line) for line in lines]
    columns = _columns(path, lines, [bool(match and match[3]) for match in matches])
    steps = columns.get("step", np.full(len(lines), np.nan))
    if not (np.isfinite(steps).all() and (steps >= 0).all() and (np.diff(steps) > 0).all() and steps[-1] < 2**53):
        raise DamagedFile(f"{printable(path)}: step must be there, at least 0 and increasing")
    for number, (step, wanted) in enumerate(zip(steps, due, strict=False), start=1):
        if step != wanted:
            lacks = "lacks the evaluation at" if step > wanted else "has an evaluation that was not due before"
            raise DamagedFile(f"{printable(path)}, line {number}: step {step:g}; it {lacks} step {wanted}")
    _check_values(path, columns, "rule_accuracy" if config.data is None else "held_out_loss")
    digests, samples = [root], []
    for number, (line, match) in enumerate(zip(lines, matches, strict=True), start=1):
        body, of_samples, stated = (match[1], match[2], match[3]) if match else (line, None, None)
        samples.append(of_samples.decode() if of_samples else "")
        digests.append(next_digest(digests[-1], samples[-1], body))
        if stated is None and any(samples):
            raise DamagedFile(f"{printable(path)}, line {number}: it has no digest, and lines before it have")
        if stated is not None and stated.decode() != digests[-1]:
            raise DamagedFile(
                f"{printable(path)}, line {number}: its digest does not follow from config.json and the lines up to "
                "it; one of them was edited or is of another run"
            )
    return Evaluations(columns, lines, digests, samples)


def _columns(path: Path, lines: list[bytes], bound: list[bool]) -> dict[str, np.ndarray]:
    """The numbers of all lines, float64 by name; NaN where a line lacks a column."""
    try:
        rows = load_json(b"[" + b",".join(lines) + b"]")  # one call is twice as fast as one a line
        if len(rows) != len(lines) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is not one JSON object")
        for row, has_digest in zip(rows, bound, strict=True):
            for name in _BOUND if has_digest else ():
                row.pop(name, None)
        names = list(rows[0])
        if any(list(row) != names for row in rows):  # a run that a newer version continued, with more columns
            names = list(dict.fromkeys(name for row in rows for name in row))
            rows = [{name: row.get(name) for name in names} for row in rows]
        if len(names) > MOST_COLUMNS or not all(_NAME.fullmatch(name) for name in names):
            raise ValueError(f"the columns must be at most {MOST_COLUMNS} plain names")
        for number, row in enumerate(rows, start=1):
            if not {type(value) for value in row.values()} <= {int, float, types.NoneType}:
                raise ValueError(f"line {number} holds something that is not a number")
        table = np.array([list(row.values()) for row in rows], dtype=float)
    except (ValueError, OverflowError) as fault:
        raise DamagedFile(printable(f"{path}: {_first_bad_line(lines) or fault}")) from None
    return dict(zip(names, table.T, strict=True))


def _first_bad_line(lines: list[bytes]) -> str:
    for number, line in enumerate(lines, start=1):
        try:
            if not isinstance(load_json(line), dict):
                return f"line {number} is not a JSON object"
        except ValueError as fault:
            return f"line {number}: {fault}"
    return ""


def _check_values(path: Path, columns: dict[str, np.ndarray], learned: str) -> None:
    """Ratios and p-values lie in 0..1 and within their bounds; wall time does not run back.

    The columns that every run has are there, and the one that says what it has learned.
    """

    def refuse(name: str, bad: np.ndarray, must: str) -> None:
        if bad.any():
            line = int(bad.argmax())
            value = columns[name][line]
            raise DamagedFile(f"{printable(path)}, line {line + 1}: {name} must {must}, got {value:g}")

    if missing := [name for name in (*_REQUIRED, learned) if name not in columns]:
        raise DamagedFile(f"{printable(path)} has no column {missing[0]}")
    for name in _RATIOS & columns.keys():
        values = columns[name]
        refuse(name, ~((values >= 0) & (values <= 1)), "lie in 0..1")
    for name in _WITH_BOUNDS:
        if {f"{name}_low", f"{name}_high"} <= columns.keys() and name in columns:
            outside = (columns[f"{name}_low"] > columns[name]) | (columns[f"{name}_high"] < columns[name])
            refuse(name, outside, "lie within its own bounds")
    seconds = columns["seconds"]
    refuse("seconds", ~(np.isfinite(seconds) & (np.diff(seconds, prepend=0.0) >= 0)), "be finite and never decrease")


def check_against(path: Path, evaluations: Evaluations, config: RunConfig, status: str, steps: Any) -> None:
    """DamagedFile unless an ended run has all the evaluations that were due before its end.

    Args:
        path: of metrics.jsonl.
        evaluations: from it.
        config: of the run.
        status: "finished", "stopped" or "diverged".
        steps: at which it ended.
    """
    if status == "finished" and steps != config.steps:
        raise DamagedFile(f"{printable(path.parent)}/result.json: finished after {steps} of {config.steps} steps")
    due = scheduled(config, steps - 1 if status == "diverged" else steps)  # a diverged run measures no more
    have = evaluations.steps
    if have != due:
        last, wanted = (f", the last at step {at[-1]}" if at else "" for at in (have, due))
        raise DamagedFile(
            f"{printable(path)} has {len(have)} evaluations{last}; a run that {status} at step {steps} has {len(due)}"
            f"{wanted}"
        )
    if status == "stopped" and (not have or have[-1] != steps):
        raise DamagedFile(f"{printable(path)} has no evaluation at step {steps}, where the run stopped")
