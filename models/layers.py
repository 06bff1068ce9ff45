"""The parts that DiT and GPT share: linear layers of a chosen precision, attention, the feed-forward block, sizes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Size(NamedTuple):
    """Depth and width of a transformer."""

    layers: int
    heads: int
    width: int


SIZES = {
    "nano": Size(3, 3, 48),
    "micro": Size(4, 4, 128),
    "mini": Size(6, 6, 192),
    "small": Size(12, 6, 384),
}


class Linear(nn.Linear):
    """A linear layer over float32 master weights whose matrix products may run in bfloat16.

    Args:
        bf16: round the operands of the product (forward and backward) to bfloat16; sums, results and weights stay
            float32. Set it on a whole model with `set_precision`.
    """

    bf16 = False

    def forward(self, x: Tensor) -> Tensor:
        if self.bf16:
            y = F.linear(x.to(torch.bfloat16), self.weight.to(torch.bfloat16)).to(x.dtype)
            return y if self.bias is None else y + self.bias
        return F.linear(x, self.weight, self.bias)


def set_precision(model: nn.Module, precision: str) -> None:
    """Run the linear layers of a model in ``"fp32"`` or ``"bf16"``; everything else stays float32."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision must be 'fp32' or 'bf16', got {precision!r}")
    for layer in model.modules():
        if isinstance(layer, Linear):
            layer.bf16 = precision == "bf16"


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads * d) -> (B, heads, T, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + mask) v, as plain float32 products: (B, heads, T, d) -> (B, T, heads * d).

    Grids are short sequences: at some tens of tokens plain products beat the fused kernels, whose backward pass in
    bfloat16 is very slow on a CPU.
    """
    weights = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)
    if mask is not None:
        weights = weights + mask
    return (weights.softmax(-1) @ v).transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """Two linear layers around a GELU (tanh form), four times the width inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = Linear(width, 4 * width)
        self.down = Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))
