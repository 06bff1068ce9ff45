"""The grid of a sweep: a YAML file, a preset's name or a dict becomes a list of configs, all different."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..config import QUICK_THREE, RunConfig
from .folders import run_name
from .grid_file import load_yaml, short

LIMIT = 100_000
"""Most runs of one grid: beyond it a list was multiplied by mistake."""


def read_grid(source: str | Path | Mapping[str, Any]) -> list[RunConfig]:
    """The configs of a grid, in the order written, seeds varying fastest.

    Args:
        source: a YAML file, the name of a preset, or what such a file holds. All keys are optional::

            preset: quick-gpt                     # configs to start from; by default RunConfig()
            base: {n_eval: 256, steps: 20000}     # fields for all runs, unless given below
            runs:                                 # values that go together
              - {model: gpt-nano, lr: 2e-3}
              - {model: gpt-mini, lr: 1e-3}
            grid:                                 # crossed with each other and with `runs`
              rule: ["parity:6x6,G=2", "parity:6x6,G=3"]
              n_train: [256, 1024, 4096]
            seeds: 3                              # 0, 1, 2; or a list

    Raises:
        ValueError: not such a file; an unknown field, a value of a wrong type or out of range, an empty list, a field
            given twice, or two equal runs; the message names the field.
        OSError: the file cannot be read.
    """
    if isinstance(source, Mapping):
        return _expand(source, "the grid")
    if str(source) in _PRESETS:
        return _expand({"preset": str(source)}, str(source))
    path = Path(source)
    if not path.exists():
        raise ValueError(f"no file {str(path)!r}, and no preset of that name; presets: {', '.join(presets())}")
    return _expand(read_mapping(path, "base, grid and seeds"), str(path))


def read_mapping(path: Path, such_as: str) -> Mapping[str, Any]:
    """The keys and values of a YAML file; ValueError, naming some keys that it may hold, where it has none."""
    content = load_yaml(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold keys such as {such_as}, got {type(content).__name__}")
    return content


def register_preset(name: str, configs: Callable[[], Iterable[RunConfig]]) -> None:
    """Let `read_grid` and `twoclocks sweep` know a list of configs by name.

    Args:
        name: of the preset, in place of a file.
        configs: called when the preset is asked for.

    Raises:
        ValueError: the name is taken.
    """
    if name in _PRESETS:
        raise ValueError(f"a preset named {name!r} exists already")
    _PRESETS[name] = configs


def presets() -> list[str]:
    """The names that `read_grid` knows."""
    return sorted(_PRESETS)


_PRESETS: dict[str, Callable[[], Iterable[RunConfig]]] = {
    **{
        f"quick-{name}": (lambda config=config: [config])  # type: ignore[misc]
        for name, config in QUICK_THREE.items()
    },
    "quick-three": lambda: list(QUICK_THREE.values()),
}
_KEYS = ("preset", "base", "runs", "grid", "seeds")
_TYPES = get_type_hints(RunConfig)


def _expand(content: Mapping[str, Any], where: str) -> list[RunConfig]:
    if unknown := [key for key in content if key not in _KEYS]:
        raise ValueError(f"{where}: unknown key {short(unknown[0])}; known keys: {', '.join(_KEYS)}")
    starts = _preset(content.get("preset"), where)
    base = _fields(content.get("base", {}), f"{where}, base")
    rows = content.get("runs", [{}])
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{where}, runs: must be a list of one or more {{field: value}}, got {short(rows)}")
    rows = [_fields(row, f"{where}, runs, entry {number}") for number, row in enumerate(rows, start=1)]
    axes = _axes(content.get("grid", {}), f"{where}, grid")
    if "seeds" in content:
        if "seed" in axes:
            raise ValueError(f"{where}: seeds and grid both give seed; keep one")
        axes["seed"] = _seeds(content["seeds"], f"{where}, seeds")
    for field in axes:
        if any(field in row for row in rows):
            raise ValueError(f"{where}: {field} is given both in runs and in grid or seeds; keep one")
    count = len(starts) * len(rows)
    for values in axes.values():
        count *= len(values)
    if count > LIMIT:
        raise ValueError(f"{where}: {count:,} runs, more than the {LIMIT:,} of one grid; split it")
    configs = []
    for start, row, values in itertools.product(starts, rows, itertools.product(*axes.values())):
        try:
            configs.append(replace(start, **{**base, **row, **dict(zip(axes, values, strict=True))}))
        except ValueError as fault:
            raise ValueError(f"{where}: {fault}") from None
    _refuse_equal_runs(configs, where)
    return configs


def _preset(name: Any, where: str) -> list[RunConfig]:
    if name is None:
        return [RunConfig()]
    if not isinstance(name, str) or name not in presets():
        raise ValueError(f"{where}: unknown preset {short(name)}; presets: {', '.join(presets())}")
    return list(_PRESETS[name]())


def _axes(grid: Any, where: str) -> dict[str, list[Any]]:
    if not isinstance(grid, Mapping):
        raise ValueError(f"{where}: must be {{field: [values]}}, got {short(grid)}")
    axes = {}
    for field, values in grid.items():
        if not isinstance(values, list):
            raise ValueError(
                f"{where}: {field} must be a list of values, got {short(values)}; one value belongs in base"
            )
        if not values:
            raise ValueError(f"{where}: {field} is an empty list; give values or leave it out")
        axes[field] = [_fields({field: value}, where)[field] for value in values]
    return axes


def _seeds(seeds: Any, where: str) -> list[int]:
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds >= 1:
        if seeds > LIMIT:
            raise ValueError(f"{where}: more than the {LIMIT:,} runs of one grid; split it")
        return list(range(seeds))
    if not isinstance(seeds, list) or not seeds:
        raise ValueError(f"{where}: must be a positive number or a list of seeds, got {short(seeds)}")
    return [_fields({"seed": seed}, where)["seed"] for seed in seeds]


def _fields(values: Any, where: str) -> dict[str, Any]:
    """Config fields from YAML, each in its own type: 1e-3, a string to YAML 1.1, becomes the number it means."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: must be {{field: value}}, got {short(values)}")
    typed = {}
    for field, value in values.items():
        if field not in _TYPES:
            raise ValueError(f"{where}: unknown field {short(field)}; fields are those of `twoclocks run --help`")
        try:
            typed[field] = _convert(value, _TYPES[field])
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{where}: {field} must be {_describe(_TYPES[field])}, got {short(value)}") from None
    return typed


def _convert(value: Any, kind: Any) -> Any:
    """A YAML value as a type; TypeError, ValueError or OverflowError when it is none."""
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError
        return value
    if isinstance(kind, types.UnionType) or get_origin(kind) is Union:
        return None if value is None else _convert(value, get_args(kind)[0])
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        number = value if isinstance(value, int) else float(value)
        if kind is float:
            return float(number)
        if int(number) != number:
            raise ValueError
        return int(number)
    if not isinstance(value, kind):
        raise TypeError
    return value


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_args(kind):
        return f"{_describe(get_args(kind)[0])} or null"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]


def _refuse_equal_runs(configs: Sequence[RunConfig], where: str) -> None:
    seen: set[str] = set()
    for config in configs:
        name = run_name(config)
        if name in seen:
            raise ValueError(f"{where}: the run {name} occurs twice; remove the value that is repeated")
        seen.add(name)
