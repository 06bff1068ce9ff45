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

    With `bf16` set (see `set_precision`) the operands of the product, forward and backward, and its result are rounded to
    bfloat16; sums inside the product, weights and their gradients' accumulation stay float32.
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
    slow on a CPU. The logits and the softmax are float32 in either precision; in bfloat16 the other five products,
    forward and backward, take bfloat16 operands.

    Args:
        qkv: (B, T, 3 * heads * d), float32 or bfloat16.
        heads: how many.
        mask: (T, T), added to the logits.

    Returns:
        (B, T, heads * d) in the dtype of qkv.
    """
    return _Attention.apply(qkv, heads, mask)


class _Attention(torch.autograd.Function):
    """Attention with its backward pass written out, which spares the copies of splitting and joining heads."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, mask: Tensor | None) -> Tensor:
        B, T, _ = qkv.shape
        q, k, v = qkv.view(B, T, 3, heads, -1).permute(2, 0, 3, 1, 4).reshape(3, B * heads, T, -1)
        scale = q.shape[-1] ** -0.5
        weights = torch.bmm(q.float() * scale, k.float().transpose(1, 2))
        if mask is not None:
            weights += mask
        weights = weights.softmax(-1).to(qkv.dtype)
        out = torch.bmm(weights, v)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale = scale
        return out.view(B, heads, T, -1).transpose(1, 2).reshape(B, T, -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        q, k, v, weights = ctx.saved_tensors
        (grad,) = grads
        B, T, width = grad.shape
        g = grad.view(B, T, -1, v.shape[-1]).transpose(1, 2).reshape(v.shape)
        g_weights = torch.bmm(g, v.transpose(1, 2)).float()
        g_logits = torch._softmax_backward_data(g_weights, weights.float(), -1, torch.float32)
        g_logits = g_logits.mul_(ctx.scale).to(q.dtype)
        g_qkv = torch.stack(
            [torch.bmm(g_logits, k), torch.bmm(g_logits.transpose(1, 2), q), torch.bmm(weights.transpose(1, 2), g)]
        )
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
