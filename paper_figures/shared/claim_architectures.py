"""Claim C6 in numbers: both architectures show both clocks in order, offset by different amounts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...empirics.statistics.claim_trends import SETTINGS
from ...empirics.statistics.claims import NEGLIGIBLE_RATIO, STATEMENTS, ClaimVerdict, Verdict
from ...empirics.statistics.runs_table import rule_complexity
from .clock_statistics import Ratio, clock_order, onset_ratio
from .clock_tables import ARCHITECTURES, known

TEST = (
    "ratio of tau_rule, DiT over GPT at equal rule, size and N (AFT, 97.5% CI for two clocks); sign tests of the order "
    "of the clocks in each architecture, at the simplest rule"
)
CONFIDENCE = 0.975
"""Of each of two intervals, so that both hold at 95%."""


def claim_architectures(runs: pd.DataFrame) -> ClaimVerdict:
    """C6: in DiT and in GPT tau_rule precedes tau_mem, and some clock of DiT is offset from that of GPT.

    The order is that at the simplest rule, of the smallest G, for at complex ones the window may vanish (C5). It holds
    where significantly more runs show it than its reverse; it is refuted where the reverse is significant. The offsets
    compare runs of the sizes, the rules and the range of N that both architectures have, with log N as a covariate;
    they depend on the architecture when either interval excludes 1, and do not when both lie within `NEGLIGIBLE_RATIO`
    of it. Where the architectures were trained at different settings, an offset may be theirs, and none is attributed.

    Args:
        runs: an `onset_table` of both architectures, with the columns of `SETTINGS` that are known.
    """
    complexity = runs["rule"].map(rule_complexity)
    simplest = runs[complexity == complexity.min()]
    order, notes = {}, []
    for kind, name in ARCHITECTURES.items():
        order[kind], whole = (clock_order(table[table["architecture"] == kind]) for table in (simplest, runs))
        notes.append(
            f"tau_rule before tau_mem in {name}: at G = {complexity.min()} {order[kind]}; at every G {whole.before} "
            f"(reversed in {whole.after}) of {whole.before + whole.after + whole.unclear}"
        )
    shared = _comparable(runs)
    try:
        offsets = {onset: _offset(shared, onset) for onset in ("tau_rule", "tau_mem")}
    except ValueError as fault:
        return ClaimVerdict(
            "C6", STATEMENTS["C6"], None, None, TEST, None, "undecided", len(runs), f"{fault}; {notes[0]}; {notes[1]}"
        )
    rule, mem = offsets["tau_rule"], offsets["tau_mem"]
    notes.append(f"tau_mem {mem}; offsets from {len(shared)} runs of equal rule and size at N = {_range(shared)}")
    apart, told = _settings(shared)
    notes.append(told)
    differing = not apart and any(ratio.low > 1 or ratio.high < 1 for ratio in (rule, mem))
    equal = all(ratio.low > 1 / NEGLIGIBLE_RATIO and ratio.high < NEGLIGIBLE_RATIO for ratio in (rule, mem))
    answers = [found.answer for found in order.values()]
    verdict: Verdict = "undecided"
    if "differ" in answers or (equal and not apart):
        verdict = "not supported"
    elif answers == ["agree"] * 2 and differing:
        verdict = "supported"
    p_value = max(found.p_before for found in order.values())
    ends = (rule.low, rule.high)
    return ClaimVerdict(
        "C6", STATEMENTS["C6"], rule.estimate, ends, TEST, p_value, verdict, len(runs), "; ".join(notes)
    )


def _comparable(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs whose size, rule and range of N both architectures have."""
    table = runs.assign(
        size=runs["model"].str.partition("-")[2], cell=runs["rule"] + " " + runs["model"].str.partition("-")[2]
    )
    kinds = [table[table["architecture"] == kind] for kind in ("dit", "gpt")]
    cells = set(kinds[0]["cell"]) & set(kinds[1]["cell"])
    low, high = (end(kind["n_train"].agg(name) for kind in kinds) for end, name in ((max, "min"), (min, "max")))
    return table[table["cell"].isin(cells) & table["n_train"].between(low, high)].reset_index(drop=True)


def _offset(shared: pd.DataFrame, onset: str) -> Ratio:
    """The cells in which both architectures show the onset, compared."""
    rows = known(shared, onset)
    seen = rows[(rows[f"{onset}_lower"] > 0) & np.isfinite(rows[f"{onset}_upper"])]
    both = [cell for cell, table in seen.groupby("cell") if table["architecture"].nunique() == 2]
    rows = rows[rows["cell"].isin(both)].reset_index(drop=True)
    if rows.empty:
        raise ValueError(f"no rule, size and range of N in which both architectures show {onset}")
    several = rows["n_train"].nunique() > 1
    covariate = np.log(rows["n_train"].to_numpy(float)) if several else None
    return onset_ratio(rows, onset, (rows["architecture"] == "dit").to_numpy(), rows["cell"], covariate, CONFIDENCE)


def _settings(shared: pd.DataFrame) -> tuple[bool, str]:
    """Whether the architectures were trained at different settings, and which these are, in words."""
    differ, equal = [], []
    for column, name in SETTINGS.items():
        if column not in shared.columns:
            continue
        values = [
            sorted({0.0 if np.isnan(value) else value for value in shared.loc[shared["architecture"] == kind, column]})
            for kind in ARCHITECTURES
        ]
        if values[0] == values[1]:
            equal.append(name)
        else:
            texts = [
                f"{', '.join(f'{v:g}' for v in mine)} in {kind}"
                for mine, kind in zip(values, ARCHITECTURES.values(), strict=True)
            ]
            differ.append(f"{name} ({' and '.join(texts)})")
    if differ:
        return (
            True,
            f"the architectures differ in {' and in '.join(differ)} too, so no offset is attributed to them alone",
        )
    return False, f"at equal {', '.join(equal)}" if equal else "settings of training not in the table, taken as equal"


def _range(shared: pd.DataFrame) -> str:
    low, high = shared["n_train"].min(), shared["n_train"].max()
    return f"{low}" if low == high else f"{low} to {high}"
