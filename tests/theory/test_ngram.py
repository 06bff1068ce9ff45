"""The n-gram control against brute-force Markov chains, and its rule accuracy against enumeration."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from scipy import stats

import twoclocks as tc
from twoclocks.theory.ngram import NGramLaw, support

Q, D = 3, 5
GRIDS = torch.tensor(list(itertools.product(range(Q), repeat=D)))
SAMPLES = torch.randint(Q, (40, D), generator=torch.Generator().manual_seed(11))
LAW = tc.EmpiricalLaw(torch.cat([SAMPLES, SAMPLES[:13]]), Q)  # repeated rows: a law that is not uniform


def brute_force(order: int) -> np.ndarray:
    """p_k(x) for all Q^D grids, by counting windows in the training rows."""
    rows = [tuple(row) for row in LAW.x_train.tolist()]
    p = np.ones(len(GRIDS))
    for t in range(D):
        start = max(0, t - order)
        windows, contexts = defaultdict(float), defaultdict(float)
        for row in rows:
            windows[row[start : t + 1]] += 1
            contexts[row[start:t]] += 1
        for n, x in enumerate(map(tuple, GRIDS.tolist())):
            p[n] *= windows[x[start : t + 1]] / contexts[x[start:t]] if contexts[x[start:t]] else 0.0
    return p


@pytest.mark.parametrize("order", range(D))
def test_probabilities_against_counting(order):
    model = NGramLaw(LAW, order)
    p = brute_force(order)
    assert p.sum() == pytest.approx(1, rel=1e-12)
    assert np.allclose(model.log_prob(GRIDS).exp().numpy(), p, rtol=1e-10, atol=1e-15)
    assert np.allclose(tc.Law.log_prob(model, GRIDS).exp().numpy(), p, rtol=1e-10, atol=1e-15)  # by the recursion
    assert model.entropy == pytest.approx(-(p[p > 0] * np.log(p[p > 0])).sum(), rel=1e-10)


@pytest.mark.parametrize("order", range(D))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tilted_by_fields_against_enumeration(order, dtype):
    model = NGramLaw(LAW, order)
    generator = torch.Generator().manual_seed(order)
    h = torch.randn(20, D, Q, generator=generator, dtype=dtype) * torch.logspace(-1, 2, 20, dtype=dtype)[:, None, None]
    h[torch.rand(20, D, Q, generator=generator) < 0.1] = -math.inf
    onehot = torch.nn.functional.one_hot(GRIDS, Q).bool()
    energy = torch.where(onehot, h[:, None].double(), 0.0).sum((2, 3)) + torch.tensor(brute_force(order)).log()
    log_z = energy.logsumexp(1)
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-4}
    assert torch.allclose(model.log_partition(h).double(), log_z, **tolerance)
    possible = log_z > -math.inf
    assert bool(possible.any())
    weight = (energy - log_z[:, None])[possible].exp()
    expected = torch.einsum("bn,nis->bis", weight, onehot.double())
    assert torch.allclose(model.marginals(h).double()[possible], expected, **tolerance)
    assert bool((model.marginals(h)[~possible] == 0).all())


def test_blocks_do_not_change_the_result(monkeypatch):
    model = NGramLaw(LAW, 2)
    h = torch.randn(7, D, Q, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = model.log_partition(h), model.marginals(h)
    monkeypatch.setattr(NGramLaw, "BLOCK", 2 * D * Q**3)
    assert torch.equal(NGramLaw(LAW, 2).transitions, model.transitions)
    assert torch.allclose(model.log_partition(h), whole[0], rtol=1e-14)
    assert torch.allclose(model.marginals(h), whole[1], rtol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_next_token_probs_against_clamping(order):
    model = NGramLaw(LAW, order)
    x = torch.cat([GRIDS[::7], SAMPLES[:10]])
    expected = tc.Law.next_token_probs(model, x)
    assert torch.allclose(model.next_token_probs(x), expected, rtol=1e-10, atol=1e-14)
    assert bool((expected.sum(-1) == 0).any()) == (order == 3)  # only then are some of these prefixes impossible


def test_order_zero_is_the_product_law_and_full_order_the_law_itself():
    product = tc.ProductLaw(LAW.marginals(torch.zeros(D, Q, dtype=torch.float64)), LAW.shape)
    h = torch.randn(5, D, Q, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(NGramLaw(LAW, 0).marginals(h), product.marginals(h), rtol=1e-10)
    assert torch.allclose(NGramLaw(LAW, D - 1).marginals(h), LAW.marginals(h), rtol=1e-10)
    assert NGramLaw(LAW, D - 1).entropy == pytest.approx(LAW.entropy, rel=1e-10)


def test_windows_agree_with_the_law_and_entropy_falls_with_the_order():
    models = [NGramLaw(LAW, order) for order in range(D)]
    for order, model in enumerate(models):
        for start in range(D - order):
            for window in itertools.product(range(Q), repeat=order + 1):
                h = torch.zeros(D, Q, dtype=torch.float64)
                h[start : start + order + 1] = -math.inf
                h[torch.arange(start, start + order + 1), torch.tensor(window)] = 0.0
                assert math.isclose(
                    float(model.log_partition(h).exp()), float(LAW.log_partition(h).exp()), rel_tol=1e-9, abs_tol=1e-14
                )
            if order > 2:
                break
    entropies = [model.entropy for model in models]
    assert entropies == sorted(entropies, reverse=True)
    for model in models:  # it is the projection of the law: cross-entropy equals its own entropy
        assert -float(model.log_prob(LAW.x_train.long()).mean()) == pytest.approx(model.entropy, rel=1e-10)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_samples_by_chi_square(order):
    model = NGramLaw(LAW, order)
    x = model.sample(20000, torch.Generator().manual_seed(order))
    p = brute_force(order)
    observed = np.bincount((x * Q ** torch.arange(D - 1, -1, -1)).sum(1).numpy(), minlength=Q**D)
    assert observed[p == 0].sum() == 0
    common = p * 20000 >= 5
    rest = p[~common].sum() * 20000
    table = np.append(observed[common], observed[~common].sum()), np.append(p[common] * 20000, rest)
    keep = table[1] > 0
    assert stats.chisquare(table[0][keep], table[1][keep]).pvalue > 1e-3
    assert model.sample(0).shape == (0, D)


def test_is_a_law_with_gradients():
    model = NGramLaw(LAW, 1)
    h = torch.randn(2, D, Q, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(model.log_partition, h)
    denoiser = tc.OptimalDenoiser(model)
    y = denoiser.encoding.encode(SAMPLES[:3], torch.float64)
    assert torch.allclose(denoiser(y, 1e-4), y)


class Opaque(tc.Rule):
    """A rule that shows only the public interface, to reach the general routes."""

    def __init__(self, inner: tc.Rule) -> None:
        super().__init__(inner.shape, inner.alphabet)
        self.inner, self.spec, self.groups = inner, inner.spec, inner.groups

    @property
    def support_size(self) -> int:
        return self.inner.support_size

    def constraints(self, x):
        return self.inner.constraints(x)

    def sample(self, n, generator=None):
        return self.inner.sample(n, generator)

    def _posterior(self, h):
        return self.inner._posterior(h)


@pytest.mark.parametrize(("spec", "G"), [("parity:2x3,G=2", 2), ("parity:2x3,G=3", 3), ("parity:2x4,G=4", 4)])
def test_parity_accuracy_in_closed_form_and_by_both_general_routes(spec, G):
    rule = tc.rule(spec)
    grids = torch.tensor(list(itertools.product((0, 1), repeat=rule.dim)))
    for order in range(rule.dim):
        closed = tc.theory.ngram_rule_accuracy(rule, order)
        assert closed == (1.0 if order >= G - 1 else 2.0 ** -len(rule.groups), 0.0)
        p = NGramLaw(rule, order).log_prob(grids).exp()
        assert float(p[rule.is_valid(grids)].sum()) == pytest.approx(closed.value, rel=1e-10)
        assert tc.theory.ngram_rule_accuracy(Opaque(rule), order) == (pytest.approx(closed.value, rel=1e-10), 0.0)


@pytest.mark.parametrize("spec", ["exact-k:2x4,K=3", "row-variable-k:2x4,K=1+2", "permutation:2x3", "latin:3"])
def test_accuracy_on_other_rules_against_the_whole_cube(spec):
    rule = tc.rule(spec)
    grids = torch.cartesian_prod(*[torch.arange(rule.alphabet)] * rule.dim)
    accuracies = []
    for order in range(4):
        p = NGramLaw(rule, order).log_prob(grids).exp()
        accuracies.append(tc.theory.ngram_rule_accuracy(rule, order).value)
        assert accuracies[-1] == pytest.approx(float(p[rule.is_valid(grids)].sum()), rel=1e-9)
        assert float(p.sum()) == pytest.approx(1, rel=1e-9)
    assert accuracies[0] < accuracies[-1]


def test_parity_accuracy_on_the_large_grid():
    for G in (3, 6):
        rule = tc.rule(f"parity:6x6,G={G}")
        for order in (G - 2, G - 1):
            sampled = tc.theory.ngram_rule_accuracy(Opaque(rule), order, n_samples=50)  # p_k is constant: no variance
            assert sampled.value == pytest.approx(tc.theory.ngram_rule_accuracy(rule, order).value, rel=1e-9)
            assert sampled.standard_error < 1e-9
    assert tc.theory.ngram_rule_accuracy(tc.rule("parity:6x6,G=36"), 34) == (0.5, 0.0)


class RowsOfPairs(tc.Rule):
    """Each row of a grid of four symbols holds every symbol at most once: 1 x 3 rows, 24 patterns a row."""

    def __init__(self, rows: int) -> None:
        super().__init__((rows, 3), 4)
        self.spec = "rows"
        self.groups = torch.arange(3 * rows).reshape(-1, 3)
        self.patterns = torch.tensor(list(itertools.permutations(range(4), 3)))  # (24, 3)

    @property
    def support_size(self) -> int:
        return 24 ** self.shape[0]

    def constraints(self, x):
        cells = x.unflatten(-1, self.shape)
        return {
            "row": (cells[..., 0] != cells[..., 1])
            & (cells[..., 0] != cells[..., 2])
            & (cells[..., 1] != cells[..., 2])
        }

    def sample(self, n, generator=None):
        return self.patterns[torch.randint(24, (n, self.shape[0]), generator=generator)].flatten(1)

    def _posterior(self, h):
        rows = h.unflatten(1, self.shape)  # (B, rows, 3, 4)
        onehot = torch.nn.functional.one_hot(self.patterns, 4).to(h)  # (24, 3, 4)
        energy = torch.einsum("brcs,ncs->brn", rows, onehot)
        m = torch.einsum("brn,ncs->brcs", energy.softmax(-1), onehot)
        return (energy.logsumexp(-1) - math.log(24)).sum(-1), m.reshape(h.shape)


def test_accuracy_by_sampling_agrees_with_exact_rows():
    """Rows are independent, also for the Markov chain, so the accuracy of five rows is that of one to the fifth."""
    for order in (0, 1, 2):
        one = tc.theory.ngram_rule_accuracy(RowsOfPairs(1), order)
        assert one.standard_error == 0
        assert one.value == pytest.approx([(24 / 64), (2 / 3), 1.0][order], rel=1e-10)
        assert tc.theory.ngram_rule_accuracy(RowsOfPairs(3), order) == (pytest.approx(one.value**3, rel=1e-9), 0.0)
        many = tc.theory.ngram_rule_accuracy(RowsOfPairs(5), order)
        assert abs(many.value - one.value**5) <= 4 * many.standard_error + 1e-12
        plain = NGramLaw(RowsOfPairs(5), order).sample(20000, torch.Generator().manual_seed(order))
        hits = float(RowsOfPairs(5).is_valid(plain).double().mean())
        assert abs(hits - one.value**5) <= 4 * math.sqrt(one.value**5 * (1 - one.value**5) / 20000)


@pytest.mark.slow
def test_sampled_accuracy_has_an_honest_error():
    """A rule whose windows are not uniform, so that the estimator does vary."""
    rule = UnevenRule()
    model = NGramLaw(rule, 1)
    exact = float(model.log_prob(rule.rows).exp().sum())
    errors = []
    for seed in range(20):
        estimate = tc.theory.ngram_rule_accuracy(rule, 1, n_samples=400, generator=torch.Generator().manual_seed(seed))
        assert estimate.standard_error > 0
        errors.append((estimate.value - exact) / estimate.standard_error)
    assert 0.5 < float(np.std(errors)) < 1.6
    assert abs(float(np.mean(errors))) < 4 / math.sqrt(20)


class UnevenRule(tc.Rule):
    """An irregular set of 20,000 of the 2^16 grids, stored as a list."""

    def __init__(self) -> None:
        super().__init__((4, 4), 2)
        generator = torch.Generator().manual_seed(0)
        index = torch.multinomial(torch.linspace(0.1, 1, 2**16).double() ** 3, 20000, generator=generator).sort().values
        self.rows = index[:, None] // 2 ** torch.arange(15, -1, -1) % 2
        self.spec, self.groups = "uneven", torch.arange(16)[None]
        self.law = tc.EmpiricalLaw(self.rows, 2, (4, 4))

    @property
    def support_size(self) -> int:
        return 20000

    def constraints(self, x):
        raise NotImplementedError

    def sample(self, n, generator=None):
        return self.law.sample(n, generator)

    def _posterior(self, h):
        return self.law._posterior(h)


def test_support_enumerates_a_law():
    expected = np.unique(LAW.x_train.numpy(), axis=0)
    assert np.array_equal(support(LAW).numpy(), expected)
    assert len(support(tc.rule("parity:2x4,G=4"))) == 64
    assert bool(tc.rule("parity:2x4,G=4").is_valid(support(tc.rule("parity:2x4,G=4"))).all())


@pytest.mark.parametrize(
    ("law", "order", "message"),
    [
        (LAW, -1, r"0\.\.4"),
        (LAW, 5, r"0\.\.4"),
        (tc.CubeLaw((6, 6)), 20, "at most 16"),
        (tc.CubeLaw((6, 6), 6), 6, "at most 5"),
    ],
)
def test_orders_out_of_range_are_refused(law, order, message):
    with pytest.raises(ValueError, match=message):
        NGramLaw(law, order)


def test_accuracy_refuses():
    with pytest.raises(ValueError, match=r"0\.\.35"):
        tc.theory.ngram_rule_accuracy(tc.rule("parity:6x6,G=3"), 36)
    with pytest.raises(ValueError, match="n_samples"):
        tc.theory.ngram_rule_accuracy(RowsOfPairs(5), 0, n_samples=1)
