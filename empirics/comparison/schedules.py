"""Noise schedules of diffusion and flow networks, and the time at which each reaches a wanted noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Curve = Callable[[Tensor], Tensor]


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
        steps: number of training timesteps 0 .. steps-1 of a discrete table; None where time is continuous.
    """

    signal: Curve
    noise: Curve
    time: Curve
    sigma_range: tuple[float, float]
    steps: int | None = None

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

        Between timesteps log sigma, half the negative log signal-to-noise ratio, is linear in t.

        Args:
            alphas_cumprod: (T,), T at least 2, strictly decreasing within (0, 1). A last entry of 0 (zero terminal
                signal-to-noise) is left out: no finite sigma reaches it.

        Raises:
            ValueError: any other table.
        """
        table = torch.as_tensor(alphas_cumprod, dtype=torch.float64).detach().cpu()
        if table.ndim == 1 and len(table) and float(table[-1]) == 0:
            table = table[:-1]
        if table.ndim != 1 or len(table) < 2 or not bool((table.diff() < 0).all()) or not 0 < table[-1] < table[0] < 1:
            raise ValueError(
                "alphas_cumprod must hold at least 2 strictly decreasing values within (0, 1), one for each training "
                f"timestep, got shape {tuple(table.shape)} from {table.max():.6g} to {table.min():.6g}"
                if table.numel()
                else "alphas_cumprod is empty"
            )
        logs = (torch.log1p(-table) - table.log()) / 2  # log sigma, increasing
        last = len(logs) - 1

        def log_sigma(t: Tensor) -> Tensor:
            values = logs.to(t.device)
            below = t.detach().floor().long().clamp(0, last - 1)
            return values[below] + (t - below) * (values[below + 1] - values[below])

        def time(sigma: Tensor) -> Tensor:
            values, level = logs.to(sigma.device), sigma.log()
            below = (torch.searchsorted(values, level, right=True) - 1).clamp(0, last - 1)
            return below + (level - values[below]) / (values[below + 1] - values[below])

        return cls(
            lambda t: torch.sigmoid(-2 * log_sigma(t)).sqrt(),
            lambda t: torch.sigmoid(2 * log_sigma(t)).sqrt(),
            time,
            (float(logs[0].exp()), float(logs[-1].exp())),
            steps=last + 1,
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
        return levels if self.steps is None else self.sigma(self.time(levels).round())

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
