"""Controls: are novel valid samples as diverse as the law's own, and does a scaling law survive shuffled labels?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from ...theory import Rule
from ...theory.arguments import whole_number
from ..data import hash_rows, occur
from .aft import CensoredRegression
from .resampling import MOST_RESAMPLES, block_sizes
from .scaling import fit_scaling
from .scaling_tests import line_design

Array = np.ndarray


@dataclass(frozen=True)
class Diversity:
    """Novel valid generations against independent draws from the rule's law outside the training set.

    Attributes:
        n_generated, n_novel_valid: generations, and those valid and not in the training set.
        distinct_fraction: distinct grids among the novel valid ones over their number.
        distinct_expected: its expectation for independent draws.
        distinct_p_value: that independent draws repeat as often (Poisson number of equal pairs).
        hamming: mean number of cells in which two novel valid generations differ.
        hamming_expected: its expectation under the law, exact.
        hamming_se: standard deviation of `hamming` between samples of the law of this size.
        hamming_p_value: one-sided, that the law's own samples are as close together, by simulation.
    """

    n_generated: int
    n_novel_valid: int
    distinct_fraction: float
    distinct_expected: float
    distinct_p_value: float
    hamming: float
    hamming_expected: float
    hamming_se: float
    hamming_p_value: float


def diversity(
    samples: Tensor, rule: Rule, train: Tensor, n_reference: int = 199, generator: torch.Generator | None = None
) -> Diversity:
    """Diversity of the novel valid samples among a model's generations.

    For the uniform law on the valid grids outside the training set, with cell marginals m_i(s), two independent samples
    differ in E = sum_i (1 - sum_s m_i(s)^2) cells. Its spread between samples of n is simulated: for parity rules the
    mean pairwise distance is a degenerate U-statistic, to which no normal approximation applies.

    Args:
        samples: generated symbols (n, D), independent of each other.
        rule: the rule, whose law is the reference.
        train: training symbols (N, D), valid.
        n_reference: simulated samples of the law; hamming_p_value is a multiple of 1 / (n_reference + 1).
        generator: of the simulation; by default seeded with 0.

    Raises:
        ValueError: symbols of another shape or type, invalid training samples, fewer than two novel valid samples, or a
            training set that leaves no novel grid.
    """
    rule.check_symbols(samples, batch=True)
    rule.check_symbols(train, batch=True)
    n_reference = whole_number("n_reference", n_reference, 1, MOST_RESAMPLES)
    if len(train) and not bool(rule.is_valid(train).all()):
        raise ValueError(f"every training sample must satisfy {rule.spec}")
    known = torch.unique(train, dim=0)
    n_novel_grids = rule.support_size - len(known)
    if n_novel_grids < 1:
        raise ValueError("the training set holds every valid grid, so nothing can be novel")
    generator = generator or torch.Generator().manual_seed(0)
    keys = hash_rows(known)
    novel = samples[rule.is_valid(samples) & ~occur(samples, keys)]
    n = len(novel)
    if n < 2:
        raise ValueError(f"diversity needs at least 2 novel valid samples, got {n} of {len(samples)}")

    marginals = rule.marginals(torch.zeros(rule.dim, rule.alphabet, dtype=torch.float64))
    seen = torch.nn.functional.one_hot(known.long(), rule.alphabet).sum(0)
    marginals = (rule.support_size * marginals - seen) / n_novel_grids
    expected = float((1 - (marginals**2).sum(-1)).sum())
    hamming = mean_hamming(novel, rule.alphabet)
    reference = np.array(
        [mean_hamming(_draw_novel(rule, n, keys, generator), rule.alphabet) for _ in range(n_reference)]
    )
    close = int((reference <= hamming + 1e-12).sum())

    _, counts = torch.unique(novel, dim=0, return_counts=True)
    pairs = int((counts * (counts - 1) // 2).sum())
    expected_pairs = n * (n - 1) / 2 / n_novel_grids
    expected_distinct = -n_novel_grids * math.expm1(n * math.log1p(-1 / n_novel_grids)) if n_novel_grids > 1 else 1.0
    return Diversity(
        n_generated=len(samples),
        n_novel_valid=n,
        distinct_fraction=len(counts) / n,
        distinct_expected=expected_distinct / n,
        distinct_p_value=float(stats.poisson.sf(pairs - 1, expected_pairs)),
        hamming=hamming,
        hamming_expected=expected,
        hamming_se=float(reference.std(ddof=1)) if n_reference > 1 else math.nan,
        hamming_p_value=(1 + close) / (n_reference + 1),
    )


def mean_hamming(x: Tensor, alphabet: int) -> float:
    """Mean Hamming distance, in cells, over all pairs of n >= 2 rows of symbols (n, D), from per-cell counts."""
    n = len(x)
    if n < 2:
        raise ValueError(f"a mean distance needs at least 2 samples, got {n}")
    counts = torch.stack([(x == s).sum(0) for s in range(alphabet)]).double()  # (Q, D)
    return float((1 - (counts * (counts - 1)).sum(0) / (n * (n - 1))).sum())


@dataclass(frozen=True)
class PermutationControl:
    """A scaling exponent against those of tables whose labels were shuffled.

    Attributes:
        exponent: of the table as it is.
        shuffled_mean: mean exponent of the shuffled tables, near 0.
        shuffled_interval: their central 95% interval.
        p_value: two-sided, that a shuffled exponent is as far from 0.
        n_permutations: shuffled tables.
    """

    exponent: float
    shuffled_mean: float
    shuffled_interval: tuple[float, float]
    p_value: float
    n_permutations: int


def permutation_control(
    df: pd.DataFrame,
    onset: str = "tau_mem",
    x: str = "n_train",
    by: str | Sequence[str] = ("model", "rule"),
    n_permutations: int = 999,
    seed: int = 0,
) -> PermutationControl:
    """Refit a scaling law with x shuffled among the runs of each group: without a law, what exponents appear?

    Shuffled tables are fitted many at once, as weights on the product of runs and values of x.

    Args:
        df, onset, x, by: as in `fit_scaling`.
        n_permutations: shuffled tables; the p-value is a multiple of 1 / (n_permutations + 1).
        seed: of the shuffling.

    Raises:
        ValueError: as `fit_scaling`, or n_permutations or seed that are no whole numbers, or below 1 and 0.
    """
    n_permutations = whole_number("n_permutations", n_permutations, 1, MOST_RESAMPLES)
    seed = whole_number("seed", seed)
    fit = fit_scaling(df, onset, x, by, n_boot=0)
    assert isinstance(fit.exponent, float)
    table, group = fit.table, fit.group
    values, index = np.unique(table["x"].to_numpy(), return_inverse=True)
    n, K = len(table), len(values)
    run, level = np.repeat(np.arange(n), K), np.tile(np.arange(K), n)
    design = line_design(group[run], np.log(values)[level], separate=False)
    regression = CensoredRegression(fit.regression.log_lower[run], fit.regression.log_upper[run], design)
    rng = np.random.default_rng(seed)
    fitted = []
    for B in block_sizes(n * K, n_permutations):
        weights = np.zeros((B, n, K))
        for runs in np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1]):
            shuffled = rng.permuted(np.tile(index[runs], (B, 1)), axis=1)  # (B, runs)
            weights[np.arange(B)[:, None], runs, shuffled] = 1.0
        fitted.append(regression.fit(weights.reshape(B, n * K)).beta[:, -1])
    exponents = np.concatenate(fitted)
    low, high = np.quantile(exponents, [0.025, 0.975])
    extreme = int((np.abs(exponents) >= abs(fit.exponent) - 1e-12).sum())
    return PermutationControl(
        exponent=fit.exponent,
        shuffled_mean=float(exponents.mean()),
        shuffled_interval=(float(low), float(high)),
        p_value=(1 + extreme) / (n_permutations + 1),
        n_permutations=n_permutations,
    )


def _draw_novel(rule: Rule, n: int, keys: frozenset[bytes], generator: torch.Generator) -> Tensor:
    """n independent draws from the uniform law on the valid grids outside the training set."""
    kept: list[Tensor] = []
    while (have := sum(map(len, kept))) < n:
        x = rule.sample(max(n - have, 256), generator)
        kept.append(x[~occur(x, keys)])
    return torch.cat(kept)[:n]
