"""Chance memorization: how often a sampler that has learned nothing of the training set reproduces it, exactly."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from .law import Law, Rule
from .product import CubeLaw

Level = Literal["sample", "group"]
Sampler = Literal["population", "cube"]


def chance_memorization(
    rule: Rule, train: Tensor | int, level: Level = "sample", sampler: Sampler = "population"
) -> float:
    """The expected memorization of a sampler that knows the rule, or nothing, but not the training set (Fig. 7).

    At sample level a generation counts as memorized when it equals a training sample; at group level, each of
    `rule.groups` counts by itself when its pattern was seen in training at the same place, and the average is taken.

    Args:
        rule: the rule whose population the training set was drawn from.
        train: training symbols (N, D); or an int N, for the expectation over training sets of N distinct valid grids.
        level: ``"sample"`` or ``"group"``.
        sampler: ``"population"``, uniform on the rule's support, or ``"cube"``, uniform on all Q^D grids.

    Returns:
        A probability in [0, 1].

    Raises:
        ValueError: an unknown level or sampler, symbols of another shape, or N outside 0..|S|.
    """
    if level not in ("sample", "group"):
        raise ValueError(f"level must be 'sample' or 'group', got {level!r}")
    if sampler not in ("population", "cube"):
        raise ValueError(f"sampler must be 'population' or 'cube', got {sampler!r}")
    law: Law = rule if sampler == "population" else CubeLaw(rule.shape, rule.alphabet)
    size = rule.support_size if sampler == "population" else rule.alphabet**rule.dim
    if isinstance(train, int):
        if not 0 <= train <= rule.support_size:
            raise ValueError(f"a training set of distinct samples holds 0..{rule.support_size} of them, got N={train}")
        return train / size if level == "sample" else _expected_group_chance(rule, law, train)
    rule.check_symbols(train, batch=True)
    if level == "sample":
        return len(torch.unique(train, dim=0)) / size if len(train) else 0.0
    seen = [_pattern_log_prob(law, cells, torch.unique(train[:, cells], dim=0)).exp().sum() for cells in rule.groups]
    return float(torch.stack(seen).mean())


class MemorizationTest(NamedTuple):
    """Exact binomial comparison of a memorization ratio with its chance level."""

    ratio: float
    ci_low: float
    ci_high: float
    p_value: float


def memorization_test(n_memorized: int, n_generated: int, chance: float, confidence: float = 0.95) -> MemorizationTest:
    """Is memorization above chance? One-sided exact binomial test with a Clopper-Pearson interval.

    Args:
        n_memorized: generations found in the training set.
        n_generated: all generations, independent.
        chance: the chance level, from `chance_memorization`.
        confidence: of the two-sided interval.

    Returns:
        ratio n_memorized / n_generated; ci_low, ci_high; p_value of "at least this many at chance".

    Raises:
        ValueError: counts that are not 0 <= n_memorized <= n_generated with n_generated >= 1, or chance outside [0, 1].
    """
    if n_generated < 1 or not 0 <= n_memorized <= n_generated:
        raise ValueError(
            f"need 0 <= n_memorized <= n_generated and n_generated >= 1, got {n_memorized} of {n_generated}"
        )
    if not 0 <= chance <= 1:
        raise ValueError(f"chance must lie in [0, 1], got {chance}")
    low, high = binomial_interval(n_memorized, n_generated, confidence)
    p_value = float(stats.binom.sf(n_memorized - 1, n_generated, chance))
    return MemorizationTest(n_memorized / n_generated, low, high, p_value)


def binomial_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion, from the quantiles of the beta distribution."""
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(stats.beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(stats.beta.isf(tail, successes + 1, trials - successes))
    return low, high


def _pattern_log_prob(law: Law, cells: Tensor, patterns: Tensor, block: int = 4096) -> Tensor:
    """log P(x[cells] = pattern) under a law, for patterns (n, size): float64 (n,)."""
    logs = []
    for part in patterns.split(block):
        h = torch.zeros(len(part), law.dim, law.alphabet, dtype=torch.float64)
        clamp = torch.full((*part.shape, law.alphabet), -math.inf, dtype=torch.float64)
        h[:, cells] = clamp.scatter_(-1, part.long().unsqueeze(-1), 0.0)
        logs.append(law.log_partition(h))
    return torch.cat(logs) if logs else torch.empty(0, dtype=torch.float64)


def _expected_group_chance(rule: Rule, law: Law, n_train: int) -> float:
    """Group-level chance in expectation over sets of N distinct valid grids."""
    total = 0.0
    for cells in rule.groups:
        patterns = torch.cartesian_prod(*[torch.arange(rule.alphabet)] * len(cells)).reshape(-1, len(cells))
        log_p = _pattern_log_prob(rule, cells, patterns)
        possible = log_p > -math.inf
        weight = _pattern_log_prob(law, cells, patterns[possible]).exp()
        distinct, index = np.unique(np.round(log_p[possible].numpy(), 12), return_inverse=True)
        seen = np.array([1 - _chance_unseen(rule.support_size, math.exp(l), n_train) for l in distinct])
        total += float((weight.numpy() * seen[index]).sum())
    return total / len(rule.groups)


def _chance_unseen(population: int, fraction: float, n: int) -> float:
    """P(none of n distinct draws from the population belongs to a part of it), hypergeometric."""
    part = round(fraction * population)
    if part + n > population:
        return 0.0
    return math.exp(np.log1p(-part / (population - np.arange(n, dtype=np.float64))).sum())
