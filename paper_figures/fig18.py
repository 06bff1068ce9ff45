"""Figure 18: planes of the score in the innovation window.

The paper follows the plane of Fig. 17 through the generalizing phase. Ours does so for the dissected DiT run of the
preset at three kept steps from tau_rule to tau_mem, as means over many such planes, beside the exact optima of rule and
training set.
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
    "In the window the border between the basins of the training sample a and of its valid novel neighbour b stays "
    "visible while the attraction to a strengthens, most at intermediate noise."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; more than one run (other seeds: `results/other_seeds/report.md`)"
)
configs, compute, plot = plane_exhibit("mid")
NEGLIGIBLE_SHARE = 0.05
"""A change of the share by less than this counts as none, and a border as gone when less than this is left."""


def measured(data: Data) -> str:
    shares = data["shares"]
    steps = learned_steps(shares)
    agrees = differs = False
    change = ""
    if len(steps) > 1:
        here, elsewhere = (share(shares, steps[-1]) - share(shares, steps[0]) for share in (share_at, share_elsewhere))
        growth, lead = mean_over_planes(here), mean_over_planes(here - elsewhere)
        final = mean_over_planes(share_at(shares, steps[-1]))
        agrees = growth[1] > 0 and lead[1] > 0 and final[2] < 1 - NEGLIGIBLE_SHARE
        differs = growth[2] < NEGLIGIBLE_SHARE or lead[2] < 0 or final[1] > 1 - NEGLIGIBLE_SHARE
        change = f"change {percent(growth)}, {percent(lead)} more than at sigma 0.2 and 2; "
    return shares_answer(shares, change, word(agrees, differs))
