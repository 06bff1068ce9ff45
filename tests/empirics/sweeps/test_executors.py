"""Processes of this machine and of dask: the same results everywhere, and workers that die."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import twoclocks as tc
from twoclocks.empirics.runs.lock import is_held
from twoclocks.empirics.sweeps.executors import LocalProcesses, LostWorker, open_executor
from twoclocks.empirics.sweeps.worker import train_run

EIGHT = Path(__file__).parent / "eight.yaml"
LONG = {"base": {"model": "gpt-nano", "rule": "parity:4x6,G=3", "n_train": 64, "batch_size": 32, "n_eval": 64,
                 "steps": 250, "eval_ratio": 1.3}, "seeds": 2}  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The eight runs, trained in this process."""
    folder = tmp_path_factory.mktemp("reference")
    with ThreadPoolExecutor(1) as executor:
        tc.empirics.ended_runs(tc.sweep(tc.read_grid(EIGHT), folder, executor, progress=False))
    return folder


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)


def begun(folder):
    """Whether a run under way has been evaluated."""
    return any(p.stat().st_size for p in folder.glob("*/metrics.jsonl") if not (p.parent / "result.json").exists())


def test_local_processes_survive_the_death_of_one(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # not a worker's
    with open_executor("local", 1) as executor:
        first = executor.submit(os.getpid).result()
        assert first != os.getpid()
        assert executor.submit(os.getpid).result() == first
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()
        with pytest.raises(LostWorker, match=f"worker process {first} was killed or crashed"):
            executor.submit(os._exit, 3).result()
        assert executor.submit(os.getpid).result() not in (first, os.getpid())
    assert not multiprocessing.active_children()


def test_an_interrupted_executor_ends_the_calls_under_way():
    executor = LocalProcesses(1)
    future, queued = executor.submit(time.sleep, 600), executor.submit(time.sleep, 600)
    wait_for(future.running)
    assert not executor.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert isinstance(future.exception(), LostWorker)
    assert queued.cancelled()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "slrum"}, "one of local, dask, slurm, got 'slrum'"),
        ({"workers": 0}, "workers must be 1 or more, got 0"),
        ({"kind": "dask"}, "needs --scheduler ADDRESS"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "no other executor takes one"),
        ({"kind": "dask", "scheduler": "tcp://127.0.0.1:1", "workers": 2}, "leave --workers out"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message), open_executor(**options):
        pass


@pytest.mark.slow
def test_a_worker_that_trains_does_not_import_what_draws():
    with open_executor("local", 1) as executor:
        draws = "__import__('twoclocks').train and 'matplotlib' in __import__('sys').modules"
        assert executor.submit(eval, draws).result() is False


def test_slurm_without_its_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="no Slurm commands"), open_executor("slurm", out=tmp_path):
        pass


@pytest.mark.parametrize(("module", "kind"), [("distributed", "dask"), ("submitit", "slurm")])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, module, kind):
    monkeypatch.setitem(sys.modules, module, None)
    address = "tcp://127.0.0.1:1" if kind == "dask" else None
    with (
        pytest.raises(ValueError, match=rf"pip install 'twoclocks\[{kind}\]'"),
        open_executor(kind, scheduler=address, out=tmp_path),
    ):
        pass


@pytest.mark.slow
def test_eight_runs_in_local_processes(tmp_path, reference, same):
    tc.empirics.ended_runs(tc.sweep(tc.read_grid(EIGHT), tmp_path, workers=2, progress=False))
    assert same(tmp_path, reference)


@pytest.mark.slow
def test_an_interrupted_executor_lets_its_runs_save(tmp_path):
    config = tc.RunConfig(**{**LONG["base"], "steps": 10**6, "eval_ratio": 1000.0})  # at step 10, then 10000
    executor = LocalProcesses(1)
    future = executor.submit(train_run, config.to_dict(), str(tmp_path / "run"))
    wait_for(lambda: begun(tmp_path))
    time.sleep(1)
    executor.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert isinstance(future.exception(), LostWorker)
    assert tc.load_run(tmp_path / "run").state_steps[-1] not in config.eval_steps()
    assert not is_held(tmp_path / "run")


@pytest.mark.slow
def test_a_killed_worker_costs_its_own_run_one_attempt(tmp_path, same):
    configs = tc.read_grid(LONG)
    tables = []
    thread = threading.Thread(
        target=lambda: tables.append(tc.sweep(configs, tmp_path / "killed", workers=2, progress=False))
    )
    thread.start()
    wait_for(lambda: begun(tmp_path / "killed"))
    multiprocessing.active_children()[0].kill()
    thread.join(120)
    assert sorted(tables[0]["attempts"]) == [1, 2]
    tc.empirics.ended_runs(tables[0])
    tc.sweep(configs, tmp_path / "whole", workers=2, progress=False)
    assert same(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_sweep_is_continued_by_the_same_command(tmp_path, reference, same):
    command = [sys.executable, "-m", "twoclocks", "sweep", str(EIGHT), "--out", str(tmp_path), "--workers", "2"]
    for number in (1, 3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(lambda number=number: len(list(tmp_path.glob("*/metrics.jsonl"))) >= number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        folders = [p.parent for p in tmp_path.glob("*/config.json")]
        wait_for(lambda folders=folders: not any(map(is_held, folders)), 10)  # the workers died with it
    assert sum((folder / "result.json").exists() for folder in folders) < 8
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "8 runs in" in answer.stdout
    assert "8 finished" in answer.stdout
    assert same(tmp_path, reference)


@pytest.mark.slow
def test_ctrl_c_leaves_a_sweep_that_continues(tmp_path, ctrl_c_interrupts):
    (tmp_path / "grid.yaml").write_text(str(LONG))
    command = [sys.executable, "-m", "twoclocks", "sweep", str(tmp_path / "grid.yaml"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: begun(tmp_path / "out"))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"interrupted; the runs so far are in {tmp_path / 'out'}; the same command continues the sweep" in error
    assert "Traceback" not in error
    assert "Warning" not in error
    subprocess.run(command, check=True, capture_output=True)
    assert (tc.load_runs(tmp_path / "out")["status"] == "finished").all()


@pytest.mark.slow
def test_a_script_without_a_guard_is_told(tmp_path):
    (tmp_path / "script.py").write_text(
        f"import twoclocks as tc\ntc.sweep(tc.read_grid({str(EIGHT)!r}), 'out', workers=2, progress=False)\n"
    )
    answer = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.rstrip().endswith("must call sweep() under `if __name__ == '__main__':`")


@pytest.fixture
def cluster(tmp_path):
    """Address of a dask scheduler, and two workers of one thread: three processes of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    common = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    log = open(tmp_path / "dask.log", "w")  # noqa: SIM115
    options = {"stdout": log, "stderr": log, "cwd": tmp_path}
    processes = [subprocess.Popen([*common, "--port", str(port), "--no-dashboard"], **options)]
    for _ in range(2):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--host", "127.0.0.1"]
        command += ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
        processes.append(subprocess.Popen(command, **options))
    yield address, processes[1:]
    for process in processes[::-1]:
        process.kill()
        process.wait()
    log.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_eight_runs_by_dask_with_a_worker_killed(tmp_path, reference, same, cluster):
    address, workers = cluster
    out = tmp_path / "out"
    tables = []

    def run():
        with open_executor("dask", scheduler=address) as executor:
            tables.append(tc.sweep(tc.read_grid(EIGHT), out, executor, progress=False))

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: begun(out))
    workers[0].kill()
    thread.join(180)
    assert tables, (tmp_path / "dask.log").read_text()
    assert tables[0]["status"].tolist() == ["finished"] * 8
    assert tables[0]["attempts"].tolist() == [1] * 8  # dask itself gave the lost run to the other worker
    assert len(list(out.glob("*/config.json"))) == 8
    assert not (out / "quarantine").exists()
    assert same(out, reference)


@pytest.mark.slow
def test_a_dask_scheduler_that_does_not_answer(monkeypatch):
    with (
        pytest.raises(ValueError, match=r"no dask scheduler answers at 'tcp://127.0.0.1:9'"),
        open_executor("dask", scheduler="tcp://127.0.0.1:9"),
    ):
        pass
