"""Several runs at once: threads of one process, each on its device, and Slurm jobs that take as many as fit."""

import itertools
import threading
import time
from concurrent.futures import CancelledError
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics.cuda_graphs import WARM_UP, captured
from twoclocks.empirics.interrupts import Terminated
from twoclocks.empirics.sweeps import side_by_side
from twoclocks.empirics.sweeps.executors import LocalProcesses, LostWorker, open_executor
from twoclocks.empirics.sweeps.side_by_side import SideBySide, usual_per_device
from twoclocks.empirics.sweeps.slurm import SlurmJobs

CONFIG = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=40, batch_size=8, n_eval=8, precision="fp32", device="cpu"
)


def test_so_many_calls_at_a_time_on_each_device():
    meeting, threads = threading.Barrier(4), set()

    def work(number):
        meeting.wait(20)  # all four at once
        threads.add(threading.get_ident())
        return number

    with SideBySide(["cpu", "cpu"], 2) as executor:
        assert list(executor.map(work, range(8))) == list(range(8))
    assert len(threads) == 4
    for devices, per_device in (([], 1), (["cpu"], 0), (["cpu"], 33)):
        with pytest.raises(ValueError, match="per_device must be 1 or more"):
            SideBySide(devices, per_device)


def test_calls_at_once_never_share_a_stream(monkeypatch):
    """The streams are numbers here, made in turn as torch does."""
    numbers, held, most = itertools.count(), [], []
    lock = threading.Lock()

    @contextmanager
    def on_stream(device, stream):
        with lock:
            assert stream not in held
            held.append(stream)
            most.append(len(held))
        yield
        with lock:
            held.remove(stream)

    monkeypatch.setattr(side_by_side, "new_stream", lambda device: next(numbers) % side_by_side.STREAMS)
    monkeypatch.setattr(side_by_side, "on_stream", on_stream)
    with SideBySide(["cuda:0"], 4) as executor:
        assert list(executor.map(lambda k: time.sleep(0.002) or k, range(100))) == list(range(100))
    assert max(most) == 4
    assert next(numbers) == 4  # no more were made


@pytest.mark.parametrize("own", [True, False])
def test_a_graph_is_captured_on_the_stream_that_it_runs_on(monkeypatch, own):
    default, mine = mock.MagicMock(name="default"), mock.MagicMock(name="mine")
    cuda = mock.MagicMock()
    cuda.default_stream.return_value = default
    cuda.current_stream.return_value = mine if own else default
    monkeypatch.setattr(torch, "cuda", cuda)
    calls = []
    repeat = captured(lambda: calls.append(1))
    assert len(calls) == WARM_UP + 1
    stream = cuda.graph.call_args.kwargs["stream"]
    assert stream is (mine if own else cuda.Stream.return_value)
    repeat()
    cuda.CUDAGraph.return_value.replay.assert_called_once()


def test_runs_side_by_side_have_the_bits_of_runs_alone(tmp_path):
    def work(seed, out):
        run = tc.train(tc.RunConfig(**{**CONFIG.to_dict(), "seed": seed}), tmp_path / f"{out}-{seed}", progress=False)
        return run.metrics.drop(columns="seconds").to_csv()

    alone = [work(seed, "alone") for seed in range(3)]
    with SideBySide(["cpu"], 3) as executor:
        together = list(executor.map(lambda seed: work(seed, "together"), range(3)))
    assert together == alone


def test_ending_it_saves_the_runs_of_its_threads(tmp_path):
    endless = tc.RunConfig(**{**CONFIG.to_dict(), "steps": 10**6, "eval_ratio": 1e5})
    executor = SideBySide(["cpu"], 1)
    future = executor.submit(tc.train, endless, tmp_path / "run", progress=False)
    until = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    executor.shutdown(cancel_futures=True)
    assert isinstance(future.exception(), Terminated)
    assert tc.load_run(tmp_path / "run").state_steps[-1] >= 10


def test_a_run_that_is_only_about_to_begin_ends_too(tmp_path):
    endless = tc.RunConfig(**{**CONFIG.to_dict(), "steps": 10**6, "eval_ratio": 1e5})
    begun = threading.Event()

    def begin():
        begun.set()
        time.sleep(0.5)
        tc.train(endless, tmp_path / "run", progress=False)

    executor = SideBySide(["cpu"], 1)
    under_way, waiting = executor.submit(begin), executor.submit(begin)
    begun.wait(20)
    executor.shutdown(cancel_futures=True)
    assert isinstance(under_way.exception(), Terminated)
    assert waiting.cancelled()
    assert tc.load_run(tmp_path / "run").state_steps[-1] < 10**6


def test_per_device_without_a_gpu_is_processes_as_usual(monkeypatch):
    monkeypatch.setattr(side_by_side, "gpus", list)
    with open_executor(per_device=4) as executor:
        assert isinstance(executor, LocalProcesses)
    monkeypatch.setattr(side_by_side, "gpus", lambda: ["cpu", "cpu"])
    with open_executor(per_device=4) as executor:
        assert isinstance(executor, SideBySide)
    assert usual_per_device([CONFIG]) is None  # device cpu
    assert usual_per_device([CONFIG, tc.RunConfig()]) == 4
    assert usual_per_device([tc.RunConfig()], workers=2) is None
    monkeypatch.setattr(side_by_side, "gpus", list)
    assert usual_per_device([tc.RunConfig()]) is None
    monkeypatch.setattr(side_by_side, "gpus", lambda: ["cpu"])
    with pytest.raises(ValueError, match="leave --workers out"), open_executor(per_device=4, workers=2):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--per-device", "0"], "per_device must be 1 or more, got 0"),
        (["--gpus-per-task", "1"], "needs --executor slurm"),
        (["--executor", "dask", "--scheduler", "tcp://127.0.0.1:1", "--per-device", "2"], "leave --per-device out"),
    ],
)
def test_options_that_do_not_fit(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit):
        main(["sweep", "quick-gpt", "--out", str(tmp_path / "out"), *options])
    assert message in capsys.readouterr().err


@pytest.fixture
def cluster(monkeypatch):
    """In place of submitit: jobs that are done, in a process of this machine, as soon as they are submitted."""
    submitit = pytest.importorskip("submitit")
    asked, jobs = {}, []

    class Jobs:
        def __init__(self, folder):
            self.folder = folder

        def update_parameters(self, **options):
            asked.update(options)

        def submit(self, fn, *args, **kwargs):
            jobs.append(args[0] if fn.__name__ == "call_side_by_side" else [fn])
            answer = self.folder / f"{len(jobs)}.pkl"
            result = fn(*args, **kwargs)
            answer.touch()
            return SimpleNamespace(
                job_id=str(len(jobs)), paths=SimpleNamespace(result_pickle=answer), result=lambda: result
            )

    monkeypatch.setattr(submitit, "SlurmExecutor", Jobs)
    return SimpleNamespace(asked=asked, jobs=jobs)


def test_a_slurm_job_takes_as_many_runs_as_its_gpus_train(tmp_path, cluster):
    with SlurmJobs(tmp_path, slots=1, threads=2, n_gpus=2, per_device=2) as executor:
        hold = executor._threads.submit(time.sleep, 1)  # all calls wait before the first job takes any
        futures = [executor.submit(divmod, number, 3) for number in range(9)]
        bad = executor.submit(divmod, 1, 0)
        hold.result()
        assert [future.result(30) for future in futures] == [divmod(number, 3) for number in range(9)]
        with pytest.raises(LostWorker, match="ZeroDivisionError"):
            bad.result(30)
    assert [len(calls) for calls in cluster.jobs] == [4, 4, 2]
    assert cluster.asked["gpus_per_task"] == 2
    assert cluster.asked["cpus_per_task"] == 8


def test_slurm_without_gpus_is_one_run_a_job(tmp_path, cluster):
    with SlurmJobs(tmp_path, slots=2) as executor:
        assert [f.result(30) for f in [executor.submit(abs, -k) for k in range(3)]] == [0, 1, 2]
    assert len(cluster.jobs) == 3
    assert "gpus_per_task" not in cluster.asked
    assert cluster.asked["cpus_per_task"] == 1


def test_calls_that_wait_for_a_job_are_cancelled(tmp_path, cluster):
    executor = SlurmJobs(tmp_path, slots=1, n_gpus=1, per_device=2)
    executor._threads.submit(time.sleep, 1)
    futures = [executor.submit(abs, -k) for k in range(3)]
    executor.shutdown(cancel_futures=True)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(5)


@pytest.mark.slow
def test_a_sweep_by_jobs_of_several_runs(tmp_path, cluster):
    configs = [tc.RunConfig(**{**CONFIG.to_dict(), "seed": seed}) for seed in range(3)]
    with SlurmJobs(tmp_path / "out", slots=1, n_gpus=1, per_device=3) as executor:
        table = tc.sweep(configs, tmp_path / "out", executor, progress=False)
    assert table["status"].tolist() == ["finished"] * 3
