"""Neighbours against brute force over all grids."""

import itertools

import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import training_set
from twoclocks.empirics.probes import neighbours

BINARY = ("parity:2x3,G=3", "exact-k:2x3,K=2", "row-k:2x3,K=1", "row-variable-k:2x3,K=1+3", "global-k:2x3,K=2+3")


def generator():
    return torch.Generator().manual_seed(3)


def all_grids(rule):
    return torch.tensor(list(itertools.product(range(rule.alphabet), repeat=rule.dim)))


@pytest.mark.parametrize("spec", [*BINARY, "permutation:2x3"])
def test_nearest_valid_novel_grid_at_distance_two(spec):
    rule = tc.rule(spec)
    train = training_set(rule, 3, seed=0)
    found = neighbours.novel_neighbours(rule, train, train, generator())
    assert rule.is_valid(found).all()
    assert not (found[:, None] == train[None]).all(-1).any()
    grids = all_grids(rule)
    novel = grids[rule.is_valid(grids) & ~(grids[:, None] == train[None]).all(-1).any(1)]
    distance = neighbours.hamming(novel[None], train[:, None])
    best = torch.where(distance >= 2, distance, 99).amin(1)
    assert neighbours.hamming(found, train).tolist() == best.tolist() == [2, 2, 2]


def test_choices_are_spread_over_all_nearest():
    rule = tc.rule("parity:2x3,G=3")
    x = torch.zeros(300, 6, dtype=torch.int64)
    found = neighbours.novel_neighbours(rule, x, x[:1], generator())
    kinds, counts = torch.unique(found, dim=0, return_counts=True)
    assert len(kinds) == 6  # two flips within one of two groups of three
    assert counts.min() > 25
    broken = neighbours.invalid_neighbours(rule, x, generator())
    assert len(torch.unique(broken, dim=0)) == 6
    assert not rule.is_valid(broken).any()
    assert neighbours.hamming(broken, x).eq(1).all()


def test_nearest_latin_squares_are_found_by_exchanges():
    rule = tc.rule("latin:4")
    square = torch.tensor([[0, 1, 2, 3, 1, 0, 3, 2, 2, 3, 0, 1, 3, 2, 1, 0]])  # Klein's group: every 2x2 exchange works
    found = neighbours.novel_neighbours(rule, square, square, generator())
    assert rule.is_valid(found).all()
    every = rule.sample(20000, generator()).unique(dim=0)
    assert len(every) == 576
    distance = neighbours.hamming(every, square)
    assert int(neighbours.hamming(found, square)) == int(distance[distance > 0].min()) == 4
    cyclic = tc.rule("latin:5")
    square = (torch.arange(5)[:, None] + torch.arange(5)).remainder(5).reshape(1, 25)  # no part of two rows exchanges
    found = neighbours.novel_neighbours(cyclic, square, square, generator())
    assert cyclic.is_valid(found).all()
    assert int(neighbours.hamming(found, square)) == 10


def test_nearest_other_training_sample():
    train = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]])
    assert neighbours.nearest_training(train[:2], train).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    with pytest.raises(ValueError, match="one grid alone"):
        neighbours.nearest_training(train[:1], train[[0, 3]])


def test_what_is_not_there_is_said():
    free = tc.rule("global-k:1x2,K=0+1+2")
    with pytest.raises(ValueError, match="no single change"):
        neighbours.invalid_neighbours(free, torch.zeros(1, 2, dtype=torch.int64), generator())
    rule = tc.rule("parity:1x2,G=2")
    everything = torch.tensor([[0, 0], [1, 1]])
    with pytest.raises(ValueError, match="no valid grid"):
        neighbours.novel_neighbours(rule, everything, everything, generator())
