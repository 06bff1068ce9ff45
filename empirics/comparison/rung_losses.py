"""The training loss of every rung of the ladder, and when a run's training loss passes below each, without weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...theory import Rule
from ..config import RunConfig
from ..families import Batches, family
from ..references import references_of
from .exact_networks import exact_network
from .ladder import ladder_laws

DRAWS = 16
"""Batches of 256 noisy images over which a denoising loss is averaged."""


def rung_losses(config: RunConfig, rule: Rule, train: Tensor) -> dict[str, float]:
    """The training loss that the exact optimum of each rung has on a training set, by name, from below.

    For a model of symbols it is -log p(x) per cell, exact; for a DiT the mean of its loss over 4,096 noisy images.

    Args:
        config: of the run; gives the family, its encoding and the noise of training.
        rule: the rule.
        train: training symbols (N, D).
    """
    kind, laws = family(config.model), ladder_laws(references_of(rule, train))
    if kind.channel != "gaussian":
        return {name: -float(law.log_prob(train).mean()) / rule.dim for name, law in laws.items()}
    encoding = kind.encoding(config, rule)
    few = replace(config, batch_size=256, online=False)
    draws = Batches(kind, few, train, encoding, torch.device("cpu"))
    return {
        name: float(
            torch.stack(
                [kind.loss(exact_network(kind, law, encoding), draws[k], encoding) for k in range(DRAWS)]
            ).mean()
        )
        for name, law in laws.items()
    }


def passed(steps: np.ndarray, losses: np.ndarray, rungs: Mapping[str, float]) -> dict[str, float]:
    """The step of the first evaluation whose training loss is at most that of each rung; inf where there is none.

    Args:
        steps: of the evaluations, ascending.
        losses: the mean training loss since the evaluation before, like steps.
        rungs: from `rung_losses`.
    """
    found = {}
    for name, level in rungs.items():
        below = np.flatnonzero(losses <= level)
        found[name] = float(steps[below[0]]) if len(below) else np.inf
    return found
