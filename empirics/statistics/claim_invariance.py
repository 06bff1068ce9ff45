"""C3, tau_mem about invariant to the rule: ratios of all pairs of rules, at every N."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from .aft import CensoredRegression
from .runs_table import check_runs
from .verdicts import (
    LEVEL,
    STATEMENTS,
    ClaimVerdict,
    Verdict,
    joined,
    labels,
    seen_between,
    stratified,
    undecided,
)

Array = np.ndarray
_DRAWS = 20_000


@dataclass(frozen=True)
class _Contrasts:
    """Differences of log tau_mem between all pairs of rules."""

    difference: Array
    error: Array
    correlated: Array  # (pairs, pairs) covariance
    df: int

    def reach(self, confidence: float) -> float:
        """The multiple of the standard errors within which all differences lie at once (maximum of Student's t)."""
        rng = np.random.default_rng(0)
        scale, vectors = np.linalg.eigh(self.correlated / np.outer(self.error, self.error))
        normal = (vectors * np.sqrt(np.maximum(scale, 0))) @ rng.normal(size=(len(scale), _DRAWS))
        largest = np.abs(normal).max(0) / np.sqrt(rng.chisquare(self.df, _DRAWS) / self.df)
        return float(np.quantile(largest, confidence))

    def p_equal(self, bound: float) -> float:
        """Largest p of the tests that a pair differs by the bound or more: the far bound is the harder of the two."""
        return float(stats.t.cdf((np.abs(self.difference) - bound) / self.error, self.df).max())

    def p_differ(self, bound: float) -> float:
        """Smallest p of the tests that a pair differs by less than the bound."""
        return float(stats.t.sf((np.abs(self.difference) - bound) / self.error, self.df).min())


def claim_rule_invariance(df: pd.DataFrame, factor: float = 1.5) -> ClaimVerdict:
    """C3: tau_mem of any two rules agrees within a factor, among runs of one model and N, at every N.

    Two one-sided tests for every pair of rules (Schuirmann 1987), of their mean ratio over N, and of their ratios at
    the smallest and the largest N where ratios that change with N are not ruled out (the interaction of rule and
    log N at 10%). All must reject, which needs no correction (Berger 1982). Not supported when a pair differs by more
    than the factor, at 5% after Bonferroni's correction.

    Args:
        df: a runs table.
        factor: equivalence bound on the ratio of median tau_mem, above 1.

    Returns:
        The verdict; the estimate is the largest mean ratio between two rules, with simultaneous 90% limits.
    """
    if not 1 < factor < np.inf:
        raise ValueError(f"the equivalence factor must exceed 1 and be finite, got {factor}")
    test = (
        f"largest ratio of tau_mem between rules (AFT, simultaneous 90% limits of all pairs); equivalence within "
        f"{factor:g} by two one-sided tests, at both ends of N where the ratio may change with N"
    )
    table = check_runs(df, "tau_mem", "n_train", ("model", "rule"))
    try:
        rules = _rules(table)
        strata = labels(table["model"], table["x"])
        effects = (table["rule"].to_numpy()[:, None] == np.array(rules[1:], dtype=object)).astype(float)
        regression, _ = stratified(table, strata, effects)
    except ValueError as fault:
        return undecided("C3", test, len(table), str(fault))
    bound, first, second = np.log(factor), *np.triu_indices(len(rules), 1)
    mean = _contrasts(regression, len(rules), np.eye(len(rules) - 1))
    places, p_change = [mean], None
    note = ""
    log_x = np.log(table["x"].to_numpy())
    if len(np.unique(log_x)) > 1:
        middle = log_x.mean()
        try:
            changing, _ = stratified(table, strata, np.column_stack([effects, effects * (log_x - middle)[:, None]]))
        except ValueError as fault:
            note = f"whether ratios change with N is undecided ({fault})"
        else:
            _, p_change = changing.likelihood_ratio(regression, len(rules) - 1)
            note = f"ratios change with N: p = {p_change:.2g}"
            if p_change < 0.1:
                for at in (log_x.min(), log_x.max()):
                    both = np.column_stack([np.eye(len(rules) - 1), (at - middle) * np.eye(len(rules) - 1)])
                    places.append(_contrasts(changing, len(rules), both))
    p_equal = max(place.p_equal(bound) for place in places)
    n_tests = len(places) * len(mean.difference)
    p_differ = min(min(place.p_differ(bound) for place in places) * n_tests, 1.0)
    widest = _widest(mean)
    size, reach = abs(mean.difference[widest]), mean.reach(0.9) * mean.error[widest]
    ci = (float(np.exp(size - reach)), float(np.exp(size + reach)))
    verdict: Verdict = "supported" if p_equal < LEVEL else "not supported" if p_differ < LEVEL else "undecided"
    if p_change is not None and p_change < LEVEL:
        ends = [_range_text(place, rules) for place in places[1:]]
        note += f", largest at the smallest N {ends[0]}, at the largest N {ends[1]}"
    note = joined(f"widest between {rules[first[widest]]} and {rules[second[widest]]}", note)
    return ClaimVerdict("C3", STATEMENTS["C3"], float(np.exp(size)), ci, test, p_equal, verdict, len(table), note)


def _rules(table: pd.DataFrame) -> list[str]:
    """The rules, sorted; ValueError names one that never memorized."""
    rules = sorted(table["rule"].unique())
    if len(rules) < 2:
        raise ValueError("only one rule")
    if silent := sorted(set(rules) - set(table["rule"][seen_between(table)])):
        raise ValueError(f"no run of {silent[0]} shows tau_mem between two evaluations")
    return rules


def _contrasts(regression: CensoredRegression, n_rules: int, effects: Array) -> _Contrasts:
    """All pairs of rules, whose effects relative to the first are combinations (n_rules - 1, q) of the last q terms."""
    fit = regression.fit()
    q = effects.shape[1]
    covariance = regression.covariance(fit.beta[0], float(fit.sigma[0]))[-q:, -q:]
    of_rule = np.vstack([np.zeros(q), effects])
    first, second = np.triu_indices(n_rules, 1)
    pairs = of_rule[first] - of_rule[second]
    correlated = pairs @ covariance @ pairs.T
    difference = pairs @ fit.beta[0, -q:]
    return _Contrasts(difference, np.sqrt(np.diag(correlated)), correlated, regression.degrees_of_freedom)


def _widest(place: _Contrasts) -> int:
    """The pair of rules farthest apart, the first of those that agree to three digits, as rules with one onset do."""
    return int(np.argmax(np.abs(place.difference).round(3)))


def _range_text(place: _Contrasts, rules: list[str]) -> str:
    widest = _widest(place)
    first, second = np.triu_indices(len(rules), 1)
    return f"{np.exp(abs(place.difference[widest])):.3g} ({rules[first[widest]]}, {rules[second[widest]]})"
