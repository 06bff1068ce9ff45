"""Masked diffusion on grids: a bidirectional transformer that fills in masked cells (Sahoo et al., 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .gpt import Block
from .layers import Linear, Size


class MaskedTransformer(nn.Module):
    """Logits of every cell's symbol for partly masked grids, with learned positions.

    It is not told the mask rate: the exact optimum does not need it, for the visible cells say all there is to know
    (Ou et al., 2024).

    Args:
        dim: D, the number of cells.
        alphabet: Q, the number of symbols; the number Q itself stands for a masked cell.
        size: layers, heads and width.
    """

    def __init__(self, dim: int, alphabet: int, size: Size) -> None:
        super().__init__()
        self.dim, self.alphabet, self.size = dim, alphabet, size
        self.token = nn.Embedding(alphabet + 1, size.width)  # the last row is the mask
        self.position = nn.Parameter(torch.empty(dim, size.width))
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.head = Linear(size.width, alphabet, bias=False)
        nn.init.normal_(self.position)  # unit scale, as in the GPT

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, D, Q) for symbols x (B, D), int64, Q where masked; only those of masked cells mean anything."""
        hidden = self.token(x) + self.position
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden)).float()
