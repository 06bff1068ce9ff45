"""Onsets over draws, ratios of onsets, and verdicts from them."""

import numpy as np
import pytest

import twoclocks as tc
from twoclocks.empirics.probes import claim_parts

STEPS = np.array([10.0, 20, 40, 80])


def test_an_onset_covers_the_draws():
    met = np.zeros((1001, 4), dtype=bool)
    met[:, 2:] = True
    assert str(claim_parts.onset_of_draws(STEPS, met)) == "(20, 40]"
    met[1:60, 1] = True  # 6% of draws a step earlier
    met[100:115, 2] = False  # 1.5% a step later
    found = claim_parts.onset_of_draws(STEPS, met)
    assert (found.step, found.lower, found.upper) == (40, 10, 40)
    met[100:150] = False  # 5% never
    assert claim_parts.onset_of_draws(STEPS, met).censored


def test_ratios_hold_wherever_the_onsets_are():
    known, never = tc.Onset(40.0, 20.0, 40.0, False), tc.Onset(np.inf, 80.0, np.inf, True)
    assert claim_parts.onset_ratio(known, known) == (0.5, 2)
    assert claim_parts.onset_ratio(never, known) == (2, np.inf)
    assert claim_parts.onset_ratio(known, never) == (0, 0.5)
    assert claim_parts.onset_ratio(known, tc.Onset(10.0, 0.0, 10.0, False)) == (2, np.inf)
    assert claim_parts.same_time(known, known) == "supported"
    assert claim_parts.same_time(tc.Onset(200.0, 90.0, 200.0, False), known) == "not supported"
    assert claim_parts.same_time(never, never) == "undecided"
    words = claim_parts.compared_text("this", known, known, "that")
    assert words == "this in step (20, 40], 0.5 to 2 times that (20, 40]"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["supported", "supported"], "supported"),
        (["supported", "undecided"], "undecided"),
        (["not supported", "undecided"], "not supported"),
    ],
)
def test_parts_must_hold_together(parts, expected):
    assert claim_parts.together(parts) == expected


def test_intervals_within_outside_and_across():
    assert claim_parts.interval_verdict((0.3, 1.9), (0.2, 2)) == "supported"
    assert claim_parts.interval_verdict((2.1, 5), (0.2, 2)) == "not supported"
    assert claim_parts.interval_verdict((0.1, 0.15), (0.2, 2)) == "not supported"
    assert claim_parts.interval_verdict((1.2, 5), (0.2, 2)) == "undecided"


def test_the_first_weights_are_the_data():
    weights = claim_parts.bootstrap_weights(12, 50, 0)
    assert weights.shape == (51, 12)
    assert (weights[0] == 1).all()
    assert weights.sum(1) == pytest.approx(np.full(51, 12))
