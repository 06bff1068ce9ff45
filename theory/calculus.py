"""Derivatives of a law's log-partition function, to any order, for autograd and torch.func: marginals, covariances, ...

Whatever algorithm computed them, d log_partition / dh = marginals, and d marginals / dh is the covariance of the
one-hot symbols, which follows from the marginals with one cell clamped to each symbol. That is again a function of
marginals, so every order has its own derivative; each costs D Q marginals of the order below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .channels import Mask

if TYPE_CHECKING:
    from .law import Law


def clamped_marginals(law: Law, h: Tensor, cell: int) -> Tensor:
    """P(x_j = u | x_cell = s) under the fields h (..., D, Q), for every symbol s: (..., Q, D, Q)."""
    return law.marginals(Mask().each_symbol_at(cell, h))


def _covariance_times(law: Law, h: Tensor, m: Tensor, g: Tensor) -> Tensor:
    """The covariance of the one-hot symbols times g (..., D, Q), for marginals m of the fields h."""
    given = [(clamped_marginals(law, h, i) * g.unsqueeze(-3)).sum((-2, -1)) for i in range(law.dim)]  # (..., Q) each
    return m * (torch.stack(given, -2) - (m * g).sum((-2, -1), keepdim=True))


class LogPartition(torch.autograd.Function):
    """`Law.log_partition`, with the marginals as gradient."""

    @staticmethod
    def forward(h: Tensor, law: Law) -> Tensor:
        return law._evaluate(h, marginals=False)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Law], output: Tensor) -> None:
        h, ctx.law = inputs
        ctx.save_for_backward(h)
        ctx.save_for_forward(h)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (h,) = ctx.saved_tensors
        return grads[0][..., None, None] * Marginals.apply(h, ctx.law), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (h,) = ctx.saved_tensors
        return (tangents[0] * Marginals.apply(h, ctx.law)).sum((-2, -1))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], h: Tensor, law: Law) -> tuple[Tensor, int]:
        return LogPartition.apply(h.movedim(in_dims[0], 0), law), 0


class Marginals(torch.autograd.Function):
    """`Law.marginals`, with the covariance of the one-hot symbols as Jacobian."""

    @staticmethod
    def forward(h: Tensor, law: Law) -> Tensor:
        return law._evaluate(h, marginals=True)[1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Law], output: Tensor) -> None:
        h, ctx.law = inputs
        ctx.save_for_backward(h, output)
        ctx.save_for_forward(h, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        h, m = ctx.saved_tensors
        return _covariance_times(ctx.law, h, m, grads[0]), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        h, m = ctx.saved_tensors
        return _covariance_times(ctx.law, h, m, tangents[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], h: Tensor, law: Law) -> tuple[Tensor, int]:
        return Marginals.apply(h.movedim(in_dims[0], 0), law), 0


class Contrast(torch.autograd.Function):
    """`Law.contrast`: P(x_i = 1) - P(x_i = 0) by the law's fastest way, with derivatives by way of the marginals."""

    @staticmethod
    def forward(log_odds: Tensor, law: Law) -> Tensor:
        return law._evaluate_contrast(log_odds)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Law], output: Tensor) -> None:
        log_odds, ctx.law = inputs
        ctx.save_for_backward(log_odds)
        ctx.save_for_forward(log_odds)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return Contrast._slope(ctx, grads[0]), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return Contrast._slope(ctx, tangents[0])

    @staticmethod
    def _slope(ctx: Any, g: Tensor) -> Tensor:
        (log_odds,) = ctx.saved_tensors
        h = torch.stack([torch.zeros_like(log_odds), log_odds], -1)
        m = Marginals.apply(h, ctx.law)
        return _covariance_times(ctx.law, h, m, torch.stack([-g, g], -1))[..., 1]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], log_odds: Tensor, law: Law) -> tuple[Tensor, int]:
        return Contrast.apply(log_odds.movedim(in_dims[0], 0), law), 0
