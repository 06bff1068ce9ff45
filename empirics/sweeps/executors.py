"""Where the runs of a sweep are trained: executors of `concurrent.futures` for processes here, dask and Slurm."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

from tqdm import tqdm

ExecutorName = Literal["local", "dask", "slurm"]


GRACE = 10.0
"""Seconds that a worker process has to save its run when it is told to end."""


class LostWorker(RuntimeError):
    """The process or job that ran a call ended without an answer."""


class CannotStart(OSError):
    """No worker can be started at all."""


_NO_GUARD = "worker processes cannot start; a script must call sweep() under `if __name__ == '__main__':`"


@contextmanager
def open_executor(
    kind: ExecutorName = "local",
    workers: int | None = None,
    scheduler: str | None = None,
    out: str | Path = ".",
    threads: int = 1,
    per_device: int | None = None,
    gpus_per_task: int = 0,
) -> Iterator[Executor]:
    """An executor for `sweep`, closed at the end; on an error or Ctrl-C it also ends the calls under way.

    Args:
        kind: ``"local"`` processes; ``"dask"``, a running scheduler of dask.distributed; ``"slurm"`` jobs by submitit.
        workers: processes at a time, by default one per core; for Slurm the jobs queued at a time, by default 64. A
            dask scheduler has workers of its own.
        scheduler: address of the dask scheduler, such as tcp://10.0.0.1:8786.
        out: folder of the sweep; Slurm jobs keep their files in its .slurm.
        threads: CPU threads of each run.
        per_device: runs at a time on each GPU of this machine, or of a Slurm job: they are trained in one process, each
            on a stream of its own (`SideBySide`). Without a GPU, processes as usual.
        gpus_per_task: GPUs of each Slurm job.

    Raises:
        ValueError: an unknown kind, an option that does not fit it, a missing package, or a silent scheduler.
        CannotStart: worker processes would import a script that starts a sweep itself.
    """
    if kind not in get_args(ExecutorName):
        raise ValueError(f"an executor is one of {', '.join(get_args(ExecutorName))}, got {kind!r}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    if per_device is not None and per_device < 1:
        raise ValueError(f"per_device must be 1 or more, got {per_device}")
    if gpus_per_task < 0 or (gpus_per_task and kind != "slurm"):
        raise ValueError("--gpus-per-task N asks Slurm for N GPUs a job; it needs --executor slurm, and N of 1 or more")
    if per_device is not None and kind == "dask":
        raise ValueError("a dask scheduler has its own workers; leave --per-device out")
    if (scheduler is not None) != (kind == "dask"):
        raise ValueError("--executor dask needs --scheduler ADDRESS, and no other executor takes one")
    if kind == "dask":
        if workers is not None:
            raise ValueError("a dask scheduler has its own workers; leave --workers out")
        with _dask(str(scheduler)) as executor:
            yield executor
    elif kind == "slurm":
        from .slurm import SlurmJobs

        with SlurmJobs(Path(out), workers or 64, threads, n_gpus=gpus_per_task, per_device=per_device or 1) as executor:
            yield executor
    elif per_device is not None and (devices := _gpus()):
        from .side_by_side import SideBySide

        if workers is not None:
            raise ValueError("on GPUs --per-device says how many runs train at a time; leave --workers out")
        with SideBySide(devices, per_device) as executor:
            yield executor
    else:
        with LocalProcesses(workers or max(1, cores() // threads)) as executor:
            yield executor


def _gpus() -> list[str]:
    from .side_by_side import gpus

    return gpus()


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class SlotExecutor(Executor):
    """An executor whose threads each wait for one call that runs elsewhere; subclasses say where.

    Args:
        slots: calls at a time.
    """

    def __init__(self, slots: int) -> None:
        self._threads = ThreadPoolExecutor(slots)
        self._stopped = threading.Event()

    def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run one call elsewhere and wait for its answer; LostWorker when there is none."""
        raise NotImplementedError

    def abort(self) -> None:
        """End the calls under way."""
        raise NotImplementedError

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self.call, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the calls under way; with `cancel_futures` end them: a run survives that and can be resumed."""
        if cancel_futures:
            self._stopped.set()
            self._threads.shutdown(False, cancel_futures=True)  # nothing more begins
            self.abort()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        self.shutdown(cancel_futures=kind is not None)


class LocalProcesses(SlotExecutor):
    """Worker processes on this machine, started afresh (spawn).

    Each slot is a pool of one process, for a pool whose worker dies gives up all its calls: so a death costs its own
    call alone.

    Args:
        workers: processes at a time.
    """

    def __init__(self, workers: int) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker that imports the script anew
            raise CannotStart(_NO_GUARD)
        super().__init__(workers)
        self._lock = threading.Lock()
        self._idle: list[tuple[ProcessPoolExecutor, int]] = []
        self._pids: set[int] = set()

    def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        pool, pid = self._take()
        try:
            answer = pool.submit(_exiting, fn, *args, **kwargs).result()
        except BrokenProcessPool:
            with self._lock:
                self._pids.discard(pid)
            pool.shutdown()  # returns once the dead process has been collected
            raise LostWorker(f"the worker process {pid} was killed or crashed, perhaps for want of memory") from None
        except BaseException:
            self._give_back(pool, pid)
            raise
        self._give_back(pool, pid)
        return answer

    def abort(self) -> None:
        with self._lock:
            mine = [process for process in multiprocessing.active_children() if process.pid in self._pids]
        for process in mine:
            process.terminate()  # a training saves its state
        until = time.monotonic() + GRACE
        for process in mine:
            wait([process.sentinel], max(0.0, until - time.monotonic()))
            process.kill()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        while self._idle:
            self._idle.pop()[0].shutdown(wait)

    def _take(self) -> tuple[ProcessPoolExecutor, int]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        resource_tracker.ensure_running()  # it would unblock the signal again
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process inherits this, and starts in silence
        # fork would copy the locks of torch's threads
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _prepare_worker)
        try:
            pid = pool.submit(os.getpid).result()
        except BrokenProcessPool:
            raise CannotStart(_NO_GUARD) from None
        with self._lock:
            self._pids.add(pid)
        if self._stopped.is_set():
            self.abort()
        return pool, pid

    def _give_back(self, pool: ProcessPoolExecutor, pid: int) -> None:
        with self._lock:
            self._idle.append((pool, pid))


def _exiting(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call; where that asks for the end of the process, as SIGTERM does of a training, end it."""
    try:
        return fn(*args, **kwargs)
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 1)


def _prepare_worker() -> None:
    """One thread, no Ctrl-C of its own, and no life after its parent's."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # read when torch and numpy are first imported, which is later than this
    tqdm.set_lock(threading.RLock())  # its own is shared by processes, and left behind by one that is terminated
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("--executor dask needs its package: pip install 'twoclocks[dask]'") from None
    try:
        client = Client(address, timeout="20s", set_as_default=False)
    except (OSError, ValueError) as fault:
        raise ValueError(f"no dask scheduler answers at {address!r}: {fault}") from None
    try:
        if wide := [worker for worker, threads in client.nthreads().items() if threads > 1]:
            raise ValueError(
                f"the dask worker {wide[0]} has several threads; start workers with --nthreads 1, one for each core"
            )
        with client.get_executor(pure=False) as executor:
            yield executor
    finally:
        client.close()
