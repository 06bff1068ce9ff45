"""A rule from a list of its valid grids, or from a function that tells them: counts, samples and posteriors follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from .automaton import LayeredAutomaton
from .law import Rule, check_grid

MOST_SYMBOLS = 2**27
"""Cells of all valid grids together that a list may hold."""

MOST_GRIDS = 2**20
"""Grids of an alphabet and shape up to which a validity function is asked about each of them."""


class TableAutomaton(LayeredAutomaton):
    """A layered automaton that is written out, state by state.

    Args:
        shape: (H, W).
        alphabet: Q.
        tables: for each cell the state that each state goes to by each symbol, -1 where it may not follow: integers
            (n_states, Q). State 0 is the first; every state after the last cell is valid.
        spec: the rule's name.

    Raises:
        ValueError: no grid is valid.
    """

    def __init__(self, shape: tuple[int, int], alphabet: int, tables: Sequence[np.ndarray], spec: str) -> None:
        super().__init__(shape, alphabet)
        self.spec = spec
        self._tables = _minimal(tables)
        if not len(self._tables[0]):
            raise ValueError(f"no {shape[0]}x{shape[1]} grid satisfies {spec}")

    def step(self, states: np.ndarray, position: int, symbol: int) -> tuple[np.ndarray, np.ndarray]:
        following = self._tables[position][states, symbol].astype(np.int64)
        return following >= 0, following


def rule_from_grids(
    grids: Tensor | np.ndarray | Sequence[Any],
    alphabet: int | None = None,
    shape: tuple[int, int] | None = None,
    spec: str = "grids",
) -> LayeredAutomaton:
    """The rule whose valid grids are those of a list: exact counts, samples, posteriors and next-token laws.

    Grids with the same rest share their states (the minimal automaton of the list), so that the cost is that of the
    list's structure and not of its length.

    Args:
        grids: integer symbols (N, D), or (N, H, W), in any order; a grid that occurs twice counts once. At most 2^27
            symbols in all.
        alphabet: Q; by default the largest symbol and one, at least 2.
        shape: (H, W); by default that of the grids, or (1, D).
        spec: the rule's name; `register_rule` makes `rule` know it.

    Returns:
        The uniform law on the grids.

    Raises:
        ValueError: no grids, too many, another shape, or symbols outside 0..Q-1.
    """
    x = _symbols(grids)
    if x.ndim not in (2, 3) or not len(x):
        raise ValueError(f"grids must have shape (N, D) or (N, H, W) with N >= 1, got {tuple(x.shape)}")
    shape = shape or ((1, x.shape[1]) if x.ndim == 2 else (x.shape[1], x.shape[2]))
    x = x.reshape(len(x), -1)
    low, high = int(x.min()), int(x.max())
    alphabet = max(2, high + 1) if alphabet is None else alphabet
    check_grid(shape, alphabet)
    if x.shape[1] != shape[0] * shape[1]:
        raise ValueError(f"grids of {x.shape[1]} cells do not fit the shape {tuple(shape)}")
    if low < 0 or high >= alphabet:
        raise ValueError(f"symbols must lie in 0..{alphabet - 1}, got {low}..{high}")
    if x.size > MOST_SYMBOLS:
        raise ValueError(f"a list may hold {MOST_SYMBOLS:,} symbols, got {len(x):,} grids of {x.shape[1]} cells")
    return TableAutomaton(shape, alphabet, _prefix_tables(x, alphabet), spec)


def rule_from_validity(
    is_valid: Callable[[Tensor], Any],
    shape: tuple[int, int],
    alphabet: int = 2,
    support_size: int | None = None,
    spec: str = "validity",
) -> Rule:
    """The rule of a validity function, such as "is this 9x9 grid a Sudoku?".

    Of up to 2^20 grids in all each is looked at, and the rule is exact in everything. Beyond, it checks grids, and no
    more: with support_size it also has chance levels and an entropy. What needs the population itself (its samples,
    optimal denoiser, next-token law) raises ValueError; bring your own data, and compare with the training set.

    Args:
        is_valid: symbols int64 (n, D), in raster order, to bool (n,).
        shape: (H, W).
        alphabet: Q.
        support_size: the number of valid grids, if known.
        spec: the rule's name; `register_rule` makes `rule` know it.

    Raises:
        ValueError: a bad shape or alphabet, a function that returns something else, no valid grid, or a support_size
            that is not their number.
    """
    check_grid(shape, alphabet)
    most = alphabet ** (shape[0] * shape[1])
    if not callable(is_valid):
        raise ValueError(f"is_valid must be a function of symbols (n, D), got {type(is_valid).__name__}")
    if support_size is not None and (not isinstance(support_size, int) or not 1 <= support_size <= most):
        raise ValueError(f"support_size must lie in 1..{_number(most)}, got {support_size!r}")
    unlisted = ValidityRule(is_valid, shape, alphabet, support_size, spec)
    if most > MOST_GRIDS:
        return unlisted
    powers = alphabet ** torch.arange(unlisted.dim).flip(0)
    valid = []
    for block in torch.arange(most).split(2**16):
        grids = block[:, None] // powers % alphabet
        valid.append(grids[unlisted.is_valid(grids)])
    listed = torch.cat(valid)
    if not len(listed):
        raise ValueError(f"no {shape[0]}x{shape[1]} grid satisfies {spec}")
    if support_size not in (None, len(listed)):
        raise ValueError(f"support_size={support_size} was given, but {len(listed)} of {most} grids are valid")
    return rule_from_grids(listed, alphabet, shape, spec)


class ValidityRule(Rule):
    """A rule that can check grids and no more; made by `rule_from_validity`."""

    def __init__(
        self,
        is_valid: Callable[[Tensor], Any],
        shape: tuple[int, int],
        alphabet: int,
        support_size: int | None,
        spec: str,
    ) -> None:
        super().__init__(shape, alphabet)
        self.spec = spec
        self.groups = torch.arange(self.dim)[None]
        self._is_valid = is_valid
        self._size = support_size

    @property
    def support_size(self) -> int:
        if self._size is None:
            raise ValueError(
                f"the number of valid grids of {self.spec!r} is unknown; if you know it, give it to rule_from_validity "
                "as support_size"
            )
        return self._size

    def constraints(self, x: Tensor) -> dict[str, Tensor]:
        """The whole rule as one constraint; see `Rule.constraints`."""
        flat = x.reshape(-1, self.dim).long()
        held = self._is_valid(flat)
        held = torch.from_numpy(held) if isinstance(held, np.ndarray) else held
        if not isinstance(held, Tensor) or held.dtype != torch.bool or held.shape != (len(flat),):
            what = f"{tuple(held.shape)} {held.dtype}" if isinstance(held, Tensor) else type(held).__name__
            raise ValueError(
                f"the validity function of {self.spec!r} must return bool ({len(flat)},) for symbols "
                f"{tuple(flat.shape)}, one answer a grid; got {what}"
            )
        return {"rule": held.to(x.device).reshape(*x.shape[:-1], 1)}

    def log_prob(self, x: Tensor) -> Tensor:
        chance = torch.full(x.shape[:-1], -math.log(self.support_size), dtype=torch.float64, device=x.device)
        return chance.masked_fill(~self.is_valid(x), -math.inf)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        self._refuse("drawn from")

    def next_token_probs(self, x: Tensor) -> Tensor:
        self._refuse("summed over")

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        self._refuse("summed over")

    def _refuse(self, what: str) -> NoReturn:
        count = "their number is unknown" if self._size is None else f"there are {_number(self._size)} of them"
        raise ValueError(
            f"the valid grids of {self.spec!r} cannot be {what}: a validity function tells them apart one by one, and "
            f"{count}; bring data of your own, and compare with the training set (EmpiricalLaw)"
        )


def _minimal(tables: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same automaton with states merged that have the same completions, and without states that have none.

    From the end backward: two states are one when each symbol takes them to the same state (cf. Revuz, 1992).
    """
    minimal: list[np.ndarray] = []
    merged: np.ndarray | None = None  # the new number of each state of the next layer, -1 where it has no completion
    for table in reversed(tables):
        if merged is None:
            merged = np.zeros(max(0, int(table.max(initial=-1))) + 1, dtype=np.int32)
        rows = np.where(table >= 0, merged[np.maximum(table, 0)], -1).astype(np.int32)
        alive = (rows >= 0).any(1)
        kept, numbers = np.unique(rows[alive], axis=0, return_inverse=True)
        merged = np.full(max(1, len(rows)), -1, dtype=np.int32)
        merged[np.flatnonzero(alive)] = numbers.reshape(-1)
        minimal.insert(0, kept)
    return minimal


def _prefix_tables(x: np.ndarray, alphabet: int) -> list[np.ndarray]:
    """The automaton of different prefixes of grids (N, D), for each cell (prefixes, Q)."""
    x = x[np.lexsort(x.T[::-1])]
    differs = x[1:] != x[:-1]
    x = x[np.r_[True, differs.any(1)]]
    first = np.r_[0, differs[differs.any(1)].argmax(1)]  # the cell where each grid leaves the one before it
    tables, prefix = [], np.zeros(len(x), dtype=np.int64)
    for t in range(x.shape[1]):
        following = np.r_[0, (first[1:] <= t).cumsum()]
        table = np.full((int(prefix[-1]) + 1, alphabet), -1, dtype=np.int32)
        table[prefix, x[:, t]] = following
        tables.append(table)
        prefix = following
    return tables


def _symbols(grids: Any) -> np.ndarray:
    """Integer symbols of any kind as numpy: uint8 where they fit, int64 else."""
    try:
        x = grids.detach().cpu().numpy() if isinstance(grids, Tensor) else np.asarray(grids)
    except (TypeError, ValueError):
        raise ValueError("grids must all have the same shape") from None
    if x.size and x.dtype.kind not in "iub":
        raise ValueError(f"grids must hold integer symbols, got {x.dtype}")
    small = x.size and x.min() >= 0 and x.max() <= 255
    return np.ascontiguousarray(x.astype(np.uint8 if small else np.int64))


def _number(n: int) -> str:
    """An integer for a message, however large: printing one of many digits is refused by Python."""
    return f"{n:,}" if n < 10**18 else f"about 10^{math.log10(n):.1f}"
