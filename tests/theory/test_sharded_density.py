"""Shards of a data set on workers answer together as one pass over all of it does."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.theory import ShardedDensity

N, SHAPE = 230, (3, 4)
SIGMAS = (0.02, 0.3, 2.0, 50.0)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(3, 1, (N, *SHAPE))


@pytest.fixture(scope="module")
def executor():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def queries(x, dtype=torch.float64):
    noise = np.random.default_rng(1).normal(size=(7, *SHAPE))
    y = torch.from_numpy(x[:7] + 0.3 * noise).to(dtype)
    return y, torch.linspace(0.05, 4, 7, dtype=torch.float64)


def agree(sharded, whole, y, sigma, labels=None, rtol=1e-12):
    got, wanted = sharded.posterior(y, sigma, labels), whole.posterior(y, sigma, labels)
    torch.testing.assert_close(got.log_density, wanted.log_density, rtol=rtol, atol=rtol)
    torch.testing.assert_close(got.mean, wanted.mean, rtol=rtol, atol=rtol)
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=y.dtype)
    products = (density.covariance_product(y, sigma, v, labels) for density in (sharded, whole))
    torch.testing.assert_close(*products, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("n_shards", [1, 2, 40])
def test_shards_of_any_number_answer_as_one_pass(x, executor, n_shards):
    sharded, whole = ShardedDensity(x, executor, n_shards), tc.EmpiricalDensity(x)
    y, sigma = queries(x)
    agree(sharded, whole, y, sigma, rtol=1e-10)
    for level in SIGMAS:
        agree(sharded, whole, y, level, rtol=1e-10)
    assert sharded.sums(y, sigma).samples.tolist() == [N] * 7
    D = tc.OptimalDenoiser(sharded)
    torch.testing.assert_close(D.score(y, 0.3), tc.OptimalDenoiser(whole).score(y, 0.3))
    stream = (torch.Generator().manual_seed(3) for _ in range(2))
    assert torch.equal(sharded.sample(5, next(stream)), whole.sample(5, next(stream)))


def test_float32_stays_within_its_bound(x, executor):
    y, sigma = queries(x, torch.float32)
    agree(ShardedDensity(x, executor, 5), tc.EmpiricalDensity(x), y, sigma, rtol=1e-3)


def test_a_file_of_bytes_with_classes(tmp_path, executor):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, *SHAPE), np.uint8)
    labels = np.sort(rng.integers(0, 4, 60))  # so that shards lack classes
    np.save(tmp_path / "x.npy", pixels)
    units = {"scale": 1 / 127.5, "shift": -1.0}
    sharded = ShardedDensity(tmp_path / "x.npy", executor, 9, labels, **units)
    whole = tc.EmpiricalDensity(pixels, labels, **units)
    y = torch.from_numpy(pixels[:8] / 127.5 - 1.0)
    agree(sharded, whole, y, 0.5, torch.arange(8) % 4, rtol=1e-10)
    agree(sharded, whole, y, 0.5, rtol=1e-10)
    with pytest.raises(ValueError, match="no sample has the label 7"):
        sharded.posterior(y, 0.5, torch.full((8,), 7))


def test_shards_that_cannot_be(x, tmp_path, executor):
    for n_shards in (0, N + 1):
        with pytest.raises(ValueError, match=rf"n_shards must lie in 1..{N}"):
            ShardedDensity(x, executor, n_shards)
    for name in ("missing.npy", "x.npz"):
        (tmp_path / "x.npz").touch()
        with pytest.raises(ValueError, match=r"must be a file .npy that exists, or data in memory"):
            ShardedDensity(tmp_path / name, executor, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_workers_of_dask(x, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    np.save(tmp_path / "x.npy", x)
    monkeypatch.chdir(tmp_path)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        sharded = ShardedDensity("x.npy", client.get_executor(), 6)
        y, sigma = queries(x)
        agree(sharded, tc.EmpiricalDensity(x), y, sigma, rtol=1e-10)
        where = client.run(lambda: __import__("os").getpid())
        assert len({os.getpid(), *where.values()}) == 3
