"""2,000 runs of 60 evaluations as tables: cold, from the cache, and beside pandas reading the same files."""

import shutil
import statistics
import time

import pandas as pd
import pytest
from written_runs import write_many

import twoclocks as tc

RUNS, EVALUATIONS = 2000, 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    write_many(folder, RUNS, EVALUATIONS)
    return folder


def forget(folder):
    shutil.rmtree(folder / ".twoclocks-cache", ignore_errors=True)


def test_load_runs_cold(benchmark, folder):
    benchmark.pedantic(tc.load_runs, args=(folder,), setup=lambda: forget(folder), rounds=3)
    benchmark.extra_info.update(runs=RUNS, evaluations=EVALUATIONS, target="5 s")
    assert statistics.median(benchmark.stats.stats.data) < 5


def test_load_runs_cached(benchmark, folder):
    tc.load_runs(folder)
    benchmark.pedantic(tc.load_runs, args=(folder,), rounds=5)
    benchmark.extra_info.update(runs=RUNS, evaluations=EVALUATIONS, target="0.5 s")
    assert statistics.median(benchmark.stats.stats.data) < 0.5


def test_load_metrics_against_pandas(benchmark, folder):
    tc.load_runs(folder)
    ratios = []
    for _ in range(3):
        start = time.perf_counter()
        files = sorted(folder.rglob("metrics.jsonl"))
        peer = pd.concat([pd.read_json(file, lines=True) for file in files], keys=[str(f.parent) for f in files])
        middle = time.perf_counter()
        mine = tc.load_metrics(folder)
        ratios.append((middle - start) / (time.perf_counter() - middle))
        assert len(mine) == len(peer) == RUNS * EVALUATIONS
    benchmark.pedantic(tc.load_metrics, args=(folder,), rounds=5)
    benchmark.extra_info.update(peer="pandas.read_json of every file", ratio=round(statistics.median(ratios), 1))
