"""How symbols become real images, and back: the codes e(s) that a diffusion model sees."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from .law import check_grid

Kind = Literal["pm1", "scalar", "onehot"]


class Encoding:
    """A code vector e(s) in R^C for each symbol s, the same in every cell.

    Args:
        shape: (H, W).
        alphabet: Q, the number of symbols.
        kind: ``"pm1"`` (-1 and +1, Q = 2 only, C = 1), ``"scalar"`` (Q levels evenly spaced in [-1, 1], C = 1), or
            ``"onehot"`` (unit vectors, C = Q).

    Attributes:
        codes: (Q, C) float64.
        channels: C.
        sigma_data: root mean square of the codes' entries under equally likely symbols (EDM's data scale).

    Raises:
        ValueError: an unknown kind, pm1 with Q != 2, or a bad shape or alphabet.
    """

    AMBIGUOUS = 0.5  # distance from the nearest code, in units of half the distance between neighbouring codes

    def __init__(self, shape: tuple[int, int], alphabet: int, kind: Kind = "pm1") -> None:
        check_grid(shape, alphabet)
        if kind == "pm1" and alphabet != 2:
            raise ValueError(f"encoding 'pm1' needs 2 symbols, got {alphabet}; use 'scalar' or 'onehot'")
        if kind in ("pm1", "scalar"):
            codes = torch.linspace(-1, 1, alphabet, dtype=torch.float64)[:, None]
            gap = 2 / (alphabet - 1)
        elif kind == "onehot":
            codes = torch.eye(alphabet, dtype=torch.float64)
            gap = math.sqrt(2)
        else:
            raise ValueError(f"unknown encoding {kind!r}; use 'pm1', 'scalar' or 'onehot'")
        self.shape, self.alphabet, self.kind = shape, alphabet, kind
        self.codes = codes
        self.gap = gap
        self.sigma_data = float(codes.square().mean().sqrt())

    @property
    def channels(self) -> int:
        return self.codes.shape[1]

    @property
    def dim(self) -> int:
        """D = H * W, the number of cells."""
        return self.shape[0] * self.shape[1]

    def __repr__(self) -> str:
        return f"Encoding({self.shape}, {self.alphabet}, {self.kind!r})"

    def encode(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Images (B, C, H, W) of symbols x (B, D), in data units.

        Raises:
            ValueError: x does not hold integers 0..Q-1 in that shape.
        """
        if x.ndim != 2 or x.shape[1] != self.dim or x.dtype.is_floating_point:
            raise ValueError(f"symbols must be integers of shape (B, {self.dim}), got {tuple(x.shape)} {x.dtype}")
        if x.numel() and (int(x.min()) < 0 or int(x.max()) >= self.alphabet):
            raise ValueError(f"symbols must lie in 0..{self.alphabet - 1}, got {int(x.min())}..{int(x.max())}")
        codes = self.codes.to(x.device, dtype)[x.long()]  # (B, D, C)
        return codes.transpose(1, 2).reshape(len(x), self.channels, *self.shape)

    def decode(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest symbol of each cell, and which samples are ambiguous.

        Args:
            y: images (B, C, H, W), or (B, D) where C = 1; any float dtype.

        Returns:
            symbols int64 (B, D), and ambiguous bool (B,): some cell is not finite, or lies farther from its nearest
            code than 0.5 in units of half the distance between codes (for -1/+1: |y| outside [0.5, 1.5]).
        """
        nearest, symbols = self.distances(self.cells(y)).min(-1)
        clear = nearest <= self.AMBIGUOUS * self.gap / 2  # False for NaN too
        return symbols, ~clear.all(-1)

    def distances(self, cells: Tensor) -> Tensor:
        """From each cell (B, D, C) to each code: (B, D, Q), in data units, float32 or wider."""
        cells = cells.to(torch.promote_types(cells.dtype, torch.float32))  # cdist takes no half precision
        return torch.cdist(cells, self.codes.to(cells)[None], compute_mode="donot_use_mm_for_euclid_dist")

    def cells(self, y: Tensor) -> Tensor:
        """(B, D, C) of images (B, C, H, W), or of rows (B, D) where C = 1; ValueError for any other shape."""
        if self.channels == 1 and y.ndim == 2 and y.shape[1] == self.dim:
            return y.unsqueeze(-1)
        if y.ndim == 4 and y.shape[1] == self.channels and y.shape[2] * y.shape[3] == self.dim:
            return y.flatten(2).transpose(1, 2)
        rows = f" or (B, {self.dim})" if self.channels == 1 else ""
        raise ValueError(
            f"images must have shape (B, {self.channels}, H, W) with H * W = {self.dim}{rows}, got {tuple(y.shape)}"
        )

    def like(self, cells: Tensor, y: Tensor) -> Tensor:
        """Undo `cells`: (B, D, C) back to the shape and dtype of y."""
        return cells.transpose(1, 2).reshape(y.shape).to(y.dtype)


def default_encoding(shape: tuple[int, int], alphabet: int) -> Encoding:
    """``pm1`` for two symbols, ``onehot`` above."""
    return Encoding(shape, alphabet, "pm1" if alphabet == 2 else "onehot")
