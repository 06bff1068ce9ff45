"""The names of rules: ``rule("parity:6x6,G=3")`` turns a spec into the uniform law on the rule's valid grids."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .law import Rule
from .parity import GroupParity

Options = dict[str, str]


class Family(NamedTuple):
    """How to build the rules of one name."""

    build: Callable[[str, Options], Rule]  # (text of the grid, options) -> rule; ValueError on what it cannot build
    example: str  # a complete spec, shown in error messages


def rule(spec: str) -> Rule:
    """Build a rule from its spec, such as ``parity:6x6,G=3``.

    Args:
        spec: ``name:grid`` or ``name:grid,KEY=VALUE``.

    Returns:
        The rule, whose ``spec`` builds it again.

    Raises:
        ValueError: an unknown name or an impossible grid or option; the message names the known rules and the fault.
    """
    name, _, rest = spec.strip().partition(":")
    if name not in _FAMILIES:
        known = ", ".join(family.example for family in _FAMILIES.values())
        raise ValueError(f"unknown rule {name!r} in {spec!r}; known rules: {known}")
    family = _FAMILIES[name]
    grid, *pairs = rest.split(",")
    try:
        options: Options = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or not value or key in options:
                raise ValueError(f"{pair!r} is not a single KEY=VALUE")
            options[key] = value
        return family.build(grid, options)
    except ValueError as fault:
        raise ValueError(f"rule {spec!r}: {fault} (example: {family.example})") from None


def register_rule(name: str, family: Family) -> None:
    """Make `rule` understand specs that begin with ``name:``, for rules of your own.

    Raises:
        ValueError: the name is taken.
    """
    if name in _FAMILIES:
        raise ValueError(f"a rule named {name!r} exists already")
    _FAMILIES[name] = family


def parse_grid(text: str) -> tuple[int, int]:
    """(H, W) from ``HxW``; ValueError otherwise."""
    height, cross, width = text.partition("x")
    if not cross or not height.isdecimal() or not width.isdecimal() or int(height) < 1 or int(width) < 1:
        raise ValueError(f"the grid must read HEIGHTxWIDTH, such as 6x6, got {text!r}")
    return int(height), int(width)


def parse_options(options: Options, *wanted: str) -> list[str]:
    """The values of exactly the wanted options, in order; ValueError names what is missing or unknown."""
    if unknown := sorted(set(options) - set(wanted)):
        raise ValueError(f"unknown option {unknown[0]!r}; it takes {', '.join(wanted) or 'none'}")
    if missing := [key for key in wanted if key not in options]:
        raise ValueError(f"option {missing[0]!r} is missing")
    return [options[key] for key in wanted]


def parse_int(key: str, text: str) -> int:
    """A non-negative integer; ValueError names the option."""
    if not text.isdecimal():
        raise ValueError(f"{key} must be a non-negative integer, got {text!r}")
    return int(text)


def _parity(grid: str, options: Options) -> Rule:
    (G,) = parse_options(options, "G")
    return GroupParity(parse_grid(grid), parse_int("G", G))


_FAMILIES: dict[str, Family] = {
    "parity": Family(_parity, "parity:6x6,G=3"),
}
