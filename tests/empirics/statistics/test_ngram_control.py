"""Markov models' rule accuracy against enumeration; whether a run beats them against counts made to order."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import twoclocks as tc

INF = math.inf


def all_grids(rule: tc.Rule) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(rule.alphabet), repeat=rule.dim)))


def counts_of(valid: list[int], memorized: list[int], n: int) -> pd.DataFrame:
    counts = pd.DataFrame({"step": np.arange(1, len(valid) + 1) * 10, "novel_valid": valid, "memorized": memorized})
    return counts.assign(violating=n - counts["novel_valid"] - counts["memorized"], ambiguous=0)


def enumerated(rule: tc.Rule, model: tc.NGramLaw, train: torch.Tensor) -> float:
    """P(valid | not in the training set), grid by grid."""
    grids = all_grids(rule)
    p = model.log_prob(grids).exp()
    known = (grids[:, None] == train[None]).all(-1).any(-1)
    return float(p[rule.is_valid(grids) & ~known].sum() / p[~known].sum())


@pytest.mark.parametrize("spec", ["parity:2x4,G=4", "parity:3x3,G=3", "parity:2x6,G=6"])
def test_parity_is_exact_for_law_and_training_set(spec: str) -> None:
    rule = tc.rule(spec)
    G = rule.groups.shape[1]
    train = rule.sample(5, torch.Generator().manual_seed(0))
    train = torch.cat([train, train[:2]])  # repeated rows count twice in the model, once as known
    table = tc.statistics.ngram_control(rule, train, counts_of([0], [0], 10), range(G))
    assert table["order"].tolist() == list(range(G))
    for _, row in table.iterrows():
        order = int(row["order"])
        law, copier = tc.NGramLaw(rule, order), tc.NGramLaw(tc.EmpiricalLaw(train, 2, rule.shape), order)
        assert row["law"] == pytest.approx(enumerated(rule, law, train), rel=1e-10)
        assert row["train"] == pytest.approx(enumerated(rule, copier, train), rel=1e-10, nan_ok=True)
        assert rule.markov_accuracy(law.transitions) == pytest.approx(
            tc.theory.ngram_rule_accuracy(rule, order).value, rel=1e-12
        )
        assert row["law_se"] == np.nan_to_num(row["train_se"]) == 0
    assert table["law"].iloc[-1] == 1  # order G - 1 is the law
    assert (table["train"].iloc[:2] > 0).all()  # a high order may do nothing but copy


def test_other_rules_are_simulated_with_their_error() -> None:
    rule = tc.rule("row-k:3x4,K=2")
    train = rule.sample(20, torch.Generator().manual_seed(1))
    table = tc.statistics.ngram_control(rule, train, counts_of([0], [0], 10), [0, 1, 3])
    for _, row in table.iterrows():
        order = int(row["order"])
        law, copier = tc.NGramLaw(rule, order), tc.NGramLaw(tc.EmpiricalLaw(train, 2, rule.shape), order)
        assert row["law"] == pytest.approx(enumerated(rule, law, train), rel=1e-10)  # 216 grids: summed over
        assert abs(row["train"] - enumerated(rule, copier, train)) < 4 * row["train_se"] + 1e-12
    assert (table["train_se"].iloc[:2] > 0).all()


def test_a_run_beats_local_models_at_the_first_significant_pair() -> None:
    """With four groups of three, the law's local models obey with probability 1/16; the training set says no more."""
    rule = tc.rule("parity:3x4,G=3")
    train = rule.sample(400, torch.Generator().manual_seed(2)).unique(dim=0)
    best = tc.statistics.ngram_control(rule, train, counts_of([0], [0], 10), [0, 1])[["law", "train"]].to_numpy().max()
    needed = next(k for k in range(200) if stats.binom.sf(k - 1, 200, best) < 1e-3)
    valid = [needed, needed - 1, needed, needed, 190]
    table = tc.statistics.ngram_control(rule, train, counts_of(valid, [0] * 5, 200), [0, 1, 2])
    worst = table.loc[table[["law", "train"]].max(axis=1).idxmax()]
    assert worst["order"] == 2
    assert (worst["beaten_lower"], worst["beaten_upper"]) == (50, INF)  # nothing beats a model that always obeys
    assert (worst["step"], worst["accuracy"]) == (50, 0.95)
    hardest = table[:2].loc[table[:2][["law", "train"]].max(axis=1).idxmax()]
    assert (hardest["beaten_lower"], hardest["beaten_upper"], hardest["step"]) == (20, 30, 30)
    assert hardest["accuracy"] == needed / 200
    test = tc.memorization_test(needed, 200, 0.5)  # the same Clopper-Pearson interval
    assert (hardest["accuracy_low"], hardest["accuracy_high"]) == (test.ci_low, test.ci_high)


def test_copies_do_not_count() -> None:
    rule = tc.rule("parity:3x4,G=3")
    train = rule.sample(8, torch.Generator().manual_seed(3))
    copying = counts_of([0, 1, 0], [100, 199, 200], 200)
    table = tc.statistics.ngram_control(rule, train, copying, [0])
    assert table["beaten_upper"].iloc[0] == INF
    assert math.isnan(table["accuracy"].iloc[0])  # the last evaluation has no novel generation
    assert (table["accuracy_low"].iloc[0], table["accuracy_high"].iloc[0]) == (0, 1)


def test_a_markov_model_that_only_copies_is_no_rival() -> None:
    rule = tc.rule("parity:2x2,G=4")
    table = tc.statistics.ngram_control(rule, torch.tensor([[0, 1, 1, 0]]), counts_of([0, 90, 90], [0, 0, 0], 100), [0])
    assert math.isnan(table["train"].iloc[0])  # one training sample: its model of any order repeats it
    assert table["law"].iloc[0] == pytest.approx((0.5 - 1 / 16) / (1 - 1 / 16))
    assert table["beaten_upper"].iloc[0] == 20


def test_bad_requests_are_refused() -> None:
    rule = tc.rule("parity:2x4,G=4")
    train, counts = rule.sample(4), counts_of([1], [0], 10)
    with pytest.raises(ValueError, match="at least one order"):
        tc.statistics.ngram_control(rule, train, counts, [])
    with pytest.raises(ValueError, match=r"order must lie in 0\.\.7"):
        tc.statistics.ngram_control(rule, train, counts, [8])
    with pytest.raises(ValueError, match="all must satisfy parity"):
        tc.statistics.ngram_control(rule, torch.tensor([[1, 0, 0, 0, 0, 0, 0, 0]]), counts, [0])
    with pytest.raises(ValueError, match="at least one sample"):
        tc.statistics.ngram_control(rule, train[:0], counts, [0])
    with pytest.raises(ValueError, match="no column"):
        tc.statistics.ngram_control(rule, train, counts.drop(columns="step"), [0])
