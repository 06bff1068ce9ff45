"""The paper's claims C1 to C5 as tests on a runs table: estimate, interval, p-value and a verdict.

Comparisons are made within strata of equal settings: C1 compares runs of one model and N, C2 of one architecture, rule
and N, C3 of one model and N. Estimates and intervals come from log-normal accelerated-failure-time models with a free
intercept in each stratum, so censored runs count; trends are tested by permutation (`ordered_trend`).

A verdict is "supported" or "not supported" only when the data decide it at the 5% level, after Holm's correction for
the claims of the table; otherwise, and when a table cannot tell (a single level, no onsets), it is "undecided", and the
note says why. How often each verdict comes, where the claim is true, false, or the model is wrong, is simulated in
tests/benchmarks/claims_calibration.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from ..text_tables import markdown_table
from .claim_exponent import claim_memorization_exponent
from .claim_invariance import claim_rule_invariance
from .claim_trends import claim_capacity, claim_rule_complexity, claim_window
from .runs_table import onset_names
from .verdicts import LEVEL, NEGLIGIBLE_RATIO, STATEMENTS, ClaimVerdict, Verdict, holm, p_text, undecided

__all__ = [
    "CLAIMS",
    "LEVEL",
    "NEGLIGIBLE_RATIO",
    "STATEMENTS",
    "ClaimVerdict",
    "Verdict",
    "claim_capacity",
    "claim_memorization_exponent",
    "claim_rule_complexity",
    "claim_rule_invariance",
    "claim_window",
    "claims_to_markdown",
    "evaluate_claims",
]

CLAIMS: dict[str, tuple[Callable[[pd.DataFrame], ClaimVerdict], tuple[str, ...]]] = {
    "C1": (claim_rule_complexity, ("tau_rule",)),
    "C2": (claim_capacity, ("tau_rule",)),
    "C3": (claim_rule_invariance, ("tau_mem",)),
    "C4": (claim_memorization_exponent, ("tau_mem",)),
    "C5": (claim_window, ("tau_rule", "tau_mem")),
}
"""The claims that a runs table tests, each with the clocks it needs."""


def evaluate_claims(df: pd.DataFrame) -> list[ClaimVerdict]:
    """Verdicts on C1 to C5, with default settings and Holm's correction for the claims of the table.

    Args:
        df: a runs table with columns rule, model, n_train, seed and the ends of tau_rule and tau_mem (`runs_table`).
            Where it has columns lr, ema_halflife or batch_size, C2 compares sizes at equal ones.

    Raises:
        ValueError: a table that `check_runs` refuses. A missing clock, or too few data, leave a claim undecided.
    """
    verdicts = []
    for name, (claim, needed) in CLAIMS.items():
        missing = sorted(set(needed) - set(onset_names(df)))
        verdicts.append(undecided(name, "", 0, f"the table has no {missing[0]}") if missing else claim(df))
    return holm(verdicts)


def claims_to_markdown(verdicts: Sequence[ClaimVerdict]) -> str:
    """Verdicts as a Markdown table, one row per claim; "p, Holm" is corrected for the claims of the table."""
    header = ["claim", "statement", "verdict", "estimate [CI]", "p", "p, Holm", "runs", "test", "note"]
    rows = []
    for v in verdicts:
        size = "undecided"
        if v.estimate is not None and v.ci is not None:
            size = f"{v.estimate:.3g} [{v.ci[0]:.3g}, {v.ci[1]:.3g}]"
        holm_floor = (v.p_holm or 0.0) if v.p_value is not None and v.p_value <= v.p_floor else 0.0
        p = [p_text(v.p_value, v.p_floor), p_text(v.p_holm, holm_floor)]
        rows.append([v.claim, v.statement, v.verdict, size, *p, str(v.n_runs), v.test, v.note])
    return markdown_table(header, rows)
