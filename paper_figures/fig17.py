"""Figure 17: planes of the score up to rule learning.

The paper shows score magnitude and signed displacement on a plane through a training sample a, a valid novel b and
invalid c and d at sigma 0.2, 0.5, 1 and 2, early in training. Ours does so for the dissected DiT run of the preset at
its first kept step, when it is quantized but breaks the rule, and from tau_rule on, as means over many such planes,
beside the exact optima of a net that knows no rule and of one that knows it.
"""

from __future__ import annotations

from ..empirics.probes.phases import LEARNED
from ..empirics.probes.summary import read_summary
from ..empirics.statistics.claims import NEGLIGIBLE_RATIO
from .shared.score_planes import Estimate, corner_ratio, learned_steps, plane_exhibit
from .shared.verdicts import word
from .store import Data

PAPER = (
    "Before rule learning the score forms attractors around the vertices of the cube; after it begins, the valid "
    "anchors a and b start to dominate the invalid c and d."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; more than one run (other seeds: `results/other_seeds/report.md`)"
)
configs, compute, plot = plane_exhibit("early")


def measured(data: Data) -> str:
    corners, run = data["corners"], read_summary(data["run"])
    steps = learned_steps(corners)
    ratios = [corner_ratio(corners, LEARNED, step) for step in steps]
    agrees = differs = False
    rule = run.onsets["tau_rule"]
    before = [ratio for ratio, step in zip(ratios, steps, strict=True) if step <= rule.lower]
    if before and steps[-1] >= rule.upper:
        agrees = before[-1][2] < NEGLIGIBLE_RATIO < ratios[-1][1]
        differs = before[-1][1] > NEGLIGIBLE_RATIO or ratios[-1][2] < NEGLIGIBLE_RATIO
    parts = [f"{_text(ratio)} at step {step}" for ratio, step in zip(ratios, steps, strict=True)]
    return (
        "score magnitude at the invalid corners over that at the valid ones, sigma 0.5 and 1 (95% interval over "
        f"{corners['plane'].nunique()} planes): {', '.join(parts)}; tau_rule {rule}; cube optimum "
        f"{corner_ratio(corners, 'cube optimum')[0]:.2g}; alike taken as below {NEGLIGIBLE_RATIO:g}; n = 1 run: "
        f"{word(agrees, differs)}"
    )


def _text(ratio: Estimate) -> str:
    return f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]"
