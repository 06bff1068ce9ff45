"""Generating images from a denoiser: the samplers of Karras et al. (2022), Algorithms 1 and 2."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ..theory.dsm import Denoiser

Sampler = Literal["heun", "euler", "churn"]


def sigma_schedule(n_steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """Decreasing noise levels of the EDM schedule, ending in 0: float64 (n_steps + 1,).

    Raises:
        ValueError: fewer than 2 steps.
    """
    if n_steps < 2:
        raise ValueError(f"the sampler needs at least 2 steps, got {n_steps}")
    ramp = torch.linspace(0, 1, n_steps, dtype=torch.float64)
    levels = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


@torch.no_grad()
def sample_images(
    denoiser: Denoiser,
    noise: Tensor,
    sigmas: Tensor | None = None,
    sampler: Sampler = "heun",
    generator: torch.Generator | None = None,
    s_churn: float = 40.0,
    s_noise: float = 1.003,
) -> Tensor:
    """Images from noise along the probability-flow ODE dy/dsigma = (y - D(y, sigma)) / sigma.

    Args:
        denoiser: any callable net(y, sigma) with sigma (B,), learned or exact.
        noise: standard normal (B, C, H, W), or (B, D) for a denoiser of rows; scaled here to the first sigma.
        sigmas: decreasing levels ending in 0; by default `sigma_schedule` with 18 steps.
        sampler: ``"euler"`` first order; ``"heun"`` second order (Algorithm 1); ``"churn"`` Heun steps that first add
            fresh noise (Algorithm 2, noise added between sigma 0.05 and 50).
        generator: source of the churn's noise, on the CPU.
        s_churn, s_noise: amount and inflation of the churn's noise, as in Algorithm 2.

    Returns:
        Images like noise.

    Raises:
        ValueError: an unknown sampler.
    """
    if sampler not in ("heun", "euler", "churn"):
        raise ValueError(f"sampler must be 'heun', 'euler' or 'churn', got {sampler!r}")
    levels = (sigma_schedule(18) if sigmas is None else sigmas).tolist()
    y = noise * levels[0]
    for here, there in pairwise(levels):
        if sampler == "churn" and 0.05 <= here <= 50:
            raised = here * (1 + min(s_churn / (len(levels) - 1), 2**0.5 - 1))
            fresh = torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y.device)
            y = y + (raised**2 - here**2) ** 0.5 * s_noise * fresh
            here = raised
        slope = (y - denoiser(y, y.new_full((len(y),), here))) / here
        forward = y + (there - here) * slope
        if sampler == "euler" or there == 0:
            y = forward
        else:
            slope_there = (forward - denoiser(forward, y.new_full((len(y),), there))) / there
            y = y + (there - here) / 2 * (slope + slope_there)
    return y
