"""Figure 20: rule learning and memorization of one GPT from several sides, as Fig. 3 of a DiT.

The paper shows the GPT analogue of Fig. 3. Ours follows fixed random numbers, one for each cell of each sample: A the
state of what they generate at each step, and B its transitions. C is the next-symbol loss at each cell by split in each
phase, with the exact floors of rule and training set. D is how likely the model, given the first cells of a training or
held-out sample, completes them to that sample or to any training sample, between exact chance and the full memorizer.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.probes.phases import AFTER, AT_RULE, LEARNED, kept_steps, outer_legend, phase_steps
from ..empirics.probes.prefixes import (
    completions_over_training,
    draw_completions,
    draw_position_losses,
    loss_over_training,
    position_floors,
)
from ..empirics.probes.states import draw_raster, draw_windows
from ..empirics.probes.summary import RunSummary, read_summary
from .catalogue import dissected
from .presets import Preset
from .shared.rasters import (
    changes_text,
    changes_word,
    claimed_changes,
    raster_columns,
    read_raster_columns,
    run_raster,
)
from .shared.score_tables import compact, record
from .shared.verdicts import Word, word
from .store import Data

PAPER = (
    "The GPT analogue of Figure 3. The caption is cut off; tested is that the same two clocks strike: samples come to "
    "obey the rule, then are memorized."
)
MISSING = "the paper's mini model, 6x6 grids and N = 4096; more than one run"
MOST_PREFIXES = 512
"""Samples of a split whose losses and completions are taken; fewer where the training set is smaller."""


def configs(preset: Preset) -> list[RunConfig]:
    return dissected(preset, preset.gpt)


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    [run] = runs
    steps = sorted(set(phase_steps(run).values())) or kept_steps(run)[-1:]
    n = min(MOST_PREFIXES, preset.n_probe)
    return {
        "raster": raster_columns(run_raster(run, preset.n_probe)),
        "run": record(run),
        "losses": compact(loss_over_training(run, n, steps)),
        "floors": compact(position_floors(run)),
        "completions": compact(completions_over_training(run, n, steps)),
    }


def plot(data: Data) -> Figure:
    raster, run = read_raster_columns(data["raster"]), read_summary(data["run"])
    figure = Figure(figsize=(10.0, 13.0))
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[1.25, 0.85, 1.0], squeeze=False).ravel()
    states, windows = top.subfigures(1, 2, width_ratios=[1.8, 1], squeeze=False).ravel()
    draw_raster(states, raster, run)
    draw_windows(windows, raster, run, across=False)
    losses = data["losses"]
    axes = middle.subplots(1, losses["split"].nunique(), squeeze=False)[0].tolist()
    draw_position_losses(axes, losses, data["floors"], run)
    outer_legend(middle, axes, ncols=3)
    completions = data["completions"]
    grid = bottom.subplots(2, completions["split"].nunique(), sharex=True, sharey=True, squeeze=False).tolist()
    draw_completions(grid, completions, run)
    outer_legend(bottom, grid[0][:1], ncols=3)
    for part, text in (
        (states, "A  states of generations over training"),
        (windows, "B  samples by state; shades: share of a row"),
        (middle, "C  next-symbol loss by cell, mean over samples; the vertical axes differ"),
        (bottom, "D  probability of completing the first cells of a sample, exact for the model; shades: 95%"),
    ):
        part.suptitle(text, fontsize=9, x=0.01, ha="left")
    return figure


def measured(data: Data) -> str:
    run = read_summary(data["run"])
    changes = claimed_changes(read_raster_columns(data["raster"]), run)
    changes = changes[changes["window"] != "quantization"]  # a GPT's symbols are never ambiguous
    stages = changes_word(changes, windows=2)
    copying, text = copies(data["completions"], run)
    verdict = word(stages == "agree" == copying, "differ" in (stages, copying))
    return f"{changes_text(changes)}; {len(data['raster'])} fixed random numbers; {text}; n = 1 run: {verdict}"


def copies(completions: pd.DataFrame, run: RunSummary) -> tuple[Word, str]:
    """Is a training sample, half given, completed to itself above chance in the end, and more than at tau_rule?"""
    steps = phase_steps(run)
    if AT_RULE not in steps or AFTER not in steps:
        return "undecided", "completions not compared, for a clock did not strike"
    half = int(completions["prefix"].max()) // 2
    table = completions[(completions["split"] == "train") & (completions["prefix"] == half)]
    learned = table[table["model"] == LEARNED]
    then, now = (learned[learned["step"] == steps[phase]].iloc[0] for phase in (AT_RULE, AFTER))
    chance, full = (
        float(table[table["model"] == name]["same"].iloc[0]) for name in ("rule optimum", "training-set optimum")
    )
    (then_low, then_high), (now_low, now_high) = (
        (row["same"] - 1.96 * row["same_se"], row["same"] + 1.96 * row["same_se"]) for row in (then, now)
    )
    text = (
        f"half of a training sample is completed to it with probability {then['same']:.3f} [{then_low:.3f}, "
        f"{then_high:.3f}] at tau_rule and {now['same']:.3f} [{now_low:.3f}, {now_high:.3f}] in the end "
        f"(exact chance {chance:.3f}, full memorizer {full:.3f})"
    )
    return word(now_low > max(chance, then_high), now_high < max(chance, then_low)), text
