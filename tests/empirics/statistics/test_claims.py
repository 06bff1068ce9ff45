"""Verdicts on synthetic sweeps whose truth is known, and the trend test against enumeration."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

import twoclocks as tc
from twoclocks.empirics.statistics.aft import CensoredRegression
from twoclocks.empirics.statistics.claim_exponent import random_effects
from twoclocks.empirics.statistics.claims import (
    claim_capacity,
    claim_memorization_exponent,
    claim_rule_complexity,
    claim_rule_invariance,
    claim_window,
)
from twoclocks.empirics.statistics.ordered_trend import trend_test
from twoclocks.empirics.statistics.runs_table import model_capacity
from twoclocks.empirics.statistics.scatter import ScatterTrend
from twoclocks.empirics.statistics.verdicts import holm, p_text


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
    text = tc.statistics.claims_to_markdown(verdicts)
    assert text.count("\n") == 6
    assert text.count("| supported |") == 5
    assert "| at most 0.0002 | at most 0.0006 |" in text


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
    assert "undecided" in tc.statistics.claims_to_markdown(verdicts)


def test_a_missing_clock_is_undecided() -> None:
    df = runs()[["rule", "model", "n_train", "seed", "tau_mem_lower", "tau_mem_upper"]]
    verdicts = {v.claim: v for v in tc.evaluate_claims(df)}
    assert verdicts["C4"].verdict == verdicts["C3"].verdict == "supported"
    assert verdicts["C1"].note == verdicts["C5"].note == "the table has no tau_rule"


def test_a_rule_that_is_never_learned_counts() -> None:
    """Right-censored runs at the largest G are evidence for C1, once three G are seen, and their windows for C5."""
    df = runs(last=1500.0, sizes=(16, 64), rule_in_g=2.0, groups=(2, 3, 4, 12))
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


def test_two_group_sizes_are_one_contrast() -> None:
    verdict = claim_rule_complexity(runs(groups=(2, 6), n_seeds=5))
    assert verdict.verdict == "undecided"
    assert verdict.p_value == 0.0002
    assert verdict.estimate == pytest.approx(1.5, abs=0.3)
    assert verdict.note.startswith("undecided: one contrast (tau_rule is seen at G = 2 and 6 alone)")
    unseen = claim_rule_complexity(runs(groups=(2, 6, 36), n_seeds=5, last=1e4, rule_in_g=2.0))
    assert "one contrast" in unseen.note
    assert claim_rule_complexity(runs(groups=(2, 3, 6), n_seeds=5)).verdict == "supported"


def bent(powers: tuple[float, ...], curvature: float = 0.0, growth: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """tau_mem of four rules at five N with exponents of their own, a curvature, and scatter that grows with N."""
    rng = np.random.default_rng(seed)
    rows = []
    for G, power in zip((2, 3, 4, 6), powers, strict=True):
        for N, s in itertools.product((64, 128, 256, 512, 1024), range(4)):
            z = np.log(N / 256)
            log_tau = np.log(1000) + power * z - curvature * z * z + 0.15 * np.exp(growth * z) * rng.normal()
            k = np.floor(log_tau / np.log(1.2))
            rows.append((f"parity:6x6,G={G}", "gpt-nano", N, s, 1.2**k, 1.2 ** (k + 1)))
    columns = ["rule", "model", "n_train", "seed", "tau_mem_lower", "tau_mem_upper"]
    return pd.DataFrame(rows, columns=columns)


def test_exponents_that_differ_are_no_common_law() -> None:
    verdict = claim_memorization_exponent(bent((0.6, 1.0, 1.0, 1.4)))
    assert verdict.verdict == "not supported"
    assert verdict.p_value == 1.0
    assert verdict.estimate == pytest.approx(1.0, abs=0.1)
    assert verdict.ci[0] < 0.6 < 1.4 < verdict.ci[1]
    for text in ("cannot be supported", "exponents differ", "random-effects mean", "a further group's", "G=2 0.5"):
        assert text in verdict.note


def test_claims_read_numbers_written_as_text_and_filtered_categories() -> None:
    df = runs()
    text = df.astype({name: str for name in df.columns if name.endswith(("_lower", "_upper")) or name == "n_train"})
    rules = text.astype({"rule": "category", "model": "category"})
    rules["rule"] = rules["rule"].cat.add_categories("parity:6x6,G=36")
    assert tc.evaluate_claims(rules) == tc.evaluate_claims(df)


def test_a_bent_law_is_no_power_law() -> None:
    straight, curved = claim_memorization_exponent(bent((1.0,) * 4)), claim_memorization_exponent(bent((1.0,) * 4, 0.2))
    assert straight.verdict == "supported"
    assert curved.verdict == "undecided"
    assert "a power law is rejected" in curved.note
    assert straight.p_value < 1e-3 < curved.p_value == 1.0


def test_scatter_that_grows_with_n_is_seen_and_weighted() -> None:
    df = bent((1.0,) * 4, growth=0.6)
    fit = tc.fit_scaling(df, n_boot=0)
    assert fit.tests["equal_scatter"].p_value < 1e-3
    assert fit.scatter.gamma == pytest.approx(0.6, abs=0.2)
    low, high = fit.interval("weighted")
    assert low < 1.0 < high
    assert high - low < 0.9 * (fit.ci[1] - fit.ci[0])
    assert "weighted" in claim_memorization_exponent(df).note
    assert "read the weighted interval" in fit.summary()
    equal = tc.fit_scaling(bent((1.0,) * 4), n_boot=0)
    assert equal.tests["equal_scatter"].p_value > 0.05
    assert equal.interval("weighted") == pytest.approx(equal.ci, abs=0.05)


def test_scatter_of_exact_onsets_is_weighted_least_squares() -> None:
    """With the power known, the law is linear regression with known relative standard deviations."""
    rng = np.random.default_rng(5)
    cells = np.tile(np.arange(3), 40)
    log_x = np.log([64.0, 256.0, 1024.0])[cells]
    z = log_x - log_x.mean()
    y = 1 + log_x + 0.1 * z**2 + 0.2 * np.exp(0.5 * z) * rng.normal(size=120)
    trend = ScatterTrend(CensoredRegression(y, y, np.column_stack([np.ones(120), log_x])), log_x, cells)
    wanted = sm.WLS(y, sm.add_constant(log_x), weights=np.exp(-z)).fit()
    assert trend.at(0.5).fit().beta[0] == pytest.approx(wanted.params, rel=1e-8)
    assert trend.at(0.5).profile_interval(1) == pytest.approx(wanted.conf_int()[1], rel=1e-5)
    lr, p_value = trend.likelihood_ratio()
    means = np.eye(3)[cells]  # the bend is no scatter
    values = [sm.WLS(y, means, weights=np.exp(-2 * gamma * z)).fit().llf for gamma in (0.0, trend.gamma)]
    assert lr == pytest.approx(2 * (values[1] - values[0]), rel=1e-6)
    assert p_value < 1e-6
    assert trend.gamma == pytest.approx(0.5, abs=0.15)


def test_a_bend_is_not_taken_for_scatter() -> None:
    fit = tc.fit_scaling(bent((1.0,) * 4, 0.3), n_boot=0)
    assert fit.tests["no_curvature"].p_value < 1e-6
    assert fit.tests["equal_scatter"].p_value > 0.05


def test_random_effects_against_their_formulas() -> None:
    same = random_effects(np.array([1.0, 1.0, 1.0]), np.array([0.01, 0.04, 0.01]))
    assert same.mean == pytest.approx(1.0)
    assert same.spread == 0.0
    error = 1 / np.sqrt(225)
    assert same.ci == pytest.approx((1 - stats.t.ppf(0.975, 2) * error, 1 + stats.t.ppf(0.975, 2) * error))
    apart = random_effects(np.array([0.5, 1.0, 1.5]), np.full(3, 0.01))
    assert apart.spread**2 == pytest.approx(0.25 - 0.01)  # variance between groups less the sampling variance
    assert apart.ci == pytest.approx(
        (1 - stats.t.ppf(0.975, 2) * 0.5 / np.sqrt(3), 1 + stats.t.ppf(0.975, 2) * 0.5 / 3**0.5)
    )
    reach = stats.t.ppf(0.975, 1) * np.sqrt(0.24 + 0.25 / 3)
    assert apart.prediction == pytest.approx((1 - reach, 1 + reach))
    assert random_effects(np.array([1.0, 2.0]), np.full(2, 0.01)).prediction is None


def test_ratios_that_change_with_n_are_no_invariance() -> None:
    df = runs(models=("gpt-nano",), n_seeds=5)
    crossing = df.copy()
    first = crossing["rule"] == "parity:6x6,G=2"
    power = np.log(crossing.loc[first, "n_train"] / 256) / np.log(4)  # from -1 to 1
    crossing.loc[first, ["tau_mem_lower", "tau_mem_upper"]] *= 3.0 ** power.to_numpy()[:, None]
    assert claim_rule_invariance(df).verdict == "supported"
    verdict = claim_rule_invariance(crossing)
    assert verdict.verdict == "not supported"
    assert verdict.estimate < 1.4  # the mean over N alone would not tell
    assert "ratios change with N: p = " in verdict.note
    assert "largest at the smallest N" in verdict.note


def test_simultaneous_limits_are_those_of_tukey() -> None:
    """Exact onsets, equal numbers: the maximum over all pairs is the studentised range."""
    rng = np.random.default_rng(6)
    rows = [(f"parity:6x6,G={G}", "gpt-nano", 64, s) for G in (2, 3, 4, 6) for s in range(6)]
    df = pd.DataFrame(rows, columns=["rule", "model", "n_train", "seed"])
    y = 5 + 0.3 * rng.normal(size=24)
    df = df.assign(tau_mem_lower=np.exp(y), tau_mem_upper=np.exp(y))
    means, residual = y.reshape(4, 6).mean(1), (y.reshape(4, 6) - y.reshape(4, 6).mean(1)[:, None]).ravel()
    error = np.sqrt((residual**2).sum() / 20 / 6)
    widest = means.max() - means.min()
    reach = stats.studentized_range.ppf(0.9, 4, 20) * error
    verdict = claim_rule_invariance(df)
    assert np.log(verdict.estimate) == pytest.approx(widest, rel=1e-6)
    assert np.log(verdict.ci) == pytest.approx([widest - reach, widest + reach], abs=0.02 * reach)


def test_a_window_must_widen_at_every_group_size() -> None:
    df = runs(models=("gpt-nano",), groups=(2, 3, 4, 6), sizes=(64, 128, 256, 512, 1024), rule_in_g=2.0)
    assert claim_window(df).verdict == "supported"
    flat = df.copy()
    last = flat["rule"] == "parity:6x6,G=6"
    flat.loc[last, ["tau_mem_lower", "tau_mem_upper"]] *= (256 / flat.loc[last, "n_train"].to_numpy())[:, None] ** 1.5
    verdict = claim_window(flat)
    assert verdict.verdict == "not supported"
    assert "-0.5" in verdict.note.partition("slopes in N: ")[2].partition("at G = 6")[0]
    assert "does not widen with N at every G" in verdict.note


def test_levels_of_two_grids_are_no_trend_in_g() -> None:
    """Windows narrower on the larger grid, where the larger G are, say nothing of G."""
    small = runs(seed=3, groups=(2, 3), mem_in_g=1.5)
    small["rule"] = small["rule"].str.replace("6x6", "4x6")
    large = runs(seed=4, groups=(4, 6), mem_in_g=1.5)
    large[["tau_mem_lower", "tau_mem_upper"]] /= 10.0
    verdict = claim_window(pd.concat([small, large], ignore_index=True))
    assert verdict.verdict != "supported"
    assert verdict.p_value > 0.05


def test_sizes_are_compared_at_equal_settings() -> None:
    df = runs(n_seeds=4)
    verdict = claim_capacity(df.assign(lr=2e-3, ema_halflife=np.nan, batch_size=128))
    assert verdict.verdict == "supported"
    assert "at equal learning rate, averaging, batch" in verdict.note
    assert "not in the table, taken as equal" in claim_capacity(df).note
    own = df.assign(lr=np.where(df["model"] == "gpt-nano", 2e-3, 4e-3))
    confounded = claim_capacity(own)
    assert confounded.verdict == "undecided"
    assert confounded.estimate is None
    assert "sizes differ in learning rate" in confounded.note
    crossed = pd.concat([df.assign(lr=2e-3), runs(n_seeds=4, seed=9).assign(lr=4e-3, seed=lambda t: t["seed"] + 9)])
    assert claim_capacity(crossed).verdict == "supported"


def test_holm_corrects_within_the_table() -> None:
    def verdict(name: str, p: float | None, word: str = "supported") -> tc.statistics.ClaimVerdict:
        return tc.statistics.ClaimVerdict(name, "", 1.0, (0.0, 2.0), "", p, word, 9)  # type: ignore[arg-type]

    found = holm([verdict("C1", 0.03), verdict("C2", None, "undecided"), verdict("C3", 0.001), verdict("C4", 0.02)])
    assert [v.p_holm for v in found] == pytest.approx([0.04, None, 0.003, 0.04])
    assert [v.verdict for v in found] == ["supported", "undecided", "supported", "supported"]
    found = holm([verdict("C1", 0.03), verdict("C3", 0.001), verdict("C4", 0.03)])
    assert [v.p_holm for v in found] == pytest.approx([0.06, 0.003, 0.06])
    assert [v.verdict for v in found] == ["undecided", "supported", "undecided"]
    assert found[0].note == "supported by itself; p = 0.06 after Holm's correction for 3 claims"
    assert p_text(0.0002, 0.0002) == "at most 0.0002"
    assert p_text(0.0004, 0.0002) == "0.0004"


def test_the_committed_calibration_holds_what_the_verdicts_promise() -> None:
    """Each row is 300 sweeps or more: false claims supported in 5% at most, true ones as reported in 80% at least."""
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "claims_calibration.json"
    results = json.loads(path.read_text())
    assert results["sweeps"] >= 300
    assert {row["claim"] for row in results["rows"]} == {"C1", "C2", "C3", "C4", "C5", "all"}
    for row in results["rows"]:
        if not row["true"]:
            assert row["supported"] <= 0.05, row
        elif row["reported"]:
            assert row["supported"] >= 0.8, row
