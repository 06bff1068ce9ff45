"""The symbolic derivations: proofs that hold, proofs that must fail, and agreement with the numerical denoisers."""

import functools
import itertools
import math
from collections.abc import Callable

import mpmath
import pytest
import sympy as sp
import torch

import twoclocks as tc
from twoclocks.theory import symbolic as sym
from twoclocks.theory.exposition import Derivation, Proof

NAMES = (pytest.param("parity", marks=pytest.mark.slow), "count", pytest.param("permutation", marks=pytest.mark.slow))


@pytest.fixture(scope="module")
def derivations() -> Callable[[str], Derivation]:
    return functools.cache(tc.theory.derive)


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_is_proved(derivations, name):
    derivation = derivations(name)
    assert derivation.name == name
    assert len(derivation.proofs) >= 5
    for proof in derivation.proofs:
        assert proof.proved, proof.claim
    assert derivation.proved


def test_a_false_claim_is_not_proved():
    wrong_sign = sym.residual(sym.posterior_mean(sym.parity_support(3, -1), 0), sym.parity_denoiser(3, 1, 0))
    wrong_count = sym.residual(sym.posterior_mean(sym.count_support(3, [1]), 0), sym.count_denoiser(3, [2], 0))
    no_rule_in_score = sym.score_residual(
        sym.parity_log_density(2, 1) - sp.log(1 + sp.tanh(sym.y[0] / sym.sigma**2)), sym.parity_support(2, 1), 0
    )
    determinant = sp.expand(sym.weights(3).det() - sym.permutation_sum(sym.weights(3)))
    for residual in (wrong_sign, wrong_count, no_rule_in_score, determinant):
        assert residual != 0
        assert not Proof("false", "one case", (sp.Integer(0), residual)).proved
    assert not Proof("empty", "no case", ()).proved


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'latin'.*parity, count, permutation"):
        tc.theory.derive("latin")


def uniform(rows: list[tuple[int, ...]], alphabet: int, sigma: float, y: torch.Tensor, kind: str) -> torch.Tensor:
    law = tc.EmpiricalLaw(torch.tensor(rows), alphabet)
    return tc.OptimalDenoiser(law, tc.Encoding(law.shape, alphabet, kind))(y, sigma)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_printed_parity_denoiser_is_the_packages(derivations, sigma):
    y = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    closed = sp.lambdify(sym.t[:3], derivations("parity").denoiser)(*torch.tanh(y / sigma**2).T)
    assert torch.allclose(closed, tc.OptimalDenoiser(tc.rule("parity:1x3,G=3"))(y, sigma)[:, 0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_printed_count_denoiser_is_the_posterior_mean(derivations, sigma):
    y = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    closed = sp.lambdify(sym.w[:3], derivations("count").denoiser)(*torch.exp(2 * y / sigma**2).T)
    expected = uniform([(1, 0, 0), (0, 1, 0), (0, 0, 1)], 2, sigma, y, "pm1")[:, 0]
    assert torch.allclose(closed, expected, rtol=1e-10, atol=1e-12)
    assert torch.allclose(
        closed, tc.OptimalDenoiser(tc.rule("exact-k:1x3,K=1"))(y, sigma)[:, 0], rtol=1e-10, atol=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_printed_permutation_denoiser_is_the_posterior_mean(derivations, sigma):
    y = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    weights = torch.exp(-((y[:, :, None] - torch.tensor([-1.0, 0.0, 1.0])) ** 2) / (2 * sigma**2))  # (B, n, n)
    closed = sp.lambdify(list(sym.weights(3)), derivations("permutation").denoiser)(*weights.flatten(1).T)
    expected = uniform(list(itertools.permutations(range(3))), 3, sigma, y, "scalar")[:, 0]
    assert torch.allclose(closed, expected, rtol=1e-10, atol=1e-12)
    rule = tc.rule("permutation:1x3")
    package = tc.OptimalDenoiser(rule, tc.Encoding(rule.shape, 3, "scalar"))(y, sigma)[:, 0]
    assert torch.allclose(closed, package, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("G", [2, 3, 5, 7])
def test_rule_enters_parity_at_order_g_minus_1(G):
    """With 60 digits, the posterior sum minus tanh over eps s^(G-1) prod y_j is 1 up to O(s^2), at any G."""
    with mpmath.workdps(60):
        y = [mpmath.mpf(v) / 10 for v in (7, -4, 11, 9, -13, 6, 8)[:G]]
        valid = [x for x in itertools.product((-1, 1), repeat=G) if x.count(1) % 2 == 0]
        errors = []
        for s in (mpmath.mpf("1e-3"), mpmath.mpf("1e-4")):
            weight = [mpmath.exp(s * mpmath.fdot(x, y)) for x in valid]
            mean = mpmath.fsum(w * x[0] for w, x in zip(weight, valid, strict=True)) / mpmath.fsum(weight)
            leading = (-1) ** G * s ** (G - 1) * mpmath.fprod(y[1:])
            errors.append(abs((mean - mpmath.tanh(s * y[0])) / leading - 1))
        assert errors[0] < 1e-4
        assert math.isclose(errors[0] / errors[1], 100, rel_tol=1e-3)


def test_power_series_is_the_expansion_of_the_posterior():
    support = sym.count_support(4, [1, 4])
    series = sp.lambdify([sym.s, *sym.y[:4]], sym.small_signal(support, 1, 3))
    y = [0.3, -0.8, 0.5, 1.1]
    with mpmath.workdps(40):

        def mean(s):
            weight = [mpmath.exp(s * mpmath.fdot(x, y)) for x in support]
            return mpmath.fsum(w * x[1] for w, x in zip(weight, support, strict=True)) / mpmath.fsum(weight)

        expected = mpmath.polyval(mpmath.taylor(mean, 0, 3)[::-1], mpmath.mpf("0.7"))
    assert math.isclose(series(0.7, *y), float(expected), rel_tol=1e-12)


def test_permanent_and_elementary_polynomials_count():
    ones = sp.ones(6, 6)
    assert sym.permanent(ones) == 720
    assert [sym.elementary([sp.Integer(1)] * 6, K) for K in range(-1, 8)] == [
        0,
        *(math.comb(6, K) for K in range(7)),
        0,
    ]


@pytest.mark.parametrize("name", NAMES)
def test_text_numbers_each_step_with_its_reason(derivations, name):
    derivation = derivations(name)
    text = str(derivation)
    assert text.startswith(derivation.title)
    for number, step in enumerate(derivation.steps, 1):
        assert f"\n{number}. {step.reason[:40]}" in text
        assert step.formula.splitlines()[0] in text
    assert text.count("difference 0, proved") == len(derivation.proofs)
    assert "NOT" not in text


@pytest.mark.parametrize("name", NAMES)
def test_latex_is_balanced(derivations, name):
    derivation = derivations(name)
    latex = derivation.to_latex()
    depth = 0
    for i, character in enumerate(latex):
        if latex[i - 1] != "\\":
            depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert latex.count(r"\begin{") == latex.count(r"\end{") == 2
    assert latex.count(r"\[") == latex.count(r"\]")
    assert latex.count(r"\item") == len(derivation.steps) + len(derivation.proofs)
    assert latex.count(r"\left") == latex.count(r"\right")
    words = [step.reason for step in derivation.steps] + [p.claim + p.cases for p in derivation.proofs]
    assert not any(set(text) & set(r"_^&#%$\{}") for text in words)  # these would need escapes


def test_a_failed_proof_shows_in_both_renderings():
    failed = Derivation("x", "X", "", "", (), (Proof("c", "n = 1", (sym.t[0],)),), sym.t[0])
    assert "difference [t1], NOT PROVED" in str(failed)
    assert "not proved" in failed.to_latex()
    assert not failed.proved
