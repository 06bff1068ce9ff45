"""What figures 13 to 19 take from the dissected DiT run: probes of its score, each made once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from ...empirics import Run, load_run
from ...empirics.probes.basins import run_basins
from ...empirics.probes.phases import AT_RULE, BEFORE, WINDOW, Optimum, kept_steps, phase_steps
from ...empirics.probes.planes import run_planes
from ...empirics.probes.segments import mean_profiles, run_segments
from ...empirics.probes.spectra import run_errors
from ...empirics.probes.summary import RunSummary, run_summary, summary_table
from ..presets import Preset
from .clock_tables import judged_by_all

OPTIMA: tuple[Optimum, ...] = ("cube optimum", "rule optimum", "training-set optimum", "training-cells optimum")
RAW, QUANTIZED, LEARNED_RULE = "not quantized", "quantized only", "rule learned"
COPYING, LAST = "memorization begins", "end of training"
SEGMENT_SIGMA = 1.0
PLANE_POINTS = 17  # a side; the corners are among them
BASIN_STEPS = 40  # at most; all that a laptop run keeps, so that onsets are as sharp as the evaluations
STAGES = ("early", "mid", "late")


def record(run: Run) -> pd.DataFrame:
    """The run's own table, which every figure of a dissected run keeps, with what `judged_by_all` adds."""
    return summary_table(run_summary(run)).assign(**judged_by_all(run))


def loss_errors(preset: Preset, run: Run) -> pd.DataFrame:
    """`run_errors` at every kept step and of `OPTIMA`, on about half as many images as a state raster has noises."""
    return _errors(str(run.path), preset.n_probe // 2)


def planes(preset: Preset, run: Run) -> pd.DataFrame:
    """`run_planes` at the steps of `stage_steps`, and of the optima that know no training cells."""
    return _planes(str(run.path), max(2, preset.n_probe // 40))


def segments(preset: Preset, run: Run) -> pd.DataFrame:
    """`mean_profiles` at the steps of `phase_steps`."""
    steps = sorted(phase_steps(run).values())
    return mean_profiles(run_segments(run, (SEGMENT_SIGMA,), steps, n_anchors=max(2, preset.n_probe // 32)))


def basins(preset: Preset, run: Run) -> pd.DataFrame:
    """`run_basins` at some kept steps: spread evenly, with those around tau_rule and the first from tau_mem on."""
    kept, onsets = kept_steps(run), run.onsets
    late = [step for step in kept if step >= onsets["tau_mem"].upper]
    steps = sorted({*spread(kept, BASIN_STEPS), *phase_steps(run).values(), *late[:1]})
    return run_basins(run, steps=steps, n_anchors=max(2, preset.n_probe // 16))


def paper_phases(run: RunSummary, counts: pd.DataFrame) -> dict[str, int]:
    """The kept step that stands for each phase of the paper's Fig. 13; a phase never reached is absent.

    Args:
        run: gives kept steps and clocks.
        counts: `Run.state_counts`.

    Returns:
        Not quantized: the first with the most ambiguous generations before tau_rule. Quantized only: the first later
        one with the most rule-violating generations before tau_rule. Rule learned: in the middle of the window,
        or the first from tau_rule on. Memorization begins: the first from tau_mem on. End of training: the last.
    """
    kept, rule, mem = list(run.checkpoint_steps), run.onsets["tau_rule"], run.onsets["tau_mem"]
    states = counts.set_index("step").reindex(kept)
    before = [s for s in kept if s <= rule.lower]
    phases = {}
    if before:
        phases[RAW] = before[int(states.loc[before, "ambiguous"].to_numpy().argmax())]
        if later := [s for s in before if s > phases[RAW]]:
            phases[QUANTIZED] = later[int(states.loc[later, "violating"].to_numpy().argmax())]
    found = phase_steps(run)
    if WINDOW in found or AT_RULE in found:
        phases[LEARNED_RULE] = found.get(WINDOW, found.get(AT_RULE, 0))
    if late := [s for s in kept if s >= mem.upper]:
        phases[COPYING] = late[0]
    if kept[-1] not in phases.values():
        phases[LAST] = kept[-1]
    return phases


def stage_steps(run: Run | RunSummary) -> dict[str, list[int]]:
    """Up to three kept steps for each of STAGES: to tau_rule, in the window, and from tau_mem on.

    Early are the first, the one that stands for training before tau_rule, and the first from it on (`phase_steps`); the
    others are spread evenly over their stage. A run without one of these stages has its kept steps cut in thirds.
    """
    kept, found, onsets = kept_steps(run), phase_steps(run), run_summary(run).onsets
    early = [kept[0], *(found[name] for name in (BEFORE, AT_RULE) if name in found)]
    mid = [s for s in kept if onsets["tau_rule"].upper < s <= onsets["tau_mem"].lower]
    late = [s for s in kept if s >= onsets["tau_mem"].upper]
    if not (AT_RULE in found and mid and late):
        early, mid, late = (part.tolist() or kept[-1:] for part in np.array_split(np.array(kept), 3))
    return {stage: spread(sorted(set(steps)), 3) for stage, steps in zip(STAGES, (early, mid, late), strict=True)}


def spread(steps: Sequence[int], n: int) -> list[int]:
    """At most n of some steps, evenly spaced in their order, the first and the last among them."""
    return [steps[k] for k in np.unique(np.linspace(0, len(steps) - 1, min(n, len(steps))).round().astype(int))]


def phase_table(phases: Mapping[str, int]) -> pd.DataFrame:
    """Phases as a table: phase, step."""
    return pd.DataFrame({"phase": list(phases), "step": list(phases.values())})


def read_phases(table: pd.DataFrame) -> dict[str, int]:
    """The phases that `phase_table` made a table of."""
    return {str(phase): int(step) for phase, step in zip(table["phase"], table["step"], strict=True)}


def compact(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its floating-point columns in float32, but those that rows are found by."""
    found_by = ("sigma", "u", "v", "band_low", "band_high")
    wide = [name for name in table.select_dtypes("float64") if name not in found_by]
    return table.astype(dict.fromkeys(wide, np.float32)).reset_index(drop=True)


@lru_cache(maxsize=1)  # figures 13, 14 and 15 of one run follow each other
def _errors(path: str, n_images: int) -> pd.DataFrame:
    return run_errors(load_run(path), n_images=n_images, optima=OPTIMA)


@lru_cache(maxsize=1)
def _planes(path: str, n_planes: int) -> pd.DataFrame:
    run = load_run(path)
    steps = {step for steps in stage_steps(run).values() for step in steps}
    return run_planes(run, steps=sorted(steps), n_planes=n_planes, n_points=PLANE_POINTS, optima=OPTIMA[:3])
