"""Networks of every parametrisation, built out of an exact denoiser, must give it back."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import twoclocks as tc

RULE = tc.rule("parity:2x3,G=3")
EXACT = tc.OptimalDenoiser(RULE)
SIGMAS = [0.011, 0.1, 0.3, 1.0, 3.0, 30.0, 150.0]
TABLE = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
PREDICTIONS = ["noise", "data", "velocity", "score", "flow"]

# alpha, sigma and their rates in t, written out from the papers apart from the package's schedules
Path = Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


def vp(t):
    exponent, beta = 0.1 * t + 9.95 * t**2, 0.1 + 19.9 * t
    alpha, s = (-exponent / 2).exp(), (-(-exponent).expm1()).sqrt()
    return alpha, s, -beta / 2 * alpha, beta / 2 * alpha**2 / s


def cosine(t):
    a, b = (t + 0.008) / 1.008 * math.pi / 2, 0.008 / 1.008 * math.pi / 2
    alpha = a.cos() / math.cos(b)
    s = ((a - b).sin() * (a + b).sin()).sqrt() / math.cos(b)
    rate = -math.pi / 2 / 1.008 * a.sin() / math.cos(b)
    return alpha, s, rate, -alpha * rate / s


def straight(t):
    return 1 - t, t, -torch.ones_like(t), torch.ones_like(t)


def straight_back(t):
    return t, 1 - t, torch.ones_like(t), -torch.ones_like(t)


def exploding(t):
    return torch.ones_like(t), t, torch.zeros_like(t), torch.ones_like(t)


def tabled(t):
    logs = (0.5 * ((1 - TABLE) / TABLE).log()).numpy()
    sigma = torch.from_numpy(np.exp(np.interp(t.numpy(), np.arange(1000), logs)))
    alpha = (1 + sigma**2).rsqrt()
    return alpha, alpha * sigma, None, None


def quadratic(t):  # neither variance preserving nor straight
    return 1 - t**2, 3 * t, -2 * t, torch.full_like(t, 3)


PATHS = {
    "vp": (vp, tc.Schedule.vp_linear()),
    "cosine": (cosine, tc.Schedule.cosine()),
    "straight": (straight, tc.Schedule.flow()),
    "straight back": (straight_back, tc.Schedule.flow(data_at=1)),
    "exploding": (exploding, tc.Schedule.edm()),
    "table": (tabled, tc.Schedule.from_alphas_cumprod(TABLE)),
    "functions": (quadratic, tc.Schedule.from_functions(lambda t: 1 - t**2, lambda t: 3 * t)),
}


def network(path: Path, predicts: str, denoiser=EXACT) -> Callable[[Tensor, Tensor], Tensor]:
    """The optimal network of a parametrisation, out of the optimal denoiser."""

    def call(z: Tensor, t: Tensor) -> Tensor:
        alpha, s, alpha_rate, s_rate = (v if v is None else v.reshape(-1, 1, 1, 1) for v in path(t.double()))
        clean = denoiser((z / alpha), (s / alpha).reshape(-1))
        noise = (z - alpha * clean) / s
        if predicts == "noise":
            return noise
        if predicts == "data":
            return clean
        if predicts == "velocity":
            return alpha * noise - s * clean
        if predicts == "score":
            return -noise / s
        return alpha_rate * clean + s_rate * noise

    return call


def noisy(sigma: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    clean = EXACT.encoding.encode(RULE.sample(len(sigma), generator), torch.float64)
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    return clean + sigma.reshape(-1, 1, 1, 1) * noise


CASES = [(name, predicts) for name in PATHS for predicts in PREDICTIONS if (name, predicts) != ("table", "flow")]


@pytest.mark.parametrize(("name", "predicts"), CASES)  # a discrete table has no rate: its flow is refused below
def test_every_parametrisation_gives_back_the_optimal_denoiser(name, predicts):
    path, schedule = PATHS[name]
    sigma = torch.tensor(SIGMAS, dtype=torch.float64).repeat_interleave(8)
    y = noisy(sigma)
    denoiser = tc.as_denoiser(network(path, predicts), predicts, schedule)
    torch.testing.assert_close(denoiser(y, sigma), EXACT(y, sigma), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(denoiser(y, 0.7), EXACT(y, 0.7), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("predicts", ["noise", "data", "velocity", "score"])
def test_whole_timesteps_are_exact_on_the_training_levels(predicts):
    schedule = tc.Schedule.from_alphas_cumprod(TABLE)
    sigma = schedule.snap(SIGMAS).repeat_interleave(8)
    y = noisy(sigma)
    asked = []

    def whole_only(z, t):
        asked.append(t)
        return network(tabled, predicts)(z, t)

    denoiser = tc.as_denoiser(whole_only, predicts, schedule, timesteps="integer")
    torch.testing.assert_close(denoiser(y, sigma), EXACT(y, sigma), rtol=1e-9, atol=1e-9)
    assert all(t.dtype == torch.int64 for t in asked)
    assert 0 <= min(int(t.min()) for t in asked) < max(int(t.max()) for t in asked) <= 999


def test_between_whole_timesteps_the_error_is_of_second_order():
    def worst(steps: int) -> float:
        sigmas = torch.logspace(-1, 1, steps, dtype=torch.float64)
        schedule = tc.Schedule.from_alphas_cumprod(1 / (1 + sigmas**2))

        def whole_only(z, t):
            level = sigmas[t]
            alpha = (1 + level**2).rsqrt().reshape(-1, 1, 1, 1)
            clean = EXACT(z / alpha, level)
            return (z / alpha - clean) / level.reshape(-1, 1, 1, 1)

        sigma = torch.full((400,), 0.61, dtype=torch.float64)
        y = noisy(sigma)
        middle = (sigmas[:-1] * sigmas[1:]).sqrt()  # the worst place, half-way
        sigma = middle[(middle - 0.61).abs().argmin()].expand(400)
        exact = EXACT(y, sigma)
        below = sigmas[sigmas < sigma[0]].max()
        nearest = float((EXACT(y, below) - exact).square().mean().sqrt())
        blended = tc.as_denoiser(whole_only, "noise", schedule, "integer")(y, sigma)
        error = float((blended - exact).square().mean().sqrt())
        assert error < 0.2 * nearest
        return error

    assert 3 < worst(21) / worst(41) < 5


def test_float32_images_and_gradients():
    sigma = torch.full((6,), 0.8)
    y = noisy(sigma.double()).float().requires_grad_()
    denoiser = tc.as_denoiser(lambda z, t: 0.5 * z, "noise", tc.Schedule.vp_linear())
    out = denoiser(y, sigma)
    assert out.dtype == torch.float32
    out.sum().backward()
    alpha = 1 / math.sqrt(1 + 0.8**2)
    torch.testing.assert_close(y.grad, torch.full_like(y, 1 - 0.8 * 0.5 * alpha))


def test_a_module_is_called_in_evaluation_mode_and_in_its_own_precision():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.dropout = nn.Dropout(0.5)
            self.frozen = nn.BatchNorm1d(3).eval()

        def forward(self, z, t):
            assert z.dtype == t.dtype == torch.float32
            return self.dropout(self.layer(z))

    net = Net()
    y = noisy(torch.full((4,), 0.5, dtype=torch.float64))
    denoiser = tc.as_denoiser(net, "data", tc.Schedule.edm())
    assert torch.equal(denoiser(y, 0.5), denoiser(y, 0.5))
    assert denoiser(y, 0.5).dtype == torch.float64
    assert net.training
    assert net.dropout.training
    assert not net.frozen.training


def test_half_precision_weights_are_told_the_time_in_float32():
    told = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), dtype=torch.bfloat16))

        def forward(self, z, t):
            told.append((z.dtype, t))
            return self.scale * z

    schedule = tc.Schedule.from_alphas_cumprod(TABLE)
    sigma = schedule.sigma(torch.full((2,), 997.0, dtype=torch.float64))
    out = tc.as_denoiser(Net(), "data", schedule)(torch.ones(2, 1, 2, 3), sigma)
    assert (told[0][0], out.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(told[0][1], torch.full((2,), 997.0))


def test_sigma_outside_the_schedule_names_the_range():
    denoiser = tc.as_denoiser(lambda z, t: z, "data", tc.Schedule.vp_linear())
    with pytest.raises(ValueError, match=r"sigma = 200 lies outside the schedule's range, 0 to 152"):
        denoiser(torch.zeros(2, 1, 2, 3), torch.tensor([1.0, 200.0]))
    with pytest.raises(ValueError, match="shape"):
        denoiser(torch.zeros(2, 1, 2, 3), torch.ones(3))


def test_bad_arguments():
    table = tc.Schedule.from_alphas_cumprod(TABLE)
    with pytest.raises(ValueError, match="predicts must be one of noise, data, velocity, flow, score"):
        tc.as_denoiser(lambda z, t: z, "epsilon", table)
    with pytest.raises(ValueError, match="timesteps"):
        tc.as_denoiser(lambda z, t: z, "noise", table, timesteps="nearest")
    with pytest.raises(ValueError, match="discrete schedule"):
        tc.as_denoiser(lambda z, t: z, "noise", tc.Schedule.flow(), timesteps="integer")
    with pytest.raises(ValueError, match="continuous time"):
        tc.as_denoiser(lambda z, t: z, "flow", table)
    with pytest.raises(ValueError, match="must return a tensor like its input"):
        tc.as_denoiser(lambda z, t: z[:, :, :1], "noise", table)(torch.zeros(2, 1, 2, 3), 1.0)
    with pytest.raises(ValueError, match="must return a tensor like its input"):
        tc.as_denoiser(lambda z, t: (z[:1],), "noise", table)(torch.zeros(2, 1, 2, 3), 1.0)
