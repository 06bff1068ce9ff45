"""The version of this package, also where it is used from a clone that nobody has installed."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def own_version() -> str:
    """Such as 0.1.0: of the installed package, or of the clone that it was imported from."""
    try:
        return version("twoclocks")
    except PackageNotFoundError:
        project = Path(__file__).resolve().parents[1] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
