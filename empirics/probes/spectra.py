"""Denoising loss against sigma over training, for train, held-out and cube samples, and their gap (Fig. 13, 14, 15)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from scipy import stats
from torch import Tensor

from ...theory import Encoding, condensation_sigma
from ...theory.dsm import Denoiser, check_sigmas
from ...theory.encodings import default_encoding
from ..data import random_stream
from ..onsets import Onset, detect_onset
from ..runs import Run
from ..style import COLOURS, figure_style, new_figure
from .phases import (
    OPTIMA,
    Optimum,
    denoise,
    mark_clocks,
    outer_legend,
    over_run,
    phase_steps,
    run_splits,
    run_title,
    score_encoding,
    sigma_colour,
)

SIGMAS = tuple(float(s) for s in np.geomspace(0.1, 5, 15))
BANDS = ((0.1, 0.25), (0.25, 0.6), (0.6, 1.5), (1.5, 5.0))
"""Noise bands (low, high], the lowest with its lower end."""

GAP_SIGNIFICANCE = 1e-3
"""One-sided p-value below which a gap counts as opened."""

_SPLIT_COLOURS = {"train": COLOURS["memorization"], "held-out": COLOURS["novel"], "cube": COLOURS["cube"]}
_SPLIT_MARKERS = {"train": "o", "held-out": "s", "cube": "^"}
_OPTIMUM_STYLES = {"rule optimum": "-.", "training-set optimum": ":"}


def dsm_spectra(
    net: Denoiser,
    splits: Mapping[str, Tensor],
    sigmas: Sequence[float] | Tensor = SIGMAS,
    encoding: Encoding | None = None,
    n_noise: int = 1,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """The denoising loss of a net on each split at each sigma, and its gap to the first split.

    The loss is that of `dsm_loss` with the same generator. Every split and sigma sees the same noise, so that splits
    of equal size pair: the gap is the mean of the paired differences, and far more precise than either loss.

    Args:
        net: any callable net(y, sigma) on images (B, C, H, W) with sigma (B,).
        splits: clean symbols (n, D) by name, all of one size n >= 2; the first is the one that others are held against.
        sigmas: noise standard deviations, in data units.
        encoding: how symbols become images; by default the net's own if it has one, else the default on (1, D).
        n_noise: noise draws for each sample.
        generator: source of the noise, on the CPU. Every split starts from its present state; by default seeded with 0.

    Returns:
        One row a split and sigma. loss, loss_se: mean squared error per dimension and its standard error, clustered by
        sample. gap, gap_se: loss less that of the first split, paired, and its standard error (0 for the first). gap_p:
        one-sided p-value of "no more loss than the first split" (paired t-test over samples; 1 for the first).

    Raises:
        ValueError: splits of different sizes or of one sample, or sigmas that are not positive and finite.
    """
    levels = check_sigmas(sigmas).tolist()
    sizes = {len(x) for x in splits.values()}
    if len(sizes) != 1 or min(sizes) < 2 or n_noise < 1:
        raise ValueError(f"splits must share one size of at least 2 to be paired, got {sizes}, and n_noise {n_noise}")
    alphabet = max(2, *(int(x.max()) + 1 for x in splits.values()))
    dim = next(iter(splits.values())).shape[1]
    encoding = encoding or getattr(net, "encoding", None) or default_encoding((1, dim), alphabet)
    generator = generator or torch.Generator().manual_seed(0)
    start = generator.get_state()
    rows = []
    first: dict[float, Tensor] = {}
    for name, x in splits.items():
        generator.set_state(start)
        clean = encoding.encode(x.repeat(n_noise, 1))
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        for sigma in levels:
            denoised = denoise(net, clean + sigma * noise, sigma)
            errors = (denoised - clean).double().square().flatten(1).mean(1).reshape(n_noise, -1).mean(0)  # (n,)
            gap = errors - first.setdefault(sigma, errors)
            loss, loss_se = _mean_and_error(errors)
            difference, difference_se = _mean_and_error(gap)
            rows.append((name, sigma, loss, loss_se, difference, difference_se, _p_above(gap)))
    return pd.DataFrame(rows, columns=["split", "sigma", "loss", "loss_se", "gap", "gap_se", "gap_p"])


def run_spectra(
    run: Run,
    sigmas: Sequence[float] = SIGMAS,
    steps: Sequence[int] | None = None,
    n_images: int = 256,
    optima: Sequence[Optimum] = OPTIMA,
) -> pd.DataFrame:
    """`dsm_spectra` over the kept steps of a DiT's run, and of exact optima on the same images.

    Args:
        run: of a DiT.
        sigmas: noise standard deviations, in data units.
        steps: by default all that are kept.
        n_images: images of each split and sigma: as many different grids as there are, then more noise for each.
        optima: see `over_run`.

    Returns:
        The columns of `dsm_spectra` with denoiser and step; splits train, held-out and cube.
    """
    splits = run_splits(run, n_images)
    n_noise = max(1, round(n_images / len(splits["train"])))
    encoding, seed = score_encoding(run), run.config.seed

    def probe(net: Denoiser) -> pd.DataFrame:
        return dsm_spectra(net, splits, sigmas, encoding, n_noise, random_stream(seed, "spectra"))

    return over_run(run, probe, steps, optima)


def noise_bands(table: pd.DataFrame, bands: Sequence[tuple[float, float]] = BANDS) -> pd.DataFrame:
    """Losses averaged over the sigmas in each band (low, high]: the dynamics of Fig. 14.

    Args:
        table: from `run_spectra`.
        bands: noise standard deviations; the first band holds its lower end too.

    Returns:
        One row a denoiser, step, split and band: band_low, band_high, loss, loss_se. The standard error is the mean of
        those at the band's sigmas, an upper bound, as all of them see the same draws.

    Raises:
        ValueError: a band without a sigma.
    """
    parts = []
    for k, (low, high) in enumerate(bands):
        inside = (table["sigma"] <= high * (1 + 1e-9)) & (table["sigma"] > low * (1 + 1e-9))
        if k == 0:
            inside |= np.isclose(table["sigma"], low)
        if not inside.any():
            raise ValueError(f"no sigma of the table lies in the band ({low:g}, {high:g}]")
        keys = ["denoiser", "step", "split"]
        part = table[inside].groupby(keys, sort=False, dropna=False)[["loss", "loss_se"]].mean().reset_index()
        part.insert(3, "band_low", low)
        part.insert(4, "band_high", high)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def gap_onsets(table: pd.DataFrame, split: str = "held-out", patience: int = 2) -> dict[float, Onset]:
    """For each sigma, the step at which a split's loss exceeds the train loss: the gap's onset of Fig. 15.

    Args:
        table: from `run_spectra`.
        split: ``"held-out"``, or ``"cube"`` for the splitting off of random cube samples at rule learning.
        patience: evaluations in a row that must be significant (p < `GAP_SIGNIFICANCE`); the first is the onset.

    Returns:
        Onset by sigma, ascending, among the kept steps.
    """
    learned = table[(table["denoiser"] == "learned") & (table["split"] == split)].sort_values("step")
    found = {}
    for sigma, rows in learned.groupby("sigma"):
        significant = (rows["gap_p"] < GAP_SIGNIFICANCE).to_numpy().astype(float)
        found[float(str(sigma))] = detect_onset(rows["step"].to_numpy(dtype=float), significant, 1.0, patience)
    return found


def plot_spectra(table: pd.DataFrame, run: Run, path: str | Path) -> None:
    """Loss against sigma by split at each phase that the run reached, with the exact optima (Fig. 13)."""
    phases = {name: step for name, step in phase_steps(run).items() if step in set(table["step"].dropna())}
    if not phases:
        raise ValueError("the table holds no step of a phase of the run; make it with run_spectra's default steps")
    with figure_style():
        figure, axes = new_figure(1, len(phases), 2.7 * len(phases) + 0.6, 3.9, sharey=True)
        for ax, (phase, step) in zip(axes[0], phases.items(), strict=True):
            for name, rows in table[table["step"] == step].groupby("split", sort=False):
                colour, marker = _SPLIT_COLOURS[str(name)], _SPLIT_MARKERS[str(name)]
                ax.errorbar(rows["sigma"], rows["loss"], 1.96 * rows["loss_se"], color=colour, marker=marker,
                            markersize=3, elinewidth=1, label=f"learned, {name}")  # fmt: skip
            _draw_optima(ax, table)
            ax.set(xscale="log", yscale="log", title=f"{phase}: step {step}", xlabel=r"noise $\sigma$ (data units)")
            ax.set_ylim(1e-3, 2)
        axes[0][0].set_ylabel("denoising loss per dimension")
        outer_legend(figure, axes[0][:1])
        figure.suptitle(run_title(run), fontsize=9)
        figure.savefig(path)


def plot_noise_bands(table: pd.DataFrame, run: Run, path: str | Path) -> None:
    """Loss over training in noise bands by split, with the exact optima, both clocks, and states above (Fig. 14)."""
    bands = noise_bands(table)
    with figure_style():
        names = list(bands.groupby(["band_low", "band_high"], sort=False))
        figure, axes = new_figure(2, len(names), 2.9 * len(names) + 0.6, 5.2, sharex="col", height_ratios=[0.6, 1])
        for states, ax, (band, part) in zip(*axes, names, strict=True):
            _draw_states(states, run)
            learned = part[part["denoiser"] == "learned"]
            for name, rows in learned.groupby("split", sort=False):
                colour, marker = _SPLIT_COLOURS[str(name)], _SPLIT_MARKERS[str(name)]
                steps = rows["step"].to_numpy(dtype=float)
                ax.errorbar(steps, rows["loss"], 1.96 * rows["loss_se"], color=colour, marker=marker, markersize=3,
                            elinewidth=1, label=f"learned, {name}")  # fmt: skip
                for optimum, style in _OPTIMUM_STYLES.items():
                    exact = part[(part["denoiser"] == optimum) & (part["split"] == name)]
                    for level in exact["loss"]:
                        ax.axhline(level, color=colour, ls=style, lw=1, label=f"{optimum}, {name}")
            least, most = float(learned["loss"].min()), float(part["loss"].max())
            if most > 5 * least:
                ax.set(yscale="log", ylim=(max(1e-4, least / 1.5), 1.5 * most))
            ax.set(xscale="log", xlabel="training step")
            low, high = band
            states.set_title(rf"loss at $\sigma$ in {low:g} to {high:g}", pad=15)
            mark_clocks(states, run)
            mark_clocks(ax, run, labels=False)
        axes[0][0].set_ylabel("generations")
        axes[1][0].set_ylabel("denoising loss per dimension")
        outer_legend(figure, [axes[0][0], axes[1][0]], ncols=4)
        figure.suptitle(run_title(run), fontsize=9)
        figure.savefig(path)


def plot_gap(table: pd.DataFrame, run: Run, path: str | Path, split: str = "held-out") -> None:
    """The gap to the train loss over step and sigma, its onset at each sigma, and curves at fixed sigma (Fig. 15).

    `condensation_sigma` is drawn where the table has the rule optimum; without it, exact posteriors are too costly.
    """
    chosen = table[table["split"] == split]
    learned = chosen[chosen["denoiser"] == "learned"]
    grid = learned.pivot(index="sigma", columns="step", values="gap")
    sigmas, steps = grid.index.to_numpy(), grid.columns.to_numpy(dtype=float)
    with figure_style():
        figure, ((ax, curves),) = new_figure(1, 2, 10.0, 4.4)
        reach = float(np.abs(grid.to_numpy()).max())
        mesh = ax.pcolormesh(_edges(steps), _edges(sigmas), grid.to_numpy(), cmap="RdBu_r",
                             vmin=-reach, vmax=reach)  # fmt: skip
        figure.colorbar(mesh, ax=ax, label=f"{split} less train loss, per dimension")
        onsets = {sigma: onset for sigma, onset in gap_onsets(table, split).items() if not onset.censored}
        ax.plot([o.upper for o in onsets.values()], list(onsets), "ko", markersize=4, label="gap significant from here")
        scale = _condensation(run) if "rule optimum" in set(table["denoiser"]) else None
        if scale is not None:
            ax.axhline(scale, color="k", ls="--", lw=1.2, label=rf"condensation $\sigma_c$(N) = {scale:.2f}")
        ax.set(xscale="log", yscale="log", xlabel="training step", ylabel=r"noise $\sigma$ (data units)")
        ax.set_xlim(_edges(steps)[0], _edges(steps)[-1])
        ax.grid(False)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
        mark_clocks(ax, run)
        _draw_gap_curves(curves, chosen, learned, sigmas)
        mark_clocks(curves, run)
        figure.suptitle(run_title(run), fontsize=9)
        figure.savefig(path)


def _draw_states(ax: Axes, run: Run) -> None:
    """How many generations of each evaluation were in each state."""
    counts = run.state_counts
    styles = {"novel_valid": ("novel", "-"), "memorized": ("memorization", "--"), "violating": ("violating", "-."),
              "ambiguous": ("ambiguous", ":")}  # fmt: skip
    for state, (colour, style) in styles.items():
        label = "valid and novel" if state == "novel_valid" else state
        ax.plot(counts["step"], counts[state], color=COLOURS[colour], ls=style, label=f"generations, {label}")


def _draw_optima(ax: Axes, table: pd.DataFrame) -> None:
    for optimum, style in _OPTIMUM_STYLES.items():
        for name, rows in table[table["denoiser"] == optimum].groupby("split", sort=False):
            ax.plot(
                rows["sigma"], rows["loss"], style, color=_SPLIT_COLOURS[str(name)], lw=1, label=f"{optimum}, {name}"
            )


def _draw_gap_curves(ax: Axes, chosen: pd.DataFrame, learned: pd.DataFrame, sigmas: np.ndarray) -> None:
    """The gap over training at four sigmas spread over [0.2, 2], with that of the training-set optimum at the side."""
    inside = sigmas[(sigmas > 0.19) & (sigmas < 2.1)]
    picked = inside[np.unique(np.linspace(0, len(inside) - 1, 4).round().astype(int))]
    for k, sigma in enumerate(picked):
        rows = learned[learned["sigma"] == sigma]
        shade = sigma_colour(k, len(picked))
        steps = rows["step"].to_numpy(dtype=float)
        ax.errorbar(steps, rows["gap"], 1.96 * rows["gap_se"], color=shade, marker="osD^"[k], markersize=4,
                    elinewidth=1, label=rf"$\sigma$ = {sigma:.2f}")  # fmt: skip
        exact = chosen[(chosen["denoiser"] == "training-set optimum") & (chosen["sigma"] == sigma)]
        ax.axhline(float(exact["gap"].iloc[0]), color=shade, ls=":", lw=1.2) if len(exact) else None
    ax.plot([], [], "k:", lw=1.2, label="training-set optimum")
    ax.set(xscale="log", xlabel="training step", ylabel="gap, per dimension (95% interval)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)


def _condensation(run: Run) -> float | None:
    """sigma_c(N), where the rule has one for this training set."""
    try:
        return condensation_sigma(run.rule, run.config.n_train, run.encoding, n_samples=512)
    except ValueError:  # N is 1 or the whole support
        return None


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def _p_above(gap: Tensor) -> float:
    """One-sided p-value of the t-test that the mean of gap is not positive."""
    mean, error = _mean_and_error(gap)
    if error == 0:
        return 0.0 if mean > 0 else 1.0
    return float(stats.t.sf(mean / error, len(gap) - 1))


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells about centres on a log axis."""
    logs = np.log(centres)
    inner = (logs[1:] + logs[:-1]) / 2
    if len(logs) == 1:
        return np.exp([logs[0] - 0.5, logs[0] + 0.5])
    return np.exp(np.concatenate([[2 * logs[0] - inner[0]], inner, [2 * logs[-1] - inner[-1]]]))
