"""Numbers at the boundary: whole ones, probabilities, real ones, and nothing that only looks like them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.theory.arguments import probability, real_number, whole_number


@pytest.mark.parametrize("value", [7, 7.0, np.int64(7), np.float32(7), torch.tensor(7), np.array(7)])
def test_whole_numbers_of_any_type_are_ints(value: object) -> None:
    found = whole_number("n", value, 0, 7)
    assert (found, type(found)) == (7, int)


@pytest.mark.parametrize("value", [2.5, True, np.bool_(True), "7", None, float("nan"), float("inf"), 8, -1, [7], 7j])
def test_what_is_no_whole_number_in_range_is_named(value: object) -> None:
    with pytest.raises(ValueError, match=r"^n must be a whole number in 0\.\.7, got "):
        whole_number("n", value, 0, 7)


@pytest.mark.parametrize("value", [-0.1, 1.5, 50, float("nan"), float("inf"), True, "0.5", None])
def test_what_is_no_probability_is_told_the_range(value: object) -> None:
    with pytest.raises(ValueError, match=r"chance must be a number in 0\.\.1 \(divide a percentage by 100\), got"):
        probability("chance", value)


def test_numbers_pass() -> None:
    assert [probability("p", v) for v in (0, 1, np.float32(0.5))] == [0, 1, 0.5]
    assert real_number("x", -2) == -2.0
    for value in (float("nan"), True, "1"):
        with pytest.raises(ValueError, match="x must be a number"):
            real_number("x", value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9.5, 512, 0.1), "n_memorized must be a whole number in 0..512, got 9.5"),
        ((True, 512, 0.1), "n_memorized must be"),
        ((9, 512.5, 0.1), "n_generated must be a whole number of at least 1, got 512.5"),
        ((9, 512, float("nan")), "chance must be a number in 0..1"),
        ((9, 512, 10), "chance must be a number in 0..1"),
    ],
)
def test_memorization_is_tested_on_counts(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tc.memorization_test(*arguments)
    assert tc.memorization_test(9.0, 512, 0.1) == tc.memorization_test(9, 512, 0.1)  # type: ignore[arg-type]
