"""The study of the gain of copying: its fits find the law that a simulation obeys, and its runs differ as it says."""

import numpy as np
import pandas as pd
import pytest

from twoclocks.paper_figures.presets import preset
from twoclocks.paper_figures.shared.scaling_fits import equal_exponents_p
from twoclocks.paper_figures.studies import gain_of_copying as study

GAINS = {2: (0.24, 0.19, 0.15, 0.11), 4: (0.41, 0.36, 0.32, 0.28), 24: (0.50, 0.45, 0.41, 0.38)}
NOISE_GAINS = {-1.0: 0.17, 0.0: 0.36, 1.0: 0.25}


def simulated(power, seeds=8, scatter=0.1, ratio=1.15):
    """DiT runs with tau_mem ~ N gain^-power over N at each G, and at one N over the training noise."""
    rng = np.random.default_rng(0)
    cells = [(G, n, 0.0, gain) for G, gains in GAINS.items() for n, gain in zip((24, 48, 96, 192), gains, strict=True)]
    cells += [(4, 48, mean, gain) for mean, gain in NOISE_GAINS.items() if mean]
    rows = []
    for G, n, mean, gain in cells:
        for seed in range(seeds):
            tau = 6 * G**0.3 * n * gain**-power * np.exp(scatter * rng.normal())
            lower = ratio ** np.floor(np.log(tau) / np.log(ratio))
            rows.append({"architecture": "dit", "model": "dit-nano", "rule": f"parity:4x6,G={G}", "n_train": n,
                         "seed": seed, "noise_mean": mean, "tau_mem_lower": lower, "tau_mem_upper": lower * ratio,
                         "population": 0.2 + gain + 0.01 * (seed - 3.5), "empirical": 0.2})  # fmt: skip
    return study.with_gain(pd.DataFrame(rows))


def test_the_gain_is_that_of_its_cell():
    table = simulated(2.0)
    cell = table[(table["rule"] == "parity:4x6,G=4") & (table["n_train"] == 96)]
    assert cell["gain"].tolist() == pytest.approx([0.32] * 8)
    assert cell["effective_n"].tolist() == pytest.approx([96 / 0.32**2] * 8)


def test_the_law_is_found_over_sizes_and_over_noise():
    table = simulated(2.0)
    over_sizes, over_noise = study.over_sizes(table, "dit"), study.over_noise(table)
    assert len(over_sizes) == 3 * 4 * 8
    assert over_noise["n_train"].unique().tolist() == [48]
    assert sorted(over_noise["noise_mean"].unique()) == [-1.0, 0.0, 1.0]
    for part in (over_sizes, over_noise):
        power, low, high = study.fit_power(part)
        assert power == pytest.approx(2, abs=0.2)
        assert low < power < high < low + 1
    fits = study.exponents(over_sizes).set_index(["x", "rule"])
    assert fits.loc[("effective_n", "all"), "exponent"] == pytest.approx(1, abs=0.05)
    assert fits.loc[("n_train", "parity:4x6,G=2"), "low"] > fits.loc[("n_train", "parity:4x6,G=24"), "high"]
    assert equal_exponents_p(over_sizes, "n_train", "rule") < 0.001
    assert equal_exponents_p(over_sizes, "effective_n", "rule") > 0.05


def test_another_law_is_told_apart():
    table = simulated(0.0)
    over_sizes = study.over_sizes(table, "dit")
    power, low, high = study.fit_power(over_sizes)
    assert power == pytest.approx(0, abs=0.2)
    assert low < power < high < low + 1
    assert equal_exponents_p(over_sizes, "n_train", "rule") > 0.05
    assert equal_exponents_p(over_sizes, "effective_n", "rule") < 0.001
    rows = study.noise_table(study.over_noise(table)).set_index("noise_mean")
    assert rows.loc[1.0, "measured"] == pytest.approx(1, abs=0.25)
    assert rows.loc[1.0, "predicted"] == pytest.approx((0.36 / 0.25) ** 2)


def test_runs_of_other_noise_differ_in_nothing_that_memorization_sees():
    configs = study.configs(preset("laptop"))
    assert len(configs) == len(set(configs))
    other = [config for config in configs if config.model.startswith("dit") and config.noise_mean != 0]
    assert sorted({config.noise_mean for config in other}) == sorted(study.NOISE_MEANS)
    for config in other:
        usual = next(
            c for c in configs
            if (c.rule, c.model, c.n_train, c.seed, c.noise_mean) == (*_cell(config), 0.0)
        )  # fmt: skip
        fields = {name for name, value in config.to_dict().items() if value != usual.to_dict()[name]}
        assert fields == {"noise_mean", "steps", "stop_when"}


def _cell(config):
    return config.rule, config.model, config.n_train, config.seed


@pytest.mark.parametrize("architecture", ["dit", "gpt"])
def test_sizes_are_those_of_one_architecture(architecture):
    table = simulated(2.0)
    gpt = table.assign(architecture="gpt", model="gpt-nano", noise_mean=-0.5)
    both = pd.concat([table, gpt], ignore_index=True)
    assert set(study.over_sizes(both, architecture)["architecture"]) == {architecture}
    assert set(study.over_noise(both)["architecture"]) == {"dit"}


@pytest.mark.parametrize(
    ("power", "words"),
    [((2.1, 1.8, 2.4), "and within that over training noise"), ((0.7, 0.4, 1.0), "does not set the pace by itself")],
)
def test_the_report_says_what_became_of_the_square(power, words):
    text = study._conclusion([1e-5, 0.2], (2.6, 2.3, 2.9), power)
    assert "exponents differ in N and agree in N / gain^2" in text
    assert "not within the interval over N" in text
    assert words in text
