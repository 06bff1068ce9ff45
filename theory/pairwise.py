"""Maximum entropy with the pair statistics of a training set: what a model may know of it without copying.

Among all laws on a rule's support with given single-cell and pair statistics, the one of maximum entropy is
p(x) = exp(E(x)) / Z with an energy E of single cells and pairs (Jaynes, 1957; the Ising and Potts models).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .halves import Block, PatternTree, halves
from .law import Law, Rule
from .pair_statistics import PairStatistics, maximise

EXACT = 2**24
"""The most valid grids that a `PairwiseLaw` sums over."""
LARGEST_RANGE = 300
"""Nats between the energies of two grids, beyond which their weights could underflow."""


class PairwiseLaw(Law):
    """The maximum-entropy law on a rule's support with a training set's single-cell and pair statistics; see `fit`.

    Sums run over the two halves of every valid grid, exact and in float64 (see `halves`). The law keeps |S| numbers;
    marginals under B fields cost 4 B |S| operations.

    Attributes:
        rule: the rule, whose support is the law's.
        theta: float64 (n_statistics,), the coefficient of each of `PairStatistics` in the energy.
        ridge: weight of the penalty that keeps them finite; nan for a law of your own coefficients.
        misfit: root mean square of what the law's statistics miss, in units of their sampling error 1 / sqrt(N).
    """

    BLOCK = 2**22  # numbers of a batch held at once

    def __init__(self, rule: Rule, theta: Tensor, ridge: float = math.nan, misfit: float = math.nan) -> None:
        _check_size(rule)
        super().__init__(rule.shape, rule.alphabet)
        self.rule, self.theta, self.ridge, self.misfit = rule, theta, ridge, misfit

    @classmethod
    def fit(cls, rule: Rule, x_train: Tensor, ridge: float | None = None) -> PairwiseLaw:
        """The law of maximum entropy on a rule's support, given the statistics of a training set.

        It maximises the mean log-likelihood of the training set minus ridge / 2 times the sum of squared coefficients.
        The statistics of few samples, matched exactly, would push energies to infinity; so each is missed by the ridge
        times its own coefficient. The default ridge is the sampling error of a statistic, 1 / sqrt(N): one of
        coefficient 1 is missed by one standard error, and smaller ones by less.

        Args:
            rule: a rule with at most 2^24 valid grids.
            x_train: valid grids (N, D), repeated rows counted as often as they occur.
            ridge: positive; 1 / sqrt(N) by default.

        Returns:
            The law. Its statistics solve the condition for the maximum to 1e-10.

        Raises:
            ValueError: no samples, some that break the rule, a ridge that is not positive, or too many valid grids.
        """
        _check_size(rule)
        check_valid_grids(rule, x_train)
        n = len(x_train)
        ridge = 1 / math.sqrt(n) if ridge is None else float(ridge)
        if not 0 < ridge < math.inf:
            raise ValueError(f"ridge must be positive and finite, got {ridge:g}; leave it out for 1 / sqrt(N)")
        blocks = halves(rule)
        statistics = PairStatistics(rule.alphabet, blocks)
        wanted = statistics.mean(x_train.cpu())
        theta, found = maximise(statistics, wanted, ridge)
        law = cls(rule, theta, ridge, float((found - wanted).square().mean().sqrt()) * math.sqrt(n))
        law.__dict__.update(_blocks=blocks, _statistics=statistics)  # as the cached properties would make them
        return law

    @property
    def entropy(self) -> float:
        return self._log_z - float(self.theta @ self._statistics.expected(self.theta)[1])

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats: float64 (...), -inf off the support; see `Law.log_prob`."""
        self.check_symbols(x)
        flat = x.reshape(-1, self.dim).cpu()
        logs = self._statistics.energy(self.theta, self._statistics.code(flat)) - self._log_z
        logs = logs.masked_fill(~self.rule.is_valid(flat), -math.inf)
        return logs.reshape(x.shape[:-1]).to(x.device)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """An upper half in proportion to the weight of its grids, then a lower one: int64 (n, D)."""
        x = torch.empty(n, self.dim, dtype=torch.int64)
        picked = _draw(self._upper_weights, n, generator)[0]
        for part, rows, upper in self._by_part(picked):
            lower = _draw(part.kernel[upper] * part.lower_weights, 1, generator)[:, 0]
            x[rows] = torch.cat([part.block.upper[upper], part.block.lower[lower]], 1)
        return x

    def next_token_probs(self, x: Tensor) -> Tensor:
        """Down the tree of upper halves, then down that of the lower halves they allow; see `Law.next_token_probs`."""
        self.check_symbols(x, batch=True)
        cells, cut = x.cpu().long(), self._cut
        probs = torch.zeros(*cells.shape, self.alphabet, dtype=torch.float64)
        tree = PatternTree(torch.cat([part.block.upper for part in self._parts]), self.alphabet)
        probs[:, :cut], picked = tree.descend(self._upper_weights, cells[:, :cut])
        trees = {id(part): PatternTree(part.block.lower, self.alphabet) for part in self._parts}
        for part, rows, upper in self._by_part(picked):
            weights = part.kernel[upper] * part.lower_weights
            probs[rows, cut:] = trees[id(part)].descend(weights, cells[rows, cut:])[0]
        return probs.to(x.device)

    def _by_part(self, picked: Tensor) -> Iterator[tuple[_Part, Tensor, Tensor]]:
        """Each part, with the rows that picked one of its upper halves, and which; -1 has picked none."""
        start = 0
        for part in self._parts:
            size = len(part.block.upper)
            mine = ((picked >= start) & (picked < start + size)).nonzero()[:, 0]
            for rows in mine.split(max(1, self.BLOCK // len(part.block.lower))):
                yield part, rows, picked[rows] - start
            start += size

    def _log_normaliser(self, h: Tensor) -> Tensor:
        return torch.cat([self._sums(part, marginals=False)[0] for part in self._split(h)]).to(h)

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        sums = [self._sums(part, marginals=True) for part in self._split(h)]
        return torch.cat([log_z for log_z, _ in sums]).to(h), torch.cat([m for _, m in sums]).to(h)

    def _split(self, h: Tensor) -> tuple[Tensor, ...]:
        longest = max(max(map(len, part.block)) for part in self._parts)
        return h.cpu().double().split(max(1, self.BLOCK // longest))

    def _sums(self, h: Tensor, marginals: bool) -> tuple[Tensor, Tensor]:
        """Log normaliser (B,) and, if asked, marginals (B, D, Q) for fields float64 (B, D, Q)."""
        cut = self._cut
        logs, means = [], []
        for part in self._parts:
            upper = h[:, :cut].flatten(1) @ part.upper_symbols.T + part.upper_energy  # (B, a)
            lower = h[:, cut:].flatten(1) @ part.lower_symbols.T + part.lower_energy  # (B, b)
            top_upper, top_lower = upper.amax(1, keepdim=True), lower.amax(1, keepdim=True)
            upper, lower = upper.sub_(top_upper).exp_(), lower.sub_(top_lower).exp_()
            by_upper = upper * (lower @ part.kernel.T)
            total = by_upper.sum(1, keepdim=True)
            logs.append((top_upper + top_lower + total.log())[:, 0])
            if marginals:
                by_lower = lower * (upper @ part.kernel)
                means.append(torch.cat([by_upper @ part.upper_symbols, by_lower @ part.lower_symbols], 1) / total)
        log_mass = torch.stack(logs)  # (parts, B)
        log_z = log_mass.logsumexp(0)
        if not marginals:
            return log_z - self._log_z, h
        m = torch.einsum("pb,pbk->bk", (log_mass - log_z).exp(), torch.stack(means))
        return log_z - self._log_z, m.reshape(h.shape)

    @cached_property
    def _blocks(self) -> list[Block]:
        return halves(self.rule)

    @property
    def _cut(self) -> int:
        """Cells of the upper half."""
        return self._blocks[0].upper.shape[1]

    @cached_property
    def _statistics(self) -> PairStatistics:
        return PairStatistics(self.alphabet, self._blocks)

    @cached_property
    def _parts(self) -> list[_Part]:
        parts = []
        coefficients = self._statistics.unpack(self.theta)
        for block, coded in zip(self._blocks, self._statistics.parts, strict=True):
            upper_energy, lower_energy, across = self._statistics.energies(coefficients, coded)
            kernel = across @ coded[1].T
            top = kernel.amax(1)
            if not float((top - kernel.amin(1)).max()) < LARGEST_RANGE:
                raise ValueError(f"energies must range over less than {LARGEST_RANGE} nats; give a larger ridge")
            kernel.sub_(top[:, None]).exp_()
            upper, lower = self._one_hot(block.upper), self._one_hot(block.lower)
            parts.append(_Part(block, upper, lower, upper_energy + top, lower_energy, kernel))
        return parts

    def _one_hot(self, x: Tensor) -> Tensor:
        return F.one_hot(x, self.alphabet).flatten(1).double()

    @cached_property
    def _upper_weights(self) -> Tensor:
        """The weight of each upper half, up to a common factor: (1, n), in the order of the parts."""
        logs = torch.cat([part.upper_log_mass for part in self._parts])
        return (logs - logs.max()).exp()[None]

    @cached_property
    def _log_z(self) -> float:
        return float(torch.cat([part.upper_log_mass for part in self._parts]).logsumexp(0))


class _Part(NamedTuple):
    """A block of the support with its energies: E of a grid is that of its halves plus the log of their kernel."""

    block: Block
    upper_symbols: Tensor  # float64 (a, cut * Q), one-hot
    lower_symbols: Tensor  # float64 (b, (D - cut) * Q), one-hot
    upper_energy: Tensor  # (a,)
    lower_energy: Tensor  # (b,)
    kernel: Tensor  # (a, b), the largest of each row is 1

    @property
    def lower_weights(self) -> Tensor:
        return (self.lower_energy - self.lower_energy.max()).exp()

    @property
    def upper_log_mass(self) -> Tensor:
        """Log of the summed weights of the grids of each upper half: (a,)."""
        return self.upper_energy + (self.kernel @ self.lower_weights).log() + self.lower_energy.max()


def _draw(weights: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """n independent choices for each row of weights (B, k): int64 (B, n)."""
    ladder = weights.cumsum(-1)
    level = torch.rand(len(weights), n, dtype=torch.float64, generator=generator) * ladder[:, -1:]
    return torch.searchsorted(ladder, level, right=True).clamp_max_(weights.shape[1] - 1)


def check_valid_grids(rule: Rule, x_train: Tensor) -> None:
    """ValueError unless x_train holds valid grids (N, D), at least one."""
    rule.check_symbols(x_train, batch=True)
    broken = int((~rule.is_valid(x_train)).sum())
    if broken or not len(x_train):
        fault = f"{broken} of {len(x_train)} break the rule; leave them out" if broken else "got none"
        raise ValueError(f"x_train must hold one or more valid grids of {rule.spec}: {fault}")


def _check_size(rule: Rule) -> None:
    if rule.support_size > EXACT:
        raise ValueError(
            f"{rule.spec} has {rule.support_size} valid grids; a PairwiseLaw sums over all, at most {EXACT}"
        )
