"""Rules on counts in closed form: the number of ones in each group of cells lies in a set (Fig. 5, 21)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .law import Rule


class GroupCount(Rule):
    """Each group of consecutive cells holds an allowed number of ones: exact-K, row-K, row-variable-K and global-K.

    With odds w_j = exp(h[j, 1] - h[j, 0]), a group's constraint contributes the elementary symmetric polynomials
    e_c(w) of the allowed counts c, and P(x_i = 1) = w_i e_{c-1}(w without i) / e_c(w) for one count. Dividing all odds
    by a common factor changes e_c by a known power alone. We choose the factor so that the c likeliest cells have odds
    of at least 1 and the others of at most 1; then the polynomial is the probability that independent coins show c
    heads, no less than 2^-size, and its recurrence adds positive numbers only: exact at every sigma.

    Args:
        shape: (H, W).
        size: cells of a group, consecutive in raster order; divides H * W, at most 900.
        counts: the allowed numbers of ones, each 0..size.

    Raises:
        ValueError: size does not divide the grid or is too large, no counts, or a count outside 0..size.
    """

    group_constraint = "group"
    LARGEST = 900  # cells of a group: 2^-size must stay a normal float64
    BLOCK = 2**17  # entries of one step of the recurrence, to stay in the processor's cache

    def __init__(self, shape: tuple[int, int], size: int, counts: Iterable[int]) -> None:
        super().__init__(shape, 2)
        self.size, self.counts = size, tuple(sorted(set(counts)))
        if not 1 <= size <= self.LARGEST or self.dim % size:
            raise ValueError(f"groups of {size} cells must divide the {self.dim} cells, and be at most {self.LARGEST}")
        if not self.counts or not 0 <= self.counts[0] <= self.counts[-1] <= size:
            outside = [count for count in self.counts if not 0 <= count <= size]
            raise ValueError(f"K={outside[0] if outside else ''} must be among 0..{size}, the cells of a group")
        family = ("exact-k", "global-k") if size == self.dim else ("row-k", "row-variable-k")
        self.spec = f"{family[len(self.counts) > 1]}:{shape[0]}x{shape[1]},K={'+'.join(map(str, self.counts))}"
        self.groups = torch.arange(self.dim).reshape(-1, size)

    @property
    def support_size(self) -> int:
        return self.group_patterns ** len(self.groups)

    @property
    def group_patterns(self) -> int:
        return sum(math.comb(self.size, count) for count in self.counts)

    def constraints(self, x: Tensor) -> dict[str, Tensor]:
        ones = x.unflatten(-1, (-1, self.size)).sum(-1)
        return {"group": torch.isin(ones, torch.tensor(self.counts, device=x.device))}

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """A count in proportion to its patterns, then that many of a group's cells: int64 (n, D)."""
        weights = torch.tensor([math.comb(self.size, count) for count in self.counts], dtype=torch.float64)
        ladder = weights.cumsum(0) / weights.sum()
        level = torch.rand(n * len(self.groups), dtype=torch.float64, generator=generator)
        which = torch.searchsorted(ladder, level, right=True).clamp_max(len(ladder) - 1)
        order = torch.rand(len(which), self.size, dtype=torch.float64, generator=generator).argsort(-1)
        chosen = torch.arange(self.size) < torch.tensor(self.counts)[which, None]
        return torch.zeros(order.shape, dtype=torch.int64).scatter_(-1, order, chosen.long()).reshape(n, self.dim)

    def next_token_probs(self, x: Tensor) -> Tensor:
        """The share of a group's completions that go on with each symbol; see `Law.next_token_probs`."""
        x = self.check_symbols(x, batch=True)
        groups = x.cpu().long().unflatten(1, (-1, self.size))
        before = groups.cumsum(-1) - groups  # ones so far (B, n, size)
        left = torch.arange(self.size - 1, -1, -1)  # cells of the group after this one
        probs = torch.stack([self._completions[left, before + symbol] for symbol in (0, 1)], -1)  # (B, n, size, 2)
        probs /= probs.sum(-1, keepdim=True).clamp_min(torch.finfo(probs.dtype).tiny)
        broken = (~self.constraints(groups.flatten(1))["group"]).cumsum(1) > 0
        probs[:, 1:] *= ~broken[:, :-1, None, None]
        return probs.flatten(1, 2).to(x.device)

    def _unmask(self, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (-1, self.size))
        hidden, ones = (groups == 2).sum(-1), (groups == 1).sum(-1)  # (B, n): any masked cell may be the next
        chance = self._completions.to(x.device)
        probs = torch.stack([chance[(hidden - 1).clamp_min(0), ones + symbol] for symbol in (0, 1)], -1)
        probs /= probs.sum(-1, keepdim=True).clamp_min(torch.finfo(probs.dtype).tiny)
        probs *= (chance[hidden, ones] > 0).all(1)[:, None, None]
        return probs.repeat_interleave(self.size, 1)

    @property
    def cost(self) -> float:
        return 5.0 * self.dim * (max(self.counts) + 1) * len(self.counts)

    @cached_property
    def _completions(self) -> Tensor:
        """The chance that fair coins in the cells left bring the ones so far to an allowed count.

        float64 (size + 1, size + 2), by cells left and ones so far; a sum of positive terms, exact to rounding.
        """
        chance = torch.zeros(self.size + 1, self.size + 2, dtype=torch.float64)
        chance[0, list(self.counts)] = 1.0
        for left in range(self.size):
            chance[left + 1, :-1] = (chance[left, :-1] + chance[left, 1:]) / 2
        return chance

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        log_weight, zeros, ones = self._by_group(h[..., 1] - h[..., 0])
        return h.amax(-1).sum(-1) + log_weight - math.log(self.support_size), torch.stack([zeros, ones], -1)

    def _contrast(self, log_odds: Tensor) -> Tensor:
        _, zeros, ones = self._by_group(log_odds.to(torch.promote_types(log_odds.dtype, torch.float32)))
        return (ones - zeros).to(log_odds.dtype)

    def _by_group(self, log_odds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weight (B,) of the valid grids against the likeliest grid, valid or not, and P(0), P(1) (B, D)."""
        d = log_odds.double() if self.size > 64 else log_odds  # 2^-size must stay a normal number
        d = d.reshape(-1, self.size)  # (B * n, size)
        ranked = _descending(d)
        per_block = max(1, self.BLOCK // (max(self.counts) + 1))
        blocks = zip(d.split(per_block), ranked.split(per_block), strict=True)
        parts = [_mixture(part.T.contiguous(), high_to_low.T, self.counts) for part, high_to_low in blocks]
        log_weight, zeros, ones = (torch.cat(column, -1) for column in zip(*parts, strict=True))
        log_weight = log_weight.reshape(-1, len(self.groups)).sum(-1)
        return log_weight.to(log_odds.dtype), zeros.T.reshape(log_odds.shape), ones.T.reshape(log_odds.shape)


def _descending(d: Tensor) -> Tensor:
    """Each row from the largest value to the smallest."""
    if d.device.type == "cpu":  # numpy sorts short rows ten times faster than torch does
        return torch.from_numpy(np.sort(d.numpy(), -1)).flip(-1)
    return d.sort(-1, descending=True).values


def _mixture(d: Tensor, ranked: Tensor, counts: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Log weight (n,), P(0) and P(1) (size, n) of groups with log-odds d (size, n), over all allowed counts."""
    terms = [_one_count(d, ranked, count) for count in counts]
    if len(terms) == 1:
        return terms[0]
    logs, zeros, ones = (torch.stack(term) for term in zip(*terms, strict=True))
    share = logs.softmax(0)[:, None]
    return logs.logsumexp(0), (share * zeros).sum(0), (share * ones).sum(0)


def _one_count(d: Tensor, ranked: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `_mixture` for one count, given the log-odds in descending order too.

    P(0) and P(1) follow from before[a], the probability that the coins so far show a heads, and after[a], that those
    left bring a to the count.
    """
    size = len(d)
    if count == 0 or count == size:
        tilted = d.new_full((), math.inf if count else -math.inf).expand_as(d)
    else:
        tilted = d - (ranked[count - 1] / 2 + ranked[count] / 2)
    p, q = torch.sigmoid(tilted), torch.sigmoid(-tilted)
    band = [(max(0, count - size + j), min(j, count) + 1) for j in range(size + 1)]  # the a that j coins can show
    after = d.new_empty(size + 1, count + 2, d.shape[1])
    after[:, count + 1] = 0
    after[size, count] = 1
    after[size, :count] = 0
    for j in reversed(range(size)):
        low, high = band[j]
        after[j, max(0, low - 1) : low] = 0  # all that is read below the band
        torch.mul(after[j + 1, low:high], q[j], out=after[j, low:high])
        after[j, low:high].addcmul_(after[j + 1, low + 1 : high + 1], p[j])
    before, following = d.new_zeros(2, count + 2, d.shape[1])  # a is row a + 1, below a row of zeros
    before[1] = 1
    zeros, ones = torch.empty_like(d), torch.empty_like(d)
    for j in range(size):
        low, high = band[j]
        torch.sum(before[low + 1 : high + 1] * after[j + 1, low:high], 0, out=zeros[j])
        torch.sum(before[low + 1 : high + 1] * after[j + 1, low + 1 : high + 1], 0, out=ones[j])
        low, high = band[j + 1]
        torch.mul(before[low + 1 : high + 1], q[j], out=following[low + 1 : high + 1])
        following[low + 1 : high + 1].addcmul_(before[low:high], p[j])
        before, following = following, before
    total = after[0, 0]
    flips = ranked[:count].clamp_max(0).sum(0) - ranked[count:].clamp_min(0).sum(0)
    log_weight = flips + torch.log1p(torch.exp(-tilted.abs())).sum(0) + total.log()
    return log_weight, zeros.mul_(q).div_(total), ones.mul_(p).div_(total)
