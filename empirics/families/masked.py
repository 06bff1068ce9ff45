"""MDM: masked diffusion, filling in cells in any order (Sahoo et al., 2024; Shi et al., 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models import MaskedTransformer, Size
from ...theory import Law, Rule
from ...theory import rule as build_rule
from ..comparison.masked import compare_masked_on, mask_laws, masked_grids
from ..comparison.masked_generation import drawn, fill_in, pick
from ..config import RunConfig
from ..data import random_stream
from .family import BLOCK, Family, Generations, entropy_floors, no_encoding, training_rows

MASK_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Mask rates of a comparison by default."""
_TIMES = 20_000
"""Points of an integral over time."""


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


def mask_rate(time: Tensor, schedule: str) -> Tensor:
    """The mask rate m(t) at times t in [0, 1].

    Cosine: m = sin(pi t / 2), which spends more of the time at high rates (Shi et al., 2024). The others: m = t.
    """
    return (math.pi / 2 * time).sin() if schedule == "cosine" else time


@cache
def count_chances(dim: int, schedule: str) -> Tensor:
    """How often k of D cells are masked in training: float64 (D,), k = 1..D.

    Of a schedule m: as when t is uniform and each cell is masked with chance m(t); linear: every k alike. Root: in
    proportion to 1 / sqrt(k), the importance sampling with the least variance of the gradient while cells are as
    good as independent, for k cells of weight 1 / (k chance) add k / (k chance)^2 to its square.
    """
    if schedule == "root":
        chances = torch.arange(1, dim + 1, dtype=torch.float64).rsqrt()
        return chances / chances.sum()
    time = (torch.arange(_TIMES, dtype=torch.float64) + 0.5) / _TIMES
    rate = mask_rate(time, schedule)[:, None]
    k = torch.arange(1, dim + 1, dtype=torch.float64)
    ways = math.lgamma(dim + 1) - (k + 1).lgamma() - (dim - k + 1).lgamma()
    chances = (ways + torch.xlogy(k, rate) + torch.xlogy(dim - k, 1 - rate)).exp().mean(0)
    return chances / chances.sum()


def batches(config: RunConfig, data: Tensor, encoding: None, block: int) -> Sequence[MaskedGrids]:
    """Random training samples, each with a random number k of masked cells; k is stratified over the batch.

    The number is drawn, not the rate: of all the times at which k cells are masked only the mean weight counts, which
    leaves out the noise of heavy weights at low rates.
    """
    rows = training_rows(config, len(data), block)
    stream = random_stream(config.seed, "masks", block)
    dim = data.shape[1]
    chances = count_chances(dim, config.mask_schedule)
    offset = torch.rand(BLOCK, 1, generator=stream, dtype=torch.float64)
    place = (offset + torch.arange(config.batch_size) / config.batch_size) % 1  # (BLOCK, B)
    least = torch.searchsorted(chances.cumsum(0), place, right=True).clamp_max(dim - 1)  # k - 1
    masked = torch.rand(*rows.shape, dim, generator=stream).argsort(-1).argsort(-1) <= least[..., None]
    weight = (1 / (torch.arange(1, dim + 1) * chances))[least].float()
    device = data.device
    return [MaskedGrids(data[rows[k].to(device)], masked[k].to(device), weight[k].to(device)) for k in range(BLOCK)]


def loss(model: MaskedTransformer, batch: MaskedGrids, encoding: None) -> Tensor:
    """The continuous-time bound on -log p, in nats per cell: weighted cross-entropy of the masked cells.

    E_t [m'(t) / m(t) sum over masked cells of -log p(x_i | visible cells)] / D, with the integral over t done: for any
    schedule m, what k masked cells contribute has weight 1 / k (Ou et al., 2024). For exact conditionals the bound is
    the entropy, by the chain rule in every order.
    """
    clean, masked, weight = batch
    given = clean.masked_fill(masked, model.alphabet)
    if isinstance(model, MaskedTransformer) and clean.device.type == "cpu" and not torch.compiler.is_compiling():
        # The masked cells alone: cheaper, but their number differs from batch to batch, which no fused step allows.
        surprise = F.cross_entropy(model(given, masked), clean[masked], reduction="none")
        total = surprise @ weight[:, None].expand_as(clean)[masked]
    else:
        surprise = F.cross_entropy(model(given).flatten(0, 1), clean.flatten(), reduction="none").view_as(clean)
        total = (weight * (surprise * masked).sum(1)).sum()
    return total / clean.numel()


@torch.no_grad()
def generate(
    model: MaskedTransformer,
    n: int,
    generator: torch.Generator,
    config: RunConfig,
    encoding: None,
    fixed: bool = False,
) -> Generations:
    """Grids filled in from all cells masked; see `RunConfig.unmasking`. Randomness: two numbers per cell, drawn first.

    One cell at a time is exact for exact conditionals. Cells that fall due together are drawn independently, so that
    few ancestral steps break rules that the network knows.
    """
    D, Q = model.dim, model.alphabet
    place = model.position.device
    due = torch.rand(n, D, generator=generator).to(place)  # the mask rate at which a cell is unmasked
    uniform = torch.rand(n, D, generator=generator).to(place)
    x = torch.full((n, D), Q, device=place)
    order = due.argsort(1)
    if config.unmasking == "ancestral":
        edges = mask_rate(torch.linspace(1, 0, config.sampler_steps + 1), config.mask_schedule).to(place)
        edges[0] = 2  # nothing is due before the start
        turns = ((due <= high) & (due > low) for high, low in zip(edges, [*edges[1:-1], -1], strict=False))
        for turn in turns:
            if bool(turn.any()):
                x = torch.where(turn, drawn(model(x), uniform), x)
    elif config.unmasking == "one":
        x = fill_in(model, x, order, uniform)
    else:
        for _ in range(D):
            logits = model(x)
            surest = logits.softmax(-1).amax(-1).masked_fill(x != Q, -1)
            cells = surest.argmax(1, keepdim=True)
            x = x.scatter(1, cells, drawn(pick(logits, cells), uniform.gather(1, cells)))
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
