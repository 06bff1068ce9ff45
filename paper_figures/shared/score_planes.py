"""Figures 17, 18 and 19: planes of the score through a training sample a, a valid novel b, and invalid c and d."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...empirics import Run, RunConfig
from ...empirics.probes.phases import LEARNED, Optimum, run_title
from ...empirics.probes.planes import CORNERS, mean_planes, plane_shares, training_share
from ...empirics.probes.planes_figure import BORDER_TEXT, CORNERS_TEXT, WHAT, draw_planes, row_names
from ...empirics.probes.summary import read_summary, run_summary
from ...empirics.statistics.resampling import percentile_interval, stratified_weights
from ..catalogue import dissected
from ..exhibit import Parts
from ..presets import Preset
from ..store import Data
from .score_tables import compact, paper_phases, phase_table, planes, read_phases, record, stage_steps

BESIDE: dict[str, tuple[Optimum, Optimum]] = {
    "early": ("cube optimum", "rule optimum"),
    "mid": ("rule optimum", "training-set optimum"),
    "late": ("rule optimum", "training-set optimum"),
}
"""The exact denoisers that a stage is drawn with: what it comes from and what it goes to."""

INTERMEDIATE = (0.3, 1.5)
"""What counts as intermediate noise, in data units."""

Estimate = tuple[float, float, float]
"""With its 95% interval."""


def plane_exhibit(stage: str) -> Parts:
    """`configs`, `compute` and `plot` of the figure of one stage."""

    def configs(preset: Preset) -> list[RunConfig]:
        return dissected(preset, preset.dit)

    def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
        return plane_tables(preset, runs[0], stage)

    return configs, compute, lambda data: planes_figure(data, stage)


def plane_tables(preset: Preset, run: Run, stage: str) -> dict[str, pd.DataFrame]:
    """The tables of one stage.

    Returns:
        planes: score and displacement over u and v, mean over planes. single: the same of the first plane. shares:
        `plane_shares`. corners: by plane, the score magnitude at the valid corners and at the invalid ones. phases:
        `paper_phases`. run: `summary_table`.
    """
    table = planes(preset, run)
    mine = table[table["step"].isin(stage_steps(run)[stage]) | table["denoiser"].isin(BESIDE[stage])]
    return {
        "planes": compact(mean_planes(mine)),
        "single": compact(mean_planes(mine[mine["plane"] == 0])),
        "shares": compact(plane_shares(mine)),
        "corners": compact(corner_scores(mine)),
        "phases": phase_table(paper_phases(run_summary(run), run.state_counts)),
        "run": record(run),
    }


def corner_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Score magnitude at the corners: mean of a and b (valid), and of c and d (invalid).

    Returns:
        One row a denoiser, step, sigma and plane: valid, invalid.

    Raises:
        ValueError: the corners are not among the points.
    """
    keys = ["denoiser", "step", "sigma", "plane"]
    sides = []
    for name, corners in (("valid", "ab"), ("invalid", "cd")):
        at = pd.concat([table[table["u"].eq(CORNERS[k][0]) & table["v"].eq(CORNERS[k][1])] for k in corners])
        if at.empty:
            raise ValueError("no point lies on a corner; the points of a side must be 4 k + 1")
        sides.append(at.groupby(keys, sort=False, dropna=False)["score"].mean().rename(name))
    return pd.concat(sides, axis=1).reset_index()


def planes_figure(data: Data, stage: str) -> Figure:
    """Score magnitude and displacement, a column per sigma; a row per step of the stage, then the optima beside it.

    Above as means over planes, below on one plane.
    """
    run, shares = read_summary(data["run"]), data["shares"]
    names, half = row_names(data["planes"], run, read_phases(data["phases"])), data["planes"]["sigma"].nunique()
    n, one = shares["plane"].nunique(), shares[shares["plane"] == shares["plane"].min()]
    parts = [(f"A  mean over {n} planes", data["planes"], shares), (f"B  one of the {n} planes", data["single"], one)]
    figure = Figure(figsize=(2.5 * half + 1.4, len(parts) * (1.4 * len(names) + 1.2) + 0.6))
    blocks = figure.subfigures(len(parts), 1, squeeze=False)[:, 0]
    for block, (text, table, part) in zip(blocks, parts, strict=True):
        axes = block.subplots(len(names), 2 * half, sharex=True, sharey=True, squeeze=False).tolist()
        left, right = ([row[:half] for row in axes], [row[half:] for row in axes])
        draw_planes(block, left, table, "score")
        draw_planes(block, right, table, "displacement", training_share(part, n_boot=1))
        for (first, *_), name in zip(axes, names, strict=True):
            first.set_ylabel(name)
        block.suptitle(text, fontsize=9, x=0.01, ha="left")
    figure.suptitle(
        f"{stage.capitalize()} training: {run_title(run)}; {CORNERS_TEXT}\nleft: {WHAT['score']}; right: "
        f"{WHAT['displacement']}\n{BORDER_TEXT}; 'to a': share of the square abcd drawn to a",
        fontsize=9,
    )
    return figure


def learned_steps(table: pd.DataFrame) -> list[int]:
    """The steps of the stage, in order."""
    return sorted(int(step) for step in table.loc[table["denoiser"] == LEARNED, "step"].unique())


def corner_ratio(corners: pd.DataFrame, denoiser: str, step: int | None = None, n_boot: int = 2000) -> Estimate:
    """Score magnitude at invalid over valid corners at intermediate noise: geometric mean over sigmas.

    1 where all four corners are alike, as for a net that knows no rule. The interval is a bootstrap over planes.
    """
    rows = _intermediate(_of(corners, denoiser, step))
    valid, invalid = (rows.pivot(index="sigma", columns="plane", values=side).to_numpy(float) for side in _SIDES)
    n = valid.shape[1]
    weights = np.concatenate([np.ones((1, n)), _weights(n, n_boot)])
    with np.errstate(divide="ignore"):
        draws = np.exp((np.log(weights @ invalid.T) - np.log(weights @ valid.T)).mean(1))
    return float(draws[0]), *percentile_interval(draws[1:])


def share_at(shares: pd.DataFrame, step: int) -> pd.Series:
    """The share of each plane that is drawn to the training sample at a step, mean over intermediate noise."""
    return _intermediate(_of(shares, LEARNED, step)).groupby("plane")["share"].mean()


def share_elsewhere(shares: pd.DataFrame, step: int) -> pd.Series:
    """`share_at`, mean over the other sigmas."""
    rows = _of(shares, LEARNED, step)
    return rows[~rows["sigma"].between(*INTERMEDIATE)].groupby("plane")["share"].mean()


def mean_over_planes(values: pd.Series, n_boot: int = 2000) -> Estimate:
    """A mean with its 95% bootstrap interval over planes."""
    numbers = values.to_numpy(float)
    return float(numbers.mean()), *percentile_interval(_weights(len(numbers), n_boot) @ numbers / len(numbers))


def percent(estimate: Estimate) -> str:
    """A share with its interval in words."""
    value, low, high = (100 * x for x in estimate)
    return f"{value:.0f}% [{low:.0f}, {high:.0f}]"


_SIDES = ("valid", "invalid")


def _of(table: pd.DataFrame, denoiser: str, step: int | None) -> pd.DataFrame:
    rows = table[table["denoiser"] == denoiser]
    return rows if step is None else rows[rows["step"] == step]


def _intermediate(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["sigma"].between(*INTERMEDIATE)]


def _weights(n: int, n_boot: int) -> np.ndarray:
    return stratified_weights(np.zeros(n), n_boot, np.random.default_rng(0))


def shares_answer(shares: pd.DataFrame, change: str, verdict: str) -> str:
    """The line of a figure that judges the share drawn to a: its course, a change, the verdict."""
    parts = [f"{percent(mean_over_planes(share_at(shares, step)))} at step {step}" for step in learned_steps(shares)]
    return (
        "share of the square abcd that is drawn to the training sample a, sigma 0.5 and 1 (95% interval over "
        f"{shares['plane'].nunique()} planes; rule optimum 50%): {', '.join(parts)}; {change}n = 1 run: {verdict}"
    )
