"""The n-gram control: from which evaluation on does a model obey its rule better than local statistics can?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from ...theory import NGramLaw, Rule, ngram_rule_accuracy
from ...theory.memorization import binomial_interval
from ...theory.ngram import RuleAccuracy
from ..criteria import SIGNIFICANCE
from ..data import hash_rows, occur
from ..onsets import check_steps, first_lasting
from ..references import references_of
from ..state_counts import STATES, check_counts

N_SAMPLES = 4096
"""Samples of a Markov model whose rule accuracy has no closed form."""


def ngram_control(rule: Rule, train: Tensor, counts: pd.DataFrame, orders: Sequence[int]) -> pd.DataFrame:
    """Rule accuracy of a run beside that of the best Markov models of the law and of its training set.

    A model that copies obeys the rule too, so accuracy is taken among the novel generations, those not in the training
    set, for the run and for the Markov models alike. The order-k models see the position and the previous k symbols
    (`NGramLaw`): that of the law knows all that k-local statistics tell of the rule, that of the training set all that
    they tell of the samples. On group parity every order below G - 1 sees fair coins: the law's model obeys with
    probability 2^(-number of groups), and a run that beats all of these has learned what is not local. The best model
    is the likeliest, not the one that obeys most: a chain of zeros obeys parity too. `diversity` guards against that.

    Args:
        rule: the rule.
        train: training symbols (N, D), valid.
        counts: one row per evaluation, as `Run.state_counts`.
        orders: k of each Markov model, in 0..D-1 and within the table size of `NGramLaw`.

    Returns:
        One row an order: order; law, train: P(valid | novel) of the two Markov models, with standard errors law_se and
        train_se, 0 where exact (group parity; the law of at most 2^14 grids), NaN where a model does nothing but copy;
        beaten_lower, beaten_upper: the run beats both from a step in (lower, upper] on, inf when never, where to beat
        is to exceed the better one (and three standard errors) with p < 1e-3 in a one-sided exact binomial test at
        two evaluations in a row; step, accuracy, accuracy_low, accuracy_high: the run's P(valid | novel) with its 95%
        Clopper-Pearson interval at beaten_upper, or at the last evaluation.

    Raises:
        ValueError: no orders or ones that `NGramLaw` refuses, symbols of another shape, invalid training samples, or a
            table that does not hold counts.
    """
    rule.check_symbols(train, batch=True)
    if not len(orders):
        raise ValueError(f"orders must name at least one order in 0..{rule.dim - 1}")
    if not len(train) or not bool(rule.is_valid(train).all()):
        raise ValueError(f"train must hold at least one sample, and all must satisfy {rule.spec}")
    known = torch.unique(train, dim=0)
    observed = check_counts(counts)
    steps = check_steps(counts["step"].to_numpy())
    valid = observed[:, STATES.index("novel_valid")]
    novel = observed.sum(-1) - observed[:, STATES.index("memorized")]
    rows = []
    for order in orders:
        law, copier = _law_accuracy(rule, known, order), _train_accuracy(rule, train, known, order)
        best = np.nanmax([each.value + 3 * each.standard_error for each in (law, copier, _NEVER)])
        beats = stats.binom.sf(valid - 1, novel, min(best, 1.0)) < SIGNIFICANCE
        step, lower = map(float, first_lasting(steps, beats, patience=2))
        at = int(np.searchsorted(steps, step)) if math.isfinite(step) else len(steps) - 1
        low, high = binomial_interval(int(valid[at]), int(novel[at])) if novel[at] else (0.0, 1.0)
        rows.append(
            {
                "order": order,
                "law": law.value,
                "law_se": law.standard_error,
                "train": copier.value,
                "train_se": copier.standard_error,
                "beaten_lower": lower,
                "beaten_upper": step,
                "step": counts["step"].iloc[at],
                "accuracy": valid[at] / novel[at] if novel[at] else math.nan,
                "accuracy_low": low,
                "accuracy_high": high,
            }
        )
    return pd.DataFrame(rows)


_NEVER = RuleAccuracy(0.0, 0.0)


def _law_accuracy(rule: Rule, known: Tensor, order: int) -> RuleAccuracy:
    """P(valid | not among the known grids) of the best order-k model of the rule's law."""
    return _among_novel(ngram_rule_accuracy(rule, order, N_SAMPLES), NGramLaw(rule, order), known)


def _train_accuracy(rule: Rule, train: Tensor, known: Tensor, order: int) -> RuleAccuracy:
    """As `_law_accuracy` for the training set: exact where a closed form is known, else from samples."""
    model = NGramLaw(references_of(rule, train)["empirical"], order)
    if (accuracy := rule.markov_accuracy(model.transitions)) is not None:
        return _among_novel(RuleAccuracy(accuracy, 0.0), model, known)
    x = model.sample(N_SAMPLES, torch.Generator().manual_seed(0))
    fresh = x[~occur(x, hash_rows(known))]
    if not len(fresh):
        return RuleAccuracy(math.nan, math.nan)
    share = float(rule.is_valid(fresh).double().mean())
    return RuleAccuracy(share, math.sqrt(share * (1 - share) / len(fresh)))


def _among_novel(accuracy: RuleAccuracy, model: NGramLaw, known: Tensor) -> RuleAccuracy:
    """From P(valid) to P(valid | novel): every known grid is valid."""
    copied = float(model.log_prob(known).exp().sum())
    if copied > 1 - 1e-9:
        return RuleAccuracy(math.nan, math.nan)
    return RuleAccuracy(max(accuracy.value - copied, 0.0) / (1 - copied), accuracy.standard_error / (1 - copied))
