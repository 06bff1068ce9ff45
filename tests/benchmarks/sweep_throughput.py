"""Throughput of a sweep with two local workers against one.

    python tests/benchmarks/sweep_throughput.py

Equal runs of GPT-nano, trained anew in every turn; the turns with one and with two workers alternate, so that both see
the same drift of the machine. The workers of a sweep start once; that takes seconds, is measured by a first sweep of
a short run for each and is left out of the throughput, the rate at which runs are done from then on. The ratio is the
median over pairs of turns. Beside it stands what the machine itself allows: the same training steps, without a sweep,
in two bare processes against one, right after each turn. Needs two free cores. Writes results/sweep_throughput.md
beside this file.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from side_by_side import SideBySide

import twoclocks as tc
from twoclocks.empirics.config import QUICK
from twoclocks.empirics.runs.run import environment

RESULTS = Path(__file__).parent / "results"
TARGET = 1.8


def seconds_of(configs: list[tc.RunConfig], workers: int) -> tuple[float, float]:
    """Wall times of a sweep into an empty folder by workers that have started, and of their start before it."""
    short = [replace(config, steps=20) for config in configs[:workers]]
    took = []
    with tempfile.TemporaryDirectory() as folder, tc.empirics.open_executor("local", workers) as executor:
        for part in (short, configs):
            started = time.monotonic()
            table = tc.sweep(part, folder, executor, progress=False)
            took.append(time.monotonic() - started)
            if (table["status"] != "finished").any():
                raise SystemExit(f"a run did not finish:\n{table.to_string()}")
    return took[1], took[0]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=6)
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--turns", type=int, default=3)
    asked = options.parse_args()
    configs = [replace(QUICK["gpt"], steps=asked.steps, seed=seed) for seed in range(asked.runs)]
    turns, starts = [], []
    for turn in range(asked.turns):
        (one, _), (two, start) = seconds_of(configs, 1), seconds_of(configs, 2)
        starts.append(start)
        with SideBySide(configs[0].rule) as pair:
            turns.append((one, two, statistics.median(pair.gain(100) for _ in range(5))))
        print(f"turn {turn + 1}: {one:.1f} s with 1 worker, {two:.1f} s with 2; bare processes x{turns[-1][2]:.2f}")
    ratios = [one / two for one, two, _ in turns]
    ratio = statistics.median(ratios)
    kept = [one / two / bare for one, two, bare in turns]
    lines = [
        "# Throughput of two local workers",
        "",
        f"`python {Path(__file__).name} --runs {asked.runs} --steps {asked.steps} --turns {asked.turns}`:",
        f"{asked.runs} runs of gpt-nano on {configs[0].rule}, N = {configs[0].n_train}, {asked.steps} steps, one",
        f"thread each, by workers that have started; that took two of them "
        f"{statistics.median(starts):.1f} s, once, a run of 20 steps included; versions: "
        f"`{json.dumps(environment())}`",
        "",
        "| turn | 1 worker, s | 2 workers, s | ratio | ratio of bare processes |",
        "|---|---|---|---|---|",
        *(
            f"| {k} | {one:.1f} | {two:.1f} | {one / two:.2f} | {bare:.2f} |"
            for k, (one, two, bare) in enumerate(turns, start=1)
        ),
        "",
        f"Two workers do x{ratio:.2f} as many runs an hour as one (median; {min(ratios):.2f} to {max(ratios):.2f}); "
        f"wanted: x{TARGET} or more: {'met' if ratio >= TARGET else 'missed'}.",
        f"That is {statistics.median(kept):.0%} of what two bare processes do ({min(kept):.0%} to {max(kept):.0%}).",
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sweep_throughput.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
