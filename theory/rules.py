"""The names of rules: ``rule("parity:6x6,G=3")`` turns a spec into the uniform law on the rule's valid grids."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from .control_rules import ShuffledRule, random_subset
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


MOST_CELLS = 2**20
"""Cells of the largest grid that a spec may ask for."""

LONGEST_SPEC = 10_000
"""Characters of the longest spec; 900 counts take 3,500."""

MOST_KEPT = 64
"""Rules that a process keeps to give them again."""


def rule(spec: str) -> Rule:
    """Build a rule from its spec, such as ``parity:6x6,G=3``.

    Args:
        spec: ``name:grid`` or ``name:grid,KEY=VALUE``; the grid has at most 2^20 cells.

    Returns:
        The rule, whose ``spec`` builds it again. It is built once a process, with all that it has found of itself:
        the same text gives the same object, for the `MOST_KEPT` used last.

    Raises:
        ValueError: an unknown name or an impossible grid or option; the message names the known rules and the fault.
    """
    if not isinstance(spec, str):
        raise ValueError(f"a rule is named by a text such as 'parity:6x6,G=3', got {type(spec).__name__}")
    if len(spec) > LONGEST_SPEC:
        raise ValueError(f"a rule's spec has at most {LONGEST_SPEC:,} characters, got {len(spec):,}: {spec[:40]!r}...")
    spec = spec.strip()
    name, colon, rest = spec.partition(":")
    if name not in _FAMILIES:
        known = ", ".join(own if isinstance(entry, Rule) else entry.example for own, entry in _FAMILIES.items())
        raise ValueError(
            f"unknown rule {_short(name)!r} in {_short(spec)!r}; known rules: {known}; to add one of your own call "
            "tc.register_rule(name, rule), with a rule from tc.rule_from_grids, tc.rule_from_cnf, "
            "tc.rule_from_validity or a class"
        )
    family = _FAMILIES[name]
    if isinstance(family, Rule):
        if colon:
            raise ValueError(
                f"rule {_short(spec)!r}: {name!r} is one rule, of one grid; leave out {_short(':' + rest)!r}"
            )
        return family
    return _built(family, rest, _short(spec))


@lru_cache(MOST_KEPT)
def _built(family: Family, rest: str, shown: str) -> Rule:
    """The rule of a family with this grid and options; `shown` is the spec in messages."""
    grid, *pairs = rest.split(",")
    try:
        _check_size(grid)
        options: Options = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or not value or key in options:
                raise ValueError(f"{_short(pair)!r} is not a single KEY=VALUE")
            options[key] = value
        return family.build(grid, options)
    except ValueError as fault:
        raise ValueError(f"rule {shown!r}: {fault} (example: {family.example})") from None


def register_rule(name: str, family: Family | Rule) -> None:
    """Make `rule` understand specs that begin with ``name:``, or the one spec ``name``, for rules of your own.

    Args:
        name: what the specs begin with.
        family: how to build them, and an example of their spec; or one rule, whose spec becomes the name.

    Raises:
        ValueError: the name is taken, or is no plain word; neither a family nor a rule.
    """
    if not isinstance(name, str) or not name or set(name) & set(":,= ") or not name.isprintable() or len(name) > 100:
        raise ValueError(f"a rule's name is a word without blanks, colons, commas and equal signs, got {name!r}")
    if name in _FAMILIES:
        raise ValueError(f"a rule named {name!r} exists already")
    if not isinstance(family, Family | Rule):
        raise ValueError(f"register_rule takes a Family or a Rule, got {type(family).__name__}")
    if isinstance(family, Rule):
        _built.cache_clear()  # it may be kept under the spec that it had
        family.spec = name
    _FAMILIES[name] = family


def parse_grid(text: str) -> tuple[int, int]:
    """(H, W) from ``HxW``; ValueError otherwise, or for more than 2^20 cells."""
    height, cross, width = text.partition("x")
    if not cross or not height.isdecimal() or not width.isdecimal() or not height.strip("0") or not width.strip("0"):
        raise ValueError(f"the grid must read HEIGHTxWIDTH, such as 6x6, got {_short(text)!r}")
    _check_size(text)
    return int(height), int(width)


def parse_options(options: Options, *wanted: str) -> list[str]:
    """The values of exactly the wanted options, in order; ValueError names what is missing or unknown."""
    if unknown := sorted(set(options) - set(wanted)):
        raise ValueError(f"unknown option {unknown[0]!r}; it takes {', '.join(wanted) or 'none'}")
    if missing := [key for key in wanted if key not in options]:
        raise ValueError(f"option {missing[0]!r} is missing")
    return [options[key] for key in wanted]


def parse_int(key: str, text: str) -> int:
    """A non-negative integer, at most 2^20 as no count of cells exceeds it; ValueError names the option."""
    if not text.isdecimal():
        raise ValueError(f"{key} must be a non-negative integer, got {_short(text)!r}")
    return _at_most(key, text, MOST_CELLS)


def _at_most(what: str, text: str, most: int) -> int:
    """The number in a text of digits, unless it is larger; digits are counted first, for reading many takes long."""
    digits = text.lstrip("0")
    if len(digits) > len(str(most)) or int(digits or "0") > most:
        raise ValueError(f"{what} must be at most {most:,}, got {_short(text)}")
    return int(digits or "0")


def _check_size(grid: str) -> None:
    """ValueError where a grid HEIGHTxWIDTH has more than 2^20 cells, before anything is built from it."""
    sides = grid.strip().split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        return  # a family of one's own may write its grids in another way
    height, width = (_at_most("a side of the grid", side, MOST_CELLS) for side in sides)
    if height * width > MOST_CELLS:
        raise ValueError(f"a grid has at most {MOST_CELLS:,} cells, got {height} x {width} = {height * width:,}")


def _short(text: str) -> str:
    """A text cut to a line's length."""
    return text if len(text) <= 80 else f"{text[:60]}...{text[-10:]}"


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


def _shuffled(grid: str, options: Options) -> Rule:
    before = {key: value for key, value in options.items() if key != "seed"}
    (seed,) = parse_options({key: value for key, value in options.items() if key == "seed"}, "seed")
    spec = ",".join([grid, *(f"{key}={value}" for key, value in before.items())])
    return ShuffledRule(rule(spec), parse_int("seed", seed))


def _random(grid: str, options: Options) -> Rule:
    M, seed = parse_options(options, "M", "seed")
    return random_subset(parse_grid(grid), parse_int("M", M), parse_int("seed", seed))


def _parse_side(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"the side must be an integer, such as 6, got {_short(text)!r}")
    return _at_most("the side", text, MOST_CELLS)


_FAMILIES: dict[str, Family | Rule] = {
    "parity": Family(_parity, "parity:6x6,G=3"),
    "exact-k": Family(_counts("exact-k", per_row=False, several=False), "exact-k:6x6,K=12"),
    "row-k": Family(_counts("row-k", per_row=True, several=False), "row-k:6x6,K=3"),
    "row-variable-k": Family(_counts("row-variable-k", per_row=True, several=True), "row-variable-k:6x6,K=1+3+5"),
    "global-k": Family(_counts("global-k", per_row=False, several=True), "global-k:6x6,K=12+18"),
    "permutation": Family(_permutation, "permutation:6"),
    "latin": Family(_latin, "latin:6"),
    "sudoku": Family(_sudoku, "sudoku:2x3"),
    "shuffled": Family(_shuffled, "shuffled:parity:6x6,G=3,seed=1"),
    "random": Family(_random, "random:4x6,M=65536,seed=0"),
}
