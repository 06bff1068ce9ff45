"""One call of work on the queue: on a machine that is lent for minutes, has no network, and forgets everything.

    python -m twoclocks.paper_figures.call --preset paper --out gpu-results --max-time 8m

What a call leaves in --out is all that the next one needs to go on, on that machine or another: at most 8 files of
16 MB. They are archives of light runs (`twoclocks merge` brings them into the results), the tables of what has ended,
and of the runs under way as many training states as fit. Weights of runs that have ended do not come along, so that the
figures which need them are measured here, at once; where the time does not suffice for that, their run is done again by
the next call. Runs under way whose state does not fit begin anew.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ..empirics import Run, RunConfig, load_run, sweep
from ..empirics.hardware import resolve_device
from ..empirics.interrupts import Terminated, terminable
from ..empirics.runs.files import write_table
from ..empirics.sweeps.cost import expected_cost
from ..empirics.sweeps.executors import cores, open_executor
from ..empirics.sweeps.folders import run_name
from ..empirics.sweeps.light import LARGEST, Members, light_run, read_archives, unpack_runs, write_archives
from ..empirics.sweeps.side_by_side import SideBySide
from ..empirics.time_limit import limited_until, parse_duration, time_left, time_limit
from .committed import bring, counted_evaluations, run_row, write_figures
from .exhibit import FIGURES, figure_module, stem
from .presets import Preset, preset
from .queue import queue
from .store import figure_folder, write_data

ARCHIVES = 5
"""Files of light runs and states; with the tables, and the table of speeds and the record of the tests, 8 in all."""
PACKING = 0.1
"""Share of the time that is kept for packing, at most `LONGEST_PACKING` seconds."""
LONGEST_PACKING = 30.0


def work(
    scale: Preset, out: Path, executor: Executor | None = None, progress: bool = True, committed: bool = True
) -> str:
    """Continue the queue of a preset from what is in `out`, until it is done or a `time_limit` is over; a summary.

    Ctrl-C, SIGTERM and errors end it earlier, with the same files.

    Args:
        scale: its queue is worked at, in its folder of runs.
        out: folder of the files that come from the call before and go to the next.
        executor: where runs are trained; by default processes of this machine.
        progress: show bars.
        committed: begin with the runs that are committed.
    """
    configs = queue(scale)
    data = scale.runs / ".figures"
    members = read_archives(sorted(out.glob("results-*.zip")))
    known = set(bring(scale.runs)) if committed else set()
    unpack_runs(members, scale.runs)
    write_figures(members, scale.name, data)
    kept = [k for k, config in enumerate(configs) if needs_weights(config)]
    first = configs[: max(kept, default=-1) + 1]
    notes = []
    limited = time_left() < float("inf")
    try:
        with time_limit(time_left() - min(LONGEST_PACKING, PACKING * max(0.0, time_left())) if limited else None):
            for part in (first, configs):
                if part and time_left() > 0:
                    table = sweep(part, scale.runs, executor, progress=progress, in_order=True)
                    failed = table[table["status"] == "failed"]
                    notes += [
                        f"failed: {name}: {error}" for name, error in zip(failed["name"], failed["error"], strict=True)
                    ]
                measure_with_weights(scale, data)
    except (KeyboardInterrupt, Terminated):
        if executor is not None:
            executor.shutdown(cancel_futures=True)  # the trainings under way save their states
        raise
    finally:
        pack(scale, out, data, known)
    ended = sum((scale.runs / run_name(config) / "result.json").exists() for config in configs)
    return "\n".join([*dict.fromkeys(notes), f"{ended} of {len(configs)} runs have ended; files in {out}"])


def needs_weights(config: RunConfig) -> bool:
    """Whether a run is dissected: the weights of all its evaluations are kept, and figures are measured from them."""
    return config.checkpoint_ratio == 1


def measured_from_weights(scale: Preset) -> dict[int, list[RunConfig]]:
    """The figures that are measured from the weights of dissected runs alone, with these runs."""
    needed = {number: figure_module(number).configs(scale) for number in FIGURES}
    return {number: configs for number, configs in needed.items() if configs and all(map(needs_weights, configs))}


def measure_with_weights(scale: Preset, data: Path) -> None:
    """Measure the figures of dissected runs that have ended here, but for those measured already, as time allows."""
    for number, configs in measured_from_weights(scale).items():
        folder = figure_folder(data, scale.name, stem(number))
        if any(folder.glob("*.parquet")) or time_left() <= 0:
            continue
        runs = [_whole(scale.runs / run_name(config)) for config in configs]
        if any(run is None for run in runs):
            continue
        there = [run.on(run.result["device"]) for run in runs if run is not None]
        started = time.monotonic()
        tables = figure_module(number).compute(scale, there)
        command = f"twoclocks figure {number} --preset {scale.name} --recompute"
        write_data(folder, tables, there, time.monotonic() - started, command)


def pack(scale: Preset, out: Path, data: Path, known: set[str], most: int = ARCHIVES, largest: int = LARGEST) -> None:
    """Write what has ended, and of what has not as many states as fit, into the files that go to the next call.

    Args:
        scale: whose queue it is.
        out: folder of the files.
        data: folder of the figures measured so far.
        known: runs that are committed, and need not come along.
        most, largest: number and bytes of the archives.
    """
    members: Members = {}
    for path in sorted(data.glob(f"{scale.name}/fig*/*")):
        members[f"figures/{path.relative_to(data).as_posix()}"] = path.read_bytes()
    figures = measured_from_weights(scale)
    ended, under_way = [], []
    for config in queue(scale):
        name = run_name(config)
        folder = scale.runs / name
        if name in known or not (folder / "config.json").exists():
            continue
        run = load_run(folder)
        if not run.ended:
            under_way.append(run)
            continue
        wanted = [n for n, configs in figures.items() if config in configs]
        if all(any(figure_folder(data, scale.name, stem(n)).glob("*.parquet")) for n in wanted):
            ended.append(run)
            members |= light_run(run)
    used = sum(map(len, members.values()))
    for run in sorted(under_way, key=_worth, reverse=True):
        files = {} if needs_weights(run.config) else light_run(run, state=True)
        size = sum(map(len, files.values()))
        if any(".part" in name for name in files) and used + size <= 0.9 * most * largest:
            members |= files
            used += size
    write_archives(out, members, most=most, largest=largest)
    runs = pd.DataFrame([run_row(run) for run in ended] or {"name": []})
    counted = [counted_evaluations(run) for run in ended]
    write_table(out / "runs.csv", runs)
    write_table(out / "evaluations.csv", pd.concat(counted) if counted else pd.DataFrame({"name": []}))


def _worth(run: Run) -> float:
    """Operations spent on a run so far: what is lost where its state does not come along."""
    return expected_cost(run.config, (run.state_steps or [0])[-1])


def _whole(folder: Path) -> Run | None:
    """A run that has ended here, with its weights; None for any other."""
    if not (folder / "result.json").exists():
        return None
    run = load_run(folder)
    return None if run.left_out or not run.checkpoint_steps else run


@contextmanager
def executor_for(device: str, per_device: int, workers: int | None) -> Iterator[Executor]:
    """Streams of the GPUs where runs are trained on one; else processes, or this process for one run at a time."""
    at_once = workers or cores()
    if resolve_device(device).startswith("cuda"):
        with open_executor(per_device=per_device) as executor:
            yield executor
    elif at_once == 1:
        with SideBySide(["cpu"], 1) as executor:
            yield executor
    else:
        with open_executor("local", at_once) as executor:
            yield executor


def main(arguments: list[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--preset", default="paper", help="whose queue: paper, laptop or smoke")
    options.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of the files that travel")
    options.add_argument("--runs", type=Path, help="folder of the runs while they are trained; by default the preset's")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument("--per-device", type=int, default=4, help="runs at a time on a GPU")
    options.add_argument("--workers", type=int, help="runs at a time on CPUs; by default one a core")
    options.add_argument("--max-time", type=parse_duration, help="such as 480 (seconds), 8m or 1h30m")
    options.add_argument("--until", type=float, help="the same, as a moment in seconds since 1970")
    asked = options.parse_args(arguments)
    scale = preset(asked.preset).in_folder(asked.runs)
    if resolve_device("auto") != resolve_device(asked.device):
        scale = scale.on(asked.device, None)
    with (
        terminable(),
        time_limit(asked.max_time),
        limited_until(asked.until),
        executor_for(asked.device, asked.per_device, asked.workers) as executor,
    ):
        print(work(scale, asked.out, executor, committed=scale.name == "paper"))


if __name__ == "__main__":
    main()
