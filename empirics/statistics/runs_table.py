"""The runs table: one row per training run, with the interval that each of its onsets lies in.

| column | meaning |
|---|---|
| `rule` | spec of the rule, such as ``parity:6x6,G=3``; the claims read G from it |
| `model` | name such as ``gpt-nano``; the claims read the size from its end: nano < micro < mini < small |
| `n_train` | N, training samples, positive |
| `seed` | label of the run within its cell; a (rule, model, n_train, seed) occurs once |
| `tau_rule_lower`, `tau_rule_upper` | training steps: the onset lies in (lower, upper] |
| `tau_mem_lower`, `tau_mem_upper` | likewise |
| `unit` | of training time, the same in all rows; steps where the column is missing |

upper = inf: censored, the onset did not come before training ended; lower = 0: it came before the first evaluation;
lower = upper: it is known exactly. Any other onset ``NAME`` is a pair of columns ``NAME_lower``, ``NAME_upper``, and
any other column may serve as x or group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real

import numpy as np
import pandas as pd

from ...models import SIZES
from ...theory.arguments import real_number
from .written_numbers import Marks

_GROUP_SIZE = re.compile(r"(?<=[,:])\s*G=(\d+)\s*(?=,|$)")
MEASURES = ("onset", "n_runs", "n_censored", "median_lower", "median_upper", "lowest", "highest")
"""Columns of `clocks_by_cell` beside those that name a cell."""
_IDENTITY = ("rule", "model", "n_train", "seed")


def onset_names(df: pd.DataFrame) -> list[str]:
    """The onsets that a table holds: NAME for each pair of columns NAME_lower, NAME_upper."""
    if not isinstance(df, pd.DataFrame):
        raise ValueError(f"a runs table is a pandas DataFrame, got {type(df).__name__}")
    columns = [str(column) for column in df.columns]
    return [c[: -len("_lower")] for c in columns if c.endswith("_lower") and c[: -len("_lower")] + "_upper" in columns]


def check_runs(df: pd.DataFrame, onset: str, x: str | None = None, by: str | Sequence[str] = ()) -> pd.DataFrame:
    """The columns of a runs table that a fit needs, validated.

    Args:
        df: a runs table; its index is ignored, unless it is called ``line``: then messages name lines, not rows.
        onset: NAME of the columns NAME_lower and NAME_upper, in training steps or what a column ``unit`` says.
        x: a positive numeric column, if one is needed.
        by: columns whose values name the groups, or one of them.

    Returns:
        A new table with float64 columns ``lower``, ``upper``, and ``x`` if asked, the `by` columns, and ``seed``.

    Raises:
        ValueError: missing columns, or one that is there twice; a `by` column with the name of a new one; missing,
            non-numeric, negative or reversed values; x not positive; several units; the same run twice; a single seed.
            The message names the row, counted from 0, or the line.
    """
    known = onset_names(df)
    by = column_names(by)
    needed = [f"{onset}_lower", f"{onset}_upper", *([x] if x else []), *by, "seed"]
    if missing := [column for column in needed if column not in df.columns]:
        raise ValueError(_missing(df, missing[0], onset, known))
    identity = list(dict.fromkeys([*by, *([x] if x else []), *(c for c in _IDENTITY if c in df.columns)]))
    if twins := [c for c in dict.fromkeys([*needed, *identity]) if list(df.columns).count(c) > 1]:
        raise ValueError(f"the runs table has two columns {twins[0]!r}, as after a merge; keep one")
    if taken := [column for column in by if column in ("lower", "upper", *(["x"] if x else []))]:
        raise ValueError(f"a column that names groups cannot be called {taken[0]!r} here; rename it")
    if df.empty:
        raise ValueError("the runs table is empty")
    unit_of(df)
    table = pd.DataFrame({column: _plain(df[column]) for column in dict.fromkeys([*by, "seed"])})
    if (empty := table.isna()).to_numpy().any():
        row, column = np.argwhere(empty.to_numpy())[0]
        raise ValueError(f"{_place(df, row)}: {table.columns[column]} is missing")
    lower, upper = as_numbers(df, f"{onset}_lower"), as_numbers(df, f"{onset}_upper")

    def refuse(bad: np.ndarray, values: np.ndarray, column: str, requirement: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(f"{_place(df, row)}: {column} {requirement}, got {values[row]:g}")

    refuse(~np.isfinite(lower) | (lower < 0), lower, f"{onset}_lower", "must be finite and at least 0")
    refuse(upper <= 0, upper, f"{onset}_upper", "must be positive; inf when the run was censored")
    refuse(upper < lower, upper, f"{onset}_upper", f"must be at least {onset}_lower")
    table["lower"], table["upper"] = lower, upper
    if x:
        values = as_numbers(df, x)
        refuse(~(np.isfinite(values) & (values > 0)), values, x, "must be positive and finite")
        table["x"] = values
    try:
        twice = df.duplicated(identity).to_numpy()
        seeds = table["seed"].nunique()
        for column in by:
            table[column].nunique()
    except TypeError as fault:  # a list or another thing that cannot be compared
        raise ValueError(f"a column that names runs holds what is no name: {fault}; use text or numbers") from None
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        run = ", ".join(f"{column}={df[column].iloc[row]}" for column in identity)
        raise ValueError(f"{_place(df, row)}: a second run with {run}; runs must be distinct")
    if seeds < 2:
        raise ValueError("all runs share one seed, so their scatter is unknown; add seeds, at least 2")
    return table


def column_names(by: str | Sequence[str]) -> tuple[str, ...]:
    """The columns that name groups, each once: one name stands for a list of one.

    Raises:
        ValueError: neither a name nor a sequence of names.
    """
    if isinstance(by, str):
        return (by,)
    if not isinstance(by, Sequence | pd.Index | np.ndarray):
        raise ValueError(f"by must be the name of a column, a list of names, or () for one group, got {by!r}")
    return tuple(dict.fromkeys(by))


def says_something(table: pd.DataFrame) -> np.ndarray:
    """Runs (n,) of whose onset more is known than (0, inf]: others ended before the first evaluation."""
    return ((table["lower"] > 0) | np.isfinite(table["upper"])).to_numpy()


def unit_of(df: pd.DataFrame) -> str:
    """What onsets are counted in: the value of the table's column ``unit``, steps without one.

    Raises:
        ValueError: several units.
    """
    if "unit" not in df.columns:
        return "steps"
    units = pd.unique(df["unit"].astype(object))
    if len(units) > 1:
        raise ValueError(f"onsets must share one unit, got {sorted(map(str, units))}; convert to one")
    return "steps" if not len(units) or pd.isna(units[0]) else str(units[0])


def intervals_from_steps(
    df: pd.DataFrame,
    tau: str | None,
    grid_ratio: float | None = None,
    grid_step: float | None = None,
    last_step: float | str | None = None,
) -> pd.DataFrame:
    """The table with columns TAU_lower and TAU_upper made from the single column TAU and the grid of evaluations.

    Args:
        df: a table with a column of first evaluations that meet the criterion, inf where none does.
        tau, grid_ratio, grid_step, last_step: as in `read_runs_csv`.

    Raises:
        ValueError: no such column, one that has its ends already, not exactly one of grid_ratio (above 1) and grid_step
            (above 0), or a run without an onset whose last step is not given.
    """
    if tau is None:
        raise ValueError("a grid of evaluations needs the column of the onsets: --tau COLUMN")
    if tau not in df.columns:
        raise ValueError(f"no column {tau!r}; it has {', '.join(map(str, df.columns))}")
    if tau in onset_names(df):
        raise ValueError(f"it has {tau}_lower and {tau}_upper already; leave out --tau and the grid")
    if (grid_ratio is None) == (grid_step is None):
        raise ValueError(f"--tau {tau} needs the grid of evaluations: either --grid-ratio R or --grid-step S")
    if grid_ratio is not None and not 1 < real_number("grid_ratio", grid_ratio) < np.inf:
        raise ValueError(f"grid_ratio, of the steps of successive evaluations, must be above 1, got {grid_ratio}")
    if grid_step is not None and not 0 < real_number("grid_step", grid_step) < np.inf:
        raise ValueError(f"grid_step, between evaluations, must be above 0, got {grid_step}")
    upper = as_numbers(df, tau)
    late = np.isposinf(upper)
    reached = np.where(late, 0.0, upper)
    lower = reached / grid_ratio if grid_ratio is not None else np.maximum(reached - (grid_step or 0.0), 0.0)
    if late.any():
        lower[late] = _last_steps(df, tau, last_step, late)[late]
    return df.assign(**{f"{tau}_lower": lower, f"{tau}_upper": upper})


def _last_steps(df: pd.DataFrame, tau: str, last_step: float | str | None, late: np.ndarray) -> np.ndarray:
    """The last evaluation of each run (n,)."""
    if last_step is None:
        row = int(np.flatnonzero(late)[0])
        raise ValueError(
            f"{_place(df, row)}: {tau} is inf, so the run ended before its onset: say at which step by --last-step, a "
            f"number or a column"
        )
    if isinstance(last_step, str) and last_step in df.columns:
        ends = as_numbers(df, last_step)
    else:
        try:
            ends = np.full(len(df), float(last_step))
        except ValueError:
            raise ValueError(f"--last-step {last_step} is neither a number nor a column") from None
    if not (np.isfinite(ends[late]) & (ends[late] > 0)).all():
        raise ValueError(f"--last-step {last_step}: the last step of a run must be positive and finite")
    return ends


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


def clocks_by_cell(df: pd.DataFrame, by: str | Sequence[str] = ("rule", "model", "n_train")) -> pd.DataFrame:
    """Every clock of every cell with its variability across runs, from the intervals alone.

    Args:
        df: a runs table.
        by: columns that define a cell; empty for one cell.

    Returns:
        One row per cell and onset: n_runs, n_censored; the median onset lies in (median_lower, median_upper], inf when
        censored; all of the cell's onsets lie in (lowest, highest]; in the table's unit, else steps.

    Raises:
        ValueError: as `check_runs`, a table without onsets, or a `by` column with the name of a new one.
    """
    onsets = onset_names(df)
    if not onsets:
        raise ValueError("the runs table has no onsets: columns NAME_lower and NAME_upper")
    by = column_names(by)
    if taken := [column for column in by if column in MEASURES]:
        raise ValueError(f"a column that names groups cannot be called {taken[0]!r} here; rename it")
    rows = []
    for onset in onsets:
        table = check_runs(df, onset, by=by)
        for key, cell in table.groupby(list(by), sort=True, observed=True) if by else [((), table)]:
            rows.append(
                {
                    **dict(zip(by, key, strict=True)),
                    "onset": onset,
                    "n_runs": len(cell),
                    "n_censored": int(np.isinf(cell["upper"]).sum()),
                    "median_lower": median_end(cell["lower"].to_numpy()),
                    "median_upper": median_end(cell["upper"].to_numpy()),
                    "lowest": cell["lower"].min(),
                    "highest": cell["upper"].max(),
                }
            )
    return pd.DataFrame(rows)


def median_end(values: np.ndarray) -> float:
    """The median of the lower or of the upper ends of onsets, infinite as soon as one of the two middle values is."""
    ordered = np.sort(values)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def as_numbers(df: pd.DataFrame, column: str) -> np.ndarray:
    """A column as float64; ValueError names the first cell that is not a number: dates and truth values are none."""
    values = df[column]
    if isinstance(values, pd.DataFrame):
        raise ValueError(f"the runs table has two columns {column!r}, as after a merge; keep one")
    hint = "; write inf for a censored run" if column.endswith("_upper") else ""
    if pd.api.types.is_bool_dtype(values.dtype) or pd.api.types.is_datetime64_any_dtype(values.dtype):
        raise ValueError(f"{_place(df, 0)}: {column} is {values.iloc[0]}, not a number{hint}")
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_complex_dtype(values.dtype):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
    else:
        known: dict[object, float] = {}
        numbers = np.empty(len(values))
        for row, cell in enumerate(values.astype(object)):
            try:
                numbers[row] = known[cell] if isinstance(cell, str) and cell in known else _number(cell)
            except ValueError as fault:
                raise ValueError(f"{_place(df, row)}: {column} {fault}{hint}") from None
            if isinstance(cell, str):
                known[cell] = numbers[row]
    if (bad := np.isnan(numbers)).any():
        raise ValueError(f"{_place(df, int(np.flatnonzero(bad)[0]))}: {column} is missing{hint}")
    return numbers


def _number(cell: object) -> float:
    """The number in a cell of any type, NaN for none; ValueError for what is no number."""
    if cell is None or cell is pd.NA:
        return np.nan
    if isinstance(cell, str):
        if (value := Marks().number(cell)) is None:
            raise ValueError(f"is {cell!r}, not a number" if cell.strip() else "is missing")
        return value
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, Real | Decimal):
        raise ValueError("is missing" if cell is pd.NaT else f"is {cell!r}, not a number")
    try:
        return float(cell)
    except OverflowError:
        raise ValueError(f"is {str(cell)[:20]}..., beyond the range of numbers") from None


def _plain(values: pd.Series) -> np.ndarray:
    """Names as they are, also those of a categorical column."""
    return (values.astype(object) if isinstance(values.dtype, pd.CategoricalDtype) else values).to_numpy()


def _place(df: pd.DataFrame, row: int) -> str:
    return f"line {df.index[row]}" if df.index.name == "line" else f"row {row}"


def _missing(df: pd.DataFrame, column: str, onset: str, onsets: Sequence[str]) -> str:
    has = f"it has {', '.join(map(str, df.columns))}"
    if not column.startswith(f"{onset}_"):
        return f"the runs table has no column {column!r}; {has}"
    if onset in df.columns:
        return (
            f"the runs table has no column {column!r}, only {onset!r}: the onset lies between two evaluations; where "
            f"their steps grow by a ratio R, df.assign({onset}_lower=df[{onset!r}] / R, {onset}_upper=df[{onset!r}])"
        )
    others = f"its onsets are {', '.join(onsets)}; " if onsets else ""
    return f"the runs table has no column {column!r}; {others}{has}"
