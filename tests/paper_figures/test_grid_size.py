"""The study of the grids' size: rules that draw together are told from rules that do not; its runs are equal pairs."""

import numpy as np
import pandas as pd
import pytest

from twoclocks.paper_figures.presets import preset
from twoclocks.paper_figures.studies import grid_size as study

RATIO = 1.05


def simulated(ratios, seeds=6, scatter=0.05):
    """tau_mem = 20 N, sooner under G = 2 by a factor for each shape."""
    rng = np.random.default_rng(0)
    rows = []
    for shape, ratio in ratios.items():
        for G in (2, 3, 6):
            for n in (24, 48):
                for seed in range(seeds):
                    tau = 20 * n / (ratio if G == 2 else 1) * np.exp(scatter * rng.normal())
                    lower = RATIO ** np.floor(np.log(tau) / np.log(RATIO))
                    rows.append({"model": "dit-nano", "rule": f"parity:{shape},G={G}", "n_train": n, "seed": seed,
                                 "tau_mem_lower": lower, "tau_mem_upper": lower * RATIO})  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ({"4x6": 2.4, "6x6": 1.1}, "closer together on 6x6 grids than on 4x6"),
        ({"4x6": 1.1, "6x6": 2.4}, "further apart on 6x6 grids than on 4x6"),
        ({"4x6": 2.0, "6x6": 2.0}, "though the intervals overlap"),
    ],
)
def test_grids_are_compared(ratios, words):
    found = study.verdicts(simulated(ratios))
    for shape, ratio in ratios.items():
        estimate = found["dit-nano", shape].estimate
        assert estimate is not None
        assert estimate == pytest.approx(ratio, rel=0.15)
    assert words in study._conclusion(found)


def test_runs_differ_in_the_grid_alone():
    configs = study.configs(preset("laptop"))
    assert len(configs) == len(set(configs)) == 48
    small = [c for c in configs if "4x6" in c.rule]
    for config in small:
        twin = next(
            c for c in configs
            if (c.rule, c.n_train, c.seed) == (config.rule.replace("4x6", "6x6"), config.n_train, config.seed)
        )  # fmt: skip
        fields = {name for name, value in config.to_dict().items() if value != twin.to_dict()[name]}
        assert fields == {"rule", "steps", "stop_when"}


def test_the_runs_of_gpt_are_at_the_n_that_both_have():
    table = study.gpt_runs()
    assert set(table["model"]) == {"gpt-nano"}
    shapes = table["rule"].str.extract(r":(\dx\d),")[0]
    sizes = [set(part) for _, part in table["n_train"].groupby(shapes)]
    assert len(sizes) == 2
    assert sizes[0] == sizes[1]
