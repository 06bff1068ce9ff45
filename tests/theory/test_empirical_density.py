"""The empirical density against softmaxes written out in long double; shards, bytes, maps, classes, bounds."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from direct_densities import direct_posterior
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import twoclocks as tc
from twoclocks.theory import rows as rows_module
from twoclocks.theory.rows import Rows

SCALE = 2.0
RELATIVE = [1e-3, 1e-2, 0.1, 0.5, 1.0, 3.0, 10.0, 1e3]


def data(n, dim, seed=0, shift=5.0):
    """Numbers off centre, with a duplicate and a near-duplicate."""
    g = torch.Generator().manual_seed(seed)
    x = shift + SCALE * torch.randn(n, dim, generator=g, dtype=torch.float64)
    if n > 3:
        x[1] = x[0]
        x[3] = x[2] + 1e-3 * SCALE
    return x, g


def noisy(x, sigma, g, n=8):
    at = torch.arange(n) % len(x)
    y = x[at] + sigma * torch.randn(n, *x.shape[1:], generator=g, dtype=torch.float64)
    y[-1] += 10 * SCALE  # far from all
    return y


@pytest.mark.parametrize("relative", RELATIVE)
@pytest.mark.parametrize(("n", "dim"), [(1, 1), (1, 5), (200, 1), (200, 3), (120, 64), (40, 3072)])
def test_float64_equals_a_direct_softmax(n, dim, relative):
    x, g = data(n, dim)
    sigma = relative * SCALE
    y = noisy(x, sigma, g)
    log_density, mean = tc.EmpiricalDensity(x).posterior(y, sigma)
    log_direct, mean_direct = direct_posterior(x, y, sigma)
    np.testing.assert_allclose(mean, mean_direct.astype(float), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(log_density, log_direct.astype(float), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("relative", RELATIVE)
@pytest.mark.parametrize(("n", "dim"), [(1, 5), (200, 1), (200, 3), (120, 64), (40, 3072)])
def test_float32_keeps_its_stated_bound(n, dim, relative):
    x, g = data(n, dim)
    sigma = relative * SCALE
    y = noisy(x, sigma, g).float()
    log_density, mean = tc.EmpiricalDensity(x).posterior(y, sigma)
    log_direct, mean_direct = direct_posterior(x, y.double(), sigma)
    assert log_density.dtype == mean.dtype == torch.float32
    error = 2.0**-7  # of logarithms of weights; weights change by it, and the mean by twice it times the spread
    np.testing.assert_allclose(log_density, log_direct.astype(float), rtol=2e-7, atol=error)
    spread = float((x - x.mean(0)).norm(dim=1).max())
    off = np.linalg.norm(mean.numpy() - mean_direct.astype(float), axis=1)
    assert (off <= 2 * error * spread + 1e-6 * float(x.norm(dim=1).max())).all()


def test_the_mean_of_images_has_their_shape_and_the_denoiser_agrees():
    x, g = data(30, 24)
    x = x.reshape(30, 2, 3, 4)
    density = tc.EmpiricalDensity(x)
    D = tc.OptimalDenoiser(density)
    y = noisy(x, 1.5, g)
    sigma = torch.linspace(0.5, 3, len(y))
    assert isinstance(D, tc.OptimalDenoiser)
    assert D(y, sigma).shape == y.shape
    _, direct = direct_posterior(x.flatten(1), y.flatten(1), sigma.double().numpy())
    np.testing.assert_allclose(D(y, sigma).flatten(1), direct.astype(float), rtol=1e-10)
    np.testing.assert_allclose(D(y, sigma), density.posterior(y.flatten(1), sigma).mean.reshape(y.shape))
    wanted = (D(y, sigma) - y) / sigma.double().reshape(-1, 1, 1, 1) ** 2
    np.testing.assert_allclose(D.score(y, sigma), wanted, rtol=1e-9, atol=1e-12)
    assert D.log_density(y, sigma).shape == (len(y),)
    assert D(y.half(), sigma).dtype == torch.float16
    assert D(y[:0], 1.0).shape == (0, 2, 3, 4)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_covariance_is_that_of_the_weights_and_the_jacobian_times_sigma_squared(sigma):
    x, g = data(50, 6)
    density = tc.EmpiricalDensity(x.reshape(50, 2, 3))
    y = noisy(x, sigma, g).reshape(-1, 2, 3)
    covariance = tc.OptimalDenoiser(density).posterior_covariance(y, sigma)
    logs = -(y.flatten(1)[:, None] - x).square().sum(-1) / (2 * sigma**2)
    w = logs.softmax(1)
    off = x - (w @ x)[:, None]
    direct = torch.einsum("bn,bni,bnj->bij", w, off, off)
    np.testing.assert_allclose(covariance, direct, atol=1e-10)
    jacobian = torch.autograd.functional.jacobian(lambda t: density.posterior(t[None], sigma).mean[0], y[0])
    np.testing.assert_allclose(sigma**2 * jacobian.reshape(6, 6), direct[0], atol=1e-10)
    at = y.clone().requires_grad_()
    density.posterior(at, sigma).log_density.sum().backward()
    np.testing.assert_allclose(at.grad, density.score(y, sigma), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_blocks_and_shards_add_up_to_one_pass(dtype, monkeypatch):
    x, g = data(90, 7)
    labels = torch.arange(90) % 3
    y = torch.cat([noisy(x, s, g) for s in (0.01, 1.0, 30.0)]).to(dtype)
    sigma = torch.tensor([0.01, 1.0, 30.0]).repeat_interleave(8)
    whole = tc.EmpiricalDensity(x, labels).posterior(y, sigma)
    monkeypatch.setattr(rows_module, "BLOCK", 1)
    monkeypatch.setattr("twoclocks.theory.empirical_density.BLOCK", 70)
    monkeypatch.setattr("twoclocks.theory.empirical_density.QUERIES", 5)
    monkeypatch.setattr(rows_module, "KEPT", 0)
    tolerance = 1e-11 if dtype == torch.float64 else 2.0**-6
    blocked = tc.EmpiricalDensity(x, labels).posterior(y, sigma)
    np.testing.assert_allclose(blocked.mean, whole.mean, atol=tolerance)
    np.testing.assert_allclose(blocked.log_density, whole.log_density, rtol=1e-6, atol=tolerance)
    a, b, c = (
        tc.EmpiricalDensity(part, of).sums(y, sigma) for part, of in zip(x.split(40), labels.split(40), strict=True)
    )
    for merged in (a.merge(b).merge(c), c.merge(a.merge(b)), a.merge(c.merge(b))):
        np.testing.assert_allclose(merged.mean, whole.mean, atol=tolerance)
        np.testing.assert_allclose(merged.log_density, whole.log_density, rtol=1e-6, atol=tolerance)


def test_a_shard_without_a_class_adds_nothing():
    x, g = data(20, 3)
    y, of = noisy(x, 1.0, g), torch.zeros(8, dtype=torch.long)
    first = tc.EmpiricalDensity(x[:10], torch.zeros(10, dtype=torch.long)).sums(y, 1.0, of)
    other = tc.EmpiricalDensity(x[10:], torch.ones(10, dtype=torch.long)).sums(y, 1.0, of)
    for merged in (first.merge(other), other.merge(first)):
        np.testing.assert_array_equal(merged.mean, first.mean)
        np.testing.assert_array_equal(merged.log_density, first.log_density)


def test_denoisers_and_shards_travel_between_processes():
    x, g = data(20, 3)
    y = noisy(x, 1.0, g)
    for denoiser in (
        tc.OptimalDenoiser(tc.EmpiricalDensity(x)),
        tc.OptimalDenoiser(tc.GaussianDensity.fit(x)),
        tc.OptimalDenoiser(tc.CubeLaw((1, 3))),
    ):
        for other in (pickle.loads(pickle.dumps(denoiser)), copy.deepcopy(denoiser)):
            assert type(other) is type(denoiser)
            assert torch.equal(other(y, 1.0), denoiser(y, 1.0))
    halves = [tc.EmpiricalDensity(half).sums(y, 1.0) for half in x.split(10)]
    back = [pickle.loads(pickle.dumps(half)) for half in halves]
    assert torch.equal(back[0].merge(back[1]).mean, halves[0].merge(halves[1]).mean)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_classes_see_their_own_samples_alone(dtype):
    x, g = data(60, 4)
    labels = torch.arange(60) % 4
    y, of = noisy(x, 0.5, g).to(dtype), torch.tensor([3, 1, 0, 2, 2, 1, 0, 3])
    for sigma in (0.002, 0.5, 20.0):
        found = tc.OptimalDenoiser(tc.EmpiricalDensity(x, labels))(y, sigma, of)
        for k in range(4):
            own = tc.EmpiricalDensity(x[labels == k]).posterior(y[of == k], sigma).mean
            np.testing.assert_allclose(found[of == k], own, atol=1e-10 if dtype == torch.float64 else 1e-2)
    with pytest.raises(ValueError, match="no sample has the label 4; labels: 0, 1, 2, 3"):
        tc.EmpiricalDensity(x, labels).posterior(y, 1.0, of + 4)
    with pytest.raises(ValueError, match="has no classes"):
        tc.EmpiricalDensity(x).posterior(y, 1.0, of)


def test_bytes_in_a_memory_map_are_scaled_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    density = tc.EmpiricalDensity(on_disk, scale=1 / 127.5, shift=-1)
    floats = torch.from_numpy(images).double() / 127.5 - 1
    y = floats[:6] + 0.3 * torch.randn(6, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for sigma in (0.01, 0.3, 10.0):
        log_direct, mean_direct = direct_posterior(floats.flatten(1), y.flatten(1), sigma)
        log_density, mean = density.posterior(y, sigma)
        np.testing.assert_allclose(mean.flatten(1), mean_direct.astype(float), atol=1e-10)
        np.testing.assert_allclose(log_density, log_direct.astype(float), rtol=1e-10)
        certified = density.certified(y, sigma)
        off = np.linalg.norm(certified.mean.flatten(1).numpy() - mean_direct.astype(float), axis=1)
        assert (off <= certified.mean_error.numpy()).all()
    drawn = density.sample(5, torch.Generator().manual_seed(0))
    assert ((drawn[:, None] - floats).abs().amax((2, 3, 4)).amin(1) < 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_data_in_less_precision_are_taken_as_they_are(dtype):
    x, g = data(40, 5)
    x = x.to(dtype)
    y = noisy(x.double(), 0.7, g)
    found = tc.EmpiricalDensity(x).posterior(y, 0.7).mean
    np.testing.assert_allclose(found, direct_posterior(x.double(), y, 0.7)[1].astype(float), rtol=1e-10)


@pytest.mark.parametrize("shift", [1e3, 1e6])
def test_data_far_from_zero_lose_nothing_but_their_own_digits(shift):
    x, g = data(50, 4, shift=shift)
    x = x.float()
    for sigma in (0.2, 2.0, 20.0):
        y = noisy(x, sigma, g).float()
        direct = direct_posterior(x.double(), y.double(), sigma)[1].astype(float)
        off = np.abs(tc.EmpiricalDensity(x).sums(y, sigma).mean.numpy() - direct).max()
        assert off < 1e-4, (sigma, off)


@example(x=np.full((5, 1), 3.2e-236), exponent=0.0, tolerance=1e-12, far=0.0, seed=0)
@settings(max_examples=60, deadline=None)
@given(
    x=hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(1, 6)), elements=st.floats(-1e3, 1e3)),
    exponent=st.floats(-4, 4),
    tolerance=st.sampled_from([1e-12, 1e-6, 0.3]),
    far=st.sampled_from([0.0, 1.0, 1e4]),
    seed=st.integers(0, 100),
)
def test_the_certified_bound_is_never_violated(x, exponent, tolerance, far, seed):
    rng = np.random.default_rng(seed)
    sigma = 10.0**exponent
    y = x[rng.integers(len(x), size=4)] + sigma * rng.normal(size=(4, x.shape[1])) + far
    found = tc.EmpiricalDensity(x).certified(torch.from_numpy(y), sigma, tolerance)
    log_direct, mean_direct = direct_posterior(x, y, sigma)
    assert (np.abs(found.log_density.numpy() - log_direct) <= found.log_density_error.numpy()).all()
    off = np.sqrt(((found.mean.numpy() - mean_direct) ** 2).sum(1))
    assert (off <= found.mean_error.numpy()).all()


@pytest.mark.parametrize("tolerance", [1e-9, 0.1, 0.9])
@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5, 1.0])
def test_the_certified_mode_passes_over_most_samples_and_keeps_its_bound(sigma, tolerance):
    g = torch.Generator().manual_seed(0)
    basis = torch.randn(5, 200, generator=g, dtype=torch.float64)
    x = (
        torch.randn(3000, 5, generator=g, dtype=torch.float64) @ basis
        + 0.1 * torch.randn(3000, 200, generator=g).double()
    )
    y = x[:6] + sigma * torch.randn(6, 200, generator=g, dtype=torch.float64)
    found = tc.EmpiricalDensity(x).certified(y, sigma, tolerance)
    log_direct, mean_direct = direct_posterior(x, y, sigma)
    off = np.sqrt(((found.mean.numpy() - mean_direct) ** 2).sum(1))
    assert (off <= found.mean_error.numpy()).all()
    assert (np.abs(found.log_density.numpy() - log_direct) <= found.log_density_error.numpy()).all()
    if sigma <= 0.2:
        assert found.kept.max() < 0.05
        assert found.mean_error.max() <= 1.01 * tolerance * 2 * float((x - x.mean(0)).norm(dim=1).max()) + 1e-7


def test_dropping_the_neighbours_of_a_truncated_softmax_is_seen():
    """Why sums run over all samples: the 50 nearest of 1000 are far from enough at a large sigma."""
    x, g = data(1000, 8)
    y, sigma = noisy(x, 50.0, g), 50.0
    squared = (y[:, None] - x).square().sum(-1)
    near = squared.topk(50, largest=False)
    truncated = torch.einsum("bk,bkn->bn", (-near.values / (2 * sigma**2)).softmax(1), x[near.indices])
    exact = direct_posterior(x, y, sigma)[1].astype(float)
    assert np.abs(truncated.numpy() - exact).max() > 0.5
    np.testing.assert_allclose(tc.EmpiricalDensity(x).posterior(y, sigma).mean, exact, rtol=1e-10)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(0, 3), "N >= 1"),
        (torch.zeros(4, 3, dtype=torch.int64), "for symbols use EmpiricalLaw"),
        (np.zeros((3, 2), dtype=bool), "for symbols use EmpiricalLaw"),
    ],
)
def test_other_data_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        tc.EmpiricalDensity(x)


def test_arguments_that_do_not_fit_are_refused():
    x, _ = data(10, 4)
    density = tc.EmpiricalDensity(x)
    with pytest.raises(ValueError, match="sigma must be positive"):
        density.posterior(x, 0.0)
    with pytest.raises(ValueError, match=r"sigma must be a number or have shape \(10,\)"):
        density.posterior(x, torch.ones(3))
    with pytest.raises(ValueError, match=r"y must have shape \(B, 4\)"):
        density.posterior(x[:, :3], 1.0)
    with pytest.raises(ValueError, match="floating-point"):
        density.posterior(x.long(), 1.0)
    with pytest.raises(ValueError, match="y must be finite"):
        density.posterior(x * math.nan, 1.0)
    with pytest.raises(ValueError, match="x must be finite"):
        tc.EmpiricalDensity(x * math.inf).posterior(x, 1.0)
    with pytest.raises(ValueError, match="v must have the shape of y"):
        density.covariance_product(x, 1.0, x[:2])
    with pytest.raises(ValueError, match="tolerance must lie between 0 and 1"):
        density.certified(x, 1.0, 0.0)
    with pytest.raises(ValueError, match="takes no encoding"):
        tc.OptimalDenoiser(density, tc.Encoding((2, 2), 2, "pm1"))
    with pytest.raises(ValueError, match=r"labels must be integers \(10,\)"):
        tc.EmpiricalDensity(x, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="scale must be positive"):
        tc.EmpiricalDensity(x, scale=0.0)


def test_rows_are_read_from_whatever_has_slices():
    class Lazy:
        shape, dtype = (7, 2), np.dtype("float32")

        def __getitem__(self, at):
            return np.arange(14, dtype="float32").reshape(7, 2)[at]

    rows = Rows(Lazy())
    np.testing.assert_allclose(rows.centre, [6, 7])
    blocks = list(rows.blocks(torch.float32, torch.device("cpu"), 3))
    assert [block.first for block in blocks] == [0, 3, 6]
    np.testing.assert_allclose(torch.cat([block.x for block in blocks]) + rows.centre, Lazy()[:])
    np.testing.assert_allclose(rows.radius, math.sqrt(72), rtol=1e-5)
