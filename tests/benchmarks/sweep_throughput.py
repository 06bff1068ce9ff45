"""Throughput of a sweep with two local workers against one.

    python tests/benchmarks/sweep_throughput.py

Equal runs of GPT-nano, trained anew in every turn; the turns with one and with two workers alternate, so that both see
the same drift of the machine. A turn is a whole call of `sweep`, the start of its workers included. The ratio is the
median over pairs of turns. Needs two free cores. Writes results/sweep_throughput.md beside this file.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import twoclocks as tc
from twoclocks.empirics.config import QUICK
from twoclocks.empirics.runs import environment

RESULTS = Path(__file__).parent / "results"
TARGET = 1.8


def seconds_of(configs: list[tc.RunConfig], workers: int) -> float:
    """Wall time of a sweep into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        table = tc.sweep(configs, folder, workers=workers, progress=False)
        took = time.monotonic() - started
    if (table["status"] != "finished").any():
        raise SystemExit(f"a run did not finish:\n{table.to_string()}")
    return took


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=8)
    options.add_argument("--steps", type=int, default=800)
    options.add_argument("--turns", type=int, default=5)
    asked = options.parse_args()
    configs = [replace(QUICK["gpt"], steps=asked.steps, seed=seed) for seed in range(asked.runs)]
    pairs = []
    for turn in range(asked.turns):
        pairs.append((seconds_of(configs, 1), seconds_of(configs, 2)))
        print(f"turn {turn + 1}: {pairs[-1][0]:.1f} s with 1 worker, {pairs[-1][1]:.1f} s with 2")
    ratios = [one / two for one, two in pairs]
    ratio = statistics.median(ratios)
    lines = [
        "# Throughput of two local workers",
        "",
        f"`python {Path(__file__).name} --runs {asked.runs} --steps {asked.steps} --turns {asked.turns}`:",
        f"{asked.runs} runs of gpt-nano on {configs[0].rule}, N = {configs[0].n_train}, {asked.steps} steps, one",
        f"thread each; a turn is a whole call of `sweep`, the start of its workers included; versions: "
        f"`{json.dumps(environment())}`",
        "",
        "| turn | 1 worker, s | 2 workers, s | ratio |",
        "|---|---|---|---|",
        *(f"| {k} | {one:.1f} | {two:.1f} | {one / two:.2f} |" for k, (one, two) in enumerate(pairs, start=1)),
        "",
        f"Two workers do x{ratio:.2f} as many runs an hour as one (median; {min(ratios):.2f} to {max(ratios):.2f}); "
        f"wanted: x{TARGET} or more: {'met' if ratio >= TARGET else 'missed'}.",
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sweep_throughput.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
