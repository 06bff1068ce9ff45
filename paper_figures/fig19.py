"""Figure 19: planes of the score from memorization on.

The paper follows the plane of Fig. 17 through the onset of memorization and beyond. Ours does so for the dissected DiT
run of the preset at three kept steps from tau_mem on, as means over many such planes, beside the exact optima of rule
and training set.
"""

from __future__ import annotations

from .shared.score_planes import (
    learned_steps,
    mean_over_planes,
    percent,
    plane_exhibit,
    share_at,
    share_elsewhere,
    shares_answer,
)
from .shared.verdicts import word
from .store import Data

PAPER = (
    "From memorization on the basin of the training sample a expands towards b until it dominates much of the plane, "
    "most at the intermediate noise where the train / held-out gap opens."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; more than one run (other seeds: `results/other_seeds/report.md`)"
)
configs, compute, plot = plane_exhibit("late")


def measured(data: Data) -> str:
    shares = data["shares"]
    steps = learned_steps(shares)
    agrees = differs = False
    change = ""
    if len(steps) > 1:
        last = share_at(shares, steps[-1])
        growth = mean_over_planes(last - share_at(shares, steps[0]))
        lead = mean_over_planes(last - share_elsewhere(shares, steps[-1]))
        final = mean_over_planes(last)
        agrees = growth[1] > 0 and final[1] > 0.5 and lead[1] > 0
        differs = growth[2] < 0 or final[2] < 0.5 or lead[2] < 0
        change = f"change {percent(growth)}; at the end {percent(lead)} more than at sigma 0.2 and 2; "
    return shares_answer(shares, change, word(agrees, differs))
