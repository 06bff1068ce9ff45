"""Many runs over an executor: finished ones kept, interrupted ones resumed, failed ones tried again."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from ..config import RunConfig, difference
from ..plugins import loaded_plugins
from ..progress import TimedBar, seconds_left, split_seconds
from ..runs.foreign_files import DamagedFile
from ..runs.lock import is_held
from ..runs.reading import UNFINISHED, read_record
from ..runs.run import Run, load_run
from ..tasks import task_of
from ..time_limit import TimeOver, time_ends, time_left
from .cost import expected_cost, step_and_evaluation_cost, wall_time
from .executors import CannotStart, open_executor
from .folders import ENDED, check_name, condition, run_name
from .side_by_side import usual_per_device
from .worker import train_run, write_error

LOOK_EVERY = 2.0
"""Seconds between looks at the progress of the runs under way."""
BUSY_WAIT = 5.0
"""Seconds until a run that another process trains is looked at again."""


@dataclass
class Job:
    """One run of a sweep."""

    name: str
    config: RunConfig
    folder: Path
    cost: float  # floating-point operations, expected
    status: str  # of `condition`; "failed" at the end where it has failed
    step: int = 0  # of the last evaluation
    attempts: int = 0  # in this sweep
    error: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def progress(self) -> float:
        """The part of the cost that is behind, in [0, 1]."""
        if self.ended or self.status == "failed":
            return 1.0
        return min(1.0, expected_cost(self.config, self.step) / self.cost) if self.step else 0.0


def sweep(
    configs: Sequence[RunConfig] | Mapping[str, RunConfig],
    out: str | Path,
    executor: Executor | None = None,
    retries: int = 2,
    progress: bool = True,
    workers: int | None = None,
    tensorboard: bool = False,
    in_order: bool = False,
) -> pd.DataFrame:
    """Train every run into a folder of its own under `out`, the longest first, one process per run.

    Within a `time_limit` the runs are taken in the order given, so that the time goes to the first of them; what it
    does not suffice for is left, to be continued by the same call.

    Runs that have ended are kept and interrupted ones resumed, so that the same call continues a sweep that was
    killed. A damaged folder is named, moved to ``out/quarantine`` and its run redone. A run that fails, or whose worker
    is lost, is tried again; the others go on. Two sweeps may share a folder, on one machine or several: a run is locked
    while it is trained, and each sweep takes what the other leaves.

    Args:
        configs: the runs, each in a folder named by `run_name`; or names of one's own with a config each.
        out: folder of the sweep, on a file system that all workers share.
        executor: any `concurrent.futures.Executor` (see `open_executor`) whose workers can import this package; by
            default processes on this machine, or four runs at a time on each of its GPUs. In a script, call this under
            ``if __name__ == "__main__":``.
        retries: how often a run is tried again after it has failed.
        progress: show a bar with the time left, weighted by cost, and a line for each event.
        workers: processes at a time without an executor; by default one per core.
        tensorboard: see `train`.
        in_order: take the runs in the order given, as within a `time_limit`.

    Returns:
        One row per run, in the order given: name; status: finished, stopped, diverged, failed or, once a `time_limit`
        is over, unfinished; attempts in this call, 0 for a run kept; notes on damaged folders; error, whose whole text
        is in the run folder's error.txt; path.

    Raises:
        ValueError: an impossible config, two equal runs, or a folder with a name of one's own and another config;
            nothing has been trained then.
        OSError: `out` cannot be written, or keeps no locks.
    """
    if retries < 0:
        raise ValueError(f"retries must be 0 or more, got {retries}")
    jobs = list_jobs(configs, out)
    todo = [job for job in jobs if not job.ended]
    if time_ends() is None and not in_order:
        todo.sort(key=lambda job: job.cost, reverse=True)
    if todo and executor is None:
        threads = max(job.config.threads for job in todo)
        at_once, per_device = workers and min(workers, len(todo)), usual_per_device((j.config for j in todo), workers)
        with open_executor("local", at_once, threads=threads, per_device=per_device) as processes:
            _Sweep(jobs, processes, retries, progress, tensorboard).run(todo)
    elif todo and executor is not None:
        _Sweep(jobs, executor, retries, progress, tensorboard).run(todo)
    rows = [
        {"name": job.name, "status": job.status, "attempts": job.attempts, "notes": "; ".join(job.notes),
         "error": job.error, "path": str(job.folder)}
        for job in jobs
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["name", "status", "attempts", "notes", "error", "path"])


def ended_runs(table: pd.DataFrame) -> list[Run]:
    """The runs of a table that `sweep` returned, in its order.

    Raises:
        ValueError: some run has failed; the message names each with its error.
        TimeOver: a `time_limit` was over before the runs were.
    """
    failed = table[table["status"] == "failed"]
    if len(failed):
        each = "; ".join(f"{name}: {error}" for name, error in zip(failed["name"], failed["error"], strict=True))
        raise ValueError(f"{len(failed)} of {len(table)} runs failed: {each}")
    if left := int((table["status"] == UNFINISHED).sum()):
        raise TimeOver(f"the time is over; {len(table) - left} of {len(table)} runs have ended")
    return [load_run(path) for path in table["path"]]


def list_jobs(configs: Sequence[RunConfig] | Mapping[str, RunConfig], out: str | Path) -> list[Job]:
    """The runs of a sweep with what is in their folders now; trains and writes nothing. Raises as `sweep` does."""
    named = isinstance(configs, Mapping)
    pairs = (
        list(configs.items()) if isinstance(configs, Mapping) else [(run_name(config), config) for config in configs]
    )
    if not pairs:
        raise ValueError("the sweep has no runs")
    folder = Path(out).absolute()
    jobs: dict[str, Job] = {}
    for name, config in pairs:
        check_name(name)
        task_of(config).check()  # as `train` would, wherever it runs
        if name in jobs:
            raise ValueError(f"the run {name} occurs twice; remove one")
        if named and (folder / name / "config.json").exists():
            try:
                kept = load_run(folder / name).config
            except DamagedFile:
                kept = config  # `condition` names the damage, and the run is redone
            if kept != config:
                made_with = difference(kept, config)
                raise ValueError(f"the run in {folder / name} was made with {made_with}; choose another folder")
        found = condition(folder / name, config)
        jobs[name] = Job(name, config, folder / name, expected_cost(config), found.status, found.step)
        if found.status == "damaged":
            jobs[name].error = found.fault
    return list(jobs.values())


class _Sweep:
    """The state of one call of `sweep`: what is submitted, what waits, and the bar."""

    def __init__(self, jobs: list[Job], executor: Executor, retries: int, progress: bool, tensorboard: bool) -> None:
        self.jobs, self.executor, self.retries, self.tensorboard = jobs, executor, retries, tensorboard
        self.progress = progress
        self.futures: dict[Future[dict], Job] = {}
        self.waiting: list[tuple[float, Job]] = []  # when to look again at runs that others train

    @property
    def over(self) -> bool:
        """Whether the time is over; runs under way end of themselves then."""
        return time_left() <= 0

    def run(self, todo: list[Job]) -> None:
        with self._bar() as bar:
            try:
                for job in todo:
                    self._start(job)
                while self.futures or self.waiting:
                    if self.over:
                        for future in self.futures:
                            future.cancel()  # only what waits for a worker
                    done, _ = wait(self.futures, LOOK_EVERY, FIRST_COMPLETED)
                    for future in done:
                        self._settle(self.futures.pop(future), future)
                    now = time.monotonic()
                    due = [job for moment, job in self.waiting if moment <= now]
                    self.waiting = [(moment, job) for moment, job in self.waiting if moment > now]
                    for job in due:
                        self._start(job)
                    if self.waiting and not self.futures:
                        time.sleep(min(LOOK_EVERY, BUSY_WAIT))
                    self._show(bar)
            finally:
                for future in self.futures:
                    future.cancel()

    def _start(self, job: Job) -> None:
        """Submit a run, unless another process trains it now or has ended it meanwhile."""
        if self.over:
            job.status = UNFINISHED
            return
        if is_held(job.folder):
            self.waiting.append((time.monotonic() + BUSY_WAIT, job))
            return
        try:
            future = self.executor.submit(
                train_run, job.config.to_dict(), str(job.folder), self.tensorboard, loaded_plugins(), time_ends()
            )
        except RuntimeError as fault:
            raise OSError(f"the executor takes no more runs ({fault}); start the sweep again to continue it") from fault
        self.futures[future] = job

    def _settle(self, job: Job, future: Future[dict]) -> None:
        """Take the answer for a run: ended, failed, to be tried again, or busy elsewhere."""
        try:
            answer = future.result()
        except CannotStart:
            raise
        except (Exception, CancelledError) as fault:  # the worker was lost, or could not even begin
            if future.cancelled() and self.over:
                job.status = UNFINISHED
                return
            text = f"{type(fault).__name__}: {' '.join(str(fault).split())}"
            answer = {"status": "failed", "error": text, "again": True, "notes": []}
            write_error(job.folder, text + "\n")
        if answer["status"] == "busy":
            self.waiting.append((time.monotonic() + BUSY_WAIT, job))
            return
        if answer["status"] == UNFINISHED:  # the time is over
            job.status = UNFINISHED
            return
        job.attempts += 1
        job.notes += answer["notes"]
        for note in answer["notes"]:
            self._say(f"damaged: {note}")
        job.error = answer["error"]
        if answer["status"] in ENDED:
            job.status, job.error = answer["status"], ""
        elif answer["again"] and job.attempts <= self.retries:
            self._say(f"{job.name}: {job.error}; trying again ({job.attempts} of {self.retries})")
            self._start(job)
        else:
            job.status = "failed"
            self._say(f"{job.name}: {job.error}; given up")

    def _say(self, text: str) -> None:
        if self.progress:
            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def _bar(self) -> Iterator[TimedBar]:
        total = sum(job.cost for job in self.jobs)
        behind = sum(job.cost * job.progress for job in self.jobs)
        layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{left}"
        with TimedBar(total=total, initial=behind, bar_format=layout, disable=not self.progress, smoothing=0) as bar:
            self._show(bar)
            yield bar

    def _show(self, bar: TimedBar) -> None:
        """Count the runs; the bar moves by their cost, also with the evaluations of the runs under way."""
        if not self.progress:
            return
        left: dict[str, float] = {}  # seconds, of the runs that tell
        for job in self.futures.values():
            steps, seconds = _evaluations(job.folder)
            if steps and steps[-1] < job.config.steps:
                job.step = steps[-1]
                of_step, of_evaluation = step_and_evaluation_cost(job.config)
                prices = split_seconds(steps, seconds, of_evaluation / of_step)
                left[job.name] = seconds_left(job.config, job.step, *prices)
        if left:
            rate = sum(left.values()) / sum(job.cost * (1 - job.progress) for job in self.jobs if job.name in left)
            rest = [job.cost * rate for job in self.jobs if job.progress < 1 and job.name not in left]
            bar.seconds_left = wall_time([*left.values(), *rest], len(left))
        ended = sum(job.ended or job.status == "failed" for job in self.jobs)
        elsewhere = f", {len(self.waiting)} trained elsewhere" if self.waiting else ""
        bar.set_description_str(f"{ended}/{len(self.jobs)} runs{elsewhere}", refresh=False)
        bar.update(max(0.0, sum(job.cost * job.progress for job in self.jobs) - bar.n))


def _evaluations(folder: Path) -> tuple[list[int], list[float]]:
    """Steps of a run's evaluations so far, and seconds of training at each; none where its metrics cannot be read."""
    try:
        evaluations = read_record(folder).evaluations
    except (OSError, ValueError):
        return [], []
    return evaluations.steps, list(evaluations.columns.get("seconds", ()))
