"""Straight lines from a training sample to other grids, denoised: how wide is its basin? (Fig. 16)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ...theory import Encoding
from ...theory.dsm import Denoiser, check_sigmas
from ..data import random_stream
from ..runs.run import Run
from ..statistics.resampling import percentile_interval, stratified_weights
from ..style import new_figure
from .neighbours import hamming, invalid_neighbours, nearest_training, novel_neighbours
from .phases import (
    OPTIMA,
    PHASE_STYLES,
    Optimum,
    affordable,
    denoise,
    mark_clocks,
    outer_legend,
    over_run,
    phase_steps,
    run_title,
    score_encoding,
    sigma_colour,
)
from .probe import Probe, Tables
from .summary import RunSummary, run_summary

SIGMAS = (0.25, 0.5, 1.0, 1.5)
ENDS = ("invalid neighbour", "valid novel neighbour", "nearest training sample")
MEASURES = ("leave", "switch", "enter")

_OPTIMUM_STYLES = {"rule optimum": ("k", "-."), "training-set optimum": ("k", ":")}


def segment_profiles(
    net: Denoiser,
    starts: Tensor,
    ends: Mapping[str, Tensor],
    sigmas: Sequence[float] | Tensor,
    encoding: Encoding,
    n_points: int = 20,
) -> pd.DataFrame:
    """What a net makes of the points on segments between encoded grids, without noise, at each sigma.

    Args:
        net: any callable net(y, sigma) on images (B, C, H, W) with sigma (B,).
        starts: symbols (n, D) where the segments begin.
        ends: symbols (n, D) where they end, by kind.
        sigmas: noise levels that the net is told, in data units.
        encoding: how symbols become images.
        n_points: positions u, evenly spaced from 0 (start) to 1 (end); an even number puts the bisector between two.

    Returns:
        One row an end, anchor (0..n-1), sigma and u. match_start, match_end: the decoded output equals that end in
        every cell. hamming_start, hamming_end: cells in which it differs. l2_start, l2_end: Euclidean distance of the
        output to the encoded end, in data units. length: Hamming distance of start and end.

    Raises:
        ValueError: fewer than 2 points, ends of another shape than the starts, sigmas not positive and finite.
    """
    levels = check_sigmas(sigmas).tolist()
    if n_points < 2:
        raise ValueError(f"a segment needs at least 2 points, got {n_points}")
    u = torch.linspace(0, 1, n_points)
    tables = []
    for name, end in ends.items():
        if end.shape != starts.shape:
            raise ValueError(f"ends {name!r} have shape {tuple(end.shape)}, the starts {tuple(starts.shape)}")
        first, last = (encoding.encode(x)[:, None] for x in (starts, end))
        points = torch.lerp(first, last, u[None, :, None, None, None])  # (n, points, C, H, W)
        columns = {
            "end": name,
            "anchor": np.repeat(np.arange(len(starts)), n_points),
            "u": np.tile(u.double().numpy(), len(starts)),
            "length": np.repeat(hamming(starts, end).numpy(), n_points),
        }
        for sigma in levels:
            denoised = denoise(net, points.flatten(0, 1), sigma).reshape(points.shape)
            symbols = encoding.decode(denoised.flatten(0, 1))[0].reshape(*points.shape[:2], -1)
            table = pd.DataFrame(columns | {"sigma": sigma})
            for side, grid, image in (("start", starts, first), ("end", end, last)):
                table[f"hamming_{side}"] = hamming(symbols, grid[:, None]).flatten().numpy()
                table[f"match_{side}"] = table[f"hamming_{side}"] == 0
                table[f"l2_{side}"] = (denoised - image).double().square().flatten(2).sum(-1).sqrt().flatten().numpy()
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def run_segments(
    run: Run,
    sigmas: Sequence[float] = SIGMAS,
    steps: Sequence[int] | None = None,
    n_anchors: int = 32,
    n_points: int = 20,
    optima: Sequence[Optimum] = OPTIMA,
) -> pd.DataFrame:
    """`segment_profiles` from training samples over the kept steps of a DiT's run, and of exact optima.

    The ends are those of Fig. 16: a neighbour at Hamming distance 1 that breaks the rule; the valid novel neighbour of
    `novel_neighbours`, at Hamming distance 2 wherever the rule has one; the nearest other training sample.

    Args:
        run: of a DiT.
        sigmas: noise levels that the net is told, in data units.
        steps: by default all that are kept.
        n_anchors: training samples, or all where there are fewer.
        n_points: positions on a segment.
        optima: see `over_run`.

    Raises:
        ValueError: n_anchors below 1, or a grid without one of the ends (see `neighbours.py`).
    """
    if n_anchors < 1:
        raise ValueError(f"n_anchors must be at least 1 training sample, got {n_anchors}")
    rule, train, generator = run.rule, run.train_set, random_stream(run.config.seed, "segments")
    starts = train[torch.randperm(len(train), generator=generator)[:n_anchors]]
    ends = dict(
        zip(
            ENDS,
            (
                invalid_neighbours(rule, starts, generator),
                novel_neighbours(rule, starts, train, generator),
                nearest_training(starts, train),
            ),
            strict=True,
        )
    )
    encoding = score_encoding(run)

    def probe(net: Denoiser) -> pd.DataFrame:
        return segment_profiles(net, starts, ends, sigmas, encoding, n_points)

    return over_run(run, probe, steps, optima)


def segment_widths(profiles: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Where along the segments the output leaves the start, turns to the end, and settles there.

    Args:
        profiles: from `segment_profiles` or `run_segments`.
        n_boot: bootstrap draws of anchors.
        seed: of the bootstrap.

    Returns:
        One row a measure, for each end and sigma (and denoiser and step): mean over anchors of the position u, in
        [0, 1], with its 95% bootstrap interval over anchors (low, high) and n_anchors. The measures:
        leave: where the decoded output first differs from the start, 1 if it never does: the width of the basin;
        switch: where the output first is no farther (L2) from the end than from the start, 1 if it never is;
        enter: from where on the decoded output equals the end, 1 if it does not even there.
        Between grid points leave and enter are taken in the middle, switch by linear interpolation.
    """
    keys = [key for key in ("denoiser", "step", "end", "sigma") if key in profiles]
    rows = []
    for values, group in profiles.groupby(keys, sort=False, dropna=False):
        u = np.unique(group["u"].to_numpy())
        wide = group.sort_values(["anchor", "u"])
        start, end = (wide[f"match_{side}"].to_numpy().reshape(-1, len(u)) for side in ("start", "end"))
        turned = (wide["l2_end"] - wide["l2_start"]).to_numpy().reshape(-1, len(u))
        positions = {"leave": _first_miss(start, u), "switch": _first_crossing(turned, u)}
        positions["enter"] = 1 - _first_miss(end[:, ::-1], 1 - u[::-1])
        n = len(start)
        weights = stratified_weights(np.zeros(n), n_boot, np.random.default_rng(seed)) / n
        for measure in MEASURES:
            low, high = percentile_interval(weights @ positions[measure])
            rows.append((*values, measure, float(positions[measure].mean()), low, high, n))
    table = pd.DataFrame(rows, columns=[*keys, "measure", "u", "low", "high", "n_anchors"])
    return table.astype({"step": "Int64"}) if "step" in table else table


def mean_profiles(profiles: pd.DataFrame) -> pd.DataFrame:
    """Means over anchors of a table from `run_segments`, which is what `segments_figure` draws.

    Returns:
        One row a denoiser, step, end, sigma and u: match_start, hamming_start, l2_start; n_anchors; shortest and
        longest, the least and largest length of the segments in cells.
    """
    groups = profiles.groupby(["denoiser", "step", "end", "sigma", "u"], sort=False, dropna=False)
    means = groups[["match_start", "hamming_start", "l2_start"]].mean()
    lengths = groups["length"].agg(shortest="min", longest="max")
    return pd.concat([means, lengths, groups["anchor"].nunique().rename("n_anchors")], axis=1).reset_index()


def segments_figure(profiles: pd.DataFrame, run: Run, sigma: float = 1.0) -> Figure:
    """`draw_segments` of a table from `run_segments` at one sigma.

    Raises:
        ValueError: the table has no such sigma.
    """
    table = profiles[np.isclose(profiles["sigma"], sigma)]
    if table.empty:
        raise ValueError(f"the table has no sigma {sigma:g}; it has {sorted(set(profiles['sigma']))}")
    figure, axes = new_figure(3, len(ENDS), 9.6, 7.0, sharex=True, sharey="row")
    title = draw_segments(axes, mean_profiles(table), run_summary(run))
    outer_legend(figure, axes[0][:1])
    figure.suptitle(f"{run_title(run)}; {title}", fontsize=9)
    return figure


def draw_segments(axes: Sequence[Sequence[Axes]], means: pd.DataFrame, run: RunSummary) -> str:
    """Exact-bit match, Hamming distance and L2 distance along the three segments, by phase (Fig. 16).

    Args:
        axes: three rows, a column for each of ENDS, with shared x and a shared y in each row.
        means: from `mean_profiles`, of one sigma.
        run: gives the phases.

    Returns:
        What a title must say: how many training samples, and sigma.
    """
    lines = [
        (f"{phase}: step {step}", means[(means["step"] == step).fillna(False)], *PHASE_STYLES[phase])
        for phase, step in phase_steps(run).items()
    ]
    lines += [(name, means[means["denoiser"] == name], *style) for name, style in _OPTIMUM_STYLES.items()]
    panels = (
        ("match_start", "output equals the\ntraining sample (share)"),
        ("hamming_start", "Hamming distance to the\ntraining sample (cells)"),
        ("l2_start", "L2 distance to the training\nsample (data units)"),
    )
    for column, end in enumerate(ENDS):
        part = means[means["end"] == end]
        low, high = int(part["shortest"].min()), int(part["longest"].max())
        axes[0][column].set_title(f"to the {end}\n(Hamming distance {low if low == high else f'{low} to {high}'})")
        for row, (measure, label) in enumerate(panels):
            ax = axes[row][column]
            for name, rows, colour, style in lines:
                here = rows[rows["end"] == end]
                if len(here):
                    ax.plot(here["u"], here[measure], color=colour, ls=style, label=name)
            if column == 0:
                ax.set_ylabel(label)
        axes[-1][column].set_xlabel("position u on the segment")
    return rf"mean over {means['n_anchors'].max()} training samples, denoised at $\sigma$ = {means['sigma'].iloc[0]:g}"


def segment_widths_figure(profiles: pd.DataFrame, run: Run) -> Figure:
    """Where the output turns from a training sample to the other end, over training, at each sigma, with intervals."""
    widths = segment_widths(profiles)
    widths = widths[widths["measure"] == "switch"]
    sigmas = sorted(set(widths["sigma"]))
    figure, axes = new_figure(1, len(ENDS), 9.6, 3.9, sharey=True)
    for ax, end in zip(axes[0], ENDS, strict=True):
        part = widths[widths["end"] == end]
        for k, sigma in enumerate(sigmas):
            colour = sigma_colour(k, len(sigmas))
            at = part[part["sigma"] == sigma]
            rows = at[at["denoiser"] == "learned"]
            steps = rows["step"].to_numpy(dtype=float) * math.exp(0.04 * (k - (len(sigmas) - 1) / 2))
            reach = np.stack([rows["u"] - rows["low"], rows["high"] - rows["u"]])
            ax.errorbar(steps, rows["u"], reach, color=colour, marker="osD^vP"[k % 6], markersize=4, elinewidth=1,
                        label=rf"$\sigma$ = {sigma:g}")  # fmt: skip
            for name, style in (("rule optimum", "-."), ("training-set optimum", ":")):
                for level in at[at["denoiser"] == name]["u"]:
                    ax.axhline(level, color=colour, ls=style, lw=1.2)
        ax.plot([], [], "k-.", lw=1.2, label="rule optimum")
        ax.plot([], [], "k:", lw=1.2, label="training-set optimum")
        ax.set(xscale="log", xlabel="training step", ylim=(-0.03, 1.05))
        ax.set_title(f"to the {end}", pad=15)
        mark_clocks(ax, run)
    axes[0][0].set_ylabel("u where the output turns\nto the other end (95% interval)")
    outer_legend(figure, axes[0][:1], ncols=6)
    n = int(widths["n_anchors"].max())
    figure.suptitle(f"{run_title(run)}; {n} training samples", fontsize=9)
    return figure


def _first_miss(match: np.ndarray, u: np.ndarray) -> np.ndarray:
    """For each row (n, points), the position u between the matches at its beginning and the first miss; 1 if none."""
    middles = np.concatenate([[0.0], (u[1:] + u[:-1]) / 2])
    first = (~match).argmax(1)
    return np.where(match.all(1), 1.0, middles[first])


def _first_crossing(values: np.ndarray, u: np.ndarray) -> np.ndarray:
    """For each row (n, points), where its values first are at most 0, by linear interpolation; 1 if nowhere."""
    below = values <= 0
    k = below.argmax(1)
    row = np.arange(len(values))
    before = np.maximum(k - 1, 0)
    fall = values[row, before] - values[row, k]
    share = np.where(fall > 0, values[row, before] / np.where(fall > 0, fall, 1), 0.0)
    at = np.where(k > 0, u[before] + share * (u[k] - u[before]), 0.0)
    return np.where(below.any(1), at, 1.0)


def _measure(run: Run) -> Tables:
    profiles = run_segments(run, optima=affordable(run, "rule optimum", "training-set optimum"))
    return {"segments": profiles, "segment_widths": segment_widths(profiles)}


def _draw(tables: Tables, run: Run) -> dict[str, Figure]:
    profiles = tables["segments"]
    return {"segments": segments_figure(profiles, run), "segment_widths": segment_widths_figure(profiles, run)}


PROBES = (Probe("segments", "Lines from a training sample to its neighbours", _measure, _draw, ("gaussian",)),)
