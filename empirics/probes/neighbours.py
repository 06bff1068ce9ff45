"""Grids near a grid: the other ends of segments and the corners of planes (Fig. 16 to 19)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations

import torch
from torch import Tensor

from ...theory import Rule
from ..data import hash_rows, occur


def invalid_neighbours(rule: Rule, x: Tensor, generator: torch.Generator) -> Tensor:
    """For each grid, one at Hamming distance 1 that breaks the rule, drawn evenly from all such: int64 (n, D).

    Args:
        rule: the rule.
        x: symbols (n, D).
        generator: source of randomness, on the CPU.

    Raises:
        ValueError: no single change of some grid breaks the rule.
    """
    rule.check_symbols(x, batch=True)
    shifts = _shifts(rule, cells=1)
    chosen = []
    for grid in x:
        found = (grid + shifts) % rule.alphabet
        found = found[~rule.is_valid(found)]
        if not len(found):
            raise ValueError(f"no single change of {grid.tolist()} breaks {rule.spec}")
        chosen.append(_draw(found, generator))
    return torch.stack(chosen)


def novel_neighbours(rule: Rule, x: Tensor, train: Tensor, generator: torch.Generator) -> Tensor:
    """For each grid, a near one that obeys the rule and is not in the training set: int64 (n, D).

    Drawn evenly from those at Hamming distance 2 where there are any, as there are for all binary rules and for row
    permutations. Else the nearest got by exchanging two rows, or two columns, in 2, 3 or all of their cells, which
    finds the nearest ones of most Latin squares and Sudokus (4 to 12 cells); else the
    nearest of 4096 draws of the rule.

    Args:
        rule: the rule.
        x: symbols (n, D).
        train: training symbols (N, D).
        generator: source of randomness, on the CPU.

    Raises:
        ValueError: nothing novel was found.
    """
    rule.check_symbols(x, batch=True)
    known = hash_rows(train)
    two = _shifts(rule, cells=2)
    candidates: list[Callable[[Tensor], Tensor]] = [
        lambda grid: (grid + two) % rule.alphabet,
        lambda grid: grid[_exchanges(*rule.shape)],
        lambda grid: rule.sample(4096, generator),
    ]
    chosen = []
    for grid in x:
        for search in candidates:
            found = search(grid)
            found = found[rule.is_valid(found)]
            distance = hamming(found, grid)
            found = found[(distance >= 2) & ~occur(found, known)]
            if len(found):
                break
        else:
            raise ValueError(f"found no valid grid near {grid.tolist()} outside the {len(known)} training samples")
        distance = hamming(found, grid)
        chosen.append(_draw(found[distance == distance.min()], generator))
    return torch.stack(chosen)


def nearest_training(x: Tensor, train: Tensor) -> Tensor:
    """For each grid, the nearest training sample other than itself in Hamming distance, the first of equals: (n, D).

    Raises:
        ValueError: the training set holds nothing else.
    """
    chosen = []
    for grid in x:
        distance = hamming(train, grid)
        distance[distance == 0] = train.shape[1] + 1
        nearest = int(distance.argmin())
        if distance[nearest] > train.shape[1]:
            raise ValueError("the training set holds one grid alone, which has no other nearest training sample")
        chosen.append(train[nearest])
    return torch.stack(chosen)


def hamming(x: Tensor, y: Tensor) -> Tensor:
    """How many cells differ, (..., D) against (..., D): int64 (...)."""
    return (x != y).sum(-1)


def _shifts(rule: Rule, cells: int) -> Tensor:
    """What to add, modulo Q, to change exactly 1 or 2 cells in every way: (n, D)."""
    single = torch.cat([s * torch.eye(rule.dim, dtype=torch.int64) for s in range(1, rule.alphabet)])
    if cells == 1:
        return single
    first, second = torch.triu_indices(len(single), len(single), 1)
    apart = single.argmax(1)[first] != single.argmax(1)[second]
    return single[first[apart]] + single[second[apart]]


@cache
def _exchanges(height: int, width: int) -> Tensor:
    """Orders of the cells that exchange two rows in some columns, or two columns in some rows: (n, D)."""
    cells = torch.arange(height * width).reshape(height, width)
    orders = []
    for by_row in (cells, cells.T):
        lines, places = by_row.shape
        parts = [part for size in sorted({2, 3, places}) for part in combinations(range(places), size)]
        for i, j in combinations(range(lines), 2):
            for part in parts:
                order = cells.flatten().clone()
                one, other = by_row[i, list(part)], by_row[j, list(part)]
                order[one], order[other] = other, one
                orders.append(order)
    return torch.stack(orders) if orders else torch.empty(0, height * width, dtype=torch.int64)


def _draw(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[int(torch.randint(len(rows), (1,), generator=generator))]
