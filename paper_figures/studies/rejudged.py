"""The committed learning curves judged again by the criteria of copying of today; runs without one are trained again.

    python -m twoclocks.paper_figures.studies.rejudged --max-time 2h

Runs that were measured before there was a null of copying have clocks by former criteria: tau_mem struck at
significantly more than chance, and tau_rule counted copies. Where their curves are committed, the clocks are found
again; the null needs the training set alone, which rule, N and seed fix. Where onsets alone are committed, runs are
trained again, as far as the time reaches, and are committed with their evaluations in results/laptop_runs. The claims
are judged on the curves too, by three criteria. Writes runs.csv, claims.csv, report.md and provenance.json into
results/rejudged, and today's clocks into the tables of the figures; ``--report-only`` makes the report again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...empirics import RunConfig, find_onsets, sweep
from ...empirics.data import training_set
from ...empirics.runs.run import environment
from ...empirics.statistics.claim_trends import SETTINGS
from ...empirics.statistics.runs_table import architecture
from ...empirics.text_tables import interval_text, markdown_table
from ...theory import NullOfCopying, chance_memorization, null_of_copying
from ...theory import rule as build_rule
from ..catalogue import dissected
from ..claims_table import claims_by_criterion_markdown, evaluate_by_criterion
from ..committed import collect
from ..exhibit import figure_module
from ..presets import preset
from ..shared.judging import CRITERIA, under
from ..shared.scaling_fits import equal_exponents_p, shared_exponent
from ..store import RESULTS as COMMITTED
from ..store import read_data, read_provenance, results_folder
from .command import Measured, run_study

COMMAND = "python -m twoclocks.paper_figures.studies.rejudged"
RESULTS = COMMITTED / "rejudged"
NUMBERED = (4, 8, 9, 28)
"""Figures whose evaluations bear the number of their run."""
VARIED = {22: "encoding", 24: "lr", 25: "weight_decay", 26: "lr", 27: "weight_decay"}
"""Figures whose curves bear the run's identity, with the setting that they vary."""
SETTING = {**VARIED, 23: "encoding"}
"""What the runs of a figure vary beside `KEY`; Figure 23 has those of Figure 22."""
JUDGED = {
    **dict.fromkeys((4, 8, 9, 10, 12, 21, 22, 23, 24, 25, 26, 27, 28), ("runs",)),
    1: ("final",), 2: ("runs", "single"), 7: ("final", "equal_steps"),
}  # fmt: skip
"""Tables of figures whose clocks are judged. Of runs without a committed curve nothing is known; they are counted."""
ONSETS_ONLY = (10, 2, 21)
"""Figures without curves: those of their runs that have none elsewhere are trained again."""
RETRAINED = COMMITTED / "laptop_runs"
"""These runs, light."""
RUNS = Path("runs/rejudged")
"""Where they are trained."""
_OF_CLAIMS = 10
LONG = "dissected"
"""The setting of the one run that is looked into, whose curve is in Figure 2: it has more steps than others of its
key."""
OF_COPYING = ("tau_mem_chance", "tau_mem", "tau_mem_10")
NAMES = ("tau_rule", "tau_rule_all", "tau_mem", "tau_mem_10")
ENDS = [f"{name}_{end}" for name in (*NAMES, "tau_mem_chance") for end in ("lower", "upper")]
LEAST_SIZES = 3
"""N at which a rule must have been trained for its exponent to be compared."""
KEY = ["model", "rule", "n_train", "seed"]


_UNKNOWN = pd.Series({"source": "", "null": np.nan, **{f"{name}_lower": 0.0 for name in (*NAMES, "tau_mem_chance")},
                      **{f"{name}_upper": np.inf for name in (*NAMES, "tau_mem_chance")}})  # fmt: skip
"""Of a run without a curve, as `onset_table` has it of one that diverged before its first evaluation."""


class Curve(NamedTuple):
    """A committed learning curve."""

    source: str
    run: pd.Series  # with KEY and the former clocks
    setting: str  # what sets it apart from other runs of its KEY
    n_eval: int
    metrics: pd.DataFrame  # step, rule_accuracy, memorization


def committed_curves() -> Iterator[Curve]:
    """Every learning curve in the results, of each figure."""
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
    folder = results_folder("laptop", 2)
    run = pd.read_parquet(folder / "single.parquet").iloc[0]
    yield Curve("fig02", run, LONG, int(run["n_eval"]), pd.read_parquet(folder / "curves.parquet"))
    for folder in (COMMITTED / "gpt_claims", RETRAINED):
        yield from _counted_curves(folder)


def _counted_curves(folder: Path) -> Iterator[Curve]:
    """The curves of a folder whose evaluations.csv counts the generations in each state."""
    if not (folder / "evaluations.csv").exists():
        return
    runs, counts = (pd.read_csv(folder / f"{name}.csv") for name in ("runs", "evaluations"))
    total = counts[["novel_valid", "memorized", "violating", "ambiguous"]].sum(axis=1)
    valid = counts["novel_valid"] + counts["memorized"]
    counts = counts.assign(rule_accuracy=valid / total, memorization=counts["memorized"] / total)
    identity = ["name"] if "name" in counts else KEY
    for _, run in runs.iterrows():
        mine = counts[(counts[identity] == run[identity]).all(axis=1)]
        yield Curve(folder.name, run, "", int(run["n_eval"]), mine)


@cache
def _nulls_known() -> dict[tuple[str, int, int], NullOfCopying]:
    """By rule, N and seed, of the training sets in the committed runs.csv."""
    if not (RESULTS / "runs.csv").exists():
        return {}
    table = pd.read_csv(RESULTS / "runs.csv", keep_default_na=False, float_precision="round_trip")
    return {(str(run["rule"]), int(run["n_train"]), int(run["seed"])): _stated_null(run) for _, run in table.iterrows()}


@cache
def null_of(spec: str, n_train: int, seed: int) -> NullOfCopying:
    """The null of copying of a run's training set: as judged before, for to find it takes seconds, or found now."""
    if (spec, n_train, seed) in (known := _nulls_known()):
        return known[spec, n_train, seed]
    built = build_rule(spec)
    return null_of_copying(built, training_set(built, n_train, seed))


def _stated_null(run: pd.Series) -> NullOfCopying:
    return NullOfCopying(float(run["null"]), str(run["rung"]), float(run["null_error"]), {})


def judged(curve: Curve) -> dict[str, object]:
    """One row of runs.csv."""
    run = curve.run
    spec, n_train, seed = str(run["rule"]), int(run["n_train"]), int(run["seed"])
    built = build_rule(spec)
    null = _stated_null(run) if "rung" in run else null_of(spec, n_train, seed)
    chance = chance_memorization(built, n_train)
    curves = curve.metrics[["step", "rule_accuracy", "memorization"]].astype(float).reset_index(drop=True)
    found = find_onsets(curves, chance, built.alphabet, NAMES, null=null.memorization, n_generated=curve.n_eval)
    row = {"source": curve.source, "architecture": architecture(run["model"]), **dict(run[KEY]),
           "setting": curve.setting, "n_eval": curve.n_eval, "last_step": int(curves["step"].iloc[-1]),
           "chance": chance, "null": null.memorization, "rung": null.rung, "null_error": null.standard_error,
           "most_copied": float(curves["memorization"].max())}  # fmt: skip
    for name, onset in found.items():
        row |= {f"{name}_lower": onset.lower, f"{name}_upper": onset.upper}
    judged_before = "tau_mem_chance_lower" in run  # then tau_mem is by today's criterion
    former = "tau_mem_chance" if judged_before else "tau_mem"
    return row | {f"tau_mem_chance_{end}": float(run[f"{former}_{end}"]) for end in ("lower", "upper")}


def distinct_curves() -> list[Curve]:
    """The committed curves; one that two figures show comes once, under the first."""
    curves: dict[tuple[object, ...], Curve] = {}
    for curve in committed_curves():
        shared = "laptop" if curve.source != "gpt_claims" else curve.source
        curves.setdefault((shared, *curve.run[KEY], curve.setting), curve)
    return list(curves.values())


def measure() -> Measured:
    """What has no curve trained again, as far as the time reaches, and all curves judged."""
    known = {(*curve.run[KEY], curve.setting) for curve in distinct_curves() if curve.source != "gpt_claims"}
    again = [config for config in without_curve() if (*_key(config), "") not in known]
    if again:
        sweep(again, RUNS)
        collect(RUNS, RETRAINED)
    table = pd.DataFrame([judged(curve) for curve in distinct_curves()])
    judge_figures(table)
    return [], {"runs": table, "claims": judged_claims(table)}


def without_curve() -> list[RunConfig]:
    """The runs of the figures of `ONSETS_ONLY`, but for the one that is looked into."""
    scale = preset("laptop")
    looked_into = dissected(scale, scale.dit)
    configs = [config for number in ONSETS_ONLY for config in figure_module(number).configs(scale)]
    return [config for config in dict.fromkeys(configs) if config not in looked_into]


def _key(config: RunConfig) -> tuple[object, ...]:
    return tuple(getattr(config, name) for name in KEY)


def judge_figures(table: pd.DataFrame) -> None:
    """Put today's clocks into the tables of figures in place of the former ones, which are kept beside them.

    Args:
        table: runs.csv.
    """
    found, missing = _by_key(table), left(table)
    for number, names in JUDGED.items():
        folder = results_folder("laptop", number)
        without, _ = missing.get(number, (0, 0))
        tables = read_data(folder)
        for name in names:
            rows = [found.get(key, _UNKNOWN) for key in _keys(number, name, tables[name])]
            new = pd.DataFrame(rows).reset_index(drop=True)
            tables[name] = tables[name].assign(**{column: new[column].astype(float) for column in ("null", *ENDS)})
            if (again := new["source"] == RETRAINED.name).any():
                tables[name].loc[again, "last_step"] = new.loc[again, "last_step"].astype(int)
        if derive := getattr(figure_module(number), "derived", None):
            tables |= derive(tables["runs"])
        for name, one in tables.items():
            one.to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")
        record = read_provenance(folder) | {"clocks": {"command": COMMAND, **environment()}, "without_curve": without}
        (folder / "provenance.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _by_key(table: pd.DataFrame) -> dict[tuple[object, ...], pd.Series]:
    """The judged runs of the laptop preset by `KEY` and setting."""
    return {(*row[KEY], row["setting"]): row for _, row in table[table["source"] != "gpt_claims"].iterrows()}


def _keys(number: int, name: str, runs: pd.DataFrame) -> list[tuple[object, ...]]:
    """The same of the runs in a table of a figure."""
    if name == "single":
        return [(*run[KEY], LONG) for _, run in runs.iterrows()]
    field = SETTING.get(number)
    return [(*run[KEY], f"{field}={run[field]}" if field else "") for _, run in runs.iterrows()]


def judged_claims(table: pd.DataFrame) -> pd.DataFrame:
    """C1 to C6 on the runs of Figure 10 that have curves, by each of `CRITERIA`: one row a verdict.

    The 6x6 runs of gpt_claims stopped once they memorized by the former criterion; a run that ends because of what is
    measured would bias a censored fit, so they are left out.
    """
    found, configs = _by_key(table), figure_module(_OF_CLAIMS).configs(preset("laptop"))
    known = [(config, found[key]) for config in configs if (key := (*_key(config), "")) in found]
    settings = pd.DataFrame([{name: getattr(config, name) for name in SETTINGS} for config, _ in known])
    runs = pd.DataFrame([run for _, run in known]).reset_index(drop=True)
    return evaluate_by_criterion(pd.concat([runs, settings], axis=1))


def left(table: pd.DataFrame) -> dict[int, tuple[int, int]]:
    """Of each figure with runs that have no curve: how many these are, and how many runs it has."""
    found, counts = _by_key(table), {}
    for number, names in JUDGED.items():
        tables = read_data(results_folder("laptop", number))
        keys = {key for name in names for key in _keys(number, name, tables[name])}
        if missing := sum(key not in found for key in keys):
            counts[number] = (missing, len(keys))
    return counts


def exponents(table: pd.DataFrame) -> list[list[str]]:
    """The exponent of tau_mem in N by each criterion, where curves of one rule reach over four N."""
    rows = []
    for (source, model), part in table[table["setting"] == ""].groupby(["source", "model"], sort=False):
        for spec, mine in part.groupby("rule", sort=False):
            copied = mine.groupby("n_train")["most_copied"].min()
            if len(copied) < 4 or copied.min() < 0.2:  # a curve that ends early censors by what it is to measure
                continue
            rows.append(
                [
                    str(source),
                    str(model),
                    str(spec),
                    *(interval_text(*shared_exponent(mine, onset)) for onset in OF_COPYING),
                ]
            )
    return rows


def equal_exponents(table: pd.DataFrame) -> dict[str, float]:
    """p that the rules of DiT share one exponent of copying in N, by each criterion; rules with G from 2 to 6."""
    runs = table[(table["setting"] == "") & (table["model"] == "dit-nano") & table["rule"].str.startswith("parity:")]
    sizes = runs.groupby("rule")["n_train"].nunique()
    runs = runs[runs["rule"].isin(sizes.index[sizes >= LEAST_SIZES])]
    return {name: equal_exponents_p(under({"runs": runs}, name)["runs"], "n_train", "rule") for name in CRITERIA}


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
    sections = [
        "# The committed curves judged again",
        f"`{COMMAND}`: {len(table)} runs whose learning curves are committed, under the criteria of today. "
        "`tau_mem_chance` is the former tau_mem, as committed; `tau_rule_all` is the former tau_rule, with copies. The "
        "runs of the source laptop_runs were trained again; their configurations and machines are in "
        "`results/laptop_runs/runs.csv`.",
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
        "The claims on the runs of Figure 10, judged by the headline criterion and at two others; the last column says "
        "whether the verdict depends on the criterion:",
        claims_by_criterion_markdown(pd.read_csv(folder / "claims.csv")),
        "Do the rules' exponents differ in DiT? p that all rules with three N or more share one, by each criterion:",
        markdown_table(
            ["criterion", "p"],
            [[f"{name}: {CRITERIA[name]}", f"{p:.2g}"] for name, p in equal_exponents(table).items()],
        ),
        *_left_text(table),
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")


def _left_text(table: pd.DataFrame) -> list[str]:
    counts = left(table)
    if not counts:
        return []
    each = "; ".join(f"Figure {number}, {missing} of {runs}" for number, (missing, runs) in counts.items())
    return [f"Runs without a curve, which are still to be trained again: {each}. They are left out of these figures."]


if __name__ == "__main__":
    run_study(__doc__, RESULTS, COMMAND, measure, write_report)
