"""How far generations are from the training set: Hamming distance to the nearest training sample (Fig. 12)."""

from __future__ import annotations

import math

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..data import hash_rows, occur, random_stream
from ..nearest import nearest_hamming
from ..runs.run import Run
from ..style import COLOURS, draw_measured, new_figure
from .phases import mark_clocks, outer_legend, run_title
from .probe import Probe
from .summary import RunSummary

FEW = 10
"""Means of fewer generations are not drawn."""

GENERATION_LOOKS = {
    "all": ("all generations", COLOURS["loss"], "o"),
    "valid": ("valid", COLOURS["rule"], "s"),
    "novel": ("valid and not memorized", COLOURS["novel"], "^"),
}
"""Label, colour and marker of the generations of `hamming_over_training`."""

_REFERENCE_LOOKS = {  # label, colour, line style
    "cube": ("exact sampler of the cube", COLOURS["cube"], ":"),
    "rule": ("exact sampler of the rule", COLOURS["rule"], "--"),
    "rule, novel": ("exact sampler of the rule, not memorized", COLOURS["novel"], "-."),
}


def hamming_over_training(run: Run) -> pd.DataFrame:
    """The mean distance of a run's generations to the nearest training sample, at each evaluation (Fig. 12).

    Returns:
        Three rows per evaluation:
        step: training step.
        of: ``"all"`` generations; the ``"valid"`` ones, unambiguous too; the ``"novel"`` ones, valid and not memorized.
        n: how many.
        hamming, hamming_se: mean distance in cells, and its standard error over generations; NaN without any (the
            error: without two).
    """
    rule, train = run.rule, run.train_set
    known = hash_rows(train)
    rows = []
    for step in run.metrics["step"]:
        x, ambiguous = run.samples(int(step))
        distance = nearest_hamming(x, train).distance
        valid = rule.is_valid(x) & ~ambiguous
        kinds = {"all": torch.ones_like(valid), "valid": valid, "novel": valid & ~occur(x, known)}
        rows += [{"step": int(step), "of": name, **_mean(distance[kind])} for name, kind in kinds.items()]
    return pd.DataFrame(rows)


def hamming_references(run: Run, n_samples: int = 4096, seed: int = 0) -> pd.DataFrame:
    """The mean distance to a run's training set of samplers that know nothing of it, by Monte Carlo.

    Args:
        run: gives rule and training set.
        n_samples: draws of each sampler.
        seed: of the draws.

    Returns:
        One row a sampler: of, n, hamming and hamming_se as in `hamming_over_training`. ``"rule"`` draws evenly from the
        valid grids; ``"rule, novel"`` is its draws outside the training set, to compare novel generations with (no
        row if there are none); ``"cube"`` draws evenly from all Q^D grids.
    """
    rule, train = run.rule, run.train_set
    fresh = rule.sample(n_samples, random_stream(seed, "rule reference"))
    cube = run.references["cube"].sample(n_samples, random_stream(seed, "cube reference"))
    distance = nearest_hamming(fresh, train).distance
    rows = {"rule": distance, "rule, novel": distance[distance > 0], "cube": nearest_hamming(cube, train).distance}
    return pd.DataFrame([{"of": name, **_mean(values)} for name, values in rows.items() if len(values)])


def hamming_figure(table: pd.DataFrame, references: pd.DataFrame, run: Run | RunSummary) -> Figure:
    """Distance to the nearest training sample over training, with its references.

    Means of fewer than 10 generations are left out.

    Args:
        table: from `hamming_over_training`.
        references: from `hamming_references`.
        run: gives clocks and scale; the run or its summary.
    """
    figure, [[ax]] = new_figure(1, 1, 5.2, 3.8)
    for name, rows in table[table["n"] >= FEW].groupby("of", sort=False):
        label, colour, marker = GENERATION_LOOKS[str(name)]
        draw_measured(ax, rows, "step", "hamming", marker=marker, ms=3.5, color=colour, label=label)
    draw_references(ax, references)
    mark_clocks(ax, run)
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("training step")
    ax.set_ylabel("cells to the nearest training sample")
    ax.set_title(f"{run_title(run)}; {table['n'].max()} generations, 95% intervals", pad=15)
    outer_legend(figure, [ax], ncols=2)
    return figure


def draw_references(ax: Axes, references: pd.DataFrame) -> None:
    """The distances of `hamming_references` as horizontal lines."""
    for name, value in zip(references["of"], references["hamming"], strict=True):
        label, colour, style = _REFERENCE_LOOKS[str(name)]
        ax.axhline(value, color=colour, ls=style, lw=1.0, label=label)


def _mean(distance: Tensor) -> dict[str, float]:
    n = len(distance)
    values = distance.double()
    return {
        "n": n,
        "hamming": float(values.mean()) if n else math.nan,
        "hamming_se": float(values.std()) / math.sqrt(n) if n > 1 else math.nan,
    }


PROBES = (
    Probe(
        "nearest",
        "Distance from generations to the nearest training sample",
        lambda run: {"nearest": hamming_over_training(run), "nearest_references": hamming_references(run)},
        lambda tables, run: {"nearest": hamming_figure(tables["nearest"], tables["nearest_references"], run)},
    ),
)
