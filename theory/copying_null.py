"""The null of copying: how often training samples come from a model that learned of them, yet copies none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .control_rules import ShuffledRule
from .halves import Block
from .law import Law, Rule
from .memorization import chance_memorization
from .pair_statistics import PairStatistics, maximise
from .pairwise import EXACT, PairwiseLaw, check_valid_grids
from .product import ProductLaw

DRAWS = 2**16
"""Valid grids drawn for the pairs of a rule beyond `EXACT`; twice as many again measure what they give."""
LARGEST_ERROR = 0.1
"""Of a sampled estimate, relative; beyond it the pairs are left out."""


class NullOfCopying(NamedTuple):
    """The memorization to be expected without copying.

    Attributes:
        memorization: the largest of `rungs`.
        rung: which it is: ``"chance"``, ``"cells"`` or ``"pairs"``.
        standard_error: of `memorization`; 0 where it is exact.
        rungs: memorization of each rung. ``"pairs"`` is missing where it could not be found, see `null_of_copying`.
    """

    memorization: float
    rung: str
    standard_error: float
    rungs: dict[str, float]


def null_of_copying(rule: Rule, train: Tensor, laws: Mapping[str, Law] | None = None) -> NullOfCopying:
    """The largest memorization among the laws on the ladder to a training set that copy none of it.

    Each law p repeats training samples in sum_{x in train} p(x) of its draws: ``chance``, the uniform law on the rule's
    support (`chance_memorization`); ``cells``, the product of the training set's symbol frequencies; ``pairs``, the
    `PairwiseLaw` of the training set, which knows the rule and the pair statistics.

    All are exact, to a few seconds, for rules of up to 2^24 valid grids. Beyond, ``pairs`` is fitted on the training
    set and 2^16 draws of the rule, weighted for those not drawn, and log Z measured on as many fresh ones. It is left
    out where the two sets of draws disagree by a tenth, as for few samples of a large rule, and where the statistics
    are too many for the draws, as for six symbols on a 6x6 grid.

    Args:
        rule: the rule.
        train: training symbols (N, D), valid grids.
        laws: the ``cells`` and ``pairs`` of this training set, where they are built already; see `References`.

    Returns:
        The null, with the memorization of each rung.

    Raises:
        ValueError: no training samples, symbols of another shape, or samples that break the rule.
    """
    check_valid_grids(rule, train)
    if isinstance(rule, ShuffledRule):  # the order of cells changes nothing, but halves of the grid can be slow to find
        return null_of_copying(rule.rule, rule.before(train))
    cells = laws["cells"] if laws else ProductLaw.fit(train, rule.shape, rule.alphabet)
    rungs = {"chance": chance_memorization(rule, train), "cells": _repeats(cells, train)}
    error = 0.0
    if rule.support_size <= EXACT:
        rungs["pairs"] = _repeats(laws["pairs"] if laws else PairwiseLaw.fit(rule, train), train)
    elif (sampled := _sampled_pairs(rule, train)) is not None:
        rungs["pairs"], error = sampled
    rung = max(rungs, key=lambda name: rungs[name])
    return NullOfCopying(rungs[rung], rung, error if rung == "pairs" else 0.0, rungs)


def _repeats(law: Law, train: Tensor) -> float:
    """P(a draw is a training sample)."""
    return min(1.0, float(law.log_prob(torch.unique(train, dim=0)).exp().sum()))


def _sampled_pairs(rule: Rule, train: Tensor) -> tuple[float, float] | None:
    """The pairs rung by sampling, with its error; None where it cannot be relied on.

    A grid outside the training set stands for (|S| - N) / DRAWS of them. Training samples, the likeliest grids, are in
    the sum themselves. The coefficients fit the draws they were found with a little too well; the disagreement with
    fresh draws shows by how much, and is part of the error.
    """
    n_single = rule.dim * (rule.alphabet - 1)
    if 8 * n_single * (n_single + 1) / 2 > DRAWS:
        return None
    distinct = torch.unique(train.cpu(), dim=0)
    generator = torch.Generator().manual_seed(0)
    fitted, fresh = (_others(rule, distinct, n, generator) for n in (DRAWS, 2 * DRAWS))
    nothing = torch.zeros(1, 0, dtype=torch.int64)
    rest = math.log(rule.support_size - len(distinct))
    log_weights = torch.cat([torch.zeros(len(distinct)), torch.full((len(fitted),), rest - math.log(len(fitted)))])
    support = Block(torch.cat([distinct, fitted]), nothing)
    statistics = PairStatistics(rule.alphabet, [support], [log_weights.double()])
    wanted = statistics.mean(train.cpu())
    theta, _ = maximise(statistics, wanted, 1 / math.sqrt(len(train)), tolerance=1e-6)

    def log_sum(grids: Tensor) -> Tensor:
        return statistics.energy(theta, statistics.code(grids))

    copies = log_sum(distinct).logsumexp(0)
    mean_fitted = log_sum(fitted).logsumexp(0) - math.log(len(fitted))
    energies = log_sum(fresh)
    mean_fresh = energies.logsumexp(0) - math.log(len(fresh))
    weights = (energies - mean_fresh).exp()
    error = abs(float(mean_fresh - mean_fitted)) + float(weights.std()) / math.sqrt(len(fresh))
    if not error <= LARGEST_ERROR:
        return None
    repeats = float(torch.sigmoid(copies - mean_fresh - rest))
    return repeats, repeats * (1 - repeats) * error


def _others(rule: Rule, known: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Those of n draws of a rule that are not among the known grids."""
    drawn = rule.sample(n, generator)
    _, kind = torch.unique(torch.cat([known, drawn]), dim=0, return_inverse=True)
    return drawn[~torch.isin(kind[len(known) :], kind[: len(known)])]
