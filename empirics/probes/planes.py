"""Two-dimensional slices of the score through a training sample and a valid novel grid (Fig. 17, 18, 19)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...theory import Encoding, Rule
from ...theory.dsm import Denoiser, check_sigmas
from ..data import random_stream
from ..runs.run import Run
from ..statistics.resampling import percentile_interval, stratified_weights
from .neighbours import novel_neighbours
from .phases import (
    AFTER,
    BEFORE,
    OPTIMA,
    WINDOW,
    Optimum,
    denoise,
    over_run,
    phase_steps,
    score_encoding,
)

SIGMAS = (0.2, 0.5, 1.0, 2.0)
MARGIN = 0.5
"""How far the plane is drawn beyond its corners, in sides of the parallelogram."""
ROUNDING = 1e-5
"""Displacements up to this, in distances from a to b, count as none: float32 on symmetric points."""

CORNERS = {"a": (0, 0), "b": (1, 1), "c": (1, 0), "d": (0, 1)}
"""Where the corners lie, (u, v)."""


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
        ValueError: n_planes below 1; around every training sample the grids half way are valid, or no novel neighbour
            is found.
    """
    if n_planes < 1:
        raise ValueError(f"n_planes must be at least 1, got {n_planes}")
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
        n_points: points per side.

    Returns:
        One row a plane (0..n-1), sigma, u and v. score: |D(y) - y| / sigma^2 over all dimensions, per data unit.
        displacement: (D(y) - y) . (e(a) - e(b)) / |e(a) - e(b)|^2, the part of the distance from b to a by which
        denoising moves the point towards the training sample; negative towards the valid novel grid.

    Raises:
        ValueError: fewer than 2 points per side, or sigmas that are not positive and finite.
    """
    levels = check_sigmas(sigmas).tolist()
    if n_points < 2:
        raise ValueError(f"a plane needs at least 2 points per side, got {n_points}")
    side = torch.linspace(-MARGIN, 1 + MARGIN, n_points, dtype=torch.float64).round(decimals=12)  # 0 and 1 to the bit
    u, v = (grid.flatten() for grid in torch.meshgrid(side, side, indexing="ij"))
    a, b, c, d = (encoding.encode(x)[:, None] for x in corners)  # (n, 1, C, H, W)
    weights = (slice(None), None, None, None)
    y = a + u.to(a)[weights] * (c - a) + v.to(a)[weights] * (d - a)  # (n, points, C, H, W)
    towards = (a - b).flatten(2).double()
    tables = []
    for sigma in levels:
        step = (denoise(net, y.flatten(0, 1), sigma).reshape(y.shape) - y).flatten(2).double()
        along = (step * towards).sum(-1) / towards.square().sum(-1)
        columns = {
            "plane": np.repeat(np.arange(len(y)), len(u)),
            "sigma": sigma,
            "u": np.tile(u.numpy(), len(y)),
            "v": np.tile(v.numpy(), len(y)),
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
        n_points: points per side.
        optima: see `over_run`.
    """
    corners = plane_corners(run.rule, run.train_set, n_planes, random_stream(run.config.seed, "planes"))
    encoding = score_encoding(run)

    def probe(net: Denoiser) -> pd.DataFrame:
        return score_planes(net, corners, sigmas, encoding, n_points)

    return over_run(run, probe, _three_steps(run) if steps is None else steps, optima)


def plane_shares(table: pd.DataFrame) -> pd.DataFrame:
    """The share of each plane, within its four corners, whose points are drawn to the training sample.

    A half is even-handed, as the rule's optimum is; 1 is all. A point is drawn there when its displacement is positive;
    points that do not move count half.

    Args:
        table: from `score_planes` or `run_planes`.

    Returns:
        One row per sigma and plane (and denoiser and step): share.
    """
    inside = table[table["u"].between(0, 1) & table["v"].between(0, 1)]
    moved = inside["displacement"].where(inside["displacement"].abs() > ROUNDING, 0.0)
    keys = [*_keys(table), "plane"]
    shares = inside.assign(share=0.5 + np.sign(moved) / 2).groupby(keys, sort=False, dropna=False)["share"].mean()
    return shares.reset_index()


def training_share(table: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The mean of `plane_shares` over planes.

    Args:
        table: from `plane_shares`, `score_planes` or `run_planes`.
        n_boot: bootstrap draws of planes.
        seed: of the bootstrap.

    Returns:
        One row per sigma (and denoiser and step): share, low, high (95% bootstrap interval over planes), n_planes.
    """
    keys = _keys(table)
    rows = []
    for values, group in (table if "share" in table else plane_shares(table)).groupby(keys, sort=False, dropna=False):
        shares = group["share"].to_numpy(float)
        weights = stratified_weights(np.zeros(len(shares)), n_boot, np.random.default_rng(seed)) / len(shares)
        rows.append((*values, float(shares.mean()), *percentile_interval(weights @ shares), len(shares)))
    shares_table = pd.DataFrame(rows, columns=[*keys, "share", "low", "high", "n_planes"])
    return shares_table.astype({"step": "Int64"}) if "step" in shares_table else shares_table


def mean_planes(table: pd.DataFrame) -> pd.DataFrame:
    """Means over planes of a table from `run_planes`, which is what is drawn: score, displacement at each u and v."""
    keys = ["denoiser", "step", "sigma", "u", "v"]
    return table.groupby(keys, sort=False, dropna=False)[["score", "displacement"]].mean().reset_index()


def _three_steps(run: Run) -> list[int]:
    phases, kept = phase_steps(run), run.checkpoint_steps
    if all(name in phases for name in (BEFORE, WINDOW, AFTER)):
        return [phases[name] for name in (BEFORE, WINDOW, AFTER)]
    return sorted({kept[0], kept[len(kept) // 2], kept[-1]})


def _keys(table: pd.DataFrame) -> list[str]:
    return [key for key in ("denoiser", "step", "sigma") if key in table]
