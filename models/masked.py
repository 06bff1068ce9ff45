"""Masked diffusion on grids: a bidirectional transformer that fills in masked cells (Sahoo et al., 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .gpt import Block
from .layers import Linear, Size

SHARPNESS = 2.5
"""Gain of the initial queries and keys, over torch's own scale."""


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
        # A cell of a GPT sees few others at first, and learns from those; here each sees all. At torch's own scale it
        # attends to all alike, so that what one visible cell says about it is lost among D, and the first rule is learned
        # several times later. Sharper queries and keys make each head pick some cells from the beginning.
        with torch.no_grad():
            for block in self.blocks:
                assert isinstance(block, Block)
                block.qkv.weight[: 2 * size.width] *= SHARPNESS

    def forward(self, x: Tensor, cells: Tensor | None = None) -> Tensor:
        """Logits for symbols x (B, D), int64, Q where masked; only those of masked cells mean anything.

        Args:
            x: the grids.
            cells: int64 (B, M), those cells of each grid whose logits are wanted, which is cheaper; by default all.

        Returns:
            (B, M, Q), or (B, D, Q), float32.
        """
        hidden = self.token(x) + self.position
        *blocks, last = self.blocks
        for block in blocks:
            hidden = block(hidden)
        assert isinstance(last, Block)
        hidden = last(hidden) if cells is None else _at(last, hidden, cells)
        return self.head(self.norm(hidden)).float()


def _at(block: Block, hidden: Tensor, cells: Tensor) -> Tensor:
    """What a block makes of some cells, int64 (B, M), of its input (B, D, width): (B, M, width)."""
    rows = cells[..., None].expand(-1, -1, hidden.shape[-1])
    parts = block.qkv(block.norm1(hidden)).float().chunk(3, -1)
    q, k, v = (part.unflatten(-1, (block.heads, -1)).transpose(1, 2) for part in (parts[0].gather(1, rows), *parts[1:]))
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
    x = hidden.gather(1, rows) + block.out((weights @ v).transpose(1, 2).flatten(2))
    return x + block.mlp(block.norm2(x))
