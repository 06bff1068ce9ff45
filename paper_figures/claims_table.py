"""Verdicts on the paper's claims C1 to C8 from the figures' committed data, as the table at the head of the gallery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pandas as pd

from ..empirics import ClaimVerdict, claims_to_markdown
from ..empirics.statistics.claims import (
    STATEMENTS,
    claim_capacity,
    claim_memorization_exponent,
    claim_rule_complexity,
    claim_rule_invariance,
    claim_window,
)
from ..empirics.statistics.verdicts import holm
from ..empirics.text_tables import interval_text, markdown_table
from . import fig15, fig16
from .shared import claim_architectures
from .shared.clock_statistics import tested
from .shared.clock_tables import ARCHITECTURES
from .shared.judging import CRITERIA, HEADLINE, under
from .store import Data, read_data, results_folder

NOT_MEASURED = "not measured yet"
Tables = Mapping[int, Data]
"""The tables of figures, by the figure's number; one that is missing has not been computed."""

_RUNS = 10  # the figure whose runs span rules, N and sizes of both architectures
_BASINS = 16
_GAPS = 15
_BY_ARCHITECTURE: dict[str, Callable[[pd.DataFrame], ClaimVerdict]] = {
    "C1": claim_rule_complexity,
    "C2": claim_capacity,
    "C3": claim_rule_invariance,
    "C4": claim_memorization_exponent,
    "C5": claim_window,
}
_LANDSCAPE: dict[str, tuple[int, Callable[[Data], ClaimVerdict]]] = {
    "C7": (_BASINS, fig16.claim),
    "C8": (_GAPS, fig15.claim),
}


def claims_markdown(preset_name: str) -> str:
    """C1 to C8 with estimate, interval, test and verdict, from the committed data of a preset; a Markdown table."""
    return claims_to_markdown(evaluate(committed_tables(preset_name)))


def committed_tables(preset_name: str) -> dict[int, dict[str, pd.DataFrame]]:
    """The committed tables of the figures that the claims are read from."""
    tables = {}
    for number in (_RUNS, _GAPS, _BASINS):
        folder = results_folder(preset_name, number)
        if any(folder.glob("*.parquet")):
            tables[number] = read_data(folder)
    return tables


def evaluate(tables: Tables) -> list[ClaimVerdict]:
    """The verdicts: C1 to C5 for each architecture, C6 over both, C7 and C8 on the dissected DiT run.

    p-values are corrected by Holm's method for all of them. A claim whose tables are missing is undecided, with
    `NOT_MEASURED` for a note.
    """
    runs = tables.get(_RUNS, {}).get("runs")
    verdicts = [verdict for name in _BY_ARCHITECTURE for verdict in _by_architecture(name, runs)]
    verdicts.append(_architectures(runs))
    for name, (number, claim) in _LANDSCAPE.items():
        if number not in tables:
            verdicts.append(_missing(name))
            continue
        try:
            verdicts.append(claim(tables[number]))
        except ValueError as fault:
            verdicts.append(replace(_missing(name), note=str(fault)))
    return holm(verdicts)


def evaluate_by_criterion(runs: pd.DataFrame) -> pd.DataFrame:
    """C1 to C6 on a table of runs by each criterion of copying of `CRITERIA`: one row per verdict.

    Args:
        runs: an `onset_table`, with the settings of the runs.
    """
    rows = []
    for criterion in CRITERIA:
        for verdict in evaluate({_RUNS: under({"runs": runs}, criterion)}):
            if verdict.claim in _LANDSCAPE:
                continue
            low, high = verdict.ci or (None, None)
            rows.append({"criterion": criterion, "claim": verdict.claim, "estimate": verdict.estimate, "low": low,
                         "high": high, "p_value": verdict.p_value, "p_holm": verdict.p_holm, "verdict": verdict.verdict,
                         "n_runs": verdict.n_runs, "note": verdict.note})  # fmt: skip
    return pd.DataFrame(rows)


def claims_by_criterion_markdown(claims: pd.DataFrame, paper: pd.DataFrame | None = None) -> str:
    """A row per claim: its verdict and estimate by each criterion, the runs, and whether the verdict depends on it.

    Args:
        claims: of `evaluate_by_criterion`.
        paper: the same of runs at the paper's scale, for a last column with the first criterion's verdicts.
    """
    header = ["claim", *(f"{name}: {words}" for name, words in CRITERIA.items()), "runs", "depends"]
    header += [] if paper is None else ["at the paper's scale"]
    rows = []
    for claim, part in claims.groupby("claim", sort=False):
        cells = [_verdict_text(part[part["criterion"] == criterion]) for criterion in CRITERIA]
        depends = claim in dependent_claims(part)
        rows.append([str(claim), *cells, str(part["n_runs"].iloc[0]), "**yes**" if depends else "no"])
        if paper is not None:
            mine = paper[(paper["claim"] == claim) & (paper["criterion"] == HEADLINE)]
            rows[-1].append(f"{_verdict_text(mine)}; {mine['n_runs'].iloc[0]} runs" if len(mine) else "not run")
    return markdown_table(header, rows)


def _verdict_text(row: pd.DataFrame) -> str:
    (mine,) = row.to_dict("records")
    if pd.isna(mine["estimate"]):
        return str(mine["verdict"])
    return f"{mine['verdict']} {interval_text(mine['estimate'], mine['low'], mine['high'])}"


def dependent_claims(claims: pd.DataFrame) -> list[str]:
    """The claims whose verdict is not the same by every criterion, in the table's order."""
    words = claims.groupby("claim", sort=False)["verdict"].nunique()
    return [str(claim) for claim in words.index[words > 1]]


def _by_architecture(name: str, runs: pd.DataFrame | None) -> list[ClaimVerdict]:
    if runs is None:
        return [_missing(name)]
    verdicts = []
    for kind, title in ARCHITECTURES.items():
        mine = runs[runs["architecture"] == kind]
        found = tested(_BY_ARCHITECTURE[name], mine) if len(mine) else _missing(name)
        verdicts.append(replace(found, claim=f"{name} {title}"))
    return verdicts


def _architectures(runs: pd.DataFrame | None) -> ClaimVerdict:
    if runs is None or runs["architecture"].nunique() < 2:
        return _missing("C6")
    return replace(tested(claim_architectures.claim_architectures, runs), claim="C6", statement=STATEMENTS["C6"])


def _missing(name: str) -> ClaimVerdict:
    return ClaimVerdict(name, STATEMENTS[name], None, None, "", None, "undecided", 0, NOT_MEASURED)
