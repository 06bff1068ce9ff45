"""A real sweep of GPT-nano on group parity, and the verdict on the claims that it can test (C1, C3, C4, C5).

    python -m twoclocks.paper_figures.gpt_claims --out runs/gpt-claims

60 runs: G in {2, 3, 4, 6}, N in {64, .., 1024}, 3 seeds. Runs that have ended are kept, so a second call continues.
Writes runs.csv, report.md, scaling.png and clocks.csv into results/gpt_claims beside this file; ``--report-only`` makes
the report again from the committed runs.csv.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import pandas as pd

from ..empirics import (
    RunConfig,
    claims_to_markdown,
    clocks_by_cell,
    evaluate_claims,
    fit_scaling,
    load_runs,
    permutation_control,
)
from ..empirics.parallel import train_all
from ..empirics.runs import environment
from ..empirics.style import figure_style, new_figure

RESULTS = Path(__file__).parent / "results" / "gpt_claims"
GROUP_SIZES = (2, 3, 4, 6)
N_TRAIN = (64, 128, 256, 512, 1024)


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
            precision="bf16",
            n_eval=512,
            eval_ratio=1.15,
            stop_when="both",
            checkpoint_ratio=1e6,
            seed=seed,
        )
        for seed, n_train, G in itertools.product(range(seeds), N_TRAIN, GROUP_SIZES)
    ]


def compute(out: Path, seeds: int = 3) -> pd.DataFrame:
    """Train what is missing under `out`; the runs table."""
    folders = {out / f"{c.rule.partition(',')[2]}-N={c.n_train}-seed={c.seed}": c for c in configs(seeds)}
    train_all(folders, resume=True)
    return load_runs(out).drop(columns="path")


def report(runs: pd.DataFrame, note: str) -> None:
    """Write report.md, clocks.csv and scaling.png from a runs table."""
    fit = fit_scaling(runs, onset="tau_mem", x="n_train", by=("model", "rule"))
    separate = fit_scaling(runs, onset="tau_mem", x="n_train", by=("model", "rule"), slope="separate")
    control = permutation_control(runs, onset="tau_mem", x="n_train", by=("model", "rule"))
    clocks_by_cell(runs).to_csv(RESULTS / "clocks.csv", index=False)
    sections = [
        f"# Both clocks of GPT-nano on group parity\n\n{note}",
        f"## Claims\n\n{claims_to_markdown(evaluate_claims(runs))}",
        "## tau_mem against N",
        f"{fit.to_markdown()}\n\n```\n{fit.summary()}\n```\n\n![tau_mem against N](scaling.png)",
        f"One exponent for each rule:\n\n{separate.to_markdown()}",
        f"Permutation control: {control}",
    ]
    (RESULTS / "report.md").write_text("\n\n".join(sections) + "\n")
    with figure_style():
        figure, axes = new_figure(1, 1, 6.4, 4.6)
        fit.plot(axes[0][0])
        axes[0][0].set_title("gpt-nano, parity on 6x6 grids, 3 seeds a point")
        figure.savefig(RESULTS / "scaling.png")


def main() -> None:
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--out", type=Path, default=Path("runs/gpt-claims"))
    options.add_argument("--report-only", action="store_true")
    asked = options.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not asked.report_only:
        started = time.monotonic()
        runs = compute(asked.out)
        runs.to_csv(RESULTS / "runs.csv", index=False)
        facts = {"runs": len(runs), "training_seconds": round(float(runs["seconds"].sum())), **environment()}
        facts["wall_seconds_of_the_last_call"] = round(time.monotonic() - started)
        (RESULTS / "provenance.json").write_text(json.dumps(facts, indent=1) + "\n")
    facts = json.loads((RESULTS / "provenance.json").read_text())
    note = (
        f"`python -m twoclocks.paper_figures.gpt_claims`: {facts['runs']} runs, {facts['training_seconds']} s of "
        f"training on one thread each; every config in `runs.csv`; versions `{json.dumps(facts)}`."
    )
    report(pd.read_csv(RESULTS / "runs.csv"), note)


if __name__ == "__main__":
    main()
