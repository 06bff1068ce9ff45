"""Do the two clocks hold in masked diffusion, and how are they offset from those of DiT and GPT?

    python -m twoclocks.paper_figures.studies.masked_clocks

MDM-nano on group parity over G, N and seeds, beside the figures' runs of DiT-nano and GPT-nano, whose tables are
committed. Runs that have ended are kept in runs/masked-clocks, so a second call continues. Writes runs.csv,
evaluations.csv and provenance.json into results/masked_clocks, and the report made of them, see `masked_clocks_report`;
``--report-only`` makes the report again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ...empirics import Run, RunConfig, train
from ...empirics.config import QUICK_MASKED
from ...empirics.statistics.claim_trends import SETTINGS
from ...empirics.sweeps.folders import run_name
from ..shared.clock_tables import IDENTITY, curve_table, onset_table
from .command import Measured, run_study
from .masked_clocks_report import COMMAND, write_report

RESULTS = Path(__file__).parents[1] / "results" / "masked_clocks"
RUNS = Path("runs/masked-clocks")
CELLS = ((2, 24, 0), (2, 24, 1), (3, 24, 0), (2, 48, 0), (2, 48, 1), (3, 48, 0))
"""G, N and seed of each run that ends by its clocks."""
STEPS = 6000
ENOUGH = 24
"""N for each unit of G from which on runs wait for tau_rule: below, it did not come in a first run (G = 2, N = 24)."""
LONG_STEPS = 2400
"""Of the run at G = 3 and the quick GPT's N, which goes on."""
UNTIL_COPIED = replace(QUICK_MASKED, steps=6000, schedule="cosine", eval_ratio=1.2)
"""The quick preset's run until its training loss is at the entropy of the training set."""
CURVES = ("loss", "rule_accuracy", "memorization", "novel_valid")


def configs() -> list[RunConfig]:
    """The runs: each ends once both clocks are known, or tau_mem alone where N is too small; and the two long ones."""
    grid = [
        replace(
            QUICK_MASKED,
            rule=f"parity:4x6,G={G}",
            n_train=n_train,
            steps=STEPS,
            seed=seed,
            stop_when="both" if n_train >= ENOUGH * G else "memorized",
        )
        for G, n_train, seed in CELLS
    ]
    return [*grid, UNTIL_COPIED, replace(QUICK_MASKED, rule="parity:4x6,G=3", n_train=256, steps=LONG_STEPS)]


def measure() -> Measured:
    """The runs, trained where they are missing, and their tables."""
    runs = [train(config, RUNS / run_name(config), resume=True) for config in configs()]
    return runs, tables(runs)


def tables(runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """``runs``, a row per run with its clocks, last loss and floors; ``evaluations``, a row per evaluation."""
    floors = [run.floors for run in runs]
    table = onset_table(runs, fields=tuple(SETTINGS)).assign(
        n_eval=[run.config.n_eval for run in runs],
        null=[run.null for run in runs],
        last_loss=[float(run.metrics["loss"].iloc[-1]) for run in runs],
        floor_empirical=[floor["empirical"] for floor in floors],
        floor_population=[floor["population"] for floor in floors],
        seconds=[float(run.result["seconds"]) for run in runs],
    )
    order = list(IDENTITY)
    curves = curve_table(runs, CURVES).sort_values([*order, "step"], kind="stable")
    return {"runs": table.sort_values(order), "evaluations": curves}


if __name__ == "__main__":
    run_study(__doc__, RESULTS, COMMAND, measure, write_report)
