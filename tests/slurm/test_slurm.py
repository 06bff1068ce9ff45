"""Sweeps by a real Slurm; `make test-slurm` opts in."""

import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import twoclocks as tc
from twoclocks.empirics.sweeps.executors import LostWorker
from twoclocks.empirics.sweeps.folders import run_name
from twoclocks.empirics.sweeps.slurm import SlurmJobs

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not os.environ.get("TWOCLOCKS_SLURM"), reason="opt-in: make test-slurm"),
]
EIGHT = Path(__file__).parents[1] / "empirics" / "sweeps" / "eight.yaml"


def table(folder):
    return tc.load_runs(folder).drop(columns=["path", "seconds"]).reset_index(drop=True)


def metrics(folder):
    return {
        path.parent.name: tc.load_run(path.parent).metrics.drop(columns="seconds").to_dict("list")
        for path in folder.glob("*/config.json")
    }


def queue():
    """The jobs that Slurm lists."""
    return subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True, check=True).stdout.split()


def wait_until(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The eight runs, trained in processes here."""
    folder = tmp_path_factory.mktemp("local")
    tc.empirics.ended_runs(tc.sweep(tc.read_grid(EIGHT), folder, progress=False))
    return folder


def test_eight_runs_by_the_command(tmp_path, slurm, local):
    from twoclocks.cli import main

    out = tmp_path / "out"
    main(["sweep", str(EIGHT), "--out", str(out), "--executor", "slurm", "--workers", "4"])
    pd.testing.assert_frame_equal(table(out), table(local), check_exact=True)
    assert metrics(out) == metrics(local)
    assert list((out / ".slurm").glob("*/*_result.pkl"))
    assert not [path for path in out.glob("*/**/*.pkl") if ".slurm" not in path.parts]


def test_a_cancelled_job_is_lost_and_its_run_done_again(tmp_path, slurm):
    short = tc.read_grid(EIGHT)[:2]
    long = replace(short[0], steps=900)  # seconds more than Slurm leaves a job between its signals; the first to start
    whole, out, tables = tmp_path / "whole", tmp_path / "out", []
    tc.empirics.ended_runs(tc.sweep([long, *short], whole, progress=False))

    def run():
        with SlurmJobs(out, slots=1, seconds=0.5) as executor:
            tables.append(tc.sweep([long, *short], out, executor, progress=False))

    wait_until(lambda: not queue())
    thread = threading.Thread(target=run)
    thread.start()
    wait_until((out / run_name(long) / "config.json").exists)  # the run is under way
    subprocess.run(["scancel", *queue()], check=True)
    thread.join(180)
    assert tables[0]["attempts"].tolist() == [2, 1, 1]
    assert tables[0]["status"].tolist() == ["finished"] * 3
    pd.testing.assert_frame_equal(table(out), table(whole), check_exact=True)
    assert metrics(out) == metrics(whole)


def test_a_job_that_runs_no_sweep_is_lost_too(tmp_path, slurm):
    wait_until(lambda: not queue())
    with SlurmJobs(tmp_path, slots=1, seconds=0.5) as executor:
        future = executor.submit(time.sleep, 600)
        wait_until(queue)
        (job,) = queue()
        subprocess.run(["scancel", job], check=True)
        with pytest.raises(LostWorker, match=rf"the Slurm job {job} ended without an answer"):
            future.result(60)


def test_an_interrupted_executor_cancels_its_jobs(tmp_path, slurm):
    wait_until(lambda: not queue())
    executor = SlurmJobs(tmp_path, slots=1, seconds=0.5)
    future = executor.submit(time.sleep, 600)
    wait_until(queue)
    executor.shutdown(cancel_futures=True)
    assert isinstance(future.exception(), LostWorker)
    wait_until(lambda: not queue())


def test_an_exception_in_a_job_is_raised_here(tmp_path, slurm):
    with SlurmJobs(tmp_path, slots=1, seconds=0.5) as executor, pytest.raises(Exception, match="ZeroDivisionError"):
        executor.submit(divmod, 1, 0).result(60)
