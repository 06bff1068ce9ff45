"""A rule from a formula in conjunctive normal form, as SAT solvers read it (DIMACS)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .automaton import LayeredAutomaton
from .explicit import TableAutomaton
from .law import check_grid

Clause = tuple[int, ...]  # of literals, +v and -v
Residual = tuple[tuple[int, int], ...]  # what is left of a clause: for each cell, the symbols that satisfy it, as bits

MOST_STATES = 2**20
"""States after a cell, above which a formula is refused."""

MOST_BYTES = 2**28
"""Of the states after a cell, one byte for each clause that may still be open there."""

MOST_TEXT = 2**26
"""Bytes of a formula's text."""

MOST_LITERALS = 2**20
"""Literals of all clauses while auxiliary variables are taken out."""


def rule_from_cnf(source: str | Path, shape: tuple[int, int], alphabet: int = 2, spec: str = "cnf") -> LayeredAutomaton:
    """The rule whose valid grids are the models of a CNF formula: exact counts, samples and posteriors.

    Variables are numbered from 1, cells and symbols from 0, cells in raster order. With two symbols, variable i + 1 is
    true where cell i holds symbol 1. With Q > 2, variable i Q + s + 1 is true where cell i holds symbol s; that each
    cell holds exactly one symbol need not be said. Variables beyond these are auxiliary (Tseitin, 1968): a grid is
    valid where some values of them satisfy the formula; they are taken out by resolution (Davis and Putnam, 1960).

    The automaton's states after a cell are the different sets of clauses that are then still open, each with what is
    left of it. A formula with more than 2^20 of them after some cell, or 256 MiB, is refused: keep the cells of a
    clause close together in raster order.

    Args:
        source: a path; or the text itself, if it has a line break.
        shape: (H, W).
        alphabet: Q.
        spec: the rule's name; `register_rule` makes `rule` know it.

    Raises:
        OSError: the file cannot be read.
        ValueError: a text that is no DIMACS CNF, naming the line; a formula of fewer variables than the grid needs,
            without models, or with too many states.
    """
    check_grid(shape, alphabet)
    n_variables, clauses = read_dimacs(_text(source))
    D = shape[0] * shape[1]
    needed = D if alphabet == 2 else D * alphabet
    if n_variables < needed:
        each = "one for each cell" if alphabet == 2 else "one for each cell and symbol"
        raise ValueError(
            f"a {shape[0]}x{shape[1]} grid of {alphabet} symbols needs {needed} variables, {each}; the formula has "
            f"{n_variables} (write that number into its header if some cells are free)"
        )
    clauses = _without(clauses, range(needed + 1, n_variables + 1))
    residuals = {r for clause in clauses if (r := _over_cells(clause, alphabet)) is not None}
    return TableAutomaton(shape, alphabet, _tables(residuals, D, alphabet), spec)


def read_dimacs(text: str) -> tuple[int, list[Clause]]:
    """The number of variables and the clauses of a DIMACS CNF; ValueError names the line and the fault."""
    header: tuple[int, int] | None = None
    clauses: list[Clause] = []
    clause: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("c"):
            continue
        if words[0] == "%":  # the end of SATLIB's files
            break
        if words[0] == "p":
            if header is not None or len(words) != 4 or words[1] != "cnf" or not (words[2] + words[3]).isdecimal():
                raise ValueError(
                    f"line {number} of the formula: expected one header 'p cnf VARIABLES CLAUSES', got {line[:60]!r}"
                )
            header = _integer(words[2], number), _integer(words[3], number)
            continue
        if header is None:
            raise ValueError(f"line {number} of the formula: 'p cnf VARIABLES CLAUSES' must come before the clauses")
        for word in words:
            literal = _integer(word, number)
            if abs(literal) > header[0]:
                raise ValueError(f"line {number} of the formula: variable {abs(literal)} of {header[0]}")
            if literal:
                clause.append(literal)
                continue
            clauses.append(tuple(clause))
            clause = []
    if header is None:
        raise ValueError("the formula has no header 'p cnf VARIABLES CLAUSES': a text without line breaks is a path")
    if clause:
        raise ValueError("the formula ends within a clause: each ends with 0")
    if len(clauses) != header[1]:
        raise ValueError(f"the formula's header promises {header[1]} clauses, it has {len(clauses)}")
    return header[0], clauses


def _text(source: str | Path) -> str:
    if isinstance(source, str) and "\n" in source:
        text = source
    else:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"no file {str(path)[:200]!r}; a formula's text itself has line breaks")
        if path.stat().st_size > MOST_TEXT:
            raise ValueError(f"{path} holds {path.stat().st_size:,} bytes; at most {MOST_TEXT:,} are read")
        text = path.read_text(encoding="utf-8", errors="replace")
    if len(text) > MOST_TEXT:
        raise ValueError(f"the formula has {len(text):,} characters; at most {MOST_TEXT:,} are read")
    return text


def _integer(word: str, line: int) -> int:
    try:
        value = int(word) if len(word) < 20 else None
    except ValueError:
        value = None
    if value is None:
        raise ValueError(f"line {line} of the formula: {word[:40]!r} is no literal")
    return value


def _without(clauses: Sequence[Clause], auxiliary: Sequence[int]) -> list[Clause]:
    """Clauses that hold where some values of the auxiliary variables satisfy the given ones: all their resolvents."""
    uses: dict[int, set[frozenset[int]]] = {}  # the clauses with each literal
    known: set[frozenset[int]] = set()

    def add(clause: frozenset[int]) -> None:
        if any(-literal in clause or any(c <= clause for c in uses.get(literal, ())) for literal in clause):
            return  # always true, or said already
        longer = set.intersection(*(uses.get(literal, set()) for literal in clause)) if clause else set(known)
        for old in longer:
            remove(old)
        known.add(clause)
        for literal in clause:
            uses.setdefault(literal, set()).add(clause)

    def remove(clause: frozenset[int]) -> None:
        known.remove(clause)
        for literal in clause:
            uses[literal].remove(clause)

    for clause in sorted({frozenset(clause) for clause in clauses}, key=len):
        add(clause)
    left = set(auxiliary)
    while left:
        pairs = {v: len(uses.get(v, ())) * len(uses.get(-v, ())) for v in left}
        variable = min(left, key=lambda v: (pairs[v], v))
        left.remove(variable)
        positive, negative = list(uses.get(variable, ())), list(uses.get(-variable, ()))
        if sum(map(len, positive)) * max(1, len(negative)) > MOST_LITERALS or sum(map(len, known)) > MOST_LITERALS:
            raise ValueError(
                f"taking out auxiliary variable {variable} leaves more than {MOST_LITERALS:,} literals; give a formula "
                "over the cells alone, or list the valid grids (rule_from_grids)"
            )
        for clause in positive + negative:
            remove(clause)
        for first in positive:
            for second in negative:
                add((first - {variable}) | (second - {-variable}))
    return [tuple(clause) for clause in known]


def _over_cells(clause: Clause, alphabet: int) -> Residual | None:
    """A clause as the symbols that satisfy it in each cell, bit s for symbol s; None where it always holds."""
    full = (1 << alphabet) - 1
    symbols: dict[int, int] = {}
    for literal in clause:
        if alphabet == 2:
            cell, mask = abs(literal) - 1, 2 if literal > 0 else 1
        else:
            cell, symbol = divmod(abs(literal) - 1, alphabet)
            mask = 1 << symbol if literal > 0 else full & ~(1 << symbol)
        symbols[cell] = symbols.get(cell, 0) | mask
    return None if full in symbols.values() else tuple(sorted(symbols.items()))


def _tables(clauses: set[Residual], D: int, alphabet: int) -> list[np.ndarray]:
    """The automaton: for each cell, the state after it that each state before it goes to by each symbol, or -1."""
    starting: list[list[Residual]] = [[] for _ in range(D)]
    for clause in clauses:
        if not clause:
            return [np.full((1, alphabet), -1, dtype=np.int32)] * D  # the empty clause: no model
        starting[clause[0][0]].append(clause)
    tables: list[np.ndarray] = []
    open_ = np.zeros((0, 1), dtype=bool)  # which residuals are open in which state
    residuals: list[Residual] = []
    for t in range(D):
        numbers: dict[Residual, int] = {}  # of what may be left open after this cell
        carried = [_after(residual, t, numbers) for residual in residuals]
        started = [_after(residual, t, numbers) for residual in starting[t]]
        n = open_.shape[1]
        if n * alphabet * max(1, len(numbers)) > MOST_BYTES:
            raise ValueError(_too_many(t))
        table = np.full((n, alphabet), -1, dtype=np.int32)
        parts, places = [], []
        for symbol in range(alphabet):
            following, alive = np.zeros((len(numbers), n), dtype=bool), np.ones(n, dtype=bool)
            everywhere = [(mask, number, np.ones(n, dtype=bool)) for mask, number in started]
            for mask, number, is_open in [
                *((*move, row) for move, row in zip(carried, open_, strict=True)),
                *everywhere,
            ]:
                if mask >> symbol & 1:
                    continue  # satisfied
                if number < 0:
                    alive &= ~is_open
                else:
                    following[number] |= is_open
            residuals = list(numbers)
            places.append(np.flatnonzero(alive & _satisfiable(following, residuals, alphabet)))
            parts.append(following[:, places[-1]])
        columns = np.concatenate(parts, axis=1)
        first, merged = _different(columns)
        if len(first) > MOST_STATES:
            raise ValueError(_too_many(t))
        open_ = columns[:, first]
        ends = np.cumsum([len(rows) for rows in places])
        for symbol, (rows, targets) in enumerate(zip(places, np.split(merged, ends[:-1]), strict=True)):
            table[rows, symbol] = targets
        tables.append(table)
    return tables


def _after(residual: Residual, t: int, numbers: dict[Residual, int]) -> tuple[int, int]:
    """The symbols of cell t that satisfy a residual, as bits, and the number of what is left of it else, -1 if none."""
    here, rest = (residual[0][1], residual[1:]) if residual[0][0] == t else (0, residual)
    return here, numbers.setdefault(rest, len(numbers)) if rest else -1


def _satisfiable(is_open: np.ndarray, residuals: Sequence[Residual], alphabet: int) -> np.ndarray:
    """Which states (n,) leave each cell a symbol, by the residuals of one cell alone: most dead ends are found here."""
    units: dict[int, list[tuple[int, int]]] = {}
    for k, residual in enumerate(residuals):
        if len(residual) == 1:
            units.setdefault(residual[0][0], []).append((k, residual[0][1]))
    alive = np.ones(is_open.shape[1], dtype=bool)
    for unit in units.values():
        free = np.zeros_like(alive)
        for symbol in range(alphabet):
            against = [k for k, mask in unit if not mask >> symbol & 1]
            free |= ~is_open[against].any(0)
        alive &= free
    return alive


def _different(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each kind of column of bits (K, n), and the kind of every column."""
    if not len(columns):
        n = columns.shape[1]
        return np.arange(min(1, n)), np.zeros(n, dtype=np.int64)
    packed = np.ascontiguousarray(np.packbits(columns, axis=0).T)
    _, first, merged = np.unique(packed.view(f"V{packed.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    return first, merged.reshape(-1)


def _too_many(t: int) -> str:
    return (
        f"the formula leaves more than {MOST_STATES:,} states, or {MOST_BYTES >> 20} MiB of them, after cell {t}: "
        "order the cells so that those of a clause are close together, or list the valid grids (rule_from_grids)"
    )
