"""Bayes curves, the rule gap and the floors of a GPT, against quadrature, enumeration and each other."""

import itertools
import math

import numpy as np
import pytest
import torch

import twoclocks as tc


def pair_gap(sigma: float) -> float:
    """rule_gap of one pair of cells that must agree (parity, G = 2), by tensor Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    weights = weights / weights.sum()
    signal = (1 + sigma * nodes) / sigma**2  # the pair (+1, +1); (-1, -1) is its mirror image
    difference = np.tanh(signal[:, None] + signal) - np.tanh(signal[:, None])  # both cells tell of the one coin
    return float(weights @ difference**2 @ weights)


def faint_pair_gap(sigma: float) -> float:
    """As `pair_gap` at small sigma, where it is a spike: a fine grid in one cell, quadrature in the other."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    first = np.arange(-1.5, 1 + 12 * sigma, sigma**2 / 50)
    density = np.exp(-(((first - 1) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))
    with np.errstate(over="ignore"):
        short = 2 / (np.exp(2 * (first + 1 + sigma * nodes[:, None]) / sigma**2) + 1)  # 1 - tanh, no digit lost
        difference = 2 / (np.exp(2 * first / sigma**2) + 1) - short
    return float(weights / weights.sum() @ difference**2 @ density) * sigma**2 / 50


@pytest.mark.parametrize("sigma", [0.7, 0.3, 0.2, 0.1, 0.05, 0.03])
def test_rule_gap_and_its_error_at_small_sigma(sigma):
    exact = faint_pair_gap(sigma)  # down to 2e-243
    assert exact == pytest.approx(pair_gap(sigma), rel=1e-3) or sigma < 0.7
    rule = tc.rule("parity:2x4,G=2")
    draws = [tc.theory.rule_gap_estimate(rule, [sigma], None, 4096, torch.Generator().manual_seed(k)) for k in range(8)]
    errors = np.array([(float(e.value) - exact) / float(e.standard_error) for e in draws])
    assert np.abs(errors).max() < 4
    assert math.sqrt((errors**2).mean()) < 1.8
    assert max(float(e.standard_error) for e in draws) < 0.2 * exact


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0, 5.0])
def test_rule_gap_against_quadrature(sigma):
    estimate = tc.theory.rule_gap_estimate(tc.rule("parity:6x6,G=2"), [sigma])
    error = float(estimate.standard_error)
    assert abs(float(estimate.value) - pair_gap(sigma)) < 4 * error
    assert error < 0.01 * pair_gap(sigma)


@pytest.mark.parametrize(
    "spec", ["parity:2x6,G=2", "parity:2x6,G=3", "parity:2x6,G=4", "row-k:2x6,K=2", "permutation:3", "sudoku:2x2"]
)
def test_rule_gap_is_the_difference_of_two_losses(spec):
    rule = tc.rule(spec)
    sigmas = [0.6, 1.2]
    product = tc.ProductLaw(rule.marginals(torch.zeros(rule.dim, rule.alphabet).double()), rule.shape)
    differences = []
    for seed in range(20):
        x = rule.sample(1000, torch.Generator().manual_seed(seed))
        losses = [
            tc.dsm_loss(tc.OptimalDenoiser(law), x, sigmas, generator=torch.Generator().manual_seed(100 + seed))
            for law in (product, rule)
        ]
        differences.append(losses[0] - losses[1])
    stacked = torch.stack(differences)
    gap = tc.theory.rule_gap_estimate(rule, sigmas, n_samples=20000)
    error = (stacked.var(0) / 20 + gap.standard_error**2).sqrt()
    assert torch.all((stacked.mean(0) - gap.value).abs() < 4 * error)
    assert torch.all(error < 0.05 * gap.value)


@pytest.mark.parametrize("G", [2, 3, 4])
def test_rule_gap_at_large_sigma_falls_with_the_group_size(G):
    """The leading order of the derivation: (1 + sigma^2)^(G-1) / sigma^(4 (G-1))."""
    sigma = 200.0
    leading = (1 + sigma**2) ** (G - 1) / sigma ** (4 * (G - 1))
    gap = tc.theory.rule_gap_estimate(tc.rule(f"parity:4x6,G={G}"), [sigma])
    assert abs(float(gap.value) / leading - 1) < 4 * float(gap.standard_error) / leading + 1e-3
    assert float(gap.standard_error) < 0.06 * leading


def test_rule_gap_in_two_encodings():
    """One-hot codes are sqrt(2) apart where -1/+1 are 2 apart: the same posteriors, squared distances a quarter."""
    rule = tc.rule("parity:4x6,G=3")
    spins = tc.theory.rule_gap_estimate(rule, [0.8, 1.6], n_samples=8000)
    onehot = tc.theory.rule_gap_estimate(
        rule,
        [0.8 / math.sqrt(2), 1.6 / math.sqrt(2)],
        tc.Encoding(rule.shape, 2, "onehot"),
        n_samples=8000,
        generator=torch.Generator().manual_seed(9),
    )
    error = (spins.standard_error**2 + 16 * onehot.standard_error**2).sqrt()
    assert torch.all((spins.value - 4 * onehot.value).abs() < 4 * error)


def test_rule_gap_of_independent_cells_is_zero():
    law = tc.ProductLaw(torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]), (1, 3))
    assert float(tc.rule_gap(law, [0.3, 1.0, 10.0]).abs().max()) < 1e-25


def test_rule_gap_is_reproducible_and_never_negative():
    rule = tc.rule("parity:6x6,G=6")
    gap = tc.rule_gap(rule, torch.logspace(-3, 3, 13))
    assert gap.dtype == torch.float64
    assert gap.shape == (13,)
    assert bool((gap >= 0).all())
    assert torch.equal(gap, tc.rule_gap(rule, torch.logspace(-3, 3, 13)))
    assert tc.rule_gap(rule, []).shape == (0,)


@pytest.mark.parametrize(("sigmas", "n"), [([0.0], 10), ([-1.0], 10), ([math.nan], 10), ([1.0], 1)])
def test_rule_gap_refuses(sigmas, n):
    with pytest.raises(ValueError, match=r"sigma must be positive|n_samples must be a whole number of at least 2"):
        tc.rule_gap(tc.rule("parity:2x2,G=2"), sigmas, n_samples=n)


def test_bayes_curves_part_train_from_held_out_below_the_condensation_scale():
    rule = tc.rule("parity:4x6,G=3")
    generator = torch.Generator().manual_seed(3)
    train, held_out = rule.sample(256, generator), rule.sample(256, generator)
    splits = {"train": train, "held_out": held_out, "cube": torch.randint(2, (256, 24), generator=generator)}
    sigmas = [0.5, 5.0]
    memorized = tc.theory.bayes_curves(tc.EmpiricalLaw(train, 2, rule.shape), splits, sigmas, n_noise=8)
    learned = tc.theory.bayes_curves(rule, splits, sigmas, n_noise=8)
    assert memorized["train"][0] < 1e-3 < learned["train"][0] < 0.1 < memorized["held_out"][0]
    assert learned["cube"][0] > 2 * learned["held_out"][0]
    assert abs(learned["train"][0] / learned["held_out"][0] - 1) < 0.3  # the rule's optimum knows no training set
    for curves in (memorized, learned):  # far above the scale nothing tells the splits apart
        assert max(float(c[1]) for c in curves.values()) < 1.05 * min(float(c[1]) for c in curves.values())


def test_bayes_curves_are_the_loss_of_the_optimal_denoiser():
    rule = tc.rule("parity:2x6,G=4")
    x = rule.sample(100, torch.Generator().manual_seed(0))
    curves = tc.theory.bayes_curves(rule, {"a": x, "b": x}, [0.3, 1.0], generator=torch.Generator().manual_seed(7))
    direct = tc.dsm_loss(tc.OptimalDenoiser(rule), x, [0.3, 1.0], generator=torch.Generator().manual_seed(7))
    assert torch.equal(curves["a"], direct)
    assert torch.equal(curves["b"], direct)
    with pytest.raises(ValueError, match="symbols"):
        tc.theory.bayes_curves(rule, {"a": x + 1}, [1.0])


def cross_entropy(law: tc.Law, x: torch.Tensor) -> float:
    """Mean next-token loss of a law's autoregressive optimum, nats per token."""
    return float(-law.next_token_probs(x).gather(-1, x[..., None]).log().mean())


def test_gpt_floors_are_the_losses_of_the_two_optima():
    rule = tc.rule("parity:2x4,G=4")
    support = torch.tensor([x for x in itertools.product((0, 1), repeat=8) if sum(x[:4]) % 2 == sum(x[4:]) % 2 == 0])
    train = rule.sample(40, torch.Generator().manual_seed(1))  # of 64: some repeat
    assert len(train.unique(dim=0)) < 40
    floors = tc.theory.gpt_floors(rule, train)
    assert floors.population == pytest.approx(cross_entropy(rule, support), rel=1e-12)
    assert floors.memorization == pytest.approx(cross_entropy(tc.EmpiricalLaw(train), train), rel=1e-12)
    assert tc.theory.gpt_floors(rule, support).memorization == pytest.approx(floors.population, rel=1e-12)


def test_gpt_floors_of_the_test_run():
    floors = tc.theory.gpt_floors(tc.rule("parity:4x6,G=3"), 256)
    assert floors.population == pytest.approx(2 / 3 * math.log(2), rel=1e-12)
    assert floors.memorization == pytest.approx(0.231, abs=5e-4)
    assert tc.theory.gpt_floors(tc.rule("parity:4x6,G=3")).memorization is None


@pytest.mark.parametrize(
    "train", [0, -1, 65, torch.zeros(0, 8, dtype=torch.int64), torch.zeros(3, 7, dtype=torch.int64)]
)
def test_gpt_floors_refuse(train):
    with pytest.raises(ValueError, match=r"distinct samples holds 1\.\.64|must have shape"):
        tc.theory.gpt_floors(tc.rule("parity:2x4,G=4"), train)


def test_floors_of_a_rule_with_thousands_of_digits():
    rule = tc.rule("parity:200x200,G=2")
    assert tc.theory.gpt_floors(rule, 64).population == pytest.approx(math.log(2) / 2)
    with pytest.raises(ValueError, match=r"holds 1\.\.4\.0e\+6020 of them, got N=-1"):
        tc.theory.gpt_floors(rule, -1)
    with pytest.raises(ValueError, match=r"holds 0\.\.4\.0e\+6020 of them, got N=-1"):
        tc.chance_memorization(rule, -1)
