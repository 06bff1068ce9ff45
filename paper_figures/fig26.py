"""Figure 26: learning rates of GPT.

The paper trains GPT-mini on parity with G = 6 at learning rates from 1e-5 to 3e-3 and shows accuracy, memorization, and
both clocks. Ours does so with the preset's smallest GPT, group size, N and learning rates, over the preset's seeds.
"""

from __future__ import annotations

from .shared.optimizer_sweeps import learning_rate_answer, sweep_exhibit
from .store import Data

PAPER = (
    "Rule learning depends strongly on the learning rate: 1e-4 and 3e-4 reach high accuracy rapidly, larger ones fail."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096, and G = 6; runs long enough for tau_mem at the smallest "
    "learning rates"
)

configs, compute, plot = sweep_exhibit("gpt", "lr")


def measured(data: Data) -> str:
    return learning_rate_answer(data["runs"])
