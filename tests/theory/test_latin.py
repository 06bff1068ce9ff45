"""Latin squares and Sudoku at full size: samples, marginals against finite differences and against samples."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import twoclocks as tc

LARGE = ("latin:6", "sudoku:2x3")


@pytest.fixture(scope="module")
def large():
    """The two 6 x 6 rules, built once."""
    return {spec: tc.rule(spec) for spec in LARGE}


@pytest.mark.parametrize(
    ("spec", "size"), [pytest.param("latin:6", 812851200, marks=pytest.mark.slow), ("sudoku:2x3", 28200960)]
)
def test_large_support_size(large, spec, size):
    assert large[spec].support_size == size
    assert large[spec].entropy == pytest.approx(math.log(size), rel=1e-14)


@pytest.mark.parametrize("spec", LARGE)
def test_samples_are_valid_and_uniform_in_every_cell(large, spec):
    rule = large[spec]
    x = rule.sample(20000, torch.Generator().manual_seed(0))
    grids = x.reshape(-1, 6, 6).numpy()
    whole = np.arange(6)
    assert (np.sort(grids, 1) == whole[:, None]).all()
    assert (np.sort(grids, 2) == whole).all()
    if spec == "sudoku:2x3":
        blocks = [grids[:, i : i + 2, j : j + 3].reshape(-1, 6) for i in (0, 2, 4) for j in (0, 3)]
        assert all((np.sort(block, 1) == whole).all() for block in blocks)
    assert rule.is_valid(x).all()
    p = [stats.chisquare(np.bincount(cell, minlength=6)).pvalue for cell in x.T.numpy()]
    assert min(p) > 1e-3 / 36
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    probs = rule.next_token_probs(x[:2000])
    torch.testing.assert_close(probs.sum(-1), torch.ones(2000, 36, dtype=torch.float64))
    log_p = probs.gather(-1, x[:2000, :, None]).log().sum((1, 2))
    torch.testing.assert_close(log_p, torch.full_like(log_p, -rule.entropy), rtol=1e-12, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("spec", LARGE)
def test_marginals_are_slopes_and_sample_means(large, spec):
    """Central differences of the log partition; and frequencies of uniform samples reweighted by exp(fields)."""
    rule = large[spec]
    h = 0.3 * torch.randn(36, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    marginals = rule.marginals(h)
    torch.testing.assert_close(marginals.sum(-1), torch.ones(36, dtype=torch.float64))
    torch.testing.assert_close(marginals.unflatten(0, (6, 6)).sum(0), torch.ones(6, 6, dtype=torch.float64))
    step, entries = 1e-3, [(7, 3), (35, 1)]
    shifted = h.repeat(2 * len(entries), 1, 1)
    for k, (i, s) in enumerate(entries):
        shifted[2 * k, i, s] += step
        shifted[2 * k + 1, i, s] -= step
    slopes = -rule.log_partition(shifted).reshape(-1, 2).diff(dim=1)[:, 0] / (2 * step)
    expected = torch.stack([marginals[i, s] for i, s in entries])
    torch.testing.assert_close(slopes, expected, rtol=0, atol=step**2 / 6)

    x = rule.sample(40000, torch.Generator().manual_seed(2))
    onehot = torch.nn.functional.one_hot(x, 6).double()
    weight = (onehot * h).sum((1, 2)).softmax(0)
    frequency = torch.einsum("n,nis->is", weight, onehot)
    error = torch.einsum("n,nis->is", weight**2, (onehot - frequency) ** 2).sqrt()
    deviation = (frequency - marginals) / error
    assert deviation.abs().max() < 4.5
    assert deviation.std() == pytest.approx(1, abs=0.2)


def test_a_given_sudoku_is_solved(large):
    """Cells given without doubt leave the grids that contain them; enough givens leave one."""
    rule = large["sudoku:2x3"]
    solution = rule.sample(1, torch.Generator().manual_seed(3))[0]
    h = torch.zeros(36, 6)
    given = torch.randperm(36, generator=torch.Generator().manual_seed(4))[:22]
    h[given] = -math.inf
    h[given, solution[given]] = 0.0
    marginals = rule.marginals(h)
    number = round(math.exp(float(rule.log_partition(h.double()))) * rule.support_size)
    assert number >= 1
    assert (marginals[torch.arange(36), solution] > 0).all()
    assert (rule.marginals(h.double())[torch.arange(36), solution] >= 1 / number - 1e-12).all()


@pytest.mark.parametrize(
    ("spec", "kinds"), [("latin:4", ["row", "column"]), ("sudoku:3x2", ["row", "column", "block"])]
)
def test_constraints_name_what_is_broken(spec, kinds):
    rule = tc.rule(spec)
    n = rule.alphabet
    x = rule.sample(1, torch.Generator().manual_seed(5))
    held = rule.constraints(x)
    assert list(held) == kinds
    assert all(part.shape == (1, n) and part.all() for part in held.values())
    x[0, 0], x[0, 1] = x[0, 1].clone(), x[0, 0].clone()
    held = rule.constraints(x)
    assert held["row"].all()
    assert held["column"][0].tolist() == [False, False] + [True] * (n - 2)
    if spec == "sudoku:3x2":
        assert held["block"].all()  # the two cells share a block
        x[0, 1], x[0, 2] = x[0, 2].clone(), x[0, 1].clone()
        assert rule.constraints(x)["block"][0].tolist() == [False, False, True, True, True, True]


def test_transposed_sudoku():
    """Blocks of 3 x 2 are blocks of 2 x 3 seen along the other axis."""
    wide, tall = tc.rule("sudoku:2x3"), tc.rule("sudoku:3x2")
    x = wide.sample(100, torch.Generator().manual_seed(6)).unflatten(1, (6, 6)).mT.flatten(1)
    assert tall.is_valid(x).all()
    y = tall.sample(100, torch.Generator().manual_seed(7)).unflatten(1, (6, 6)).mT.flatten(1)
    assert wide.is_valid(y).all()
