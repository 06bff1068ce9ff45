"""Verdicts on synthetic sweeps whose truth is known, and the trend test against enumeration."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest

import twoclocks as tc
from twoclocks.empirics.statistics.claims import (
    claim_capacity,
    claim_memorization_exponent,
    claim_rule_complexity,
    claim_rule_invariance,
    claim_window,
)
from twoclocks.empirics.statistics.ordered_trend import trend_test
from twoclocks.empirics.statistics.runs_table import model_capacity


def runs(
    seed: int = 0,
    exponent: float = 1.0,
    mem_in_g: float = 0.0,
    rule_in_g: float = 1.5,
    rule_in_capacity: float = -0.25,
    models: tuple[str, ...] = ("gpt-nano", "gpt-micro"),
    groups: tuple[int, ...] = (2, 3, 6),
    sizes: tuple[int, ...] = (64, 256, 1024),
    n_seeds: int = 3,
    sigma: float = 0.2,
    last: float = 20_000.0,
) -> pd.DataFrame:
    """A runs table with both clocks, evaluated on a grid of ratio 1.3 up to `last`."""
    rng = np.random.default_rng(seed)
    grid = 1.3 ** np.arange(60)
    grid = grid[grid <= last]

    def interval(tau: float) -> tuple[float, float]:
        k = int(np.searchsorted(grid, tau))
        return (grid[k - 1] if k else 0.0), (grid[k] if k < len(grid) else np.inf)

    rows = []
    for model, G, N, s in itertools.product(models, groups, sizes, range(n_seeds)):
        noise = np.exp(sigma * rng.normal(size=2))
        tau_rule = 400 * G**rule_in_g * model_capacity(model) ** rule_in_capacity * noise[0]
        tau_mem = 10 * N**exponent * G**mem_in_g * noise[1]
        rows.append((f"parity:6x6,G={G}", model, N, s, *interval(tau_rule), *interval(tau_mem)))
    ends = ["tau_rule_lower", "tau_rule_upper", "tau_mem_lower", "tau_mem_upper"]
    return pd.DataFrame(rows, columns=["rule", "model", "n_train", "seed", *ends])


def test_true_claims_are_supported() -> None:
    verdicts = tc.evaluate_claims(runs())
    assert [v.claim for v in verdicts] == ["C1", "C2", "C3", "C4", "C5"]
    assert [v.verdict for v in verdicts] == ["supported"] * 5
    truths = [1.5, -0.25, None, 1.0, 1.0]
    for v, truth in zip(verdicts, truths, strict=True):
        assert v.n_runs == 54
        assert v.p_value is not None
        assert v.ci is not None
        assert v.ci[0] < v.estimate < v.ci[1]
        if truth is not None:
            assert v.ci[0] < truth < v.ci[1]
    assert verdicts[2].estimate == pytest.approx(1, abs=0.3)
    assert "elasticity in G -1.4" in verdicts[4].note  # true: -1.5
    text = tc.claims_to_markdown(verdicts)
    assert text.count("\n") == 6
    assert text.count("supported") == 5


def test_false_claims_are_not_supported() -> None:
    df = runs(exponent=0.5, mem_in_g=0.8, rule_in_g=0.0, rule_in_capacity=0.0, n_seeds=8)
    verdicts = tc.evaluate_claims(df)
    assert [v.verdict for v in verdicts] == ["not supported"] * 5
    assert verdicts[3].ci[1] < 0.8
    reversed_trends = tc.evaluate_claims(runs(rule_in_g=-0.5, rule_in_capacity=0.2))
    assert [v.verdict for v in reversed_trends[:2]] == ["not supported"] * 2
    assert min(v.p_value for v in reversed_trends[:2]) > 0.9


def test_few_noisy_runs_leave_claims_undecided() -> None:
    df = runs(seed=1, models=("gpt-nano", "gpt-micro"), groups=(2, 3), sizes=(64, 128), n_seeds=2, sigma=0.8)
    for v in (claim_capacity(df), claim_rule_invariance(df), claim_memorization_exponent(df)):
        assert v.verdict == "undecided"
        assert v.estimate is not None


def test_a_single_level_is_undecided_without_a_number() -> None:
    verdicts = tc.evaluate_claims(runs(models=("gpt-nano",), groups=(3,), sizes=(64,), n_seeds=4))
    for v in verdicts:
        assert v.verdict == "undecided"
        assert v.estimate is None
        assert v.ci is None
        assert v.p_value is None
        assert v.note
    assert "undecided" in tc.claims_to_markdown(verdicts)


def test_a_missing_clock_is_undecided() -> None:
    df = runs()[["rule", "model", "n_train", "seed", "tau_mem_lower", "tau_mem_upper"]]
    verdicts = {v.claim: v for v in tc.evaluate_claims(df)}
    assert verdicts["C4"].verdict == verdicts["C3"].verdict == "supported"
    assert verdicts["C1"].note == verdicts["C5"].note == "the table has no tau_rule"


def test_a_rule_that_is_never_learned_counts() -> None:
    """Right-censored runs at the largest G are evidence for C1, and their windows for C5."""
    df = runs(last=1500.0, sizes=(16, 64), rule_in_g=2.0, groups=(2, 3, 12))
    assert np.isinf(df.loc[df["rule"] == "parity:6x6,G=12", "tau_rule_upper"]).all()
    c1, c5 = claim_rule_complexity(df), claim_window(df)
    assert c1.verdict == "supported"
    assert c1.ci[0] > 1
    assert c5.verdict == "supported"
    assert "closed in" in c5.note
    assert "G=12 N=16" in c5.note


def test_a_rule_that_is_never_memorized_leaves_invariance_undecided() -> None:
    df = runs()
    never = df["rule"] == "parity:6x6,G=6"
    df.loc[never, ["tau_mem_lower", "tau_mem_upper"]] = [9000.0, np.inf]
    c3, c4 = claim_rule_invariance(df), claim_memorization_exponent(df)
    assert c3.verdict == "undecided"
    assert "G=6" in c3.note
    assert c4.verdict == "supported"
    assert c4.n_runs == 36
    assert "left out 18 runs" in c4.note


def test_other_rules_and_models_are_left_out_by_name() -> None:
    df = pd.concat([runs(), runs(seed=2).assign(rule="latin:6", model="mine").drop_duplicates(["n_train", "seed"])])
    assert "latin:6" in claim_rule_complexity(df).note
    assert "mine" in claim_capacity(df).note


def test_bad_tables_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="tau_rule_upper is missing"):
        tc.evaluate_claims(runs().assign(tau_rule_upper=np.nan))
    with pytest.raises(ValueError, match="second run"):
        tc.evaluate_claims(pd.concat([runs(), runs()]))
    with pytest.raises(ValueError, match="exceed 1"):
        claim_rule_invariance(runs(), factor=0.5)


def test_equivalence_bound_decides_invariance() -> None:
    df = runs(mem_in_g=0.3)  # a ratio of 3^0.3 = 1.39 between G = 2 and 6
    assert claim_rule_invariance(df, factor=2.0).verdict == "supported"
    assert claim_rule_invariance(df, factor=1.05).verdict == "not supported"
    low, high = claim_rule_invariance(df).ci
    assert low < 3**0.3 < high


def test_claims_on_runs_that_agree_within_the_grid() -> None:
    verdicts = tc.evaluate_claims(runs(sigma=0.01))
    assert [v.verdict for v in verdicts] == ["supported"] * 5
    assert verdicts[2].ci[1] < 1.5


def test_trend_test_against_all_permutations() -> None:
    rng = np.random.default_rng(0)
    lower = rng.integers(0, 6, 7).astype(float)
    upper = lower + rng.integers(0, 3, 7)
    upper[2] = np.inf
    level = np.array([1, 1, 2, 2, 3, 3, 3])

    def score(levels: tuple[int, ...]) -> int:
        total = 0
        for i, j in itertools.permutations(range(7), 2):
            if levels[i] < levels[j]:
                total += int(lower[j] >= upper[i]) - int(lower[i] >= upper[j])
        return total

    scores = np.array([score(p) for p in itertools.permutations(level)])
    got = trend_test(lower, upper, level, np.zeros(7), n_permutations=20_000)
    assert got.p_value == pytest.approx((scores >= score(tuple(level))).mean(), abs=0.015)
    pairs = [(i, j) for i, j in itertools.combinations(range(7), 2) if level[i] != level[j]]
    ordered = [int(lower[j] >= upper[i]) - int(lower[i] >= upper[j]) for i, j in pairs]
    assert got.n_pairs == np.abs(ordered).sum()
    assert got.concordance == pytest.approx(np.sum(ordered) / np.abs(ordered).sum())


def test_trend_test_holds_its_size() -> None:
    rng = np.random.default_rng(1)
    strata, level = np.repeat(np.arange(4), 9), np.tile(np.repeat([2, 3, 6], 3), 4)
    rejected = []
    for k in range(400):
        tau = np.exp(strata + 0.3 * rng.normal(size=36))
        lower = np.where(tau > 15, 15, 1.3 ** np.floor(np.log(tau) / np.log(1.3)))
        upper = np.where(tau > 15, np.inf, lower * 1.3)
        rejected.append(trend_test(lower, upper, level, strata, n_permutations=199, seed=k).p_value <= 0.05)
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.03)


def test_trend_test_counts_pairs_as_a_matrix_of_them_would() -> None:
    rng = np.random.default_rng(3)
    for n, levels in ((40, 3), (60, 40)):
        lower = np.round(rng.exponential(3, n), 1)
        upper = np.where(rng.random(n) < 0.3, lower, lower + np.round(rng.exponential(1, n), 1))
        upper[rng.random(n) < 0.2] = np.inf
        level, strata = rng.integers(0, levels, n).astype(float), rng.integers(0, 2, n)
        later = lower[None, :] >= upper[:, None]
        order = later.astype(int) - later.T.astype(int)
        mine = (strata[:, None] == strata[None, :]) & ~np.eye(n, dtype=bool)
        signs = np.sign(level[None, :] - level[:, None])
        got = trend_test(lower, upper, level, strata, n_permutations=9)
        known = int(np.abs(order * mine * (signs != 0)).sum() // 2)
        assert got.n_pairs == known
        assert got.concordance == pytest.approx((order * mine * signs).sum() / 2 / known)


def test_trend_test_needs_no_matrix_of_pairs() -> None:
    rng = np.random.default_rng(4)
    n = 20_000
    level = rng.integers(0, 3, n).astype(float)
    lower = np.exp(0.02 * level + rng.normal(size=n))
    tracemalloc.start()
    assert trend_test(lower, 1.2 * lower, level, np.zeros(n), n_permutations=19).p_value == 0.05
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6  # the matrix would take 3.2 GB
