"""The denoising loss against closed forms and quadrature."""

import math

import pytest
import torch
from scipy import integrate, stats

import twoclocks as tc

SIGMAS = [0.1, 0.5, 1.0, 2.0]


def cube_samples(n: int) -> torch.Tensor:
    return torch.randint(2, (n, 12), generator=torch.Generator().manual_seed(5))


def coin_mmse(sigma: float) -> float:
    """Mean squared error of the best guess of a fair -1/+1 coin, by quadrature."""
    scale = 1 / sigma**2

    def integrand(n: float) -> float:
        return stats.norm.pdf(n) * (1 - math.tanh(scale * (1 + sigma * n))) ** 2

    return integrate.quad(integrand, -12, 12, epsabs=1e-13, limit=200)[0]


def test_identity_has_the_noise_variance_and_zero_the_signal_power():
    x = cube_samples(5000)
    losses = tc.dsm_loss(lambda y, sigma: y, x, SIGMAS, tc.Encoding((3, 4), 2))
    expected = torch.tensor(SIGMAS, dtype=torch.float64) ** 2
    assert torch.all((losses / expected - 1).abs() < 4 * math.sqrt(2 / x.numel()))
    assert torch.allclose(tc.dsm_loss(lambda y, sigma: 0 * y, x, SIGMAS), torch.ones(4, dtype=torch.float64))


def test_every_sigma_and_denoiser_sees_the_same_noise():
    x = cube_samples(100)
    losses = tc.dsm_loss(lambda y, sigma: y, x, SIGMAS)
    assert torch.allclose(losses / torch.tensor(SIGMAS, dtype=torch.float64) ** 2, losses[2].expand(4), rtol=1e-4)
    assert torch.equal(tc.dsm_loss(lambda y, sigma: y, x, SIGMAS), losses)
    other = tc.dsm_loss(lambda y, sigma: y, x, SIGMAS, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(other, losses)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
def test_independent_coins_against_quadrature(sigma):
    x = cube_samples(4000)
    draws = torch.stack(
        [
            tc.dsm_loss(
                tc.OptimalDenoiser(tc.CubeLaw((3, 4))),
                part,
                [sigma],
                n_noise=20,
                generator=torch.Generator().manual_seed(k),
            )
            for k, part in enumerate(x.split(200))
        ]
    )
    error = float(draws.std() / math.sqrt(len(draws)))
    assert abs(float(draws.mean()) - coin_mmse(sigma)) < 4 * error
    assert error < 0.02 * coin_mmse(sigma) + 1e-4


def test_calls_the_denoiser_like_an_edm_network():
    shapes = []

    def net(y: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        shapes.append((tuple(y.shape), tuple(sigma.shape), y.dtype, sigma.unique().tolist()))
        return y

    tc.dsm_loss(net, cube_samples(10), [0.5], tc.Encoding((3, 4), 2), n_noise=3, batch_size=16)
    assert shapes == [((16, 1, 3, 4), (16,), torch.float32, [0.5]), ((14, 1, 3, 4), (14,), torch.float32, [0.5])]


def test_onehot_counts_every_channel():
    x = torch.randint(3, (50, 6), generator=torch.Generator().manual_seed(0))
    zero = tc.dsm_loss(lambda y, sigma: 0 * y, x, [1.0], tc.Encoding((2, 3), 3, "onehot"))
    assert float(zero) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("x", "sigmas", "options", "message"),
    [
        (torch.zeros(0, 12, dtype=torch.int64), [1.0], {}, "need samples"),
        (torch.zeros(12, dtype=torch.int64), [1.0], {}, "need samples"),
        (torch.zeros(2, 12, dtype=torch.int64), [1.0], {"n_noise": 0}, "n_noise"),
        (torch.zeros(2, 12, dtype=torch.int64), [1.0, 0.0], {}, "positive and finite"),
        (torch.zeros(2, 12, dtype=torch.int64), [math.inf], {}, "positive and finite"),
        (torch.zeros(2, 12, dtype=torch.int64), [math.nan], {}, "positive and finite"),
        (torch.zeros(2, 12), [1.0], {"encoding": tc.Encoding((3, 4), 2)}, "integers"),
        (torch.zeros(2, 11, dtype=torch.int64), [1.0], {"encoding": tc.Encoding((3, 4), 2)}, "shape"),
    ],
)
def test_bad_input_is_refused(x, sigmas, options, message):
    with pytest.raises(ValueError, match=message):
        tc.dsm_loss(lambda y, sigma: y, x, sigmas, **options)


def test_symbols_beyond_two_need_an_encoding():
    """The alphabet is not guessed from the largest symbol at hand."""
    with pytest.raises(ValueError, match=r"symbols must lie in 0\.\.1"):
        tc.dsm_loss(lambda y, sigma: y, torch.tensor([[0, 1, 2]]), [1.0])
