"""The paper's grid on two cores: GPT-mini on 6x6 parity, over G, N and seeds, until it has copied in earnest.

    python -m twoclocks.paper_figures.studies.paper_scale --max-time 8h

48 runs: G in {2, 3, 4, 6}, N in {512, .., 4096}, 3 seeds, smallest N first; some 15 core-hours with AVX512-BF16. Where
bf16 is emulated GPT-micro is trained in place of GPT-mini. They are the first stage of the paper's queue, and the same
runs in the same folder. The command may be stopped at any moment and called again, on the same machine or another: runs
that are committed in results/paper_scale are not trained again. Each call adds to that folder what has ended: light
runs, runs.csv (a row per run, with its clocks, its configuration and where it was trained) and evaluations.csv (what
each evaluation generated, counted).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ...empirics import RunConfig, sweep
from ...empirics.hardware import has_native_bf16
from ...empirics.interrupts import terminable
from ...empirics.sweeps.folders import run_name
from ...empirics.time_limit import parse_duration, time_limit
from ..catalogue import parity
from ..committed import SCALE, bring, collect
from ..exhibit import FIGURES, Exhibit, Name, figure_module
from ..figures import OUTPUT, draw, measure_existing
from ..gallery import write_gallery
from ..presets import preset
from ..store import RESULTS, existing_runs, results_folder
from .paper_scale_report import write_report

LEAST_RUNS = 4
"""A figure of fewer shows nothing."""


def configs(model: str, seeds: int = 3) -> dict[str, RunConfig]:
    """The grid of runs of a model by the names of their folders, in the order in which they are trained."""
    scale = preset("paper")
    grid = parity(scale, scale.gpt, scale.group_sizes, scale.gpt.n_train, [model], seeds)
    if model != "gpt-mini":
        grid = [replace(config, precision="auto") for config in grid]
    return {run_name(config): config for config in grid}


def main() -> None:
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    runs = preset("paper").runs
    options.add_argument("--runs", type=Path, default=runs, help=f"folder of the training runs; by default {runs}")
    options.add_argument("--collect-only", action="store_true", help="only add to the tables what has ended")
    options.add_argument("--max-time", type=parse_duration, help="end after so long, such as 8m; the same call goes on")
    asked = options.parse_args()
    bring(asked.runs)
    if not asked.collect_only:
        grid = configs("gpt-mini" if has_native_bf16() else "gpt-micro")
        with terminable(), time_limit(asked.max_time):
            sweep(sorted(grid.values(), key=lambda config: config.n_train), asked.runs, in_order=True)
    print(f"{collect(asked.runs)} runs in {SCALE}")
    write_report(SCALE, len(configs("gpt-mini")))
    draw_figures(asked.runs)
    write_gallery()


def draw_figures(runs: Path) -> None:
    """The tables of the paper's figures at its own scale, and the figures: those with `LEAST_RUNS` runs or more."""
    scale = preset("paper").in_folder(runs)
    modules: dict[Name, Exhibit] = {
        number: module
        for number, module in ((number, figure_module(number)) for number in FIGURES)
        if len(existing_runs(module.configs(scale), runs)) >= LEAST_RUNS
    }
    for number, said in measure_existing(modules, scale, RESULTS).items():
        print(f"figure {number}: {said}")
    measured = [n for n in FIGURES if any(results_folder(scale.name, n).glob("*.parquet"))]
    draw(measured, scale.name, OUTPUT / scale.name)


if __name__ == "__main__":
    main()
