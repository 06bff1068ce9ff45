"""A limit on time: what it cuts short is continued to the same bits, and a sweep spends it on its first runs."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics import training
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.time_limit import TimeOver, parse_duration, time_ends, time_left, time_limit

CONFIG = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=30, batch_size=8, n_eval=8, eval_first=10,
    eval_ratio=1.3, precision="fp32", device="cpu",
)  # fmt: skip
OPTIONS = [
    "--model", "gpt-nano", "--rule", "parity:2x4,G=4", "--n-train", "8", "--batch-size", "8", "--n-eval", "8",
    "--eval-first", "10", "--device", "cpu",
]  # fmt: skip


class Clock:
    """In place of the time: every training step takes a second, and an evaluation 5."""

    def __init__(self, monkeypatch, evaluation=5.0):
        self.now = 1e9
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        advance, see = Engine.advance, tc.Clocks.see

        def slow_advance(engine):
            self.now += 1
            advance(engine)

        def slow_see(clocks, *args):
            self.now += evaluation
            return see(clocks, *args)

        monkeypatch.setattr(Engine, "advance", slow_advance)
        monkeypatch.setattr(tc.Clocks, "see", slow_see)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def bits(run):
    return run.metrics.drop(columns="seconds").to_csv(), [v.tolist() for v in run.model().state_dict().values()]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("480", 480), ("8m", 480), ("1h30m", 5400), ("90s", 90), ("1.5", 1.5), ("2d", 172800), (" 8M ", 480)],
)
def test_times_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "m", "8x", "-5", "8m 3", "1m1h", "nan", "inf", "0s", "99999d", "8,5m"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="a time"):
        parse_duration(text)


def test_the_nearer_of_two_limits_holds():
    assert time_ends() is None
    with time_limit(100), time_limit(1000):
        assert 0 < time_left() <= 100
        with time_limit(None):
            assert 0 < time_left() <= 100
    assert time_ends() is None


def test_a_run_that_is_cut_short_continues_to_the_same_bits(tmp_path, clock):
    whole = tc.train(CONFIG, tmp_path / "whole", progress=False)
    with time_limit(7.5):
        run = tc.train(CONFIG, tmp_path / "cut", progress=False)
    assert run.status == "unfinished"
    assert run.state_steps[-1] == 8
    for _ in range(20):
        with time_limit(7.5):
            run = tc.train(CONFIG, tmp_path / "cut", resume=True, progress=False)
        if run.ended:
            break
    assert run.status == "finished"
    assert bits(run) == bits(whole)


def test_no_evaluation_begins_that_does_not_fit(tmp_path, clock):
    """Evaluations at 10, 13, 17: the first ends at second 15, and that at 13 would end at 23."""
    with time_limit(20):
        run = tc.train(CONFIG, tmp_path, progress=False)
    assert run.metrics["step"].tolist() == [10]
    assert run.state_steps[-1] == 12
    assert clock.now == 1e9 + 17
    with time_limit(20):
        run = tc.train(CONFIG, tmp_path, resume=True, progress=False)
    assert run.metrics["step"].tolist() == [10, 13, 17]


def test_a_sweep_gives_the_time_to_its_first_runs(tmp_path, clock):
    """The first ends at second 22, though the second is the longer; later calls go on with the second."""
    configs = [replace(CONFIG, steps=12), replace(CONFIG, steps=25)]
    statuses = []
    for _ in range(10):
        with ThreadPoolExecutor(1) as executor, time_limit(25):
            table = tc.sweep(configs, tmp_path, executor, progress=False)
        statuses.append(table["status"].tolist())
        if statuses[-1][1] == "finished":
            break
        with pytest.raises(TimeOver, match="1 of 2 runs have ended"):
            tc.empirics.ended_runs(table)
    assert statuses[0] == ["finished", "unfinished"]
    assert len(tc.empirics.ended_runs(table)) == 2


def test_runs_that_the_time_does_not_suffice_for_are_not_begun(tmp_path, clock):
    with ThreadPoolExecutor(1) as executor, time_limit(3):
        table = tc.sweep([CONFIG, replace(CONFIG, seed=1)], tmp_path, executor, progress=False)
    assert table["status"].tolist() == ["unfinished", "unfinished"]
    assert len(list(tmp_path.glob("*/config.json"))) == 1


def test_the_command_ends_with_status_0_and_the_same_command_continues(tmp_path, clock, capsys):
    out = tmp_path / "run"
    command = ["run", *OPTIONS, "--steps", "30", "--out", str(out), "--max-time", "15"]
    main(command)
    said = capsys.readouterr().out
    assert "twoclocks: the time is over" in said
    assert "continue with: twoclocks run" in said
    assert said.rstrip().endswith("--resume")
    for _ in range(20):
        main(command)
        if (out / "result.json").exists():
            break
    assert tc.load_run(out).status == "finished"
    assert "figure:" in capsys.readouterr().out


def test_a_bad_time_is_refused_in_a_line(tmp_path, capsys):
    for command in (["run"], ["sweep", "quick-gpt"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--out", str(tmp_path / "out"), "--max-time", "soon"])
        assert stop.value.code == 2
        assert "a time is seconds, or such as 8m" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_sweep_by_the_command(tmp_path, capsys):
    (tmp_path / "grid.yaml").write_text(json.dumps({"base": {**CONFIG.to_dict(), "steps": 10**7, "eval_ratio": 1e5}}))
    command = ["sweep", str(tmp_path / "grid.yaml"), "--out", str(tmp_path / "out"), "--workers", "1"]
    started = time.monotonic()
    main([*command, "--max-time", "25"])
    assert 24 < time.monotonic() - started < 90
    assert "1 unfinished" in (said := capsys.readouterr().out)
    assert "the same command continues" in said
    (folder,) = (path.parent for path in (tmp_path / "out").glob("*/config.json"))
    assert tc.load_run(folder).state_steps[-1] > 0


def test_a_limit_is_not_that_of_the_next_call(tmp_path):
    with time_limit(0.001):
        time.sleep(0.01)
        run = tc.train(CONFIG, tmp_path, progress=False)
    assert not run.ended
    assert training.time_left() == float("inf")
    assert tc.train(CONFIG, tmp_path, resume=True, progress=False).ended
