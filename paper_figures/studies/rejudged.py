"""The committed learning curves judged again by the criteria of copying of today, without training.

    python -m twoclocks.paper_figures.studies.rejudged

Runs that were measured before there was a null of copying have clocks by former criteria: tau_mem struck at
significantly more than chance, and tau_rule counted copies. Where their curves are committed, the clocks are found
again; the null needs the training set alone, which rule, N and seed fix. Where onsets alone are committed, runs must be
trained again; the report lists them. Writes runs.csv, report.md and provenance.json into results/rejudged;
``--report-only`` makes the report again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from ...empirics import RunConfig, find_onsets, fit_scaling
from ...empirics.data import training_set
from ...empirics.statistics.runs_table import architecture
from ...empirics.text_tables import interval_text, markdown_table
from ...theory import NullOfCopying, chance_memorization, null_of_copying
from ...theory import rule as build_rule
from ..store import RESULTS as COMMITTED
from ..store import read_provenance, results_folder
from .command import Measured, run_study

COMMAND = "python -m twoclocks.paper_figures.studies.rejudged"
RESULTS = COMMITTED / "rejudged"
NUMBERED = (4, 8, 9, 28)
"""Figures whose evaluations bear the number of their run."""
VARIED = {22: "encoding", 24: "lr", 25: "weight_decay", 26: "lr", 27: "weight_decay"}
"""Figures whose curves bear the run's identity, with the setting that they vary."""
ONSETS_ONLY = (
    "laptop/fig01/final.parquet", "laptop/fig02/runs.parquet", "laptop/fig07/final.parquet",
    "laptop/fig10/runs.parquet", "laptop/fig12/runs.parquet", "laptop/fig21/runs.parquet", "laptop/fig23/runs.parquet",
    "gain_of_copying/runs.csv", "grid_size/runs.csv", "memorization_exponent/runs.csv", "network_size/runs.csv",
)  # fmt: skip
"""Committed tables of onsets without curves."""
OF_COPYING = ("tau_mem_chance", "tau_mem", "tau_mem_10")
NAMES = ("tau_rule", "tau_rule_all", "tau_mem", "tau_mem_10")
KEY = ["model", "rule", "n_train", "seed"]


class Curve(NamedTuple):
    """A committed learning curve."""

    source: str
    run: pd.Series  # with KEY and the former clocks
    setting: str  # what sets it apart from other runs of its KEY
    n_eval: int
    metrics: pd.DataFrame  # step, rule_accuracy, memorization


def committed_curves() -> Iterator[Curve]:
    """Every learning curve in the results; one that two figures share comes once."""
    for number in NUMBERED:
        tables = {name: pd.read_parquet(results_folder("laptop", number) / f"{name}.parquet")
                  for name in ("runs", "evaluations")}  # fmt: skip
        for _, run in tables["runs"].iterrows():
            mine = tables["evaluations"][tables["evaluations"]["run"] == run["run"]]
            yield Curve(f"fig{number:02d}", run, "", int(run["n_eval"]), mine)
    for number, field in VARIED.items():
        folder = results_folder("laptop", number)
        (n_eval,) = {c.get("n_eval", RunConfig().n_eval) for c in read_provenance(folder)["configs"]}
        runs, curves = (pd.read_parquet(folder / f"{name}.parquet") for name in ("runs", "curves"))
        grouped = dict(list(curves.groupby([*KEY, field], sort=False)))
        for _, run in runs.iterrows():
            yield Curve(f"fig{number:02d}", run, f"{field}={run[field]}", n_eval, grouped[(*run[KEY], run[field])])
    folder = COMMITTED / "gpt_claims"
    runs, counts = (pd.read_csv(folder / f"{name}.csv") for name in ("runs", "evaluations"))
    valid = counts["novel_valid"] + counts["memorized"]
    total = valid + counts["violating"] + counts["ambiguous"]
    counts = counts.assign(rule_accuracy=valid / total, memorization=counts["memorized"] / total)
    for _, run in runs.iterrows():
        mine = counts[(counts[KEY] == run[KEY]).all(axis=1)]
        yield Curve("gpt_claims", run, "", int(run["n_eval"]), mine)


@cache
def null_of(spec: str, n_train: int, seed: int) -> NullOfCopying:
    """The null of copying of a run's training set."""
    built = build_rule(spec)
    return null_of_copying(built, training_set(built, n_train, seed))


def judged(curve: Curve) -> dict[str, object]:
    """One row of runs.csv."""
    run = curve.run
    spec, n_train, seed = str(run["rule"]), int(run["n_train"]), int(run["seed"])
    null, built = null_of(spec, n_train, seed), build_rule(spec)
    chance = chance_memorization(built, n_train)
    curves = curve.metrics[["step", "rule_accuracy", "memorization"]].astype(float).reset_index(drop=True)
    found = find_onsets(curves, chance, built.alphabet, NAMES, null=null.memorization, n_generated=curve.n_eval)
    row = {"source": curve.source, "architecture": architecture(run["model"]), **dict(run[KEY]),
           "setting": curve.setting, "n_eval": curve.n_eval, "last_step": int(curves["step"].iloc[-1]),
           "chance": chance, "null": null.memorization, "rung": null.rung, "null_error": null.standard_error,
           "most_copied": float(curves["memorization"].max())}  # fmt: skip
    for name, onset in found.items():
        row |= {f"{name}_lower": onset.lower, f"{name}_upper": onset.upper}
    return row | {f"tau_mem_chance_{end}": run[f"tau_mem_{end}"] for end in ("lower", "upper")}


def measure() -> Measured:
    """All curves judged; a curve that two figures show is judged once, under the first."""
    curves: dict[tuple[object, ...], Curve] = {}
    for curve in committed_curves():
        shared = "laptop" if curve.source != "gpt_claims" else curve.source
        curves.setdefault((shared, *curve.run[KEY], curve.setting), curve)
    return [], {"runs": pd.DataFrame([judged(curve) for curve in curves.values()])}


def to_train_again(table: pd.DataFrame) -> pd.DataFrame:
    """For each committed table of onsets alone: its runs, and how many of them have a judged curve in another table."""
    usual = table[(table["setting"] == "") & (table["source"] != "gpt_claims")]
    known = set(usual[KEY].itertuples(index=False, name=None))
    rows = []
    for name in ONSETS_ONLY:
        path = COMMITTED / name
        runs = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        usual = runs
        for field in ("encoding", "noise_mean", "batch_size", "lr"):  # a setting that the shared runs do not vary
            if field in runs and runs[field].nunique() > 1:  # learning rates differ between models
                usual = usual[usual[field] == usual.groupby("model")[field].transform(lambda v: v.mode().iloc[0])]
        keys = usual[KEY].drop_duplicates().itertuples(index=False, name=None)
        rows.append({"table": name, "runs": len(runs), "judged": sum(key in known for key in keys)})
    return pd.DataFrame(rows)


def exponents(table: pd.DataFrame) -> list[list[str]]:
    """The exponent of tau_mem in N by each criterion, where curves of one rule reach over four N."""
    rows = []
    for (source, model), part in table[table["setting"] == ""].groupby(["source", "model"], sort=False):
        for spec, mine in part.groupby("rule", sort=False):
            copied = mine.groupby("n_train")["most_copied"].min()
            if len(copied) < 4 or copied.min() < 0.2:  # a curve that ends early censors by what it is to measure
                continue
            rows.append([str(source), str(model), str(spec), *(_exponent(mine, onset) for onset in OF_COPYING)])
    return rows


def _exponent(table: pd.DataFrame, onset: str) -> str:
    fit = fit_scaling(table, onset, "n_train", by=(), n_boot=0)
    low, high = cast(tuple[float, float], fit.ci)
    return interval_text(cast(float, fit.exponent), low, high)


def write_report(folder: Path) -> None:
    """report.md from runs.csv and the committed tables."""
    table = pd.read_csv(folder / "runs.csv", keep_default_na=False)
    rows = []
    for (source, kind), part in table.groupby(["source", "architecture"], sort=False):
        seen = {name: np.isfinite(part[f"{name}_upper"]) for name in (*NAMES, "tau_mem_chance")}
        late = seen["tau_rule_all"] & seen["tau_mem_chance"]
        late &= part["tau_rule_all_upper"] >= part["tau_mem_chance_upper"]
        rows.append([source, kind, len(part), *(int(seen[name].sum()) for name in OF_COPYING),
                     int(seen["tau_rule_all"].sum()), int(seen["tau_rule"].sum()), int(late.sum()),
                     f"{part['null'].min():.2g} to {part['null'].max():.2g}",
                     f"{part['most_copied'].min():.2f} to {part['most_copied'].max():.2f}"])  # fmt: skip
    again = to_train_again(table)
    sections = [
        "# The committed curves judged again",
        f"`{COMMAND}`: {len(table)} runs whose learning curves are committed, under the criteria of today. "
        "`tau_mem_chance` is the former tau_mem, as committed; `tau_rule_all` is the former tau_rule, with copies.",
        "Runs in which each clock was seen; in how many the former tau_rule came no earlier than the former tau_mem; "
        "the null of copying; and the largest memorization of a run, which says how far its curve goes:",
        markdown_table(
            [
                "source",
                "model",
                "runs",
                "tau_mem_chance",
                "tau_mem",
                "tau_mem_10",
                "tau_rule_all",
                "tau_rule",
                "rule after copying",
                "null",
                "most copied",
            ],
            [[str(cell) for cell in row] for row in rows],
        ),
        "Exponent of each clock of copying in N (95% profile likelihood), for rules whose every curve reaches 0.2:",
        markdown_table(["source", "model", "rule", *OF_COPYING], exponents(table)),
        "Tables that hold onsets alone: their runs, and how many of them are judged above by a curve of another table. "
        "The others must be trained again, and so must runs that stopped before they copied:",
        markdown_table(
            ["table", "runs", "judged above"],
            [[str(cell) for cell in row] for row in again.itertuples(index=False, name=None)],
        ),
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")


if __name__ == "__main__":
    run_study(__doc__, RESULTS, COMMAND, measure, write_report)
