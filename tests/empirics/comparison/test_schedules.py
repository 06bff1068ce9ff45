"""Noise schedules against the formulas of their papers."""

import math

import pytest
import torch

import twoclocks as tc

TABLE = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)  # Ho et al. (2020)
SCHEDULES = {
    "edm": tc.Schedule.edm(),
    "flow": tc.Schedule.flow(),
    "flow, data at 1": tc.Schedule.flow(data_at=1),
    "vp": tc.Schedule.vp_linear(),
    "vp, constant beta": tc.Schedule.vp_linear(9.0, 9.0),
    "vp from beta 0": tc.Schedule.vp_linear(0.0, 20.0),
    "cosine": tc.Schedule.cosine(),
    "cosine without offset": tc.Schedule.cosine(0),
    "table": tc.Schedule.from_alphas_cumprod(TABLE),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_time_inverts_sigma(name):
    schedule = SCHEDULES[name]
    low, high = (max(schedule.sigma_range[0], 1e-4), min(schedule.sigma_range[1], 1e4))
    sigmas = torch.logspace(math.log10(low * 1.001), math.log10(high / 1.001), 301, dtype=torch.float64)
    error = (schedule.sigma(schedule.time(sigmas)) / sigmas - 1).abs()
    # next to an end of time, 1 - t loses as many digits as sigma is far from 1
    assert bool((error < 2e-14 + 1e-15 * torch.maximum(sigmas, 1 / sigmas)).all())


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name.startswith(("vp", "cosine", "table"))])
def test_variance_preserving_schedules_preserve_variance(name):
    t = torch.linspace(0, 0.99 if SCHEDULES[name].steps is None else 999, 50, dtype=torch.float64)
    torch.testing.assert_close(
        SCHEDULES[name].signal(t) ** 2 + SCHEDULES[name].noise(t) ** 2, torch.ones_like(t), rtol=1e-13, atol=0
    )


def test_vp_linear_is_the_integral_of_beta():
    t = torch.linspace(0, 0.7, 100_001, dtype=torch.float64)
    integral = torch.trapezoid(0.1 + t * 19.9, t)  # exact for a linear integrand
    signal = tc.Schedule.vp_linear().signal(t[-1])
    assert float(signal) == pytest.approx(math.exp(-float(integral) / 2), rel=1e-12)
    # d signal^2 / dt = -beta signal^2, and 1 - signal^2 without cancellation next to t = 0
    assert float(tc.Schedule.vp_linear().noise(torch.tensor(1e-18, dtype=torch.float64))) == pytest.approx(
        math.sqrt(1e-19), rel=1e-9
    )


def test_cosine_is_the_formula_of_nichol_and_dhariwal():
    for t in (0.0, 0.3, 0.9):
        squared = math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        got = tc.Schedule.cosine().signal(torch.tensor(t, dtype=torch.float64))
        assert float(got) ** 2 == pytest.approx(squared, rel=1e-12)


def test_flow_is_straight_either_way_round():
    t = torch.tensor([0.25], dtype=torch.float64)
    assert float(tc.Schedule.flow().sigma(t)) == pytest.approx(1 / 3)
    assert float(tc.Schedule.flow(data_at=1).sigma(t)) == pytest.approx(3)


def test_table_is_exact_at_timesteps_and_log_linear_between():
    schedule = SCHEDULES["table"]
    k = torch.arange(1000, dtype=torch.float64)
    torch.testing.assert_close(schedule.signal(k), TABLE.sqrt(), rtol=1e-12, atol=0)
    sigmas = ((1 - TABLE) / TABLE).sqrt()
    torch.testing.assert_close(schedule.time(sigmas), k, rtol=0, atol=1e-9)
    between = (sigmas[10].sqrt() * sigmas[11].sqrt()).reshape(1)
    assert float(schedule.time(between)) == pytest.approx(10.5, abs=1e-10)
    assert schedule.steps == 1000
    assert schedule.sigma_range == pytest.approx((float(sigmas[0]), float(sigmas[-1])), rel=1e-12)


def test_snap_goes_to_the_nearest_timestep_in_log_sigma():
    sigmas = ((1 - TABLE) / TABLE).sqrt()
    wanted = torch.stack([sigmas[5] ** 0.6 * sigmas[6] ** 0.4, sigmas[5] ** 0.4 * sigmas[6] ** 0.6, sigmas[900]])
    torch.testing.assert_close(SCHEDULES["table"].snap(wanted), sigmas[[5, 6, 900]], rtol=1e-12, atol=0)
    assert SCHEDULES["vp"].snap([0.3, 2.0]).tolist() == [0.3, 2.0]


def test_zero_terminal_signal_is_left_out():
    with_zero = tc.Schedule.from_alphas_cumprod([0.9, 0.5, 0.1, 0.0])
    assert with_zero.steps == 3
    assert with_zero.sigma_range[1] == pytest.approx(3)


ENDS = {
    "no noise at first": ([1.0, 1.0, 0.9, 0.5, 0.1], [2, 3, 4]),
    "no signal at last": ([0.9, 0.5, 0.1, 0.0, 0.0], [0, 1, 2]),
    "2^-24 for no signal": ([0.9, 0.5, 4e-9, 2**-24], [0, 1, 2]),
    "2^-24 below the others": ([0.9, 0.5, 0.1, 2**-24], [0, 1, 2, 3]),
    "both": ([1.0, 0.9, 0.1, 2e-9, 2**-24], [1, 2, 3]),
    "equal neighbours": ([0.9, 0.9, 0.5, 0.5, 0.5, 0.1], [0, 2, 5]),
}


@pytest.mark.parametrize("name", ENDS)
def test_timesteps_without_a_noise_level_of_their_own_are_left_out(name):
    table, kept = ENDS[name]
    schedule = tc.Schedule.from_alphas_cumprod(table)
    t = torch.tensor(kept, dtype=torch.float64)  # the others keep their numbers
    alphas = torch.tensor(table, dtype=torch.float64)[kept]
    sigmas = ((1 - alphas) / alphas).sqrt()
    assert schedule.steps == len(kept)
    torch.testing.assert_close(schedule.timesteps, t)
    torch.testing.assert_close(schedule.signal(t), alphas.sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(schedule.time(sigmas), t, rtol=0, atol=1e-9)
    assert schedule.sigma_range == pytest.approx((float(sigmas[0]), float(sigmas[-1])), rel=1e-12)
    torch.testing.assert_close(schedule.snap(sigmas[:-1] * 1.01), sigmas[:-1], rtol=1e-12, atol=0)
    asked = []

    def whole_only(z, timestep):
        asked.extend(timestep.tolist())
        return z

    between = (sigmas[:-1] * sigmas[1:]).sqrt()
    tc.as_denoiser(whole_only, "data", schedule, "integer")(torch.zeros(len(between), 1, 2, 3), between)
    assert set(asked) == set(kept)


def test_cosine_tables_in_float32_at_both_ends():
    """Nichol and Dhariwal's curve at timesteps 0 .. T, where it is exactly 1 and, to rounding, 0."""
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    exact = ((t + 0.008) / 1.008 * math.pi / 2).cos().square()
    table = (exact / exact[0]).float()
    table[-1] = 0
    schedule = tc.Schedule.from_alphas_cumprod(table)
    assert schedule.timesteps[[0, -1]].tolist() == [1, 999]
    sigma = tc.Schedule.cosine().sigma(t[[250, 500, 750]])
    torch.testing.assert_close(schedule.time(sigma), torch.tensor([250.0, 500, 750]).double(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["vp", "cosine", "flow", "flow, data at 1"])
def test_any_functions_by_bisection(name):
    exact = SCHEDULES[name]
    found = tc.Schedule.from_functions(exact.signal, exact.noise, (0.0, 1.0))
    sigmas = torch.logspace(-3, 2, 101, dtype=torch.float64)
    torch.testing.assert_close(found.time(sigmas), exact.time(sigmas), rtol=1e-11, atol=0)
    assert found.sigma_range[0] == 0
    # cos(pi / 2) is 6e-17 in float64, not 0
    assert min(found.sigma_range[1], 1e15) == pytest.approx(min(exact.sigma_range[1], 1e15), rel=1e-12)


@pytest.mark.parametrize("sigma", [0.009, 200.0, 0.0, -1.0, math.nan, math.inf])
def test_sigma_outside_names_the_range(sigma):
    with pytest.raises(ValueError, match=r"schedule's range, 0\.01\d* to 157"):
        SCHEDULES["table"].snap([1.0, sigma])


def test_ends_rounded_to_float32_are_inside():
    ends = torch.tensor(SCHEDULES["table"].sigma_range).float()
    torch.testing.assert_close(SCHEDULES["table"].snap(ends).float(), ends)


@pytest.mark.parametrize(
    "table",
    [
        [0.5],
        [],
        [0.5, 0.9],
        [0.9, 0.9],
        [1.0, 0.5],
        [0.9, -0.1],
        [[0.9, 0.5]],
        [0.9, 0.1, 0.5],
        [0.1, 0.5, 0.9],
        [1.2, 0.5, 0.1],
        [0.0, 0.5, 0.9],
        [1.0, 1.0, 0.0],
        [0.9, math.nan, 0.1],
    ],
)
def test_bad_tables(table):
    with pytest.raises(ValueError, match="alphas_cumprod"):
        tc.Schedule.from_alphas_cumprod(table)


def test_bad_arguments():
    with pytest.raises(ValueError, match="data_at"):
        tc.Schedule.flow(data_at=2)
    with pytest.raises(ValueError, match="beta_min"):
        tc.Schedule.vp_linear(20, 0.1)
    with pytest.raises(ValueError, match="offset"):
        tc.Schedule.cosine(-0.1)
    with pytest.raises(ValueError, match="strictly"):
        tc.Schedule.from_functions(torch.ones_like, lambda t: t * (1 - t))
