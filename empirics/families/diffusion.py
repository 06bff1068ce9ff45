"""DiT: denoising Gaussian noise on images of encoded grids (Karras et al., 2022; Peebles and Xie, 2023)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...models import EDM, DiT, Size
from ...models.edm import loss_weight
from ...theory import Density, Encoding, Law, OptimalDenoiser, Rule
from ...theory.dsm import Denoiser, check_sigmas
from ...theory.encodings import default_encoding
from ..comparison.denoisers import compare_on, noisy_batches
from ..config import RunConfig
from ..data import random_stream
from ..pixels import Codes
from ..references import references_of
from ..sampling import sample_images, sigma_schedule
from .family import BLOCK, Batches, Family, Generations, training_rows

SIGMAS = tuple(0.2 * 2 ** (k / 2) for k in range(11))
"""Noise levels of a comparison by default, in units of the encoding's sigma_data: 0.2 to 6.4 in steps of sqrt 2."""


class NoisyImages(NamedTuple):
    """The random input of one training step."""

    clean: Tensor  # (B, C, H, W)
    noise: Tensor  # standard normal like clean
    sigma: Tensor  # (B,)


def encoding_of(config: RunConfig, rule: Rule) -> Encoding:
    """The encoding that a config asks for; ValueError for one that does not fit the alphabet."""
    if config.encoding is None:
        return default_encoding(rule.shape, rule.alphabet)
    return Encoding(rule.shape, rule.alphabet, config.encoding)


def network(size: Size, rule: Rule | None, encoding: Codes | None) -> nn.Module:
    """A DiT in its EDM preconditioning, called net(y, sigma); for numbers there is no rule, but their codes."""
    if encoding is None and rule is None:
        raise ValueError("a DiT needs a rule, or the codes of its data")
    codes = encoding if encoding is not None or rule is None else default_encoding(rule.shape, rule.alphabet)
    assert codes is not None
    return EDM(DiT(codes.shape, codes.channels, size), codes.sigma_data)


def batches(config: RunConfig, data: Tensor, encoding: Codes, block: int) -> Sequence[NoisyImages]:
    """Images of random training samples, with noise of log-normal levels."""
    rows = training_rows(config, len(data), block)
    stream = random_stream(config.seed, "noise", block)
    log_sigma = config.noise_mean + config.noise_std * torch.randn(rows.shape, generator=stream)
    sigma = (encoding.sigma_data * log_sigma.exp()).to(data.device)
    noise = torch.randn(*rows.shape, *data.shape[1:], generator=stream).to(data.device)
    return [NoisyImages(data[rows[k].to(data.device)], noise[k], sigma[k]) for k in range(BLOCK)]


def loss(denoiser: Denoiser, batch: NoisyImages, encoding: Codes) -> Tensor:
    """The EDM training loss of any denoiser: weighted squared error, mean over batch and dimensions."""
    sigma = batch.sigma[:, None, None, None]
    denoised = denoiser(batch.clean + sigma * batch.noise, batch.sigma)
    return (loss_weight(sigma, encoding.sigma_data) * (denoised - batch.clean) ** 2).mean()


@torch.no_grad()
def generate(
    model: Denoiser,
    n: int,
    generator: torch.Generator,
    config: RunConfig,
    encoding: Codes | None,
    fixed: bool = False,
) -> Generations:
    """Grids or samples from Gaussian noise along the probability-flow ODE, decoded.

    `fixed` takes Heun's steps for churning ones.

    Raises:
        ValueError: no encoding.
    """
    if encoding is None:
        raise ValueError("generating with a denoiser needs its encoding")
    sampler = "heun" if fixed and config.sampler == "churn" else config.sampler
    noise = torch.randn(n, encoding.channels, *encoding.shape, generator=generator)
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    noise = noise if parameter is None else noise.to(parameter.device)
    images = sample_images(model, noise, sigma_schedule(config.sampler_steps), sampler, generator)
    return Generations(*encoding.decode(images.cpu()))


def floors(config: RunConfig, rule: Rule, train: Tensor, encoding: Encoding) -> dict[str, float]:
    """The EDM loss of both optima, the mean over the training noise of 16,384 draws."""
    few = dataclasses.replace(config, batch_size=256, online=False)
    draws = Batches(FAMILY, few, train, encoding, torch.device("cpu"))
    values = {}
    laws = references_of(rule, train)
    for name in ("population", "empirical"):
        denoiser = OptimalDenoiser(laws[name], encoding)
        values[name] = float(torch.stack([loss(denoiser, draws[step], encoding) for step in range(64)]).mean())
    return values


def passes(config: RunConfig) -> float:
    """Calls of the network in one generation: Heun's method takes two per step but for the last."""
    return config.sampler_steps if config.sampler == "euler" else 2 * config.sampler_steps - 1


def compare(
    models: Iterable[tuple[int, nn.Module]],
    laws: Mapping[str, Law | Density],
    splits: dict[str, Tensor],
    config: RunConfig,
    encoding: Encoding | None,
    progress: bool,
    sigmas: Sequence[float] | Tensor | None = None,
    n_noise: int = 2,
) -> dict[int, pd.DataFrame]:
    """`compare_denoisers` for each model, all on the same noisy images; it keeps the references' answers in memory.

    Without an encoding, splits are numbers of unit spread, and laws densities of them.
    """
    spread = 1.0 if encoding is None else encoding.sigma_data
    levels = check_sigmas([spread * s for s in SIGMAS] if sigmas is None else sigmas)
    references = {name: OptimalDenoiser(law, encoding) for name, law in laws.items()}
    calls = n_noise * len(levels) * sum(math.ceil(len(x) / 1024) for x in splits.values())
    noise = random_stream(config.seed, "comparison noise")
    drawn = noisy_batches(references, splits, levels, encoding, n_noise, noise, device=config.device)
    seen = list(tqdm(drawn, desc="references", total=calls, disable=not progress, leave=False))
    return {step: compare_on(model, seen, splits, levels) for step, model in models}


FAMILY = Family(
    name="dit",
    title="DiT",
    channel="gaussian",
    place="sigma",
    loss_label="EDM loss",
    encoding=encoding_of,
    network=network,
    batches=batches,
    loss=loss,
    generate=generate,
    floors=floors,
    passes=passes,
    references=("population", "empirical", "independent"),
    compare=compare,
    compare_options=("sigmas", "n_noise"),
)
