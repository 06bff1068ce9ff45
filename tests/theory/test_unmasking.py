"""The unmasking law of every law against enumeration, for every pattern of masked cells."""

import math

import numpy as np
import pytest
import torch
from automata import BalancedBrackets, NoAdjacentOnes, WeightedSum, brute_force
from enumeration import SMALL_SPECS, Enumeration, all_grids, enumerate_rule

import twoclocks as tc
from twoclocks.theory.channels import Mask, Prefix

OWN_RULES = {
    "no-adjacent-ones": lambda: NoAdjacentOnes((2, 4)),
    "balanced-brackets": lambda: BalancedBrackets((1, 6)),
    "weighted-sum": lambda: WeightedSum((2, 2)),
}
GRIDS = all_grids(4, 3)


def other_laws():
    """Laws that are not uniform, each with its enumeration."""
    rng = np.random.default_rng(0)
    train = rng.integers(0, 3, (40, 4))
    rows, counts = np.unique(train, axis=0, return_counts=True)
    empirical = tc.EmpiricalLaw(torch.from_numpy(train), 3, (2, 2))
    probs = rng.dirichlet(np.ones(3), 4)
    probs[1] = [0.0, 0.25, 0.75]
    with np.errstate(divide="ignore"):
        log_product = np.log(probs[np.arange(4), GRIDS]).sum(1)
    ngram = tc.NGramLaw(empirical, 1)
    return {
        "empirical": (empirical, Enumeration(rows, 3, np.log(counts / 40))),
        "product": (tc.ProductLaw(torch.from_numpy(probs), (2, 2)), Enumeration(GRIDS, 3, log_product)),
        "cube": (tc.CubeLaw((2, 2), 3), Enumeration(GRIDS, 3)),
        "ngram": (ngram, Enumeration(GRIDS, 3, ngram.log_prob(torch.from_numpy(GRIDS)).numpy())),
    }


def case(name):
    if name in OWN_RULES:
        rule = OWN_RULES[name]()
        return rule, brute_force(rule)
    if name in SMALL_SPECS:
        return tc.rule(name), enumerate_rule(name)
    return other_laws()[name]


def by_enumeration(reference, x):
    """(B, D, Q) from sums over the support."""
    Q, onehot = reference.alphabet, np.eye(reference.alphabet + 1)[:, :-1]
    agree = ((x[:, None] == reference.support) | (x[:, None] == Q)).all(-1)
    weights = agree * np.exp(reference._log_p)
    total = weights.sum(1)
    probs = np.einsum("bn,nis->bis", weights, onehot[reference.support])
    probs = np.divide(probs, total[:, None, None], out=np.zeros_like(probs), where=total[:, None, None] > 0)
    return np.where((x < Q)[..., None], onehot[x], probs)


@pytest.mark.parametrize("name", [*SMALL_SPECS, *OWN_RULES, "empirical", "product", "cube", "ngram"])
def test_against_enumeration(name):
    law, reference = case(name)
    rng = np.random.default_rng(1)
    valid = rng.choice(reference.support, 60)
    x = np.concatenate([valid, rng.integers(0, law.alphabet, (40, law.dim))])  # most of the last are impossible
    share = rng.random((100, 1))
    x = np.where(rng.random(x.shape) < share, law.alphabet, x)
    x[0], x[-1] = law.alphabet, x[-1] % law.alphabet  # all masked, nothing masked
    found = law.unmask_probs(torch.from_numpy(x))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, by_enumeration(reference, x), rtol=1e-10, atol=1e-13)
    general = tc.Law._unmask(law, torch.from_numpy(x))  # by fields of 0 and -inf
    masked = (x == law.alphabet)[..., None]
    np.testing.assert_allclose(np.where(masked, found, 0), np.where(masked, general, 0), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", [*SMALL_SPECS, "empirical", "ngram"])
def test_a_masked_suffix_is_the_next_token_law(name):
    law, reference = case(name)
    x = torch.from_numpy(np.random.default_rng(2).choice(reference.support, 20))
    next_token = law.next_token_probs(x)
    for t in (0, law.dim // 2, law.dim - 1):
        masked = x.clone()
        masked[:, t:] = law.alphabet
        torch.testing.assert_close(law.unmask_probs(masked)[:, t], next_token[:, t], rtol=1e-10, atol=1e-13)


def test_impossible_visible_cells_leave_the_masked_ones_without_a_law():
    x = torch.tensor([[1, 0, 0, 2, 2, 2], [1, 0, 1, 2, 0, 2]])  # the first group of the first row is odd
    probs = tc.rule("parity:2x3,G=3").unmask_probs(x)
    assert probs[0, :3].tolist() == [[0, 1], [1, 0], [1, 0]]
    assert (probs[0, 3:] == 0).all()
    assert probs[1, 3:].tolist() == [[0.5, 0.5], [1, 0], [0.5, 0.5]]


def test_large_grids_in_closed_form():
    rule = tc.rule("exact-k:30x30,K=450")
    x = rule.sample(2, torch.Generator().manual_seed(0))
    x[:, ::2] = 2
    hidden, ones = (x == 2).sum(1), (x == 1).sum(1)
    expected = (450 - ones).double() / hidden
    found = rule.unmask_probs(x)[:, ::2, 1]
    torch.testing.assert_close(found, expected[:, None].expand_as(found), rtol=1e-11, atol=0)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((1, 6), 3), r"symbols must lie in 0\.\.1, or 2 for a masked cell, got 3\.\.3"),
        (torch.full((1, 6), -1), "or 2 for a masked cell"),
        (torch.full((6,), 2), "shape"),
        (torch.full((1, 6), 2.0), "integer"),
    ],
)
def test_bad_symbols_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        tc.rule("parity:2x3,G=3").unmask_probs(x)


def test_no_other_method_takes_a_mask():
    with pytest.raises(ValueError, match=r"symbols must lie in 0\.\.1, got 2\.\.2"):
        tc.rule("parity:2x3,G=3").next_token_probs(torch.full((1, 6), 2))


def test_fields_of_masks_and_prefixes():
    x = torch.tensor([0, 2, 1])
    seen, hidden = [0.0, -math.inf], [0.0, 0.0]
    assert Mask().fields(x, 2).tolist() == [seen, hidden, seen[::-1]]
    assert Prefix().fields(torch.tensor([0, 1, 1]), 1, 2).tolist() == [seen, hidden, hidden]
    h = torch.randn(2, 3, 2)
    each = Mask().each_symbol_at(1, h)
    assert each.shape == (2, 2, 3, 2)
    assert each[0, 1, 1].tolist() == [-math.inf, 0.0]
    assert torch.equal(each[:, :, 0], h[:, None, 0].expand(2, 2, 2))


@pytest.mark.parametrize("name", ["parity:2x3,G=3", "latin:3", "empirical", "ngram", "product"])
def test_posterior_is_both_at_once(name):
    law, _ = case(name)
    h = torch.randn(4, law.dim, law.alphabet, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_z, marginals = law.posterior(h)
    torch.testing.assert_close(log_z, law.log_partition(h), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(marginals, law.marginals(h), rtol=1e-12, atol=1e-14)
    h.requires_grad_()
    log_z, marginals = law.posterior(h)
    (slope,) = torch.autograd.grad(log_z.sum(), h)
    torch.testing.assert_close(slope, marginals.detach())
