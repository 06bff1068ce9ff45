"""Runs from start to end: clocks appear, bits repeat, crashes lose nothing."""

import json
import math
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from dataclasses import replace

import pytest
import torch
from tqdm import tqdm

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics import training
from twoclocks.empirics.clocks_figure import plot_clocks
from twoclocks.empirics.config import QUICK
from twoclocks.empirics.runs.files import DamagedFile

TINY = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=120, batch_size=16, lr=2e-3, warmup=5, n_eval=32,
    eval_first=5, eval_ratio=1.5, sampler_steps=4,
)  # fmt: skip
TINY_DIT = replace(TINY, model="dit-nano", steps=60)


def contents(path):
    """What a run measured and learned, wall times and file dates aside."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
    result = json.loads((path / "result.json").read_text())
    result.pop("seconds")
    files = {p.name: p.read_bytes() for p in sorted(path.rglob("*")) if p.suffix in (".npz", ".safetensors")}
    return lines, result, files


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted tiny run."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    tc.train(TINY, path, progress=False)
    return path


@pytest.mark.parametrize(
    ("fields", "learned", "steps"),
    [
        ({"rule": "parity:4x6,G=2", "n_train": 96, "batch_size": 64}, (20, 110), 360),
        pytest.param({}, (30, 200), 480, marks=pytest.mark.slow),  # G = 3, N = 256
    ],
)
def test_gpt_learns_the_rule_then_memorizes(tmp_path, fields, learned, steps):
    config = replace(QUICK["gpt"], n_eval=256, eval_ratio=1.3, steps=steps, **fields)
    run = tc.train(config, tmp_path / "run", progress=False)
    rule, mem = run.onsets["tau_rule"], run.onsets["tau_mem"]
    assert learned[0] < rule.upper < learned[1]
    assert rule.upper < mem.lower < steps
    metrics = run.metrics
    assert metrics["rule_accuracy"].iloc[-1] > 0.95
    assert metrics["memorization"].iloc[-1] > 0.4
    null = tc.null_of_copying(run.rule, run.train_set)
    assert run.result["null"] == {**null._asdict(), "rung": "pairs", "standard_error": 0.0}
    assert run.null == null.memorization > run.chance
    assert run.onset("tau_mem_chance").upper <= mem.upper
    floors = run.floors
    assert floors["empirical"] == pytest.approx(math.log(config.n_train) / 24)
    assert floors["population"] == pytest.approx(run.rule.entropy / 24)
    assert floors["empirical"] < metrics["loss"].iloc[-1] < 1.25 * floors["empirical"]
    window = metrics[(metrics.step >= rule.upper) & (metrics.step <= mem.lower)]
    assert (window["novel_valid"] > 0.8).any()


@pytest.mark.parametrize("config", [replace(TINY, steps=40), replace(TINY_DIT, steps=40)], ids=["gpt", "dit"])
def test_same_seed_same_bits_and_other_seed_other_bits(tmp_path, config):
    for name in ("a", "b"):
        tc.train(config, tmp_path / name, progress=False)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    tc.train(replace(config, seed=1), tmp_path / "c", progress=False)
    assert contents(tmp_path / "a")[0] != contents(tmp_path / "c")[0]


def test_a_run_folder_reads_back(finished):
    run = tc.load_run(finished)
    assert run.config == TINY
    assert run.status == "finished"
    assert run.metrics["step"].tolist() == TINY.eval_steps()
    assert len(run.train_set) == 8
    assert run.rule.is_valid(run.train_set).all()
    assert run.samples(5).symbols.shape == (32, 8)
    assert run.checkpoint_steps[0] == 5
    assert run.checkpoint_steps[-1] == 120
    early, late = run.model(5), run.model()
    x = torch.zeros(1, 8, dtype=torch.long)
    assert not torch.equal(early(x), late(x))
    assert not run.state_steps  # a finished run needs none
    table = tc.load_runs(finished.parent)
    assert len(table) == 1
    assert table.loc[0, "tau_mem_censored"] == run.onsets["tau_mem"].censored
    with pytest.raises(ValueError, match="keeps no weights of step 6"):
        run.model(6)


def test_too_few_generations_to_tell_copying_are_warned_of(tmp_path):
    few = replace(TINY, rule="parity:4x6,G=3", n_train=96, steps=5, n_eval=24)  # the null is about 0.01
    with pytest.warns(UserWarning, match="n_eval=24 is too few for tau_mem: .* take n_eval=28 or more"):
        tc.train(few, tmp_path / "few", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tc.train(replace(few, n_eval=28), tmp_path / "enough", progress=False)


def killed_run(path, config, seconds):
    """Train in a child process that is killed after some seconds; whether it had finished before."""
    child = os.fork()
    if child == 0:
        try:
            tqdm.set_lock(threading.RLock())  # its own: the parent would wait for ever for one that died with a child
            training.SAVE_EVERY = 0.01
            tc.train(config, path, resume=True, progress=False)
            os._exit(0)
        except BaseException:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:.*continuing from an earlier:UserWarning")
@pytest.mark.parametrize("config", [TINY, pytest.param(TINY_DIT, marks=pytest.mark.slow)], ids=["gpt", "dit"])
def test_a_run_killed_again_and_again_ends_with_the_same_bits(tmp_path, config):
    tc.train(config, tmp_path / "whole", progress=False)
    delays = random.Random(0)
    kills = 0
    while kills < 10:
        if killed_run(tmp_path / "killed", config, delays.uniform(0.01, 0.4)):
            if kills >= 3:  # it got to the end between kills; once more, on a fresh folder
                assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
            shutil.rmtree(tmp_path / "killed")
        else:
            kills += 1
    tc.train(config, tmp_path / "killed", resume=True, progress=False)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A tiny run that stopped after step 60, with two training states kept."""

    class Stop(Exception):
        pass

    def stop(self, metrics, generations):
        record(self, metrics, generations)
        if metrics["step"] > 60:
            raise Stop

    path, record = tmp_path_factory.mktemp("runs") / "stopped", training.RunWriter.record
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training.RunWriter, "record", stop)
        with pytest.raises(Stop):
            tc.train(TINY, path, progress=False)
    run = tc.load_run(path)
    assert len(run.state_steps) == 2
    assert run.status == "unfinished"
    return path


@pytest.fixture
def interrupted(stopped, tmp_path):
    """A copy of it."""
    return tc.load_run(shutil.copytree(stopped, tmp_path / "run"))


def test_resuming_gives_the_uninterrupted_result(interrupted, finished):
    tc.train(TINY, interrupted.path, resume=True, progress=False)
    assert contents(interrupted.path) == contents(finished)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_state_is_named_and_the_one_before_used(interrupted, finished, damage):
    newest = interrupted.path / "checkpoints" / f"state-{interrupted.state_steps[-1]:010d}.safetensors"
    content = bytearray(newest.read_bytes())
    newest.write_bytes(content[:-100] if damage == "cut" else content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])
    with pytest.warns(UserWarning, match="cut short or altered; continuing from an earlier state"):
        tc.train(TINY, interrupted.path, resume=True, progress=False)
    assert contents(interrupted.path) == contents(finished)


def test_no_intact_state_is_an_error_not_a_restart(interrupted):
    before = (interrupted.path / "metrics.jsonl").read_bytes()
    for state in (interrupted.path / "checkpoints").glob("state-*.safetensors"):
        state.write_bytes(b"gone")
    with pytest.raises(DamagedFile, match="no intact training state"):
        tc.train(TINY, interrupted.path, resume=True, progress=False)
    assert (interrupted.path / "metrics.jsonl").read_bytes() == before


def test_a_state_of_another_model_is_refused(interrupted, tmp_path):
    from twoclocks.empirics.runs.files import read_tensors, write_tensors

    for step in interrupted.state_steps:
        path = interrupted.path / "checkpoints" / f"state-{step:010d}.safetensors"
        tensors, header = read_tensors(path)
        tensors["model.head.weight"] = torch.zeros(3, 48)
        write_tensors(path, tensors, header.note)
    with pytest.raises(ValueError, match=r"'model\.head\.weight' has shape \(3, 48\)"):
        tc.train(TINY, interrupted.path, resume=True, progress=False)


def test_a_different_config_is_refused_with_the_difference(interrupted):
    with pytest.raises(ValueError, match=r"lr=0\.002 \(asked: 0\.001\)"):
        tc.train(replace(TINY, lr=1e-3), interrupted.path, resume=True, progress=False)
    with pytest.raises(ValueError, match="holds a run already"):
        tc.train(TINY, interrupted.path, progress=False)


def test_a_truncated_last_line_is_made_again(interrupted, finished):
    path = interrupted.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    tc.train(TINY, interrupted.path, resume=True, progress=False)
    assert contents(interrupted.path) == contents(finished)


def test_a_full_disk_stops_with_a_clear_error_and_resumes(tmp_path, finished, monkeypatch):
    import errno

    from twoclocks.empirics.runs import files

    flush, calls = os.fsync, []

    def fill(handle):
        calls.append(handle)
        if len(calls) > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", fill)
        with pytest.raises(OSError, match="No space left on device"):
            tc.train(TINY, tmp_path / "run", progress=False)
    tc.train(TINY, tmp_path / "run", resume=True, progress=False)
    assert contents(tmp_path / "run") == contents(finished)


def test_divergence_stops_the_run_and_says_so(tmp_path):
    run = tc.train(
        replace(TINY_DIT, lr=10.0, warmup=0, steps=2000, noise_mean=19.0, eval_first=50),
        tmp_path / "run",
        progress=False,
    )
    assert run.status == "diverged"
    assert run.onsets["tau_rule"].censored
    assert len(tc.load_runs(tmp_path)) == 1
    assert run.metrics.empty
    plot_clocks([run], tmp_path / "clocks.png")
    assert (tmp_path / "clocks.png").exists()


@pytest.mark.parametrize(
    ("options", "how"),
    [
        (["--model", "dit-nano", "--noise-mean", "19", "--steps", "200"], r"the loss is no number at step \d+"),
        (["--model", "gpt-nano", "--steps", "20"], r"the loss is \d[\d.e+]* at step 20, far above that of a guess"),
    ],
    ids=["not a number", "absurd"],
)
def test_the_command_says_that_a_run_diverged(tmp_path, capsys, options, how):
    command = ["run", "--rule", "parity:2x4,G=4", "--n-train", "8", "--batch-size", "8", "--n-eval", "8", "--lr", "10"]
    command += ["--warmup", "0", "--sampler-steps", "2", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main([*command, *options])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert re.search(f"diverged: {tmp_path / 'run'}: {how}; try a lower --lr\n", printed.err)
    assert "tau_rule" in printed.out
    assert tc.load_run(tmp_path / "run").divergence


@pytest.mark.slow
def test_stop_when_the_clocks_are_known(tmp_path):
    config = replace(QUICK["gpt"], n_eval=128, eval_ratio=1.4, stop_when="ruled")
    run = tc.train(config, tmp_path / "run", progress=False)
    assert run.status == "stopped"
    assert not run.onsets["tau_rule"].censored
    assert run.metrics["step"].iloc[-1] == run.onsets["tau_rule"].upper


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp32"},
        {"ema_halflife": 20.0},
        {"schedule": "cosine", "weight_decay": 0.1, "clip_norm": 1.0},
        {"model": "dit-nano", "encoding": "onehot", "sampler": "churn"},
        {"model": "dit-nano", "encoding": "scalar", "rule": "latin:4", "sampler": "euler"},
        {"rule": "permutation:1x4"},
    ],
    ids=["fp32", "ema", "schedule", "onehot", "scalar", "symbols"],
)
def test_every_option_trains_and_resumes(tmp_path, monkeypatch, options):
    config = replace(TINY, steps=30, **options)
    whole = tc.train(config, tmp_path / "whole", progress=False)
    assert whole.metrics["loss"].min() < whole.metrics["loss"].iloc[0]
    monkeypatch.setattr(training.RunWriter, "finish", lambda self, result: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        tc.train(config, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    tc.train(config, tmp_path / "cut", resume=True, progress=False)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "parity:6x6,G=5"}, "G=5 must divide"),
        ({"model": "dit-huge"}, "known models"),
        ({"n_train": 0}, "n_train must lie in 1"),
        ({"n_train": 65}, "exceeds the 64 valid grids"),
        ({"lr": -1.0}, "lr must lie in"),
        ({"lr": math.nan}, "lr must lie in"),
        ({"encoding": "pm1"}, "gpt-nano reads symbols, leave it out"),
        ({"model": "dit-nano", "encoding": "fourier"}, "encoding must be one of"),
        ({"eval_ratio": 1.0}, "eval_ratio must exceed 1"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"steps": True}, "steps must lie in"),
    ],
)
def test_impossible_configs_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        tc.train(replace(TINY, **options), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_compiling_falls_back_without_a_compiler(tmp_path, monkeypatch):
    import torch._inductor.config

    from twoclocks.empirics.engine import fuse

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    torch._dynamo.reset()
    x = torch.linspace(-1, 1, 7)
    calls = []

    def function(x):
        calls.append(torch.compiler.is_compiling())
        return (x.sin() + 1).square().sum()

    fused = fuse(function)
    for _ in range(2):
        assert fused(x) == pytest.approx(float((x.sin() + 1).square().sum()))
    assert calls[-2:] == [False, False]  # the plain function ran


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_compiled_runs_repeat_and_resume(tmp_path, monkeypatch):
    config = replace(TINY_DIT, precision="bf16", compile=True)
    tc.train(config, tmp_path / "whole", progress=False)
    monkeypatch.setattr(training.RunWriter, "finish", lambda self, result: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tc.train(config, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    tc.train(config, tmp_path / "cut", resume=True, progress=False)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_tensorboard_without_its_package_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'twoclocks\[tensorboard\]'"):
        tc.train(TINY, tmp_path / "run", progress=False, tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_evaluations_are_logged_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tc.train(replace(TINY, steps=12), tmp_path / "run", progress=False, tensorboard=True)
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    logged = [(e.step, e.value) for e in events.Scalars("loss")]
    assert [step for step, _ in logged] == run.metrics["step"].tolist()
    assert [value for _, value in logged] == pytest.approx(run.metrics["loss"].tolist())
    assert not any("tensorboard" in type(thread).__module__ for thread in threading.enumerate())  # closed
