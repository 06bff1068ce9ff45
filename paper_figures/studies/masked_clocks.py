"""Do the two clocks hold in masked diffusion, and how are they offset from those of DiT and GPT?

    python -m twoclocks.paper_figures.studies.masked_clocks --out runs/masked-clocks

MDM-nano on group parity over G, N and seeds, beside the figures' runs of DiT-nano and GPT-nano, whose tables are
committed. Runs that have ended are kept, and the tables are written again after each, so that a call cut short leaves
all that it found. Writes runs.csv, evaluations.csv and provenance.json into results/masked_clocks, and the report made
of them, see `masked_clocks_report`; ``--report-only`` makes the report again.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...empirics import Run, RunConfig, load_run, train
from ...empirics.config import QUICK_MASKED
from ...empirics.statistics.claim_trends import SETTINGS
from ...empirics.sweeps.folders import run_name
from ..shared.clock_tables import curve_table, onset_table
from ..store import write_provenance
from .masked_clocks_report import COMMAND, write_report

RESULTS = Path(__file__).parents[1] / "results" / "masked_clocks"
GROUP_SIZES = (2, 3)
N_TRAIN = (24, 48, 96)
SEEDS = 2
ENOUGH = 24
"""N for each unit of G from which on runs wait for tau_rule: below, it did not come in a first run (G = 2, N = 24)."""
STEPS = 6000
LONG_STEPS = 4000
CURVES = ("loss", "rule_accuracy", "memorization", "novel_valid")


def configs(seeds: Sequence[int] = range(SEEDS)) -> list[RunConfig]:
    """The grid of runs, seed by seed; each ends once both clocks are known, or tau_mem alone where N is too small."""
    return [
        replace(
            QUICK_MASKED,
            rule=f"parity:4x6,G={G}",
            n_train=n_train,
            steps=STEPS,
            seed=seed,
            stop_when="both" if n_train >= ENOUGH * G else "memorized",
        )
        for seed, n_train, G in itertools.product(seeds, N_TRAIN, GROUP_SIZES)
    ]


def long_run() -> RunConfig:
    """The run whose loss is followed to its floor: G = 3 at the quick GPT's N."""
    return replace(QUICK_MASKED, rule="parity:4x6,G=3", n_train=256, steps=LONG_STEPS)


def compute(out: Path, results: Path, wanted: Sequence[RunConfig]) -> None:
    """Train what is missing of the wanted runs under `out`, one by one, and write the tables after each."""
    for config in wanted:
        train(config, out / run_name(config), resume=True)
        write_tables(out, results)


def write_tables(out: Path, results: Path) -> None:
    """The tables of all runs of the grid that have ended under `out`."""
    known = [config.to_dict() for config in (long_run(), *configs())]
    runs = [run for run in _ended(out) if run.config.to_dict() in known]
    if not runs:
        return
    results.mkdir(parents=True, exist_ok=True)
    order = ["architecture", "model", "rule", "n_train", "seed"]
    table = onset_table(runs, fields=tuple(SETTINGS))
    floors = [run.floors for run in runs]
    last = [float(run.metrics["loss"].iloc[-1]) for run in runs]
    table = table.assign(
        n_eval=[run.config.n_eval for run in runs],
        null=[run.null for run in runs],
        last_loss=last,
        floor_empirical=[floor["empirical"] for floor in floors],
        floor_population=[floor["population"] for floor in floors],
        seconds=[float(run.result["seconds"]) for run in runs],
    )
    table.sort_values(order).to_csv(results / "runs.csv", index=False)
    curve_table(runs, CURVES).sort_values([*order, "step"], kind="stable").to_csv(
        results / "evaluations.csv", index=False
    )
    write_provenance(results, runs, COMMAND)


def _ended(out: Path) -> list[Run]:
    folders = sorted(path.parent for path in out.glob("*/result.json"))
    return [load_run(folder) for folder in folders]


def main() -> None:
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--out", type=Path, default=Path("runs/masked-clocks"), help="folder of the runs")
    options.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)), help="train these seeds alone")
    options.add_argument("--report-only", action="store_true", help="only make the report again, from committed data")
    asked = options.parse_args()
    if not asked.report_only:
        compute(asked.out, RESULTS, [*configs(asked.seeds), long_run()])
    write_report(RESULTS)


if __name__ == "__main__":
    main()
