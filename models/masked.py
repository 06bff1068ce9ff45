"""Masked diffusion on grids: a bidirectional transformer that fills in masked cells (Sahoo et al., 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .gpt import Block
from .layers import Linear, Size, attend

SHARPNESS = 2.5
"""Gain of the initial queries and keys, over torch's own scale."""
ROWS = 64
"""Cells asked for by bool are computed in a multiple of this many rows. Their number differs from batch to batch, and a
bfloat16 product of a new size is compiled by the CPU's library first, which took a quarter of a nano's step."""


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
        # attends to all alike, so that what one visible cell says about it is lost among D, and the rule is learned
        # about twice as late. Sharper queries and keys make each head pick some cells from the beginning.
        with torch.no_grad():
            for block in self.blocks:
                assert isinstance(block, Block)
                block.qkv.weight[: 2 * size.width] *= SHARPNESS

    def forward(self, x: Tensor, cells: Tensor | None = None) -> Tensor:
        """Logits for symbols x (B, D), int64, Q where masked; only those of masked cells mean anything.

        Args:
            x: the grids.
            cells: those cells whose logits are wanted, which is cheaper: int64 (B, M), of each grid; or bool (B, D). By
                default all.

        Returns:
            (B, M, Q); (number of cells, Q), in raster order, for bool; or (B, D, Q). float32.
        """
        hidden = self._first(x)
        *blocks, last = self.blocks[1:]
        for block in blocks:
            hidden = block(hidden)
        assert isinstance(last, Block)
        if cells is None:
            return self._logits(last(hidden))
        logits = self._logits(_at(last, hidden, cells))
        return logits[: int(cells.sum())] if cells.dtype == torch.bool else logits

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.head(self.norm(hidden)).float()

    def _first(self, x: Tensor) -> Tensor:
        """What the first block makes of x. Before it attends, a cell is one of D (Q + 1): a table, looked up."""
        first = self.blocks[0]
        assert isinstance(first, Block)
        table = (self.position[:, None] + self.token.weight).flatten(0, 1)  # (D (Q + 1), width)
        entry = x + torch.arange(self.dim, device=x.device) * (self.alphabet + 1)
        qkv = F.embedding(entry, first.qkv(first.norm1(table)))
        hidden = F.embedding(entry, table) + first.out(attend(qkv, first.heads))
        return hidden + first.mlp(first.norm2(hidden))


def _at(block: Block, hidden: Tensor, cells: Tensor) -> Tensor:
    """What a block makes of some cells of its input (B, D, width): (B, M, width).

    For bool cells (number, width), number filled up to a multiple of `ROWS` by the first cell of all.
    """
    qkv = block.qkv(block.norm1(hidden))
    if cells.dtype == torch.bool:
        rows = cells.flatten().nonzero()[:, 0]
        rows = F.pad(rows, (0, -len(rows) % ROWS))
        attended, x = (part.flatten(0, 1).index_select(0, rows) for part in (attend(qkv, block.heads), hidden))
    else:
        rows = cells[..., None].expand(-1, -1, hidden.shape[-1])
        q, k, v = qkv.float().chunk(3, -1)
        q, k, v = (part.unflatten(-1, (block.heads, -1)).transpose(1, 2) for part in (q.gather(1, rows), k, v))
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        attended, x = (weights @ v).transpose(1, 2).flatten(2), hidden.gather(1, rows)
    x = x + block.out(attended)
    return x + block.mlp(block.norm2(x))
