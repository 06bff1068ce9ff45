"""Basin volumes: how often a grid with noise added is denoised back to it, by sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from ...theory import Encoding, Rule
from ...theory.dsm import Denoiser, check_sigmas
from ..data import hash_rows, occur, random_stream
from ..runs.run import Run
from ..sampling import sample_images, sigma_schedule
from ..style import COLOURS, new_figure
from .phases import Optimum, mark_clocks, outer_legend, over_run, run_splits, run_title, score_encoding

SIGMAS = (0.5, 0.8, 1.2)
SIGMA_MIN = 0.02
"""The last noise level of the way back before 0: a fiftieth of the distance from a code to ambiguity is left."""
OUTCOMES = ("itself", "valid", "train")
REFERENCES: tuple[Optimum, ...] = ("cube optimum", "rule optimum", "training-set optimum")

KIND_STYLES = {"train": ("memorization", "o"), "novel valid": ("novel", "s"), "invalid": ("cube", "^")}
OPTIMUM_STYLES = {"cube optimum": "--", "rule optimum": "-.", "training-set optimum": ":"}


def basin_volumes(
    net: Denoiser,
    anchors: Mapping[str, Tensor],
    rule: Rule,
    train: Tensor,
    sigmas: Sequence[float] | Tensor = SIGMAS,
    encoding: Encoding | None = None,
    n_draws: int = 3,
    n_steps: int = 6,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """Where noisy images y = e(x) + sigma noise of each anchor x end when denoised along the probability-flow ODE.

    Args:
        net: any callable net(y, sigma) on images (B, C, H, W) with sigma (B,).
        anchors: symbols (n, D) by kind, such as train, novel valid and invalid grids.
        rule: says what is valid.
        train: training symbols (N, D).
        sigmas: radii of the noise, in data units, each above SIGMA_MIN; every one sees the same noise.
        encoding: how symbols become images; by default the net's own.
        n_draws: noises an anchor.
        n_steps: Heun steps from sigma to 0, the last from SIGMA_MIN.
        generator: source of the noise, on the CPU. Every kind starts from its present state; by default seeded with 0.

    Returns:
        One row per kind, sigma and anchor (0..n-1): n_draws, and how many of the draws ended, unambiguously, at the
        anchor ``itself``, at any ``valid`` grid, at any ``train`` sample.

    Raises:
        ValueError: a sigma at or below SIGMA_MIN, no encoding, or n_draws below 1.
    """
    levels = check_sigmas(sigmas).tolist()
    encoding = encoding or getattr(net, "encoding", None)
    if encoding is None or n_draws < 1 or min(levels) <= SIGMA_MIN:
        got = f"{encoding}, {n_draws} and {min(levels):g}"
        raise ValueError(f"need an encoding, n_draws >= 1 and sigmas above {SIGMA_MIN}, got {got}")
    generator = generator or torch.Generator().manual_seed(0)
    start = generator.get_state()
    known = hash_rows(train)
    tables = []
    for kind, x in anchors.items():
        generator.set_state(start)
        clean = encoding.encode(x)
        noise = torch.randn(n_draws, *clean.shape, generator=generator, dtype=clean.dtype)
        for sigma in levels:
            begin = (noise + clean / sigma).flatten(0, 1)  # sample_images scales it by sigma
            images = sample_images(net, begin, sigma_schedule(n_steps, SIGMA_MIN, sigma))
            symbols, ambiguous = encoding.decode(images)
            clear = ~ambiguous
            ends = {
                "itself": (symbols == x.repeat(n_draws, 1)).all(-1) & clear,
                "valid": rule.is_valid(symbols) & clear,
                "train": occur(symbols, known) & clear,
            }
            counts = {name: hit.reshape(n_draws, -1).sum(0).numpy() for name, hit in ends.items()}
            tables.append(
                pd.DataFrame({"kind": kind, "sigma": sigma, "anchor": range(len(x)), "n_draws": n_draws} | counts)
            )
    return pd.concat(tables, ignore_index=True)


def run_basins(
    run: Run,
    sigmas: Sequence[float] = SIGMAS,
    steps: Sequence[int] | None = None,
    n_anchors: int = 64,
    n_draws: int = 3,
    optima: Sequence[Optimum] = REFERENCES,
) -> pd.DataFrame:
    """`basin_volumes` over the kept steps of a DiT's run and of exact optima, with the same noise for all.

    The anchors: training samples ("train"), as many valid grids outside the training set ("novel valid"), and random
    grids of the cube that break the rule ("invalid").

    Args:
        run: of a DiT.
        sigmas: radii of the noise, in data units.
        steps: by default all that are kept.
        n_anchors: of each kind, or fewer where there are not as many.
        n_draws: noises an anchor.
        optima: see `over_run`; the cube's knows no rule, as a net before tau_rule.
    """
    rule, train, seed = run.rule, run.train_set, run.config.seed
    splits = run_splits(run, n_anchors)
    cube = run.references["cube"].sample(64 * n_anchors, random_stream(seed, "invalid grids"))
    anchors = {
        "train": splits["train"],
        "novel valid": splits["held-out"],
        "invalid": cube[~rule.is_valid(cube)][: len(splits["train"])],
    }
    encoding = score_encoding(run)

    def probe(net: Denoiser) -> pd.DataFrame:
        noise = random_stream(seed, "basins")
        return basin_volumes(net, anchors, rule, train, sigmas, encoding, n_draws, generator=noise)

    return over_run(run, probe, steps, optima)


def return_fractions(table: pd.DataFrame) -> pd.DataFrame:
    """The fractions of draws that ended at each outcome, with 95% intervals clustered by anchor.

    The interval is Clopper and Pearson's at the effective number of draws, n / deff, where the design effect deff is
    the variance of the fraction, found from the scatter between anchors, over the binomial one (Korn & Graubard, 1998).
    A few hits leave deff uncertain, so two imaginary anchors, one with every hit and one with none, enter the scatter:
    coverage stays above 94% where without them it falls to 83% (20 anchors of 10 draws). With one draw an anchor the
    interval is Clopper and Pearson's own.

    Args:
        table: from `basin_volumes` or `run_basins`.

    Returns:
        One row per kind, sigma and outcome (and denoiser and step): fraction, low, high, n_anchors, n (draws).
    """
    keys = [key for key in ("denoiser", "step", "kind", "sigma") if key in table]
    rows = []
    for values, group in table.groupby(keys, sort=False, dropna=False):
        draws = group["n_draws"].to_numpy()
        for outcome in OUTCOMES:
            hits = group[outcome].to_numpy()
            low, high = clustered_interval(hits, draws)
            rows.append((*values, outcome, hits.sum() / draws.sum(), low, high, len(group), int(draws.sum())))
    fractions = pd.DataFrame(rows, columns=[*keys, "outcome", "fraction", "low", "high", "n_anchors", "n"])
    return fractions.astype({"step": "Int64"}) if "step" in fractions else fractions


def clustered_interval(hits: np.ndarray, draws: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion from hits (n,) among draws (n,) of n independent clusters; see `return_fractions`."""
    n, total = len(draws), int(draws.sum())
    p = hits.sum() / total
    most = draws.max()
    k, m = np.append(hits, [most, 0]), np.append(draws, [most, most])  # the two imaginary anchors
    share = k.sum() / m.sum()
    variance = len(m) / (len(m) - 1) * ((k - share * m) ** 2).sum() / m.sum()  # of a ratio of sums, linearised
    effective = float(np.clip(total * share * (1 - share) / variance, n, total))
    tail, count = (1 - confidence) / 2, p * effective
    low = 0.0 if p == 0 else float(stats.beta.ppf(tail, count, effective - count + 1))
    high = 1.0 if p == 1 else float(stats.beta.isf(tail, count + 1, effective - count))
    return low, high


def basins_figure(table: pd.DataFrame, run: Run) -> Figure:
    """Returns to the anchor, to any valid grid and to any training sample over training, a column per sigma."""
    fractions = return_fractions(table)
    labels = {"itself": "returns to the anchor", "valid": "ends at a valid grid", "train": "ends at a training sample"}
    sigmas = sorted(set(fractions["sigma"]))
    figure, axes = new_figure(3, len(sigmas), 2.6 * len(sigmas) + 0.6, 7.4, sharex=True, sharey=True)
    for (row, outcome), (column, sigma) in ((r, c) for r in enumerate(OUTCOMES) for c in enumerate(sigmas)):
        ax = axes[row][column]
        here = fractions[(fractions["outcome"] == outcome) & (fractions["sigma"] == sigma)]
        for k, (kind, (colour, marker)) in enumerate(KIND_STYLES.items()):
            part = here[here["kind"] == kind]
            rows = part[part["denoiser"] == "learned"]
            reach = np.stack([rows["fraction"] - rows["low"], rows["high"] - rows["fraction"]])
            steps = rows["step"].to_numpy(dtype=float) * math.exp(0.05 * (k - 1))
            ax.errorbar(steps, rows["fraction"], reach, color=COLOURS[colour], marker=marker, markersize=4,
                        elinewidth=1, label=f"from {kind} grids")  # fmt: skip
            _draw_references(ax, part, colour)
        for optimum, style in OPTIMUM_STYLES.items():
            ax.plot([], [], color="k", ls=style, lw=1, label=optimum)
        if row == 0:
            ax.set_title(rf"noise $\sigma$ = {sigma:g}", pad=15)
            mark_clocks(ax, run)
        if row == 2:
            ax.set_xlabel("training step")
        if column == 0:
            ax.set_ylabel(labels[outcome])
        ax.set(xscale="log", ylim=(-0.03, 1.03))
    outer_legend(figure, axes[0][:1])
    figure.suptitle(f"{run_title(run)}; {anchor_counts(fractions)}", fontsize=9)
    return figure


def _draw_references(ax: Axes, part: pd.DataFrame, colour: str) -> None:
    for optimum, style in OPTIMUM_STYLES.items():
        for level in part[part["denoiser"] == optimum]["fraction"]:
            ax.axhline(level, color=COLOURS[colour], ls=style, lw=1)


def anchor_counts(fractions: pd.DataFrame) -> str:
    first = fractions.iloc[0]
    return f"{first['n_anchors']} anchors of each kind, {first['n']} noises per point"
