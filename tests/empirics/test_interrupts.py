"""Ctrl-C and SIGTERM in training: what they leave is resumed to the bit-identical result."""

import os
import signal
import subprocess
import sys

import pytest

import twoclocks as tc
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.interrupts import deferred

pytestmark = pytest.mark.usefixtures("ctrl_c_interrupts")

CONFIG = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=30, batch_size=8, n_eval=8, eval_first=20,
    precision="fp32",
)  # fmt: skip


def bits(run):
    return run.metrics.drop(columns="seconds"), [value.tolist() for value in run.model().state_dict().values()]


def test_the_first_moments_of_a_run_are_kept(tmp_path, monkeypatch):
    whole = tc.train(CONFIG, tmp_path / "whole", progress=False)
    advance = Engine.advance

    def interrupted(engine):
        if engine.step == 7:
            os.kill(os.getpid(), signal.SIGINT)  # within a step, long before the first evaluation
        advance(engine)

    monkeypatch.setattr(Engine, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tc.train(CONFIG, tmp_path / "cut", progress=False)
    assert tc.load_run(tmp_path / "cut").state_steps == [8]
    started = []
    monkeypatch.setattr(Engine, "advance", lambda engine: (started.append(engine.step), advance(engine)))
    resumed = tc.train(CONFIG, tmp_path / "cut", resume=True, progress=False)
    assert started[0] == 8
    assert bits(whole)[0].equals(bits(resumed)[0])
    assert bits(whole)[1] == bits(resumed)[1]


def test_a_signal_of_the_last_step_is_not_lost(tmp_path, monkeypatch):
    advance = Engine.advance

    def interrupted(engine):
        advance(engine)
        if engine.step == CONFIG.steps:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Engine, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tc.train(CONFIG, tmp_path, progress=False)


def test_a_second_signal_acts_at_once():
    reached = []

    def impatient():
        with deferred(notice=False):
            signal.raise_signal(signal.SIGINT)
            reached.append("held back")
            signal.raise_signal(signal.SIGINT)
            reached.append("too far")

    with pytest.raises(KeyboardInterrupt):
        impatient()
    assert reached == ["held back"]


def test_a_handler_of_the_callers_stays():
    notes = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: notes.append(number))
    try:
        with deferred(notice=False) as interrupts:
            signal.raise_signal(signal.SIGTERM)
            assert not interrupts.came
        assert notes == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


SWEEP = """
import os, signal, sys, threading, time
from pathlib import Path
import twoclocks as tc
from twoclocks.cli import main

out = Path(sys.argv[1])

def stop():
    while not (out / "gpt" / "metrics.jsonl").exists():
        time.sleep(0.05)
    time.sleep(1)  # into the steps after the first evaluation; the second is the last
    os.kill(os.getpid(), signal.SIGTERM)

if __name__ == "__main__":
    threading.Thread(target=stop, daemon=True).start()
    main(["run", "--preset", "quick", *sys.argv[2:], "--out", str(out)])
"""


@pytest.mark.slow
def test_a_quick_preset_that_is_terminated_keeps_what_was_trained(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SWEEP)
    out = tmp_path / "out"
    options = ["--eval-first", "2", "--eval-ratio", "1e5", "--batch-size", "8", "--n-eval", "8"]
    command = [sys.executable, script, out, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 143, done.stderr
    assert f"results so far are in {out}" in done.stderr
    assert "Traceback" not in done.stderr
    assert 2 < max(tc.load_run(out / "gpt").state_steps) < 1000
