"""A run killed at any write: between any two changes to its folder it resumes to the same bits, and leaves nothing."""

import json
import os
import shutil
import threading
from dataclasses import replace

import pytest
from tqdm import tqdm

import twoclocks as tc
from twoclocks.empirics import training

GPT = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=9, batch_size=8, n_eval=16, eval_first=4, eval_ratio=1.6,
    sampler_steps=4,
)  # fmt: skip
DIT = replace(GPT, model="dit-nano")
CHANGES = ("replace", "unlink", "fsync", "mkdir")
"""The calls of `os` that change a folder, or make a change last."""


def contents(path):
    """Every file of a folder by its relative name; wall times aside."""
    files = {}
    for file in sorted(path.rglob("*")):
        if file.is_dir():
            continue
        content = file.read_bytes()
        if file.name == "metrics.jsonl":
            content = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in content.splitlines()]
        elif file.name == "result.json":
            content = {k: v for k, v in json.loads(content).items() if k != "seconds"}
        files[str(file.relative_to(path))] = content
    return files


def killed_before_change(path, config, number, save_every=60.0):
    """Train in a child that dies, as by SIGKILL, before it changes the folder for this time; whether it died."""
    child = os.fork()
    if child == 0:
        try:
            tqdm.set_lock(threading.RLock())
            training.SAVE_EVERY = save_every
            left = [number]
            for name in CHANGES:
                plain = getattr(os, name)

                def counted(*args, plain=plain, **kwargs):
                    if left[0] == 0:
                        os._exit(9)
                    left[0] -= 1
                    return plain(*args, **kwargs)

                setattr(os, name, counted)
            tc.train(config, path, resume=True, progress=False)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9), "a resume was refused"
    return code == 9


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for name, config in (("gpt", GPT), ("dit", DIT)):
        tc.train(config, folder / name, progress=False)
    return {name: contents(folder / name) for name in ("gpt", "dit")}


def check(folder, config, whole):
    tc.train(config, folder, resume=True, progress=False)
    assert contents(folder) == whole
    assert tc.load_run(folder).status == "finished"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("number", [0, 3, 17, 30, 41])
def test_a_run_killed_at_a_change_resumes_to_the_same_bits(tmp_path, whole, number):
    assert killed_before_change(tmp_path / "run", GPT, number)
    check(tmp_path / "run", GPT, whole["gpt"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "config", "save_every", "number", "stride"),
    [("gpt", GPT, 60.0, 0, 1), ("dit", DIT, 60.0, 1, 3), ("gpt", GPT, 0.0, 2, 5)],
)
def test_a_run_killed_at_every_change_resumes_to_the_same_bits(
    tmp_path, whole, name, config, save_every, number, stride
):
    while killed_before_change(tmp_path / "run", config, number, save_every):
        check(tmp_path / "run", config, whole[name])
        shutil.rmtree(tmp_path / "run")
        number += stride
    assert number > 50
    check(tmp_path / "run", config, whole[name])
