"""How symbols become real images, and back: the codes e(s) that a diffusion model sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .law import check_grid

Kind = Literal["pm1", "scalar", "onehot"]


class Encoding:
    """A code vector e(s) in R^C for each symbol s, the same in every cell.

    Args:
        shape: (H, W).
        alphabet: Q, the number of symbols.
        codes: ``"pm1"`` (-1 and +1, Q = 2 only, C = 1), ``"scalar"`` (Q levels evenly spaced in [-1, 1], C = 1),
            ``"onehot"`` (unit vectors, C = Q); or your own, real numbers (Q,) or vectors (Q, C), all different: [0, 1]
            or [0, 255] for pixels, for example.

    Attributes:
        codes: (Q, C) float64.
        kind: the name of the codes, or ``"own"``.
        channels: C.
        gap: the smallest distance between two codes.
        sigma_data: root mean square of the codes' entries under equally likely symbols (EDM's data scale).

    Raises:
        ValueError: an unknown name, pm1 with Q != 2, codes of another shape, not finite or not all different, or a bad
            shape or alphabet.
    """

    AMBIGUOUS = 0.5  # distance from the nearest code, in units of half the distance to that code's own neighbour

    def __init__(
        self, shape: tuple[int, int], alphabet: int, codes: Kind | Tensor | np.ndarray | Sequence[Any] = "pm1"
    ) -> None:
        check_grid(shape, alphabet)
        self.shape, self.alphabet = shape, alphabet
        self.kind = codes if isinstance(codes, str) else "own"
        if self.kind == "pm1" and alphabet != 2:
            raise ValueError(f"encoding 'pm1' needs 2 symbols, got {alphabet}; use 'scalar' or 'onehot'")
        if isinstance(codes, str):
            if codes in ("pm1", "scalar"):
                self.codes = torch.linspace(-1, 1, alphabet, dtype=torch.float64)[:, None]
                gap = 2 / (alphabet - 1)
            elif codes == "onehot":
                self.codes = torch.eye(alphabet, dtype=torch.float64)
                gap = math.sqrt(2)
            else:
                raise ValueError(f"unknown encoding {codes!r}; use 'pm1', 'scalar', 'onehot' or an array of codes")
            self._gaps = torch.full((alphabet,), gap, dtype=torch.float64)
        else:
            self.codes = _own_codes(codes, alphabet)
            apart = torch.cdist(self.codes[None], self.codes[None], compute_mode="donot_use_mm_for_euclid_dist")[0]
            self._gaps = apart.fill_diagonal_(math.inf).amin(-1)
            if not bool((self._gaps > 0).all()):
                raise ValueError(f"codes must all be different, got {codes_text(self.codes)}")
        self.gap = float(self._gaps.min())
        self.sigma_data = float(self.codes.square().mean().sqrt())

    @property
    def channels(self) -> int:
        return self.codes.shape[1]

    @property
    def dim(self) -> int:
        """D = H * W, the number of cells."""
        return self.shape[0] * self.shape[1]

    @property
    def is_spins(self) -> bool:
        """Whether symbol 0 is -1 and symbol 1 is +1."""
        return self.codes.shape == (2, 1) and self.codes[:, 0].tolist() == [-1.0, 1.0]

    def same_codes(self, other: Encoding) -> bool:
        """Whether another encoding makes the same images of the same symbols."""
        return self.dim == other.dim and torch.equal(self.codes, other.codes)

    def __repr__(self) -> str:
        codes = repr(self.kind) if self.kind != "own" else codes_text(self.codes)
        return f"Encoding({self.shape}, {self.alphabet}, {codes})"

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
            code than 0.5 in units of half the distance from that code to the next (for -1/+1: |y| outside [0.5, 1.5]).
        """
        nearest, symbols = self.distances(self.cells(y)).min(-1)
        reach = (self.AMBIGUOUS * self._gaps / 2).to(nearest)
        clear = nearest <= reach[symbols]  # False for NaN too
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


def codes_text(codes: Tensor) -> str:
    """Codes (Q, C) in a few characters, as Python reads them where there are at most 32 numbers."""
    rounded = [[float(f"{code:.6g}") for code in row] for row in codes.tolist()]
    rows = [row[0] for row in rounded] if codes.shape[1] == 1 else rounded
    return (
        str(rows) if codes.numel() <= 32 else f"{tuple(codes.shape)} codes from {codes.min():.6g} to {codes.max():.6g}"
    )


def _own_codes(codes: Any, alphabet: int) -> Tensor:
    """Codes (Q, C) float64 as given (Q,) or (Q, C)."""
    try:
        if isinstance(codes, list | tuple) and any(isinstance(code, Tensor) for code in codes):
            codes = torch.stack([torch.as_tensor(code, dtype=torch.float64) for code in codes])
        is_complex = isinstance(codes, Tensor) and codes.dtype.is_complex
        given = torch.zeros(0) if is_complex else torch.as_tensor(codes, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"codes must be real numbers ({alphabet},) or ({alphabet}, C), got {codes!r}") from None
    if given.ndim not in (1, 2) or len(given) != alphabet or given.numel() == 0:
        raise ValueError(
            f"codes must be real numbers ({alphabet},) or ({alphabet}, C), one for each of {alphabet} symbols, got "
            f"shape {tuple(codes.shape) if isinstance(codes, Tensor) else tuple(given.shape)}"
        )
    table = given.clone().reshape(alphabet, -1)
    if not bool(table.isfinite().all()):
        raise ValueError(f"codes must be finite, got {codes_text(table)}")
    return table


def default_encoding(shape: tuple[int, int], alphabet: int) -> Encoding:
    """``pm1`` for two symbols, ``onehot`` above."""
    return Encoding(shape, alphabet, "pm1" if alphabet == 2 else "onehot")
