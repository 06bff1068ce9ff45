"""Controls: what becomes of the clocks without a rule, without locality, without a training set, at other settings.

    python -m twoclocks.paper_figures.studies.controls

Four populations of 65,536 grids of 4x6 (GPT) or 4,096 (DiT): group parity; the same with its cells shuffled; as many
random grids, which obey no rule; and group parity drawn afresh at every step, without a training set. Then GPT on
group parity over batch size, learning rate, averaging of the weights and N, each at two levels. Runs that have ended
are kept, and a table is made of those that there are: more seeds can be added at any time (``--seeds``). Writes
runs.csv, curves.csv, report.md, controls.png and provenance.json into results/controls; ``--report-only`` makes the
report again.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from ...empirics import RunConfig
from ..presets import preset

CONTROLS = {
    "gpt": {
        "rule": "parity:4x6,G=3",
        "shuffled": "shuffled:parity:4x6,G=3,seed=1",
        "random": "random:4x6,M=65536,seed=0",
    },
    "dit": {
        "rule": "parity:4x6,G=2",
        "shuffled": "shuffled:parity:4x6,G=2,seed=1",
        "random": "random:4x6,M=4096,seed=0",
    },
}
"""Populations of one size for each architecture, by what they are."""
N_TRAIN = {"gpt": 256, "dit": 24}
STEPS = {"gpt": 450, "dit": 2000}
BATCHES, RATES, AVERAGES, SIZES = (32, 128), (1e-3, 2e-3), (0.0, 50.0), (64, 256)
FACTORS = ("batch_size", "lr", "ema_halflife", "n_train")


def controls(kind: str, seed: int) -> list[RunConfig]:
    """The four populations, at the laptop preset's settings of an architecture; online is the rule's, afresh."""
    base = preset("laptop").architectures[kind]
    shared = {"n_train": N_TRAIN[kind], "steps": STEPS[kind], "seed": seed, "checkpoint_ratio": 1e6, "model": f"{kind}-nano"}
    made = [base.config(rule=spec, stop_when="copied", **shared) for spec in CONTROLS[kind].values()]
    return [*made, replace(made[0], online=True, stop_when="never")]


def factorial(seed: int) -> list[RunConfig]:
    """GPT-nano on group parity, 2 x 2 x 2 x 2; fewer steps where they see more samples."""
    base = replace(
        preset("laptop").gpt.base, rule=CONTROLS["gpt"]["rule"], stop_when="copied", checkpoint_ratio=1e6, n_eval=256,
        eval_ratio=1.3,
    )  # fmt: skip
    return [
        replace(base, batch_size=batch, lr=rate, ema_halflife=average, n_train=n,
                steps=round(6 * n * (128 / batch) ** 0.5 * 1e-3 / rate) + 400, seed=seed)
        for n, batch, rate, average in itertools.product(SIZES, BATCHES, RATES, AVERAGES)
    ]  # fmt: skip


def configs(seeds: int) -> list[RunConfig]:
    """All runs, in the order in which they are worth having."""
    first = [*controls("gpt", 0), *factorial(0), *controls("gpt", 1), *controls("gpt", 2), *controls("dit", 0)]
    more = [run for seed in range(1, seeds) for run in (*controls("dit", seed), *factorial(seed))]
    return list(dict.fromkeys([*first, *more]))
