"""Two-dimensional slices of the score through a training sample and a valid novel grid (Fig. 17, 18, 19)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from ...theory import Encoding, Rule
from ...theory.dsm import Denoiser, check_sigmas
from ..data import random_stream
from ..runs import Run
from ..statistics.resampling import percentile_interval, stratified_weights
from ..style import figure_style, new_figure
from .neighbours import novel_neighbours
from .phases import (
    AFTER,
    BEFORE,
    OPTIMA,
    WINDOW,
    Optimum,
    by_denoiser,
    denoise,
    over_run,
    phase_steps,
    run_title,
    score_encoding,
)

SIGMAS = (0.2, 0.5, 1.0, 2.0)
MARGIN = 0.5
"""How far the plane is drawn beyond its corners, in sides of the parallelogram."""
ROUNDING = 1e-5
"""Displacements up to this, in distances from a to b, count as none: float32 on symmetric points."""

CORNERS = {"a": (0, 0), "b": (1, 1), "c": (1, 0), "d": (0, 1)}
_MARKERS = {"a": "o", "b": "s", "c": "X", "d": "X"}


class Corners(NamedTuple):
    """Corners of n planes, symbols int64 (n, D) each. c and d share the changes from a to b, so that the encoded
    corners are a parallelogram: e(a) + e(b) = e(c) + e(d)."""

    a: Tensor  # training samples
    b: Tensor  # valid, not in the training set
    c: Tensor  # invalid: some of the cells of a changed to those of b
    d: Tensor  # invalid: the other cells changed


def plane_corners(rule: Rule, train: Tensor, n_planes: int, generator: torch.Generator) -> Corners:
    """Draw training samples with valid novel neighbours, and the invalid grids half way to them.

    Args:
        rule: the rule.
        train: training symbols (N, D).
        n_planes: at most this many, each from another training sample.
        generator: source of randomness, on the CPU.

    Raises:
        ValueError: around every training sample the grids half way are valid, or no novel neighbour is found.
    """
    quartets = []
    for index in torch.randperm(len(train), generator=generator):
        a = train[index]
        b = novel_neighbours(rule, a[None], train, generator)[0]
        cells = (a != b).nonzero()[:, 0]
        half = torch.zeros(rule.dim, dtype=torch.bool)
        half[cells[: len(cells) // 2]] = True
        c, d = torch.where(half, b, a), torch.where(half, a, b)
        if not bool(rule.is_valid(torch.stack([c, d])).any()):
            quartets.append(torch.stack([a, b, c, d]))
        if len(quartets) == n_planes:
            break
    if not quartets:
        raise ValueError(
            f"no plane for {rule.spec}: half way from each training sample to its neighbour lies a valid grid"
        )
    return Corners(*torch.stack(quartets, 1))


def score_planes(
    net: Denoiser, corners: Corners, sigmas: Sequence[float] | Tensor, encoding: Encoding, n_points: int = 24
) -> pd.DataFrame:
    """Score and displacement on planes y(u, v) = e(a) + u (e(c) - e(a)) + v (e(d) - e(a)), at each sigma.

    The corners are a at (0, 0), c at (1, 0), d at (0, 1) and b at (1, 1); u and v run from -MARGIN to 1 + MARGIN.

    Args:
        net: any callable net(y, sigma) on images (B, C, H, W) with sigma (B,).
        corners: of n planes.
        sigmas: noise levels that the net is told, in data units.
        encoding: how symbols become images.
        n_points: points a side.

    Returns:
        One row a plane (0..n-1), sigma, u and v. score: |D(y) - y| / sigma^2 over all dimensions, per data unit.
        displacement: (D(y) - y) . (e(a) - e(b)) / |e(a) - e(b)|^2, the part of the distance from b to a by which
        denoising moves the point towards the training sample; negative towards the valid novel grid.

    Raises:
        ValueError: fewer than 2 points a side, or sigmas that are not positive and finite.
    """
    levels = check_sigmas(sigmas).tolist()
    if n_points < 2:
        raise ValueError(f"a plane needs at least 2 points a side, got {n_points}")
    side = torch.linspace(-MARGIN, 1 + MARGIN, n_points)
    u, v = (grid.flatten() for grid in torch.meshgrid(side, side, indexing="ij"))
    a, b, c, d = (encoding.encode(x)[:, None] for x in corners)  # (n, 1, C, H, W)
    weights = (slice(None), None, None, None)
    y = a + u[weights] * (c - a) + v[weights] * (d - a)  # (n, points, C, H, W)
    towards = (a - b).flatten(2).double()
    tables = []
    for sigma in levels:
        step = (denoise(net, y.flatten(0, 1), sigma).reshape(y.shape) - y).flatten(2).double()
        along = (step * towards).sum(-1) / towards.square().sum(-1)
        columns = {
            "plane": np.repeat(np.arange(len(y)), len(u)),
            "sigma": sigma,
            "u": np.tile(u.double().numpy(), len(y)),
            "v": np.tile(v.double().numpy(), len(y)),
            "score": (step.norm(dim=-1) / sigma**2).flatten().numpy(),
            "displacement": along.flatten().numpy(),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def run_planes(
    run: Run,
    sigmas: Sequence[float] = SIGMAS,
    steps: Sequence[int] | None = None,
    n_planes: int = 8,
    n_points: int = 24,
    optima: Sequence[Optimum] = OPTIMA,
) -> pd.DataFrame:
    """`score_planes` early, in the middle and late in a DiT's run, and for exact optima.

    Args:
        run: of a DiT.
        sigmas: noise levels that the net is told, in data units.
        steps: by default the kept steps before tau_rule, in the window and after tau_mem (`phase_steps`), or the first,
            middle and last kept where the run lacks any of these.
        n_planes: planes, each from another training sample.
        n_points: points a side.
        optima: see `over_run`.
    """
    corners = plane_corners(run.rule, run.train_set, n_planes, random_stream(run.config.seed, "planes"))
    encoding = score_encoding(run)

    def probe(net: Denoiser) -> pd.DataFrame:
        return score_planes(net, corners, sigmas, encoding, n_points)

    return over_run(run, probe, _three_steps(run) if steps is None else steps, optima)


def training_share(table: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The share of the plane, within its four corners, whose points are drawn to the training sample.

    A half is even-handed, as the rule's optimum is; 1 is all. A point is drawn there when its displacement is positive;
    points that do not move count half.

    Args:
        table: from `score_planes` or `run_planes`.
        n_boot: bootstrap draws of planes.
        seed: of the bootstrap.

    Returns:
        One row a sigma (and denoiser and step): share, low, high (95% bootstrap interval over planes), n_planes.
    """
    inside = table[table["u"].between(0, 1) & table["v"].between(0, 1)]
    keys = [key for key in ("denoiser", "step", "sigma") if key in table]
    rows = []
    for values, group in inside.groupby(keys, sort=False, dropna=False):
        moved = group["displacement"].where(group["displacement"].abs() > ROUNDING, 0.0)
        drawn = 0.5 + np.sign(moved) / 2
        shares = drawn.groupby(group["plane"]).mean().to_numpy()
        weights = stratified_weights(np.zeros(len(shares)), n_boot, np.random.default_rng(seed)) / len(shares)
        rows.append((*values, float(shares.mean()), *percentile_interval(weights @ shares), len(shares)))
    shares_table = pd.DataFrame(rows, columns=[*keys, "share", "low", "high", "n_planes"])
    return shares_table.astype({"step": "Int64"}) if "step" in shares_table else shares_table


def plot_planes(
    table: pd.DataFrame, run: Run, path: str | Path, quantity: Literal["score", "displacement"] = "displacement"
) -> None:
    """Heatmaps, a row a step or exact optimum and a column a sigma, mean over planes (Fig. 17 to 19).

    Args:
        table: from `run_planes`.
        run: gives the title and the names of the phases.
        path: PNG or PDF by its suffix.
        quantity: column of the table to draw.
    """
    names = {step: f"{phase}\nstep {step}" for phase, step in phase_steps(run).items()}
    rows = by_denoiser(table)
    shares = {
        (name, step): dict(zip(part["sigma"], part["share"], strict=True))
        for name, step, part in by_denoiser(training_share(table))
    }
    sigmas = sorted(set(table["sigma"]))
    with figure_style():
        figure, axes = new_figure(len(rows), len(sigmas), 1.6 * len(sigmas) + 1.0, 1.62 * len(rows) + 1.2,
                                  sharex=True, sharey=True)  # fmt: skip
        for column, sigma in enumerate(sigmas):
            level = table[table["sigma"] == sigma]
            means = level.groupby(["denoiser", "step", "u", "v"], dropna=False)[quantity].mean()
            top = float(means.abs().max())
            limits = (-top, top) if quantity == "displacement" else (0.0, top)
            for row, (denoiser, step, part) in enumerate(rows):
                ax = axes[row][column]
                at = part[part["sigma"] == sigma]
                grid = at.groupby(["v", "u"])[quantity].mean().unstack()
                colours = "PuOr_r" if quantity == "displacement" else "viridis"
                mesh = ax.pcolormesh(grid.columns, grid.index, grid.to_numpy(), cmap=colours, vmin=limits[0],
                                     vmax=limits[1], shading="nearest", rasterized=True)  # fmt: skip
                if quantity == "displacement" and grid.to_numpy().min() < 0 < grid.to_numpy().max():
                    ax.contour(grid.columns, grid.index, grid.to_numpy(), [0.0], colors="k", linewidths=0.8)
                _mark_corners(ax)
                if column == 0:
                    name = denoiser if step is None else names.get(step, f"step {step}")
                    ax.set_ylabel(name.replace(" optimum", "\noptimum"))
                title = [rf"$\sigma$ = {sigma:g}"] if row == 0 else []
                if quantity == "displacement":
                    title.append(f"to a: {100 * shares[denoiser, step][sigma]:.0f}%")
                ax.set_title("\n".join(title), fontsize=8, pad=3)
            figure.colorbar(mesh, ax=[line[column] for line in axes], location="bottom", shrink=0.9, aspect=14)
        what = (
            "displacement D(y) - y from b towards a (1: the whole way)\n'to a': share of the square abcd drawn to a"
            if quantity == "displacement"
            else r"score magnitude $|D(y) - y| / \sigma^2$ (per data unit)"
        )
        corners = "a training sample, b valid and novel, c and d invalid"
        figure.suptitle(f"{what}\n{run_title(run)}; mean over {table['plane'].nunique()} planes\n{corners}", fontsize=9)
        figure.savefig(path)


def _three_steps(run: Run) -> list[int]:
    phases, kept = phase_steps(run), run.checkpoint_steps
    if all(name in phases for name in (BEFORE, WINDOW, AFTER)):
        return [phases[name] for name in (BEFORE, WINDOW, AFTER)]
    return sorted({kept[0], kept[len(kept) // 2], kept[-1]})


def _mark_corners(ax: Axes) -> None:
    for name, (u, v) in CORNERS.items():
        ax.plot(u, v, _MARKERS[name], color="white", markeredgecolor="black", markersize=6)
        outside = (0.22 if u else -0.22, 0.22 if v else -0.22)
        disc = {"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        ax.text(u + outside[0], v + outside[1], name, ha="center", va="center", fontsize=8, bbox=disc)
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
