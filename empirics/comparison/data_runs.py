"""A run on data of one's own against densities fitted to its training set, at each checkpoint: tables, text, figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ...theory import Density, DensityDenoiser
from ..data import random_stream
from ..references import references
from ..runs.run import Run
from ..style import COLOURS, draw_measured, figure_style, new_figure
from ..text_tables import plain_table

REFERENCES = ("empirical", "gaussian")
"""By default: the training set, and the normal density with its mean and covariance."""
SHOWN_SIGMAS = 3


def data_splits(run: Run, n_samples: int) -> dict[str, Tensor]:
    """Some of a run's training and held-out samples, as its network sees them."""
    data, codes = run.training_data, run.pixels
    assert data.held_out is not None
    splits = {}
    for name, x in (("train", data.train), ("held-out", data.held_out)):
        order = torch.randperm(len(x), generator=random_stream(run.config.seed, f"comparison {name}"))
        splits[name] = codes.encode(x[order[:n_samples]])
    return splits


def data_densities(run: Run, names: Sequence[str] = REFERENCES) -> dict[str, Density]:
    """Densities of a run's training samples by name, see `references`, in the units that its network sees."""
    x = run.pixels.encode(run.train_set)
    found = references(x, names, seed=run.config.seed)
    return {name: D.density for name, D in found.items() if isinstance(D, DensityDenoiser)}


def explained_text(table: pd.DataFrame, run: Run) -> str:
    """The shares of the learned score that each reference explains, by step, split and some sigmas."""
    names, sigmas, onsets = explained_names(table), shown_sigmas(table), run.onsets if run.ended else {}
    rows = []
    for step, split in table[["step", "split"]].drop_duplicates().itertuples(index=False):
        part = table[(table["step"] == step) & (table["split"] == split)]
        struck = [name.removeprefix("tau_") for name, onset in onsets.items() if onset.upper <= step]
        cells = [f"{part.loc[part['sigma'] == s, f'explained_{R}'].item():.3f}" for s in sigmas for R in names]
        rows.append([str(step), str(split), *cells, " ".join(struck)])
    head = "Share of the learned score that each reference explains; sigma in standard deviations of the data"
    titles = [f"{R} {s:.2g}" for s in sigmas for R in names]
    return f"{head}\n\n{plain_table(['step', 'split', *titles, 'clock'], rows)}"


def plot_explained(table: pd.DataFrame, run: Run, path: str | Path | None = None) -> Figure:
    """The shares of the learned score that each reference explains over training, a panel for each of three sigmas.

    Lines: held-out samples; dashed: training samples. Bands are 95% intervals over samples. Both clocks are marked.

    Args:
        table: from `compare_over_training`.
        run: the run it is of.
        path: where to write, PNG or PDF by the suffix; by default nowhere.
    """
    names, sigmas = explained_names(table), shown_sigmas(table)
    shades = [COLOURS[name] for name in ("memorization", "rule", "novel", "cube", "local", "violating")]
    with figure_style():
        figure, (axes,) = new_figure(1, len(sigmas), 3.4 * len(sigmas), 3.4, sharey=True)
        for ax, sigma in zip(axes, sigmas, strict=True):
            for k, R in enumerate(names):
                for split, style in (("held-out", "-"), ("train", "--")):
                    part = table[(table["split"] == split) & (table["sigma"] == sigma)].sort_values("step")
                    colour = shades[k % len(shades)]
                    draw_measured(ax, part, "step", f"explained_{R}", alpha=0.15, ls=style, color=colour, lw=1.3,
                                  label=f"{R}, {split}")  # fmt: skip
            for clock, onset in (run.onsets if run.ended else {}).items():
                if not onset.censored:
                    ax.axvline(onset.upper, color=COLOURS["chance"], lw=0.9, ls=":")
                    label = rf"$\tau_{{{clock.removeprefix('tau_')}}}$"
                    ax.annotate(label, (onset.upper, 1.01), xycoords=("data", "axes fraction"), ha="center", fontsize=9)
            ax.set(xscale="log", xlabel="training step", ylim=(0, 1.05))
            ax.set_title(f"sigma = {sigma:.2g} spreads", pad=16)
        axes[0].set_ylabel("share of the learned score explained")
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=min(4, len(handles[1])))
        c = run.config
        figure.suptitle(f"{c.model}, {c.rule}, N = {c.n_train}, seed {c.seed}", fontsize=9)
        if path is not None:
            figure.savefig(path)
    return figure


def explained_names(table: pd.DataFrame) -> list[str]:
    """The references of a comparison."""
    columns = map(str, table.columns)
    return [c.removeprefix("explained_") for c in columns if c.startswith("explained_") and not c.endswith("_se")]


def shown_sigmas(table: pd.DataFrame) -> list[float]:
    """The least, a middle and the largest noise level."""
    sigmas = np.sort(table["sigma"].unique())
    return [float(s) for s in sigmas[np.unique(np.linspace(0, len(sigmas) - 1, SHOWN_SIGMAS).round().astype(int))]]
