"""What a model is trained to invert: the only place where fields h[i, s] are born from an observation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .checks import concrete, extent

if TYPE_CHECKING:
    from .encodings import Encoding


class Mask:
    """Some cells are seen and the others masked: 0 on the symbol seen, -inf elsewhere; 0 on masked cells."""

    def fields(self, x: Tensor, alphabet: int) -> Tensor:
        """Fields float64 (..., D, Q) of symbols x (..., D), where Q stands for a masked cell."""
        symbols = torch.arange(alphabet, device=x.device)
        possible = (x.long().unsqueeze(-1) == symbols) | (x.unsqueeze(-1) == alphabet)
        return torch.zeros(possible.shape, dtype=torch.float64, device=x.device).masked_fill_(~possible, -math.inf)

    def each_symbol_at(self, cell: int, h: Tensor) -> Tensor:
        """The fields h (..., D, Q) with one cell seen to hold each symbol in turn: (..., Q, D, Q)."""
        D, Q = h.shape[-2:]
        here = torch.arange(D, device=h.device)[:, None] == cell  # (D, 1)
        seen = self.fields(torch.arange(Q, device=h.device), Q).to(h)  # (Q, Q)
        return torch.where(here, seen[:, None], h.unsqueeze(-3))


class Prefix:
    """The cells before one are seen: 0 on the symbol seen, -inf elsewhere; 0 from that cell on."""

    def fields(self, x: Tensor, length: int, alphabet: int) -> Tensor:
        """Fields float64 (..., D, Q) of the first cells of symbols x (..., D)."""
        beyond = torch.arange(x.shape[-1], device=x.device) >= length
        return Mask().fields(x.masked_fill(beyond, alphabet), alphabet)


@dataclass(frozen=True)
class Gaussian:
    """y = e(x) + sigma n, seen as the fields h[i, s] = -|y_i - e(s)|^2 / (2 sigma^2).

    Fields are relative to each cell's nearest code, so that those of the nearest grid are zero however far y is. They
    are float64 where y is, or where D times the largest possible field exceeds `LARGEST_SUM`, and float32 elsewhere: so
    the log-weights of grids err by at most LARGEST_SUM * 2^-22 = 1e-3 at any y and sigma, and in practice by 1e-5.
    """

    encoding: Encoding

    LARGEST_SUM = 2.0**12
    FARTHEST = 1e24  # fields beyond this are as good as -inf, but must stay finite: the Gaussian excludes no grid

    def fields(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Fields of images, up to a constant in each cell: (B, D, Q), the largest of a cell 0 but for rounding.

        Args:
            y: noisy images (B, C, H, W), or (B, D) where C = 1; floating point, finite.
            sigma: noise standard deviation in data units, a number or (B,), positive and finite.

        Raises:
            ValueError: wrong shapes or dtype, y not finite, or sigma not positive and finite.
        """
        cells, s, wide = self._observe(y, sigma)
        return self._scaled(self._relative(cells)[0], s, wide)

    def log_likelihood(self, y: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
        """`fields`, and what they leave out (B,) float64: log p(y | x) = sum_i h[i, x_i] + offset. Same errors."""
        cells, s, wide = self._observe(y, sigma)
        products, near = self._relative(cells)
        beyond = (cells - near).double()
        log_scale = beyond.shape[1] * beyond.shape[2] * (s.log() + math.log(2 * math.pi) / 2)
        return self._scaled(products, s, wide), -(beyond / s[:, None, None]).square().sum((1, 2)) / 2 - log_scale

    def log_odds(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """h[i, 1] - h[i, 0] of `fields`, for two symbols: (B, D). Same arguments and errors."""
        cells, s, wide = self._observe(y, sigma)
        zero, one = self.encoding.codes.to(cells)
        middle, step = (zero + one) / 2, one - zero
        if bool(middle.any()):
            cells = cells - middle
        if len(step) == 1:
            return self._scaled(cells[..., 0], s, wide, float(step))
        return self._scaled(cells @ step, s, wide)

    def _relative(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """sigma^2 times the fields (B, D, Q), and each cell's nearest code (B, D, C)."""
        codes = self.encoding.codes.to(cells)  # (Q, C)
        centre = codes.mean(0) if codes.shape[1] > 1 else codes[0]  # codes far from 0 must not cost digits
        around = codes - centre
        scores = (cells - centre) @ around.T - around.square().sum(-1) / 2
        near = codes[scores.detach().argmax(-1)]
        if codes.shape[1] > 1:
            return scores - scores.amax(-1, keepdim=True), near
        step = codes[:, 0] - near  # (B, D, Q); many levels on a line lie close together: no difference of squares
        return step * (cells - near - step / 2), near

    def _observe(self, y: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor, bool]:
        """Cells (B, D, C) in the dtype of the fields, sigma (B,) float64, and whether fields may exceed FARTHEST."""
        if not isinstance(y, Tensor) or not y.dtype.is_floating_point:
            raise ValueError(f"y must be a floating-point tensor, got {getattr(y, 'dtype', type(y).__name__)}")
        cells = self.encoding.cells(y)
        if y.ndim == 4 and y.shape[2:] != self.encoding.shape:
            raise ValueError(f"images must be {self.encoding.shape} grids, got {tuple(y.shape[2:])}")
        s = noise_levels(sigma, len(y), y.device)
        low, high = extent(cells)
        if not -math.inf < low <= high < math.inf:
            raise ValueError("y must be finite; found NaN or an infinity")
        codes = self.encoding.codes
        far = max(high - float(codes.min()), float(codes.max()) - low)
        lowest = extent(s)[0] or 1.0
        largest = float((codes[:, None] - codes).abs().sum(-1).max()) * far / lowest / lowest
        dtype = torch.promote_types(y.dtype, torch.float32)
        if largest * self.encoding.dim > self.LARGEST_SUM:
            dtype = torch.float64
        return cells.to(dtype), s, largest > self.FARTHEST

    def _scaled(self, products: Tensor, s: Tensor, wide: bool, times: float = 1.0) -> Tensor:
        """Products (B, D, ...) times a number over sigma^2, kept within the range that laws take as finite."""
        factor = times * s.clamp_min(1e-100) ** -2  # below, every field is 0 or beyond FARTHEST all the same
        h = products * factor.to(products.dtype).reshape(-1, *[1] * (products.ndim - 1))
        return h.clamp(-self.FARTHEST, self.FARTHEST) if wide else h


def noise_levels(
    sigma: float | Sequence[float] | Tensor, n: int | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Noise levels as float64 (n,): one number for all, or one each.

    Args:
        sigma: in data units, a number or 1 or n of them.
        n: how many images they are for; by default as many as there are levels.
        device: where the levels are wanted.

    Raises:
        ValueError: another number of levels, or a level that is not positive and finite.
    """
    s = torch.as_tensor(sigma, dtype=torch.float64, device=device)
    if n is not None and s.numel() not in (1, n):
        raise ValueError(f"sigma must be a number or have shape ({n},), got shape {tuple(s.shape)}")
    seen = concrete(s)
    if not bool(((seen > 0) & (seen < math.inf)).all()):
        raise ValueError("sigma must be positive and finite")
    return s.reshape(-1) if n is None else s.reshape(-1).expand(n)
