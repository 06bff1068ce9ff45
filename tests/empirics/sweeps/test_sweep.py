"""Sweeps in this process: nothing lost, nothing twice, failures apart, damage named."""

import shutil
import threading
import time
from concurrent.futures import Executor, Future
from dataclasses import replace

import pytest

import twoclocks as tc
from twoclocks.empirics.runs.lock import hold
from twoclocks.empirics.runs.writing import RunWriter
from twoclocks.empirics.sweeps import sweep as sweep_module
from twoclocks.empirics.sweeps import worker
from twoclocks.empirics.sweeps.folders import run_name


def quiet_sweep(configs, out, executor, **options):
    return tc.sweep(configs, out, executor, progress=False, **options)


@pytest.fixture
def trained(monkeypatch):
    """The seeds of the runs that were trained, in order; `failing[seed]` is a list of faults, one a call."""
    seeds, train = [], worker.train

    class Failing(dict):
        pass

    failing = Failing()

    def recorded(config, *args, **kwargs):
        seeds.append(config.seed)
        if failing.get(config.seed):
            raise failing[config.seed].pop(0)
        return train(config, *args, **kwargs)

    monkeypatch.setattr(worker, "train", recorded)
    failing.seeds = seeds
    return failing


def test_a_sweep_is_its_runs_and_a_second_call_keeps_them(tmp_path, three, here, trained, same):
    table = quiet_sweep(three, tmp_path / "sweep", here)
    assert table["name"].tolist() == [run_name(config) for config in three]
    assert table["status"].tolist() == ["finished"] * 3
    assert table["attempts"].tolist() == [1, 1, 1]
    assert [run.config for run in tc.empirics.ended_runs(table)] == three
    for config in three:
        tc.train(config, tmp_path / "alone" / run_name(config), progress=False)
    assert same(tmp_path / "sweep", tmp_path / "alone")
    trained.seeds.clear()
    again = quiet_sweep(three, tmp_path / "sweep", here)
    assert again["status"].tolist() == ["finished"] * 3
    assert again["attempts"].tolist() == [0, 0, 0]
    assert not trained.seeds
    more = quiet_sweep([*three, replace(three[0], seed=9)], tmp_path / "sweep", here)  # another sweep, shared folder
    assert more["attempts"].tolist() == [0, 0, 0, 1]


def test_the_longest_run_goes_first(tmp_path, three):
    class Recorder(Executor):
        steps: list[int] = []  # noqa: RUF012

        def submit(self, fn, /, *args, **kwargs):
            self.steps.append(args[0]["steps"])
            future = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    quiet_sweep(three, tmp_path, Recorder())
    assert Recorder.steps == [48, 36, 24]


def test_a_failing_run_is_tried_again_and_stops_no_other(tmp_path, three, here, trained, capsys):
    trained[0] = [OSError("disk full"), RuntimeError("bad luck")]
    trained[1] = [RuntimeError("never\nworks")] * 9
    trained[2] = [ValueError("impossible")] * 9
    table = tc.sweep(three, tmp_path, here)
    assert table["status"].tolist() == ["finished", "failed", "failed"]
    assert table["attempts"].tolist() == [3, 3, 1]  # two retries; none where the config is at fault
    assert table["error"].tolist() == ["", "RuntimeError: never works", "ValueError: impossible"]
    first, second, third = (tmp_path / run_name(config) for config in three)
    assert not (first / "error.txt").exists()
    assert "Traceback" in (second / "error.txt").read_text()
    assert "impossible" in (third / "error.txt").read_text()
    printed = capsys.readouterr().err
    assert f"{second.name}: RuntimeError: never works; trying again (2 of 2)" in printed
    assert f"{second.name}: RuntimeError: never works; given up" in printed
    with pytest.raises(ValueError, match="2 of 3 runs failed: gpt-nano"):
        tc.empirics.ended_runs(table)
    trained.clear()
    assert quiet_sweep(three, tmp_path, here)["status"].tolist() == ["finished"] * 3


def test_divergence_is_a_result(tmp_path, tiny, here):
    diverging = replace(tiny, model="dit-nano", lr=10.0, warmup=0, steps=2000, noise_mean=19.0, sampler_steps=4)
    assert quiet_sweep([diverging], tmp_path, here)[["status", "attempts"]].values.tolist() == [["diverged", 1]]
    assert quiet_sweep([diverging], tmp_path, here)[["status", "attempts"]].values.tolist() == [["diverged", 0]]


def test_damaged_folders_are_named_set_aside_and_redone(tmp_path, three, here, same, capsys):
    quiet_sweep(three, tmp_path / "sweep", here)
    shutil.copytree(tmp_path / "sweep", tmp_path / "intact")
    folders = [tmp_path / "sweep" / run_name(config) for config in three]
    (folders[0] / "result.json").write_text('{"status": "fin')
    (folders[1] / "metrics.jsonl").write_text("\0\0\0\n")
    capsys.readouterr()
    table = tc.sweep(three, tmp_path / "sweep", here)
    printed = capsys.readouterr().err
    for folder, note in zip(folders[:2], table["notes"], strict=False):
        moved = tmp_path / "sweep" / "quarantine" / f"{folder.name}-1"
        assert str(folder) in note
        assert str(moved) in note
        assert note in printed
        assert (moved / "config.json").exists()
    assert table["notes"][2] == ""
    assert table["attempts"].tolist() == [1, 1, 0]
    assert same(tmp_path / "sweep", tmp_path / "intact")
    (folders[0] / "result.json").write_text("{}")  # a second time
    quiet_sweep(three, tmp_path / "sweep", here)
    assert (tmp_path / "sweep" / "quarantine" / f"{folders[0].name}-2").exists()


def test_a_state_that_cannot_be_resumed_is_damage(tmp_path, tiny, here, monkeypatch):
    monkeypatch.setattr(worker, "train", cut_off := Cut(worker.train))
    folder = tmp_path / run_name(tiny)
    assert quiet_sweep([tiny], tmp_path, here, retries=0)["status"].tolist() == ["failed"]
    cut_off.active = False
    for path in (folder / "checkpoints").glob("state-*.safetensors"):
        path.write_bytes(b"gone")
    table = quiet_sweep([tiny], tmp_path, here)
    assert "no intact training state" in table["notes"][0]
    assert table["status"].tolist() == ["finished"]


class Cut:
    """`train` that ends with a fault just before the result is written."""

    def __init__(self, train):
        self.train, self.active = train, True

    def __call__(self, *args, **kwargs):
        if not self.active:
            return self.train(*args, **kwargs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunWriter, "finish", lambda self, result: (_ for _ in ()).throw(RuntimeError("cut")))
            return self.train(*args, **kwargs)


def test_an_interrupted_run_is_resumed_to_the_same_bits(tmp_path, tiny, here, same, monkeypatch):
    monkeypatch.setattr(worker, "train", Cut(worker.train))
    table = quiet_sweep([tiny], tmp_path / "cut", here, retries=0)
    assert "RuntimeError: cut" in table["error"][0]
    monkeypatch.undo()
    assert quiet_sweep([tiny], tmp_path / "cut", here)["status"].tolist() == ["finished"]
    quiet_sweep([tiny], tmp_path / "whole", here)
    assert same(tmp_path / "cut", tmp_path / "whole")


def test_a_run_trained_elsewhere_is_waited_for(tmp_path, three, here, trained, monkeypatch):
    monkeypatch.setattr(sweep_module, "BUSY_WAIT", 0.05)
    monkeypatch.setattr(sweep_module, "LOOK_EVERY", 0.05)
    elsewhere = three[1]
    tables = []
    other = tc.train(elsewhere, tmp_path / "other" / "run", progress=False)
    thread = threading.Thread(target=lambda: tables.append(quiet_sweep(three, tmp_path, here)))
    with hold(tmp_path / run_name(elsewhere)):
        thread.start()
        until = time.monotonic() + 20
        while sum(tc.load_run(p.parent).status == "finished" for p in tmp_path.glob("gpt*/config.json")) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert thread.is_alive()
        shutil.copytree(other.path, tmp_path / run_name(elsewhere), dirs_exist_ok=True)  # as the other sweep would
    thread.join(20)
    assert tables[0]["status"].tolist() == ["finished"] * 3
    assert sorted(trained.seeds) == [0, 2]


def test_a_sweep_ends_its_executors_queue_when_interrupted(tmp_path, three, monkeypatch):
    futures = [Future() for _ in three]
    waiting = iter(futures)

    class Stuck(Executor):
        def submit(self, fn, /, *args, **kwargs):
            return next(waiting)

    monkeypatch.setattr(sweep_module, "wait", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        quiet_sweep(three, tmp_path, Stuck())
    assert all(future.cancelled() for future in futures)


def test_impossible_sweeps_are_refused_before_anything_is_written(tmp_path, tiny, here):
    out = tmp_path / "sweep"
    for configs, message in [
        ([], "no runs"),
        ([tiny, tiny], "occurs twice"),
        ([tiny, replace(tiny, model="gpt-huge")], "unknown model 'gpt-huge'"),
        ([tiny, replace(tiny, rule="parity:2x4,G=3")], "G=3 must divide"),
        ([tiny, replace(tiny, n_train=65)], "exceeds the 64 valid grids"),
        ([tiny, replace(tiny, encoding="pm1")], "is for a DiT"),
        ({"../up": tiny}, "cannot be named '../up'"),
    ]:
        with pytest.raises(ValueError, match=message):
            quiet_sweep(configs, out, here)
    with pytest.raises(ValueError, match="retries must be 0 or more"):
        quiet_sweep([tiny], out, here, retries=-1)
    assert not out.exists()


def test_names_of_ones_own(tmp_path, tiny, here):
    table = quiet_sweep({"mine": tiny}, tmp_path, here)
    assert table["path"].tolist() == [str(tmp_path / "mine")]
    with pytest.raises(ValueError, match=r"lr=0.002 \(asked: 0.001\)"):
        quiet_sweep({"mine": replace(tiny, lr=1e-3)}, tmp_path, here)
    assert tc.load_run(tmp_path / "mine").config == tiny
    (tmp_path / "mine" / "config.json").write_text("{")  # damage, and no other config
    assert quiet_sweep({"mine": tiny}, tmp_path, here)["status"].tolist() == ["finished"]
    assert (tmp_path / "quarantine" / "mine-1").exists()
