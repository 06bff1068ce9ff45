"""C1, C2 and C5: trends of a clock, or of the window between both, with group size, capacity and N."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from .ordered_trend import TrendTest, trend_test
from .runs_table import architecture, check_runs, model_capacity, rule_complexity, rule_family
from .verdicts import (
    LEVEL,
    NEGLIGIBLE_RATIO,
    STATEMENTS,
    ClaimVerdict,
    Verdict,
    joined,
    labels,
    seen_between,
    stratified,
    undecided,
    with_factor,
)

Array = np.ndarray
SETTINGS = {"lr": "learning rate", "ema_halflife": "averaging", "batch_size": "batch"}
"""What must be equal for sizes, or architectures, to be compared: columns of a runs table, where it has them."""
_LEAST_LEVELS = 3


def claim_rule_complexity(df: pd.DataFrame) -> ClaimVerdict:
    """C1: tau_rule grows with G, among runs of one model, N and rule family. Effect: d log tau_rule / d log G.

    A trend needs at least three group sizes that show tau_rule: two are one contrast, and leave the claim undecided.
    """
    test = "elasticity of tau_rule in G (AFT); stratified Jonckheere-Terpstra permutation test; three G at least"
    table = check_runs(df, "tau_rule", "n_train", ("model", "rule"))
    table, note = with_factor(table, "rule", rule_complexity)
    strata = labels(table["model"], table["x"], table["rule"].map(rule_family))
    verdict = _trend_claim("C1", test, table, strata, sign=1, note=note)
    seen = sorted(set(table["factor"][np.isfinite(table["upper"])]))
    if len(seen) >= _LEAST_LEVELS or verdict.estimate is None:
        return verdict
    shown = " and ".join(f"{G:g}" for G in seen) or "no G"
    reason = f"undecided: one contrast (tau_rule is seen at G = {shown} alone)"
    return ClaimVerdict(**{**verdict.__dict__, "verdict": "undecided", "note": joined(reason, verdict.note)})


def claim_capacity(df: pd.DataFrame) -> ClaimVerdict:
    """C2: tau_rule falls with capacity, among runs of one architecture, rule and N, at equal settings of training.

    Capacity is the nominal count of block parameters; effect: d log tau_rule / d log capacity. Runs are compared at
    equal learning rate, averaging and batch, where the table has columns lr, ema_halflife and batch_size; the note says
    which. Where every size has settings of its own, its effect cannot be told from theirs.
    """
    test = "elasticity of tau_rule in parameters (AFT); stratified Jonckheere-Terpstra permutation test"
    table = check_runs(df, "tau_rule", "n_train", ("model", "rule"))
    known, missing = equal_settings(df, table.index)
    table, note = with_factor(table.assign(**known), "model", model_capacity)
    settings = [table[name] for name in known]
    strata = labels(table["model"].map(architecture), table["x"], table["rule"], *settings)
    verdict = _trend_claim("C2", test, table, strata, sign=-1, note=joined(settings_text(list(known), missing), note))
    if verdict.estimate is None and table["factor"].nunique() > 1 and len(known):
        apart = labels(table["model"].map(architecture), table["x"], table["rule"])
        if pd.Series(table["factor"]).groupby(apart).nunique().max() > 1 and (
            pd.Series(table["factor"]).groupby(strata).nunique().max() == 1
        ):
            reason = "sizes differ in " + " and ".join(SETTINGS[name] for name in known if df[name].nunique() > 1)
            return undecided("C2", test, len(table), joined(f"{reason}: not compared at equal settings", note))
    return verdict


def equal_settings(df: pd.DataFrame, index: pd.Index) -> tuple[dict[str, Array], list[str]]:
    """The columns of `SETTINGS` that a runs table has, and those it has not."""
    known = {name: df[name].to_numpy() for name in SETTINGS if name in df.columns}
    return known, [name for name in SETTINGS if name not in df.columns]


def settings_text(known: Sequence[str], missing: Sequence[str]) -> str:
    """Which settings are equal within strata, and which the table does not tell."""
    texts = [f"at equal {', '.join(SETTINGS[name] for name in known)}"] if known else []
    if missing:
        texts.append(f"{', '.join(SETTINGS[name] for name in missing)} not in the table, taken as equal")
    return joined(*texts)


def claim_window(df: pd.DataFrame) -> ClaimVerdict:
    """C5: the window log(tau_mem / tau_rule) widens with N at every G and narrows with G, among runs of one model.

    A window's ratio lies between tau_mem_lower / tau_rule_upper and tau_mem_upper / tau_rule_lower; runs in which both
    clocks are censored say nothing and are left out. Both trends must hold, each within strata of one model and rule
    family, and the 95% interval of the slope in N must lie above 0 at every G that determines it (all of them, which
    needs no correction).
    The estimate is the elasticity of the ratio in N over all G; the note has that in G, the slopes in N by G, and how
    many runs have an open or a closed window (tau_rule >= tau_mem).
    """
    test = (
        "elasticity of tau_mem / tau_rule in N (AFT); largest p of two stratified Jonckheere-Terpstra tests, up in N "
        "and down in G, and of the slopes in N at each G"
    )
    mem = check_runs(df, "tau_mem", "n_train", ("model", "rule"))
    rule = check_runs(df, "tau_rule", "n_train", ("model", "rule"))
    opened, closed = rule["upper"] <= mem["lower"], rule["lower"] >= mem["upper"]
    with np.errstate(divide="ignore", invalid="ignore"):
        window = mem.assign(lower=mem["lower"] / rule["upper"], upper=mem["upper"] / rule["lower"])
    told = ~((window["lower"] == 0) & np.isinf(window["upper"])).to_numpy()
    counts = f"window open in {int(opened.sum())} runs, closed in {int(closed.sum())}, of {len(mem)}"
    if cells := sorted({f"{r} N={x:g}" for r, x in zip(mem["rule"][closed], mem["x"][closed], strict=True)}):
        counts += f" (closed: {'; '.join(cells[:6])}{' ...' * (len(cells) > 6)})"
    table, note = with_factor(window[told], "rule", rule_complexity)
    if not told.all():
        note = joined(f"{int((~told).sum())} runs with both clocks censored left out", note)
    notes = [counts, note]
    families = table["rule"].map(rule_family)
    models = labels(table["model"], families)
    try:
        up = _trend(table, np.log(table["x"].to_numpy()), labels(table["model"], table["rule"]))
        down = _trend(table, -table["factor"].to_numpy(), labels(table["model"], table["x"], families))
        regression, _ = stratified(table, models, np.log(table[["x", "factor"]].to_numpy()))
    except ValueError as fault:
        return undecided("C5", test, len(table), joined(str(fault), *notes))
    beta = regression.fit().beta[0]
    in_n, in_g = regression.profile_interval(len(beta) - 2), regression.profile_interval(len(beta) - 1)
    slopes = _slopes_by_factor(table)
    notes.insert(0, f"elasticity in G {beta[-1]:.3g} [{in_g[0]:.3g}, {in_g[1]:.3g}]")
    if slopes is not None:
        shown = ", ".join(f"{row.slope:.2f} +- {row.error:.2f} at G = {row.G:g}" for row in slopes.itertuples())
        silent = sorted(set(table["factor"]) - set(slopes["G"]))
        unknown = f", not determined at G = {', '.join(f'{G:g}' for G in silent)}" if silent else ""
        notes.insert(1, f"slopes in N: {shown}{unknown}")
    verdicts = [
        _trend_verdict(in_n, up.p_value, 1, table["x"]),
        _trend_verdict(in_g, down.p_value, -1, table["factor"]),
    ]
    p_value, floor = max(up.p_value, down.p_value), max(up.p_floor, down.p_floor)
    verdict: Verdict = "undecided"
    if slopes is not None:
        p_value = max(p_value, float(slopes["p_rises"].max()))
        if bool((slopes["p_negligible"] * len(slopes) < LEVEL).any()):
            verdicts.append("not supported")
        if len(slopes) > 1 and slopes["p_rises"].max() >= LEVEL:
            notes.insert(2, "the window does not widen with N at every G")
    if "not supported" in verdicts:
        verdict = "not supported"
    elif verdicts == ["supported"] * 2 and p_value < LEVEL:
        verdict = "supported"
    return ClaimVerdict(
        "C5", STATEMENTS["C5"], float(beta[-2]), in_n, test, p_value, verdict, len(table), joined(*notes), floor
    )


def _slopes_by_factor(table: pd.DataFrame) -> pd.DataFrame | None:
    """The slope in log N of each G whose runs determine it, with its error and p-values; None without any.

    p_rises, two-sided, is of "it does not rise": below 5% where the 95% interval lies above 0, as is asked of the slope
    over all G. p_negligible, one-sided, is of "it moves the ratio by `NEGLIGIBLE_RATIO` or more over all N".
    """
    log_x = np.log(table["x"].to_numpy())
    span = log_x.max() - log_x.min()
    seen, levels = seen_between(table), []
    for G, part in table[seen].groupby("factor"):
        if part["x"].nunique() > 1:
            levels.append(G)
    kept = table[table["factor"].isin(levels)].reset_index(drop=True)
    if not levels:
        return None
    covariates = (kept["factor"].to_numpy()[:, None] == np.array(levels)) * np.log(kept["x"].to_numpy())[:, None]
    try:
        regression, _ = stratified(kept, labels(kept["model"], kept["rule"]), covariates)
    except ValueError:
        return None
    fit, k = regression.fit(), len(levels)
    slope = fit.beta[0, -k:]
    error = np.sqrt(np.diag(regression.covariance(fit.beta[0], float(fit.sigma[0])))[-k:])
    t = stats.t(regression.degrees_of_freedom)
    least = np.log(NEGLIGIBLE_RATIO) / span
    return pd.DataFrame(
        {
            "G": levels,
            "slope": slope,
            "error": error,
            "p_rises": np.minimum(2 * t.sf(slope / error), 1.0),
            "p_negligible": t.cdf((slope - least) / error),
        }
    )


def _trend_claim(claim: str, test: str, table: pd.DataFrame, strata: Array, sign: int, note: str) -> ClaimVerdict:
    """Elasticity in the table's factor with a free mean in each stratum, and the trend in direction `sign`."""
    try:
        trend = _trend(table, sign * table["factor"].to_numpy(), strata)
        regression, dropped = stratified(table, strata, np.log(table[["factor"]].to_numpy()))
    except ValueError as fault:
        return undecided(claim, test, len(table), joined(str(fault), note))
    estimate = float(regression.fit().beta[0, -1])
    ci = regression.profile_interval(regression.covariates.shape[1] - 1)
    verdict = _trend_verdict(ci, trend.p_value, sign, table["factor"])
    return ClaimVerdict(
        claim,
        STATEMENTS[claim],
        estimate,
        ci,
        test,
        trend.p_value,
        verdict,
        len(table),
        joined(note, dropped),
        trend.p_floor,
    )


def _trend(table: pd.DataFrame, level: Array, strata: Array) -> TrendTest:
    return trend_test(table["lower"].to_numpy(), table["upper"].to_numpy(), level, strata)


def _trend_verdict(ci: tuple[float, float], p_value: float, sign: int, factor: pd.Series) -> Verdict:
    """From the interval of the elasticity, the one-sided p-value, the claimed sign, and the factor's values."""
    low, high = sorted(sign * end for end in ci)
    if p_value < LEVEL and low > 0:
        return "supported"
    span = float(np.log(factor.max() / factor.min()))
    return "not supported" if high * span < np.log(NEGLIGIBLE_RATIO) else "undecided"
