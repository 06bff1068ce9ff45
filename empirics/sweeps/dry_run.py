"""What a sweep would do: its runs, what is finished, and what the rest costs on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..config import RunConfig
from ..hardware import resolve_device
from ..text_tables import plain_table
from .cost import GPU_RATE, measure_all, wall_time
from .executors import cores
from .sweep import Job, list_jobs


def dry_run(
    configs: Sequence[RunConfig] | Mapping[str, RunConfig],
    out: str | Path,
    workers: int | None = None,
    progress: bool = True,
    stages: Mapping[str, Sequence[RunConfig]] | None = None,
) -> str:
    """The plan of `sweep` with these arguments, as text: the runs, what is in their folders, and the time they take.

    Each kind of run is timed for about a second. Trains no run and writes nothing. Raises as `sweep` does, and
    ValueError for a device that this machine lacks, where nothing can be timed. With `stages`, the runs by title, the
    cost of each stage is listed too.
    """
    jobs = list_jobs(configs, out)
    todo = [job for job in jobs if not job.ended]
    for device in dict.fromkeys(job.config.device for job in todo):
        resolve_device(device)
    timings = dict(zip((job.name for job in todo), measure_all((job.config for job in todo), progress), strict=True))
    left = {job.name: timings[job.name].run(job.config) * (1 - job.progress) for job in todo}
    lines = [
        plain_table(
            ["run", "now", "time left"],
            [
                [job.name, f"at step {job.step}" if job.status == "unfinished" else job.status,
                 duration(left[job.name]) if job.name in left else "-"]
                for job in jobs
            ],
        )
    ]  # fmt: skip
    lines += [f"damaged, to be moved aside and redone: {job.error}" for job in jobs if job.status == "damaged"]
    counts = Counter(job.status for job in jobs)
    lines.append(f"\n{len(jobs)} runs: " + ", ".join(f"{number} {status}" for status, number in counts.items()))
    if not todo:
        return "\n".join([*lines, "nothing is left to do"])
    kinds: dict[tuple[str, str, int], list[str]] = {}
    for job in todo:
        kinds.setdefault((job.config.model, job.config.rule, job.config.batch_size), []).append(job.name)
    rows = []
    for kind, names in kinds.items():
        slowest = max((timings[name] for name in names), key=lambda timing: timing.step)
        total = sum(left[name] for name in names)
        rows.append([*map(str, kind), str(len(names)), f"{1000 * slowest.step:.3g}", f"{slowest.evaluation:.3g}",
                     f"{total / 3600:.3g}"])  # fmt: skip
    header = ["model", "rule", "batch", "runs", "ms/step", "s/evaluation", "core-hours"]
    threads = max(job.config.threads for job in todo)
    if stages:
        lines += ["\nIn this order:", _stages_table(stages, todo, left)]
    at_once = workers or max(1, cores() // threads)
    wall = wall_time(list(left.values()), at_once)
    core_hours = sum(left[job.name] * job.config.threads for job in todo) / 3600
    lines += ["\nTimed on this machine:", plain_table(header, rows)]
    lines.append(f"\n{core_hours:.3g} core-hours; about {duration(wall)} on {at_once} workers like this machine's")
    lines.append(
        f"{sum(job.config.steps for job in todo):,} steps; about {gpu_minutes(todo):.3g} minutes of one GPU at "
        f"{GPU_RATE / 1e12:.0f} TFLOP/s, what is aimed at on an H100 (not measured)"
    )
    if early := sum(job.config.stop_when != "never" for job in todo):
        lines.append(f"an upper bound: stop_when may end {early} of the {len(todo)} runs sooner")
    return "\n".join(lines)


def gpu_minutes(jobs: Sequence[Job]) -> float:
    """Minutes that the rest of some runs takes a GPU at `GPU_RATE`."""
    return sum(job.cost * (1 - job.progress) for job in jobs) / GPU_RATE / 60


def _stages_table(stages: Mapping[str, Sequence[RunConfig]], todo: Sequence[Job], left: Mapping[str, float]) -> str:
    rows = []
    for title, configs in stages.items():
        jobs = [job for job in todo if job.config in set(configs)]
        steps, hours = sum(job.config.steps for job in jobs), sum(left[job.name] for job in jobs) / 3600
        rows.append([title, f"{len(jobs)} of {len(configs)}", f"{steps:,}", f"{gpu_minutes(jobs):.3g}", f"{hours:.3g}"])
    return plain_table(["stage", "runs left", "steps", "GPU minutes", "core-hours"], rows)


def duration(seconds: float) -> str:
    """Seconds for people: 48 s, 12 min, 3.4 h, 2.1 days."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"
