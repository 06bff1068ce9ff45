"""Chance memorization: how often a sampler that has learned nothing of the training set reproduces it, exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from .arguments import probability, whole_number
from .channels import Mask
from .checks import count_text
from .law import Rule, masked_except

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
        ValueError: an unknown level or sampler, symbols of another shape, or N outside 0..|S|; for an int N at group
            level, a rule of your own without `Rule.group_patterns` whose groups show more than 2^20 patterns.
    """
    if level not in ("sample", "group"):
        raise ValueError(f"level must be 'sample' or 'group', got {level!r}")
    if sampler not in ("population", "cube"):
        raise ValueError(f"sampler must be 'population' or 'cube', got {sampler!r}")
    if isinstance(train, int | np.integer):
        train = int(train)
        if not 0 <= train <= rule.support_size:
            most = count_text(rule.support_size)
            raise ValueError(f"a training set of distinct samples holds 0..{most} of them, got N={train}")
        return train / _grids(rule, sampler) if level == "sample" else _expected_group_chance(rule, sampler, train)
    train = rule.check_symbols(train, batch=True)
    if level == "group":
        return _group_chance(rule, sampler, train)
    if sampler == "population":
        train = train[rule.is_valid(train)]  # it never shows the others
    return len(torch.unique(train, dim=0)) / _grids(rule, sampler) if len(train) else 0.0


def chance_table(rule: Rule, n_train: Sequence[int]) -> pd.DataFrame:
    """Chance memorization at both levels for both samplers, in expectation over training sets of each size.

    Args:
        rule: the rule.
        n_train: sizes N; those above |S| are refused.

    Returns:
        One row a size: N, and a column for each of sample and group level under the population and the cube sampler.
    """
    levels: tuple[Level, ...] = ("sample", "group")
    samplers: tuple[Sampler, ...] = ("population", "cube")
    return pd.DataFrame(
        [
            {"N": n}
            | {f"{level}, {by}": chance_memorization(rule, n, level, by) for level in levels for by in samplers}
            for n in n_train
        ]
    )


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
        ValueError: counts that are no whole numbers with 0 <= n_memorized <= n_generated and n_generated >= 1, chance
            outside [0, 1], or confidence outside (0, 1).
    """
    n_generated = whole_number("n_generated", n_generated, least=1)
    n_memorized = whole_number("n_memorized", n_memorized, 0, n_generated)
    chance = probability("chance", chance)
    low, high = binomial_interval(n_memorized, n_generated, confidence)
    p_value = float(binomial_tail(np.asarray(n_memorized), np.asarray(n_generated), chance))
    return MemorizationTest(n_memorized / n_generated, low, high, p_value)


def binomial_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion, from the quantiles of the beta distribution.

    Raises:
        ValueError: confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(special.betainccinv(successes + 1, trials - successes, tail))
    return low, high


def binomial_tail(successes: np.ndarray, trials: np.ndarray, probability: float) -> np.ndarray:
    """P(at least this many successes), exact: the regularised incomplete beta function I_p(k, n - k + 1).

    The same bits as `scipy.stats.binom.sf(successes - 1, ...)`, whose package takes a second to import.

    Args:
        successes, trials: counts of any shapes that broadcast, 0 <= successes <= trials.
        probability: of a success, in [0, 1].

    Returns:
        float64 of the common shape.
    """
    tail = special.betainc(np.maximum(successes, 1), trials - np.maximum(successes, 1) + 1, probability)
    return np.where(successes == 0, 1.0, tail)


def _grids(rule: Rule, sampler: Sampler) -> int:
    """How many grids the sampler chooses from."""
    return rule.support_size if sampler == "population" else rule.alphabet**rule.dim


def _group_chance(rule: Rule, sampler: Sampler, train: Tensor) -> float:
    """Group-level chance for one training set (N, D)."""
    if sampler == "population" and rule.group_patterns is not None:  # the rule shows no others
        shown = rule.possible_groups(train)
    else:
        shown = torch.ones(len(train), len(rule.groups), dtype=torch.bool, device=train.device)
    seen = [torch.unique(train[held][:, cells], dim=0) for cells, held in zip(rule.groups, shown.T, strict=True)]
    patterns = rule.group_patterns if sampler == "population" else rule.alphabet ** rule.groups.shape[1]
    if patterns is not None:
        return sum(map(len, seen)) / (len(seen) * patterns)
    known = sum(_pattern_probs(rule, cells, part) for cells, part in zip(rule.groups, seen, strict=True))
    return min(1.0, known / len(seen))  # rounding may exceed 1


def _expected_group_chance(rule: Rule, sampler: Sampler, n_train: int) -> float:
    """Group-level chance in expectation over sets of N distinct valid grids."""
    cube_patterns = rule.alphabet ** rule.groups.shape[1]
    if patterns := rule.group_patterns:
        seen = _chance_seen(rule.support_size, rule.support_size // patterns, n_train)
        return seen if sampler == "population" else seen * (patterns / cube_patterns)
    total = 0.0
    for cells in rule.groups:
        probs = _possible_patterns(rule, cells)
        kinds, kind = np.unique(np.round(np.log(probs), 12), return_inverse=True)
        parts = [round(math.exp(log_p) * rule.support_size) for log_p in kinds]
        seen_by_kind = np.array([_chance_seen(rule.support_size, part, n_train) for part in parts])
        total += float((seen_by_kind[kind] * (probs if sampler == "population" else 1 / cube_patterns)).sum())
    return min(1.0, total / len(rule.groups))


def _chance_seen(population: int, part: int, n: int, terms: int = 2**20) -> float:
    """P(some of n distinct draws from the population belongs to a part of it), hypergeometric.

    The log-chance of missing the part is a sum of log(1 - part / (population - i)) over the n draws, or over the
    members of the part with n in its place, whichever are fewer. Beyond `terms` the midpoint rule stands for the sum:
    then both are below a thousandth of the population, where the summand is so flat that the rule is exact to float64.
    """
    if part + n > population:
        return 1.0
    few, many = min(n, part), max(n, part)
    if few * many > 800 * population:  # missed with probability below exp(-800)
        return 1.0
    step = max(1.0, few / terms)
    i = (np.arange(min(few, terms)) + 0.5) * step - 0.5
    return float(-np.expm1(step * np.log1p(-(many / population) / (1 - i * (1 / population))).sum()))


def _pattern_probs(rule: Rule, cells: Tensor, patterns: Tensor, block: int = 4096) -> float:
    """P(x[cells] is one of the distinct patterns (n, size)) under a rule."""
    logs = [
        rule.log_partition(Mask().fields(masked_except(rule, cells, part), rule.alphabet))
        for part in patterns.split(block)
    ]
    return float(torch.cat(logs).exp().sum()) if logs else 0.0


def _possible_patterns(rule: Rule, cells: Tensor, block: int = 4096, most: int = 2**20) -> np.ndarray:
    """The probabilities of all patterns that a rule can show in these cells, found cell by cell: float64 (n,)."""
    patterns, probs = torch.zeros(1, 0, dtype=torch.int64), torch.ones(1, dtype=torch.float64)
    for k, cell in enumerate(cells):
        following = [rule.unmask_probs(masked_except(rule, cells[:k], part))[:, cell] for part in patterns.split(block)]
        joint = probs[:, None] * torch.cat(following)  # (n, Q)
        row, symbol = joint.nonzero(as_tuple=True)
        if len(row) > most:
            raise ValueError(
                f"a group of {rule.spec} shows more than {most} patterns; give the training set itself, or set "
                f"group_patterns on the rule if all patterns of a group are equally likely"
            )
        patterns, probs = torch.cat([patterns[row], symbol[:, None]], 1), joint[row, symbol]
    return probs.numpy()
