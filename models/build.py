"""Models by name: ``dit-nano`` to ``dit-small``, ``gpt-nano`` to ``gpt-small``."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from .dit import DiT
from .edm import EDM
from .gpt import GPT
from .layers import SIZES

MODEL_NAMES = tuple(f"{kind}-{size}" for kind in ("dit", "gpt") for size in SIZES)


class Grid(Protocol):
    """What a model must know of a rule."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def alphabet(self) -> int: ...


class Codes(Protocol):
    """What a diffusion model must know of an encoding."""

    @property
    def channels(self) -> int: ...
    @property
    def sigma_data(self) -> float: ...


def build_model(name: str, rule: Grid, encoding: Codes | None = None) -> nn.Module:
    """A freshly initialised model for the grids of a rule.

    Args:
        name: ``dit-SIZE`` or ``gpt-SIZE``, SIZE one of nano, micro, mini, small.
        rule: gives the grid's shape and alphabet.
        encoding: of a DiT; by default -1/+1 for two symbols and one-hot above. A GPT reads symbols and takes none.

    Returns:
        A DiT in its EDM preconditioning, called ``net(y, sigma)``; or a GPT, called ``net(x)`` for logits.

    Raises:
        ValueError: an unknown name, naming the known ones; or an encoding for a GPT.
    """
    if name not in MODEL_NAMES:
        raise ValueError(f"unknown model {name!r}; known models: {', '.join(MODEL_NAMES)}")
    kind, _, size = name.partition("-")
    if kind == "gpt":
        if encoding is not None:
            raise ValueError("a GPT reads symbols; give no encoding")
        return GPT(rule.shape[0] * rule.shape[1], rule.alphabet, SIZES[size])
    if encoding is not None:
        channels, sigma_data = encoding.channels, encoding.sigma_data
    elif rule.alphabet == 2:
        channels, sigma_data = 1, 1.0
    else:
        channels, sigma_data = rule.alphabet, rule.alphabet**-0.5
    return EDM(DiT(rule.shape, channels, SIZES[size]), sigma_data)
