"""Empirical, product and cube laws, and the machinery every law shares, against enumeration in float64."""

import math

import numpy as np
import pytest
import torch
from enumeration import Enumeration, all_grids, random_fields

import twoclocks as tc

TIGHT = {"rtol": 1e-10, "atol": 1e-13}


def product_reference(probs):
    grids = all_grids(len(probs), probs.shape[1])
    return Enumeration(grids, probs.shape[1], np.log(probs[np.arange(len(probs)), grids]).sum(1))


@pytest.fixture
def laws():
    """Each law with its enumeration; the training set repeats some rows."""
    rng = np.random.default_rng(0)
    train = rng.integers(0, 3, (40, 4))
    rows, counts = np.unique(train, axis=0, return_counts=True)
    probs = rng.dirichlet(np.ones(3), 4)
    return {
        "empirical": (tc.EmpiricalLaw(torch.from_numpy(train), 3, (2, 2)), Enumeration(rows, 3, np.log(counts / 40))),
        "product": (tc.ProductLaw(torch.from_numpy(probs), (2, 2)), product_reference(probs)),
        "cube": (tc.CubeLaw((2, 2), 3), product_reference(np.full((4, 3), 1 / 3))),
    }


@pytest.mark.parametrize("name", ["empirical", "product", "cube"])
@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_log_partition_and_marginals_equal_the_sums(laws, name, scale):
    law, reference = laws[name]
    h = random_fields((50, 4, 3), scale, 0.15, seed=1)
    np.testing.assert_allclose(law.log_partition(h), reference.log_partition(h.numpy()), **TIGHT)
    np.testing.assert_allclose(law.marginals(h), reference.marginals(h.numpy()), **TIGHT)
    np.testing.assert_allclose(law.pair_marginals(h[:5]), reference.pair_marginals(h[:5].numpy()), **TIGHT)


@pytest.mark.parametrize("name", ["empirical", "product", "cube"])
def test_next_token_probs_and_log_prob_equal_the_sums(laws, name):
    law, reference = laws[name]
    x = torch.from_numpy(all_grids(4, 3))
    np.testing.assert_allclose(law.next_token_probs(x), reference.next_token_probs(x.numpy()), **TIGHT)
    np.testing.assert_allclose(law.log_prob(x), reference.log_prob(x.numpy()), **TIGHT)


@pytest.mark.parametrize("name", ["empirical", "product", "cube"])
def test_entropy_and_sampler(laws, name):
    law, reference = laws[name]
    log_p = reference._log_p
    assert law.entropy == pytest.approx(-(np.exp(log_p) * log_p).sum(), rel=1e-12)
    x = law.sample(20000, torch.Generator().manual_seed(3)).numpy()
    assert x.shape == (20000, 4)
    counts = (x[:, None] == reference.support).all(-1).sum(0)
    expected = 20000 * np.exp(log_p)
    chi2 = ((counts - expected) ** 2 / expected).sum()
    df = len(expected) - 1
    assert counts.sum() == 20000
    assert abs(chi2 - df) < 4 * math.sqrt(2 * df)


def test_no_samples_are_an_empty_batch(laws):
    for law, _ in laws.values():
        assert law.sample(0).shape == (0, 4)


def test_gradients_are_marginals_and_covariance(laws):
    law, _ = laws["empirical"]
    h = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(law.log_partition, (h,))
    assert torch.autograd.gradcheck(law.marginals, (h,))


def test_batch_shapes_and_dtypes_are_kept(laws):
    law, _ = laws["product"]
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        h = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
        assert law.log_partition(h).shape == (2, 5)
        assert law.log_partition(h).dtype == dtype
        assert law.marginals(h).shape == h.shape
        assert law.marginals(h[0, 0]).dtype == dtype


def test_fields_that_forbid_everything_give_minus_infinity_and_zeros(laws):
    for law, _ in laws.values():
        h = torch.zeros(2, 4, 3)
        h[0, 2] = -math.inf
        assert law.log_partition(h)[0] == -math.inf
        assert (law.marginals(h)[0] == 0).all()
        assert law.log_partition(h)[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("h", "message"),
    [
        (torch.zeros(3, 4), "shape"),
        (torch.zeros(4, 3, dtype=torch.long), "floating-point"),
        (torch.full((4, 3), math.nan), "NaN"),
        (torch.full((4, 3), math.inf), "inf"),
    ],
)
def test_bad_fields_are_refused(laws, h, message):
    for law, _ in laws.values():
        with pytest.raises(ValueError, match=message):
            law.marginals(h)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tc.EmpiricalLaw(torch.zeros(0, 4, dtype=torch.long)), "N >= 1"),
        (lambda: tc.EmpiricalLaw(torch.full((2, 4), 2), 2), "symbols must lie in"),
        (lambda: tc.EmpiricalLaw(torch.zeros(2, 4)), "integer"),
        (lambda: tc.EmpiricalLaw(torch.zeros(2, 4, dtype=torch.long), 2, (2, 3)), "shape"),
        (lambda: tc.ProductLaw(torch.full((4, 2), 0.4), (2, 2)), "sum to 1"),
        (lambda: tc.ProductLaw(torch.full((4, 2), 0.5), (2, 3)), "shape"),
        (lambda: tc.CubeLaw((2, 2), 1), "at least 2"),
        (lambda: tc.ProductLaw(torch.full((4, 2), 0.5), (4,)), "shape must be"),
        (lambda: tc.CubeLaw((2, 2), 0), "at least 2"),
        (lambda: tc.CubeLaw((0, 2)), "at least 1"),
        (lambda: tc.CubeLaw((4,)), "shape must be"),
    ],
)
def test_impossible_laws_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
