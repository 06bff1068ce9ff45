"""The study of the network's size: its tests find what a simulation put in, and its runs differ as it says."""

import numpy as np
import pandas as pd
import pytest

from twoclocks.paper_figures.presets import preset
from twoclocks.paper_figures.studies import network_size as study

KINDS = {("dit-micro", 1.5e-3): 0, ("dit-nano", 4e-3): 1, ("dit-nano", 1.5e-3): 2}
RATIO = 1.05


def simulated(*exponents, seeds=6, scatter=0.1):
    """Onsets on a geometric grid of evaluations, with an exponent for each of `KINDS`."""
    rng = np.random.default_rng(0)
    rows = []
    for (model, lr), which in KINDS.items():
        for n in (24, 48, 96):
            for seed in range(seeds):
                tau = 20 * n ** exponents[which] * np.exp(scatter * rng.normal())
                lower = RATIO ** np.floor(np.log(tau) / np.log(RATIO))
                rows.append({"model": model, "rule": "parity:4x6,G=3", "n_train": n, "seed": seed, "lr": lr,
                             "tau_mem_lower": lower, "tau_mem_upper": lower * RATIO})  # fmt: skip
    return study.with_kind(pd.DataFrame(rows))


def test_the_larger_network_comes_last():
    table = simulated(1.0, 1.5, 1.5)
    assert list(dict.fromkeys(table["kind"])) == ["dit-nano, 0.004", "dit-nano, 0.0015", "dit-micro, 0.0015"]


def test_exponents_are_found():
    fits = study.exponents(simulated(1.0, 1.6, 1.3)).set_index("kind")
    for kind, exponent in {"dit-micro, 0.0015": 1.0, "dit-nano, 0.004": 1.6, "dit-nano, 0.0015": 1.3}.items():
        estimate, low, high = fits.loc[kind, ["exponent", "low", "high"]]
        assert estimate == pytest.approx(exponent, abs=0.1)
        assert low < estimate < high < low + 0.3


@pytest.mark.parametrize(
    ("exponents", "size", "lr", "words"),
    [
        ((1.0, 1.5, 1.5), True, False, "size of the network, not noticeably"),
        ((1.0, 1.5, 1.0), False, True, "learning rate; at the same one"),
        ((1.0, 1.8, 1.4), True, True, "size of the network and on its learning rate"),
        ((1.2, 1.2, 1.2), False, False, "undecided"),
    ],
)
def test_size_and_learning_rate_are_told_apart(exponents, size, lr, words):
    p_size, p_lr = study.comparisons(simulated(*exponents))
    assert (p_size < 0.05, p_lr < 0.05) == (size, lr)
    assert words in study._conclusion(p_size, p_lr)


def test_runs_differ_in_size_or_learning_rate_alone():
    scale = preset("laptop")
    configs = study.configs(scale)
    assert len(configs) == len(set(configs)) == 27
    cells = {(c.model, c.lr) for c in configs}
    assert cells == set(KINDS)
    for config in configs:
        peers = [c for c in configs if (c.n_train, c.seed, c.model) == (config.n_train, config.seed, "dit-nano")]
        differing = {
            name for peer in peers for name, value in peer.to_dict().items() if value != config.to_dict()[name]
        }
        assert differing <= {"model", "lr", "steps", "stop_when"}
