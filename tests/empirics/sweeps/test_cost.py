"""Costs told in advance: the order of runs, the calibration, and the plan of a dry run."""

import time
from dataclasses import replace

import pytest

import twoclocks as tc
from twoclocks.empirics.sweeps.cost import Timing, expected_cost, measure, measure_all, wall_time
from twoclocks.empirics.sweeps.dry_run import dry_run, duration
from twoclocks.empirics.sweeps.folders import run_name


def test_costs_order_runs(tiny):
    cost = expected_cost(tiny)
    costlier = [
        {"steps": 25}, {"batch_size": 9}, {"n_eval": 17}, {"model": "gpt-micro"}, {"model": "dit-nano"},
        {"rule": "parity:4x4,G=4"}, {"eval_ratio": 1.1},
    ]  # fmt: skip
    for change in costlier:
        assert expected_cost(replace(tiny, **change)) > cost, change
    dit = replace(tiny, model="dit-nano")
    assert expected_cost(replace(dit, sampler="euler")) < expected_cost(dit)
    assert expected_cost(replace(dit, sampler_steps=30)) > expected_cost(dit)
    assert expected_cost(replace(tiny, lr=1.0)) == cost


def test_training_dominates_as_six_operations_a_weight_and_cell():
    long = tc.RunConfig(model="dit-small", rule="parity:2x2,G=2", steps=10**6, n_train=4, n_eval=1)
    weights = 12 * 12 * 384**2
    assert expected_cost(long) == pytest.approx(6 * weights * 4 * 256 * 10**6, rel=0.02)


def test_wall_time_of_longest_first():
    assert wall_time([3, 3, 2, 2, 2], 2) == 7
    assert wall_time([5, 1, 1], 8) == 5
    assert wall_time([1, 2, 3], 1) == 6


def test_a_run_is_its_parts(tiny):
    assert Timing(1.0, 0.5, 0.25).run(tiny) == 1 + 24 * 0.5 + len(tiny.eval_steps()) * 0.25


@pytest.mark.parametrize(
    "seconds", [(0.5, "0.5 s"), (48, "48 s"), (720, "12 min"), (12_240, "3.4 h"), (2e5, "2.3 days")]
)
def test_durations_for_people(seconds):
    assert duration(seconds[0]) == seconds[1]


def test_kinds_of_runs_are_timed_once(tiny, monkeypatch):
    from twoclocks.empirics.sweeps import cost

    timed = []
    monkeypatch.setattr(cost, "measure", lambda config: timed.append(config) or Timing(0, len(timed), 0))
    bigger = replace(tiny, batch_size=16)
    timings = measure_all([tiny, bigger, replace(tiny, seed=3, lr=1.0, steps=7), bigger], progress=False)
    assert [timing.step for timing in timings] == [1, 2, 1, 2]


def test_the_plan_of_a_dry_run(tmp_path, tiny, here):
    configs = [replace(tiny, seed=seed, stop_when="both" if seed else "never") for seed in range(3)]
    tc.sweep(configs[:1], tmp_path, here, progress=False)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    plan = dry_run(configs, tmp_path, workers=2, progress=False)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    lines = plan.splitlines()
    assert lines[1].split() == [run_name(configs[0]), "finished", "-"]
    assert lines[2].split()[:2] == [run_name(configs[1]), "new"]
    assert "3 runs: 1 finished, 2 new" in lines
    assert any(line.split()[:4] == ["gpt-nano", "parity:2x4,G=4", "8", "2"] for line in lines)
    assert "core-hours; about" in plan
    assert "on 2 workers" in plan
    assert "an upper bound: stop_when may end 2 of the 2 runs sooner" in plan
    tc.sweep(configs, tmp_path, here, progress=False)
    assert dry_run(configs, tmp_path, progress=False).endswith("nothing is left to do")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["quick-gpt", "quick-dit"])
def test_the_estimate_is_near_the_truth(tmp_path, kind):
    (config,) = tc.read_grid({"preset": kind, "base": {"steps": 300}})
    told = measure(config).run(config)
    started = time.process_time()
    tc.train(config, tmp_path / "run", progress=False)
    took = time.process_time() - started
    assert 0.6 < told / took < 1.6
