"""What the files of a folder offer: a new file is found by being there."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def offered(package: str, name: str) -> dict[str, Any]:
    """The value of a name in each module of a package that has it, by module, in alphabetical order.

    Args:
        package: full name of a package.
        name: such as ``FAMILY``.
    """
    folder = importlib.import_module(package).__path__
    modules = {
        module.name: importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(folder)
    }
    return {key: getattr(module, name) for key, module in sorted(modules.items()) if hasattr(module, name)}
