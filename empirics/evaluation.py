"""What a model generates, measured: rule accuracy, memorization, novelty, each with an exact interval."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ..theory import NullOfCopying, Rule, chance_memorization, memorization_test, null_of_copying
from ..theory.memorization import binomial_interval
from .data import hash_rows, occur
from .families import Generations
from .references import references_of


class Evaluator:
    """Measures generations against a rule and a training set.

    A generation is valid when it satisfies the whole rule and no cell is ambiguous (see `Encoding.decode`). It is
    memorized when it is unambiguous and equals a training sample. Group-level ratios count each of `rule.groups`.

    Args:
        rule: the rule.
        train: training symbols (N, D).
    """

    def __init__(self, rule: Rule, train: Tensor) -> None:
        self.rule = rule
        self.train_set = train
        self.train = hash_rows(train)
        self.train_groups = [hash_rows(train[:, cells]) for cells in rule.groups]
        self.chance = chance_memorization(rule, train)
        self.group_chance = chance_memorization(rule, train, level="group")

    @cached_property
    def null(self) -> NullOfCopying:
        """The null of copying of the training set; found on first use, in seconds at most for 4x6 grids."""
        return null_of_copying(self.rule, self.train_set, references_of(self.rule, self.train_set))

    def states(self, generations: Generations) -> tuple[Tensor, Tensor]:
        """Which generations are valid, and which memorized: bool (n,) each."""
        memorized = occur(generations.symbols, self.train)
        return self.rule.is_valid(generations.symbols) & ~generations.ambiguous, memorized & ~generations.ambiguous

    def metrics(self, generations: Generations) -> dict[str, float]:
        """Ratios in [0, 1] with 95% Clopper-Pearson bounds where the columns end in _low and _high."""
        x, clear = generations.symbols, ~generations.ambiguous
        n = len(x)
        valid, memorized = self.states(generations)
        held = torch.cat(list(self.rule.constraints(x).values()), -1) & clear[:, None]
        patterns = zip(self.rule.groups, self.train_groups, strict=True)
        seen = torch.stack([occur(x[:, cells], known) for cells, known in patterns], -1) & clear[:, None]
        test = memorization_test(int(memorized.sum()), n, self.chance)
        group_test = memorization_test(int(seen.sum()), seen.numel(), self.group_chance)
        return {
            **_ratio("rule_accuracy", int(valid.sum()), n),
            **_ratio("group_accuracy", int(held.sum()), held.numel()),
            "memorization": test.ratio,
            "memorization_low": test.ci_low,
            "memorization_high": test.ci_high,
            "memorization_p": test.p_value,
            "group_memorization": group_test.ratio,
            "group_memorization_low": group_test.ci_low,
            "group_memorization_high": group_test.ci_high,
            **_ratio("novel_valid", int((valid & ~memorized).sum()), n),
            "ambiguous": float(generations.ambiguous.double().mean()),
            "distinct": len(hash_rows(x)) / n,
        }


def _ratio(name: str, count: int, trials: int) -> dict[str, float]:
    low, high = binomial_interval(count, trials)
    return {name: count / trials, f"{name}_low": low, f"{name}_high": high}
