"""Networks and exact optima on another device, called with tensors that stay where they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..theory.dsm import Denoiser


def place_network(model: nn.Module, device: str) -> nn.Module:
    """Move a network to a device; it still takes tensors from any device and answers on that of the first."""
    if torch.device(device).type == "cpu":
        return model
    origins: list[torch.device] = []  # of the calls under way

    def enter(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        origins.append(given[0].device)
        return _moved(given, device)

    model.register_forward_pre_hook(enter)
    model.register_forward_hook(lambda _, given, answer: answer.to(origins.pop()))
    return model.to(device)


def place_denoiser(denoiser: Denoiser, device: str) -> Denoiser:
    """A denoiser without weights, such as an exact optimum: computed on a device, answering on that of its images."""
    if torch.device(device).type == "cpu":
        return denoiser
    return lambda y, sigma: denoiser(*_moved((y, sigma), device)).to(y.device)


def _moved(values: tuple[Any, ...], device: str) -> tuple[Any, ...]:
    return tuple(value.to(device) if isinstance(value, Tensor) else value for value in values)
