"""Counts: independent counting, hard regimes in exact arithmetic, the sampler and the tilt."""

import itertools
import math
import time
from itertools import accumulate

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

import twoclocks as tc
from twoclocks.theory.counts import GroupCount


def patterns(size, counts):
    """How many patterns of ones and zeros have an allowed count, by Pascal's recurrence in Python integers."""
    row = [1]
    for _ in range(size):
        row = [a + b for a, b in zip([0, *row], [*row, 0], strict=True)]
    return sum(row[count] for count in set(counts))


@pytest.mark.parametrize(
    ("spec", "size", "n_groups", "counts"),
    [
        ("exact-k:6x6,K=0", 36, 1, [0]),
        ("exact-k:6x6,K=12", 36, 1, [12]),
        ("exact-k:30x30,K=450", 900, 1, [450]),
        ("row-k:6x6,K=3", 6, 6, [3]),
        ("row-k:20x7,K=7", 7, 20, [7]),
        ("row-variable-k:6x6,K=1+3+5", 6, 6, [1, 3, 5]),
        ("row-variable-k:3x10,K=0+10", 10, 3, [0, 10]),
        ("global-k:6x6,K=12+18", 36, 1, [12, 18]),
        ("global-k:5x7,K=" + "+".join(map(str, range(36))), 35, 1, range(36)),
    ],
)
def test_support_size_by_independent_counting(spec, size, n_groups, counts):
    rule = tc.rule(spec)
    assert rule.support_size == patterns(size, counts) ** n_groups
    assert rule.group_patterns == patterns(size, counts)
    x = rule.sample(100, torch.Generator().manual_seed(0))
    assert rule.is_valid(x).all()
    assert rule.constraints(x)["group"].shape == (100, n_groups)


@pytest.mark.parametrize(
    ("shape", "size", "counts", "fault"),
    [
        ((2, 3), 4, [1], "groups of 4 cells must divide the 6 cells"),
        ((2, 3), 0, [0], "groups of 0 cells"),
        ((31, 31), 961, [5], "at most 900"),
        ((2, 3), 3, [], r"among 0\.\.3"),
        ((2, 3), 3, [1, -2], r"K=-2 must be among 0\.\.3"),
        ((2, 3), 3, [1, 4], r"K=4 must be among 0\.\.3"),
    ],
)
def test_impossible_rules_are_refused(shape, size, counts, fault):
    with pytest.raises(ValueError, match=fault):
        GroupCount(shape, size, counts)


def test_groups_may_be_smaller_than_rows():
    rule = GroupCount((2, 6), 3, [1, 2])
    assert rule.support_size == 6**4
    assert rule.groups.shape == (4, 3)


def exact_means(log_odds, counts):
    """P(ones) of one group from elementary symmetric polynomials in 200 digits."""

    def times(e, x):
        return [a + x * b for a, b in zip([*e, 0], [0, *e], strict=True)]

    def coefficient(e, f, k):
        return sum(e[j] * f[k - j] for j in range(max(0, k - len(f) + 1), min(k + 1, len(e))))

    with mpmath.workdps(200):
        w = [mpmath.exp(mpmath.mpf(float(d))) for d in log_odds]
        before = list(accumulate(w, times, initial=[mpmath.mpf(1)]))  # polynomials of the cells before each, after each
        after = list(accumulate(w[:0:-1], times, initial=[mpmath.mpf(1)]))[::-1]
        total = sum(before[-1][c] for c in counts)
        ones = [
            x * sum(coefficient(left, right, c - 1) for c in counts) / total
            for x, left, right in zip(w, before, after, strict=False)
        ]
        return np.array(ones, dtype=float), float(mpmath.log(total))


@pytest.mark.parametrize("counts", [[1], [12], [18], [35], [12, 18], [0, 1, 36], range(0, 37, 2)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 40.0, 800.0])
def test_against_exact_arithmetic_at_full_size(counts, scale):
    rule = GroupCount((6, 6), 36, counts)
    rng = np.random.default_rng(0)
    for centre in (0.0, scale, -scale):
        log_odds = rng.standard_normal(36) * scale + centre
        h = torch.from_numpy(np.stack([np.zeros(36), log_odds], -1))
        ones, log_total = exact_means(log_odds, counts)
        np.testing.assert_allclose(rule.marginals(h)[:, 1].numpy(), ones, rtol=1e-10, atol=1e-300)
        expected = log_total - math.log(rule.support_size)
        np.testing.assert_allclose(float(rule.log_partition(h)), expected, rtol=1e-12, atol=1e-10)
        means = rule.contrast(torch.from_numpy(log_odds)[None])[0]
        np.testing.assert_allclose(means.numpy(), 2 * ones - 1, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rare_counts_in_large_groups_do_not_underflow(dtype):
    """One of 900 cells is on: with equal fields each is as likely, and a slope decides as in a softmax."""
    rule = tc.rule("exact-k:30x30,K=1")
    h = torch.zeros(3, 900, 2, dtype=dtype)
    h[1, :, 1] = torch.linspace(-3, 3, 900, dtype=dtype)
    h[2, :, 1] = torch.linspace(-9e7, 1e8, 900, dtype=dtype)
    torch.testing.assert_close(rule.marginals(h)[..., 1], h[..., 1].softmax(-1))


def test_fields_that_force_cells():
    """Cells forced on and off leave a smaller rule; contradictory ones leave nothing."""
    rule = tc.rule("row-variable-k:1x6,K=2+4")
    free = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    forced = torch.tensor([[-math.inf, 0.5], [-0.3, -math.inf]], dtype=torch.float64)
    h = torch.cat([forced, free])
    smaller = GroupCount((1, 4), 4, [1, 3])
    torch.testing.assert_close(rule.marginals(h)[2:], smaller.marginals(free), rtol=1e-13, atol=0)
    for dtype in (torch.float32, torch.float64):
        impossible = torch.zeros(6, 2, dtype=dtype)
        impossible[:5, 0] = -math.inf
        impossible[5, 1] = -math.inf
        assert rule.log_partition(impossible) == -math.inf
        assert (rule.marginals(impossible) == 0).all()


def test_contradictory_cells_tie_in_single_precision():
    """All cells say one at sigma = 1e-4: any 12 of them remain, each cell on with probability 12 / 36."""
    denoiser = tc.OptimalDenoiser(tc.rule("exact-k:6x6,K=12"))
    mean = denoiser(torch.ones(1, 1, 6, 6), 1e-4)
    torch.testing.assert_close(mean, torch.full_like(mean, 2 * 12 / 36 - 1))


def test_sampled_counts_and_cells_have_their_frequencies():
    rule = tc.rule("global-k:6x6,K=16+18+20")
    x = rule.sample(20000, torch.Generator().manual_seed(1))
    weights = np.array([math.comb(36, k) for k in (16, 18, 20)], dtype=float)
    observed = np.array([(x.sum(1) == k).sum() for k in (16, 18, 20)])
    assert stats.chisquare(observed, weights / weights.sum() * len(x)).pvalue > 1e-3
    pairs = [int((x[:, i] & x[:, j]).sum()) for i, j in itertools.combinations(range(0, 36, 5), 2)]
    assert stats.chisquare(pairs).pvalue > 1e-3


def test_next_token_probabilities_are_ratios_of_integers():
    rule = tc.rule("exact-k:6x6,K=12")
    x = torch.zeros(1, 36, dtype=torch.int64)
    probs = rule.next_token_probs(x)[0]
    expected = [math.comb(35 - t, 11) / math.comb(36 - t, 12) for t in range(25)]
    assert probs[:25, 1].tolist() == expected
    assert (probs[25:] == 0).all()


def test_next_token_law_of_large_groups_is_exact_and_quick():
    """Hypergeometric for one count; several counts against big integers."""
    rule = tc.rule("exact-k:30x30,K=450")
    x = rule.sample(3, torch.Generator().manual_seed(0))
    ones = x.cumsum(1) - x
    expected = (450 - ones).double() / torch.arange(900, 0, -1)
    start = time.process_time()
    np.testing.assert_allclose(rule.next_token_probs(x)[..., 1], expected, rtol=1e-11, atol=1e-300)
    assert time.process_time() - start < 2  # a table in big integers took a minute
    counts = (100, 450, 800)
    rule = tc.rule("global-k:30x30,K=100+450+800")
    x = rule.sample(1, torch.Generator().manual_seed(1))
    probs = rule.next_token_probs(x)[0, :, 1]
    for t in (0, 1, 100, 500, 890, 899):
        read, left = int(x[0, :t].sum()), 899 - t
        ways = [sum(math.comb(left, c - read - s) for c in counts if c >= read + s) for s in (0, 1)]
        assert float(probs[t]) == pytest.approx(ways[1] / sum(ways), rel=1e-11)
