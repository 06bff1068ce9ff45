"""The null of copying against sums over enumerated supports, and its sampled form against the exact one."""

import itertools

import numpy as np
import pytest
import torch
from enumeration import enumerate_rule

import twoclocks as tc
from twoclocks.empirics.data import training_set
from twoclocks.theory import copying_null


@pytest.mark.parametrize("spec", ["parity:3x4,G=3", "exact-k:3x3,K=4", "permutation:3"])
def test_each_rung_is_a_sum_over_the_training_set(spec):
    rule, support = tc.rule(spec), enumerate_rule(spec).support
    train = training_set(rule, 8, 0)
    found = tc.null_of_copying(rule, train)
    assert found.rungs.keys() == {"chance", "cells", "pairs"}
    assert found.rungs["chance"] == pytest.approx(8 / len(support), rel=1e-12)
    x = train.numpy()
    frequency = np.stack([(x == s).mean(0) for s in range(rule.alphabet)], -1)  # (D, Q)
    of_each = frequency[np.arange(rule.dim), x].prod(1)
    assert found.rungs["cells"] == pytest.approx(of_each.sum(), rel=1e-10)
    law = tc.PairwiseLaw.fit(rule, train)
    known = (support[:, None] == x).all(-1).any(1)
    assert known.sum() == 8
    everywhere = law.log_prob(torch.from_numpy(support)).exp().numpy()
    assert found.rungs["pairs"] == pytest.approx(everywhere[known].sum(), rel=1e-10)
    assert found.memorization == max(found.rungs.values()) == found.rungs[found.rung]
    assert found.standard_error == 0
    assert found.rungs["pairs"] > 2 * found.rungs["chance"]


def test_repeated_samples_count_once():
    rule = tc.rule("exact-k:3x3,K=4")
    train = training_set(rule, 8, 0)
    twice = tc.null_of_copying(rule, train.repeat(2, 1))
    assert twice.rungs["chance"] == 8 / rule.support_size
    assert twice.rungs["cells"] == pytest.approx(tc.null_of_copying(rule, train).rungs["cells"], rel=1e-12)


def test_few_samples_of_a_small_grid_by_hand():
    """One sample: its cells and pairs are known, the cells without doubt."""
    rule = tc.rule("parity:1x2,G=2")
    found = tc.null_of_copying(rule, torch.tensor([[1, 1]]))
    assert (found.rung, found.memorization) == ("cells", 1.0)
    assert found.rungs["chance"] == 0.5
    # E = f (x0 + x1) + j x0 x1 with x = -1/+1: the two valid grids differ by 4 f, and f solves 1 - tanh(2 f) = f.
    f = 0.4
    for _ in range(200):
        f -= (f + np.tanh(2 * f) - 1) / (1 + 2 / np.cosh(2 * f) ** 2)
    assert found.rungs["pairs"] == pytest.approx(1 / (1 + np.exp(-4 * f)), rel=1e-9)


def test_repeats_of_a_model_of_pairs_in_the_figures_of_the_issue():
    """About 5% of the draws of a law that copies nothing, where chance is 1.2 to 2.3%."""
    rule = tc.rule("parity:4x6,G=2")
    for n, expected, chance in ((48, 0.044, 0.0117), (96, 0.047, 0.0234)):
        pairs = [tc.null_of_copying(rule, training_set(rule, n, seed)).rungs["pairs"] for seed in range(4)]
        assert np.mean(pairs) == pytest.approx(expected, abs=0.008)
        assert min(pairs) > 1.5 * chance


def test_the_sampled_pairs_agree_with_the_exact_ones(monkeypatch):
    rule = tc.rule("parity:4x6,G=4")
    train = training_set(rule, 256, 0)
    exact = tc.null_of_copying(rule, train)
    monkeypatch.setattr(copying_null, "EXACT", 0)
    monkeypatch.setattr(copying_null, "DRAWS", 2**14)
    sampled = tc.null_of_copying(rule, train)
    assert sampled.rung == exact.rung == "pairs"
    assert 0 < sampled.standard_error < 0.1 * sampled.memorization
    assert abs(sampled.memorization - exact.memorization) < 3 * sampled.standard_error


def test_pairs_that_draws_do_not_resolve_are_left_out(monkeypatch):
    monkeypatch.setattr(copying_null, "EXACT", 0)
    monkeypatch.setattr(copying_null, "DRAWS", 2**12)
    rule = tc.rule("parity:4x6,G=6")
    found = tc.null_of_copying(rule, training_set(rule, 12, 0))  # so few samples that the law is all but them
    assert found.rungs.keys() == {"chance", "cells"}
    categorical = tc.rule("permutation:6")  # 180 contrasts: 16290 statistics
    assert tc.null_of_copying(categorical, training_set(categorical, 9, 0)).rungs.keys() == {"chance", "cells"}


def test_bad_training_sets_are_refused():
    rule = tc.rule("parity:2x3,G=3")
    with pytest.raises(ValueError, match="got none"):
        tc.null_of_copying(rule, torch.zeros(0, 6, dtype=torch.long))
    with pytest.raises(ValueError, match="1 of 1 break the rule"):
        tc.null_of_copying(rule, torch.tensor([[1, 0, 0, 0, 0, 0]]))
    with pytest.raises(ValueError, match="shape"):
        tc.null_of_copying(rule, torch.zeros(2, 5, dtype=torch.long))


def test_the_law_of_all_valid_grids_repeats_them_always():
    rule = tc.rule("parity:2x2,G=2")
    every = torch.tensor([list(a) + list(b) for a, b in itertools.product(([0, 0], [1, 1]), repeat=2)])
    found = tc.null_of_copying(rule, every)
    assert found.memorization == pytest.approx(1.0, rel=1e-12)
