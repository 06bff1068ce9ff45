"""What differs between architectures, as one value. Nothing outside this folder asks which architecture it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from ...models.layers import Size
from ...theory import Encoding, Rule
from ..config import RunConfig
from ..data import random_stream
from ..pixels import Codes
from ..references import references_of

BLOCK = 64
"""Steps whose batches are drawn at once; part of what a seed means."""


class Generations(NamedTuple):
    """What a model generated."""

    symbols: Tensor  # int64 (n, D); or, of data without a rule, samples (n, ...), float32 or uint8
    ambiguous: Tensor  # bool (n,): some cell is far from every code, or not a number; never so of generated symbols


@dataclass(frozen=True)
class Family:
    """One architecture and its training: what an engine, an evaluation, a comparison and a probe must know of it.

    Attributes:
        name: of its models, NAME-SIZE.
        title: for figures and tables.
        channel: what its networks invert; the exact optimum of a law is that of the channel.
        place: column of its comparisons that says where the network was looked at.
        loss_label: the unit of its training loss.
        encoding: (config, rule) -> how symbols become what the network sees; None where it sees symbols.
        network: (size, rule, encoding) -> a fresh network; the rule is None for numbers, which only a gaussian channel
            takes.
        batches: (config, data, encoding, block) -> the inputs of `BLOCK` training steps, from seed and block alone.
        loss: (network, one of these inputs, encoding) -> the training loss, a scalar tensor.
        generate: (network, n, generator, config, encoding, fixed=False) -> n grids; all randomness comes from the CPU
            generator. With `fixed`, the random numbers drawn do not depend on the network, so that the same generator
            follows one sample through training: noise added on the way is left out.
        floors: (config, rule, train, encoding) -> the loss of the exact optima: "population" and "empirical".
        passes: (config) -> passes of the network over a grid that one generation takes.
        references: names of the `References` that its comparisons hold a model against, beside registered ones.
        compare: (pairs of a step and its network, laws, splits, config, encoding, progress, **options) -> a table per
            step, the comparison with the exact laws, on the same samples for all steps.
        compare_options: options of `compare` beyond those that every family has.
    """

    name: str
    title: str
    channel: Literal["gaussian", "prefix", "mask"]
    place: Literal["sigma", "position", "mask_rate"]
    loss_label: str
    encoding: Callable[[RunConfig, Rule], Encoding | None]
    network: Callable[[Size, Any, Any], nn.Module]
    batches: Callable[[RunConfig, Tensor, Any, int], Sequence[Any]]
    loss: Callable[..., Tensor]
    generate: Callable[..., Generations]
    floors: Callable[[RunConfig, Rule, Tensor, Any], dict[str, float]]
    passes: Callable[[RunConfig], float]
    references: tuple[str, ...]
    compare: Callable[..., dict[int, pd.DataFrame]]
    compare_options: tuple[str, ...] = ()


class Batches:
    """The batch of any step: a function of seed and step alone, so that a resumed run sees what it would have seen.

    Args:
        family: draws them.
        config: gives batch size and seed.
        train: training symbols (N, D), or samples (N, ...).
        encoding: of the family's network.
        device: where batches are wanted.
        rule: of an online run, whose every batch is fresh.
    """

    def __init__(
        self, family: Family, config: RunConfig, train: Tensor, encoding: Codes | None, device: torch.device,
        rule: Rule | None = None,
    ) -> None:  # fmt: skip
        self.family, self.config, self.encoding, self.device = family, config, encoding, device
        self._source = self._encoded(train)
        self.data = self._source.to(device)
        self.population = rule if config.online else None
        self._block = -1
        self._drawn: Sequence[Any] = []

    def __getitem__(self, step: int) -> Any:
        """The batch of a step, counted from 0."""
        if step // BLOCK != self._block:
            self._block = step // BLOCK
            data = self.data if self.population is None else self._fresh(self.population, self._block).to(self.device)
            self._drawn = self.family.batches(self.config, data, self.encoding, self._block)
        return self._drawn[step % BLOCK]

    def of_block(self, block: int) -> Sequence[Any]:
        """The batches of the steps of a block, on the CPU."""
        data = self._source if self.population is None else self._fresh(self.population, block)
        return self.family.batches(self.config, data, self.encoding, block)

    def _fresh(self, population: Rule, block: int) -> Tensor:
        stream = random_stream(self.config.seed, "fresh samples", block)
        return self._encoded(population.sample(BLOCK * self.config.batch_size, stream))

    def _encoded(self, symbols: Tensor) -> Tensor:
        return self.encoding.encode(symbols) if self.encoding else symbols


def training_rows(config: RunConfig, n_train: int, block: int) -> Tensor:
    """Which samples the steps of a block see: int64 (BLOCK, batch size), on the CPU; an online run sees each once."""
    if config.online and n_train == BLOCK * config.batch_size:
        return torch.arange(n_train).view(BLOCK, config.batch_size)
    stream = random_stream(config.seed, "batches", block)
    return torch.randint(n_train, (BLOCK, config.batch_size), generator=stream)


def no_encoding(config: RunConfig, rule: Rule) -> None:
    """For networks that read symbols; ValueError for a config that asks for an encoding."""
    if config.encoding is not None:
        raise ValueError(f"encoding={config.encoding!r} is for a DiT; {config.model} reads symbols, leave it out")


def entropy_floors(config: RunConfig, rule: Rule, train: Tensor, encoding: None) -> dict[str, float]:
    """The entropies of the rule and of the training set, in nats per cell: what a likelihood of whole grids attains."""
    laws = references_of(rule, train)
    return {name: laws[name].entropy / rule.dim for name in ("population", "empirical")}
