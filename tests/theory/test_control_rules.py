"""Shuffled rules and random subsets, against enumeration in float64."""

import math

import numpy as np
import pytest
import torch
from enumeration import Enumeration, all_grids, enumerate_rule, random_fields

import twoclocks as tc
from twoclocks.theory import null_of_copying

TIGHT = {"rtol": 1e-10, "atol": 1e-13}


@pytest.fixture(params=["parity:2x4,G=2", "row-k:3x3,K=1", "permutation:3"])
def shuffled(request):
    """A shuffled rule and its enumeration, from the definition: valid grids with their cells moved."""
    before = enumerate_rule(request.param)
    rule = tc.rule(f"shuffled:{request.param},seed=3")
    grids = np.empty_like(before.support)
    for cell, source in enumerate(rule.order.tolist()):
        grids[:, cell] = before.support[:, source]
    return rule, Enumeration(grids, rule.alphabet)


def test_a_shuffled_rule_is_the_law_of_the_moved_grids(shuffled):
    rule, reference = shuffled
    assert tc.rule(rule.spec).order.tolist() == rule.order.tolist() != sorted(rule.order.tolist())
    h = random_fields((20, rule.dim, rule.alphabet), 2.0, 0.1, seed=1)
    np.testing.assert_allclose(rule.log_partition(h), reference.log_partition(h.numpy()), **TIGHT)
    np.testing.assert_allclose(rule.marginals(h), reference.marginals(h.numpy()), **TIGHT)
    x = torch.from_numpy(reference.support)
    np.testing.assert_allclose(rule.next_token_probs(x), reference.next_token_probs(x.numpy()), **TIGHT)
    assert rule.support_size == len(reference.support)
    every = torch.from_numpy(all_grids(rule.dim, rule.alphabet)[:4096])
    inside = {row.tobytes() for row in reference.support}
    assert rule.is_valid(every).tolist() == [row.tobytes() in inside for row in every.numpy()]
    drawn = rule.sample(200, torch.Generator().manual_seed(0))
    assert bool(rule.is_valid(drawn).all())


def test_its_groups_hold_together_as_before(shuffled):
    rule, _ = shuffled
    x = rule.rule.sample(50, torch.Generator().manual_seed(2))
    moved = x[:, rule.order]
    assert torch.equal(rule.before(moved), x)
    for own, old in zip(rule.groups, rule.rule.groups, strict=True):
        assert torch.equal(moved[:, own], x[:, old])


def test_the_null_of_copying_does_not_depend_on_the_order_of_cells():
    rule = tc.rule("shuffled:parity:2x4,G=4,seed=1")
    train = rule.sample(12, torch.Generator().manual_seed(0)).unique(dim=0)
    law = tc.PairwiseLaw.fit(rule, train)
    found = null_of_copying(rule, train)
    assert found.rungs["pairs"] == pytest.approx(float(law.log_prob(train).exp().sum()), rel=1e-8)


def test_a_random_subset_is_uniform_on_different_grids():
    rule = tc.rule("random:3x4,M=300,seed=5")
    assert rule.support_size == 300
    assert rule.entropy == pytest.approx(math.log(300))
    grids = torch.from_numpy(all_grids(12, 2))
    valid = grids[rule.is_valid(grids)]
    assert len(valid) == 300
    assert not torch.equal(valid, grids[tc.rule("random:3x4,M=300,seed=6").is_valid(grids)])
    assert torch.equal(valid, grids[tc.rule("random:3x4,M=300,seed=5").is_valid(grids)])
    # No cell is settled: each is a fair coin but for the draw of the subset.
    assert (valid.double().mean(0) - 0.5).abs().max() < 4 * 0.5 / math.sqrt(300)


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("random:4x6,M=0,seed=0", "M must lie in"),
        ("random:3x3,M=257,seed=0", "M must lie in"),
        ("random:8x8,M=4,seed=0", "at most 62 cells"),
        ("random:4x6,M=5", "option 'seed' is missing"),
        ("shuffled:parity:4x6,G=5,seed=1", "must divide"),
        ("shuffled:parity:4x6,G=3", "option 'seed' is missing"),
        ("shuffled:parrot:4x6,G=3,seed=1", "unknown rule 'parrot'"),
    ],
)
def test_impossible_controls_are_refused(spec, fault):
    with pytest.raises(ValueError, match=fault):
        tc.rule(spec)
