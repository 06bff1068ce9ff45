"""Bootstrapped onsets against binomial tails, and their coverage on runs with a known curve."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import twoclocks as tc

INF = math.inf


def table(novel: list[int], memorized: list[int], n: int) -> pd.DataFrame:
    counts = pd.DataFrame(
        {"step": [10 * 2**k for k in range(len(novel))], "novel_valid": novel, "memorized": memorized}
    )
    return counts.assign(violating=n - counts["novel_valid"] - counts["memorized"], ambiguous=0)


def close(share: float, probability: float, n_boot: int) -> bool:
    """Within four standard errors of Monte Carlo."""
    return abs(share - probability) < 4 * math.sqrt(probability * (1 - probability) / n_boot)


def test_one_evaluation_near_the_threshold_is_a_binomial_tail() -> None:
    """Of 100 generations 89 are valid at step 20, where 90 are needed, none at 10, all at 40."""
    counts = table([0, 80, 100], [0, 9, 0], 100)
    drawn = tc.statistics.onset_bootstrap(counts, "tau_rule_all", chance=0.0, n_boot=20_000)
    assert str(drawn.onset) == "(20, 40]"
    assert set(drawn.draws) == {20, 40}
    assert close(np.mean(drawn.draws == 20), stats.binom.sf(89, 100, 0.89), 20_000)
    assert drawn.interval == (20, 40)
    assert (drawn.lower, drawn.upper) == (10, 40)
    assert drawn.censored_fraction == 0


def test_two_in_a_row_multiply_and_the_exact_test_is_met_by_the_resample() -> None:
    """tau_mem_chance where 7 of 200 are memorized, twice: the threshold is the larger of margin and significance."""
    chance = 0.002
    needed = next(k for k in range(200) if k / 200 >= chance + 0.01 and stats.binom.sf(k - 1, 200, chance) < 1e-3)
    assert needed > math.ceil(200 * (chance + 0.01))  # here significance asks for more than the margin does
    drawn = tc.statistics.onset_bootstrap(table([0, 50, 50], [0, 7, 7], 200), "tau_mem_chance", chance, n_boot=20_000)
    pass_once = stats.binom.sf(needed - 1, 200, 7 / 200)
    assert close(1 - drawn.censored_fraction, pass_once**2, 20_000)
    assert drawn.onset.upper == 20
    assert drawn.interval[1] == drawn.upper == INF
    assert set(drawn.draws) == {20, INF}


def test_the_null_of_copying_and_the_number_of_generations_reach_the_resamples() -> None:
    """22 of 100 at a null of 0.1 and a threshold of 0.19; and 25 generations of which 6 are copies, where 20 others."""
    drawn = tc.statistics.onset_bootstrap(table([0, 0, 0], [0, 22, 22], 100), "tau_mem", 0.0, n_boot=20_000, null=0.1)
    assert close(1 - drawn.censored_fraction, stats.binom.sf(18, 100, 0.22) ** 2, 20_000)
    drawn = tc.statistics.onset_bootstrap(table([0, 19], [0, 6], 25), "tau_rule", 0.0, n_boot=20_000)
    assert drawn.onset.censored
    assert close(1 - drawn.censored_fraction, stats.binom.cdf(5, 25, 6 / 25), 20_000)


def test_joint_counts_of_two_states_and_an_onset_after_another() -> None:
    """The window: at step 20 accuracy is 1 whatever the draw, and memorization decides alone."""
    counts = table([0, 85, 100, 0], [0, 15, 0, 100], 100)
    n_boot = 20_000
    shut = stats.binom.sf(9, 100, 0.15)  # 10 or more memorized
    opens = tc.statistics.onset_bootstrap(counts, "window_opens", 0.0, n_boot=n_boot)
    closes = tc.statistics.onset_bootstrap(counts, "window_closes", 0.0, n_boot=n_boot)
    assert close(np.mean(opens.draws == 40), shut, n_boot)
    assert (closes.draws == 80).all()
    assert (closes.lower, closes.upper) == (40, 80)
    assert (opens.lower, opens.upper) == (10, 40)


def test_certain_counts_leave_the_grid_interval() -> None:
    drawn = tc.statistics.onset_bootstrap(table([0, 0, 100, 100], [0] * 4, 100), "tau_rule", 0.0, n_boot=50)
    assert (drawn.lower, drawn.upper) == (drawn.onset.lower, drawn.onset.upper) == (20, 40)
    never = tc.statistics.onset_bootstrap(table([0, 0], [0, 0], 100), "tau_rule", 0.0, n_boot=50)
    assert (never.lower, never.upper, never.censored_fraction) == (20, INF, 1.0)
    assert never.interval == (INF, INF)


def test_smoothing_and_patience_reach_the_resamples() -> None:
    counts = table([0, 0, 100, 100, 100, 100, 100, 100], [0] * 8, 100)
    plain = counts.assign(rule_accuracy=counts["novel_valid"] / 100, memorization=0.0)
    for options in ({"patience": 3}, {"ema_halflife": 1.0}, {"patience": 2, "ema_halflife": 0.7}):
        expected = tc.find_onsets(plain, 0.0, criteria=["tau_rule"], **options)["tau_rule"]  # type: ignore[arg-type]
        drawn = tc.statistics.onset_bootstrap(counts, "tau_rule", 0.0, n_boot=20, **options)  # type: ignore[arg-type]
        assert drawn.onset == expected
        assert (drawn.draws == expected.step).all()


def test_same_seed_same_draws() -> None:
    counts = table([0, 89, 100], [0] * 3, 100)
    first, again, other = (
        tc.statistics.onset_bootstrap(counts, "tau_rule", 0.0, n_boot=99, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.draws, again.draws)
    assert (first.draws != other.draws).any()


def test_two_thousand_resamples_of_forty_evaluations_take_under_a_second() -> None:
    rng = np.random.default_rng(0)
    accuracy = 1 / (1 + np.exp(-np.linspace(-4, 4, 40)))
    counts = table(
        [int(k) for k in rng.binomial(512, accuracy * 0.9)], [int(k) for k in rng.binomial(40, accuracy)], 600
    )
    for name in tc.CRITERIA:
        started = time.perf_counter()
        tc.statistics.onset_bootstrap(counts, name, 1e-4)
        assert time.perf_counter() - started < 1


@pytest.mark.parametrize(("n", "steepness", "least"), [(128, 4, 0.95), (64, 2, 0.88)])
def test_coverage_of_the_onset_without_sampling_noise(n: int, steepness: float, least: float) -> None:
    """How often the widened interval holds the grid interval of the noiseless curve, where the grid's own does not."""
    steps = np.round(10 * 1.15 ** np.arange(30))
    accuracy = 1 / (1 + np.exp(-steepness * np.log(steps / 120)))
    truth = tc.detect_onset(steps, accuracy, 0.9)
    rng = np.random.default_rng(0)
    covered = by_grid = 0
    for run in range(200):
        valid = rng.binomial(n, accuracy)
        counts = pd.DataFrame(
            {"step": steps, "novel_valid": valid, "memorized": 0, "violating": n - valid, "ambiguous": 0}
        )
        drawn = tc.statistics.onset_bootstrap(counts, "tau_rule", 0.0, n_boot=400, seed=run)
        covered += drawn.lower <= truth.lower and truth.upper <= drawn.upper
        by_grid += drawn.onset == truth
    assert by_grid < 0.7 * 200
    assert covered >= least * 200


def test_what_cannot_be_resampled_is_refused() -> None:
    counts = table([0, 89], [0, 0], 100)
    with pytest.raises(ValueError, match="unknown onset"):
        tc.statistics.onset_bootstrap(counts, "tau", 0.0)
    with pytest.raises(ValueError, match="n_boot"):
        tc.statistics.onset_bootstrap(counts, "tau_rule", 0.0, n_boot=0)
    with pytest.raises(ValueError, match="confidence"):
        tc.statistics.onset_bootstrap(counts, "tau_rule", 0.0, confidence=1.0)
    with pytest.raises(ValueError, match="increasing"):
        tc.statistics.onset_bootstrap(counts[::-1], "tau_rule", 0.0)
    with pytest.raises(ValueError, match="no column 'ambiguous'"):
        tc.statistics.onset_bootstrap(counts.drop(columns="ambiguous"), "tau_rule", 0.0)
