"""Group parity in closed form: every G consecutive cells hold an even number of ones (Fig. 1 of arXiv 2605.10019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .law import BLOCKED, Rule


class GroupParity(Rule):
    """Each group of G cells, consecutive in raster order, has an even number of ones.

    With u_j = P(x_j = 0) - P(x_j = 1) under the fields alone, a group's constraint contributes 1 + prod_j u_j, and
    E[(-1)^x_i] = (u_i + prod_{j != i} u_j) / (1 + prod_j u_j). The product is the global multiplicative term that makes
    a large G hard to learn. Where the observation violates the rule the product tends to -1 and both forms cancel; we
    then work with the complements a_j = 1 - |u_j|, combined as a + b - ab, which loses no digit at any sigma.

    Args:
        shape: (H, W).
        G: group size, at least 2, dividing H * W.

    Raises:
        ValueError: G does not divide the grid.
    """

    group_constraint = "group"

    def __init__(self, shape: tuple[int, int], G: int) -> None:
        super().__init__(shape, 2)
        if G < 2 or self.dim % G:
            divisors = [g for g in range(2, self.dim + 1) if self.dim % g == 0]
            raise ValueError(f"G={G} must divide the {self.dim} cells into groups of at least 2; use one of {divisors}")
        self.G = G
        self.spec = f"parity:{shape[0]}x{shape[1]},G={G}"
        self.groups = torch.arange(self.dim).reshape(-1, G)

    @property
    def support_size(self) -> int:
        return 2 ** (self.dim - self.dim // self.G)

    @property
    def group_patterns(self) -> int:
        return 2 ** (self.G - 1)

    def constraints(self, x: Tensor) -> dict[str, Tensor]:
        return {"group": x.unflatten(-1, (-1, self.G)).sum(-1) % 2 == 0}

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        x = torch.randint(2, (n, self.dim // self.G, self.G), generator=generator)
        x[..., -1] = x[..., :-1].sum(-1) % 2
        return x.flatten(1)

    def next_token_probs(self, x: Tensor) -> Tensor:
        """Fair coins, but for the last cell of a group, which its parity settles; see `Law.next_token_probs`."""
        x = self.check_symbols(x, batch=True)
        groups = x.unflatten(1, (-1, self.G))
        probs = torch.full((*groups.shape, 2), 0.5, dtype=torch.float64, device=x.device)
        odd = groups[..., :-1].sum(-1) % 2
        probs[..., -1, 0] = (odd == 0).double()
        probs[..., -1, 1] = (odd == 1).double()
        broken = (groups.sum(-1) % 2).cumsum(1) > 0  # some group up to here is odd
        probs[:, 1:] *= ~broken[:, :-1, None, None]
        return probs.flatten(1, 2)

    def _unmask(self, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (-1, self.G))
        hidden = (groups == 2).sum(-1, keepdim=True)
        odd = (groups == 1).sum(-1, keepdim=True) % 2
        ones = torch.where(hidden > 1, 0.5, odd.double()).expand(groups.shape)  # the parity settles a lone cell
        possible = ~((hidden == 0) & (odd == 1)).any(1, keepdim=True)
        return (torch.stack([1 - ones, ones], -1) * possible[..., None]).flatten(1, 2)

    @property
    def cost(self) -> float:
        return 30.0 * self.dim

    def ngram_accuracy(self, order: int) -> float:
        """With k < G - 1 every window is a fair coin; with more, the model settles the last cell of each group."""
        return 1.0 if order >= self.G - 1 else 2.0 ** -len(self.groups)

    def markov_accuracy(self, transitions: Tensor) -> float:
        """A sum over the model's window and the parity of the open group."""
        states = transitions.shape[1]
        chance = torch.zeros(states, 2, dtype=torch.float64)  # (window, parity so far)
        chance[0, 0] = 1.0
        for t in range(self.dim):
            joint = chance[:, None, :] * transitions[t][:, :, None]  # (window, symbol, parity before)
            joint[:, 1] = joint[:, 1].flip(-1)  # a one turns the parity round
            chance = joint.reshape(2, states, 2).sum(0)  # the window forgets its oldest symbol
            if (t + 1) % self.G == 0:
                chance[:, 1] = 0.0
        return float(chance.sum())

    def _log_normaliser(self, h: Tensor) -> Tensor:
        return self._group_terms(h)[0]

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        log_z, signs, floor, a, rest, total = self._group_terms(h)
        even = _agrees(signs) > 0
        major = (1 - floor * a / 2) * torch.where(even, (2 - floor * rest) / (2 - floor * total), rest / total)
        minor = a / 2 * torch.where(even, floor * floor * rest / (2 - floor * total), (2 - floor * rest) / total)
        zero_likelier = signs > 0
        zeros = torch.where(zero_likelier, major, minor)
        ones = torch.where(zero_likelier, minor, major)
        return log_z, torch.stack([zeros, ones], -1).movedim(0, -2).reshape(h.shape)

    def _group_terms(self, h: Tensor) -> tuple[Tensor, ...]:
        signs, smallest, floor, a, rest, total = _complements(_by_group(h[..., 0] - h[..., 1], self.G))
        evenly = math.log(2) + torch.log1p(-floor * total / 2)
        log_group = torch.where(_agrees(signs) > 0, evenly, torch.log(total) - smallest)
        cells = h.logsumexp(-1).clamp_min(BLOCKED)
        log_z = cells.sum(-1) + log_group.sum(-1) - self.dim * math.log(2)
        return log_z, signs, floor, a, rest, total

    def _contrast(self, log_odds: Tensor) -> Tensor:
        work = log_odds.to(torch.promote_types(log_odds.dtype, torch.float32))
        d = _by_group(work, self.G)
        signs, smallest, floor, a, rest, total = _complements(d)
        u = signs * _tanh_half(d.abs())
        flip = -1.0 if self.G % 2 else 1.0  # code -1/+1 against (-1)^x
        before, after = _exclusive_products(u)
        direct = torch.addcmul(u, before, after, value=flip)
        direct /= torch.addcmul(torch.ones_like(floor), before[-1], u[-1], value=flip).clamp_min_(0.5)
        careful = (rest - a).mul_(signs).div_(total)
        # The direct form loses nothing where the product is positive, or where a cell is near a coin toss; it is then
        # the better one, since it keeps the small digits of u. Weights 0 and 1 instead of a branch: four times faster.
        choice = _agrees(signs * flip).add_(smallest < 1).clamp_max_(1)
        return careful.lerp_(direct, choice).movedim(0, -1).reshape(log_odds.shape).to(log_odds.dtype)


def _by_group(values: Tensor, G: int) -> Tensor:
    """(B, D) -> (G, B, D / G), contiguous: recurrences over a group run on long rows."""
    return values.unflatten(-1, (-1, G)).movedim(-1, 0).contiguous()


def _exclusive_products(u: Tensor) -> tuple[Tensor, Tensor]:
    """Products of the cells before and after each cell of its group, along dimension 0."""
    before, after = torch.ones_like(u), torch.ones_like(u)
    for j in range(1, len(u)):
        torch.mul(before[j - 1], u[j - 1], out=before[j])
        torch.mul(after[-j], u[-j], out=after[-j - 1])
    return before, after


def _tanh_half(size: Tensor) -> Tensor:
    """tanh(size / 2) for size >= 0, to full relative accuracy and twice as fast as torch.tanh."""
    minus = torch.expm1(-size)
    return -minus / (2 + minus)


def _agrees(signs: Tensor) -> Tensor:
    """1.0 where the product of the signs along dimension 0 is positive, else 0.0."""
    return signs.prod(0).add_(1).div_(2)


def _complements(d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Complements of |u| = |tanh(d / 2)| and of its products in a group, in units of floor = exp(-min |d|).

    The unit keeps the largest complement of a group near 1, so that nothing underflows however small sigma is.

    Args:
        d: (G, B, n) log-odds.

    Returns:
        signs (G, B, n) of d, never 0; smallest (B, n) = min |d|; floor (B, n);
        a (G, B, n) = (1 - |u_j|) / floor; rest (G, B, n) = (1 - prod_{i != j} |u_i|) / floor;
        total (B, n) = (1 - prod |u|) / floor.
    """
    size = d.abs()
    smallest = size.amin(0)
    floor = torch.exp(-smallest)
    e = torch.exp(smallest - size)
    a = 2 * e / torch.addcmul(torch.ones_like(e), floor, e)
    before, after = torch.zeros_like(a), torch.zeros_like(a)
    for j in range(1, len(a)):
        before[j] = _combine(before[j - 1], a[j - 1], floor)
        after[-j - 1] = _combine(after[-j], a[-j], floor)
    rest = _combine(before, after, floor)
    total = _combine(before[-1], a[-1], floor)
    return torch.copysign(torch.ones_like(d), d), smallest, floor, a, rest, total


def _combine(x: Tensor, y: Tensor, floor: Tensor) -> Tensor:
    """The complement of a product from the complements of its factors."""
    return torch.addcmul(x + y, x * floor, y, value=-1)
