"""Automata that only the tests need: rules of a user's own, and second opinions on the closed forms."""

import numpy as np
import torch
from enumeration import Enumeration, all_grids

import twoclocks as tc


class NoAdjacentOnes(tc.LayeredAutomaton):
    """No two ones follow each other in raster order: the worked example of `LayeredAutomaton`."""

    def __init__(self, shape):
        super().__init__(shape, alphabet=2)
        self.spec = f"no-adjacent-ones:{shape[0]}x{shape[1]}"

    def step(self, states, position, symbol):
        allowed = (states == 0) | (symbol == 0)
        return allowed, np.full_like(states, symbol)


class BalancedBrackets(tc.LayeredAutomaton):
    """Opening (0) and closing (1) brackets and pauses (2) in balance: the state is the depth, dead ends are many."""

    def __init__(self, shape):
        super().__init__(shape, alphabet=3)

    def step(self, states, position, symbol):
        depth = states + (1, -1, 0)[symbol]
        return depth >= 0, depth

    def accept(self, states):
        return states == 0


class WeightedSum(tc.LayeredAutomaton):
    """Symbols 0..3 weighted by position in a walk modulo 5, rows as groups: states merge, patterns differ in weight."""

    start = 4  # states need not begin at zero

    def __init__(self, shape):
        super().__init__(shape, alphabet=4)
        self.groups = torch.arange(self.dim).reshape(shape)

    def step(self, states, position, symbol):
        following = (states + min(position, 2) * symbol) % 5
        return following != 3, following

    def accept(self, states):
        return states == 0


def brute_force(rule):
    """The support of one of the three automata above on a small grid, straight from its definition."""
    grids = all_grids(rule.dim, rule.alphabet)
    if isinstance(rule, NoAdjacentOnes):
        keep = ~((grids[:, 1:] == 1) & (grids[:, :-1] == 1)).any(1)
    elif isinstance(rule, BalancedBrackets):
        depth = np.array([1, -1, 0])[grids].cumsum(1)
        keep = (depth >= 0).all(1) & (depth[:, -1] == 0)
    else:
        sums = (4 + (np.minimum(np.arange(rule.dim), 2) * grids).cumsum(1)) % 5
        keep = (sums != 3).all(1) & (sums[:, -1] == 0)
    return Enumeration(grids[keep], rule.alphabet)


class GroupedAutomaton(tc.LayeredAutomaton):
    """Base of the second opinions: a state that starts again at 0 after each group of cells."""

    def __init__(self, shape, alphabet, size):
        super().__init__(shape, alphabet)
        self.size = size

    def step(self, states, position, symbol):
        allowed, following = self.step_in_group(states, symbol)
        if (position + 1) % self.size == 0:
            return allowed & self.closes(following), np.zeros_like(states)
        return allowed, following


class CountAutomaton(GroupedAutomaton):
    """As `GroupCount`, and as `GroupParity` for the even counts: the state is the number of ones."""

    def __init__(self, shape, size, counts):
        super().__init__(shape, 2, size)
        self.counts = list(counts)

    def step_in_group(self, states, symbol):
        return np.ones(len(states), dtype=bool), states + symbol

    def closes(self, states):
        return np.isin(states, self.counts)


class ParityAutomaton(GroupedAutomaton):
    """As `GroupParity`: the state is one bit."""

    def __init__(self, shape, size):
        super().__init__(shape, 2, size)

    def step_in_group(self, states, symbol):
        return np.ones(len(states), dtype=bool), states ^ symbol

    def closes(self, states):
        return states == 0


class PermutationAutomaton(GroupedAutomaton):
    """As `RowPermutation`: the state counts in base 2 the symbols still free."""

    def __init__(self, height, n):
        super().__init__((height, n), n, n)

    def step_in_group(self, states, symbol):
        return states // 2**symbol % 2 == 0, states + 2**symbol

    def closes(self, states):
        return states == 2**self.alphabet - 1


SECOND_OPINIONS = {
    "parity:6x6,G=2": lambda: ParityAutomaton((6, 6), 2),
    "parity:6x6,G=3": lambda: ParityAutomaton((6, 6), 3),
    "parity:6x6,G=9": lambda: CountAutomaton((6, 6), 9, range(0, 10, 2)),
    "parity:6x6,G=36": lambda: ParityAutomaton((6, 6), 36),
    "exact-k:6x6,K=12": lambda: CountAutomaton((6, 6), 36, [12]),
    "exact-k:6x6,K=1": lambda: CountAutomaton((6, 6), 36, [1]),
    "row-k:6x6,K=3": lambda: CountAutomaton((6, 6), 6, [3]),
    "row-variable-k:6x6,K=1+3+5": lambda: CountAutomaton((6, 6), 6, [1, 3, 5]),
    "global-k:6x6,K=12+18": lambda: CountAutomaton((6, 6), 36, [12, 18]),
    "global-k:9x9,K=0+1+40+81": lambda: CountAutomaton((9, 9), 81, [0, 1, 40, 81]),
    "permutation:6": lambda: PermutationAutomaton(6, 6),
}
"""An automaton for each closed form, at full size."""
