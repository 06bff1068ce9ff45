import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import hash_rows, occur, random_stream, sample_distinct, training_set


@pytest.mark.parametrize("n", [1, 10, 64])
def test_training_sets_hold_different_valid_grids(n):
    rule = tc.rule("parity:2x4,G=4")
    x = training_set(rule, n, seed=3)
    assert x.shape == (n, 8)
    assert rule.is_valid(x).all()
    assert len(torch.unique(x, dim=0)) == n
    assert torch.equal(x, training_set(rule, n, seed=3))


def test_every_grid_is_equally_likely_in_a_training_set():
    rule = tc.rule("parity:1x4,G=4")  # 8 grids
    counts = np.zeros(16)
    for seed in range(2000):
        for row in training_set(rule, 3, seed).tolist():
            counts[int("".join(map(str, row)), 2)] += 1
    seen = counts[counts > 0]
    assert len(seen) == 8
    assert ((seen - 750) ** 2 / 750).sum() < 30  # chi-square, 7 degrees of freedom


def test_held_out_samples_avoid_the_training_set():
    rule = tc.rule("parity:2x4,G=4")
    train = training_set(rule, 40, seed=0)
    held_out = sample_distinct(rule, 24, random_stream(0, "held out"), exclude=train)
    assert len(torch.unique(torch.cat([train, held_out]), dim=0)) == 64
    with pytest.raises(ValueError, match="24 grids to draw from, fewer than the 25"):
        sample_distinct(rule, 25, random_stream(0, "held out"), exclude=train)


def test_streams_are_independent_and_reproducible():
    draws = {
        (seed, name, index): tuple(torch.rand(3, generator=random_stream(seed, name, index)).tolist())
        for seed in (0, 1)
        for name in ("batches", "noise")
        for index in (0, 1)
    }
    assert len(set(draws.values())) == 8
    assert torch.rand(3, generator=random_stream(0, "noise", 1)).tolist() == list(draws[0, "noise", 1])


def test_symbols_beyond_a_byte_are_told_apart():
    train = torch.tensor([[0, 300, 5], [7, 8, 9]])
    x = torch.tensor([[0, 300, 5], [0, 300 - 256, 5], [7, 8, 9], [256, 556, 261]])
    assert occur(x, hash_rows(train)).tolist() == [True, False, True, False]
    assert len(hash_rows(x)) == 4
    with pytest.raises(ValueError, match=r"symbols must lie in 0\.\.65535 to be compared by rows, got 0\.\.70000"):
        hash_rows(torch.tensor([[0, 70_000]]))


def test_distinct_samples_of_a_large_alphabet():
    class Pairs(tc.LayeredAutomaton):
        """Two equal symbols of 300."""

        def step(self, states, position, symbol):
            return (states == symbol) | (position == 0), np.full_like(states, symbol)

    rule = Pairs((1, 2), 300)
    x = sample_distinct(rule, 290, torch.Generator().manual_seed(0), exclude=torch.tensor([[299, 299], [3, 3]]))
    assert rule.is_valid(x).all()
    assert len(torch.unique(x, dim=0)) == 290
    assert int(x.max()) > 255
    assert not ((x == 299) | (x == 3)).any()
