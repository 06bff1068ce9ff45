"""Row permutations in closed form: every row holds each of its symbols once (row-only, Fig. 6, 22)."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .automaton import LayeredAutomaton
from .latin import is_permutation
from .law import Rule


class RowPermutation(Rule):
    """Each row is a permutation of the n symbols, independently of the others.

    A row's constraint contributes the permanent of the matrix exp(h[j, s]) over cells j and symbols s, found with its
    leave-one-out by dynamic programming over the 2^n sets of used symbols, in n 2^n steps (cf. Ryser, 1963).

    Args:
        height: H, the number of rows.
        n: cells of a row and symbols of the alphabet, 2 to 16.

    Raises:
        ValueError: a height below 1, or n outside 2..16.
    """

    group_constraint = "row"

    def __init__(self, height: int, n: int) -> None:
        if not 2 <= n <= 16:
            raise ValueError(f"rows must be permutations of 2 to 16 symbols (2^n sets are kept in memory), got {n}")
        super().__init__((height, n), n)
        self.spec = f"permutation:{n}" if height == n else f"permutation:{height}x{n}"
        self.groups = torch.arange(self.dim).reshape(height, n)

    @property
    def support_size(self) -> int:
        return self.group_patterns ** self.shape[0]

    @property
    def group_patterns(self) -> int:
        return math.factorial(self.alphabet)

    def constraints(self, x: Tensor) -> dict[str, Tensor]:
        return {"row": is_permutation(x.unflatten(-1, self.shape))}

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(n, *self.shape, dtype=torch.float64, generator=generator).argsort(-1).flatten(1)

    def next_token_probs(self, x: Tensor) -> Tensor:
        """Equal chances for the symbols that a row has not used; see `Law.next_token_probs`."""
        x = self.check_symbols(x, batch=True)
        rows = x.unflatten(1, self.shape)
        chosen = torch.nn.functional.one_hot(rows.long(), self.alphabet)  # (B, H, n, Q)
        before = chosen.cumsum(-2) - chosen
        probs = (before == 0).double() / torch.arange(self.alphabet, 0, -1, device=x.device)[:, None]
        probs *= before.amax(-1, keepdim=True) <= 1  # the row so far repeats nothing
        broken = (~is_permutation(rows)).cumsum(1) > 0
        probs[:, 1:] *= ~broken[:, :-1, None, None]
        return probs.flatten(1, 2)

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        log_z, marginals = self._row._posterior(h.reshape(-1, self.alphabet, self.alphabet))
        return log_z.reshape(-1, self.shape[0]).sum(-1), marginals.reshape(h.shape)

    def _log_normaliser(self, h: Tensor) -> Tensor:
        rows = self._row._log_normaliser(h.reshape(-1, self.alphabet, self.alphabet))
        return rows.reshape(-1, self.shape[0]).sum(-1)

    @property
    def cost(self) -> float:
        return 5.0 * self.shape[0] * self.alphabet * 2 ** (self.alphabet - 1)  # edges of the automaton of a row

    @cached_property
    def _row(self) -> _Permutation:
        return _Permutation((1, self.alphabet), self.alphabet)


class _Permutation(LayeredAutomaton):
    """One row: the state is the set of used symbols, and an edge adds one."""

    def step(self, states: np.ndarray, position: int, symbol: int) -> tuple[np.ndarray, np.ndarray]:
        return states & (1 << symbol) == 0, states | (1 << symbol)
