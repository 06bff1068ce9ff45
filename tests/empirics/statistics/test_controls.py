"""Diversity against enumeration and known samplers; the permutation control on a true and on no law."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.statistics.controls import mean_hamming


def all_valid(rule: tc.Rule) -> torch.Tensor:
    grids = torch.tensor(list(itertools.product(range(rule.alphabet), repeat=rule.dim)))
    return grids[rule.is_valid(grids)]


def test_mean_hamming_against_pairs() -> None:
    x = torch.randint(3, (9, 5), generator=torch.Generator().manual_seed(0))
    pairs = [(a != b).sum().item() for a, b in itertools.combinations(x, 2)]
    assert mean_hamming(x, 3) == pytest.approx(np.mean(pairs))
    with pytest.raises(ValueError, match="at least 2"):
        mean_hamming(x[:1], 3)


def test_expectations_against_enumeration() -> None:
    """Expected distance and distinct fraction for the law outside a training set that skews its marginals."""
    rule = tc.rule("parity:2x4,G=4")
    valid = all_valid(rule)
    train, novel = valid[:30], valid[30:]
    generator = torch.Generator().manual_seed(1)
    got = tc.statistics.diversity(rule.sample(400, generator), rule, train, n_reference=50, generator=generator)
    distances = (novel[:, None] != novel[None]).sum(-1).double()
    assert got.hamming_expected == pytest.approx(float(distances.mean()), rel=1e-12)
    n = got.n_novel_valid
    draws = [len(np.unique(np.random.default_rng(k).integers(len(novel), size=n))) / n for k in range(300)]
    assert got.distinct_expected == pytest.approx(np.mean(draws), abs=0.005)
    assert got.hamming == pytest.approx(got.hamming_expected, abs=5 * got.hamming_se)


def test_the_laws_own_samples_pass() -> None:
    rule = tc.rule("parity:4x6,G=3")
    generator = torch.Generator().manual_seed(2)
    train = rule.sample(256, generator)
    p_values = [
        tc.statistics.diversity(
            rule.sample(200, generator), rule, train, n_reference=39, generator=generator
        ).hamming_p_value
        for _ in range(60)
    ]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.1)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.15)


def test_a_collapsed_sampler_is_caught() -> None:
    rule = tc.rule("parity:4x6,G=3")
    generator = torch.Generator().manual_seed(3)
    train = rule.sample(256, generator)
    few = rule.sample(20, generator)
    repeated = few[torch.randint(20, (400,), generator=generator)]
    noise = torch.randint(2, (100, rule.dim), generator=generator)
    got = tc.statistics.diversity(
        torch.cat([repeated, noise, train[:50]]), rule, train, n_reference=99, generator=generator
    )
    assert got.n_generated == 550
    assert 300 < got.n_novel_valid <= 405
    assert got.distinct_fraction < 0.1 < 0.9 < got.distinct_expected
    assert got.distinct_p_value < 1e-6
    assert got.hamming < got.hamming_expected
    assert got.hamming_p_value == pytest.approx(0.01)


def test_the_simulation_is_seeded() -> None:
    rule = tc.rule("parity:2x4,G=4")
    train, samples = all_valid(rule)[:8], all_valid(rule)[8:20]
    assert tc.statistics.diversity(samples, rule, train, n_reference=9) == tc.statistics.diversity(
        samples, rule, train, n_reference=9
    )


def test_diversity_refuses_what_it_cannot_measure() -> None:
    rule = tc.rule("parity:2x2,G=2")
    valid = all_valid(rule)
    with pytest.raises(ValueError, match="at least 2 novel valid"):
        tc.statistics.diversity(valid[:2], rule, valid[:2])
    with pytest.raises(ValueError, match="every valid grid"):
        tc.statistics.diversity(valid, rule, valid)
    with pytest.raises(ValueError, match="must satisfy"):
        tc.statistics.diversity(valid, rule, torch.tensor([[0, 1, 0, 0]]))
    with pytest.raises(ValueError, match="n_reference"):
        tc.statistics.diversity(valid, rule, valid[:1], n_reference=0)
    with pytest.raises(ValueError, match="shape"):
        tc.statistics.diversity(valid[:, :3], rule, valid[:1])


def table(exponent: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cells = pd.MultiIndex.from_product([["a", "b"], [64, 128, 256], range(4)], names=["rule", "n_train", "seed"])
    df = cells.to_frame(index=False)
    log_tau = exponent * np.log(df["n_train"]) + 0.3 * rng.normal(size=len(df))
    lower = np.floor(log_tau / 0.26) * 0.26
    late = log_tau > np.quantile(log_tau, 0.8)
    return df.assign(tau_mem_lower=np.exp(lower), tau_mem_upper=np.where(late, np.inf, np.exp(lower + 0.26)))


def test_permutation_control() -> None:
    law = tc.statistics.permutation_control(table(1.0, 0), by="rule", n_permutations=399)
    assert law.exponent == tc.fit_scaling(table(1.0, 0), by="rule", n_boot=0).exponent
    assert law.p_value == pytest.approx(1 / 400)
    assert law.shuffled_mean == pytest.approx(0, abs=0.1)
    assert law.shuffled_interval[0] < 0 < law.shuffled_interval[1] < law.exponent
    none = [
        tc.statistics.permutation_control(table(0.0, k), by="rule", n_permutations=99, seed=k).p_value
        for k in range(40)
    ]
    assert np.mean(none) == pytest.approx(0.5, abs=0.15)
    with pytest.raises(ValueError, match="n_permutations"):
        tc.statistics.permutation_control(table(1.0, 0), by="rule", n_permutations=0)


def test_shuffled_fits_are_fits_of_shuffled_tables() -> None:
    """The weights on runs x values reproduce a refit of one table with shuffled x."""
    df = table(1.0, 1)
    control = tc.statistics.permutation_control(df, by="rule", n_permutations=1, seed=5)
    rng = np.random.default_rng(5)
    shuffled = df.copy()
    for rule in ("a", "b"):
        runs = (df["rule"] == rule).to_numpy()
        shuffled.loc[runs, "n_train"] = rng.permuted(np.tile(df["n_train"][runs].to_numpy(), (1, 1)), axis=1)[0]
    shuffled["seed"] = np.arange(len(df))  # a shuffled cell may hold a seed twice
    refit = tc.fit_scaling(shuffled, by="rule", n_boot=0)
    assert control.shuffled_mean == pytest.approx(refit.exponent, rel=1e-6)
