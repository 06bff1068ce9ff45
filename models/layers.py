"""The parts that DiT and GPT share: linear layers of a chosen precision, attention, the feed-forward block, sizes."""

from __future__ import annotations

from typing import Any, NamedTuple

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

    With `bf16` set (see `set_precision`) the operands of the product, forward and backward, and its result are rounded
    to bfloat16; sums inside the product, the weights and their updates stay float32.
    """

    bf16 = False

    def forward(self, x: Tensor) -> Tensor:
        if self.bf16:
            bias = None if self.bias is None else self.bias.to(torch.bfloat16)
            return F.linear(x.to(torch.bfloat16), self.weight.to(torch.bfloat16), bias)
        return F.linear(x, self.weight, self.bias)


def set_precision(model: nn.Module, precision: str) -> None:
    """Run the linear layers of a model in ``"fp32"`` or ``"bf16"``; everything else stays float32."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision must be 'fp32' or 'bf16', got {precision!r}")
    for layer in model.modules():
        if isinstance(layer, Linear):
            layer.bf16 = precision == "bf16"


def attend(qkv: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Self-attention softmax(q k^T / sqrt(d) + mask) v for short sequences.

    Plain batched products: at some tens of tokens they beat the fused kernels, whose backward pass in bfloat16 is very
    slow on a CPU. The softmax is computed in float32 whatever the dtype of the products.

    Args:
        qkv: (B, T, 3 * heads * d), float32 or bfloat16.
        heads: how many.
        mask: (T, T), added to the logits.

    Returns:
        (B, T, heads * d) in the dtype of qkv.
    """
    return _Attention.apply(qkv, heads, mask)


_BF16_ROW = 32
"""Elements of a row from which on a CPU differentiates a bfloat16 softmax in vectors. Below, float32 is 4 times faster,
and the results are the same but for one in ten thousand, which are rounded the other way."""


class _Attention(torch.autograd.Function):
    """Attention with its backward pass written out, which spares the copies of splitting and joining heads."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, mask: Tensor | None) -> Tensor:
        B, T, _ = qkv.shape
        q, k, v = qkv.view(B, T, 3, heads, -1).permute(2, 0, 3, 1, 4).reshape(3, B * heads, T, -1)
        scale = q.shape[-1] ** -0.5
        bias = qkv.new_zeros(1) if mask is None else mask.to(qkv.dtype)
        logits = torch.baddbmm(bias, q, k.transpose(1, 2), beta=0 if mask is None else 1, alpha=scale)
        weights = logits.softmax(-1, dtype=torch.float32).to(qkv.dtype)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale = scale
        return torch.bmm(weights, v).view(B, heads, T, -1).transpose(1, 2).reshape(B, T, -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        q, k, v, weights = ctx.saved_tensors
        B, T, width = grads[0].shape
        g = grads[0].view(B, T, -1, v.shape[-1]).transpose(1, 2).reshape(v.shape)
        g_weights = torch.bmm(g, v.transpose(1, 2))
        if weights.dtype == torch.bfloat16 and T < _BF16_ROW and weights.device.type == "cpu":
            in_float32 = torch._softmax_backward_data(g_weights.float(), weights.float(), -1, torch.float32)
            g_logits = in_float32.to(torch.bfloat16)
        else:
            g_logits = torch._softmax_backward_data(g_weights, weights, -1, weights.dtype)
        zero = g.new_zeros(1)
        g_qkv = g.new_empty(3, *v.shape)
        torch.baddbmm(zero, g_logits, k, beta=0, alpha=ctx.scale, out=g_qkv[0])
        torch.baddbmm(zero, g_logits.transpose(1, 2), q, beta=0, alpha=ctx.scale, out=g_qkv[1])
        torch.bmm(weights.transpose(1, 2), g, out=g_qkv[2])
        return g_qkv.view(3, B, -1, T, v.shape[-1]).permute(1, 3, 0, 2, 4).reshape(B, T, 3 * width), None, None


class FeedForward(nn.Module):
    """Two linear layers around a GELU, four times the width inside.

    The exact GELU: on a CPU it is several times faster than its tanh approximation.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = Linear(width, 4 * width)
        self.down = Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))
