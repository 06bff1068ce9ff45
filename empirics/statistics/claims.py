"""The paper's claims C1 to C5 as tests on a runs table: estimate, interval, p-value and a verdict.

Comparisons are made within strata of equal settings: C1 compares runs of one model and N, C2 of one architecture, rule
and N, C3 of one model and N. Estimates and intervals come from log-normal accelerated-failure-time models with a free
intercept in each stratum, so censored runs count; trends are tested by permutation (`ordered_trend`).

A verdict is "supported" or "not supported" only when the data decide it at the 5% level; otherwise, and when a table
cannot tell (a single level, no onsets), it is "undecided", and the note says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from ..text_tables import markdown_table
from .aft import CensoredRegression
from .designs import Design
from .ordered_trend import trend_test
from .runs_table import (
    architecture,
    check_runs,
    model_capacity,
    onset_names,
    rule_complexity,
    rule_family,
    says_something,
)
from .scaling import fit_scaling
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
}


@dataclass(frozen=True)
class ClaimVerdict:
    """What a runs table says about one claim.

    Attributes:
        claim: ``"C1"`` to ``"C8"``.
        statement: the claim in words.
        estimate: the effect size that `test` names; None where the table does not determine it.
        ci: its 95% interval (C3: 90%, as two one-sided tests at 5% use); None with the estimate.
        test: effect size and test, in words.
        p_value: one-sided against "no effect as claimed"; None where there is no test.
        verdict: ``"supported"``, ``"not supported"`` or ``"undecided"``.
        n_runs: runs that entered.
        note: what was left out and why, or why it is undecided.
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


def evaluate_claims(df: pd.DataFrame) -> list[ClaimVerdict]:
    """Verdicts on C1 to C5, with default settings.

    Args:
        df: a runs table with columns rule, model, n_train, seed and the ends of tau_rule and tau_mem (`runs_table`).

    Raises:
        ValueError: a table that `check_runs` refuses. A missing clock, or too few data, leave a claim undecided.
    """
    claims: list[tuple[str, Callable[[pd.DataFrame], ClaimVerdict], set[str]]] = [
        ("C1", claim_rule_complexity, {"tau_rule"}),
        ("C2", claim_capacity, {"tau_rule"}),
        ("C3", claim_rule_invariance, {"tau_mem"}),
        ("C4", claim_memorization_exponent, {"tau_mem"}),
        ("C5", claim_window, {"tau_rule", "tau_mem"}),
    ]
    verdicts = []
    for name, claim, needed in claims:
        missing = sorted(needed - set(onset_names(df)))
        verdicts.append(_undecided(name, "", 0, f"the table has no {missing[0]}") if missing else claim(df))
    return verdicts


def claim_rule_complexity(df: pd.DataFrame) -> ClaimVerdict:
    """C1: tau_rule grows with G, among runs of one model, N and rule family. Effect: d log tau_rule / d log G."""
    test = "elasticity of tau_rule in G (AFT); stratified Jonckheere-Terpstra permutation test"
    table = check_runs(df, "tau_rule", "n_train", ("model", "rule"))
    table, note = _with_factor(table, "rule", rule_complexity)
    strata = _labels(table["model"], table["x"], table["rule"].map(rule_family))
    return _trend_claim("C1", test, table, strata, sign=1, note=note)


def claim_capacity(df: pd.DataFrame) -> ClaimVerdict:
    """C2: tau_rule falls with capacity, among runs of one architecture, rule and N.

    Capacity is the nominal count of block parameters; effect: d log tau_rule / d log capacity.
    """
    test = "elasticity of tau_rule in parameters (AFT); stratified Jonckheere-Terpstra permutation test"
    table = check_runs(df, "tau_rule", "n_train", ("model", "rule"))
    table, note = _with_factor(table, "model", model_capacity)
    strata = _labels(table["model"].map(architecture), table["x"], table["rule"])
    return _trend_claim("C2", test, table, strata, sign=-1, note=note)


def claim_rule_invariance(df: pd.DataFrame, factor: float = 1.5) -> ClaimVerdict:
    """C3: tau_mem of any two rules agrees within a factor, among runs of one model and N.

    Two one-sided tests for every pair of rules (Schuirmann 1987); all must reject, which needs no correction (Berger
    1982). Not supported when a pair differs by more than the factor, at 5% after Bonferroni's correction.

    Args:
        df: a runs table.
        factor: equivalence bound on the ratio of median tau_mem, above 1.

    Returns:
        The verdict; the estimate is the largest ratio between two rules.
    """
    if not 1 < factor < np.inf:
        raise ValueError(f"the equivalence factor must exceed 1 and be finite, got {factor}")
    test = f"largest ratio of tau_mem between rules (AFT, 90% CI); equivalence within {factor:g} by two one-sided tests"
    table = check_runs(df, "tau_mem", "n_train", ("model", "rule"))
    try:
        table, regression, rules = _rule_contrasts(table)
    except ValueError as fault:
        return _undecided("C3", test, len(table), str(fault))
    fit = regression.fit()
    p = len(fit.beta[0])
    covariance = regression.covariance(fit.beta[0], float(fit.sigma[0]))
    effects = np.append(0.0, fit.beta[0][p - len(rules) + 1 :])  # relative to the first rule
    full = np.zeros((len(rules), len(rules)))
    full[1:, 1:] = covariance[p - len(rules) + 1 :, p - len(rules) + 1 :]
    first, second = np.triu_indices(len(rules), 1)
    difference = np.abs(effects[first] - effects[second])
    se = np.sqrt(full[first, first] + full[second, second] - 2 * full[first, second])
    t = stats.t(regression.degrees_of_freedom)
    bound = np.log(factor)
    p_equal = float(t.cdf((difference - bound) / se).max())  # the far bound is the harder of the two
    p_differ = min(float(t.sf((difference - bound) / se).min()) * len(se), 1.0)
    widest = int(np.argmax(difference))
    reach = t.ppf(1 - LEVEL) * se[widest]
    ci = (float(np.exp(difference[widest] - reach)), float(np.exp(difference[widest] + reach)))
    verdict: Verdict = "supported" if p_equal < LEVEL else "not supported" if p_differ < LEVEL else "undecided"
    note = f"widest between {rules[first[widest]]} and {rules[second[widest]]}"
    estimate = float(np.exp(difference[widest]))
    return ClaimVerdict("C3", STATEMENTS["C3"], estimate, ci, test, p_equal, verdict, len(table), note)


def claim_memorization_exponent(df: pd.DataFrame, bounds: tuple[float, float] = (0.8, 1.2)) -> ClaimVerdict:
    """C4: the exponent of tau_mem in N lies within bounds about 1.

    Supported when the 95% interval lies inside the bounds, not supported when it lies outside, undecided when it
    straddles one. A group of (model, rule) that never memorized has no say and is left out.

    Args:
        df: a runs table.
        bounds: the exponents that count as about 1: finite, the lower one first.
    """
    if not -np.inf < bounds[0] < bounds[1] < np.inf:
        raise ValueError(f"bounds must be two finite exponents, the lower one first, got {bounds}")
    test = (
        f"shared exponent over (model, rule) (AFT, profile likelihood); interval within [{bounds[0]:g}, {bounds[1]:g}]"
    )
    table = check_runs(df, "tau_mem", "n_train", ("model", "rule"))
    keep, note = _with_onsets(table, _labels(table["model"], table["rule"]), "groups of (model, rule) without tau_mem")
    try:
        if not keep.any():
            raise ValueError("no run shows tau_mem between two evaluations")
        fit = fit_scaling(df[keep], "tau_mem", n_boot=0)
    except ValueError as fault:
        return _undecided("C4", test, len(table), str(fault))
    assert isinstance(fit.exponent, float)
    assert isinstance(fit.ci, tuple)
    low, high = fit.ci
    inside, outside = bounds[0] <= low and high <= bounds[1], high < bounds[0] or low > bounds[1]
    verdict: Verdict = "supported" if inside else "not supported" if outside else "undecided"
    at_one = fit.tests["exponent_one"]
    notes = [note, "p-value: exponent = 1, two-sided"]
    if (equal := fit.tests.get("equal_slopes")) and equal.p_value is not None:
        notes.append(f"equal slopes in all groups: p = {equal.p_value:.2g}")
    note = "; ".join(filter(None, notes))
    return ClaimVerdict("C4", STATEMENTS["C4"], fit.exponent, fit.ci, test, at_one.p_value, verdict, fit.n_runs, note)


def claim_window(df: pd.DataFrame) -> ClaimVerdict:
    """C5: the window log(tau_mem / tau_rule) widens with N and narrows with G, among runs of one model.

    A window's ratio lies between tau_mem_lower / tau_rule_upper and tau_mem_upper / tau_rule_lower; runs in which both
    clocks are censored say nothing and are left out. Both trends must hold; the estimate is the elasticity of the ratio
    in N, the note has that in G and how many runs have an open or a closed window (tau_rule >= tau_mem).
    """
    test = (
        "elasticity of tau_mem / tau_rule in N (AFT); larger p of two Jonckheere-Terpstra tests, up in N and down in G"
    )
    mem = check_runs(df, "tau_mem", "n_train", ("model", "rule"))
    rule = check_runs(df, "tau_rule", "n_train", ("model", "rule"))
    opened, closed = rule["upper"] <= mem["lower"], rule["lower"] >= mem["upper"]
    with np.errstate(divide="ignore"):
        window = mem.assign(lower=mem["lower"] / rule["upper"], upper=mem["upper"] / rule["lower"])
    told = ~((window["lower"] == 0) & np.isinf(window["upper"])).to_numpy()
    counts = f"window open in {int(opened.sum())} runs, closed in {int(closed.sum())}, of {len(mem)}"
    if cells := sorted({f"{r} N={x:g}" for r, x in zip(mem["rule"][closed], mem["x"][closed], strict=True)}):
        counts += f" (closed: {'; '.join(cells[:6])}{' ...' * (len(cells) > 6)})"
    table, note = _with_factor(window[told], "rule", rule_complexity)
    if not told.all():
        note = "; ".join(filter(None, [f"{int((~told).sum())} runs with both clocks censored left out", note]))
    notes = [counts, note]
    models = _labels(table["model"], table["rule"].map(rule_family))
    try:
        up = _trend_p(table, np.log(table["x"].to_numpy()), _labels(table["model"], table["rule"]))
        down = _trend_p(table, -table["factor"].to_numpy(), _labels(table["model"], table["x"]))
        regression, _ = _stratified(table, models, np.log(table[["x", "factor"]].to_numpy()))
    except ValueError as fault:
        return _undecided("C5", test, len(table), "; ".join(filter(None, [str(fault), *notes])))
    beta = regression.fit().beta[0]
    in_n, in_g = regression.profile_interval(len(beta) - 2), regression.profile_interval(len(beta) - 1)
    notes.insert(0, f"elasticity in G {beta[-1]:.3g} [{in_g[0]:.3g}, {in_g[1]:.3g}]")
    verdicts = [_trend_verdict(in_n, up, 1, table["x"]), _trend_verdict(in_g, down, -1, table["factor"])]
    verdict: Verdict = "undecided"
    if "not supported" in verdicts or verdicts == ["supported"] * 2:
        verdict = min(verdicts)  # "not supported" sorts first
    return ClaimVerdict(
        "C5",
        STATEMENTS["C5"],
        float(beta[-2]),
        in_n,
        test,
        max(up, down),
        verdict,
        len(table),
        "; ".join(filter(None, notes)),
    )


def claims_to_markdown(verdicts: Sequence[ClaimVerdict]) -> str:
    """Verdicts as a Markdown table, one row a claim."""
    header = ["claim", "statement", "verdict", "estimate [CI]", "p", "runs", "test", "note"]
    rows = []
    for v in verdicts:
        size = "undecided"
        if v.estimate is not None and v.ci is not None:
            size = f"{v.estimate:.3g} [{v.ci[0]:.3g}, {v.ci[1]:.3g}]"
        p = "" if v.p_value is None else f"{v.p_value:.2g}"
        rows.append([v.claim, v.statement, v.verdict, size, p, str(v.n_runs), v.test, v.note])
    return markdown_table(header, rows)


def _undecided(claim: str, test: str, n_runs: int, reason: str) -> ClaimVerdict:
    return ClaimVerdict(claim, STATEMENTS[claim], None, None, test, None, "undecided", n_runs, reason)


def _trend_claim(claim: str, test: str, table: pd.DataFrame, strata: Array, sign: int, note: str) -> ClaimVerdict:
    """Elasticity in the table's factor with a free mean in each stratum, and the trend in direction `sign`."""
    try:
        p_value = _trend_p(table, sign * table["factor"].to_numpy(), strata)
        regression, dropped = _stratified(table, strata, np.log(table[["factor"]].to_numpy()))
    except ValueError as fault:
        return _undecided(claim, test, len(table), "; ".join(filter(None, [str(fault), note])))
    note = "; ".join(filter(None, [note, dropped]))
    estimate = float(regression.fit().beta[0, -1])
    ci = regression.profile_interval(regression.design.shape[1] - 1)
    verdict = _trend_verdict(ci, p_value, sign, table["factor"])
    return ClaimVerdict(claim, STATEMENTS[claim], estimate, ci, test, p_value, verdict, len(table), note)


def _trend_p(table: pd.DataFrame, level: Array, strata: Array) -> float:
    return trend_test(table["lower"].to_numpy(), table["upper"].to_numpy(), level, strata).p_value


def _trend_verdict(ci: tuple[float, float], p_value: float, sign: int, factor: pd.Series) -> Verdict:
    """From the interval of the elasticity, the one-sided p-value, the claimed sign, and the factor's values."""
    low, high = sorted(sign * end for end in ci)
    if p_value < LEVEL and low > 0:
        return "supported"
    span = float(np.log(factor.max() / factor.min()))
    return "not supported" if high * span < np.log(NEGLIGIBLE_RATIO) else "undecided"


def _with_factor(table: pd.DataFrame, column: str, read: Callable[[str], int]) -> tuple[pd.DataFrame, str]:
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


def _labels(*columns: pd.Series) -> Array:
    """One integer for each distinct combination of values."""
    frame = pd.concat([column.reset_index(drop=True) for column in columns], axis=1)
    frame.columns = pd.RangeIndex(len(columns))
    return frame.groupby(list(frame.columns), sort=False).ngroup().to_numpy() if len(frame) else np.empty(0, dtype=int)


def _with_onsets(table: pd.DataFrame, strata: Array, what: str) -> tuple[Array, str]:
    """Runs of strata with an onset between two evaluations; the others cannot move a fit with free stratum means."""
    seen = (table["lower"] > 0).to_numpy() & np.isfinite(table["upper"].to_numpy())
    keep = np.isin(strata, strata[seen])
    note = f"left out {int((~keep).sum())} runs in {len(np.unique(strata[~keep]))} {what}" if not keep.all() else ""
    return keep, note


def _stratified(table: pd.DataFrame, strata: Array, covariates: Array) -> tuple[CensoredRegression, str]:
    """The likelihood with an intercept for each stratum and the given covariates last; ValueError if not identified."""
    keep, note = _with_onsets(table, strata, "strata without an onset")
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


def _rule_contrasts(table: pd.DataFrame) -> tuple[pd.DataFrame, CensoredRegression, list[str]]:
    """Stratum intercepts and an effect for each rule but the first; ValueError names a rule that never memorized."""
    rules = sorted(table["rule"].unique())
    if len(rules) < 2:
        raise ValueError("only one rule")
    seen = (table["lower"] > 0) & np.isfinite(table["upper"])
    if silent := sorted(set(rules) - set(table["rule"][seen])):
        raise ValueError(f"no run of {silent[0]} shows tau_mem between two evaluations")
    effects = (table["rule"].to_numpy()[:, None] == np.array(rules[1:], dtype=object)).astype(float)
    regression, _ = _stratified(table, _labels(table["model"], table["x"]), effects)
    return table, regression, rules
