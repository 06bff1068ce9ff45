"""The optimal denoiser against direct sums over the support, in float64."""

import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from enumeration import Enumeration, enumerate_rule

import twoclocks as tc

PARITIES = ["parity:2x3,G=2", "parity:3x3,G=3", "parity:3x4,G=4", "parity:2x5,G=5", "parity:2x6,G=6", "parity:3x4,G=12"]
SIGMAS = [0.01, 0.03, 0.1, 0.3, 0.7, 1.0, 3.0, 10.0, 100.0]


def noisy_images(rule, sigma, n=60, seed=0):
    """Noise around valid grids, around arbitrary corners of the cube (most break the rule), and far from everything."""
    g = torch.Generator().manual_seed(seed)
    corners = torch.cat([rule.sample(n, g), torch.randint(2, (2 * n, rule.dim), generator=g)])
    y = (2.0 * corners - 1).double() + sigma * torch.randn(3 * n, rule.dim, dtype=torch.float64, generator=g)
    y[-n:] *= 3
    return y.reshape(3 * n, 1, *rule.shape)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("spec", PARITIES)
def test_parity_denoiser_score_and_log_density_equal_the_posterior_sums(spec, sigma):
    rule, reference = tc.rule(spec), enumerate_rule(spec)
    D = tc.OptimalDenoiser(rule)
    codes = D.encoding.codes.numpy()
    y = noisy_images(rule, sigma)
    mean = reference.denoiser(y.numpy(), sigma, codes)
    # The direct sums lose digits of their own: log-weights of size 1 / sigma^2 are rounded to 1e-16 / sigma^2.
    slack = 1e-13 + 1e-15 / sigma**2
    np.testing.assert_allclose(D(y, sigma), mean, rtol=1e-10, atol=slack)
    np.testing.assert_allclose(D.score(y, sigma), (mean - y.numpy()) / sigma**2, rtol=1e-10, atol=slack / sigma**2)
    np.testing.assert_allclose(D.log_density(y, sigma), reference.log_density(y.numpy(), sigma, codes), rtol=1e-10)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0, 50.0])
@pytest.mark.parametrize("kind", ["pm1", "scalar", "onehot"])
def test_empirical_denoiser_equals_a_direct_softmax(kind, sigma):
    g = torch.Generator().manual_seed(1)
    Q = 2 if kind == "pm1" else 4
    train = torch.randint(Q, (300, 6), generator=g)
    encoding = tc.Encoding((2, 3), Q, kind)
    D = tc.OptimalDenoiser(tc.EmpiricalLaw(train, Q, (2, 3)), encoding)
    clean = encoding.encode(train, torch.float64)
    y = clean[:100] + sigma * torch.randn(100, *clean.shape[1:], dtype=torch.float64, generator=g)
    squared = (y.flatten(1)[:, None] - clean.flatten(1)).square().sum(-1)
    direct = (-squared / (2 * sigma**2)).softmax(-1) @ clean.flatten(1)
    np.testing.assert_allclose(D(y, sigma).flatten(1), direct, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(D(y.float(), sigma).flatten(1), direct, atol=2e-4)


@pytest.mark.parametrize("sigma", [0.2, 0.6, 1.5])
@pytest.mark.parametrize(
    ("spec", "codes"),
    [
        ("parity:2x3,G=3", [0.0, 1.0]),
        ("parity:2x3,G=3", [1.0, -1.0]),
        ("row-k:3x4,K=2", [[0.0, 2.0], [1.0, 2.5]]),
        ("permutation:3", [0.0, 0.5, 3.0]),
    ],
)
def test_codes_of_ones_own_give_the_posterior_sums(spec, codes, sigma):
    rule, reference = tc.rule(spec), enumerate_rule(spec)
    D = tc.OptimalDenoiser(rule, tc.Encoding(rule.shape, rule.alphabet, codes))
    g = torch.Generator().manual_seed(3)
    clean = D.encoding.encode(rule.sample(20, g), torch.float64)
    y = clean + sigma * torch.randn(clean.shape, dtype=torch.float64, generator=g)
    table = D.encoding.codes.numpy()
    np.testing.assert_allclose(D(y, sigma), reference.denoiser(y.numpy(), sigma, table), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(D.log_density(y, sigma), reference.log_density(y.numpy(), sigma, table), rtol=1e-10)
    covariance = reference.covariance(y[:3].numpy(), sigma, table)
    np.testing.assert_allclose(D.posterior_covariance(y[:3], sigma), covariance, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.2, 0.6, 1.5])
def test_posterior_covariance_is_the_sum_and_the_jacobian(sigma):
    spec = "parity:2x3,G=3"
    rule = tc.rule(spec)
    for kind in ("pm1", "onehot"):
        D = tc.OptimalDenoiser(rule, tc.Encoding(rule.shape, 2, kind))
        g = torch.Generator().manual_seed(2)
        y = torch.randn(4, D.encoding.channels, 2, 3, dtype=torch.float64, generator=g)
        covariance = D.posterior_covariance(y, sigma)
        expected = enumerate_rule(spec).covariance(y.numpy(), sigma, D.encoding.codes.numpy())
        np.testing.assert_allclose(covariance, expected, rtol=1e-10, atol=1e-13)
        for image, expected_here in zip(y, expected, strict=True):
            jacobian = torch.autograd.functional.jacobian(partial(D, sigma=sigma), image[None])
            here = sigma**2 * jacobian.reshape(expected_here.shape)
            np.testing.assert_allclose(here, expected_here, rtol=1e-8, atol=1e-10)


def test_score_is_the_gradient_of_the_log_density():
    D = tc.OptimalDenoiser(tc.rule("parity:2x3,G=3"))
    y = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    sigma = torch.tensor([0.3, 0.5, 1.0, 2.0, 5.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(D.log_density(y, sigma).sum(), y)
    np.testing.assert_allclose(gradient, D.score(y.detach(), sigma), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("G", [2, 3, 6, 36])
def test_no_nan_in_float32_at_any_sigma(G):
    rule = tc.rule(f"parity:6x6,G={G}")
    D = tc.OptimalDenoiser(rule)
    E = tc.OptimalDenoiser(tc.EmpiricalLaw(rule.sample(100), 2, rule.shape))
    for sigma in np.logspace(-4, 4, 33):
        y = noisy_images(rule, sigma, n=20).float()
        for denoiser in (D, E):
            assert denoiser(y, float(sigma)).abs().max() <= 1 + 1e-5
            assert denoiser.log_density(y, float(sigma)).isfinite().all()
        assert rule.marginals(D.channel.fields(y, float(sigma))).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spec", ["parity:2x3,G=3", "permutation:3"])
def test_half_precision_images_are_denoised(spec, dtype):
    rule = tc.rule(spec)
    D = tc.OptimalDenoiser(rule)
    y = torch.randn(5, D.encoding.channels, *rule.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    y[0] = 0
    for sigma in (1e-4, 0.5, 1e4):  # 1 / sigma^2 exceeds the range of float16
        assert D(y, sigma).dtype == D.score(y, sigma).dtype == dtype
        torch.testing.assert_close(D(y, sigma), D(y.float(), sigma).to(dtype))
        assert D.log_density(y, sigma).isfinite().all()


def test_contradicted_group_flips_its_least_certain_cell():
    D = tc.OptimalDenoiser(tc.rule("parity:1x3,G=3"))
    y = torch.tensor([[1.0, -1.0, -0.6]], dtype=torch.float64)  # one 1: odd, and the last cell is the least certain
    assert D(y, 0.01).tolist() == [[1.0, -1.0, 1.0]]


def test_sigma_may_differ_by_sample_and_rows_are_images():
    rule = tc.rule("parity:2x3,G=3")
    D = tc.OptimalDenoiser(rule)
    y = torch.randn(3, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.2, 1.0, 4.0])
    together = D(y, sigma)
    assert together.shape == y.shape
    for k in range(3):
        torch.testing.assert_close(together[k], D(y[k : k + 1], float(sigma[k]))[0])
    torch.testing.assert_close(D(y.flatten(1), sigma), together.flatten(1))


@pytest.mark.parametrize(
    ("y", "sigma", "message"),
    [
        (torch.zeros(2, 5), 1.0, "shape"),
        (torch.zeros(2, 2, 2, 3), 1.0, "shape"),
        (torch.zeros(2, 6, dtype=torch.long), 1.0, "floating-point"),
        (torch.zeros(2, 6), 0.0, "positive"),
        (torch.zeros(2, 6), -1.0, "positive"),
        (torch.zeros(2, 6), math.nan, "positive"),
        (torch.zeros(2, 6), torch.ones(3), "sigma must be a number or have shape"),
    ],
)
def test_bad_input_is_refused(y, sigma, message):
    with pytest.raises(ValueError, match=message):
        tc.OptimalDenoiser(tc.rule("parity:2x3,G=3"))(y, sigma)


def test_encoding_must_fit_the_law():
    with pytest.raises(ValueError, match="does not fit"):
        tc.OptimalDenoiser(tc.rule("parity:2x3,G=3"), tc.Encoding((2, 3), 3, "onehot"))


@pytest.mark.slow
def test_a_million_training_samples_fit_in_memory():
    """Peak of a fresh process that denoises and evaluates the density with N = 2^20, D = 36, in float32."""
    script = (
        "import torch, twoclocks as tc; torch.set_num_threads(1)\n"
        "x = torch.randint(2, (2**20, 36), dtype=torch.uint8)\n"
        "D = tc.OptimalDenoiser(tc.EmpiricalLaw(x, 2, (6, 6)))\n"
        "y = torch.randn(64, 36); D(y, 0.7); D.log_density(y, 0.7)\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.5e6  # kilobytes; getrusage would count what the parent process held as it forked


def test_reference_itself_is_normalised():
    reference = Enumeration(np.array([[0, 0], [1, 1]]), 2)
    assert reference.log_partition(np.zeros((1, 2, 2))) == pytest.approx([0], abs=1e-15)
