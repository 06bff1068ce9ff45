import math

import numpy as np
import pandas as pd
import pytest

import twoclocks as tc
from twoclocks.empirics.onsets import clock_onsets, first_lasting

INF = math.inf


@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        ([0, 0.95, 1], 1, (20, 10, 20, False)),
        ([0.95, 0, 1], 1, (10, 0, 10, False)),
        ([0.95, 0, 1], 2, (INF, 20, INF, True)),
        ([0, 0.9, 0.9], 2, (20, 10, 20, False)),
        ([0, 0.95, 0, 0.95, 0.95], 2, (40, 30, 40, False)),
        ([0, 0, 0.95], 2, (INF, 20, INF, True)),
        ([0.95, 0.95], 3, (INF, 0, INF, True)),
        ([0, math.nan, 0.5], 1, (INF, 30, INF, True)),
    ],
)
def test_onset_is_the_interval_before_the_first_lasting_success(values, patience, expected):
    steps = [10 * (k + 1) for k in range(len(values))]
    onset = tc.detect_onset(steps, values, 0.9, patience)
    assert (onset.step, onset.lower, onset.upper, onset.censored) == expected


@pytest.mark.parametrize("patience", [1, 2, 3, 9])
def test_many_rows_at_once_are_rows_one_by_one(patience):
    rng = np.random.default_rng(patience)
    met = rng.random((200, 7)) < 0.6
    steps = np.cumsum(rng.integers(1, 9, 7)).astype(float)
    step, lower = first_lasting(steps, met, patience)
    for row, at, before in zip(met, step, lower, strict=True):
        expected = tc.Onset(INF, 0.0, INF, True)
        run = 0
        for k, yes in enumerate(row):  # the definition, evaluation by evaluation
            run = run + 1 if yes else 0
            if run == patience:
                first = k - patience + 1
                expected = tc.Onset(steps[first], steps[first - 1] if first else 0.0, steps[first], False)
                break
        if expected.censored:
            last = len(row) - 1 - run
            expected = tc.Onset(INF, steps[last] if last >= 0 else 0.0, INF, True)
        assert (at, before) == (expected.step, expected.lower)
        assert tc.detect_onset(steps, row, 1.0, patience) == expected


@pytest.mark.parametrize(
    ("steps", "values", "patience", "message"),
    [
        ([], [], 1, "equally long"),
        ([1, 2], [0.1], 1, "equally long"),
        ([2, 1], [0.1, 0.2], 1, "increasing"),
        ([-1, 1], [0.1, 0.2], 1, "non-negative"),
        ([1, 2], [0.1, 0.2], 0, "patience"),
    ],
)
def test_bad_evaluations_are_refused(steps, values, patience, message):
    with pytest.raises(ValueError, match=message):
        tc.detect_onset(steps, values, 0.9, patience)


def test_clocks_need_accuracy_of_what_is_no_copy_and_copying_twice():
    metrics = pd.DataFrame(
        {
            "step": [10, 20, 40, 80, 160],
            "rule_accuracy": [0.0, 0.86, 0.92, 0.99, 1.0],
            "memorization": [0.0, 0.3, 0.1, 0.2, 0.9],
        }
    )
    binary = clock_onsets(metrics, chance=0.01)
    assert (binary["tau_rule"].lower, binary["tau_rule"].upper) == (20, 40)  # 0.82 of 0.9; at 20, 0.56 of 0.7
    assert (binary["tau_mem"].lower, binary["tau_mem"].upper) == (40, 80)  # 20 stood alone, 40 is below 0.109
    assert clock_onsets(metrics, chance=0.01, null=0.0)["tau_mem"].upper == 20
    assert clock_onsets(metrics, chance=0.01, n_generated=22)["tau_rule"].censored  # 19.8 others at most
    assert str(binary["tau_mem"]) == "(40, 80]"
    assert str(clock_onsets(metrics[:2], chance=0.01)["tau_rule"]) == "> 20"


METRICS = pd.DataFrame(
    {"step": [10, 20, 40], "rule_accuracy": [0.1, 0.95, 0.99], "memorization": [0.0, 0.0, 0.5], "memorization_p": 1.0}
)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rule_accuracy": [10, 95, 99.0]}, r"row 0: rule_accuracy is 10.0; it must lie in 0\.\.1 \(divide percent"),
        ({"memorization": [0, 0, -0.1]}, r"row 2: memorization is -0.1; it must lie in 0\.\.1"),
        ({"memorization": [0, np.inf, 0]}, r"row 1: memorization is inf; it must lie in 0\.\.1"),
        ({"memorization_p": [1, 1, 1.5]}, r"row 2: memorization_p is 1.5; it must lie in 0\.\.1"),
        ({"memorization": ["a", "b", "c"]}, r"row 0: memorization is a; it must lie in 0\.\.1"),
        ({"step": pd.date_range("2020", periods=3)}, "got dates"),
        ({"step": [10, 20, np.inf]}, "finite"),
    ],
)
def test_ratios_and_p_values_lie_between_0_and_1(columns, message):
    with pytest.raises(ValueError, match=message):
        tc.find_onsets(METRICS.assign(**columns), 0.01, criteria=("tau_rule", "tau_mem", "tau_mem_chance"))


@pytest.mark.parametrize("chance", [math.nan, 1.5, -0.1, 50, True, "0.1", None])
def test_chance_lies_between_0_and_1(chance):
    with pytest.raises(ValueError, match=r"chance must be a number in 0\.\.1"):
        tc.find_onsets(METRICS, chance, criteria=("tau_rule",))


def test_other_bad_arguments_are_named():
    with pytest.raises(ValueError, match="threshold must be a number, got nan"):
        tc.detect_onset([1, 2], [0.1, 0.9], math.nan)
    for patience in (1.5, True, "2"):
        with pytest.raises(ValueError, match="patience must be a whole number of at least 1"):
            tc.detect_onset([1, 2], [0.1, 0.9], 0.5, patience)
        with pytest.raises(ValueError, match="patience must be a whole number of at least 1"):
            tc.find_onsets(METRICS, 0.01, criteria=("tau_rule",), patience=patience)
    with pytest.raises(ValueError, match="alphabet must be a whole number"):
        tc.find_onsets(METRICS, 0.01, alphabet=2.5, criteria=("tau_rule",))
    with pytest.raises(ValueError, match="2 columns 'step'"):
        tc.find_onsets(pd.concat([METRICS, METRICS[["step"]]], axis=1), 0.01, criteria=("tau_rule",))
    with pytest.raises(ValueError, match="DataFrame, got list"):
        tc.find_onsets([METRICS], 0.01)
    with pytest.raises(ValueError, match="ema_halflife must be a number"):
        tc.empirics.ema([0.1, 0.2], "1")
    alone = tc.find_onsets(METRICS, 0.01, criteria="tau_rule")
    assert str(alone["tau_rule"]) == "(10, 20]"
    assert tc.find_onsets(METRICS.assign(memorization=np.nan), 0.01, criteria=("tau_mem",))["tau_mem"].censored
