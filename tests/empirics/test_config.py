"""Configs: their numbers, and the schedule of evaluations."""

import numpy as np
import pytest

import twoclocks as tc


def test_a_number_takes_the_type_of_its_field():
    config = tc.RunConfig(n_train=np.int64(64), steps=1e4, lr=1, seed=np.int32(3), noise_std=np.float64(0.5))
    assert config == tc.RunConfig(n_train=64, steps=10_000, lr=1.0, seed=3, noise_std=0.5)
    assert {type(config.n_train), type(config.steps), type(config.seed)} == {int}
    assert {type(config.lr), type(config.noise_std)} == {float}
    with pytest.raises(ValueError, match=r"n_train must be a whole number, got 64\.5"):
        tc.RunConfig(n_train=64.5)


@pytest.mark.parametrize("ratio", [1.001, 1.02, 1.2, 7.0])
@pytest.mark.parametrize("steps", [1, 20, 21, 99, 100, 101])
def test_evaluations_are_at_different_steps_and_at_the_last(steps, ratio):
    at = tc.RunConfig(steps=steps, eval_ratio=ratio).eval_steps()
    assert at == sorted(set(at))
    assert at[-1] == steps
