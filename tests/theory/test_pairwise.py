"""The pairwise law against enumeration in float64, and its fit against an independent maximiser in another basis."""

import itertools
import math

import numpy as np
import pytest
import torch
from enumeration import Enumeration, enumerate_rule, random_fields
from scipy.optimize import minimize
from scipy.special import logsumexp

import twoclocks as tc
from twoclocks.empirics.data import training_set
from twoclocks.theory import halves as halves_module
from twoclocks.theory.halves import halves
from twoclocks.theory.pair_statistics import contrasts

TIGHT = {"rtol": 1e-10, "atol": 1e-13}
SPECS = (
    "parity:3x4,G=3",
    "parity:2x4,G=8",
    "exact-k:3x3,K=4",
    "row-variable-k:3x3,K=0+1+3",
    "permutation:3",
    "latin:4",
)


@pytest.fixture(params=[0, 2**12], ids=["in halves", "whole"])
def cut_above(request, monkeypatch):
    """Small supports are left whole; the tests must see them cut too."""
    monkeypatch.setattr(halves_module, "WHOLE", request.param)


def enumerated(law):
    """The law's energies over an enumerated support, by the definition, one pair of cells at a time."""
    reference = enumerate_rule(law.rule.spec)
    phi = contrasts(law.alphabet).numpy()[reference.support].reshape(len(reference.support), -1)
    theta, k = law.theta.numpy(), phi.shape[1]
    energy, at, per_cell = phi @ theta[:k], k, law.alphabet - 1
    for i, j in itertools.combinations(range(k), 2):
        if i // per_cell != j // per_cell:
            energy = energy + theta[at] * phi[:, i] * phi[:, j]
            at += 1
    assert at == len(theta)
    return Enumeration(reference.support, reference.alphabet, energy - logsumexp(energy))


def fitted(spec, n=7):
    rule = tc.rule(spec)
    return tc.PairwiseLaw.fit(rule, training_set(rule, min(n, rule.support_size), 0), ridge=0.3)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.usefixtures("cut_above")
def test_the_halves_are_the_support(spec):
    rule, reference = tc.rule(spec), enumerate_rule(spec)
    rows = [torch.cat([u, v]).tolist() for upper, lower in halves(rule) for u in upper for v in lower]
    assert sorted(rows) == sorted(reference.support.tolist())


@pytest.mark.parametrize("spec", SPECS[:-1])
@pytest.mark.usefixtures("cut_above")
def test_every_answer_of_the_law_equals_the_sums(spec):
    law = fitted(spec)
    reference = enumerated(law)
    assert math.exp(float(np.logaddexp.reduce(reference._log_p))) == pytest.approx(1, rel=1e-12)
    for scale in (0.3, 30.0):
        h = random_fields((20, law.dim, law.alphabet), scale, 0.05, seed=1)
        np.testing.assert_allclose(law.log_partition(h), reference.log_partition(h.numpy()), **TIGHT)
        np.testing.assert_allclose(law.marginals(h), reference.marginals(h.numpy()), **TIGHT)
    every = torch.from_numpy(reference.support)
    np.testing.assert_allclose(law.log_prob(every), reference._log_p, **TIGHT)
    assert float(law.log_prob(every).exp().sum()) == pytest.approx(1, rel=1e-12)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.concatenate([reference.support[:50], rng.integers(0, law.alphabet, (50, law.dim))]))
    np.testing.assert_allclose(law.next_token_probs(x), reference.next_token_probs(x.numpy()), **TIGHT)
    np.testing.assert_allclose(law.log_prob(x), reference.log_prob(x.numpy()), **TIGHT)
    p = np.exp(reference._log_p)
    assert law.entropy == pytest.approx(-(p * reference._log_p).sum(), rel=1e-10)


@pytest.mark.parametrize("spec", ["parity:3x4,G=3", "permutation:3"])
def test_the_fit_is_that_of_an_independent_maximiser_in_another_basis(spec):
    rule = tc.rule(spec)
    x = training_set(rule, 9, 1).numpy()
    law = tc.PairwiseLaw.fit(rule, torch.from_numpy(x), ridge=0.2)
    support, Q = enumerate_rule(spec).support, rule.alphabet
    basis = np.linalg.qr(np.c_[np.ones(Q), np.random.default_rng(3).standard_normal((Q, Q - 1))])[0][:, 1:] * Q**0.5

    def features(grids):
        phi = basis[grids]  # (n, D, Q - 1)
        pairs = itertools.combinations(range(grids.shape[1]), 2)
        products = [np.einsum("nk,nl->nkl", phi[:, i], phi[:, j]).reshape(len(grids), -1) for i, j in pairs]
        return np.concatenate([phi.reshape(len(grids), -1), *products], 1)

    f, wanted = features(support), features(x).mean(0)

    def loss(theta):
        energy = f @ theta
        log_z = logsumexp(energy)
        return log_z - theta @ wanted + 0.1 * theta @ theta, np.exp(energy - log_z) @ f - wanted + 0.2 * theta

    theta = minimize(loss, np.zeros(f.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    energy = f @ theta
    np.testing.assert_allclose(law.log_prob(torch.from_numpy(support)), energy - logsumexp(energy), atol=1e-6)


@pytest.mark.parametrize("spec", ["parity:3x4,G=3", "latin:4"])
def test_the_statistics_are_matched_up_to_the_ridge(spec):
    rule = tc.rule(spec)
    x = training_set(rule, 12, 0)
    law = tc.PairwiseLaw.fit(rule, x)
    assert law.ridge == 1 / math.sqrt(12)
    reference = enumerated(law)
    phi = contrasts(rule.alphabet).numpy()
    weights = np.exp(reference._log_p)
    cell = np.repeat(np.arange(rule.dim), rule.alphabet - 1)
    pair = np.nonzero(cell[:, None] < cell)

    def statistics(grids, p):
        codes = phi[grids].reshape(len(grids), -1)
        return np.r_[p @ codes, ((codes * p[:, None]).T @ codes)[pair]]

    missed = statistics(x.numpy(), np.full(12, 1 / 12)) - statistics(reference.support, weights)
    np.testing.assert_allclose(missed, law.ridge * law.theta.numpy(), atol=1e-8)
    assert law.misfit == pytest.approx(math.sqrt(12 * (missed**2).mean()), rel=1e-6)
    assert 0 < law.misfit < 1  # within the sampling error


def test_a_faint_ridge_matches_the_statistics_themselves():
    """With as many samples as the rule has grids twice over, nothing keeps the moments from being met."""
    rule = tc.rule("exact-k:3x3,K=4")
    x = rule.sample(2000, torch.Generator().manual_seed(0))
    law = tc.PairwiseLaw.fit(rule, x, ridge=1e-10)
    reference = enumerated(law)
    one_hot = np.eye(2)[reference.support]
    pairs = np.einsum("n,nis,nju->isju", np.exp(reference._log_p), one_hot, one_hot)
    data = np.eye(2)[x.numpy()]
    np.testing.assert_allclose(pairs, np.einsum("nis,nju->isju", data, data) / 2000, atol=1e-8)


@pytest.mark.usefixtures("cut_above")
def test_samples_follow_the_law():
    law = fitted("exact-k:3x3,K=4", 5)
    x = law.sample(20000, torch.Generator().manual_seed(2))
    reference = enumerated(law)
    counts = (x.numpy()[:, None] == reference.support).all(-1).sum(0)
    expected = 20000 * np.exp(reference._log_p)
    assert counts.sum() == 20000
    chi2, df = ((counts - expected) ** 2 / expected).sum(), len(expected) - 1
    assert abs(chi2 - df) < 4 * math.sqrt(2 * df)
    assert law.sample(0).shape == (0, 9)


def test_a_grid_of_one_cell():
    rule = tc.rule("row-k:1x1,K=1")
    law = tc.PairwiseLaw.fit(rule, torch.ones(1, 1, dtype=torch.long))
    assert law.log_prob(torch.tensor([[1], [0]])).tolist() == [0.0, -math.inf]
    assert law.next_token_probs(torch.tensor([[1]])).tolist() == [[[0.0, 1.0]]]
    assert law.sample(3).tolist() == [[1]] * 3


def test_fields_of_any_size_leave_numbers():
    law = fitted("parity:3x4,G=3")
    for sigma in (1e-4, 1.0, 1e4):
        for dtype in (torch.float32, torch.float64):
            h = (torch.randn(5, 12, 2, generator=torch.Generator().manual_seed(0)) / sigma**2).to(dtype)
            m = law.marginals(h)
            assert m.dtype == dtype
            assert m.isfinite().all()
            assert torch.allclose(m.sum(-1), torch.ones(5, 12, dtype=dtype))
    h = torch.zeros(12, 2, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(torch.autograd.grad(law.log_partition(h), h)[0], law.marginals(h.detach()))


def test_bad_requests_are_refused():
    rule = tc.rule("parity:2x3,G=3")
    good = rule.sample(3)
    with pytest.raises(ValueError, match="1 of 4 break the rule; leave them out"):
        tc.PairwiseLaw.fit(rule, torch.cat([good, torch.tensor([[1, 0, 0, 0, 0, 0]])]))
    with pytest.raises(ValueError, match="got none"):
        tc.PairwiseLaw.fit(rule, good[:0])
    with pytest.raises(ValueError, match="ridge must be positive and finite, got 0; leave it out"):
        tc.PairwiseLaw.fit(rule, good, ridge=0.0)
    with pytest.raises(ValueError, match="shape"):
        tc.PairwiseLaw.fit(rule, good[:, :4])
    large = tc.rule("parity:6x6,G=4")
    with pytest.raises(ValueError, match="134217728 valid grids; a PairwiseLaw sums over all, at most 16777216"):
        tc.PairwiseLaw.fit(large, large.sample(3))
