"""Noise schedules of diffusion and flow networks, and the time at which each reaches a wanted noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Curve = Callable[[Tensor], Tensor]

ZERO_SNR = 2.0**-23  # a last signal^2 of at most this stands for 0: diffusers writes 2^-24, to keep sigma finite


@dataclass(frozen=True)
class Schedule:
    """How a network's input is noised: z = signal(t) x + noise(t) n, with x clean and n standard normal.

    Divided by the signal this is y = x + sigma n with sigma = noise(t) / signal(t), the convention of this package
    (EDM, variance exploding). So a schedule is a curve of sigma in time, and a rescaling of y. Make one with
    `vp_linear`, `cosine`, `flow`, `edm`, `from_alphas_cumprod` or `from_functions`.

    Attributes:
        signal: alpha(t), the factor of the clean data; an elementwise function of float64 times.
        noise: sigma(t), the standard deviation of the noise, likewise.
        time: the t at which noise(t) / signal(t) is the given sigma, elementwise in float64.
        sigma_range: lowest and highest sigma that the schedule reaches.
        timesteps: float64, ascending: the training timesteps of a discrete table; None where time is continuous.
    """

    signal: Curve
    noise: Curve
    time: Curve
    sigma_range: tuple[float, float]
    timesteps: Tensor | None = None

    @classmethod
    def edm(cls) -> Schedule:
        """z = x + t n: nothing rescaled and time is sigma itself (Karras et al., 2022)."""
        return cls(torch.ones_like, lambda t: t, lambda sigma: sigma, (0.0, math.inf))

    @classmethod
    def flow(cls, data_at: Literal[0, 1] = 0) -> Schedule:
        """The straight path of flow matching and rectified flows, t in [0, 1].

        Args:
            data_at: the time of clean data. 0: z = (1 - t) x + t n (Stable Diffusion 3, diffusers);
                1: z = t x + (1 - t) n (Lipman et al., 2023; Liu et al., 2023).

        Raises:
            ValueError: another data_at.
        """
        if data_at == 0:
            return cls(lambda t: 1 - t, lambda t: t, lambda sigma: sigma / (1 + sigma), (0.0, math.inf))
        if data_at == 1:
            return cls(lambda t: t, lambda t: 1 - t, lambda sigma: 1 / (1 + sigma), (0.0, math.inf))
        raise ValueError(f"data_at is the time of clean data, 0 or 1, got {data_at!r}")

    @classmethod
    def vp_linear(cls, beta_min: float = 0.1, beta_max: float = 20.0) -> Schedule:
        """Variance preserving with beta(t) linear on t in [0, 1] (Song et al., 2021, equation 33).

        signal^2 = exp(-L), noise^2 = 1 - exp(-L), L(t) = beta_min t + (beta_max - beta_min) t^2 / 2.
        Then log(1 + sigma^2) = L, a quadratic that is solved for t without cancellation.

        Raises:
            ValueError: unless 0 <= beta_min <= beta_max and beta_max > 0.
        """
        if not 0 <= beta_min <= beta_max < math.inf or beta_max == 0:
            raise ValueError(f"need 0 <= beta_min <= beta_max and beta_max > 0, got {beta_min} and {beta_max}")
        slope = beta_max - beta_min

        def exponent(t: Tensor) -> Tensor:
            return t * (beta_min + slope * t / 2)

        def time(sigma: Tensor) -> Tensor:
            level = sigma.square().log1p()
            return 2 * level / (beta_min + (beta_min**2 + 2 * slope * level).sqrt())

        end = math.sqrt(math.expm1((beta_min + beta_max) / 2))
        return cls(lambda t: (-exponent(t) / 2).exp(), lambda t: (-(-exponent(t)).expm1()).sqrt(), time, (0.0, end))

    @classmethod
    def cosine(cls, offset: float = 0.008) -> Schedule:
        """Variance preserving with a cosine signal, t in [0, 1] (Nichol and Dhariwal, 2021, equation 17).

        signal(t) = cos(a(t)) / cos(a(0)) with a(t) = (t + offset) / (1 + offset) * pi / 2; offset = 0 is
        signal = cos(pi t / 2), noise = sin(pi t / 2) (Salimans and Ho, 2022).

        Raises:
            ValueError: a negative offset.
        """
        if not 0 <= offset < math.inf:
            raise ValueError(f"offset must be zero or positive, got {offset}")
        rate = math.pi / 2 / (1 + offset)
        start = offset * rate
        sine, cosine = math.sin(start), math.cos(start)

        def noise(t: Tensor) -> Tensor:  # cos^2 a(0) - cos^2 a(t) = sin(a(t) - a(0)) sin(a(t) + a(0))
            return ((rate * t).sin() * (rate * t + 2 * start).sin()).sqrt() / cosine

        def time(sigma: Tensor) -> Tensor:  # the sine and cosine of a(t) - a(0), times sqrt(1 + sigma^2)
            root = (sigma.square() + sine**2).sqrt()
            return torch.atan2(cosine * sigma.square() / (root + sine), cosine**2 + root * sine) / rate

        return cls(lambda t: (rate * t + start).cos() / cosine, noise, time, (0.0, math.inf))

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Tensor | Sequence[float]) -> Schedule:
        """The discrete table of DDPM: signal^2 at timesteps 0 .. T-1, noise^2 = 1 - signal^2 (Ho et al., 2020).

        Between timesteps log sigma, half the negative log signal-to-noise ratio, is linear in t. Left out are the
        timesteps that have no noise level of their own: a first signal^2 of 1, without noise; a last one of 0 (zero
        terminal signal-to-noise), which no finite sigma reaches, or the 2^-24 that stands for it; and the later ones
        of those that rounding made equal. The others keep their numbers.

        Args:
            alphas_cumprod: (T,), decreasing within [0, 1], at least two different values within (0, 1).

        Raises:
            ValueError: any other table.
        """
        table = torch.as_tensor(alphas_cumprod, dtype=torch.float64).detach().cpu()
        if table.ndim != 1 or not len(table) or not bool(((table >= 0) & (table <= 1)).all()):
            raise ValueError(_table_fault(table))
        lowest = torch.cat([table.new_ones(1), table.cummin(0).values[:-1]])  # of all timesteps before
        new = table < lowest
        if not bool((new | (table == lowest) | (table <= ZERO_SNR)).all()):
            raise ValueError(_table_fault(table))
        timesteps = (new & (table > 0)).nonzero()[:, 0].double()
        kept = table[timesteps.long()]
        if len(kept) < 2:
            raise ValueError(_table_fault(table))
        logs = (torch.log1p(-kept) - kept.log()) / 2  # log sigma, increasing

        def line(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
            xs, ys = xs.to(x.device), ys.to(x.device)
            k = _interval(xs, x)
            return ys[k] + (x - xs[k]) / (xs[k + 1] - xs[k]) * (ys[k + 1] - ys[k])

        return cls(
            lambda t: torch.sigmoid(-2 * line(t, timesteps, logs)).sqrt(),
            lambda t: torch.sigmoid(2 * line(t, timesteps, logs)).sqrt(),
            lambda sigma: line(sigma.log(), logs, timesteps),
            (float(logs[0].exp()), float(logs[-1].exp())),
            timesteps,
        )

    @classmethod
    def from_functions(cls, signal: Curve, noise: Curve, t_range: tuple[float, float] = (0.0, 1.0)) -> Schedule:
        """Any continuous schedule; time is found by bisection, to the last digit of float64.

        Args:
            signal: alpha(t), an elementwise function of tensors.
            noise: sigma(t), likewise.
            t_range: the times between which noise / signal rises or falls strictly.

        Raises:
            ValueError: noise / signal is not strictly monotone on t_range, or is negative somewhere.
        """
        grid = torch.linspace(*t_range, 1001, dtype=torch.float64)
        ratios = (noise(grid) / signal(grid)).double()
        steps = ratios.diff()
        if not bool((ratios >= 0).all()) or not (bool((steps > 0).all()) or bool((steps < 0).all())):
            raise ValueError(f"noise(t) / signal(t) must be positive and rise or fall strictly for t in {t_range}")
        clean, noisy = t_range if bool(steps[0] > 0) else t_range[::-1]

        def time(sigma: Tensor) -> Tensor:
            low, high = torch.full_like(sigma, clean), torch.full_like(sigma, noisy)
            for _ in range(80):
                middle = (low + high) / 2
                below = noise(middle) < sigma * signal(middle)
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            return (low + high) / 2

        return cls(signal, noise, time, (float(ratios.min()), float(ratios.max())))

    @property
    def steps(self) -> int | None:
        """The number of training timesteps of a discrete table; None where time is continuous."""
        return None if self.timesteps is None else len(self.timesteps)

    def sigma(self, t: Tensor) -> Tensor:
        """noise(t) / signal(t) for float64 times."""
        return self.noise(t) / self.signal(t)

    def snap(self, sigmas: Sequence[float] | Tensor) -> Tensor:
        """The noise levels of the nearest training timesteps: float64, in the shape of sigmas.

        At these a network that knows whole timesteps only is compared without interpolation. In continuous time
        every sigma is a training level, and comes back as it is.

        Raises:
            ValueError: a sigma outside the schedule's range.
        """
        levels = self.check(torch.as_tensor(sigmas, dtype=torch.float64))
        if self.timesteps is None:
            return levels
        t = self.time(levels)
        below, above = self.neighbours(t)
        return self.sigma(torch.where(t - below <= above - t, below, above))

    def neighbours(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The training timesteps of a discrete table between which each float64 time lies, in the shape of t."""
        assert self.timesteps is not None
        timesteps = self.timesteps.to(t.device)
        k = _interval(timesteps, t)
        return timesteps[k], timesteps[k + 1]

    def check(self, sigmas: Tensor) -> Tensor:
        """The float64 sigmas, if within the range; rounding to float32 may take them past its ends by a hair.

        Raises:
            ValueError: a noise level outside the range.
        """
        low, high = self.sigma_range
        outside = ~((sigmas > 0) & sigmas.isfinite() & (sigmas >= low * (1 - 1e-5)) & (sigmas <= high * (1 + 1e-5)))
        if bool(outside.any()):
            raise ValueError(
                f"sigma = {float(sigmas[outside][0]):.6g} lies outside the schedule's range, {low:.6g} to {high:.6g}; "
                "ask for positive, finite noise levels within it"
            )
        return sigmas.clamp(low, high)


def _interval(knots: Tensor, x: Tensor) -> Tensor:
    """The index k of the interval knots[k] .. knots[k + 1] that holds each x; the outermost ones reach to infinity."""
    return (torch.searchsorted(knots, x.detach().contiguous(), right=True) - 1).clamp(0, len(knots) - 2)


def _table_fault(table: Tensor) -> str:
    wanted = (
        "alphas_cumprod must decrease within [0, 1], one value for each training timestep, at least two of them "
        "different and within (0, 1)"
    )
    if not table.numel():
        return f"{wanted}; it is empty"
    return f"{wanted}; got shape {tuple(table.shape)} from {table.max():.6g} to {table.min():.6g}"
