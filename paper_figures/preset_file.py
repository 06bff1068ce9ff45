"""A preset of one's own, from a YAML file that says what it changes of another."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ..empirics import RunConfig, read_grid
from ..empirics.sweeps.grid import read_mapping
from .presets import PRESETS, Preset, preset


def read_preset(path: Path) -> Preset:
    """The preset of a YAML file. All keys are optional; those not given are as in the preset that it starts from::

        start: laptop                     # a preset's name
        seeds: 5                          # any field of `Preset`
        group_sizes: [2, 3]
        gpt:                              # any field of `Architecture`
          n_train: [128, 256, 512]
          base: {lr: 1e-3, precision: fp32}  # any field of `RunConfig`

    It is named after the file, and so are its data; its runs are in runs/figures-NAME.

    Raises:
        ValueError: not such a file; an unknown field or a value of a wrong type; a file with the name of a preset.
        OSError: the file cannot be read.
    """
    content = dict(read_mapping(path, "start, seeds, dit and gpt"))
    name = path.stem
    if name in PRESETS:
        raise ValueError(f"{path}: a preset named {name!r} exists already; rename the file")
    start = preset(_typed(content.pop("start", "laptop"), str, f"{path}, start"))
    start = dataclasses.replace(start, name=name, runs=Path(f"runs/figures-{name}"))
    if "name" in content:
        raise ValueError(f"{path}: a preset has the name of its file, {name!r}; leave name out")
    return _changed(start, content, str(path))


def _changed(value: Any, changes: Any, where: str) -> Any:
    """A dataclass with some fields from YAML, at any depth."""
    if not isinstance(changes, Mapping):
        raise ValueError(f"{where}: must be {{field: value}}, got {changes!r}")
    if isinstance(value, RunConfig):
        try:
            (read,) = read_grid({"base": changes})
        except ValueError as fault:
            raise ValueError(f"{where}: {re.sub('^the grid(, base)?: ', '', str(fault))}") from None
        return dataclasses.replace(value, **{name: getattr(read, name) for name in changes})
    kinds = get_type_hints(type(value))
    fields = {}
    for name, change in changes.items():
        place = f"{where}, {name}"
        if name not in kinds:
            raise ValueError(f"{where}: unknown field {name!r}; fields: {', '.join(kinds)}")
        known = getattr(value, name)
        fields[name] = _changed(known, change, place) if _is_value(known) else _typed(change, kinds[name], place)
    return dataclasses.replace(value, **fields)


def _is_value(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _typed(value: Any, kind: Any, where: str) -> Any:
    """A YAML value in the type of a field; ValueError where it is none."""
    inner = get_args(kind)
    if get_origin(kind) is tuple:
        length = None if inner[-1] is ... else len(inner)
        if not isinstance(value, list) or not value or length not in (None, len(value)):
            raise ValueError(f"{where}: must be a list of {length or 'one or more'} values, got {value!r}")
        return tuple(_typed(item, inner[0], where) for item in value)
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: must be {{name: value}}, got {value!r}")
        return {_typed(key, inner[0], where): _typed(item, inner[1], where) for key, item in value.items()}
    if kind is Path:
        return Path(_typed(value, str, where))
    try:
        if isinstance(value, bool) or ((kind is str) != isinstance(value, str) and kind is not float):
            raise TypeError
        typed = kind(value)
        if typed != (float(value) if kind is float else value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        what = {int: "a whole number", float: "a number", str: "text"}[kind]
        raise ValueError(f"{where}: must be {what}, got {value!r}") from None
    return typed
