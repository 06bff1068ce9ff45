"""C4, the exponent of tau_mem in N: one for all groups where that holds, else a random-effects mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from .runs_table import check_runs, says_something
from .scaling import ScalingFit, fit_scaling
from .scaling_text import rejected
from .verdicts import LEVEL, STATEMENTS, ClaimVerdict, Verdict, joined, labels, undecided, with_onsets

TEST = (
    "shared exponent over (model, rule) (AFT), its 95% interval within [{low:g}, {high:g}], if neither a common "
    "exponent nor a power law is rejected; else a random-effects mean"
)


class RandomEffects(NamedTuple):
    """Exponents that differ between groups, as draws about a mean (DerSimonian and Laird 1986).

    Attributes:
        mean, ci: with its 95% interval (Hartung and Knapp 2001).
        spread: standard deviation of exponents between groups.
        prediction: where a further group's exponent lies with 95% (Higgins et al. 2009); None below three groups.
    """

    mean: float
    ci: tuple[float, float]
    spread: float
    prediction: tuple[float, float] | None


def random_effects(exponents: np.ndarray, variances: np.ndarray) -> RandomEffects:
    """The mean of exponents (G,) with sampling variances (G,), G at least 2."""
    G = len(exponents)
    weights = 1 / variances
    common = (weights * exponents).sum() / weights.sum()
    excess = (weights * (exponents - common) ** 2).sum() - (G - 1)
    between = max(float(excess / (weights.sum() - (weights**2).sum() / weights.sum())), 0.0)
    weights = 1 / (variances + between)
    mean = float((weights * exponents).sum() / weights.sum())
    scale = max(float((weights * (exponents - mean) ** 2).sum() / (G - 1)), 1.0)  # never narrower than fixed effects
    error = np.sqrt(scale / weights.sum())
    reach = stats.t.ppf(0.975, G - 1) * error
    prediction = None
    if G >= 3:
        far = float(stats.t.ppf(0.975, G - 2) * np.sqrt(between + error**2))
        prediction = (mean - far, mean + far)
    return RandomEffects(mean, (mean - float(reach), mean + float(reach)), float(np.sqrt(between)), prediction)


def claim_memorization_exponent(df: pd.DataFrame, bounds: tuple[float, float] = (0.8, 1.2)) -> ClaimVerdict:
    """C4: the exponent of tau_mem in N lies within bounds about 1.

    Supported when the 95% interval of a shared exponent lies inside the bounds, and neither a common exponent nor a
    power law is rejected at 5%. Where either is, the estimate is a random-effects mean over groups, the note has its
    prediction interval and each group's exponent, and the claim cannot be supported. Not supported when the interval
    lies outside the bounds, or some group's own does after Bonferroni's correction; undecided otherwise. Where the
    scatter changes with N and a power law holds, intervals are weighted for it. A group of (model, rule) that never
    memorized is left out.

    Args:
        df: a runs table.
        bounds: the exponents that count as about 1: finite, the lower one first.
    """
    if not -np.inf < bounds[0] < bounds[1] < np.inf:
        raise ValueError(f"bounds must be two finite exponents, the lower one first, got {bounds}")
    test = TEST.format(low=bounds[0], high=bounds[1])
    table = check_runs(df, "tau_mem", "n_train", ("model", "rule"))
    keep, left_out = with_onsets(
        table, labels(table["model"], table["rule"]), "groups of (model, rule) without tau_mem"
    )
    keep &= says_something(table)
    try:
        if not keep.any():
            raise ValueError("no run shows tau_mem between two evaluations")
        fit = fit_scaling(df[keep], "tau_mem", n_boot=0)
        if fit.single_runs:
            raise ValueError(
                "every cell has a single run, so scatter and lack of fit look alike; add seeds, at least 2"
            )
    except ValueError as fault:
        return undecided("C4", test, len(table), str(fault))
    spoilt = [name for name in ("equal_slopes", "log_linear", "no_curvature") if rejected(fit.tests.get(name))]
    uneven = rejected(fit.tests["equal_scatter"])
    weighted = uneven and not {"log_linear", "no_curvature"} & set(spoilt)  # of a bend, an average over all N is asked
    regression = fit.scatter.weighted if weighted else fit.regression
    column = len(fit.groups)
    best = regression.fit()
    estimate, ci = float(best.beta[0, column]), regression.profile_interval(column)
    error = float(np.sqrt(regression.variances(best.beta[0], float(best.sigma[0]), np.array([column]))[0]))
    t = stats.t(regression.degrees_of_freedom)
    p_value = float(max(t.sf((estimate - bounds[0]) / error), t.sf((bounds[1] - estimate) / error)))
    exponents = _separate(df[keep], fit, fit.scatter.gamma if weighted else 0.0)
    notes = []
    if spoilt:
        p_value = 1.0
        notes.append("cannot be supported: " + "; ".join(text for text in fit.failures if "scatter" not in text))
        if len(exponents) > 1:
            between = random_effects(exponents["exponent"].to_numpy(), exponents["variance"].to_numpy())
            estimate, ci = between.mean, between.ci
            notes.append(_random_text(between))
        notes.append(_exponents_text(exponents))
    else:
        for name, what in (
            ("equal_slopes", "equal exponents"),
            ("log_linear", "a power law"),
            ("no_curvature", "no bend"),
        ):
            notes.append(_test_text(fit, name, what))
    if uneven:
        notes.append(next(text for text in fit.failures if "scatter changes" in text) + ", weighted" * weighted)
    outside = _outside(exponents, bounds)
    if outside:
        notes.append(f"outside the bounds after Bonferroni's correction: {', '.join(outside)}")
    low, high = ci
    verdict: Verdict = "undecided"
    if high < bounds[0] or low > bounds[1] or outside:
        verdict = "not supported"
    elif not spoilt and bounds[0] <= low and high <= bounds[1]:
        verdict = "supported"
    notes += [_test_text(fit, "exponent_one", "exponent = 1, two-sided"), left_out]
    return ClaimVerdict("C4", STATEMENTS["C4"], estimate, ci, test, p_value, verdict, fit.n_runs, joined(*notes))


def _separate(df: pd.DataFrame, shared: ScalingFit, gamma: float) -> pd.DataFrame:
    """Each group's exponent with its variance and Student's degrees of freedom, of the groups that have one.

    Args:
        df: a runs table.
        shared: its fit with one exponent.
        gamma: the power of N that the scatter is taken to be.
    """
    empty = pd.DataFrame(columns=["group", "exponent", "variance", "df"])
    seen = shared.table[shared.regression.informative].assign(group=shared.group[shared.regression.informative])
    values = seen.groupby("group")["x"].nunique()
    try:
        fit = fit_scaling(df[np.isin(shared.group, values.index[values > 1])], "tau_mem", n_boot=0, slope="separate")
    except ValueError:
        return empty
    regression = fit.scatter.at(gamma) if gamma else fit.regression
    best, G = regression.fit(), len(fit.groups)
    columns = np.arange(G, 2 * G)
    variances = regression.variances(best.beta[0], float(best.sigma[0]), columns)
    names = [", ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in fit.groups]
    return pd.DataFrame(
        {"group": names, "exponent": best.beta[0, columns], "variance": variances, "df": regression.degrees_of_freedom}
    )


def _outside(exponents: pd.DataFrame, bounds: tuple[float, float]) -> list[str]:
    """The groups whose exponent is beyond the bounds at 5%, two-sided, Bonferroni's correction made."""
    if exponents.empty:
        return []
    error = np.sqrt(exponents["variance"].to_numpy(float))
    reach = stats.t.ppf(1 - LEVEL / 2 / len(exponents), exponents["df"].to_numpy(float)) * error
    at = exponents["exponent"].to_numpy(float)
    return exponents["group"][(at + reach < bounds[0]) | (at - reach > bounds[1])].tolist()


def _random_text(effects: RandomEffects) -> str:
    text = f"random-effects mean over groups {effects.mean:.2f} [{effects.ci[0]:.2f}, {effects.ci[1]:.2f}]"
    if effects.prediction is None:
        return text
    return f"{text}, a further group's with 95% in [{effects.prediction[0]:.2f}, {effects.prediction[1]:.2f}]"


def _exponents_text(exponents: pd.DataFrame) -> str:
    if exponents.empty:
        return ""
    errors = np.sqrt(exponents["variance"].to_numpy(float))
    each = zip(exponents["group"], exponents["exponent"], errors, strict=True)
    shown = [f"{group} {exponent:.2f} +- {error:.2f}" for group, exponent, error in each][:12]
    return "exponents with standard errors: " + ", ".join(shown) + (", ..." if len(exponents) > 12 else "")


def _test_text(fit: ScalingFit, name: str, what: str) -> str:
    test = fit.tests.get(name)
    if test is None:
        return ""
    return f"{what}: undecided ({test.note})" if test.p_value is None else f"{what}: p = {test.p_value:.2g}"
