"""Rows of data too many to convert at once: read a block at a time, centred, from memory or from a memory map."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .certified import Projection

BLOCK = 2**22
"""Numbers of a block, and log-weights of queries against it, held at once."""
KEPT = 2**24
"""Data of at most so many numbers stay converted between calls."""


class Block(NamedTuple):
    """Centred rows first..first + m - 1."""

    first: int
    x: Tensor  # (m, n)
    half: Tensor  # float64 (m,), half the squared norm of each


class Rows:
    """Data (N, ...) as N rows of n numbers, in the data's own units.

    Args:
        x: floats or bytes (uint8), a tensor, an array, a memory map, or whatever has shape, dtype and slices.

    Raises:
        ValueError: no rows, another dtype, or numbers that are not finite.
    """

    def __init__(self, x: Any) -> None:
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            x = np.asarray(x)
        self.of = x
        if len(x.shape) < 1 or 0 in x.shape:
            raise ValueError(f"x must have shape (N, ...) with N >= 1 and at least one number each, got {x.shape}")
        kind = str(x.dtype).removeprefix("torch.")
        if kind not in ("float16", "bfloat16", "float32", "float64", "uint8"):
            raise ValueError(f"x must hold floats or bytes (uint8), got {kind}; for symbols use EmpiricalLaw")
        self.whole = kind == "uint8"
        self.shape = tuple(int(n) for n in x.shape[1:])
        self.n, self.dim = int(x.shape[0]), math.prod(self.shape)
        self._half: dict[torch.dtype, Tensor] = {}
        self._kept: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def read(self, at: slice | np.ndarray) -> Tensor:
        """Some rows as they are: (m, n), on the CPU or where x is."""
        rows = self.of[torch.from_numpy(at).to(self.of.device) if _indexes(at, self.of) else at]
        if not isinstance(rows, Tensor):
            array = np.asarray(rows)
            rows = torch.from_numpy(array if array.flags.writeable else array.copy())
        return rows.reshape(len(rows), self.dim)

    @cached_property
    def centre(self) -> Tensor:
        """About the mean row, float64 (n,) on the CPU: rounded to float32, so that all precisions have the same centre.

        Of bytes it is whole, so that centred bytes are exact in float32.
        """
        total = torch.zeros(self.dim, dtype=torch.float64)
        for first in range(0, self.n, step := max(1, BLOCK // self.dim)):
            total += self.read(slice(first, first + step)).sum(0, dtype=torch.float64).cpu()
        if not bool(total.isfinite().all()):
            raise ValueError("x must be finite; found NaN or an infinity")
        mean = (total / self.n).round() if self.whole else total / self.n
        return torch.where(mean.abs() < torch.finfo(torch.float32).max, mean.float().double(), mean)

    @cached_property
    def radius(self) -> float:
        """At least the largest distance of a row from the centre."""
        blocks = self.blocks(torch.float32, torch.device("cpu"), max(1, BLOCK // self.dim))
        smallest = torch.finfo(torch.float32).tiny  # what is smaller may have become 0
        largest = math.sqrt(2 * max(float(block.half.max()) for block in blocks))
        return largest * (1 + 1e-6) + math.sqrt(self.dim) * smallest

    @cached_property
    def projection(self) -> Projection:
        """What `certify` looks at first, made when it is first asked for."""
        from .certified import Projection

        return Projection.of(self)

    def blocks(self, dtype: torch.dtype, device: torch.device, size: int) -> Iterator[Block]:
        """The centred rows in order, so many a block."""
        if dtype not in self._half:
            self._half[dtype] = torch.full((self.n,), torch.nan, dtype=torch.float64)
        centre = self.centre.to(device, dtype)
        for first in range(0, self.n, size):
            rows = slice(first, min(first + size, self.n))
            x = self._centred(rows, centre)
            half = self._half[dtype][rows]
            if bool(half[-1].isnan()):
                half[:] = x.double().square().sum(1).cpu() / 2
            yield Block(first, x, half.to(device))

    def _centred(self, rows: slice, centre: Tensor) -> Tensor:
        key = centre.dtype, centre.device
        if self.n * self.dim > KEPT:
            return self._convert(self.read(rows), centre)
        if key not in self._kept:
            self._kept = {key: self._convert(self.read(slice(0, self.n)), centre)}  # one alone
        return self._kept[key][rows]

    def _convert(self, x: Tensor, centre: Tensor) -> Tensor:
        """In the data's own precision first: what is left of close numbers is exact."""
        if x.dtype == torch.float64 and centre.dtype == torch.float32:
            return (x.to(centre.device) - centre.double()).float()
        return x.to(centre.device).to(centre.dtype, copy=True).sub_(centre)


def _indexes(at: slice | np.ndarray, of: object) -> bool:
    return isinstance(at, np.ndarray) and isinstance(of, Tensor)
