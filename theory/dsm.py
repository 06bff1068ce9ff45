"""Denoising score-matching loss of any denoiser on any samples, the curve L(sigma) of Fig. 13-15."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .channels import noise_levels
from .encodings import Encoding, default_encoding

Denoiser = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def dsm_loss(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float] | Tensor,
    encoding: Encoding | None = None,
    n_noise: int = 1,
    generator: torch.Generator | None = None,
    batch_size: int = 4096,
) -> Tensor:
    """Mean squared error of a denoiser per dimension, |D(e(x) + sigma n, sigma) - e(x)|^2 / (C D), at each sigma.

    Numbers x stand for themselves, e(x) = x, with as many dimensions as a sample has.

    Args:
        denoiser: any callable net(y, sigma) on images (B, C, H, W) with sigma (B,): learned or `OptimalDenoiser`.
        x: clean symbols (N, D), integers; or clean images, latents, points (N, ...), floats.
        sigmas: noise standard deviations, in data units.
        encoding: how symbols become images; by default the denoiser's own if it has one, else pm1 on (1, D), for two
            symbols. None for numbers.
        n_noise: noise draws for each sample and sigma; every sigma sees the same draws.
        generator: source of the noise, on the CPU; by default seeded with 0.
        batch_size: images a call.

    Returns:
        float64 (len(sigmas),).

    Raises:
        ValueError: symbols that do not fit the encoding, no samples, or a sigma that is not positive and finite.
    """
    numbers = x.is_floating_point()
    if x.ndim < 2 or (x.ndim > 2 and not numbers) or len(x) == 0 or n_noise < 1:
        raise ValueError(f"need samples of shape (N, D) and n_noise >= 1, got {tuple(x.shape)} and {n_noise}")
    if numbers and (encoding or getattr(denoiser, "encoding", None)) is not None:
        raise ValueError(
            "x holds numbers, which take no encoding; give integers, such as Encoding.decode makes of images"
        )
    levels = check_sigmas(sigmas)
    if not numbers:
        encoding = encoding or getattr(denoiser, "encoding", None) or default_encoding((1, x.shape[1]), 2)
    generator = generator or torch.Generator().manual_seed(0)
    total = torch.zeros(len(levels), dtype=torch.float64)
    for part in x.repeat(n_noise, *[1] * (x.ndim - 1)).split(batch_size):
        clean = part if encoding is None else encoding.encode(part)
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype).to(clean.device)
        for k, sigma in enumerate(levels.tolist()):
            denoised = denoiser(clean + sigma * noise, clean.new_full((len(clean),), sigma))
            total[k] += (denoised - clean).double().square().sum().cpu()
    return total / (len(x) * n_noise * clean[0].numel())


def check_sigmas(sigmas: Sequence[float] | Tensor) -> Tensor:
    """Noise levels as float64 (n,); ValueError unless positive and finite."""
    return noise_levels(sigmas).cpu()
