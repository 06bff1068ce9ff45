"""Chance memorization against simulation and against counting by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import twoclocks as tc
from twoclocks.empirics.data import training_set
from twoclocks.theory.memorization import binomial_interval, binomial_tail

RULES = ["parity:2x4,G=4", "parity:4x3,G=3", "row-variable-k:2x4,K=1+2", "permutation:3"]


def simulated(rule, train, level, sampler, n=40000):
    g = torch.Generator().manual_seed(5)
    law = rule if sampler == "population" else tc.CubeLaw(rule.shape, rule.alphabet)
    x = law.sample(n, g)
    if level == "sample":
        hits = (x[:, None] == train[None]).all(-1).any(1).double()[:, None]
    else:
        hits = torch.stack(
            [(x[:, None, cells] == train[None, :, cells]).all(-1).any(1).double() for cells in rule.groups], 1
        )
    per_sample = hits.mean(1)
    return float(per_sample.mean()), float(per_sample.std()) / math.sqrt(n)


@pytest.mark.parametrize("sampler", ["population", "cube"])
@pytest.mark.parametrize("level", ["sample", "group"])
@pytest.mark.parametrize("spec", RULES)
def test_chance_agrees_with_simulation(spec, level, sampler):
    rule = tc.rule(spec)
    train = training_set(rule, 12, seed=1)
    chance = tc.chance_memorization(rule, train, level, sampler)
    mean, error = simulated(rule, train, level, sampler)
    assert abs(chance - mean) <= 4 * error + 1e-12


@pytest.mark.parametrize("sampler", ["population", "cube"])
@pytest.mark.parametrize("level", ["sample", "group"])
@pytest.mark.parametrize("spec", RULES)
def test_expectation_over_training_sets_is_their_average(spec, level, sampler):
    rule = tc.rule(spec)
    values = [tc.chance_memorization(rule, training_set(rule, 9, seed), level, sampler) for seed in range(300)]
    expected = tc.chance_memorization(rule, 9, level, sampler)
    assert abs(np.mean(values) - expected) <= 4 * np.std(values) / math.sqrt(300) + 1e-12


def test_the_two_lines_of_figure_7():
    """Red, the true law, and blue, the uniform cube: distinct patterns (or samples) seen over all there are."""
    rule = tc.rule("parity:4x3,G=3")
    train = training_set(rule, 5, seed=0)
    patterns = [len(torch.unique(train[:, cells], dim=0)) for cells in rule.groups]
    assert tc.chance_memorization(rule, train, "group") == pytest.approx(np.mean(patterns) / 4)
    assert tc.chance_memorization(rule, train, "group", "cube") == pytest.approx(np.mean(patterns) / 8)
    assert tc.chance_memorization(rule, train) == 5 / 2**8
    assert tc.chance_memorization(rule, train, sampler="cube") == 5 / 2**12


def test_repeated_training_samples_count_once():
    rule = tc.rule("parity:2x4,G=4")
    train = training_set(rule, 6, seed=0)
    for level in ("sample", "group"):
        assert tc.chance_memorization(rule, train.repeat(3, 1), level) == tc.chance_memorization(rule, train, level)


def test_a_sampler_of_the_rule_copies_valid_training_samples_alone():
    rule = tc.rule("parity:1x2,G=2")
    train = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])  # two of them break the rule
    assert tc.chance_memorization(rule, train) == 1
    assert tc.chance_memorization(rule, train[1:]) == 0.5
    assert tc.chance_memorization(rule, train, sampler="cube") == 1


def test_sizes_may_come_from_numpy():
    rule = tc.rule("parity:2x4,G=4")
    assert tc.chance_memorization(rule, np.int64(8)) == tc.chance_memorization(rule, 8)
    assert tc.theory.gpt_floors(rule, np.int64(8)) == tc.theory.gpt_floors(rule, 8)


def test_memorization_test_is_the_exact_binomial():
    result = tc.memorization_test(9, 200, 0.02)
    exact = stats.binomtest(9, 200, 0.02, alternative="greater")
    interval = stats.binomtest(9, 200).proportion_ci(0.95, "exact")
    assert result.ratio == 0.045
    assert result.p_value == pytest.approx(exact.pvalue, rel=1e-12)
    assert (result.ci_low, result.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-10)
    assert tc.memorization_test(0, 10, 0.3).p_value == 1
    assert tc.memorization_test(10, 10, 0.0).p_value == 0


@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 1.0])
def test_intervals_cover_at_least_their_level(p):
    n = 60
    outcomes = np.arange(n + 1)
    inside = np.array([low <= p <= high for low, high in (binomial_interval(int(k), n) for k in outcomes)])
    assert stats.binom.pmf(outcomes, n, p)[inside].sum() >= 0.95


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: tc.chance_memorization(r, 5, level="cell"), "level"),
        (lambda r: tc.chance_memorization(r, 5, sampler="model"), "sampler"),
        (lambda r: tc.chance_memorization(r, -1), "N=-1"),
        (lambda r: tc.chance_memorization(r, 10**6), "N=1000000"),
        (lambda r: tc.chance_memorization(r, torch.zeros(3, 5, dtype=torch.long)), "shape"),
        (lambda r: tc.memorization_test(5, 4, 0.1), "n_memorized"),
        (lambda r: tc.memorization_test(0, 0, 0.1), "n_generated"),
        (lambda r: tc.memorization_test(1, 4, 1.5), "chance"),
        (lambda r: tc.memorization_test(1, 4, 0.5, confidence=95), "confidence must lie between 0 and 1, got 95"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(tc.rule("parity:2x4,G=4"))


@pytest.mark.parametrize("chance", [0.0, 1e-9, 2.4e-4, 0.25, 1.0])
@pytest.mark.parametrize("trials", [1, 64, 2048])
def test_the_tail_has_the_bits_of_scipy_stats(trials, chance):
    successes = np.unique(np.linspace(0, trials, 40).astype(int))
    np.testing.assert_array_equal(
        binomial_tail(successes, np.asarray(trials), chance), stats.binom.sf(successes - 1, trials, chance)
    )
