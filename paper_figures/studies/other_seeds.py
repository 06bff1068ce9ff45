"""The landscape claims on runs that nobody had seen when their tests were settled.

    python -m twoclocks.paper_figures.studies.other_seeds

How Figures 11, 13 to 19 and claims C7 and C8 are judged was settled while looking at the dissected DiT run of seed 0.
Here the same code, unchanged, judges the runs of other seeds, beside the figures' committed data of seed 0. Runs that
have ended are kept; two are probed at a time. Writes claims.csv (a row per seed and claim), answers.csv (a row per seed
and figure), provenance.json (of the other seeds' runs) and report.md into results/other_seeds; ``--report-only`` makes
the report again.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pandas as pd

from ...empirics import Run, RunConfig
from ...empirics.text_tables import interval_text, markdown_table
from .. import fig03, fig11, fig13, fig14, fig15, fig16, fig17, fig18, fig19
from ..catalogue import dissected, trained
from ..presets import Preset, preset
from ..shared.judging import last_word
from ..store import Data, read_data, read_provenance, results_folder
from .command import Measured, run_study

COMMAND = "python -m twoclocks.paper_figures.studies.other_seeds"
RESULTS = Path(__file__).parents[1] / "results" / "other_seeds"
FIGURES_SEED = 0
"""The run that the figures show."""
SEEDS = (1, 2)
FIGURES = {3: fig03, 11: fig11, 13: fig13, 14: fig14, 15: fig15, 16: fig16, 17: fig17, 18: fig18, 19: fig19}
CLAIMS = {"C7": 16, "C8": 15}


def configs(scale: Preset) -> list[RunConfig]:
    """The dissected run of each other seed."""
    return [replace(config, seed=seed) for seed in SEEDS for config in dissected(scale, scale.dit)]


def figure_data(scale: Preset, run: Run) -> dict[int, Data]:
    """The tables of each figure, by its number, of one run."""
    return {number: module.compute(scale, [run]) for number, module in FIGURES.items()}


def judge(seed: int, data: Mapping[int, Data]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the figures and the claims say of one run: a row per figure, and a row per claim.

    Args:
        seed: of the run.
        data: the tables of each of `FIGURES`, by its number.
    """
    answers = [
        {"seed": seed, "figure": number, "measured": module.measured(data[number])}
        for number, module in FIGURES.items()
    ]
    claims = []
    for name, number in CLAIMS.items():
        verdict = FIGURES[number].claim(data[number])
        low, high = verdict.ci or (None, None)
        claims.append({"seed": seed, "claim": name, "estimate": verdict.estimate, "low": low, "high": high,
                       "p_value": verdict.p_value, "verdict": verdict.verdict, "note": verdict.note})  # fmt: skip
    return pd.DataFrame(answers), pd.DataFrame(claims)


def write_report(folder: Path) -> None:
    """report.md from the tables beside it."""
    claims, answers = pd.read_csv(folder / "claims.csv"), pd.read_csv(folder / "answers.csv")
    facts = read_provenance(folder)
    rows = [
        [str(row.claim), str(row.seed), _estimate(row), str(row.verdict), str(row.note)]
        for row in claims.sort_values(["claim", "seed"]).itertuples()
    ]
    words = answers.assign(word=answers["measured"].map(last_word)).pivot(index="figure", columns="seed", values="word")
    table = [[f"Figure {number}", *map(str, row)] for number, row in zip(words.index, words.to_numpy(), strict=True)]
    details = [
        f"### Figure {number}\n\n" + "\n".join(f"- Seed {row.seed}: {row.measured}" for row in part.itertuples())
        for number, part in answers.groupby("figure")
    ]
    sections = [
        "# The landscape claims on other seeds",
        f"`{COMMAND}`: the dissected DiT run of the laptop preset, with other seeds; "
        f"{facts['training_seconds']} s of training on one thread each; configs and versions in `provenance.json`.",
        f"The tests were settled while looking at seed {FIGURES_SEED}, of which the figures show a later training; the "
        "other seeds are judged by the same code, unchanged.",
        markdown_table(["claim", "seed", "estimate (95%)", "verdict", "note"], rows),
        markdown_table(["", *(f"seed {seed}" for seed in words.columns)], table),
        "## In full",
        *details,
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")


def _estimate(row: Any) -> str:
    return "" if pd.isna(row.estimate) else interval_text(row.estimate, row.low, row.high)


def measure() -> Measured:
    """The runs at the laptop preset, judged."""
    scale = preset("laptop")
    runs = list(trained(configs(scale), scale).values())
    shown = {number: read_data(results_folder(scale.name, number)) for number in FIGURES}
    data: dict[int, Mapping[int, Data]] = {FIGURES_SEED: shown}
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        data |= zip(SEEDS, pool.map(figure_data, repeat(scale), runs), strict=True)
    answers, claims = zip(*(judge(seed, of_run) for seed, of_run in data.items()), strict=True)
    return runs, {"answers": pd.concat(answers), "claims": pd.concat(claims)}


if __name__ == "__main__":
    run_study(__doc__, RESULTS, COMMAND, measure, write_report)
