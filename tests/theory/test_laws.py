"""Empirical, product and cube laws, and the machinery every law shares, against enumeration in float64."""

import math

import numpy as np
import pytest
import torch
from enumeration import Enumeration, all_grids, random_fields

import twoclocks as tc
from twoclocks.theory import streaming

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


def test_a_training_set_is_the_laws_own():
    for dtype in (torch.uint8, torch.int64):
        buffer = torch.zeros(3, 4, dtype=dtype)
        law = tc.EmpiricalLaw(buffer, 2, (2, 2))
        buffer.fill_(1)
        assert law.sample(5).sum() == 0
    probs = torch.full((4, 2), 0.5, dtype=torch.float64)
    product = tc.ProductLaw(probs, (2, 2))
    probs[0] = torch.tensor([1.0, 0.0])
    assert product.probs[0].tolist() == [0.5, 0.5]


def test_rows_of_probabilities_are_normalised_or_refused():
    logits = torch.randn(9, 7, generator=torch.Generator().manual_seed(0))
    law = tc.ProductLaw(logits.softmax(-1), (3, 3))  # rows off 1 by rounding in float32
    assert float(law.log_partition(torch.zeros(9, 7, dtype=torch.float64))) == pytest.approx(0, abs=1e-14)
    for fault in (1e-5, -1e-5, math.nan):
        probs = torch.full((4, 2), 0.5, dtype=torch.float64)
        probs[1, 0] += fault
        with pytest.raises(ValueError, match="non-negative and sum to 1"):
            tc.ProductLaw(probs, (2, 2))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.int32])
def test_symbols_of_any_integer_type(dtype):
    x = torch.randint(2, (6, 6), generator=torch.Generator().manual_seed(0))
    x[:3, 2::3] = (x[:3, 0::3] + x[:3, 1::3]) % 2  # valid under the parity
    given = x.to(dtype)
    for law in (
        tc.rule("parity:2x3,G=3"),
        tc.rule("row-variable-k:2x3,K=0+2"),
        tc.rule("permutation:3x2"),
        tc.rule("latin:2"),
        tc.CubeLaw((2, 3)),
        tc.NGramLaw(tc.rule("parity:2x3,G=3"), 1),
        tc.EmpiricalLaw(x[:4], 2, (2, 3)),
    ):
        rows, wanted = given[:, : law.dim], x[:, : law.dim]
        assert torch.equal(law.next_token_probs(rows), law.next_token_probs(wanted))
        assert torch.equal(law.log_prob(rows), law.log_prob(wanted))
        if isinstance(law, tc.Rule):
            assert torch.equal(law.is_valid(rows), law.is_valid(wanted))
            for level in ("sample", "group"):
                chance = tc.chance_memorization(law, rows, level)
                assert chance == tc.chance_memorization(law, wanted, level)
    assert torch.equal(tc.EmpiricalLaw(given, 2).x_train, x.to(torch.uint8))


def test_alphabets_beyond_a_byte():
    """Words of one cell, and symbols above 255."""
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(300, (50, 3), generator=generator)
    law = tc.EmpiricalLaw(train, 300)
    rows, counts = np.unique(train.numpy(), axis=0, return_counts=True)
    reference = Enumeration(rows, 300, np.log(counts / 50))
    h = random_fields((5, 3, 300), 3.0, 0.1, seed=1)
    np.testing.assert_allclose(law.log_partition(h), reference.log_partition(h.numpy()), **TIGHT)
    np.testing.assert_allclose(law.marginals(h), reference.marginals(h.numpy()), **TIGHT)


@pytest.mark.parametrize("Q", [2, 3, 6, 50])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_streamed_sums_over_several_blocks(Q, dtype, monkeypatch):
    """Against a plain softmax, with blocks of few samples and queries, on fields from faint to overwhelming."""
    monkeypatch.setattr(streaming, "SAMPLES", 16)
    monkeypatch.setattr(streaming, "QUERIES", 8)
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(Q, (100, 7), generator=generator)
    law = tc.EmpiricalLaw(train, Q)
    size = torch.logspace(-1, 3, 21, dtype=torch.float64)[:, None, None]
    h = torch.randn(21, 7, Q, generator=generator, dtype=torch.float64) * size
    onehot = torch.nn.functional.one_hot(train, Q).double()
    scores = torch.einsum("bis,nis->bn", h, onehot)
    weights = scores.softmax(-1)
    slack = 1e-4 if dtype == torch.float32 else 1e-11
    expected = torch.einsum("bn,nis->bis", weights, onehot)
    found = law.marginals(h.to(dtype))
    torch.testing.assert_close(found[:16].double(), expected[:16], rtol=0, atol=slack)
    assert ((found.sum(-1) - 1).abs() < 1e-6).all()
    if dtype == torch.float64:
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(law.log_partition(h), scores.logsumexp(1) - math.log(100), rtol=1e-12, atol=1e-12)


def test_a_certain_law_has_entropy_zero_without_a_sign():
    assert math.copysign(1, tc.EmpiricalLaw(torch.zeros(3, 4, dtype=torch.int64)).entropy) == 1
