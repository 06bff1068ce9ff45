"""Latin squares and Sudoku: every row, column and block holds each symbol once (Fig. 6, 22 of arXiv 2605.10019)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .automaton import LayeredAutomaton


class LatinSquare(LayeredAutomaton):
    """n x n grids whose rows and columns are permutations of n symbols.

    Args:
        n: side, 2 to 6; the states of a 7 x 7 square do not fit in memory.

    Raises:
        ValueError: n outside 2..6.
    """

    group_constraint = "row"

    def __init__(self, n: int) -> None:
        if not 2 <= n <= 6:
            raise ValueError(
                f"a Latin square must have side 2 to 6 (a larger automaton does not fit in memory), got {n}"
            )
        super().__init__((n, n), n)
        self.spec = f"latin:{n}"
        self.EDGES = {2: 8, 3: 66, 4: 1_376, 5: 92_690, 6: 20_786_232}[n]
        self.groups = torch.arange(n * n).reshape(n, n)

    @property
    def group_patterns(self) -> int:
        return math.factorial(self.alphabet)  # any row becomes any other by renaming the symbols

    def constraints(self, x: Tensor) -> dict[str, Tensor]:
        rows = x.unflatten(-1, self.shape)
        return {"row": is_permutation(rows), "column": is_permutation(rows.mT)}

    def step(self, states: np.ndarray, position: int, symbol: int) -> tuple[np.ndarray, np.ndarray]:
        """A state packs, n bits each, the symbols used in every column, in the current row, and in open blocks."""
        used = sum(1 << (self.alphabet * unit + symbol) for unit in self._units(position))
        done = sum(((1 << self.alphabet) - 1) << (self.alphabet * unit) for unit in self._completed(position))
        return states & used == 0, (states | used) & ~done

    def _units(self, position: int) -> list[int]:
        """The units that a cell belongs to: its column 0..n-1, its row n, its block n + 1 + place within the band."""
        return [position % self.alphabet, self.alphabet]

    def _completed(self, position: int) -> list[int]:
        """The units that are full after this cell and begin anew."""
        return [self.alphabet] if (position + 1) % self.alphabet == 0 else []


class Sudoku(LatinSquare):
    """Latin squares whose blocks of height x width cells hold each symbol once too.

    Args:
        height, width: of a block, both at least 2; the grid has side height * width, at most 6.

    Raises:
        ValueError: a block side below 2, or a grid above 6 x 6.
    """

    def __init__(self, height: int, width: int) -> None:
        if min(height, width) < 2 or height * width > 6:
            raise ValueError(
                f"a Sudoku block must be 2x2, 2x3 or 3x2 (a larger automaton does not fit in memory), "
                f"got {height}x{width}"
            )
        super().__init__(height * width)
        self.block = (height, width)
        self.spec = f"sudoku:{height}x{width}"
        self.EDGES = {(2, 2): 656, (2, 3): 2_816_232, (3, 2): 923_112}[self.block]

    def constraints(self, x: Tensor) -> dict[str, Tensor]:
        height, width = self.block
        blocks = x.unflatten(-1, (width, height, height, width)).transpose(-3, -2).flatten(-4, -3).flatten(-2)
        return {**super().constraints(x), "block": is_permutation(blocks)}

    def _units(self, position: int) -> list[int]:
        return [*super()._units(position), self.alphabet + 1 + position % self.alphabet // self.block[1]]

    def _completed(self, position: int) -> list[int]:
        n, (height, width) = self.alphabet, self.block
        last_row_of_band = (position // n + 1) % height == 0
        closes_block = last_row_of_band and (position % n + 1) % width == 0
        return super()._completed(position) + ([n + 1 + position % n // width] if closes_block else [])


def is_permutation(parts: Tensor) -> Tensor:
    """Whether the n symbols (..., n) of each part are all different: bool (...)."""
    n = parts.shape[-1]
    return (parts.sort(-1).values == torch.arange(n, device=parts.device)).all(-1)
