"""What a report says of a runs table: verdicts and scaling fits, or why they are undecided; never an exception."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..onsets import CLOCKS, DATA_CLOCKS, Onset
from ..runs.reading import config_kinds
from ..statistics.claims import CLAIMS, STATEMENTS, ClaimVerdict, evaluate_claims
from ..statistics.runs_table import clocks_by_cell, rule_complexity
from ..statistics.scaling import ScalingFit, fit_scaling

IDENTITY = ("rule", "model", "n_train", "seed")
FOLDER = "folder"
"""Column of the runs of several folders: which one a run comes from. Runs of different folders are never pooled."""

NOT_TESTED = {
    "C6": "not tested here; the tables below show the clocks of both",
    "C7": "this needs probes of the weights, not the runs table",
    "C8": "this needs DSM losses of the weights, not the runs table",
}
"""Claims that no runs table decides, and why."""

_MOST_SETTINGS = 12
_MOST_OF_DATA = 20
_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Scaling:
    """A scaling law to fit, and its fit.

    Attributes:
        onset, x: the clock, and what it scales with.
        by: columns that define the groups.
        fit: with one exponent for all groups; None when undecided.
        groups: each group fitted alone, a row each: the `by` columns, n_runs, n_censored, exponent, prefactor (steps)
            and sigma with 95% profile intervals (_low, _high), NaN where the note says why it is undecided.
        note: why the fit is undecided, or what was left out.
    """

    onset: str
    x: str
    by: tuple[str, ...]
    fit: ScalingFit | None
    groups: pd.DataFrame
    note: str


@dataclass(frozen=True)
class Findings:
    """Verdicts and fits of the runs of one setting.

    Attributes:
        setting: what sets these runs apart from runs of the same rule, model, N and seed; empty when nothing does.
        runs: those that were tested.
        claims: verdicts on `CLAIMS`, each decided or with the reason why not.
        scalings: fits, each decided or with the reason why not.
        cells: both clocks of each (rule, model, N), as `clocks_by_cell`; None when there are too few seeds.
    """

    setting: str
    runs: pd.DataFrame
    claims: list[ClaimVerdict]
    scalings: list[Scaling]
    cells: pd.DataFrame | None


def find(runs: pd.DataFrame) -> tuple[list[Findings], list[str]]:
    """Findings for each setting of the runs that ended without diverging, and notes on runs that were left out.

    Args:
        runs: as `RunsFolder.runs`, with index values that name them.
    """
    notes = []
    table = runs[runs["status"].isin(["finished", "stopped"])]
    of_data = table["data"].notna()
    notes += data_notes(table[of_data])
    table = table[~of_data]
    known = ~((table["tau_rule_lower"] == 0) & np.isinf(table["tau_rule_upper"]))
    known &= ~((table["tau_mem_lower"] == 0) & np.isinf(table["tau_mem_upper"]))
    if not known.all():
        notes.append(f"Runs left out of the tests, ended before a clock could be told: {int((~known).sum())}")
        table = table[known]
    settings, repeats = _settings(table)
    if repeats:
        notes.append(f"Runs left out of the tests, with the configuration of another run: {repeats}")
    if len(settings) > _MOST_SETTINGS:
        more = len(settings) - _MOST_SETTINGS
        notes.append(f"Settings not tested, those with the fewest runs; make a report of their folders alone: {more}")
    found = []
    for setting, part in settings[:_MOST_SETTINGS]:
        named = part.assign(rule=_plain(part["rule"]), model=_plain(part["model"]))
        found.append(Findings(setting, named, _claims(named), _scalings(named), _cells(named)))
    return found, notes


def data_notes(runs: pd.DataFrame) -> list[str]:
    """The clocks of runs on data of one's own, which claims on rules do not test: one note a run, a few of many."""
    if runs.empty:
        return []

    def onset(row: Mapping[Any, Any], clock: str) -> str:
        return str(Onset(*(row[f"{clock}_{part}"] for part in ("step", "lower", "upper", "censored"))))

    notes = [
        f"Runs on data, which have no tau_rule but tau_best, the step with the least held-out loss: {len(runs)}; in "
        "clocks.csv all of them"
    ]
    for row in runs.head(_MOST_OF_DATA).to_dict("records"):
        clocks = ", ".join(f"{clock} {onset(row, clock)}" for clock in DATA_CLOCKS)
        run = f"{row['run']}: {row['model']} on {row['rule']}, N = {row['n_train']}, chance {row['chance']:.2g}"
        notes.append(f"{run}: {clocks} steps")
    return notes


def group_size(spec: str) -> float:
    """G of a parity rule; NaN for other rules."""
    try:
        return float(rule_complexity(spec))
    except ValueError:
        return np.nan


def x_values(runs: pd.DataFrame, x: str) -> pd.Series:
    """What an onset is held against in each run: n_train, or G, the group size, NaN where a rule has none."""
    return runs[x].astype(float) if x in runs else runs["rule"].map(group_size)


def differing_fields(runs: pd.DataFrame) -> list[str]:
    """The RunConfig fields, besides rule, model, n_train and seed, in which runs differ; the folder before them."""
    fields = [name for name in (FOLDER, *config_kinds()) if name in runs and name not in IDENTITY]
    return [name for name in fields if runs[name].nunique(dropna=False) > 1]


def setting_fields(runs: pd.DataFrame) -> list[str]:
    """The RunConfig fields in which runs of one rule, model, N and seed differ; the folder, where there are several."""
    several = [FOLDER] if FOLDER in runs and runs[FOLDER].nunique() > 1 else []
    identity = [*IDENTITY, *several]
    twins = runs[runs.duplicated(identity, keep=False)]
    if twins.empty:
        return several
    cells = twins.groupby(identity, sort=False)
    return several + [
        name for name in differing_fields(twins) if name != FOLDER and cells[name].nunique(dropna=False).max() > 1
    ]


def _settings(table: pd.DataFrame) -> tuple[list[tuple[str, pd.DataFrame]], int]:
    """Runs apart by `setting_fields`, the largest part first; and how many repeat another run."""
    fields = setting_fields(table)
    distinct = table.drop_duplicates([*IDENTITY, *fields])
    repeats = len(table) - len(distinct)
    if not fields:
        return ([("", distinct)] if len(distinct) else []), repeats
    parts = [
        (", ".join(f"{name} = {value}" for name, value in zip(fields, key, strict=True)), part)
        for key, part in distinct.groupby(fields, dropna=False, sort=True)
    ]
    return sorted(parts, key=lambda part: -len(part[1])), repeats


def _plain(names: pd.Series) -> pd.Series:
    """Names without characters that mean something to Markdown or HTML, still distinct."""
    plain: dict[str, str] = {}
    for name in sorted(names.unique()):
        text = re.sub(r"[^\w .,:=+/()-]", "?", name)
        plain[name] = text if text not in plain.values() else f"{text} #{len(plain) + 1}"
    return names.map(plain)


def _claims(table: pd.DataFrame) -> list[ClaimVerdict]:
    try:
        return evaluate_claims(table)
    except ValueError as fault:
        reason = str(fault)
        return [
            ClaimVerdict(name, STATEMENTS[name], None, None, "", None, "undecided", len(table), reason)
            for name in CLAIMS
        ]


def _scalings(table: pd.DataFrame) -> list[Scaling]:
    scalings = [_scaling(table, onset, "n_train", ("model", "rule")) for onset in ("tau_mem", "tau_rule")]
    with_size = table.assign(G=table["rule"].map(group_size))
    with_size = with_size[with_size["G"].notna()]
    if with_size["G"].nunique() > 1:
        scalings.append(_scaling(with_size, "tau_rule", "G", ("model", "n_train")))
    return scalings


def _scaling(table: pd.DataFrame, onset: str, x: str, by: tuple[str, ...]) -> Scaling:
    """A fit to the groups that show the onset between two evaluations; the others have no say in it."""
    lower, upper = table[f"{onset}_lower"], table[f"{onset}_upper"]
    seen = table[(lower > 0) & np.isfinite(upper)]
    groups = pd.MultiIndex.from_frame(table[list(by)])
    keep = groups.isin(pd.MultiIndex.from_frame(seen[list(by)]))
    notes = []
    if not keep.all():
        silent = sorted({", ".join(map(str, key)) for key in groups[~keep]})
        shown = "; ".join(silent[:6]) + ("; ..." if len(silent) > 6 else "")
        notes.append(f"left out {int((~keep).sum())} runs of groups without {onset} between two evaluations: {shown}")
    fit = None
    try:
        if not keep.any():
            raise ValueError(f"no run shows {onset} between two evaluations")
        fit = fit_scaling(table[keep], onset, x, by, n_boot=_BOOTSTRAP)
        fit.ci, fit.tests  # noqa: B018  (computed now, so that what they refuse is said here)
    except ValueError as fault:
        fit = None
        notes.insert(0, f"undecided: {fault}")
    rows = [
        dict(zip(by, key, strict=True)) | _alone(part, onset, x) for key, part in table.groupby(list(by), sort=True)
    ]
    return Scaling(onset, x, by, fit, pd.DataFrame(rows), "; ".join(notes))


def _alone(part: pd.DataFrame, onset: str, x: str) -> dict[str, object]:
    """The fit of one group by itself."""
    row: dict[str, object] = {"n_runs": len(part), "n_censored": int(np.isinf(part[f"{onset}_upper"]).sum())}
    try:
        fit = fit_scaling(part, onset, x, (), n_boot=0)
        fitted = fit.to_frame().iloc[0].drop(["group", "n_runs", "n_censored"])
    except ValueError as fault:
        return row | {"note": str(fault)}
    return row | {str(name): value for name, value in fitted.items()} | {"note": ""}


def _cells(table: pd.DataFrame) -> pd.DataFrame | None:
    ends = [f"{clock}_{end}" for clock in CLOCKS for end in ("lower", "upper")]
    try:
        return clocks_by_cell(table[[*IDENTITY, *ends]])
    except ValueError:
        return None


def tally(claims: Sequence[ClaimVerdict]) -> str:
    """How many claims have each verdict, in words."""
    counts = {v: sum(claim.verdict == v for claim in claims) for v in ("supported", "not supported", "undecided")}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
