"""GPT: the next symbol from those before it, in raster order (Radford et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models import GPT, Size
from ...theory import Law, Rule
from ..comparison.tokens import compare_tokens_on, token_laws
from ..config import RunConfig
from .family import Family, Generations, entropy_floors, no_encoding, training_rows


def network(size: Size, rule: Rule, encoding: None) -> nn.Module:
    """A GPT, called net(x) for logits (B, D, Q)."""
    if encoding is not None:
        raise ValueError("a GPT reads symbols; give no encoding")
    return GPT(rule.shape[0] * rule.shape[1], rule.alphabet, size)


def batches(config: RunConfig, data: Tensor, encoding: None, block: int) -> Sequence[Tensor]:
    """Symbols (B, D) of random training samples."""
    return list(data[training_rows(config, len(data), block).to(data.device)])


def loss(model: nn.Module, batch: Tensor, encoding: None) -> Tensor:
    """Mean cross-entropy of the next symbol, in nats per token."""
    return F.cross_entropy(model(batch).flatten(0, 1), batch.flatten())


@torch.no_grad()
def generate(
    model: GPT, n: int, generator: torch.Generator, config: RunConfig, encoding: None, fixed: bool = False
) -> Generations:
    """Grids drawn cell by cell, by one uniform number per cell, whatever the model says."""
    return Generations(model.generate(n, generator).cpu(), torch.zeros(n, dtype=torch.bool))


def compare(
    models: Iterable[tuple[int, nn.Module]],
    laws: Mapping[str, Law],
    splits: dict[str, Tensor],
    config: RunConfig,
    encoding: None,
    progress: bool,
) -> dict[int, pd.DataFrame]:
    """`compare_next_token` for each model; without the cube, where the rule's law is undefined."""
    shown = {name: x for name, x in splits.items() if name != "cube"}
    probs = token_laws(laws, shown)
    return {step: compare_tokens_on(model, shown, probs) for step, model in models}


FAMILY = Family(
    name="gpt",
    title="GPT",
    channel="prefix",
    place="position",
    loss_label="nats per token",
    encoding=no_encoding,
    network=network,
    batches=batches,
    loss=loss,
    generate=generate,
    floors=entropy_floors,
    passes=lambda config: 1.0,
    references=("population", "empirical", "ngram_1", "ngram_2"),
    compare=compare,
)
