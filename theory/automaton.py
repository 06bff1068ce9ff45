"""Rules read cell by cell: a layered automaton gives count, samples, posterior and next-token law in one sweep.

A rule reads the D cells in raster order and keeps, as its state, what it must remember of them. The states reachable
after t cells form layer t; two prefixes with the same state have the same completions, so that sums over the support
become sums over the edges between layers (the sum-product algorithm on a trellis: Bahl et al., 1974).
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import available_memory
from .law import Rule
from .trellis import Trellis


class LayeredAutomaton(Rule):
    """The uniform law on the grids that an automaton accepts: a rule of your own in ten lines.

    A subclass gives `start`, `step` and, if the end of the grid decides, `accept`. States are int64, packed as you
    like. No two adjacent ones in raster order::

        class NoAdjacentOnes(LayeredAutomaton):
            def __init__(self, shape):
                super().__init__(shape, alphabet=2)
                self.spec = f"no-adjacent-ones:{shape[0]}x{shape[1]}"

            def step(self, states, position, symbol):
                allowed = (states == 0) | (symbol == 0)  # the state is the symbol before this cell
                return allowed, np.full_like(states, symbol)

        NoAdjacentOnes((6, 6)).support_size  # 39088169, the 38th Fibonacci number

    The automaton is built on first use, layer by layer: `step` runs on all states of a layer at once, equal states
    merge, and states that no valid grid passes are pruned. Time and memory grow with the edges that remain; one that
    outgrows `MAX_STATES` or `MAX_BYTES` is refused before it does.

    Args:
        shape: (H, W).
        alphabet: Q, the number of symbols.

    Attributes:
        start: the state before the first cell.
        groups: the whole grid, unless the subclass sets its own parts.

    Raises:
        ValueError: a bad shape or alphabet; and, when it is first used, a rule that no grid satisfies, or too many
            states.
    """

    start: int = 0
    MEMORY = 2**30  # bytes of messages held at once; a larger batch is run in parts
    MAX_STATES = 2**25  # in all layers; a subclass or an instance may set its own bounds
    MAX_BYTES = 2**31  # while it is built; never more than nine tenths of the memory that the machine has left
    EDGE_BYTES, SORTING_BYTES = 16, 40  # of a finished edge with its share of states; and of one in the layer at work
    EDGES: float | None = None  # how many the finished automaton has, where that is known before it is built

    def __init__(self, shape: tuple[int, int], alphabet: int) -> None:
        super().__init__(shape, alphabet)
        self.spec = type(self).__name__
        self.groups = torch.arange(self.dim)[None]

    @abstractmethod
    def step(self, states: np.ndarray, position: int, symbol: int) -> tuple[Any, Any]:
        """Which states may read a symbol, and where it leads.

        Args:
            states: int64 (n,), the distinct states before the cell.
            position: the cell, 0..D-1 in raster order.
            symbol: 0..Q-1.

        Returns:
            allowed: bool (n,); next_states: int64 (n,), read where allowed. Either may be one value for all.
        """

    def accept(self, states: np.ndarray) -> Any:
        """Which states after the last cell belong to valid grids: bool (n,); all of them by default."""
        return np.ones(len(states), dtype=bool)

    @property
    def support_size(self) -> int:
        return self._trellis.support_size

    @property
    def cost(self) -> float:
        """Five operations an edge; the automaton is built for it, within its bounds, unless `EDGES` is known."""
        return 5.0 * (self.EDGES if self.EDGES is not None else self._trellis.n_edges)

    def constraints(self, x: Tensor) -> dict[str, Tensor]:
        """The whole rule as one constraint, found by running the automaton; see `Rule.constraints`."""
        cells = x.reshape(-1, self.dim).cpu().numpy()
        states = np.full(len(cells), self.start, dtype=np.int64)
        alive = np.ones(len(cells), dtype=bool)
        for position in range(self.dim):
            for symbol in range(self.alphabet):
                reading = np.flatnonzero(alive & (cells[:, position] == symbol))
                alive[reading], states[reading] = self._checked_step(states[reading], position, symbol)
        alive[alive] = self._checked_accept(states[alive])
        return {"rule": torch.from_numpy(alive).to(x.device).reshape(*x.shape[:-1], 1)}

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n independent grids, each symbol drawn in proportion to its number of completions: int64 (n, D)."""
        x = torch.empty(n, self.dim, dtype=torch.int64)
        state = torch.zeros(n, dtype=torch.int64)
        for t in range(self.dim):
            probs, targets = self._trellis.moves(t, state)
            ladder = probs.cumsum(-1)
            below = torch.nextafter(ladder[:, -1:], torch.zeros(()).double())
            level = torch.rand(n, 1, dtype=torch.float64, generator=generator) * ladder[:, -1:]
            x[:, t] = (ladder <= torch.minimum(level, below)).sum(-1)
            state = targets.gather(-1, x[:, t, None])[:, 0]
        return x

    def next_token_probs(self, x: Tensor) -> Tensor:
        """One walk through the automaton for the whole batch; see `Law.next_token_probs`."""
        x = self.check_symbols(x, batch=True)
        cells = x.cpu().long()
        probs = torch.zeros(*x.shape, self.alphabet, dtype=torch.float64)
        state = torch.zeros(len(x), dtype=torch.int64)
        alive = torch.arange(len(x))  # the rows whose prefix some valid grid has
        for t in range(self.dim):
            probs[alive, t], targets = self._trellis.moves(t, state)
            state = targets.gather(-1, cells[alive, t, None])[:, 0]
            alive, state = alive[state >= 0], state[state >= 0]
        return probs.to(x.device)

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        parts = [self._trellis.posterior(part, marginals=True) for part in self._split(h)]
        return torch.cat([log_z for log_z, _ in parts]), torch.cat([m for _, m in parts])

    def _log_normaliser(self, h: Tensor) -> Tensor:
        return torch.cat([self._trellis.posterior(part, marginals=False)[0] for part in self._split(h)])

    def _split(self, h: Tensor) -> tuple[Tensor, ...]:
        return h.split(max(1, self.MEMORY // (8 * self._trellis.n_states)))

    def _checked_step(self, states: np.ndarray, position: int, symbol: int) -> tuple[np.ndarray, np.ndarray]:
        if not len(states):  # a step of one's own need not know what to do with none
            return np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64)
        returned = self.step(states, position, symbol)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise ValueError(f"{type(self).__name__}.step must return (allowed, next_states), got {returned!r}")
        allowed, following = np.asarray(returned[0]), np.asarray(returned[1])
        if allowed.dtype != bool or following.dtype.kind not in "iu":
            raise ValueError(
                f"{type(self).__name__}.step must return (bool, integer) arrays, got {allowed.dtype}, {following.dtype}"
            )
        return self._one_each(allowed, states, "step"), self._one_each(following, states, "step")

    def _checked_accept(self, states: np.ndarray) -> np.ndarray:
        if not len(states):
            return np.zeros(0, dtype=bool)
        accepted = np.asarray(self.accept(states))
        if accepted.dtype != bool:
            raise ValueError(f"{type(self).__name__}.accept must return a bool array, got {accepted.dtype}")
        return self._one_each(accepted, states, "accept")

    def _one_each(self, values: np.ndarray, states: np.ndarray, method: str) -> np.ndarray:
        if values.shape not in ((), (1,), states.shape):
            raise ValueError(
                f"{type(self).__name__}.{method} must return arrays of shape {states.shape}, or one value for all, "
                f"got {values.shape}"
            )
        return np.broadcast_to(values, states.shape)

    @cached_property
    def _trellis(self) -> Trellis:
        states = np.array([self.start], dtype=np.int64)
        layers, reachable = [], [1]
        room = min(self.MAX_BYTES, 0.9 * available_memory())
        self._check_room(self.EDGES or 0, 0, room)
        held = 0  # edges of the layers before
        for position in range(self.dim):
            sources, reached, n_edges = [], [], 0
            for symbol in range(self.alphabet):
                allowed, following = self._checked_step(states, position, symbol)
                sources.append(np.flatnonzero(allowed).astype(np.int32))
                reached.append(following[allowed].astype(np.int64))
                n_edges += len(sources[-1])
                self._check_room(held + n_edges, n_edges, room)
            states, merged = np.unique(np.concatenate(reached), return_inverse=True)
            ends = np.cumsum([len(part) for part in sources])
            layers.append(list(zip(sources, np.split(merged.astype(np.int32), ends[:-1]), strict=True)))
            reachable.append(len(states))
            held += n_edges
            if sum(reachable) > self.MAX_STATES:
                raise ValueError(
                    f"{self.spec} has {sum(reachable):,} states after {position + 1} of {self.dim} cells, more than "
                    f"{self.MAX_STATES:,}; remember less in a state, or set {type(self).__name__}.MAX_STATES"
                )
        alive = np.array(self._checked_accept(states))
        sizes = [int(alive.sum())]
        for t in reversed(range(self.dim)):  # keep the states that some accepted path passes
            renumbered = np.cumsum(alive, dtype=np.int32) - 1
            kept = [(source[alive[target]], renumbered[target[alive[target]]]) for source, target in layers[t]]
            alive = np.zeros(reachable[t], dtype=bool)
            for source, _ in kept:
                alive[source] = True
            renumbered = np.cumsum(alive, dtype=np.int32) - 1
            layers[t] = [(renumbered[source], target) for source, target in kept]
            sizes.append(int(alive.sum()))
        if sizes[-1] == 0:
            raise ValueError(f"no {self.shape} grid satisfies {self.spec}")
        return Trellis(layers, sizes[::-1])

    def _check_room(self, edges: float, sorting: float, room: float) -> None:
        """ValueError where edges, some of them being sorted, take more than room bytes."""
        needed = self.EDGE_BYTES * edges + self.SORTING_BYTES * sorting
        if needed > room:
            raise ValueError(
                f"{self.spec} has {edges:,.0f} edges or more and needs over {needed / 2**30:.1f} GiB, more than "
                f"{room / 2**30:.1f} GiB; remember less in a state, or set {type(self).__name__}.MAX_BYTES where the "
                f"machine has more memory left"
            )
