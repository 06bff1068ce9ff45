"""MDM: masked diffusion, filling in cells in any order (Sahoo et al., 2024; Shi et al., 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models import MaskedTransformer, Size
from ...theory import Law, Rule
from ...theory import rule as build_rule
from ..comparison.masked import compare_masked_on, mask_laws, masked_grids
from ..config import RunConfig
from ..data import random_stream
from .family import BLOCK, Family, Generations, entropy_floors, no_encoding, training_rows

MASK_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Mask rates of a comparison by default."""


class MaskedGrids(NamedTuple):
    """The random input of one training step."""

    clean: Tensor  # int64 (B, D)
    masked: Tensor  # bool (B, D)
    weight: Tensor  # (B,), of each grid's summed cross-entropy


def network(size: Size, rule: Rule, encoding: None) -> nn.Module:
    """A masked transformer, called net(x_masked) for logits (B, D, Q)."""
    if encoding is not None:
        raise ValueError("an MDM reads symbols; give no encoding")
    return MaskedTransformer(rule.shape[0] * rule.shape[1], rule.alphabet, size)


def mask_rate(time: Tensor, schedule: str) -> tuple[Tensor, Tensor]:
    """The mask rate m(t) at times t in (0, 1), and the weight m'(t) / m(t) of the objective there.

    Linear: m = t. Cosine: m = sin(pi t / 2), which spends more of the draws on high rates (Shi et al., 2024).
    Integrated over t the weighted loss is the same for every schedule.
    """
    if schedule == "linear":
        return time, 1 / time
    angle = math.pi / 2 * time
    return angle.sin(), math.pi / 2 / angle.tan()


def batches(config: RunConfig, data: Tensor, encoding: None, block: int) -> Sequence[MaskedGrids]:
    """Random training samples, each masked at a rate of its own; rates are stratified over the batch."""
    rows = training_rows(config, len(data), block)
    stream = random_stream(config.seed, "masks", block)
    offset = torch.rand(BLOCK, 1, generator=stream)
    time = (offset + torch.arange(config.batch_size) / config.batch_size) % 1  # (BLOCK, B)
    rate, weight = mask_rate(time.clamp_min(1e-6), config.mask_schedule)
    masked = torch.rand(*rows.shape, data.shape[1], generator=stream) < rate[..., None]
    place = data.device
    return [MaskedGrids(data[rows[k].to(place)], masked[k].to(place), weight[k].to(place)) for k in range(BLOCK)]


def loss(model: MaskedTransformer, batch: MaskedGrids, encoding: None) -> Tensor:
    """The continuous-time bound on -log p, in nats a cell: weighted cross-entropy of the masked cells.

    E_t [m'(t) / m(t) sum over masked cells of -log p(x_i | visible cells)] / D. For exact conditionals it is the
    entropy, by the chain rule in every order.
    """
    logits = model(batch.clean.masked_fill(batch.masked, model.alphabet))
    surprise = F.cross_entropy(logits.flatten(0, 1), batch.clean.flatten(), reduction="none").view_as(batch.clean)
    return (batch.weight * (surprise * batch.masked).sum(1)).mean() / batch.clean.shape[1]


@torch.no_grad()
def generate(
    model: MaskedTransformer,
    n: int,
    generator: torch.Generator,
    config: RunConfig,
    encoding: None,
    fixed: bool = False,
) -> Generations:
    """Grids filled in from all cells masked; see `RunConfig.unmasking`. Randomness: two numbers a cell, drawn at first.

    One cell at a time is exact for exact conditionals. Cells that fall due together are drawn independently, so that
    few ancestral steps break rules that the network knows.
    """
    D, Q = model.dim, model.alphabet
    place = model.position.device
    due = torch.rand(n, D, generator=generator).to(place)  # the mask rate at which a cell is unmasked
    uniform = torch.rand(n, D, generator=generator).to(place)
    x = torch.full((n, D), Q, device=place)
    if config.unmasking == "ancestral":
        edges = mask_rate(torch.linspace(1, 0, config.sampler_steps + 1), config.mask_schedule)[0].to(place)
        edges[0] = 2  # nothing is due before the start
        turns = ((due <= high) & (due > low) for high, low in zip(edges, [*edges[1:-1], -1], strict=False))
    else:
        order = due.argsort(1).argsort(1)
        turns = (order == k for k in range(D))
    for turn in turns:
        if not bool(turn.any()):
            continue
        probs = model(x).softmax(-1)
        if config.unmasking == "confidence":
            surest = probs.amax(-1).masked_fill(x != Q, -1).argmax(1, keepdim=True)
            turn = torch.zeros_like(turn).scatter(1, surest, True)
        drawn = (uniform[..., None] > probs.cumsum(-1)[..., :-1]).sum(-1)
        x = torch.where(turn, drawn, x)
    return Generations(x.cpu(), torch.zeros(n, dtype=torch.bool))


def passes(config: RunConfig) -> float:
    """Passes of the network over a grid in one generation."""
    if config.unmasking == "ancestral":
        return config.sampler_steps
    return math.prod(build_rule(config.rule).shape)


def compare(
    models: Iterable[tuple[int, nn.Module]],
    laws: Mapping[str, Law],
    splits: dict[str, Tensor],
    config: RunConfig,
    encoding: None,
    progress: bool,
    mask_rates: Sequence[float] | Tensor | None = None,
) -> dict[int, pd.DataFrame]:
    """`compare_masked` for each model, all on the same masked grids; without the cube, where the rule is undefined."""
    shown = {name: x for name, x in splits.items() if name != "cube"}
    rates = MASK_RATES if mask_rates is None else mask_rates
    grids = masked_grids(
        shown, rates, next(iter(laws.values())).alphabet, random_stream(config.seed, "comparison masks")
    )
    exact = mask_laws(laws, grids)
    return {step: compare_masked_on(model, grids, exact) for step, model in models}


FAMILY = Family(
    name="mdm",
    title="MDM",
    channel="mask",
    place="mask_rate",
    loss_label="nats per cell",
    encoding=no_encoding,
    network=network,
    batches=batches,
    loss=loss,
    generate=generate,
    floors=entropy_floors,
    passes=passes,
    references=("population", "empirical"),
    compare=compare,
    compare_options=("mask_rates",),
)
