"""Gaussians and mixtures: closed forms against inverses, quadrature, autograd, and fits against scikit-learn's own."""

import math

import numpy as np
import pytest
import torch

import twoclocks as tc

G = torch.Generator().manual_seed(0)
FACTOR = torch.randn(5, 5, generator=G, dtype=torch.float64)
COVARIANCE = FACTOR @ FACTOR.T
MEAN = torch.randn(5, generator=G, dtype=torch.float64)
Y = 3 * torch.randn(7, 5, generator=G, dtype=torch.float64)
MEANS = 4 * torch.randn(3, 5, generator=G, dtype=torch.float64)
SIGMAS = [1e-3, 0.1, 1.0, 10.0, 1e3]


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("kind", ["full", "diag", "one"])
def test_a_gaussian_equals_its_inverse_written_out(kind, sigma):
    given = {"full": COVARIANCE, "diag": COVARIANCE.diagonal(), "one": torch.tensor(2.0)}[kind]
    C = {"full": COVARIANCE, "diag": COVARIANCE.diagonal().diag(), "one": 2 * torch.eye(5, dtype=torch.float64)}[kind]
    density = tc.GaussianDensity(MEAN, given)
    D = tc.OptimalDenoiser(density)
    noisy = C + sigma**2 * torch.eye(5, dtype=torch.float64)
    gain = C @ torch.linalg.inv(noisy)
    np.testing.assert_allclose(D(Y, sigma), MEAN + (Y - MEAN) @ gain.T, rtol=1e-9, atol=1e-9)
    exact = torch.distributions.MultivariateNormal(MEAN, noisy).log_prob(Y)
    np.testing.assert_allclose(D.log_density(Y, sigma), exact, rtol=1e-9)
    left = (sigma**2 * gain).expand(len(Y), 5, 5)
    np.testing.assert_allclose(D.posterior_covariance(Y, sigma), left, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(density.covariance, C, atol=1e-12)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_scores_and_covariances_of_a_mixture_are_derivatives_of_its_log_density(kind, sigma):
    covariances = {
        "full": torch.stack([COVARIANCE, torch.eye(5, dtype=torch.float64), 0.1 * COVARIANCE]),
        "diag": torch.rand(3, 5, generator=G, dtype=torch.float64),
        "spherical": torch.tensor([0.5, 1.0, 2.0]),
    }[kind]
    density = tc.GaussianMixture([1.0, 2.0, 3.0], MEANS, covariances)
    D = tc.OptimalDenoiser(density)
    y = Y.clone().requires_grad_()
    D.log_density(y, sigma).sum().backward()
    np.testing.assert_allclose(D.score(Y, sigma), y.grad, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(D(Y, sigma), Y + sigma**2 * y.grad, rtol=1e-8, atol=1e-8)
    covariance = D.posterior_covariance(Y, sigma)
    for b in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda t: D(t[None], sigma)[0], Y[b])
        np.testing.assert_allclose(covariance[b], sigma**2 * jacobian, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_a_mixture_on_the_line_equals_quadrature(sigma):
    density = tc.GaussianMixture([0.3, 0.7], torch.tensor([[-2.0], [1.0]]), [0.2, 1.5])
    x = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    prior = 0.3 * torch.distributions.Normal(x.new_tensor(-2.0), math.sqrt(0.2)).log_prob(x).exp()
    prior = prior + 0.7 * torch.distributions.Normal(x.new_tensor(1.0), math.sqrt(1.5)).log_prob(x).exp()
    y = torch.tensor([[-3.0], [-0.5], [0.0], [4.0]], dtype=torch.float64)
    joint = prior * torch.distributions.Normal(y, sigma).log_prob(x).exp()
    log_density, mean = density.posterior(y, sigma)
    step = float(x[1] - x[0])
    np.testing.assert_allclose(log_density.exp(), joint.sum(1) * step, rtol=1e-7)
    np.testing.assert_allclose(mean[:, 0], (joint * x).sum(1) / joint.sum(1), rtol=1e-7, atol=1e-9)


def test_a_fit_is_the_mean_and_the_covariance_of_the_data():
    x = torch.randn(50, 2, 3, generator=G, dtype=torch.float64) + 100
    density = tc.GaussianDensity.fit(x)
    assert density.shape == (2, 3)
    np.testing.assert_allclose(density.mean, x.flatten(1).mean(0), rtol=1e-12)
    np.testing.assert_allclose(density.covariance, np.cov(x.flatten(1).T, bias=True), atol=1e-10)
    images = np.random.default_rng(0).integers(0, 256, (40, 6), dtype=np.uint8)
    np.testing.assert_allclose(tc.GaussianDensity.fit(images).covariance, np.cov(images.T, bias=True), rtol=1e-10)
    moved = tc.GaussianDensity.fit(images).moved(0.5, -1.0)
    np.testing.assert_allclose(moved.covariance, np.cov(0.5 * images.T, bias=True), rtol=1e-10)
    np.testing.assert_allclose(moved.mean, 0.5 * images.mean(0) - 1, rtol=1e-12)


def test_a_low_rank_fit_keeps_the_leading_directions_and_the_mean_of_the_other_variances():
    x = torch.randn(200, 6, generator=G, dtype=torch.float64) * torch.tensor([5.0, 3.0, 1.0, 0.5, 0.3, 0.1])
    full = np.cov(x.T, bias=True)
    values, vectors = np.linalg.eigh(full)
    values[:4] = values[:4].mean()
    low = tc.GaussianDensity.fit(x, rank=2)
    np.testing.assert_allclose(low.covariance, vectors @ np.diag(values) @ vectors.T, atol=1e-10)
    same = tc.GaussianDensity(low.mean, low.covariance)
    for sigma in SIGMAS:
        for one, other in zip(low.posterior(x[:5], sigma), same.posterior(x[:5], sigma), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)
        v = x[5:10]
        products = [d.covariance_product(x[:5], sigma, v) for d in (low, same)]
        np.testing.assert_allclose(*products, rtol=1e-8, atol=1e-9)
    drawn = low.sample(100_000, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(np.cov(drawn.T), low.covariance, atol=0.3)


@pytest.mark.parametrize("rank", [None, 2])
def test_a_fitted_mixture_finds_its_components(rank):
    pytest.importorskip("sklearn")
    truth = tc.GaussianMixture([0.25, 0.75], torch.tensor([[0.0, 0, 0], [9.0, 9, 0]]), [torch.eye(3), 0.5])
    x = truth.sample(4000, torch.Generator().manual_seed(0))
    fitted = tc.GaussianMixture.fit(x, 2, rank=rank)
    order = fitted.weights.argsort()
    np.testing.assert_allclose(fitted.weights[order], truth.weights, atol=0.02)
    means = torch.stack([fitted.components[k].mean for k in order])
    np.testing.assert_allclose(means, [[0, 0, 0], [9, 9, 0]], atol=0.1)
    assert float(fitted.posterior(x, 0.1).log_density.mean()) > float(truth.posterior(x, 0.1).log_density.mean()) - 0.1


def test_a_singular_gaussian_is_a_point_at_every_sigma():
    point = tc.GaussianDensity(MEAN, 0.0)
    one = tc.EmpiricalDensity(MEAN[None])
    for sigma in SIGMAS:
        for a, b in zip(point.posterior(Y, sigma), one.posterior(Y, sigma), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10)


def test_references_by_name():
    pytest.importorskip("sklearn")
    x = torch.randn(80, 4, generator=G)
    found = tc.references(x, ["empirical", "gaussian", "gaussian:2", "gmm:3", "gmm:2:2"])
    y = Y[:, :4].float()
    assert list(found) == ["empirical", "gaussian", "gaussian:2", "gmm:3", "gmm:2:2"]
    np.testing.assert_allclose(found["gaussian"](y, 1.0), tc.GaussianDensity.fit(x).posterior(y, 1.0).mean)
    pixels = (255 * torch.rand(60, 4, generator=G)).to(torch.uint8)
    scaled = tc.references(pixels, ["empirical", "gaussian", "gmm:2"], scale=1 / 127.5, shift=-1)
    floats = tc.references(pixels.double() / 127.5 - 1, ["empirical", "gaussian", "gmm:2"])
    for name in scaled:
        np.testing.assert_allclose(scaled[name](Y[:, :4], 0.5), floats[name](Y[:, :4], 0.5), atol=1e-6)
    for name in ("rule", "gmm", "gaussian:2:3", "gmm:x", "empirical:3"):
        with pytest.raises(ValueError, match="unknown reference"):
            tc.references(x, [name])


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must be symmetric"):
        tc.GaussianDensity(MEAN, torch.arange(25.0).reshape(5, 5))
    with pytest.raises(ValueError, match="no negative variance"):
        tc.GaussianDensity(MEAN, -1.0)
    with pytest.raises(ValueError, match=r"must be finite, \(5, 5\), \(5,\) or a number, got \(3,\)"):
        tc.GaussianDensity(MEAN, torch.ones(3))
    with pytest.raises(ValueError, match="weights must be positive"):
        tc.GaussianMixture([1.0, 0.0], MEANS[:2], [1.0, 1.0])
    with pytest.raises(ValueError, match="one for each of 2 weights"):
        tc.GaussianMixture([1.0, 1.0], MEANS, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"rank must lie in 1\.\.4"):
        tc.GaussianDensity.fit(Y, rank=5)
    with pytest.raises(ValueError, match=r"n_components must lie in 1\.\.7"):
        tc.GaussianMixture.fit(Y, 8)
    with pytest.raises(ValueError, match="has no classes"):
        tc.GaussianDensity(MEAN, 1.0).posterior(Y, 1.0, torch.zeros(7, dtype=torch.long))
