"""Plugins: Python that registers rules, families and presets of one's own, for commands and workers of a sweep."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "twoclocks.plugins"
"""The entry-point group by which an installed package names its plugins: a module, or a function to call."""

_loaded: dict[str, str] = {}  # absolute path of each file loaded in this process -> its module's name
_installed: set[str] = set()


def load_plugins(files: Iterable[str | Path]) -> None:
    """Run Python files that register rules, families of models or presets, each once in a process.

    A plugin calls `register_rule`, `register_family`, `register_preset` and their like. The workers of `sweep`,
    wherever they are, load the same files from the same paths before they train.

    Args:
        files: Python files.

    Raises:
        ValueError: no such file, or its code raised an error; the message names the line.
    """
    for file in files:
        path = Path(file).absolute()
        if str(path) in _loaded:
            continue
        if not path.is_file():
            raise ValueError(f"plugin {file}: no such file")
        name = f"twoclocks_plugin_{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ValueError(f"plugin {file}: not a Python file; its name must end in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # as an import would, so that what it defines can be pickled
        try:
            spec.loader.exec_module(module)
        except Exception as fault:
            del sys.modules[name]
            raise ValueError(f"plugin {file}{_line(fault, path)}: {type(fault).__name__}: {fault}") from fault
        _loaded[str(path)] = name


def loaded_plugins() -> tuple[str, ...]:
    """The files that `load_plugins` has run in this process, by absolute path."""
    return tuple(_loaded)


def load_installed_plugins() -> None:
    """Load the plugins of installed packages, once; one that fails is told by a warning and left out."""
    for entry in entry_points(group=GROUP):
        if entry.value in _installed:
            continue
        _installed.add(entry.value)
        try:
            plugin = entry.load()
            if callable(plugin):
                plugin()
        except Exception as fault:
            why = f"{type(fault).__name__}: {fault}"
            warnings.warn(f"the installed plugin {entry.name} ({entry.value}) is left out: {why}", stacklevel=2)


def _line(fault: Exception, path: Path) -> str:
    if isinstance(fault, SyntaxError):
        return f", line {fault.lineno}"
    inside = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == str(path)]
    return f", line {inside[-1]}" if inside else ""
