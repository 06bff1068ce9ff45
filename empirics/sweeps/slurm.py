"""Slurm jobs, one per run, submitted by submitit and seen through as an executor of `concurrent.futures`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ..runs.foreign_files import own_folder
from .executors import LostWorker, SlotExecutor
from .side_by_side import SideBySide, gpus

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

TIME_LIMIT = 24 * 60
"""Minutes of a job, unless SBATCH_TIMELIMIT says otherwise; a run that is cut off is resumed by the next job."""


class SlurmJobs(SlotExecutor):
    """Each call, or as many as a job's GPUs train at once, is a job of one task. Options of the cluster come from
    sbatch's own environment variables, such as SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT and
    SBATCH_MEM_PER_CPU.

    submitit learns how a job ended from Slurm's accounting, which may be off. So a job counts as lost when the
    scheduler's own list (squeue) names it no more and its answer is not there.

    Args:
        out: folder of the sweep, on a file system that all nodes share; jobs keep their files in a new folder of its
            .slurm, so that no pickle found there from elsewhere is ever read.
        slots: jobs queued or running at a time.
        threads: CPUs of a run.
        seconds: between looks at the scheduler's list.
        n_gpus: of a job.
        per_device: runs that a job trains at a time on each of its GPUs; a job takes as many runs as its GPUs.

    Raises:
        ValueError: submitit or Slurm's commands are missing here.
    """

    def __init__(
        self,
        out: Path,
        slots: int,
        threads: int = 1,
        seconds: float = 15.0,
        n_gpus: int = 0,
        per_device: int = 1,
    ) -> None:
        try:
            from submitit import SlurmExecutor
        except ImportError:
            raise ValueError("--executor slurm needs its package: pip install 'twoclocks[slurm]'") from None
        super().__init__(slots)
        own_folder(out / ".slurm", make=True)
        folder = Path(tempfile.mkdtemp(dir=out.absolute() / ".slurm", prefix=time.strftime("%Y%m%d-%H%M%S-")))
        try:
            self._jobs = SlurmExecutor(folder)
        except RuntimeError:
            folder.rmdir()
            raise ValueError("no Slurm commands (srun, sbatch, squeue) here: run the sweep on a login node") from None
        self._runs_a_job = max(1, n_gpus) * per_device
        options: dict[str, Any] = {"gpus_per_task": n_gpus} if n_gpus else {}
        cpus = threads * self._runs_a_job
        self._jobs.update_parameters(job_name="twoclocks", time=TIME_LIMIT, cpus_per_task=cpus, **options)
        self._per_device = per_device
        self._pending: deque[tuple[Future[Any], Call]] = deque()
        self._lock = threading.Lock()
        self._seconds = seconds
        self._looks, self._looked, self._listed = 0, -float("inf"), frozenset[str]()
        self._ids: set[str] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._runs_a_job == 1:
            return super().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        self._pending.append((future, (fn, args, kwargs)))
        self._threads.submit(self._serve)
        return future

    def _serve(self) -> None:
        """One job for the calls that wait, as many as it takes; none where an earlier job has taken them."""
        taken: list[tuple[Future[Any], Call]] = []
        while len(taken) < self._runs_a_job and self._pending:
            with contextlib.suppress(IndexError):  # another thread was faster
                future, call = self._pending.popleft()
                if future.set_running_or_notify_cancel():
                    taken.append((future, call))
        if not taken:
            return
        try:
            answers = self.call(call_side_by_side, [call for _, call in taken], self._per_device)
        except BaseException as fault:
            for future, _ in taken:
                future.set_exception(fault)
            return
        for (future, _), (answer, wrong) in zip(taken, answers, strict=True):
            if wrong is None:
                future.set_result(answer)
            else:
                future.set_exception(LostWorker(wrong))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            for future, _ in self._pending:
                future.cancel()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            job = self._jobs.submit(fn, *args, **kwargs)
            self._ids.add(job.job_id)
        try:
            self._wait(job.job_id, job.paths.result_pickle)
            return job.result()
        finally:
            with self._lock:
                self._ids.discard(job.job_id)

    def abort(self) -> None:
        with self._lock:
            if self._ids:
                subprocess.run(["scancel", *self._ids], check=False)

    def _wait(self, job: str, answer: Path) -> None:
        """Return once the job's answer is there; LostWorker when the job is gone without one."""
        seen, absent = self._looks, 0
        while not _exists(answer):
            if self._stopped.wait(min(1.0, self._seconds)):
                raise LostWorker(f"the Slurm job {job} was cancelled")
            look, listed = self._queue()
            if look > seen:  # what was listed before this call says nothing about its job
                seen = look
                absent = 0 if job in listed else absent + 1
            # Twice absent: an answer may take a moment to show on a network file system.
            if absent >= 2 and not _exists(answer):
                raise LostWorker(f"the Slurm job {job} ended without an answer: killed, out of time or out of memory")

    def _queue(self) -> tuple[int, frozenset[str]]:
        """How often squeue has answered, and the jobs that it listed last; one look serves all threads."""
        with self._lock:
            if time.monotonic() - self._looked >= self._seconds:
                self._looked = time.monotonic()
                command = ["squeue", "--noheader", "--user", str(os.getuid()), "--format", "%A"]
                answer = subprocess.run(command, capture_output=True, text=True, check=False)
                if answer.returncode == 0:  # else the controller is away, and jobs outlive that
                    self._looks += 1
                    self._listed = frozenset(answer.stdout.split())
            return self._looks, self._listed


def call_side_by_side(calls: Sequence[Call], per_device: int) -> list[tuple[Any, str | None]]:
    """In a job: several calls at once on its GPUs, one after another where it has none; answers, or what went wrong."""
    with SideBySide(gpus() or ["cpu"], per_device) as executor:
        futures = [executor.submit(fn, *args, **kwargs) for fn, args, kwargs in calls]
        faults = [future.exception() for future in futures]
    return [
        (None, f"{type(fault).__name__}: {fault}") if fault else (future.result(), None)
        for future, fault in zip(futures, faults, strict=True)
    ]


def _exists(path: Path) -> bool:
    """Whether a file is there, asked of the folder: NFS remembers for a minute that a single file was absent."""
    return path.name in os.listdir(path.parent)
