"""Figure 25: weight decay of DiT.

The paper trains DiT-mini on parity with G = 6 at several weight decays and a fixed learning rate, and shows accuracy,
memorization, and both clocks. Ours does so with the preset's smallest DiT, group size, N and weight decays, over the
preset's seeds.
"""

from __future__ import annotations

from .shared.optimizer_sweeps import sweep_exhibit, weight_decay_answer
from .store import Data

PAPER = (
    "The rule is learned at small to moderate weight decay, with tau_rule of the same order; the largest, 1e-2, delays "
    "and weakens it below the threshold."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096, and G = 6; runs long enough for tau_mem at the largest weight "
    "decay"
)

configs, compute, plot = sweep_exhibit("dit", "weight_decay")


def measured(data: Data) -> str:
    return weight_decay_answer(data["runs"], delayed="tau_rule")
