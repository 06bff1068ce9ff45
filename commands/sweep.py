"""``twoclocks sweep``: every run of a grid."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import tyro

from .command import TrainingCommand, if_interrupted


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepCommand(TrainingCommand):
    """Train every run of a grid.

    Runs that have ended are kept, interrupted ones resumed, failed ones tried again:

    the same command continues a sweep that was interrupted.
    """

    grid: tyro.conf.Positional[str]
    """YAML file with any of the keys preset, base, runs, grid, seeds; or the name of a preset, such as quick-gpt; or
    queue:paper, the runs that decide most about the paper's claims, in that order"""
    out: Path
    """folder of the runs, shared by all workers; several sweeps may use one"""
    executor: Literal["local", "dask", "slurm"] = "local"
    """where to train: processes on this machine, a dask.distributed scheduler, or Slurm jobs"""
    workers: int | None = None
    """runs at a time: local, by default one per core; Slurm, jobs queued at a time, by default 64"""
    scheduler: str | None = None
    """address of the dask scheduler, such as tcp://10.0.0.1:8786"""
    per_device: int | None = None
    """runs at a time on each GPU, each on a stream of its own; by default 4 on GPUs of this machine. Without a GPU,
    runs are trained as usual"""
    gpus_per_task: int = 0
    """Slurm: GPUs of each job, which trains --per-device runs on each"""
    dry_run: bool = False
    """only list the runs, what is finished, and the expected cost from a short timing on this machine"""
    retries: int = 2
    """how often a run is tried again after it has failed or its worker was lost"""

    def __call__(self) -> None:
        with self.limited():
            self._sweep()

    def _sweep(self) -> None:
        from ..empirics.runs.reading import UNFINISHED
        from ..empirics.sweeps.dry_run import dry_run
        from ..empirics.sweeps.executors import open_executor
        from ..empirics.sweeps.grid import read_grid
        from ..empirics.sweeps.side_by_side import usual_per_device
        from ..empirics.sweeps.sweep import sweep
        from ..paper_figures.queue import queue_named, stages_named

        queue = queue_named(self.grid)
        configs = read_grid(self.grid) if queue is None else queue
        if self.dry_run:
            print(dry_run(configs, self.out, self.workers, stages=stages_named(self.grid)))
            return
        threads, per_device = max(config.threads for config in configs), self.per_device
        if self.executor == "local" and per_device is None:
            per_device = usual_per_device(configs, self.workers)
        with (
            if_interrupted(f"the runs so far are in {self.out}; the same command continues the sweep"),
            open_executor(
                self.executor, self.workers, self.scheduler, self.out, threads, per_device, self.gpus_per_task
            ) as executor,
        ):
            table = sweep(configs, self.out, executor, self.retries, in_order=queue is not None)
        counts = table["status"].value_counts()
        print(f"{len(table)} runs in {self.out}: {', '.join(f'{n} {status}' for status, n in counts.items())}")
        if (table["status"] == UNFINISHED).any():
            print("the time is over; the same command continues the sweep")
        failed = table[table["status"] == "failed"]
        for name, error in zip(failed["name"], failed["error"], strict=True):
            print(f"failed: {name}: {error}", file=sys.stderr)
        if len(failed):
            raise SystemExit(1)
