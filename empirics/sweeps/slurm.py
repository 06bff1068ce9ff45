"""Slurm jobs, one a run, submitted by submitit and seen through as an executor of `concurrent.futures`."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..runs.foreign_files import own_folder
from .executors import LostWorker, SlotExecutor

TIME_LIMIT = 24 * 60
"""Minutes of a job, unless SBATCH_TIMELIMIT says otherwise; a run that is cut off is resumed by the next job."""


class SlurmJobs(SlotExecutor):
    """Each call is a job of one task. Options of the cluster come from sbatch's own environment variables, such as
    SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT and SBATCH_MEM_PER_CPU.

    submitit learns how a job ended from Slurm's accounting, which may be off. So a job counts as lost when the
    scheduler's own list (squeue) names it no more and its answer is not there.

    Args:
        out: folder of the sweep, on a file system that all nodes share; jobs keep their files in a new folder of its
            .slurm, so that no pickle found there from elsewhere is ever read.
        slots: jobs queued or running at a time.
        threads: CPUs of a job.
        seconds: between looks at the scheduler's list.

    Raises:
        ValueError: submitit or Slurm's commands are missing here.
    """

    def __init__(self, out: Path, slots: int, threads: int = 1, seconds: float = 15.0) -> None:
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
        self._jobs.update_parameters(job_name="twoclocks", time=TIME_LIMIT, cpus_per_task=threads)
        self._lock = threading.Lock()
        self._seconds = seconds
        self._looks, self._looked, self._listed = 0, -float("inf"), frozenset[str]()
        self._ids: set[str] = set()

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


def _exists(path: Path) -> bool:
    """Whether a file is there, asked of the folder: NFS remembers for a minute that a single file was absent."""
    return path.name in os.listdir(path.parent)
