"""Tests on onsets that the figures' one-line answers need: order of clocks, ratios, a fall with a rise after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ...empirics.statistics.aft import CensoredRegression
from ...empirics.statistics.claims import NEGLIGIBLE_RATIO, ClaimVerdict
from ...empirics.statistics.ordered_trend import TrendTest, trend_test
from ...empirics.statistics.scaling_tests import unidentified
from ...empirics.statistics.verdicts import p_phrase
from .clock_tables import known, median_onset
from .verdicts import LEVEL, Word, word


class Order(NamedTuple):
    """How many runs show one onset certainly before another, certainly after it, or neither; sign test between them."""

    before: int
    after: int
    unclear: int
    p_before: float
    p_after: float

    @property
    def answer(self) -> Word:
        """Whether the first onset comes first."""
        return word(self.p_before < LEVEL, self.p_after < LEVEL)

    def __str__(self) -> str:
        total = self.before + self.after + self.unclear
        others = f"reversed in {self.after}, unclear in {self.unclear}"
        return f"{self.before} of {total} runs ({others}; sign test p = {self.p_before:.2g})"


class Ratio(NamedTuple):
    """A ratio of onsets with its interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"x{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


def clock_order(table: pd.DataFrame, first: str = "tau_rule", second: str = "tau_mem") -> Order:
    """Does the first onset precede the second? One-sided exact sign tests over the runs whose order is certain."""
    lower, upper = (
        {name: table[f"{name}_{end}"].to_numpy(float) for name in (first, second)} for end in ("lower", "upper")
    )
    before = int((upper[first] <= lower[second]).sum())
    after = int((lower[first] >= upper[second]).sum())
    told = before + after
    p = [float(stats.binom.sf(count - 1, told, 0.5)) if told else 1.0 for count in (before, after)]
    return Order(before, after, len(table) - told, *p)


def onset_ratio(
    table: pd.DataFrame,
    onset: str,
    group: np.ndarray,
    strata: pd.Series | None = None,
    covariate: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Ratio:
    """How many times later an onset comes in a group of runs than in the others (log-normal AFT).

    Args:
        table: an `onset_table`.
        onset: name of its columns.
        group: bool (n,), the runs whose ratio to the others is wanted.
        strata: labels (n,), each with a level of its own; left out, all others share one.
        covariate: numbers (n,) on which log onset depends linearly, such as log N.
        confidence: of the interval.

    Raises:
        ValueError: the runs do not determine it, such as when a whole group is censored.
    """
    mask = table.index.isin(known(table, onset).index)
    labels = np.zeros(mask.sum(), int) if strata is None else pd.factorize(strata[mask])[0]
    columns = [np.eye(labels.max(initial=0) + 1)[labels]]
    columns += [np.asarray(values)[mask, None] for values in (covariate, group) if values is not None]
    design = np.column_stack(columns).astype(float)
    regression = _regression(table[mask], onset, design)
    beta = float(regression.fit().beta[0, -1])
    low, high = regression.profile_interval(design.shape[1] - 1, confidence)
    return Ratio(*(float(np.exp(value)) for value in (beta, low, high)))


class Turn(NamedTuple):
    """Whether an onset falls over the lower half of a factor's values and rises over the upper half.

    Attributes:
        falls, rises: trend tests of the two halves, one-sided; the halves are set before the data are seen, so that no
            turning point is picked.
        against: the smaller p of the opposite trends, a rise in the lower half or a fall in the upper one.
        slopes: of log median onset against log value, between neighbours; NaN where a median is not reached.
    """

    falls: TrendTest
    rises: TrendTest
    against: float
    slopes: tuple[float, ...]

    @property
    def answer(self) -> Word:
        """Whether both trends are significant."""
        return word(max(self.falls.p_value, self.rises.p_value) < LEVEL, self.against < LEVEL / 2)

    def __str__(self) -> str:
        falls, rises = (p_phrase(trend.p_value, trend.p_floor) for trend in (self.falls, self.rises))
        between = ", ".join("not reached" if np.isnan(slope) else f"{slope:.2f}" for slope in self.slopes)
        trends = f"falls over the lower half ({falls}) and rises over the upper ({rises})"
        return f"{trends}; slopes between neighbours {between}"


def turn(table: pd.DataFrame, onset: str, x: str) -> Turn:
    """Is there an optimum in between? Trend tests over both halves of the values of x, which share a middle one.

    Raises:
        ValueError: fewer than four values of x, or no two runs whose onsets have a known order.
    """
    rows = known(table, onset)
    values = sorted(rows[x].unique())
    if len(values) < 4:
        raise ValueError(f"an optimum in {x} needs four values of it")
    half = (len(values) + 1) // 2
    found, against = [], []
    for part, sign in ((values[:half], -1.0), (values[-half:], 1.0)):
        mine = rows[rows[x].isin(part)]
        lower, upper = (mine[f"{onset}_{end}"].to_numpy(float) for end in ("lower", "upper"))
        level, strata = sign * mine[x].to_numpy(float), np.zeros(len(mine))
        found.append(trend_test(lower, upper, level, strata))
        against.append(trend_test(lower, upper, -level, strata).p_value)
    medians = np.log([median_onset(rows[rows[x] == value], onset) for value in values])
    medians[np.isinf(medians)] = np.nan
    slopes = np.diff(medians) / np.diff(np.log(values))
    falls, rises = found
    return Turn(falls, rises, min(against), tuple(map(float, slopes)))


class TopLevel(NamedTuple):
    """Whether an onset comes later at the largest value of a factor than at all others."""

    value: float
    text: str
    p_value: float
    answer: Word
    p_floor: float


def later_at_top(table: pd.DataFrame, onset: str, x: str) -> TopLevel:
    """Does the largest value of x delay an onset? Exact permutation test over all runs; ratio by AFT where finite.

    Raises:
        ValueError: no two runs have onsets whose order is known.
    """
    rows = known(table, onset)
    top = (rows[x] == rows[x].max()).to_numpy()
    lower, upper = rows[f"{onset}_lower"].to_numpy(float), rows[f"{onset}_upper"].to_numpy(float)
    trend = trend_test(lower, upper, top.astype(float), np.zeros(len(rows)))
    p_value, floor = trend.p_value, trend.p_floor
    value = float(rows[x].max())
    answer: Word = "agree" if p_value < LEVEL else "undecided"
    try:
        ratio = onset_ratio(rows, onset, top)
    except ValueError:
        late = int(np.isinf(upper[top]).sum())
        text = f"not reached in {late} of {int(top.sum())} runs at {x} = {value:g}" if late else "ratio undetermined"
        return TopLevel(value, text, p_value, answer, floor)
    if ratio.high < NEGLIGIBLE_RATIO and answer == "undecided":
        answer = "differ"
    return TopLevel(value, f"{ratio} at {x} = {value:g}", p_value, answer, floor)


def tested(claim: Callable[[pd.DataFrame], ClaimVerdict], table: pd.DataFrame) -> ClaimVerdict:
    """A claim's verdict on an `onset_table`: undecided, with the reason as its note, where the runs cannot tell.

    Runs that say nothing of a clock (diverged before the first evaluation) are left out.
    """
    table = known(known(table, "tau_rule"), "tau_mem")
    try:
        return claim(table.reset_index(drop=True))
    except ValueError as fault:
        return ClaimVerdict("", "", None, None, "", None, "undecided", len(table), str(fault))


def answer_of(verdicts: Iterable[ClaimVerdict | str]) -> Word:
    """One word for several verdicts: all must agree; a single one that differs settles it."""
    answers = [v.verdict if isinstance(v, ClaimVerdict) else v for v in verdicts]
    if any(answer in ("differ", "not supported") for answer in answers):
        return "differ"
    return "agree" if answers and all(answer in ("agree", "supported") for answer in answers) else "undecided"


def estimate_text(verdict: ClaimVerdict) -> str:
    """The estimate of a claim with its interval, or why there is none; and whether its law is rejected (C4)."""
    if verdict.estimate is None or verdict.ci is None:
        return f"undecided ({verdict.note or 'no data'})"
    text = f"{verdict.estimate:.2f} [{verdict.ci[0]:.2f}, {verdict.ci[1]:.2f}]"
    return f"{text} (an average: its power law is rejected)" if law_rejected(verdict) else text


def law_rejected(verdict: ClaimVerdict) -> bool:
    """Whether C4 rests on a power law, or an exponent common to all groups, that a test rejects."""
    return verdict.note.startswith("cannot be supported")


def _regression(rows: pd.DataFrame, onset: str, design: np.ndarray) -> CensoredRegression:
    with np.errstate(divide="ignore"):
        lower, upper = (np.log(rows[f"{onset}_{end}"].to_numpy(float)) for end in ("lower", "upper"))
    regression = CensoredRegression(lower, upper, design)
    if fault := unidentified(regression):
        raise ValueError(fault)
    return regression
