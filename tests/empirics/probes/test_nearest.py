"""Nearest training samples against comparing every pair, whatever the alphabet, size and blocks."""

import math

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.nearest import _popcount, _popcount_by_halves, nearest_hamming
from twoclocks.empirics.probes import nearest


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("n", "n_train", "dim", "alphabet"),
    [(33, 70, 36, 2), (5, 3, 32, 2), (20, 50, 24, 5), (20, 50, 36, 6), (9, 30, 130, 2), (7, 20, 70, 3), (4, 9, 300, 9),
     (3, 20000, 16, 2), (1, 1, 1, 2)],
)  # fmt: skip
def test_distances_and_rows_are_those_of_all_pairs(n, n_train, dim, alphabet):
    g = seeded()
    train = torch.randint(alphabet, (n_train, dim), generator=g)
    x = torch.randint(alphabet, (n, dim), generator=g)
    x[0] = train[-1]
    if n > 2:
        x[1] = (train[0] + 1) % alphabet  # as far as can be from the first
    pairs = (x[:, None] != train[None]).sum(-1)
    distance, row = nearest_hamming(x, train)
    assert torch.equal(distance, pairs.min(1).values)
    first = [int(np.argmin(line)) for line in pairs.numpy()]  # numpy's is the first of the least
    assert row.tolist() == first
    assert distance.dtype == row.dtype == torch.int64
    assert distance[0] == 0


def test_the_farthest_pair_differs_in_every_cell():
    for dim in (31, 32, 33, 64, 65, 254, 255, 256, 600):
        zeros, ones = torch.zeros(1, dim, dtype=torch.uint8), torch.ones(1, dim, dtype=torch.uint8)
        assert nearest_hamming(zeros, ones).distance.tolist() == [dim]


def test_counting_bits_without_numpy_2():
    rng = np.random.default_rng(0)
    for kind, high in ((np.uint32, 2**32), (np.uint64, 2**64)):
        words = np.r_[rng.integers(0, high, 999, dtype=kind), kind(0), kind(high - 1)]
        expected = [int(word).bit_count() for word in words]
        assert _popcount_by_halves(words).tolist() == expected
        assert _popcount(words).tolist() == expected


def test_no_generations_are_no_distances():
    distance, row = nearest_hamming(torch.zeros(0, 8, dtype=torch.long), torch.zeros(3, 8, dtype=torch.long))
    assert distance.shape == row.shape == (0,)


@pytest.mark.parametrize(
    ("x", "train", "said"),
    [
        (torch.zeros(2, 8), torch.zeros(2, 8, dtype=torch.long), "integer symbols"),
        (torch.zeros(8, dtype=torch.long), torch.zeros(2, 8, dtype=torch.long), "integer symbols"),
        (torch.zeros(2, 8, dtype=torch.long) - 1, torch.zeros(2, 8, dtype=torch.long), "at least 0, got -1 in x"),
        (torch.zeros(2, 8, dtype=torch.long), torch.zeros(2, 9, dtype=torch.long), r"\(N, 8\)"),
        (torch.zeros(2, 8, dtype=torch.long), torch.zeros(0, 8, dtype=torch.long), "at least 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(x, train, said):
    with pytest.raises(ValueError, match=said):
        nearest_hamming(x, train)


def test_means_over_training_are_those_of_the_kept_generations(dit_run, tmp_path):
    table = nearest.hamming_over_training(dit_run)
    train = dit_run.train_set
    assert table["of"].tolist() == ["all", "valid", "novel"] * len(dit_run.metrics)
    for step in dit_run.metrics["step"]:
        x, ambiguous = dit_run.samples(int(step))
        distance = (x[:, None] != train[None]).sum(-1).min(1).values.double()
        valid = dit_run.rule.is_valid(x) & ~ambiguous
        for of, chosen in (("all", valid | True), ("valid", valid), ("novel", valid & (distance > 0))):
            (row,) = table[(table["step"] == step) & (table["of"] == of)].itertuples()
            n = int(chosen.sum())
            assert row.n == n
            assert row.hamming == pytest.approx(float(distance[chosen].mean()), nan_ok=True)
            error = float(distance[chosen].std()) / math.sqrt(n) if n > 1 else math.nan
            assert row.hamming_se == pytest.approx(error, nan_ok=True)
    references = nearest.hamming_references(dit_run, 200)
    nearest.hamming_figure(table, references, dit_run).savefig(tmp_path / "hamming.png")
    assert (tmp_path / "hamming.png").stat().st_size > 10_000


def test_references_cover_the_means_over_all_grids(dit_run):
    rule, train = dit_run.rule, dit_run.train_set
    cube = torch.cartesian_prod(*[torch.arange(2)] * rule.dim)
    distance = (cube[:, None] != train[None]).sum(-1).min(1).values.double()
    valid = rule.is_valid(cube)
    exact = {
        "rule": distance[valid].mean(),
        "rule, novel": distance[valid & (distance > 0)].mean(),
        "cube": distance.mean(),
    }
    table = nearest.hamming_references(dit_run, n_samples=4000, seed=1).set_index("of")
    assert list(table.index) == list(exact)
    for of, mean in exact.items():
        assert abs(table.loc[of, "hamming"] - float(mean)) < 3 * table.loc[of, "hamming_se"]
        assert 0 < table.loc[of, "hamming_se"] < 0.03


def test_references_of_a_training_set_that_is_the_whole_rule(dit_run, monkeypatch):
    everything = torch.cartesian_prod(*[torch.arange(2)] * 8)
    monkeypatch.setattr(tc.Run, "train_set", everything[dit_run.rule.is_valid(everything)])
    table = nearest.hamming_references(dit_run, n_samples=100)
    assert table["of"].tolist() == ["rule", "cube"]
    assert table["hamming"].iloc[0] == 0
