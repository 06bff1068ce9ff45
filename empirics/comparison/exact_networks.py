"""The exact optimum of any law in the form of a network: called, compared and scored as a learned one is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...theory import Encoding, Law, OptimalDenoiser
from ...theory.dsm import Denoiser
from ..families.family import Family


@dataclass(frozen=True)
class ExactSymbols:
    """The optimum of a law for a channel that shows symbols, as logits (B, D, Q) for symbols (B, D).

    Its logits are log-probabilities, -inf for a symbol that cannot be. Where the law cannot produce what is shown it
    has no answer, and gives all symbols the same chance.

    Attributes:
        law: the law.
        masked: cells to be told are masked, as by the symbol Q; otherwise each cell is told from those before it.
    """

    law: Law
    masked: bool

    @property
    def alphabet(self) -> int:
        """Q, also the symbol of a masked cell."""
        return self.law.alphabet

    def __call__(self, x: Tensor) -> Tensor:
        probs = self.law.unmask_probs(x) if self.masked else self.law.next_token_probs(x)
        return torch.where(probs.sum(-1, keepdim=True) > 0.5, probs, 1 / self.alphabet).log()


def exact_network(family: Family, law: Law, encoding: Encoding | None) -> ExactSymbols | Denoiser:
    """What a family's network would be that had learned a law and nothing else.

    Args:
        family: its channel says what such a network is given.
        law: of the grids.
        encoding: of the family's networks.
    """
    if family.channel == "gaussian":
        return OptimalDenoiser(law, encoding)
    return ExactSymbols(law, family.channel == "mask")
