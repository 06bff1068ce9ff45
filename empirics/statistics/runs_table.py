"""The runs table: one row a training run, with the interval that each of its onsets lies in.

| column | meaning |
|---|---|
| `rule` | spec of the rule, such as ``parity:6x6,G=3``; the claims read G from it |
| `model` | name such as ``gpt-nano``; the claims read the size from its end: nano < micro < mini < small |
| `n_train` | N, training samples, positive |
| `seed` | label of the run within its cell; a (rule, model, n_train, seed) occurs once |
| `tau_rule_lower`, `tau_rule_upper` | training steps: the onset lies in (lower, upper] |
| `tau_mem_lower`, `tau_mem_upper` | likewise |

upper = inf: censored, the onset did not come before training ended; lower = 0: it came before the first evaluation;
lower = upper: it is known exactly. Any other onset ``NAME`` is a pair of columns ``NAME_lower``, ``NAME_upper``, and
any other column may serve as x or group.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...models import SIZES

_GROUP_SIZE = re.compile(r"(?<=[,:])\s*G=(\d+)\s*(?=,|$)")
_IDENTITY = ("rule", "model", "n_train", "seed")


def read_runs_csv(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a runs table from CSV; ``inf`` is an upper end beyond the last evaluation.

    Args:
        path: a file with a header and at least one pair of columns ``NAME_lower``, ``NAME_upper``, and ``seed``.

    Returns:
        The table, with float64 onset columns and `n_train`. `check_runs` says whether it can be fitted.

    Raises:
        ValueError: not a table, no onset columns, or a cell that should hold a number; names row and column.
        OSError: no such file, or one that cannot be read.
    """
    try:
        df = pd.read_csv(path, skipinitialspace=True)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as fault:
        raise ValueError(f"{os.fspath(path)} is not a CSV table: {str(fault).splitlines()[0]}") from None
    if df.empty:
        raise ValueError(f"{os.fspath(path)} holds no runs")
    onsets = onset_names(df)
    if not onsets:
        wanted = "NAME_lower and NAME_upper, such as tau_mem_lower and tau_mem_upper"
        raise ValueError(f"{os.fspath(path)} has no onset: columns {wanted}; it has {', '.join(map(str, df.columns))}")
    if "seed" not in df.columns:
        raise ValueError(f"{os.fspath(path)} has no column 'seed': a label that tells the runs of a cell apart")
    numeric = [f"{name}_{end}" for name in onsets for end in ("lower", "upper")]
    for column in [*numeric, *(["n_train"] if "n_train" in df.columns else [])]:
        df[column] = _numbers(df, column)
    return df


def onset_names(df: pd.DataFrame) -> list[str]:
    """The onsets that a table holds: NAME for each pair of columns NAME_lower, NAME_upper."""
    columns = [str(column) for column in df.columns]
    return [c[: -len("_lower")] for c in columns if c.endswith("_lower") and c[: -len("_lower")] + "_upper" in columns]


def check_runs(df: pd.DataFrame, onset: str, x: str | None = None, by: Sequence[str] = ()) -> pd.DataFrame:
    """The columns of a runs table that a fit needs, validated.

    Args:
        df: a runs table; its index is ignored.
        onset: NAME of the columns NAME_lower and NAME_upper, in training steps.
        x: a positive numeric column, if one is needed.
        by: columns whose values name the groups.

    Returns:
        A new table with float64 columns ``lower``, ``upper``, and ``x`` if asked, the `by` columns, and ``seed``.

    Raises:
        ValueError: missing columns; a `by` column with the name of a new one; missing, non-numeric, negative or
            reversed values; x not positive; several units; the same run twice; a single seed. The message names the
            row, counted from 0.
    """
    if not isinstance(df, pd.DataFrame):
        raise ValueError(f"a runs table is a pandas DataFrame, got {type(df).__name__}")
    needed = [f"{onset}_lower", f"{onset}_upper", *([x] if x else []), *by, "seed"]
    if missing := [column for column in needed if column not in df.columns]:
        raise ValueError(f"the runs table has no column {missing[0]!r}; it has {', '.join(map(str, df.columns))}")
    if taken := [column for column in by if column in ("lower", "upper", *(["x"] if x else []))]:
        raise ValueError(f"a column that names groups cannot be called {taken[0]!r} here; rename it")
    if df.empty:
        raise ValueError("the runs table is empty")
    if "unit" in df.columns and df["unit"].nunique(dropna=False) > 1:
        raise ValueError(f"onsets must share one unit, got {sorted(map(str, df['unit'].unique()))}; convert to steps")
    table = df.loc[:, list(dict.fromkeys([*by, "seed"]))].reset_index(drop=True)
    if (empty := table.isna()).to_numpy().any():
        row, column = np.argwhere(empty.to_numpy())[0]
        raise ValueError(f"row {row}: {table.columns[column]} is missing")
    lower, upper = _numbers(df, f"{onset}_lower"), _numbers(df, f"{onset}_upper")
    _refuse(~np.isfinite(lower) | (lower < 0), lower, f"{onset}_lower", "must be finite and at least 0, in steps")
    _refuse(upper <= 0, upper, f"{onset}_upper", "must be positive, in steps; inf when the run was censored")
    _refuse(upper < lower, upper, f"{onset}_upper", f"must be at least {onset}_lower")
    _refuse((lower == 0) & np.isinf(upper), upper, f"{onset}_upper", "with a lower end of 0 says nothing; drop the run")
    table["lower"], table["upper"] = lower, upper
    if x:
        values = _numbers(df, x)
        _refuse(~(np.isfinite(values) & (values > 0)), values, x, "must be positive and finite")
        table["x"] = values
    identity = list(dict.fromkeys([*by, *([x] if x else []), *(c for c in _IDENTITY if c in df.columns)]))
    if (twice := df.duplicated(identity).to_numpy()).any():
        row = int(np.flatnonzero(twice)[0])
        run = ", ".join(f"{column}={df[column].iloc[row]}" for column in identity)
        raise ValueError(f"row {row}: a second run with {run}; runs must be distinct")
    if table["seed"].nunique() < 2:
        raise ValueError("all runs share one seed, so their scatter is unknown; add seeds, at least 2")
    return table


def rule_complexity(spec: str) -> int:
    """The group size G of a parity rule's spec; ValueError when it has none."""
    found = _GROUP_SIZE.search(str(spec))
    if not found:
        raise ValueError(f"rule {spec!r} has no group size; expected a spec such as parity:6x6,G=3")
    return int(found[1])


def rule_family(spec: str) -> str:
    """The spec without its group size: rules of a family differ in complexity alone."""
    return _GROUP_SIZE.sub("", str(spec))


def model_capacity(model: str) -> int:
    """Nominal parameters of the transformer blocks, 12 * layers * width^2, from the size that ends a model's name.

    Raises:
        ValueError: the name does not end in nano, micro, mini or small.
    """
    size = re.split(r"[-_ ]", str(model))[-1]
    if size not in SIZES:
        raise ValueError(f"model {model!r} must end in one of {', '.join(SIZES)}, such as gpt-mini")
    return 12 * SIZES[size].layers * SIZES[size].width ** 2


def architecture(model: str) -> str:
    """The part of a model's name before its size: ``gpt`` for ``gpt-mini``."""
    return re.split(r"[-_ ]", str(model))[0]


def clocks_by_cell(df: pd.DataFrame, by: Sequence[str] = ("rule", "model", "n_train")) -> pd.DataFrame:
    """Every clock of every cell with its variability across runs, from the intervals alone.

    Args:
        df: a runs table.
        by: columns that define a cell.

    Returns:
        One row a cell and onset: n_runs, n_censored; the median onset lies in (median_lower, median_upper], steps, inf
        when censored; all of the cell's onsets lie in (lowest, highest].

    Raises:
        ValueError: as `check_runs`, or a table without onsets.
    """
    onsets = onset_names(df)
    if not onsets:
        raise ValueError("the runs table has no onsets: columns NAME_lower and NAME_upper")
    rows = []
    for onset in onsets:
        table = check_runs(df, onset, by=by)
        for key, cell in table.groupby(list(by), sort=True):
            rows.append(
                {
                    **dict(zip(by, key, strict=True)),
                    "onset": onset,
                    "n_runs": len(cell),
                    "n_censored": int(np.isinf(cell["upper"]).sum()),
                    "median_lower": _median(cell["lower"].to_numpy()),
                    "median_upper": _median(cell["upper"].to_numpy()),
                    "lowest": cell["lower"].min(),
                    "highest": cell["upper"].max(),
                }
            )
    return pd.DataFrame(rows)


def _median(values: np.ndarray) -> float:
    """The median, infinite as soon as one of the two middle values is."""
    ordered = np.sort(values)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def _numbers(df: pd.DataFrame, column: str) -> np.ndarray:
    """A column as float64; ValueError names the first cell that is not a number."""
    values = pd.to_numeric(df[column], errors="coerce").to_numpy(dtype=float)
    if (bad := np.isnan(values)).any():
        row = int(np.flatnonzero(bad)[0])
        cell = df[column].iloc[row]
        fault = "is missing" if pd.isna(cell) else f"is {cell!r}, not a number"
        hint = "; write inf for a censored run" if column.endswith("_upper") else ""
        raise ValueError(f"row {row}: {column} {fault}{hint}")
    return values


def _refuse(bad: np.ndarray, values: np.ndarray, column: str, requirement: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(f"row {row}: {column} {requirement}, got {values[row]:g}")
