from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pandas as pd
import pytest

import twoclocks as tc

TINY = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=24, batch_size=8, lr=2e-3, warmup=5, n_eval=16,
    eval_first=6, eval_ratio=1.7,
)  # fmt: skip


@pytest.fixture
def tiny():
    """A run of a fraction of a second."""
    return TINY


@pytest.fixture
def three():
    """Three tiny runs of different length."""
    return [replace(TINY, seed=seed, steps=steps) for seed, steps in enumerate((24, 48, 36))]


@pytest.fixture
def here():
    """An executor in this process: the fastest that there is."""
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def measured():
    """What the runs under a folder measured, for comparison bit by bit; wall times aside."""

    def read(folder):
        table = tc.load_runs(folder).drop(columns=["path", "seconds"])
        metrics = {
            run: tc.load_run(folder / run).metrics.drop(columns="seconds").to_dict("list") for run in table["run"]
        }
        return table.reset_index(drop=True), metrics

    return read


@pytest.fixture
def same(measured):
    """Whether two folders hold the same runs with the same results, bit by bit."""

    def compare(one, other):
        (table, metrics), (other_table, other_metrics) = measured(one), measured(other)
        pd.testing.assert_frame_equal(table, other_table, check_exact=True)
        assert metrics == other_metrics
        for steps in (each["step"] for each in metrics.values()):
            assert steps == sorted(set(steps))  # nothing twice
        return True

    return compare
