"""What the claims share: the verdict, its correction for several claims in one table, strata and their likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from .aft import CensoredRegression
from .designs import Design
from .runs_table import says_something
from .scaling_tests import unidentified

Array = np.ndarray
Verdict = Literal["supported", "not supported", "undecided"]

LEVEL = 0.05
NEGLIGIBLE_RATIO = 1.2
"""A trend that moves tau by less than this over the table's whole range of a factor counts as none."""

STATEMENTS = {
    "C1": "tau_rule grows with rule complexity (group size G)",
    "C2": "tau_rule falls with model capacity",
    "C3": "tau_mem is about invariant to the rule",
    "C4": "tau_mem ~ N^alpha with alpha about 1",
    "C5": "the window widens with N, narrows with complexity, vanishes when tau_rule >= tau_mem",
    "C6": "the same two clocks in DiT and GPT, with architecture-dependent offsets",
    "C7": "basins of rule-valid samples expand around tau_rule; basins of training samples dominate from tau_mem on",
    "C8": (
        "the train / held-out loss gap opens first at noise scales of about 0.2 to 2; "
        "random cube samples split off at rule learning"
    ),
}
"""The paper's claims in words; every table and figure takes them from here."""


@dataclass(frozen=True)
class ClaimVerdict:
    """What a runs table says about one claim.

    Attributes:
        claim: ``"C1"`` to ``"C8"``.
        statement: the claim in words.
        estimate: the effect size that `test` names; None where the table does not determine it.
        ci: its 95% interval (C3: 90%, as two one-sided tests at 5% use); None with the estimate.
        test: effect size and test, in words.
        p_value: one-sided against "the claim is false"; None where there is no test.
        verdict: ``"supported"``, ``"not supported"`` or ``"undecided"``.
        n_runs: runs that entered.
        note: what was left out and why, or why it is undecided.
        p_floor: the smallest p-value that the test can give, 0 where it has none: then p is at most that.
        p_holm: p_value after Holm's correction for the claims of one table; None before it.
    """

    claim: str
    statement: str
    estimate: float | None
    ci: tuple[float, float] | None
    test: str
    p_value: float | None
    verdict: Verdict
    n_runs: int
    note: str = ""
    p_floor: float = 0.0
    p_holm: float | None = None


def holm(verdicts: Sequence[ClaimVerdict]) -> list[ClaimVerdict]:
    """Holm's correction (1979) for the claims of one table: what it takes back is undecided, with the reason.

    The smallest of m p-values counts m times, the next m - 1 times and so on, and none less than one before it.
    """
    order = sorted((k for k, v in enumerate(verdicts) if v.p_value is not None), key=lambda k: verdicts[k].p_value or 0)
    corrected, largest = list(verdicts), 0.0
    for place, k in enumerate(order):
        verdict = verdicts[k]
        largest = min(max(largest, (verdict.p_value or 0) * (len(order) - place)), 1.0)
        corrected[k] = replace(verdict, p_holm=largest)
        if verdict.verdict == "supported" and largest >= LEVEL:
            note = f"supported by itself; p = {largest:.2g} after Holm's correction for {len(order)} claims"
            corrected[k] = replace(corrected[k], verdict="undecided", note=joined(note, verdict.note))
    return corrected


def p_text(p_value: float | None, floor: float = 0.0) -> str:
    """A p-value with two digits; "at most" where permutations give no smaller one."""
    if p_value is None:
        return ""
    return f"at most {floor:.2g}" if p_value <= floor else f"{p_value:.2g}"


def p_phrase(p_value: float, floor: float = 0.0) -> str:
    """A p-value in a sentence: "p = 0.03", or "p at most 0.0002" where permutations give no smaller one."""
    return f"p {p_text(p_value, floor)}" if p_value <= floor else f"p = {p_text(p_value)}"


def joined(*notes: str) -> str:
    """Notes in one line, empty ones left out."""
    return "; ".join(filter(None, notes))


def undecided(claim: str, test: str, n_runs: int, reason: str) -> ClaimVerdict:
    """No number, with the reason."""
    return ClaimVerdict(claim, STATEMENTS[claim], None, None, test, None, "undecided", n_runs, reason)


def with_factor(table: pd.DataFrame, column: str, read: Callable[[str], int]) -> tuple[pd.DataFrame, str]:
    """The runs whose name has the factor, with it as a column, and a note on the runs left out."""

    def value(name: str) -> float:
        try:
            return float(read(name))
        except ValueError:
            return np.nan

    factor = table[column].map(value)
    known = factor.notna()
    left_out = sorted(map(str, table.loc[~known, column].unique()))
    note = f"left out {int((~known).sum())} runs of {', '.join(left_out)}" if left_out else ""
    return table.assign(factor=factor)[known].reset_index(drop=True), note


def labels(*columns: pd.Series) -> Array:
    """One integer for each distinct combination of values."""
    frame = pd.concat([column.reset_index(drop=True) for column in columns], axis=1)
    frame.columns = pd.RangeIndex(len(columns))
    if not len(frame):
        return np.empty(0, dtype=int)
    return frame.groupby(list(frame.columns), sort=False, observed=True, dropna=False).ngroup().to_numpy()


def seen_between(table: pd.DataFrame) -> Array:
    """Runs (n,) whose onset lies between two evaluations."""
    return (table["lower"] > 0).to_numpy() & np.isfinite(table["upper"].to_numpy())


def with_onsets(table: pd.DataFrame, strata: Array, what: str) -> tuple[Array, str]:
    """Runs of strata with an onset between two evaluations; the others cannot move a fit with free stratum means."""
    keep = np.isin(strata, strata[seen_between(table)])
    note = f"left out {int((~keep).sum())} runs in {len(np.unique(strata[~keep]))} {what}" if not keep.all() else ""
    return keep, note


def stratified(table: pd.DataFrame, strata: Array, covariates: Array) -> tuple[CensoredRegression, str]:
    """The likelihood with an intercept for each stratum and the given covariates last; ValueError if not identified."""
    keep, note = with_onsets(table, strata, "strata without an onset")
    if not keep.any():
        raise ValueError("no run shows its onset between two evaluations")
    keep &= says_something(table)
    index = np.unique(strata[keep], return_inverse=True)[1]
    design = Design.of(index, np.ones((len(index), 1)), covariates[keep])
    with np.errstate(divide="ignore"):
        lower, upper = np.log(table["lower"].to_numpy()[keep]), np.log(table["upper"].to_numpy()[keep])
    regression = CensoredRegression(lower, upper, design)
    if fault := unidentified(regression):
        raise ValueError(fault)
    return regression, note
