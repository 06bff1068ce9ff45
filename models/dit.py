"""DiT on grids: a diffusion transformer with adaLN-Zero and one token a cell (Peebles and Xie, 2023)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import FeedForward, Linear, Size, attend


class DiT(nn.Module):
    """The raw network F(input, c_noise) inside the EDM preconditioning.

    Args:
        shape: (H, W); each cell is one token.
        channels: C, entries of a cell's code.
        size: layers, heads and width.
    """

    def __init__(self, shape: tuple[int, int], channels: int, size: Size) -> None:
        super().__init__()
        self.shape, self.channels, self.size = shape, channels, size
        width = size.width
        self.embed = Linear(channels, width)
        self.noise = NoiseEmbedding(width)
        blocks = [Block(size) for _ in range(size.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.final = Linear(width, channels)
        self.final_modulation = Linear(width, 2 * width)
        self.register_buffer("position", grid_positions(shape, width), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in (self.final, self.final_modulation, *(block.modulation for block in blocks)):
            nn.init.zeros_(layer.weight)  # every block begins as the identity, and the network as zero

    def forward(self, y: Tensor, c_noise: Tensor) -> Tensor:
        """(B, C, H, W) and (B,) -> (B, C, H, W)."""
        tokens = self.embed(y.flatten(2).transpose(1, 2)) + self.position  # (B, D, width)
        condition = F.silu(self.noise(c_noise))  # (B, width)
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.final_modulation(condition)[:, None].chunk(2, -1)
        return self.final(modulate(tokens, shift, scale)).float().transpose(1, 2).reshape(y.shape)


class Block(nn.Module):
    """Self-attention and feed-forward, each shifted, scaled and gated by the noise level (adaLN-Zero)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.modulation = Linear(size.width, 6 * size.width)
        self.qkv = Linear(size.width, 3 * size.width)
        self.out = Linear(size.width, size.width)
        self.mlp = FeedForward(size.width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, -1)
        x = torch.addcmul(x, gate1, self.out(attend(self.qkv(modulate(x, shift1, scale1)), self.heads)))
        return torch.addcmul(x, gate2, self.mlp(modulate(x, shift2, scale2)))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights of its own, then the noise level's scale and shift."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class NoiseEmbedding(nn.Module):
    """c_noise through sines and cosines of geometric frequencies and two linear layers."""

    frequencies: Tensor

    def __init__(self, width: int, lowest: float = 0.1, highest: float = 30.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(Linear(width, width), nn.SiLU(), Linear(width, width))
        frequencies = torch.logspace(math.log10(lowest), math.log10(highest), width // 2) * 2 * math.pi
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, c_noise: Tensor) -> Tensor:
        angles = c_noise[:, None] * self.frequencies
        return self.layers(torch.cat([angles.cos(), angles.sin()], 1))


def grid_positions(shape: tuple[int, int], width: int) -> Tensor:
    """2D sine-cosine positions of unit scale: (H * W, width), half the channels for the row and half for the column.

    At the usual initial scale of learned positions, 0.02, the cells stay indistinguishable for thousands of steps.
    """
    if width % 4:
        raise ValueError(f"2D positions need a width divisible by 4, got {width}")
    frequencies = 1 / 100 ** (torch.arange(width // 4) / (width // 4))
    row, column = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
    angles = torch.cat([row.reshape(-1, 1) * frequencies, column.reshape(-1, 1) * frequencies], 1)  # (D, width / 2)
    return torch.cat([angles.sin(), angles.cos()], 1)
