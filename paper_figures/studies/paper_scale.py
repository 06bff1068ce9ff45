"""The paper's grid on two cores: GPT-mini on 6x6 parity, over G, N and seeds, until it has copied in earnest.

    python -m twoclocks.paper_figures.studies.paper_scale --runs runs/paper-scale

48 runs: G in {2, 3, 4, 6}, N in {512, .., 4096}, 3 seeds, seed by seed; some 15 core-hours with AVX512-BF16. Where
bf16 is emulated GPT-micro is trained in place of GPT-mini, and kept apart by its name. The command may be stopped at
any moment and called again, on the same machine or another: runs whose evaluations are committed in results/paper_scale
are not trained again. Each call adds to that folder what has ended: runs.csv (a row per run, with its configuration and
where it was trained) and evaluations.csv (what each evaluation generated, counted).
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import pandas as pd

from ...empirics import Run, RunConfig, load_run, sweep
from ...empirics.hardware import has_native_bf16
from ..store import RESULTS as COMMITTED
from ..store import changed_fields

RESULTS = COMMITTED / "paper_scale"
GROUP_SIZES = (2, 3, 4, 6)
N_TRAIN = (512, 1024, 2048, 4096)


def configs(model: str, seeds: int = 3) -> dict[str, RunConfig]:
    """The grid of runs of a model by name, in the order in which they are trained."""
    return {
        f"{model}-G={G}-N={n_train}-seed={seed}": RunConfig(
            rule=f"parity:6x6,G={G}",
            model=model,
            n_train=n_train,
            steps=6000,
            batch_size=128,
            lr=3e-4,
            precision="bf16" if model == "gpt-mini" else "auto",
            n_eval=1024,
            eval_first=20,
            eval_ratio=1.15,
            checkpoint_ratio=1e6,
            stop_when="copied",
            seed=seed,
        )
        for seed, n_train, G in itertools.product(range(seeds), N_TRAIN, GROUP_SIZES)
    }


def read_committed(folder: Path = RESULTS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The committed tables, runs and evaluations; empty ones where nothing is committed yet."""
    tables = [folder / name for name in ("runs.csv", "evaluations.csv")]
    if not all(path.exists() for path in tables):
        return pd.DataFrame({"name": []}), pd.DataFrame({"name": []})
    runs, evaluations = (pd.read_csv(path) for path in tables)
    return runs, evaluations


def collect(trained: Path, folder: Path = RESULTS) -> int:
    """Add the runs that have ended under `trained` to the committed tables; how many there are now."""
    runs, evaluations = read_committed(folder)
    known = set(runs["name"])
    for name, config in {**configs("gpt-mini"), **configs("gpt-micro")}.items():
        path = trained / name
        if name in known or not (path / "result.json").exists():
            continue
        run = load_run(path)
        if run.config != config:
            raise ValueError(f"{path} holds a run of another configuration; choose another --runs")
        runs = pd.concat([runs, pd.DataFrame([run_row(name, run)])], ignore_index=True)
        losses = run.metrics[["step", "loss"]].round({"loss": 6})
        counted = run.state_counts.merge(losses, on="step")
        counted.insert(0, "name", name)
        evaluations = pd.concat([evaluations, counted], ignore_index=True)
    folder.mkdir(parents=True, exist_ok=True)
    runs.to_csv(folder / "runs.csv", index=False)
    evaluations.to_csv(folder / "evaluations.csv", index=False)
    return len(runs)


def run_row(name: str, run: Run) -> dict[str, object]:
    """What is kept of a run besides its evaluations."""
    result = run.result
    return {
        "name": name,
        **{field: getattr(run.config, field) for field in ("model", "rule", "n_train", "seed", "n_eval")},
        **{field: result[field] for field in ("status", "steps", "chance", "seconds")},
        "environment": json.dumps(result["environment"]),
        "config": json.dumps(changed_fields(run.config)),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--runs", type=Path, default=Path("runs/paper-scale"), help="folder of the training runs")
    options.add_argument("--collect-only", action="store_true", help="only add to the tables what has ended")
    asked = options.parse_args()
    if not asked.collect_only:
        committed = set(read_committed()[0]["name"])
        grid = configs("gpt-mini" if has_native_bf16() else "gpt-micro")
        sweep({name: config for name, config in grid.items() if name not in committed}, asked.runs)
    print(f"{collect(asked.runs)} runs in {RESULTS}")


if __name__ == "__main__":
    main()
