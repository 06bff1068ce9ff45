"""The queue of runs, its cost, and one call of work on it after another, each from the files of the one before."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics.interrupts import Terminated
from twoclocks.empirics.sweeps.folders import run_name
from twoclocks.empirics.sweeps.light import light_run, read_archives, unpack_runs
from twoclocks.empirics.sweeps.side_by_side import SideBySide
from twoclocks.empirics.time_limit import time_limit
from twoclocks.paper_figures import call
from twoclocks.paper_figures.call import needs_weights, pack, work
from twoclocks.paper_figures.catalogue import dissected, parity
from twoclocks.paper_figures.committed import collect, read_tables, run_names
from twoclocks.paper_figures.exhibit import figure_module
from twoclocks.paper_figures.presets import PRESETS, preset
from twoclocks.paper_figures.queue import queue, queue_named, stages
from twoclocks.paper_figures.store import existing_runs, read_provenance
from twoclocks.paper_figures.studies import paper_scale

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PRESETS)
def test_no_run_occurs_twice_and_all_can_be_trained(name):
    configs = queue(preset(name))
    assert len(set(configs)) == len(configs) == len({run_name(config) for config in configs})
    for config in configs:
        assert config.n_train <= tc.rule(config.rule).support_size


def test_the_order_of_the_papers_queue():
    scale = preset("paper")
    order = stages(scale)
    assert [stage.title for stage in order] == [
        "GPT over N and G", "DiT over N", "a DiT and a GPT, dissected", "online control", "DiT over N at a large G",
        "sizes", "more seeds of the DiT",
    ]  # fmt: skip
    grid = order[0].configs
    assert {(c.rule, c.n_train, c.seed) for c in grid} == {
        (f"parity:6x6,G={G}", n, seed) for G in (2, 3, 4, 6) for n in (512, 1024, 2048, 4096) for seed in range(3)
    }
    assert {(c.model, c.stop_when, c.steps) for c in grid} == {("gpt-mini", "copied", 6000)}
    assert list(paper_scale.configs("gpt-mini").values()) == list(grid)
    assert {c.n_train for c in order[1].configs} == {512, 1024, 2048, 4096}
    assert all(c.model == "dit-mini" and c.rule == "parity:6x6,G=3" for c in order[1].configs)
    assert [c.model for c in order[2].configs] == ["dit-mini", "gpt-mini"]
    assert all(c.online and c.stop_when == "never" for c in order[3].configs)
    assert {c.rule for c in order[4].configs} == {"parity:6x6,G=6"}
    assert not {c.model for c in order[5].configs} & {"dit-mini", "gpt-mini"}
    assert {c.seed for c in order[6].configs} == {1, 2}


def test_figures_share_the_runs_of_the_queue():
    scale = preset("paper")
    known = set(queue(scale))
    assert set(parity(scale, scale.gpt, scale.group_sizes, scale.gpt.n_train)) <= known
    assert set(dissected(scale, scale.dit)) <= known


def test_an_unknown_queue_is_refused(tmp_path, capsys):
    assert queue_named("grid.yaml") is None
    with pytest.raises(SystemExit):
        main(["sweep", "queue:papr", "--out", str(tmp_path)])
    assert "queues: queue:smoke, queue:laptop, queue:paper" in capsys.readouterr().err


@pytest.fixture
def two_runs(monkeypatch):
    """A queue of two runs, GPTs, and no figure."""
    small = tc.RunConfig(
        rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=60, batch_size=8, n_eval=16, eval_first=10,
        device="cpu", precision="fp32",
    )  # fmt: skip
    configs = [small, replace(small, seed=1)]
    monkeypatch.setattr(call, "queue", lambda scale: configs)
    monkeypatch.setattr(call, "measured_from_weights", lambda scale: {})
    return configs


def tables(folder):
    runs, evaluations = (pd.read_csv(folder / f"{name}.csv") for name in ("runs", "evaluations"))
    return runs.drop(columns=["seconds", "environment"]), evaluations


def one_call(out, runs, seconds):
    scale = preset("smoke").in_folder(runs)
    with SideBySide(["cpu"], 1) as executor, time_limit(seconds):
        return work(scale, out, executor, progress=False, committed=False)


@pytest.mark.slow
def test_calls_continue_from_the_files_of_the_call_before_alone(tmp_path, two_runs, monkeypatch):
    """Each step takes a second, and each call has 25 of them."""
    assert "2 of 2 runs have ended" in one_call(tmp_path / "whole", tmp_path / "runs", None)
    from twoclocks.empirics.engine import Engine

    now, advance = [1e9], Engine.advance

    def slow(engine):
        now[0] += 1
        advance(engine)

    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(Engine, "advance", slow)
    ended = []
    for number in range(20):
        said = one_call(tmp_path / "cut", tmp_path / f"runs-{number}", 25)
        ended.append(int(said.partition(" of ")[0]))
        if ended[-1] == 2:
            break
    assert ended == sorted(ended)
    assert len(ended) == 6  # 120 steps, 22.5 a call
    for ours, whole in zip(tables(tmp_path / "cut"), tables(tmp_path / "whole"), strict=True):
        pd.testing.assert_frame_equal(ours, whole)
    assert read_archives([tmp_path / "cut"]).keys() == read_archives([tmp_path / "whole"]).keys()


@pytest.mark.parametrize("executor", ["streams", "processes"])
def test_sigterm_leaves_the_files_that_the_end_of_the_time_does(tmp_path, two_runs, monkeypatch, executor):
    endless = [replace(config, steps=10**6, eval_ratio=1e5) for config in two_runs]
    monkeypatch.setattr(call, "queue", lambda scale: endless)
    runs, out = tmp_path / "runs", tmp_path / "out"
    begun = runs / run_name(endless[0]) / "metrics.jsonl"

    def stop():
        until = time.monotonic() + 120
        while not begun.exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    options = ["--preset", "smoke", "--device", "cpu", "--workers", "1" if executor == "streams" else "2"]
    with pytest.raises(Terminated):
        call.main([*options, "--runs", str(runs), "--out", str(out)])
    states = {name.split("/")[1] for name in read_archives([out]) if ".part" in name}
    assert run_name(endless[0]) in states
    unpack_runs(read_archives([out]), tmp_path / "there")
    assert 10 <= tc.load_run(tmp_path / "there" / run_name(endless[0])).state_steps[-1] < 10**6


def test_states_that_do_not_fit_stay_behind(tmp_path, two_runs):
    scale = preset("smoke").in_folder(tmp_path / "runs")
    for config in two_runs:
        with time_limit(0.001):
            tc.train(config, scale.runs / run_name(config), progress=False)
    state = (scale.runs / run_name(two_runs[0])).glob("checkpoints/state-*.safetensors")
    size = next(state).stat().st_size
    for most, kept in ((8, 2), (1, 1)):
        pack(scale, tmp_path / "out", tmp_path / "none", set(), most=most, largest=round(1.2 * size))
        members = read_archives([tmp_path / "out"])
        assert len({name.split("/")[1] for name in members if ".part" in name}) == kept
    pack(scale, tmp_path / "out", tmp_path / "none", set(), most=1, largest=size // 2)
    assert not read_archives([tmp_path / "out"])


def test_merging_brings_runs_into_folder_and_tables(tmp_path, two_runs, capsys):
    one_call(tmp_path / "out", tmp_path / "runs", None)
    there, results = tmp_path / "there", tmp_path / "results"
    command = ["merge", str(tmp_path / "out"), "--preset", "smoke", "--runs", str(there), "--results", str(results)]
    main(command)
    said = capsys.readouterr().out
    assert "2 of 2 runs are new" in said
    assert "2 runs in" in said
    runs, evaluations = read_tables(results)
    assert sorted(runs["name"]) == sorted(run_name(config) for config in two_runs)
    assert (evaluations[["novel_valid", "memorized", "violating", "ambiguous"]].sum(axis=1) == 16).all()
    before = [path.read_bytes() for path in sorted(results.iterdir())]
    main(command)
    assert "0 of 2 runs are new" in capsys.readouterr().out
    assert [path.read_bytes() for path in sorted(results.iterdir())] == before
    assert run_names(read_archives([results])) == set(runs["name"])
    assert tc.sweep(two_runs, there, progress=False)["attempts"].tolist() == [0, 0]
    with pytest.raises(SystemExit):
        main(["merge", str(tmp_path / "nothing")])
    tc.train(replace(two_runs[0], seed=7), there / "renamed", progress=False)
    with pytest.raises(ValueError, match="another configuration"):
        collect(there, results)


def test_runs_whose_weights_are_measured_do_not_travel_before_that(tmp_path, two_runs, monkeypatch):
    kept = replace(two_runs[0], checkpoint_ratio=1.0)
    assert needs_weights(kept)
    monkeypatch.setattr(call, "queue", lambda scale: [kept])
    monkeypatch.setattr(call, "measured_from_weights", lambda scale: {3: [kept]})
    monkeypatch.setattr(call, "measure_with_weights", lambda scale, data: None)  # as if the time were over
    one_call(tmp_path / "out", tmp_path / "runs", None)
    assert not read_archives([tmp_path / "out"])
    folder = tmp_path / "runs" / ".figures" / "smoke" / "fig03"
    folder.mkdir(parents=True)
    pd.DataFrame({"x": [1]}).to_parquet(folder / "table.parquet")
    one_call(tmp_path / "out", tmp_path / "runs", None)
    assert run_names(read_archives([tmp_path / "out"])) == {run_name(kept)}
    main(["merge", str(tmp_path / "out"), "--preset", "smoke", "--runs", str(tmp_path / "there"), "--data",
          str(tmp_path / "data")])  # fmt: skip
    assert pd.read_parquet(tmp_path / "data" / "smoke" / "fig03" / "table.parquet")["x"].tolist() == [1]


@pytest.mark.slow
def test_the_queue_says_what_it_costs(tmp_path, capsys):
    main(["sweep", "queue:smoke", "--out", str(tmp_path / "out"), "--dry-run"])
    said = capsys.readouterr().out
    for words in ("In this order:", "GPT over N and G", "GPU minutes", "core-hours", "steps; about", "not measured"):
        assert words in said


@pytest.mark.slow
def test_make_gpu_on_a_cpu_in_calls_of_a_minute(tmp_path):
    """Calls of a minute, or of half of what is needed where that is less, against one call that nothing ends."""

    def make_gpu(out, runs, *options):
        command = [sys.executable, ROOT / "tests" / "gpu" / "call.py", "--preset", "smoke", "--device", "cpu"]
        command += ["--workers", "1", "--out", tmp_path / out, "--runs", tmp_path / runs, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / out).iterdir())) <= 8
        assert all(path.stat().st_size <= 16e6 for path in (tmp_path / out).iterdir())
        return next(line for line in done.stdout.splitlines() if "runs have ended" in line).split(";")[0]

    everything = "22 of 22 runs have ended"
    began = time.monotonic()
    assert make_gpu("whole", "runs-whole", "--max-time", "100h") == everything
    limit = min(60, int((time.monotonic() - began) / 2))
    said = [make_gpu("cut", f"runs-{number}", "--max-time", f"{limit}s") for number in range(2)]
    assert said[0] != everything
    for number in range(2, 30):
        if said[-1] == everything:
            break
        said.append(make_gpu("cut", f"runs-{number}", "--max-time", "3m"))
    assert said[-1] == everything
    for ours, whole in zip(tables(tmp_path / "cut"), tables(tmp_path / "whole"), strict=True):
        pd.testing.assert_frame_equal(ours, whole)
    figures = [
        {name: content for name, content in read_archives([tmp_path / out]).items() if name.endswith(".parquet")}
        for out in ("cut", "whole")
    ]
    assert figures[0] == figures[1]
    assert len({name.split("/")[2] for name in figures[0]}) >= 9


@pytest.mark.slow
def test_figures_are_measured_from_the_runs_that_there_are(tmp_path, capsys):
    """Fig. 8 asks for runs over N and G; two of them are there, one light."""
    scale = preset("smoke").in_folder(tmp_path / "runs")
    needed = figure_module(8).configs(scale)
    for config in needed[:2]:
        tc.train(config, scale.runs / run_name(config), progress=False)
    run = tc.load_run(scale.runs / run_name(needed[0]))
    unpack_runs(light_run(run), tmp_path / "light")
    unpack_runs(light_run(tc.load_run(scale.runs / run_name(needed[1]))), tmp_path / "light")
    assert list(existing_runs(needed, tmp_path / "light")) == needed[:2]
    one = dissected(scale, scale.gpt)[0]
    tc.train(one, scale.runs / run_name(one), progress=False)
    unpack_runs(light_run(tc.load_run(scale.runs / run_name(one))), tmp_path / "light")
    assert list(existing_runs([one], scale.runs)) == [one]
    assert not existing_runs([one], tmp_path / "light")  # its weights are not there
    options = ["--preset", "smoke", "--runs", str(tmp_path / "light"), "--data", str(tmp_path / "data")]
    main(["figure", "8", "20", *options, "--existing", "--out", str(tmp_path / "figures")])
    said = capsys.readouterr().out
    assert f"figure 8: 2 of {len(set(needed))} runs" in said
    assert "figure 20: 0 of 1 runs" in said
    assert (tmp_path / "figures" / "fig08.png").exists()
    assert not (tmp_path / "figures" / "fig20.png").exists()
    assert read_provenance(tmp_path / "data" / "smoke" / "fig08")["missing_runs"] == len(set(needed)) - 2
