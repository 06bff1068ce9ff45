"""Rules to hold another against: the same rule with its cells shuffled, and random grids that obey no rule."""

from __future__ import annotations

import torch
from torch import Tensor

from .automaton import LayeredAutomaton
from .explicit import rule_from_grids
from .law import Rule


class ShuffledRule(Rule):
    """A rule whose cells have changed places: as many valid grids and the same dependence, but no locality.

    Args:
        rule: the rule before.
        seed: of the permutation; cell i of a valid grid shows what cell `order`[i] of a grid of the rule shows.

    Attributes:
        rule: the rule before.
        order: int64 (D,).
    """

    def __init__(self, rule: Rule, seed: int) -> None:
        super().__init__(rule.shape, rule.alphabet)
        self.rule = rule
        self.order = torch.randperm(rule.dim, generator=torch.Generator().manual_seed(seed))
        self._place = self.order.argsort()  # where each cell has gone
        self.spec = f"shuffled:{rule.spec},seed={seed}"
        self.groups = self._place[rule.groups]
        self.group_constraint = rule.group_constraint

    @property
    def support_size(self) -> int:
        return self.rule.support_size

    @property
    def group_patterns(self) -> int | None:
        return self.rule.group_patterns

    @property
    def cost(self) -> float:
        return self.rule.cost

    def constraints(self, x: Tensor) -> dict[str, Tensor]:
        """Those of the rule before; see `Rule.constraints`."""
        return self.rule.constraints(self.before(x))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.rule.sample(n, generator)[:, self.order]

    def before(self, x: Tensor) -> Tensor:
        """Grids (..., D) with their cells back where the rule before has them."""
        return x[..., self._place.to(x.device)]

    def next_token_probs(self, x: Tensor) -> Tensor:
        """By masking what comes later, which the rule before may do fast; see `Law.next_token_probs`."""
        x = self.check_symbols(x, batch=True).long()
        later = torch.full_like(x, self.alphabet)
        steps = [self._unmask(torch.cat([x[:, :t], later[:, t:]], 1))[:, t] for t in range(self.dim)]
        return torch.stack(steps, 1)

    def _log_normaliser(self, h: Tensor) -> Tensor:
        return self.rule._log_normaliser(h[:, self._place.to(h.device)])

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        log_z, marginals = self.rule._posterior(h[:, self._place.to(h.device)])
        return log_z, marginals[:, self.order.to(h.device)]

    def _contrast(self, log_odds: Tensor) -> Tensor:
        return self.rule._contrast(log_odds[:, self._place.to(log_odds.device)])[:, self.order.to(log_odds.device)]

    def _unmask(self, x: Tensor) -> Tensor:
        return self.rule._unmask(self.before(x))[:, self.order.to(x.device)]


def random_subset(shape: tuple[int, int], M: int, seed: int) -> LayeredAutomaton:
    """M different binary grids drawn at random: a population that can be copied, with nothing to learn but its list.

    Args:
        shape: (H, W), at most 62 cells.
        M: how many, up to half of all grids.
        seed: of the draw.

    Raises:
        ValueError: too many cells, or too many grids; `rule_from_grids` bounds M * H * W.
    """
    dim = shape[0] * shape[1]
    if dim > 62:
        raise ValueError(f"random grids have at most 62 cells, got {dim}")
    if not 1 <= M <= 2 ** (dim - 1):
        raise ValueError(f"M must lie in 1..{2 ** (dim - 1):,}, half of all grids, got {M}")
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.empty(0, dtype=torch.int64)
    while len(numbers) < M:
        numbers = torch.unique(torch.cat([numbers, torch.randint(2**dim, (2 * M,), generator=generator)]))
    chosen = numbers[torch.randperm(len(numbers), generator=generator)[:M]]
    grids = chosen[:, None] >> torch.arange(dim).flip(0) & 1
    return rule_from_grids(grids.to(torch.uint8), 2, shape, f"random:{shape[0]}x{shape[1]},M={M},seed={seed}")
