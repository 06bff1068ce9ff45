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
