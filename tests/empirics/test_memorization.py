"""Copying against held-out chance: distances written out, calibration and power by simulation, duplicates reported."""

import numpy as np
import pytest
import torch
from scipy import stats

import twoclocks as tc
from twoclocks.empirics.memorization import fisher_tail
from twoclocks.theory.nearest import nearest_rows
from twoclocks.theory.rows import Rows


def normal(n, dim, seed):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def test_nearest_rows_are_those_of_all_distances_and_copies_are_at_zero():
    train, x = 100 + normal(700, 5, 0), 100 + normal(90, 5, 1)
    x[:10] = train[40:50]
    found = nearest_rows(Rows(x), Rows(train), 2)
    every = torch.cdist(x.double(), train.double(), compute_mode="donot_use_mm_for_euclid_dist")
    exact = every.topk(2, largest=False)
    np.testing.assert_allclose(found.distance, exact.values, rtol=1e-12)
    assert torch.equal(found.row, exact.indices)
    assert (found.distance[:10, 0] == 0).all()
    assert nearest_rows(Rows(x), Rows(train[:1]), 2).distance.shape == (90, 1)


@pytest.mark.parametrize(
    ("found", "n", "by_chance", "m"), [(0, 5, 3, 9), (3, 10, 1, 20), (7, 7, 2, 4), (40, 500, 9, 300)]
)
def test_the_p_value_is_fishers(found, n, by_chance, m):
    table = [[found, n - found], [by_chance, m - by_chance]]
    assert fisher_tail(found, n, by_chance, m) == pytest.approx(stats.fisher_exact(table, "greater").pvalue, rel=1e-9)


@pytest.mark.parametrize("metric", ["exact", "l2", "l2-ratio"])
def test_copies_are_found_and_named(metric):
    train, control = normal(400, 12, 0), normal(300, 12, 1)
    generated = normal(200, 12, 2)
    generated[:20] = train[100:120]
    test = tc.Memorization(train, control, metric)
    result = test.test(generated)
    assert result.copied[:20].all()
    assert result.nearest[:20].tolist() == list(range(100, 120))
    assert (result.distance[:20] == 0).all()
    assert result.ratio == pytest.approx(float(result.copied.double().mean()))
    assert result.ci_low < result.ratio < result.ci_high
    assert result.p_value < 1e-4
    assert result.chance == test.chance <= 0.05
    assert result.chance_low <= result.chance <= result.chance_high
    assert test.test(normal(200, 12, 3)).p_value > 0.01


def test_hamming_counts_cells():
    rule = tc.rule("parity:4x6,G=3")
    g = torch.Generator().manual_seed(0)
    train, control, generated = (rule.sample(n, g) for n in (300, 400, 200))
    generated[:30] = train[:30]
    generated[30, :] = 1 - train[7]
    test = tc.Memorization(train, control, "hamming")
    nearest = (generated[:, None] != train).sum(-1).min(1).values
    result = test.test(generated)
    assert torch.equal(result.distance.long(), nearest)
    assert torch.equal(result.copied, nearest < test.threshold)
    assert result.copied[:30].all()
    assert tc.Memorization(train, control, "hamming", threshold=1).test(generated).copied.sum() == (nearest == 0).sum()


def test_one_training_sample_in_a_thousand_is_nearer_to_another_than_the_threshold():
    train = normal(3000, 3, 0)
    test = tc.Memorization(train, normal(50, 3, 1), "l2")
    every = torch.cdist(train.double(), train.double()).fill_diagonal_(torch.inf).min(1).values
    assert test.threshold == pytest.approx(float(every.sort().values[3]), rel=1e-6)


def test_duplicates_are_reported_and_do_not_hide_copies():
    train, control = normal(200, 6, 0), normal(100, 6, 1)
    train[150:160] = train[20]
    control[3] = train[50]
    control[4] = train[60] + 1e-4
    for metric in ("exact", "l2", "l2-ratio"):
        test = tc.Memorization(train, control, metric)
        assert test.duplicates.tolist() == list(range(150, 160))
        assert test.held_out_duplicates.tolist() == [3]
        near = [3] if metric == "exact" else [3, 4]
        assert set(near) <= set(test.held_out_near.tolist())
        result = test.test(train[[20, 155, 30]])
        assert result.copied.all()
        assert result.nearest.tolist() == [20, 20, 30]


def test_an_embedding_decides_what_is_near(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (80, 3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "train.npy", images)
    train = np.load(tmp_path / "train.npy", mmap_mode="r")
    control = np.random.default_rng(1).integers(0, 256, (60, 3, 4, 4), dtype=np.uint8)
    flipped = images[:10, :, :, ::-1].copy()

    def features(x):
        return np.sort(np.asarray(x, dtype=float), axis=-1)  # blind to flips

    assert not tc.Memorization(train, control, "l2-ratio").test(flipped).copied.any()
    assert tc.Memorization(train, control, "l2-ratio", embed=features).test(flipped).copied.all()
    assert tc.Memorization(train, control, "exact").test(images[5:9]).nearest.tolist() == [5, 6, 7, 8]


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "dim", "power"), [("exact", 8, 0.99), ("l2", 8, 0.8), ("l2-ratio", 8, 0.99)])
def test_held_out_data_are_rejected_at_the_level_and_a_percent_of_copies_is_found(metric, dim, power):
    """300 worlds of 1000 training samples, 1000 held out and 1000 fresh ones, of which then 10 become copies."""
    held, planted = [], []
    for seed in range(300):
        train, control, fresh = normal(3000, dim, seed).split(1000)
        test = tc.Memorization(train, control, metric)
        held.append(test.test(fresh).p_value)
        fresh = fresh.clone()
        fresh[:10] = train[:10]
        planted.append(test.test(fresh).p_value)
    assert np.mean(np.array(held) < 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(np.array(planted) < 0.05) >= power


@pytest.mark.slow
def test_the_level_is_reached_where_copies_by_chance_are_common():
    """Points of the plane: a ninth of them lie three times nearer to one sample than to the next."""
    p = []
    for seed in range(300):
        train, control, fresh = normal(900, 2, seed).split(300)
        p.append(tc.Memorization(train, control, "l2-ratio").test(fresh).p_value)
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


def test_arguments_that_do_not_fit_are_refused():
    train, control = normal(20, 4, 0), normal(20, 4, 1)
    with pytest.raises(ValueError, match="metric must be one of exact, hamming, l2, l2-ratio"):
        tc.Memorization(train, control, "cosine")
    with pytest.raises(ValueError, match="integer symbols"):
        tc.Memorization(train, control, "hamming")
    with pytest.raises(ValueError, match="must have 4 numbers per sample"):
        tc.Memorization(train, control[:, :3])
    with pytest.raises(ValueError, match="of the kind of train"):
        tc.Memorization(train, (control > 0).long())
    with pytest.raises(ValueError, match="generated must be finite"):
        tc.Memorization(train, control).test(control * torch.nan)
    with pytest.raises(ValueError, match="at least 2 different samples"):
        tc.Memorization(train[:1].repeat(5, 1), control)
    with pytest.raises(ValueError, match="threshold must be positive"):
        tc.Memorization(train, control, "l2", threshold=0.0)
    with pytest.raises(ValueError, match="n >= 1"):
        tc.Memorization(train, control).test(control[:0])
