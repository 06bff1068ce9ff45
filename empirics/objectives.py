"""What each kind of model minimises, and the random batches it sees, drawn ahead and reproducible from any step."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.edm import loss_weight
from ..theory import EmpiricalLaw, Encoding, OptimalDenoiser, Rule
from ..theory.dsm import Denoiser
from .config import RunConfig
from .data import random_stream

BLOCK = 64  # steps whose batches are drawn at once; part of what a seed means


class Batch(NamedTuple):
    """The random input of one training step."""

    clean: Tensor  # symbols (B, D) for a GPT, images (B, C, H, W) for a DiT
    noise: Tensor  # standard normal like clean; empty for a GPT
    sigma: Tensor  # (B,); empty for a GPT


class Batches:
    """The batch of any step: a function of seed and step alone, so that a resumed run sees what it would have seen.

    Args:
        config: gives batch size, noise levels and seed.
        train: training symbols (N, D).
        encoding: of a DiT's images; None for a GPT.
        device: where batches are wanted.
    """

    def __init__(self, config: RunConfig, train: Tensor, encoding: Encoding | None, device: torch.device) -> None:
        self.config, self.encoding, self.device = config, encoding, device
        self.data = (encoding.encode(train) if encoding else train).to(device)
        self._block = -1
        self._drawn: list[Batch] = []

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        if step // BLOCK != self._block:
            self._block = step // BLOCK
            self._drawn = self._draw(self._block)
        return self._drawn[step % BLOCK]

    def _draw(self, block: int) -> list[Batch]:
        config = self.config
        rows = torch.randint(
            len(self.data), (BLOCK, config.batch_size), generator=random_stream(config.seed, "batches", block)
        )
        empty = torch.empty(0, device=self.device)
        if self.encoding is None:
            return [Batch(self.data[index], empty, empty) for index in rows.to(self.device)]
        stream = random_stream(config.seed, "noise", block)
        log_sigma = config.noise_mean + config.noise_std * torch.randn(rows.shape, generator=stream)
        sigma = (self.encoding.sigma_data * log_sigma.exp()).to(self.device)
        noise = torch.randn(*rows.shape, *self.data.shape[1:], generator=stream).to(self.device)
        return [Batch(self.data[rows[k].to(self.device)], noise[k], sigma[k]) for k in range(BLOCK)]


def gpt_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy of the next symbol, in nats a token."""
    logits = model(batch.clean)
    return F.cross_entropy(logits.flatten(0, 1), batch.clean.flatten())


def dit_loss(denoiser: Denoiser, batch: Batch, sigma_data: float) -> Tensor:
    """The EDM training loss of any denoiser: weighted squared error, mean over batch and dimensions."""
    sigma = batch.sigma[:, None, None, None]
    denoised = denoiser(batch.clean + sigma * batch.noise, batch.sigma)
    return (loss_weight(sigma, sigma_data) * (denoised - batch.clean) ** 2).mean()


def loss_floors(config: RunConfig, rule: Rule, train: Tensor, encoding: Encoding | None) -> dict[str, float]:
    """The training loss of the exact optima on a run's training set, in the units of its `loss` metric.

    Returns:
        ``"population"``, the loss of a model that has learned the rule and nothing of the training set; and
        ``"empirical"``, the least any model can reach, by memorizing. For a GPT log |S| / D and the empirical entropy
        / D, in nats a token; for a DiT the mean over the training noise of 16,384 draws.
    """
    empirical = EmpiricalLaw(train, rule.alphabet, rule.shape)
    if encoding is None:
        return {"population": rule.entropy / rule.dim, "empirical": empirical.entropy / rule.dim}
    draws = Batches(dataclasses.replace(config, batch_size=256, device="cpu"), train, encoding, torch.device("cpu"))
    floors = {}
    for name, law in (("population", rule), ("empirical", empirical)):
        denoiser = OptimalDenoiser(law, encoding)
        losses = [dit_loss(denoiser, draws[step], encoding.sigma_data) for step in range(64)]
        floors[name] = float(torch.stack(losses).mean())
    return floors
