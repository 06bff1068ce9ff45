"""Filling in masked cells one at a time, by any network that says the law of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...models import MaskedTransformer


@torch.no_grad()
def complete(model: Callable[[Tensor], Tensor], x: Tensor, alphabet: int, generator: torch.Generator) -> Tensor:
    """Partly masked grids filled in one cell at a time, in random order: exact for exact conditionals.

    Args:
        model: any callable that returns logits (B, D, Q) for symbols (B, D), int64, with the symbol Q where masked.
        x: such symbols; visible cells stay as they are.
        alphabet: Q.
        generator: source of two random numbers per cell, on the CPU.

    Returns:
        Symbols int64 (B, D), on the device of x.
    """
    due, uniform = (torch.rand(x.shape, generator=generator).to(x.device) for _ in range(2))
    order = due.masked_fill(x != alphabet, 2).argsort(1)  # visible cells last
    return fill_in(model, x, order[:, : int((x == alphabet).sum(1).max())], uniform)


def fill_in(model: Callable[..., Tensor], x: Tensor, order: Tensor, uniform: Tensor) -> Tensor:
    """Fill in the masked cells of x in an order (B, M) by the numbers uniform (B, D); visible cells are left."""
    for cells in order.split(1, 1):
        logits = model(x, cells) if isinstance(model, MaskedTransformer) else pick(model(x), cells)
        seen = x.gather(1, cells)
        found = drawn(logits, uniform.gather(1, cells))
        x = x.scatter(1, cells, torch.where(seen == logits.shape[-1], found, seen))
    return x


def pick(values: Tensor, cells: Tensor) -> Tensor:
    """The rows of values (B, D, Q) at cells (B, M): (B, M, Q)."""
    return values.gather(1, cells[..., None].expand(-1, -1, values.shape[-1]))


def drawn(logits: Tensor, uniform: Tensor) -> Tensor:
    """A symbol from each law (..., Q), int64 (...), by inverting its distribution function at a number in [0, 1)."""
    return (uniform[..., None] > logits.softmax(-1).cumsum(-1)[..., :-1]).sum(-1)
