"""The samplers, run on exact denoisers, must reproduce the exact laws."""

import math

import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.sampling import sample_images, sigma_schedule


def test_schedule_is_the_edm_one():
    sigmas = sigma_schedule(18)
    assert len(sigmas) == 19
    assert sigmas[0] == pytest.approx(80)
    assert sigmas[-2] == pytest.approx(0.002)
    assert sigmas[-1] == 0
    middle = (80 ** (1 / 7) + 8 / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert sigmas[8] == pytest.approx(middle)
    with pytest.raises(ValueError, match="at least 2"):
        sigma_schedule(1)


def test_gaussian_data_come_out_with_their_variance_and_second_order():
    """For data N(0, s^2) the optimal denoiser is linear and the flow maps noise to noise * s / sqrt(sigma^2 + s^2)."""
    s = 0.7

    def denoiser(y, sigma):
        return y * s**2 / (s**2 + sigma.reshape(-1, 1) ** 2)

    noise = torch.randn(2000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = noise * 80 * s / math.sqrt(80**2 + s**2)
    errors = {}
    for sampler in ("euler", "heun"):
        for n in (32, 64):
            images = sample_images(denoiser, noise, sigma_schedule(n), sampler)
            errors[sampler, n] = float((images - exact).abs().max())
    assert 1.7 < errors["euler", 32] / errors["euler", 64] < 2.4
    assert 3.2 < errors["heun", 32] / errors["heun", 64] < 5
    assert errors["heun", 64] < 0.1 * errors["euler", 64]


@pytest.mark.parametrize("sampler", ["heun", "euler", "churn"])
@pytest.mark.parametrize("reference", ["population", "empirical"])
def test_exact_denoisers_generate_their_laws(reference, sampler):
    rule = tc.rule("parity:2x3,G=3")
    g = torch.Generator().manual_seed(4)
    law = (
        rule
        if reference == "population"
        else tc.EmpiricalLaw(torch.tensor([[0, 1, 1, 1, 1, 0], [0, 0, 0, 1, 0, 1]]), 2)
    )
    noise = torch.randn(6000, 6, dtype=torch.float64, generator=g)
    n_steps = 80 if sampler == "euler" else 40
    images = sample_images(tc.OptimalDenoiser(law), noise, sigma_schedule(n_steps), sampler, g)
    symbols, ambiguous = tc.Encoding((2, 3), 2).decode(images)
    assert not ambiguous.any()
    support, counts = torch.unique(symbols, dim=0, return_counts=True)
    size = 16 if reference == "population" else 2
    assert len(support) == size
    assert law.log_prob(support).isfinite().all()
    chi2 = float(((counts - 6000 / size) ** 2 / (6000 / size)).sum())
    assert chi2 < size - 1 + 4 * math.sqrt(2 * (size - 1)) + 2


def test_unknown_samplers_are_refused():
    with pytest.raises(ValueError, match="heun"):
        sample_images(lambda y, sigma: y, torch.zeros(1, 2), sampler="ddim")
