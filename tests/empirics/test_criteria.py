"""Each named criterion on metrics where its onset is plain, and smoothing and patience against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import twoclocks as tc
from twoclocks.empirics.criteria import SIGNIFICANCE, copying_threshold, fewest_generations
from twoclocks.empirics.onsets import clock_onsets

INF = math.inf
METRICS = pd.DataFrame(
    {
        "step": [10, 20, 40, 80, 160, 320],
        "rule_accuracy": [0.0, 0.85, 0.9, 0.91, 0.97, 0.99],
        "memorization": [0.0, 0.011, 0.04, 0.05, 0.11, 0.6],
        "memorization_p": [1.0, 1e-2, 1e-4, 1e-5, 1e-9, 1e-90],
        "novel_valid": [0.0, 0.839, 0.86, 0.86, 0.86, 0.39],
    }
)


def test_every_criterion_by_hand() -> None:
    found = tc.find_onsets(METRICS, chance=0.001)
    assert {name: (onset.lower, onset.upper) for name, onset in found.items()} == {
        "tau_rule": (40, 80),  # at 40, 0.86 of the 0.96 that are no copies
        "tau_mem": (80, 160),  # 0.1009 or more
        "tau_rule_all": (20, 40),
        "tau_mem_chance": (20, 40),  # at 20 beyond the margin, not significant
        "tau_mem_10": (80, 160),
        "tau_novel": (10, 20),
        "window_opens": (40, 80),  # 0.9 is not above 0.9
        "window_closes": (80, 160),  # 0.1 is not below 0.1
    }
    assert set(found) == set(tc.CRITERIA)
    assert tc.find_onsets(METRICS, 0.001, 6, ["tau_rule"])["tau_rule"].upper == 40  # 0.85 for six symbols
    assert tc.find_onsets(METRICS, 0.001, 6, ["tau_rule_all"])["tau_rule_all"].upper == 20
    assert tc.find_onsets(METRICS, 0.035, 2, ["tau_mem_chance"])["tau_mem_chance"].upper == 80  # the margin is over it
    assert tc.find_onsets(METRICS, 0.001, criteria=["tau_mem"]).keys() == {"tau_mem"}


def test_copying_is_held_against_the_null_where_there_is_one() -> None:
    low = tc.find_onsets(METRICS, 0.001, criteria=["tau_mem", "tau_mem_chance"], null=0.01)
    assert low["tau_mem"].upper == 160  # 0.01 + 0.1 * 0.99 = 0.109
    high = tc.find_onsets(METRICS, 0.001, criteria=["tau_mem", "tau_mem_chance"], null=0.03)
    assert high["tau_mem"].lower == 160  # 0.127: the last evaluation alone
    assert high["tau_mem"].censored
    assert high["tau_mem_chance"] == low["tau_mem_chance"]


def test_a_model_of_pairs_starts_the_former_clock_of_copying_alone() -> None:
    """Generations of a law with the training set's pair statistics: 5.4% are training samples, none was copied."""
    null, chance = 0.054, 48 / 4096
    copies = np.random.default_rng(0).binomial(512, null, 30)
    test = [tc.memorization_test(int(k), 512, chance).p_value for k in copies]
    metrics = pd.DataFrame({"step": 10 * 1.2 ** np.arange(30), "memorization": copies / 512, "memorization_p": test})
    found = tc.find_onsets(metrics, chance, criteria=["tau_mem", "tau_mem_chance"], null=null, n_generated=512)
    assert found["tau_mem_chance"].upper == 10
    assert found["tau_mem"].censored


def test_a_model_that_only_copies_has_not_learned_the_rule() -> None:
    """All valid generations are copies; of the others, or of too few of them, nothing obeys."""
    metrics = pd.DataFrame({"step": [10, 20, 40], "rule_accuracy": [0.5, 0.95, 1.0], "memorization": [0.5, 0.95, 0.97]})
    names = ["tau_rule", "tau_rule_all"]
    found = tc.find_onsets(metrics, 0.0, criteria=names, n_generated=512)  # 15 others at 40, all valid
    assert found["tau_rule"] == tc.Onset(INF, 40, INF, True)
    assert found["tau_rule_all"].upper == 20
    assert tc.find_onsets(metrics, 0.0, criteria=names, n_generated=667)["tau_rule"].upper == 40  # 20 others
    assert tc.find_onsets(metrics, 0.0, criteria=names)["tau_rule"].upper == 40  # how many is not known
    metrics.loc[2, ["rule_accuracy", "memorization"]] = 1.0
    assert tc.find_onsets(metrics, 0.0, criteria=names)["tau_rule"].censored  # none are left


@pytest.mark.parametrize("null", [0.0, 1e-3, 0.03, 0.13, 0.5])
def test_with_enough_generations_the_threshold_is_significant(null: float) -> None:
    fewest = fewest_generations(null)
    for n in range(fewest, fewest + 300):
        needed = math.ceil(n * copying_threshold(null) - 1e-9)
        assert stats.binom.sf(needed - 1, n, null) < SIGNIFICANCE
    if fewest > 1:
        needed = math.ceil((fewest - 1) * copying_threshold(null) - 1e-9)
        assert stats.binom.sf(needed - 1, fewest - 1, null) >= SIGNIFICANCE


def window(accuracy: list[float], memorization: list[float], patience: int | None = None) -> tuple[tc.Onset, tc.Onset]:
    steps = [10 * 2**k for k in range(len(accuracy))]
    metrics = pd.DataFrame({"step": steps, "rule_accuracy": accuracy, "memorization": memorization})
    found = tc.find_onsets(metrics, 0.0, criteria=["window_opens", "window_closes"], patience=patience)
    return found["window_opens"], found["window_closes"]


def test_a_window_that_never_opens_has_not_closed() -> None:
    opens, closes = window([0.1, 0.5, 0.99], [0.0, 0.2, 0.9])
    assert opens == tc.Onset(INF, 40, INF, True)
    assert closes == tc.Onset(INF, 40, INF, True)


def test_a_window_that_stays_open_is_censored_at_the_end() -> None:
    opens, closes = window([0.95, 0.95, 0.99], [0.0, 0.02, 0.09])
    assert opens == tc.Onset(10, 0, 10, False)
    assert closes == tc.Onset(INF, 40, INF, True)


def test_a_window_closes_when_accuracy_dips_unless_patience_is_asked() -> None:
    accuracy, memorization = [0.0, 0.95, 0.89, 0.95, 0.95, 0.95], [0.0, 0.0, 0.0, 0.0, 0.3, 0.4]
    assert [str(edge) for edge in window(accuracy, memorization)] == ["(10, 20]", "(20, 40]"]
    opens, closes = window(accuracy[:2] + accuracy[3:], memorization[:2] + memorization[3:], patience=2)
    assert [str(opens), str(closes)] == ["(10, 20]", "(40, 80]"]
    opens, closes = window(accuracy, memorization, patience=2)
    assert opens.censored  # 20 is open alone, and so is 80
    assert closes.lower == 320


def test_the_clocks_are_two_of_the_criteria() -> None:
    clocks, every = clock_onsets(METRICS, 0.001), tc.find_onsets(METRICS, 0.001)
    assert clocks == {name: every[name] for name in ("tau_rule", "tau_mem")}


def test_ema_against_pandas_and_without_foresight() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((3, 12))
    values[1, 4] = math.nan
    for halflife in (0.3, 1.0, 4.0):
        ours = tc.empirics.ema(values, halflife)
        theirs = pd.DataFrame(values.T).ewm(halflife=halflife, adjust=True).mean().to_numpy().T
        known = ~np.isnan(values)
        np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-12)
        assert np.isnan(ours[1, 4])
        np.testing.assert_array_equal(
            tc.empirics.ema(values[:, :7], halflife), ours[:, :7]
        )  # later evaluations change nothing
    np.testing.assert_array_equal(tc.empirics.ema(values, 0), values)
    np.testing.assert_array_equal(
        tc.empirics.ema(np.full(50, 0.9), 1.7), 0.9
    )  # rounding must not keep a curve off its threshold
    with pytest.raises(ValueError, match="ema_halflife"):
        tc.empirics.ema(values, -1)


@pytest.mark.parametrize("halflife", [0.5, 1.7, 3.0])
def test_smoothing_delays_a_jump_as_documented(halflife: float) -> None:
    steps = 10 * 1.2 ** np.arange(200)
    metrics = pd.DataFrame({"step": steps, "rule_accuracy": (np.arange(200) >= 120).astype(float)})
    onset = tc.find_onsets(metrics, 0.0, criteria=["tau_rule_all"], ema_halflife=halflife)["tau_rule_all"]
    late = math.ceil(halflife * math.log2(1 / (1 - 0.9))) - 1
    assert onset.upper == pytest.approx(steps[120 + late])
    assert onset.lower == pytest.approx(steps[119 + late])


def test_smoothing_leaves_the_exact_test_to_single_evaluations() -> None:
    """After a spike the smoothed ratio stays beyond the margin, but significance is needed where it stands."""
    metrics = pd.DataFrame(
        {
            "step": [1, 2, 3, 4, 5],
            "memorization": [0.0, 0.4, 0.0, 0.0, 0.0],
            "memorization_p": [1.0, 1e-30, 1.0, 1.0, 1.0],
        }
    )
    assert (tc.empirics.ema(metrics["memorization"].to_numpy(), 2)[1:] > 0.01).all()
    assert tc.find_onsets(metrics, 0.0, criteria=["tau_mem_chance"], ema_halflife=2)["tau_mem_chance"].censored
    metrics.loc[3, "memorization_p"] = metrics.loc[4, "memorization_p"] = 1e-4
    assert tc.find_onsets(metrics, 0.0, criteria=["tau_mem_chance"], ema_halflife=2)["tau_mem_chance"].upper == 4
    assert tc.find_onsets(metrics, 0.0, criteria=["tau_mem_chance"])["tau_mem_chance"].censored


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown onset 'tau_rul'; known onsets: tau_rule"):
        tc.find_onsets(METRICS, 0.0, criteria=["tau_rul"])
    with pytest.raises(ValueError, match="no column 'novel_valid'"):
        tc.find_onsets(METRICS.drop(columns="novel_valid"), 0.0)
    with pytest.raises(ValueError, match="no column 'step'; they have none"):
        tc.find_onsets(pd.DataFrame(), 0.0)
    with pytest.raises(ValueError, match="not empty"):
        tc.find_onsets(METRICS[:0], 0.0)
    with pytest.raises(ValueError, match="patience"):
        tc.find_onsets(METRICS, 0.0, patience=0)
    with pytest.raises(ValueError, match="ema_halflife"):
        tc.find_onsets(METRICS, 0.0, ema_halflife=INF)
