"""GPT on grids: a causal transformer that predicts each cell from the cells before it (Radford et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import FeedForward, Linear, Size, attend


class GPT(nn.Module):
    """Next-symbol logits for grids read in raster order, with a begin token and learned positions.

    Args:
        dim: D, the number of cells.
        alphabet: Q, the number of symbols.
        size: layers, heads and width.
    """

    def __init__(self, dim: int, alphabet: int, size: Size) -> None:
        super().__init__()
        self.dim, self.alphabet, self.size = dim, alphabet, size
        self.token = nn.Embedding(alphabet + 1, size.width)  # the last row is the begin token
        self.position = nn.Parameter(torch.empty(dim, size.width))
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.head = Linear(size.width, alphabet, bias=False)
        self.register_buffer("mask", torch.full((dim, dim), -torch.inf).triu(1), persistent=False)
        # Unit-scale symbols and positions, and linear layers scaled by fan-in (torch's own): GPT-2's fixed 0.02 suits
        # a width of 768; at the widths used here it slows both clocks several times.
        nn.init.normal_(self.position)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, D, Q) for symbols x (B, D), int64: position t sees x[:, :t]."""
        begin = x.new_full((len(x), 1), self.alphabet)
        hidden = self.token(torch.cat([begin, x[:, :-1]], 1)) + self.position
        for block in self.blocks:
            hidden = block(hidden, self.mask)
        return self.head(self.norm(hidden)).float()

    @torch.no_grad()
    def generate(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n grids cell by cell with cached keys and values: int64 (n, D).

        Args:
            n: how many.
            generator: source of one uniform number per cell, on the CPU.
        """
        return self.fill(torch.rand(self.dim, n, 1, generator=generator).to(self.position.device))

    @torch.no_grad()
    def fill(self, uniform: Tensor) -> Tensor:
        """Grids int64 (n, D) that n rows of uniform numbers (D, n, 1) select, cell by cell."""
        place, n = uniform.device, uniform.shape[1]
        heads, d = self.size.heads, self.size.width // self.size.heads
        caches = [torch.empty(2, n, heads, self.dim, d, device=place) for _ in self.blocks]
        x = torch.empty(self.dim, n, dtype=torch.long, device=place)
        last = torch.full((n,), self.alphabet, device=place)
        for t in range(self.dim):
            hidden = (self.token(last) + self.position[t])[:, None]
            for block, cache in zip(self.blocks, caches, strict=True):
                assert isinstance(block, Block)
                hidden = block.extend(hidden, cache, t)
            probs = self.head(self.norm(hidden[:, 0])).float().softmax(-1)
            # Inverting the distribution function spends exactly one number a cell, whatever the symbols are.
            last = (uniform[t] > probs.cumsum(-1)[:, :-1]).sum(-1)
            x[t] = last
        return x.T.contiguous()


class Block(nn.Module):
    """Pre-norm self-attention, causal by its mask, and feed-forward."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.norm1 = nn.LayerNorm(size.width)
        self.qkv = Linear(size.width, 3 * size.width)
        self.out = Linear(size.width, size.width)
        self.norm2 = nn.LayerNorm(size.width)
        self.mlp = FeedForward(size.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.out(attend(self.qkv(self.norm1(x)), self.heads, mask))
        return x + self.mlp(self.norm2(x))

    def extend(self, x: Tensor, cache: Tensor, t: int) -> Tensor:
        """One more position: x (B, 1, width), keys and values of positions before t in cache (2, B, heads, D, d)."""
        q, k, v = self.qkv(self.norm1(x)).float().unflatten(-1, (3, self.heads, -1)).unbind(2)  # (B, 1, heads, d)
        cache[0, :, :, t], cache[1, :, :, t] = k[:, 0], v[:, 0]
        keys, values = cache[..., : t + 1, :]
        weights = (q.transpose(1, 2) * q.shape[-1] ** -0.5 @ keys.transpose(-2, -1)).softmax(-1)
        x = x + self.out((weights @ values).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))
