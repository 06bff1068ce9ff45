"""All runs under a folder as two tables, one row per run and one row per evaluation, kept ready in a Parquet cache.

The cache is ``.twoclocks-cache/runs.parquet`` inside the folder. It holds each run with a fingerprint of its files
(modification and change times, sizes, inodes of config.json, metrics.jsonl and result.json), and only runs whose
fingerprint differs are read again. A cache that is damaged or of another version is made anew; where the folder is
read-only, none is written. A copied folder gets new change times, so a cache that came with it is never believed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..criteria import CRITERIA
from ..null_again import null_again
from ..onsets import CLOCKS, DATA_CLOCKS, locate
from .cache import METRIC, read_cache, write_cache
from .foreign_files import DamagedFile, printable
from .reading import UNFINISHED, RunRecord, alphabet_of, config_kinds, read_record

QUARANTINE = "quarantine"
"""Name of the folders in which a sweep sets damaged runs aside; they are not searched."""

_FILES = ("config.json", "metrics.jsonl", "result.json")
_MOST_METRICS = 500
_ARROW = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}


@dataclass(frozen=True)
class RunsFolder:
    """The runs under a folder.

    Attributes:
        name: of the folder, as text to show.
        runs: one row per run, ended or not (status "unfinished"), sorted by ``run``, its path relative to the folder:
            the values of `RunRecord`, the ends of every onset, and ``evaluations``, how many it has.
        evaluations: the metrics of all evaluations, run after run in the order of `runs`; NaN where a run lacks one.
        damaged: relative path and fault of each run folder that cannot be read.
    """

    name: str
    runs: pd.DataFrame
    evaluations: dict[str, np.ndarray]
    damaged: dict[str, str]


def load_runs(path: str | Path, unfinished: bool = False) -> pd.DataFrame:
    """All runs under a folder, one row per run, ready for `fit_scaling` and `evaluate_claims`.

    The first call reads every run and keeps a cache in the folder; later calls read only what has changed since.

    Args:
        path: searched at any depth for run folders, but not in folders named ``quarantine`` or with a leading dot, and
            not through symbolic links.
        unfinished: also the runs that have not ended, with status ``"unfinished"`` and no clocks (NaN). How many there
            are is in ``.attrs["unfinished"]`` either way.

    Returns:
        Columns: every RunConfig field; status; chance, null (of copying) and group_chance; seconds; for each clock
        ``tau_rule`` and ``tau_mem`` its _step, _lower, _upper (steps, inf when censored) and _censored; the same of
        ``tau_best``, where any run has learned data of one's own: its tau_rule says nothing, (0, inf]; _lower and
        _upper of every other onset of `CRITERIA`, NaN where a run did not measure what it needs; ``run``, the path
        relative to the folder, as in `load_metrics`, and ``path``, absolute. Sorted by run.

    Raises:
        ValueError: no such folder, no ended run in it, or a damaged run folder, which the message names.
    """
    table = _intact(read_runs_folder(path, metrics=False)).runs
    waiting = int((table["status"] == UNFINISHED).sum())
    if not unfinished:
        table = table[table["status"] != UNFINISHED].reset_index(drop=True)
    if table.empty:
        still = f" ({waiting} unfinished)" if waiting else ""
        raise ValueError(f"{printable(path)} holds no run that has ended{still}")
    shown_clocks = CLOCKS if table["data"].isna().all() else ("tau_best", *CLOCKS)
    clocks = [f"{clock}_{part}" for clock in shown_clocks for part in ("step", "lower", "upper", "censored")]
    if not waiting or not unfinished:
        table = table.astype({f"{clock}_censored": bool for clock in CLOCKS})
    shown = [*config_kinds(), "status", "chance", "null", "group_chance", "seconds", *clocks, *_other_ends(), "run"]
    home = os.path.abspath(path)
    paths = [os.path.normpath(os.path.join(home, run)) for run in table["run"]]
    table = table[shown].assign(path=_texts(paths))
    table.attrs["unfinished"] = waiting
    return table


def load_metrics(path: str | Path, unfinished: bool = False) -> pd.DataFrame:
    """Every evaluation of every run under a folder, one row per evaluation.

    Args:
        path, unfinished: as in `load_runs`, whose cache this shares.

    Returns:
        Columns: ``run``, categorical, the run's path relative to the folder; ``step``, int64; and the columns of
        `Run.metrics`, float64, NaN where a run has none. In the order of `load_runs`, each run by step.

    Raises:
        ValueError: as `load_runs`.
    """
    found = _intact(read_runs_folder(path))
    ended = (found.runs["status"] != UNFINISHED).to_numpy()
    if not (unfinished or ended.any()):
        raise ValueError(f"{printable(path)} holds no run that has ended")
    counts = found.runs["evaluations"].to_numpy()
    row = np.repeat(np.arange(len(counts)), counts)
    columns = found.evaluations
    if not (unfinished or ended.all()):
        keep = ended[row]
        row, columns = row[keep], {name: values[keep] for name, values in columns.items()}
    key = pd.Categorical.from_codes(row, categories=pd.Index(found.runs["run"]))
    return pd.DataFrame({"run": key, "step": columns.get("step", np.empty(0)).astype(np.int64), **_but_step(columns)})


def read_runs_folder(path: str | Path, metrics: bool = True) -> RunsFolder:
    """What `load_runs` and `load_metrics` show, with unfinished runs, and damaged ones named instead of refused.

    Args:
        path: as in `load_runs`.
        metrics: also the evaluations; without them a cached folder is read faster.

    Raises:
        ValueError: no such folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"{printable(folder)} is not a folder")
    prints, damaged = _find_runs(folder)
    schema = _schema()
    known = read_cache(folder, schema, prints, metrics)
    new: dict[str, RunRecord] = {}
    for run in prints.keys() - set(known.column("run").to_pylist() if known else ()):
        try:
            new[run] = read_record(folder / run)
        except (DamagedFile, OSError) as fault:
            damaged[run] = str(fault)
    if new or known is None:
        if not (known is None or metrics):
            known = read_cache(folder, schema, prints, True)
        known = _merge(known, _table(schema, prints, new))
        if len(known):
            write_cache(folder, known)
    if len(known.column_names) - len(schema) > _MOST_METRICS:
        raise ValueError(f"{printable(folder)} has more than {_MOST_METRICS} different metrics; load its parts")
    table = known.select(schema.names).drop_columns(["fingerprint"])
    # Text as plain objects, None where there is none: pandas 3 would make both NaN and columns of its own type.
    texts = {f.name: _texts(table.column(f.name).to_pylist()) for f in table.schema if pa.types.is_string(f.type)}
    runs = table.to_pandas().assign(**texts)
    name = printable(folder.resolve().name) or "runs"
    return RunsFolder(name, runs, _flat(known) if metrics else {}, dict(sorted(damaged.items())))


def read_runs_folders(paths: Sequence[str | Path]) -> RunsFolder:
    """The runs of several folders as one, with a column ``folder`` that tells them apart.

    Args:
        paths: at least one folder; of a single one, as `read_runs_folder`.

    Raises:
        ValueError: no such folder, or one that is named twice or lies within another.
    """
    if not paths:
        raise ValueError("name at least one folder of runs")
    if len(paths) == 1:
        return read_runs_folder(paths[0])
    homes = [Path(path).resolve() for path in paths]
    for k, home in enumerate(homes):
        if twice := [other for j, other in enumerate(homes) if j != k and (home == other or other in home.parents)]:
            raise ValueError(f"{printable(home)} is read twice: it is or lies within {printable(twice[0])}")
    found = [read_runs_folder(path) for path in paths]
    names = [each.name for each in found]
    labels = names if len(set(names)) == len(names) else [printable(path) for path in paths]
    runs = [
        each.runs.assign(
            folder=_texts([label] * len(each.runs)), run=_texts([f"{label}/{run}" for run in each.runs["run"]])
        )
        for label, each in zip(labels, found, strict=True)
    ]
    counts = [int(each.runs["evaluations"].sum()) for each in found]
    metrics = dict.fromkeys(name for each in found for name in each.evaluations)
    return RunsFolder(
        " and ".join(labels),
        pd.concat(runs, ignore_index=True),
        {
            name: np.concatenate(
                [each.evaluations.get(name, np.full(n, np.nan)) for each, n in zip(found, counts, strict=True)]
            )
            for name in metrics
        },
        {
            f"{label}/{run}": fault
            for label, each in zip(labels, found, strict=True)
            for run, fault in each.damaged.items()
        },
    )


def _find_runs(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Relative path and fingerprint of each run folder; and relative path and fault of those that cannot be one."""
    prints: dict[str, str] = {}
    damaged: dict[str, str] = {}
    waiting = ["."]
    while waiting:
        relative = waiting.pop()
        folders, marks = [], dict.fromkeys(_FILES, "")
        try:
            with os.scandir(folder / relative) as entries:
                for entry in entries:
                    if entry.name in marks:
                        facts = entry.stat(follow_symlinks=False)
                        numbers = (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino)
                        marks[entry.name] = " ".join(map(str, numbers))
                    elif entry.is_dir(follow_symlinks=False) and entry.name != QUARANTINE and entry.name[0] != ".":
                        folders.append(entry.name if relative == "." else f"{relative}/{entry.name}")
        except FileNotFoundError:  # moved or deleted meanwhile
            continue
        except OSError as fault:
            if relative == ".":
                raise
            damaged[printable(relative)] = f"{printable(folder / relative)} cannot be searched ({fault.strerror})"
            continue
        if not marks["config.json"]:
            waiting += folders
        elif printable(relative) != relative:
            damaged[printable(relative)] = f"{printable(folder / relative)}: rename it, its name is not plain text"
        else:
            prints[relative] = ", ".join(marks.values())
    return prints, damaged


def _intact(found: RunsFolder) -> RunsFolder:
    if found.damaged:
        fault, *others = found.damaged.values()
        more = f", and {len(others)} more" if others else ""
        raise ValueError(f"damaged run: {fault}{more}; mend it, delete it or move it to a folder named {QUARANTINE}")
    return found


def _other_ends() -> list[str]:
    return [f"{name}_{end}" for name in CRITERIA if name not in CLOCKS for end in ("lower", "upper")]


def _schema() -> pa.Schema:
    """Columns of the cache but for the metrics, which are lists named by METRIC and the metric."""
    texts = dict.fromkeys(("run", "fingerprint"), pa.string())
    config = {name: _ARROW[kind] for name, (kind, _) in config_kinds().items()}
    result = {"status": pa.string(), **dict.fromkeys(("chance", "null", "group_chance", "seconds"), pa.float64())}
    result |= {"steps_done": pa.int64(), "support_size": pa.string(), "environment": pa.string()}
    for clock in dict.fromkeys((*CLOCKS, *DATA_CLOCKS)):
        result |= {f"{clock}_{part}": pa.float64() for part in ("step", "lower", "upper")}
        result[f"{clock}_censored"] = pa.bool_()
    ends = dict.fromkeys(_other_ends(), pa.float64())
    return pa.schema(texts | config | result | ends | {"evaluations": pa.int64()})


def _table(schema: pa.Schema, prints: dict[str, str], records: dict[str, RunRecord]) -> pa.Table:
    rows = []
    for run, record in records.items():
        count = len(record.metrics["step"]) if record.metrics else 0
        rows.append({"run": run, "fingerprint": prints[run], "evaluations": count, **record.values, **_onsets(record)})
    columns: dict[str, Any] = {f.name: pa.array([row.get(f.name) for row in rows], type=f.type) for f in schema}
    counts = np.array([row["evaluations"] for row in rows], dtype=np.int64)
    offsets = pa.array(np.concatenate([[0], counts.cumsum()]), type=pa.int64())
    for name in dict.fromkeys(name for record in records.values() for name in record.metrics):
        parts = [
            record.metrics.get(name, np.full(count, np.nan))
            for record, count in zip(records.values(), counts, strict=True)
        ]
        columns[METRIC + name] = pa.LargeListArray.from_arrays(offsets, pa.array(np.concatenate(parts)))
    return pa.table(columns)


def _onsets(record: RunRecord) -> dict[str, Any]:
    """The onsets that result.json does not state, or states by former criteria, from the metrics."""
    alphabet = alphabet_of(record.values["rule"])
    chance = record.values.get("chance")
    if chance is None or alphabet is None:
        return {}
    if not record.metrics:  # diverged before the first evaluation: nothing is known
        return {name: np.inf if name.endswith("_upper") else 0.0 for name in _other_ends()}
    values, stated = record.values, "null" in record.values
    names = [
        name
        for name, criterion in CRITERIA.items()
        if not (stated and name in CLOCKS) and all(column in record.metrics for column in criterion.columns)
    ]
    null = values["null"] if stated else null_again(values["rule"], values["n_train"], values["seed"])
    levels = (chance, alphabet, None, null, values["n_eval"])
    ends: dict[str, Any] = {"null": null}
    for name in names:  # as `find_onsets` does, without a DataFrame for each run
        upper, lower = map(float, locate(CRITERIA[name], record.metrics["step"], record.metrics, *levels))
        ends |= {f"{name}_lower": lower, f"{name}_upper": upper}
        if name in CLOCKS:  # of a run that ended before there was a null of copying: judged again
            ends |= {f"{name}_step": upper, f"{name}_censored": np.isinf(upper)}
    return ends


def _texts(values: Sequence[str | None]) -> pd.Series:
    return pd.Series(values, dtype=object)


def _merge(known: pa.Table | None, new: pa.Table) -> pa.Table:
    """Both tables as one, sorted by run."""
    table = new if known is None else pa.concat_tables([known, new], promote_options="default").combine_chunks()
    parts = [run.split("/") for run in table.column("run").to_pylist()]
    return table.take(pa.array(sorted(range(len(parts)), key=parts.__getitem__), type=pa.int64()))


def _flat(table: pa.Table) -> dict[str, np.ndarray]:
    """The metrics, run after run."""
    counts = table.column("evaluations").to_numpy()
    columns = {}
    for name in table.column_names:
        if name.startswith(METRIC):
            lists = table.column(name).combine_chunks()
            values = lists.flatten().to_numpy()
            if lists.null_count:  # a metric that some runs did not measure
                here = np.repeat(lists.is_valid().to_numpy(zero_copy_only=False), counts)
                filled = np.full(len(here), np.nan)
                filled[here] = values
                values = filled
            columns[name.removeprefix(METRIC)] = values
    return columns


def _but_step(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values for name, values in columns.items() if name != "step"}
