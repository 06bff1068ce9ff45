"""The study of the exponent: its fit finds what a simulation put in."""

import numpy as np
import pandas as pd
import pytest

from twoclocks.paper_figures.studies import memorization_exponent as study

SIZES = np.repeat([64, 128, 256, 512, 1024, 2048], 5)


def simulated(offset, exponent, seed=0, scatter=0.08, ratio=1.15):
    """Onsets seen on a geometric grid of evaluations, the last of them censored at its lower end."""
    noise = np.random.default_rng(seed).normal(size=len(SIZES))
    tau = (offset + 0.7 * SIZES**exponent) * np.exp(scatter * noise)
    lower = ratio ** np.floor(np.log(tau) / np.log(ratio))
    upper = lower * ratio
    upper[-1] = np.inf
    return pd.DataFrame({"n_train": SIZES, "tau_mem_lower": lower, "tau_mem_upper": upper})


@pytest.mark.slow
def test_offset_and_exponent_are_found():
    fit = study.fit_offset(simulated(offset=60, exponent=1.0))
    assert fit.ci[0] < 1.0 < fit.ci[1]
    assert fit.ci[1] - fit.ci[0] < 0.3
    assert fit.offset == pytest.approx(60, abs=25)
    assert fit.p_value < 1e-4
    np.testing.assert_allclose(fit.predict(np.array([64, 2048])), [60 + 0.7 * 64, 60 + 0.7 * 2048], rtol=0.1)


@pytest.mark.slow
def test_intervals_cover_and_a_plain_power_law_needs_no_offset():
    fits = [study.fit_offset(simulated(offset=0, exponent=0.8, seed=seed)) for seed in range(20)]
    assert sum(fit.ci[0] < 0.8 < fit.ci[1] for fit in fits) >= 16
    assert sum(fit.p_value < 0.05 for fit in fits) <= 4
    assert all(fit.log_likelihood >= fit.power_law - 1e-6 for fit in fits)


def test_too_few_runs_are_refused():
    with pytest.raises(ValueError, match="four runs"):
        study.fit_offset(simulated(0, 1.0).head(3))
