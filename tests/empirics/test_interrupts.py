"""Ctrl-C and SIGTERM: the state is saved at the end of a step, and the status says what happened."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics import training
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.interrupts import Terminated, deferred, raise_terminated

CONFIG = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=30, batch_size=8, n_eval=16, eval_first=10, eval_ratio=1.5
)
OPTIONS = ["--rule", "parity:2x4,G=4", "--model", "gpt-nano", "--n-train", "8", "--steps", "30", "--batch-size", "8"]
OPTIONS += ["--n-eval", "16", "--eval-first", "10", "--eval-ratio", "1.5"]


@pytest.fixture
def strike(monkeypatch):
    """Let a signal come in the midst of the seventh step, `times` times."""

    def arm(number, times=1):
        advance = Engine.advance

        def struck(self):
            advance(self)
            if self.step == 7:
                for _ in range(times):
                    signal.raise_signal(number)

        monkeypatch.setattr(Engine, "advance", struck)

    return arm


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_saves_the_step_and_the_run_goes_on_to_the_same_bits(tmp_path, strike, number, raised, monkeypatch):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    strike(number)
    with pytest.raises(raised, match=r"run is saved at step 7") as stop:
        tc.train(CONFIG, tmp_path / "run", progress=False)
    if raised is Terminated:
        assert stop.value.code == 143
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert tc.load_run(tmp_path / "run").state_steps == [7]
    assert not (tmp_path / "run" / ".lock").exists()
    monkeypatch.undo()
    run = tc.train(CONFIG, tmp_path / "run", resume=True, progress=False)
    whole = tc.train(CONFIG, tmp_path / "whole", progress=False)
    assert run.metrics.drop(columns="seconds").equals(whole.metrics.drop(columns="seconds"))


def test_a_second_signal_stops_at_once(tmp_path, strike):
    strike(signal.SIGINT, 2)
    with pytest.raises(KeyboardInterrupt) as stop:
        tc.train(CONFIG, tmp_path / "run", progress=False)
    assert str(stop.value) == ""
    assert tc.load_run(tmp_path / "run").state_steps == []


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_the_command_says_what_was_saved(tmp_path, strike, capsys, number, status, word):
    before = signal.getsignal(signal.SIGTERM)
    strike(number)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["run", *OPTIONS, "--out", str(tmp_path / "run")])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == status
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"twoclocks: {word}; {tmp_path / 'run'} is saved at step 7; continue with --resume")


def test_a_signal_that_came_too_late_for_a_step_acts_at_the_end(tmp_path, monkeypatch):
    finish = training.Run.finish

    def late(self, result):
        signal.raise_signal(signal.SIGINT)
        finish(self, result)

    monkeypatch.setattr(training.Run, "finish", late)
    with pytest.raises(KeyboardInterrupt):
        tc.train(CONFIG, tmp_path / "run", progress=False)
    assert tc.load_run(tmp_path / "run").status == "finished"


def test_handlers_of_the_caller_stay():
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with deferred(False) as interrupts:
            signal.raise_signal(signal.SIGTERM)
        assert came == [signal.SIGTERM]
        assert not interrupts.came
    finally:
        signal.signal(signal.SIGTERM, before)
    faults = []

    def elsewhere():
        try:
            with deferred(False):
                pass
        except ValueError as fault:  # signal.signal works in the main thread alone
            faults.append(fault)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert not faults
    with pytest.raises(Terminated):
        raise_terminated()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="tells when Python has begun by /proc")
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_traceback_in_the_first_seconds(tmp_path, seconds, number):
    command = [sys.executable, "-m", "twoclocks", "run", *OPTIONS, "--steps", "100000", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while "site-packages" not in Path(f"/proc/{process.pid}/maps").read_text():  # before, it is Python that begins
        time.sleep(0.005)
    time.sleep(seconds)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert "Traceback" not in said
    assert process.returncode in (128 + number, -number)  # SIGTERM before the command begins is the system's
