"""The names of rules: ``rule("parity:6x6,G=3")`` turns a spec into the uniform law on the rule's valid grids."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .counts import GroupCount
from .latin import LatinSquare, Sudoku
from .law import Rule
from .parity import GroupParity
from .permutation import RowPermutation

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

    Args:
        name: what the specs begin with.
        family: how to build them, and an example of their spec.

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


def _counts(name: str, per_row: bool, several: bool) -> Callable[[str, Options], Rule]:
    def build(grid: str, options: Options) -> Rule:
        (K,) = parse_options(options, "K")
        if "+" in K and not several:
            other = "row-variable-k" if per_row else "global-k"
            raise ValueError(f"K must be one number, got {K!r}; {other} takes several")
        shape = parse_grid(grid)
        counts = [parse_int("K", count) for count in K.split("+")]
        built = GroupCount(shape, shape[1] if per_row else shape[0] * shape[1], counts)
        built.spec = f"{name}:{shape[0]}x{shape[1]},K={'+'.join(map(str, built.counts))}"
        return built

    return build


def _permutation(grid: str, options: Options) -> Rule:
    parse_options(options)
    if "x" in grid:
        return RowPermutation(*parse_grid(grid))
    return RowPermutation(_parse_side(grid), _parse_side(grid))


def _latin(grid: str, options: Options) -> Rule:
    parse_options(options)
    return LatinSquare(_parse_side(grid))


def _sudoku(grid: str, options: Options) -> Rule:
    parse_options(options)
    return Sudoku(*parse_grid(grid))


def _parse_side(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"the side must be an integer, such as 6, got {text!r}")
    return int(text)


_FAMILIES: dict[str, Family] = {
    "parity": Family(_parity, "parity:6x6,G=3"),
    "exact-k": Family(_counts("exact-k", per_row=False, several=False), "exact-k:6x6,K=12"),
    "row-k": Family(_counts("row-k", per_row=True, several=False), "row-k:6x6,K=3"),
    "row-variable-k": Family(_counts("row-variable-k", per_row=True, several=True), "row-variable-k:6x6,K=1+3+5"),
    "global-k": Family(_counts("global-k", per_row=False, several=True), "global-k:6x6,K=12+18"),
    "permutation": Family(_permutation, "permutation:6"),
    "latin": Family(_latin, "latin:6"),
    "sudoku": Family(_sudoku, "sudoku:2x3"),
}
