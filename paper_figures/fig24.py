"""Figure 24: learning rates of DiT.

The paper trains DiT-mini on parity with G = 6 at learning rates from 1e-5 to 3e-3 and shows accuracy, memorization, and
both clocks. Ours does so with the preset's smallest DiT, group size, N and learning rates, over the preset's seeds.
"""

from __future__ import annotations

from .shared.optimizer_sweeps import learning_rate_answer, sweep_exhibit
from .store import Data

PAPER = (
    "Moderate learning rates learn the rule, 1e-4 first, then 3e-5 and 1e-5. The caption is cut off at larger ones; "
    "tested is a best rate in between."
)
MISSING = "the paper's mini model, 6x6 grids and N = 4096, and G = 6"

configs, compute, plot = sweep_exhibit("dit", "lr")


def measured(data: Data) -> str:
    return learning_rate_answer(data["runs"])
