"""Row permutations against permanents in exact arithmetic, by Ryser's formula."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats

import twoclocks as tc


def permanent(a):
    """Ryser's inclusion-exclusion over column sets, in fractions."""
    n = len(a)
    total = Fraction(0)
    for size in range(1, n + 1):
        for columns in itertools.combinations(range(n), size):
            total += (-1) ** (n - size) * math.prod(sum(row[c] for c in columns) for row in a)
    return total


@pytest.mark.parametrize(
    ("spec", "size"), [("permutation:6", 720**6), ("permutation:3x4", 24**3), ("permutation:1x2", 2)]
)
def test_support(spec, size):
    rule = tc.rule(spec)
    assert rule.support_size == size
    x = rule.sample(500, torch.Generator().manual_seed(0))
    assert rule.is_valid(x).all()
    assert rule.constraints(x)["row"].shape == (500, rule.shape[0])
    x[:, 0] = x[:, 1]
    assert not rule.is_valid(x).any()
    assert rule.constraints(x)["row"][:, 1:].all()


def test_partition_and_marginals_are_permanents():
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 1000, (2, 6, 6))
    h = torch.from_numpy(np.log(weights)).reshape(12, 6)
    rule = tc.rule("permutation:2x6")
    rows = [[[Fraction(int(w)) for w in row] for row in grid] for grid in weights]
    expected = sum(math.log(permanent(row) / 720) for row in rows)
    assert float(rule.log_partition(h)) == pytest.approx(expected, rel=1e-13)
    for r, j, s in [(0, 0, 0), (0, 5, 2), (1, 3, 3), (1, 2, 5)]:
        minor = [[w for c, w in enumerate(row) if c != s] for i, row in enumerate(rows[r]) if i != j]
        share = rows[r][j][s] * permanent(minor) / permanent(rows[r])
        assert float(rule.marginals(h)[6 * r + j, s]) == pytest.approx(float(share), rel=1e-12)


def test_rows_are_independent():
    rule, row = tc.rule("permutation:4x5"), tc.rule("permutation:1x5")
    h = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 10
    parts = h.reshape(3, 4, 5, 5)
    torch.testing.assert_close(rule.log_partition(h), row.log_partition(parts).sum(-1))
    torch.testing.assert_close(rule.marginals(h), row.marginals(parts).reshape(h.shape))


def test_next_token_leaves_the_unused_symbols():
    rule = tc.rule("permutation:2x3")
    probs = rule.next_token_probs(torch.tensor([[1, 0, 2, 2, 2, 0]]))[0]
    third, half = [1 / 3] * 3, 0.5
    assert probs.tolist() == [third, [half, 0, half], [0, 0, 1], third, [half, half, 0], [0, 0, 0]]


def test_sampler_is_uniform_over_a_row():
    x = tc.rule("permutation:2x4").sample(24000, torch.Generator().manual_seed(2)).reshape(-1, 2, 4)
    for row in (x[:, 0], x[:, 1]):
        counts = np.unique(row.numpy() @ 4 ** np.arange(4), return_counts=True)[1]
        assert len(counts) == 24
        assert stats.chisquare(counts).pvalue > 1e-3
