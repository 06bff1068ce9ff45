"""The support of a rule cut in two halves, so that sums over all valid grids become a few matrix products."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .channels import Mask
from .law import Rule, masked_except

WHOLE = 2**12
"""Up to so many valid grids are listed whole: cutting them would save nothing."""
LISTED = 2**18
"""So are up to so many of a rule without structure, whose marginals cost more than the list is long."""


class Block(NamedTuple):
    """Upper and lower halves of grids, any of which may be joined; distinct rows in lexicographic order."""

    upper: Tensor  # int64 (a, cut)
    lower: Tensor  # int64 (b, D - cut)


def halves(rule: Rule) -> list[Block]:
    """The support of a rule as blocks: each valid grid is an upper and a lower half of exactly one of them.

    The upper half ends below the middle of the rows, or in the middle of a single row. Upper halves that allow the
    same lower ones belong together. They are told apart by the log partition functions of two random fields on the
    lower cells, which agree by accident alone; the count of all grids is checked. A small support, and one of little
    structure, is left whole: one block, whose lower halves have no cells.

    Raises:
        ValueError: halves that differ were taken for the same.
    """
    height, width = rule.shape
    cut = height // 2 * width or rule.dim // 2
    nothing = torch.zeros(1, 0, dtype=torch.int64)
    if rule.support_size <= WHOLE or rule.support_size <= min(LISTED, rule.cost):
        return [Block(_completions(rule, nothing, rule.dim)[0], nothing)]
    upper, _ = _completions(rule, nothing, cut)
    kinds = _by_kind(rule, upper)
    completed, origin = _completions(rule, torch.stack([part[0] for part in kinds]), rule.dim)
    lower = completed[:, cut:].split(torch.bincount(origin).tolist())
    blocks = [Block(*pair) for pair in zip(kinds, lower, strict=True)]
    if sum(len(a) * len(b) for a, b in blocks) != rule.support_size:
        raise ValueError(f"the halves of {rule.spec} could not be told apart")
    return blocks


class PatternTree:
    """The tree of distinct patterns (n, L): a node for each beginning, a leaf for each pattern."""

    def __init__(self, patterns: Tensor, alphabet: int) -> None:
        self.alphabet = alphabet
        self.children, self.parents = [], []  # by depth: (nodes, Q), -1 where there is none; (nodes below,)
        node, nodes = torch.zeros(len(patterns), dtype=torch.int64), 1
        for symbol in patterns.T:
            keys, node = torch.unique(node * alphabet + symbol, return_inverse=True)
            table = torch.full((nodes * alphabet,), -1, dtype=torch.int64)
            table[keys] = torch.arange(len(keys))
            self.children.append(table.reshape(nodes, alphabet))
            self.parents.append(keys // alphabet)
            nodes = len(keys)
        self.pattern = torch.empty(nodes, dtype=torch.int64)  # of each leaf
        self.pattern[node] = torch.arange(len(patterns))

    def descend(self, weights: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The law of each symbol given those before it, along the rows of x.

        Args:
            weights: float64 (B, n) of the patterns, or (1, n) for all rows alike; not normalised.
            x: int64 (B, L).

        Returns:
            float64 (B, L, Q), zero where no pattern begins so; and the pattern that each row is, int64 (B,), or -1.
        """
        masses = [weights[:, self.pattern]]  # of the nodes at each depth, from the leaves up
        for parent in reversed(self.parents):
            above = weights.new_zeros(len(weights), int(parent[-1]) + 1)
            masses.insert(0, above.index_add_(1, parent, masses[0]))
        row = torch.arange(len(x)).clamp_max(len(weights) - 1)
        node = torch.zeros(len(x), dtype=torch.int64)
        probs = weights.new_zeros(*x.shape, self.alphabet)
        tiny = torch.finfo(weights.dtype).tiny
        for t, children in enumerate(self.children):
            child = children[node.clamp_min(0)].masked_fill(node[:, None] < 0, -1)  # (B, Q)
            mass = masses[t + 1][row[:, None], child.clamp_min(0)].masked_fill(child < 0, 0.0)
            probs[:, t] = mass / masses[t][row, node.clamp_min(0)].clamp_min(tiny)[:, None]
            node = child.gather(1, x[:, t, None])[:, 0]
        return probs, self.pattern[node.clamp_min(0)].masked_fill(node < 0, -1)


def _completions(rule: Rule, begun: Tensor, length: int, block: int = 2**14) -> tuple[Tensor, Tensor]:
    """All ways to extend the prefixes (n, t) to `length` cells of valid grids, in order, and which of the n each is."""
    origin = torch.arange(len(begun))
    for t in range(begun.shape[1], length):
        rest = torch.zeros(block, rule.dim - t, dtype=torch.int64)
        following = [
            rule.next_token_probs(torch.cat([part, rest[: len(part)]], 1))[:, t] for part in begun.split(block)
        ]
        row, symbol = (torch.cat(following) > 0).nonzero(as_tuple=True)
        begun, origin = torch.cat([begun[row], symbol[:, None]], 1), origin[row]
    return begun, origin


def _by_kind(rule: Rule, upper: Tensor, block: int = 256) -> list[Tensor]:
    """The upper halves (n, cut), parted by the lower halves that they allow."""
    cut = upper.shape[1]
    noise = torch.randn(2, rule.dim, rule.alphabet, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise[:, :cut] = 0.0
    prints = []
    for part in upper.split(block):
        h = Mask().fields(masked_except(rule, torch.arange(cut), part), rule.alphabet)
        prints.append(torch.stack([rule.log_partition(h + field) for field in noise], 1))
    kinds, kind = torch.unique(torch.cat(prints).round(decimals=8), dim=0, return_inverse=True)
    return [upper[kind == k] for k in range(len(kinds))]
