"""Figure 27: weight decay of GPT.

The paper trains GPT-mini on parity with G = 6 at several weight decays and a fixed learning rate, and shows accuracy,
memorization, and both clocks. Ours does so with the preset's smallest GPT, group size, N and weight decays, over the
preset's seeds.
"""

from __future__ import annotations

from .shared.optimizer_sweeps import sweep_exhibit, weight_decay_answer
from .store import Data

PAPER = (
    "The rule is learned rapidly across most weight decays from 0 to 1; a large one strongly affects memorization "
    "time. The caption is cut off at how; tested is a delay."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096, and G = 6; runs long enough for tau_mem at the largest weight "
    "decays"
)

configs, compute, plot = sweep_exhibit("gpt", "weight_decay")


def measured(data: Data) -> str:
    return weight_decay_answer(data["runs"], delayed="tau_mem")
