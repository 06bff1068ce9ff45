"""A real sweep of GPT-nano on group parity, and the verdict on the claims that it can test (C1, C3, C4, C5).

    python -m twoclocks.paper_figures.studies.gpt_claims --out runs/gpt-claims

60 runs: G in {2, 3, 4, 6}, N in {64, .., 1024}, 3 seeds. Runs that have ended are kept, so a second call continues.
Writes into results/gpt_claims beside this file the data: runs.csv (a row per run), evaluations.csv (what every
evaluation generated, counted), diversity.csv (the diversity control, a row per run) and provenance.json; and the report
made of them, see `gpt_claims_report`. ``--report-only`` makes the report again from the committed data.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from ...empirics import Run, RunConfig, diversity, ended_runs, load_runs, sweep
from ...empirics.interrupts import terminable
from .gpt_claims_report import write_report

RESULTS = Path(__file__).parents[1] / "results" / "gpt_claims"
GROUP_SIZES = (2, 3, 4, 6)
N_TRAIN = (64, 128, 256, 512, 1024)
RUN = ("rule", "model", "n_train", "seed")


def configs(seeds: int = 3) -> list[RunConfig]:
    """The grid of runs; each ends once both clocks are known."""
    return [
        RunConfig(
            rule=f"parity:6x6,G={G}",
            model="gpt-nano",
            n_train=n_train,
            steps=3000,
            batch_size=128,
            lr=2e-3,
            warmup=20,
            n_eval=512,
            eval_ratio=1.15,
            stop_when="both",
            checkpoint_ratio=1e6,
            seed=seed,
        )
        for seed, n_train, G in itertools.product(range(seeds), N_TRAIN, GROUP_SIZES)
    ]


def compute(out: Path, results: Path, seeds: int = 3) -> None:
    """Train what is missing under `out`, and write the data of the report."""
    named = {f"{c.rule.partition(',')[2]}-N={c.n_train}-seed={c.seed}": c for c in configs(seeds)}
    runs = ended_runs(sweep(named, out))
    table = load_runs(out).drop(columns=["run", "path"])
    table.to_csv(results / "runs.csv", index=False)
    pd.concat([_named(run, run.state_counts) for run in runs]).to_csv(results / "evaluations.csv", index=False)
    pd.concat([_named(run, most_novel_diversity(run)) for run in runs]).to_csv(results / "diversity.csv", index=False)
    facts = {"runs": len(table), "training_seconds": round(float(table["seconds"].sum()))}
    facts |= runs[-1].result["environment"]
    (results / "provenance.json").write_text(json.dumps(facts, indent=1) + "\n")


def most_novel_diversity(run: Run) -> pd.DataFrame:
    """The diversity control at the evaluation with the most novel valid generations: one row, step and `Diversity`."""
    counts = run.state_counts
    step = int(counts["step"].iloc[counts["novel_valid"].argmax()])
    generator = torch.Generator().manual_seed(run.config.seed)
    return pd.DataFrame(
        [{"step": step, **asdict(diversity(run.samples(step).symbols, run.rule, run.train_set, generator=generator))}]
    )


def _named(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns in front that say which run it is of."""
    return pd.concat([pd.DataFrame([{k: getattr(run.config, k) for k in RUN}] * len(table)), table], axis=1)


def main() -> None:
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--out", type=Path, default=Path("runs/gpt-claims"), help="folder of the runs")
    options.add_argument("--report-only", action="store_true", help="only make the report again, from committed data")
    asked = options.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not asked.report_only:
        with terminable():
            compute(asked.out, RESULTS)
    write_report(RESULTS)


if __name__ == "__main__":
    main()
