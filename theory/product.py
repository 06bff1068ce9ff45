"""Laws with independent cells: the references that know symbol frequencies and no rule."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .law import BLOCKED, Law, check_grid


class ProductLaw(Law):
    """Independent cells: p(x) = prod_i probs[i, x_i].

    Args:
        probs: (D, Q) non-negative, each row summing to 1 but for rounding in float32; copied.
        shape: (H, W) with H * W = D.

    Raises:
        ValueError: probs of another shape, negative, or not normalised.
    """

    ROUNDING = 1e-6  # a row's sum may be off 1 by this; it is then made 1

    def __init__(self, probs: Tensor, shape: tuple[int, int]) -> None:
        probs = torch.as_tensor(probs, dtype=torch.float64)
        if probs.ndim != 2:
            raise ValueError(f"probs must have shape (D, Q), got {tuple(probs.shape)}")
        super().__init__(shape, probs.shape[1])
        if len(probs) != self.dim:
            raise ValueError(f"probs must have shape ({self.dim}, Q), got {tuple(probs.shape)}")
        totals = probs.sum(-1, keepdim=True)
        if not bool((probs >= 0).all()) or not bool(((totals - 1).abs() <= self.ROUNDING).all()):
            raise ValueError(
                "each row of probs must be non-negative and sum to 1; divide it by its sum, or compute it in float64"
            )
        self.probs = probs / totals

    @classmethod
    def fit(cls, x: Tensor, shape: tuple[int, int], alphabet: int) -> ProductLaw:
        """How often each symbol occurs in each cell of grids (N, D), and nothing else of them."""
        return ProductLaw(F.one_hot(x.long(), alphabet).double().mean(0), shape)

    @classmethod
    def of(cls, law: Law) -> ProductLaw:
        """The cells of a law without their dependence."""
        return ProductLaw(law.unmask_probs(torch.full((1, law.dim), law.alphabet))[0], law.shape)

    @property
    def entropy(self) -> float:
        return float(torch.special.entr(self.probs).sum())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        if n == 0:  # multinomial refuses it
            return torch.empty(0, self.dim, dtype=torch.int64)
        return torch.multinomial(self.probs, n, replacement=True, generator=generator).T.contiguous()

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        tilted = h + self.probs.log().clamp_min(BLOCKED).to(h)
        return tilted.logsumexp(-1).sum(-1), tilted.softmax(-1)

    def _unmask(self, x: Tensor) -> Tensor:
        probs = self.probs.to(x.device)
        chosen = probs.expand(len(x), -1, -1).gather(-1, x.clamp_max(self.alphabet - 1).unsqueeze(-1))[..., 0]
        return probs * ((chosen > 0) | (x == self.alphabet)).all(1)[:, None, None]

    def _contrast(self, log_odds: Tensor) -> Tensor:
        prior = self.probs.log().diff(dim=-1).squeeze(-1).to(log_odds)
        return torch.tanh((log_odds + prior) / 2)


class CubeLaw(ProductLaw):
    """The uniform law on all Q^D configurations: the rule-blind reference.

    Args:
        shape: (H, W).
        alphabet: Q, the number of symbols.
    """

    def __init__(self, shape: tuple[int, int], alphabet: int = 2) -> None:
        check_grid(shape, alphabet)
        super().__init__(torch.full((shape[0] * shape[1], alphabet), 1 / alphabet, dtype=torch.float64), shape)

    @property
    def support_size(self) -> int:
        """Q^D, exact."""
        return self.alphabet**self.dim

    @property
    def entropy(self) -> float:
        return self.dim * math.log(self.alphabet)
