"""Basins of exact denoisers against the Bayes posterior and enumeration; intervals against simulated clusters."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import twoclocks as tc
from twoclocks.empirics.data import sample_distinct, training_set
from twoclocks.empirics.probes import basins
from twoclocks.theory.memorization import binomial_interval

RULE = tc.rule("parity:2x4,G=4")
TRAIN = training_set(RULE, 12, seed=0)
NOVEL = sample_distinct(RULE, 12, torch.Generator().manual_seed(1), exclude=TRAIN)
CUBE = torch.randint(2, (64, 8), generator=torch.Generator().manual_seed(2))
ANCHORS = {"train": TRAIN, "novel valid": NOVEL, "invalid": CUBE[~RULE.is_valid(CUBE)][:12]}


def volumes(law, sigmas, n_draws=40, **options):
    net = tc.OptimalDenoiser(law)
    return basins.basin_volumes(net, ANCHORS, RULE, TRAIN, sigmas, n_draws=n_draws, **options)


def fractions(law, sigmas, **options):
    found = basins.return_fractions(volumes(law, sigmas, **options))
    return found.set_index(["kind", "sigma", "outcome"])["fraction"]


def test_the_cube_s_basins_are_orthants():
    """Cells are independent and symmetric: a grid returns to itself when no noise crosses 0, Phi(1 / sigma)^D."""
    found = fractions(tc.CubeLaw((2, 4)), [0.5, 1.0], n_draws=100)
    for sigma in (0.5, 1.0):
        expected = stats.norm.cdf(1 / sigma) ** 8
        for kind in ANCHORS:
            assert abs(found[kind, sigma, "itself"] - expected) < 4 * np.sqrt(expected * (1 - expected) / 1200)


def test_the_rule_s_basins_hold_the_likeliest_grid():
    """Under the rule all valid grids are alike: each basin is where its grid is the nearest valid one."""
    sigma, n_draws = 0.8, 60
    table = volumes(RULE, [sigma], n_draws=n_draws, generator=torch.Generator().manual_seed(5))
    found = basins.return_fractions(table).set_index(["kind", "outcome"])["fraction"]
    grids = torch.cartesian_prod(*[torch.arange(2)] * 8)
    support = 2.0 * grids[RULE.is_valid(grids)] - 1
    clean = 2.0 * NOVEL - 1
    noise = torch.randn(n_draws, 12, 1, 2, 4, generator=torch.Generator().manual_seed(5)).flatten(2)
    nearest = support[torch.cdist(clean + sigma * noise, support[None]).argmin(-1)]
    expected = float((nearest == clean).all(-1).double().mean())
    assert found["novel valid", "itself"] == pytest.approx(expected, abs=0.02)  # the flow's borders bend a little
    assert found["train", "itself"] == pytest.approx(expected, abs=0.08)
    assert found["invalid", "itself"] == 0
    for kind in ANCHORS:
        assert found[kind, "valid"] > 0.99


def test_the_training_set_s_basins_swallow_all():
    found = fractions(tc.EmpiricalLaw(TRAIN, 2, (2, 4)), [0.3, 0.8])
    for sigma in (0.3, 0.8):
        for kind in ANCHORS:
            assert found[kind, sigma, "train"] > 0.97
        assert found["novel valid", sigma, "itself"] == found["invalid", sigma, "itself"] == 0
    assert found["train", 0.3, "itself"] > 0.97


def test_ambiguous_ends_count_for_nothing():
    table = basins.basin_volumes(lambda y, sigma: 0 * y, ANCHORS, RULE, TRAIN, [0.5], tc.Encoding((2, 4), 2))
    assert (table[list(basins.OUTCOMES)] == 0).all(axis=None)
    assert table["n_draws"].eq(3).all()
    assert len(table) == 36


def test_same_seed_same_table_and_few_steps_suffice():
    sigmas = [0.5, 1.0]
    pd.testing.assert_frame_equal(volumes(RULE, sigmas, n_draws=2), volumes(RULE, sigmas, n_draws=2))
    coarse, fine = (fractions(RULE, sigmas, n_draws=100, n_steps=n) for n in (6, 40))
    assert (coarse - fine).abs().max() < 0.02


def test_bad_input_is_refused():
    def net(y, sigma):
        return y

    encoding = tc.Encoding((2, 4), 2)
    with pytest.raises(ValueError, match="need an encoding"):
        basins.basin_volumes(net, ANCHORS, RULE, TRAIN, [0.5])
    with pytest.raises(ValueError, match=r"sigmas above 0.02"):
        basins.basin_volumes(net, ANCHORS, RULE, TRAIN, [0.5, 0.01], encoding)
    with pytest.raises(ValueError, match="n_draws >= 1"):
        basins.basin_volumes(net, ANCHORS, RULE, TRAIN, [0.5], encoding, n_draws=0)


def test_intervals_of_single_draws_are_clopper_and_pearson_s():
    draws = np.ones(50, dtype=int)
    for k in (0, 1, 17, 49, 50):
        hits = (np.arange(50) < k).astype(int)
        assert basins.clustered_interval(hits, draws) == pytest.approx(binomial_interval(k, 50), abs=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("p", [0.03, 0.4])
def test_intervals_cover_whatever_the_draws_of_an_anchor_share(correlation, p):
    rng = np.random.default_rng(0)
    n, m, covered, widths = 60, 4, [], []
    for _ in range(400):
        shared = rng.uniform(size=(n, 1)) < p
        own = rng.uniform(size=(n, m)) < p
        hits = np.where(rng.uniform(size=(n, 1)) < correlation, shared, own).sum(1)
        low, high = basins.clustered_interval(hits, np.full(n, m))
        covered.append(low <= p <= high)
        widths.append(high - low)
    assert np.mean(covered) > 0.93
    exact = binomial_interval(round(p * n * m), n * m)
    if correlation == 0 and p == 0.4:
        assert np.mean(widths) < 1.1 * (exact[1] - exact[0])
    if correlation == 1:
        assert np.mean(widths) > 1.5 * (exact[1] - exact[0])


@pytest.mark.slow
def test_over_a_run(dit_run, tmp_path):
    table = basins.run_basins(dit_run, sigmas=(0.4, 1.0), n_anchors=12, n_draws=2)
    assert len(table) == (4 + 3) * 3 * 12 * 2
    found = basins.return_fractions(table)
    assert (found["low"] <= found["fraction"]).all()
    assert (found["fraction"] <= found["high"]).all()
    assert found["n"].eq(24).all()
    exact = found[(found["denoiser"] == "training-set optimum") & (found["sigma"] == 0.4)]
    own = exact.set_index(["kind", "outcome"])["fraction"]
    assert own["train", "itself"] > 0.9
    assert own["novel valid", "itself"] == 0
    basins.basins_figure(table, dit_run).savefig(tmp_path / "basins.png")
    assert (tmp_path / "basins.png").stat().st_size > 5000
