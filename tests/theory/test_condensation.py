"""Mutual information by two routes, and the noise level where it crosses log N."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize

import twoclocks as tc
from twoclocks.theory import condensation


def pair_information(sigma: float) -> float:
    """I(x; y) of two cells that must agree, by quadrature: one coin of amplitude sqrt(2)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    weights = weights / weights.sum()
    log_ratio = -2 * math.sqrt(2) * (math.sqrt(2) + sigma * nodes) / sigma**2
    return math.log(2) - float(weights @ np.logaddexp(0, log_ratio))


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0, 6.0])
def test_information_against_quadrature(sigma):
    estimate = tc.mutual_information(tc.rule("parity:4x6,G=2"), [sigma])
    exact = 12 * pair_information(sigma)
    assert abs(float(estimate.value) - exact) < 4 * float(estimate.standard_error)
    assert float(estimate.standard_error) < 0.01 * exact


@pytest.mark.parametrize("kind", ["pm1", "onehot"])
def test_information_is_the_mean_log_density_ratio(kind):
    """The plain estimate E[log p(y | x) - log p_sigma(y)], with the density of the optimal denoiser."""
    rule = tc.rule("parity:2x6,G=3")
    encoding = tc.Encoding(rule.shape, 2, kind)
    denoiser = tc.OptimalDenoiser(rule, encoding)
    generator = torch.Generator().manual_seed(4)
    clean = encoding.encode(rule.sample(20000, generator), torch.float64)
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    for sigma in (0.4, 1.0, 3.0):
        conditional = -noise.square().sum((1, 2, 3)) / 2 - clean[0].numel() / 2 * math.log(2 * math.pi * sigma**2)
        ratio = conditional - denoiser.log_density(clean + sigma * noise, sigma)
        estimate = tc.mutual_information(rule, [sigma], encoding)
        error = math.hypot(float(ratio.std()) / math.sqrt(len(ratio)), float(estimate.standard_error))
        assert abs(float(ratio.mean() - estimate.value)) < 4 * error


@pytest.mark.slow
def test_information_is_the_integral_of_the_denoising_loss():
    """dI / d(1/sigma^2) = mmse / 2 (Guo, Shamai, Verdu 2005): I is the integral of mmse / sigma^2 over log sigma."""
    rule = tc.rule("parity:2x6,G=3")
    steps = torch.linspace(math.log(0.1), math.log(60.0), 121, dtype=torch.float64)
    sigmas = steps.exp()
    draws = []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        x = rule.sample(2000, generator)
        mmse = 12 * tc.dsm_loss(tc.OptimalDenoiser(rule), x, sigmas, generator=generator)
        density = mmse / sigmas**2
        pieces = (density[1:] + density[:-1]) / 2 * steps.diff()  # trapezoids, then the tail mmse = 12 beyond 60
        draws.append(pieces.flip(0).cumsum(0).flip(0) + 12 / (2 * 60.0**2))
    integral = torch.stack(draws)
    error = integral.std(0) / math.sqrt(8)
    direct = tc.mutual_information(rule, sigmas[:-1], n_samples=20000)
    total = (error**2 + direct.standard_error**2).sqrt() + 2e-4  # 2e-4: the quadrature
    assert torch.all((integral.mean(0) - direct.value).abs() < 4.5 * total)  # 120 correlated comparisons
    assert abs(float(integral.mean(0)[0]) - rule.entropy) < 4 * float(total[0])  # below 0.1 all is known
    assert float(total.max()) < 0.02 * rule.entropy


def test_information_saturates_at_the_entropy_and_vanishes():
    law = tc.EmpiricalLaw(torch.tensor([[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1]]))  # not uniform
    values = tc.mutual_information(law, [1e-4, 1e-2, 0.5, 1.0, 2.0, 1e4]).value
    assert float(values[0]) == pytest.approx(law.entropy, rel=1e-9, abs=0.02)  # the draws' own symbol frequencies
    assert bool((values.diff() <= 1e-12).all())
    assert 0 <= float(values[-1]) < 1e-7
    uniform = tc.mutual_information(tc.rule("parity:6x6,G=4"), [1e-4])
    assert float(uniform.value) == pytest.approx(27 * math.log(2), rel=1e-12)


@pytest.mark.parametrize("n_train", [2, 8, 256, 4000])
def test_condensation_sigma_against_quadrature(n_train):
    rule = tc.rule("parity:4x6,G=2")
    exact = optimize.brentq(lambda sigma: 12 * pair_information(sigma) - math.log(n_train), 0.05, 50)
    slope = 12 * (pair_information(exact * 1.01) - pair_information(exact / 1.01)) / (2 * math.log(1.01))
    error = float(tc.mutual_information(rule, [exact]).standard_error) / abs(slope)  # of log sigma
    assert abs(math.log(tc.condensation_sigma(rule, n_train) / exact)) < 4 * error + 2e-5
    assert error < 0.01


@pytest.mark.parametrize("spec", ["row-k:4x4,K=2", "global-k:4x4,K=4+8", "permutation:4", "latin:4", "sudoku:2x2"])
def test_condensation_sigma_on_other_rules(spec):
    rule = tc.rule(spec)
    n_train = 100
    found = tc.condensation_sigma(rule, n_train, n_samples=1000)
    fresh = tc.mutual_information(rule, [found], n_samples=1000, generator=torch.Generator().manual_seed(6))
    assert abs(float(fresh.value) - math.log(n_train)) < 4 * math.sqrt(2) * float(fresh.standard_error)
    assert float(fresh.standard_error) < 0.03 * math.log(n_train)


@pytest.mark.slow
def test_condensation_sigma_falls_with_the_training_set_and_repeats():
    rule = tc.rule("parity:6x6,G=3")
    found = [tc.condensation_sigma(rule, n) for n in (2, 64, 4096, 2**20, 2**24 - 1)]
    assert found == sorted(found, reverse=True)
    assert found[2] == tc.condensation_sigma(rule, 4096)
    assert 0.2 < found[2] < 2  # where Fig. 15 looks for the gap
    other = tc.condensation_sigma(rule, 4096, generator=torch.Generator().manual_seed(8))
    assert other != found[2]
    assert other == pytest.approx(found[2], rel=0.01)


def test_condensation_sigma_scales_with_the_encoding():
    rule = tc.rule("parity:4x6,G=3")
    onehot = tc.condensation_sigma(rule, 256, tc.Encoding(rule.shape, 2, "onehot"))
    assert onehot == pytest.approx(tc.condensation_sigma(rule, 256) / math.sqrt(2), rel=0.01)


@pytest.mark.parametrize(
    ("n_train", "message"),
    [
        (1, "at least 2"),
        (0, "at least 2"),
        (math.nan, "whole number"),
        (math.inf, "whole number"),
        (9.5, "whole number"),
        (64, "64"),
        (10**9, "never"),
    ],
)
def test_condensation_sigma_refuses(n_train, message):
    with pytest.raises(ValueError, match=message):
        tc.condensation_sigma(tc.rule("parity:2x4,G=4"), n_train)


def test_condensation_sigma_gives_up_clearly(monkeypatch):
    monkeypatch.setattr(condensation, "LOWEST_LOG_SIGMA", 1.0)
    with pytest.raises(ValueError, match="too close to the size of the support"):
        tc.condensation_sigma(tc.rule("parity:2x4,G=4"), 63)
