"""What the score probes take from a run: its phases, its denoisers with the exact optima, its splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, cast

import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from ...theory import Encoding, Law, OptimalDenoiser
from ...theory.dsm import Denoiser
from ..comparison.splits import comparison_splits
from ..placement import place_denoiser
from ..references import SLOW
from ..runs.run import Run
from ..style import COLOURS
from .summary import RunSummary, run_summary

LEARNED = "learned"
Optimum = Literal["cube optimum", "rule optimum", "training-set optimum", "training-cells optimum"]
REFERENCE_OF = {
    "cube optimum": "cube",
    "rule optimum": "population",
    "training-set optimum": "empirical",
    "training-cells optimum": "cells",
}
"""The reference that each optimum of a probe's table is of."""
OPTIMA: tuple[Optimum, ...] = ("rule optimum", "training-set optimum")
BEFORE, AT_RULE, WINDOW = r"before $\tau_{rule}$", r"at $\tau_{rule}$", "in the window"
AT_MEM, AFTER = r"at $\tau_{mem}$", r"after $\tau_{mem}$"
PHASE_STYLES = {  # colour and line style
    BEFORE: (COLOURS["ambiguous"], (0, (1, 1))),
    AT_RULE: (COLOURS["rule"], "--"),
    WINDOW: (COLOURS["novel"], "-"),
    AT_MEM: (COLOURS["memorization"], "--"),
    AFTER: (COLOURS["memorization"], "-"),
}

_CLOCK_LABELS = {"tau_rule": ("rule", r"$\tau_{rule}$"), "tau_mem": ("memorization", r"$\tau_{mem}$")}
_CLOSE = 3.0  # clocks within this factor of each other have labels that overlap in a narrow panel


def phase_steps(run: Run | RunSummary) -> dict[str, int]:
    """The kept step that stands for each phase of an ended run, in order of training; a phase never reached is absent.

    Before tau_rule: the last up to half of it, for shortly before it most generations already obey the rule; the first
    one known to precede it where none is so early, and the last of all where the rule is not reached. At tau_rule: the
    first at or after it. In the window: the one nearest, on a log scale, to the middle of the window. At tau_mem: the
    first at or after it, if it is not the last. After tau_mem: the last.

    Raises:
        ValueError: the run has not ended, or keeps no weights.
    """
    steps, onsets = kept_steps(run), run_summary(run).onsets
    rule, mem = onsets["tau_rule"], onsets["tau_mem"]
    phases = {}
    if before := [s for s in steps if s <= rule.lower]:
        early = before if rule.censored else [s for s in before if s <= rule.lower / 2]
        phases[BEFORE] = (early or before[:1])[-1]
    if after := [s for s in steps if s >= rule.upper]:
        phases[AT_RULE] = after[0]
        if inside := [s for s in after[1:] if s <= mem.lower]:
            middle = math.sqrt(rule.upper * mem.lower)
            phases[WINDOW] = min(inside, key=lambda s: abs(math.log(s / middle)))
    if late := [s for s in steps if s >= mem.upper]:
        phases |= {AT_MEM: late[0]} if late[1:] else {}
        phases[AFTER] = late[-1]
    return phases


def over_run(
    run: Run,
    probe: Callable[[Denoiser], pd.DataFrame],
    steps: Sequence[int] | None = None,
    optima: Sequence[Optimum] = OPTIMA,
) -> pd.DataFrame:
    """A probe's table for each kept step of a run and for exact optima, under columns `denoiser` and `step`.

    Args:
        run: of a DiT.
        probe: makes a table from a denoiser net(y, sigma).
        steps: by default all that are kept.
        optima: exact denoisers to add. Leave out the rule's where its exact posterior is costly (6x6 Latin squares).

    Returns:
        `denoiser` is "learned" or the name of the optimum; `step` (Int64) is missing for an optimum.

    Raises:
        ValueError: a GPT's run, a step without weights, or an unknown optimum.
    """
    encoding = score_encoding(run)
    exact = ((name, probe(place_denoiser(OptimalDenoiser(_law(run, name), encoding), run.device))) for name in optima)
    return beside_optima(run, probe, steps, exact, "denoiser")


def over_steps(run: Run, probe: Callable[[Any], pd.DataFrame], steps: Sequence[int] | None = None) -> pd.DataFrame:
    """A probe's table of the network at each kept step of a run, with the column `step` before its own."""
    tables = {step: probe(run.model(step)) for step in (kept_steps(run) if steps is None else steps)}
    return pd.concat(tables, names=["step"]).reset_index("step").reset_index(drop=True)


def beside_optima(
    run: Run,
    probe: Callable[[Any], pd.DataFrame],
    steps: Sequence[int] | None,
    optima: Iterable[tuple[str, pd.DataFrame]],
    column: str = "model",
) -> pd.DataFrame:
    """The table of `over_steps` above those of exact optima, by name.

    Returns:
        Their columns after two: `column`, "learned" or the name of the optimum; step (Int64), missing for an optimum.
    """
    tables = [over_steps(run, probe, steps).assign(**{column: LEARNED})]
    tables += [table.assign(**{column: name}) for name, table in optima]
    joined = pd.concat(tables, ignore_index=True).astype({"step": "Int64"})
    return joined[[column, "step", *tables[0].columns.drop(["step", column])]]


def affordable(run: Run, *wanted: Optimum) -> tuple[Optimum, ...]:
    """Those of the wanted optima that the run's rule can give in seconds."""
    costly = run.rule.cost > SLOW
    return tuple(optimum for optimum in wanted if not (costly and optimum == "rule optimum"))


def kept_steps(run: Run | RunSummary) -> list[int]:
    """The steps whose weights a run keeps; ValueError if there are none."""
    if not (steps := run.checkpoint_steps):
        raise ValueError(f"{run.path if isinstance(run, Run) else run_title(run)} keeps no weights to probe")
    return list(steps)


def score_encoding(run: Run) -> Encoding:
    """The encoding of a DiT's run; ValueError for a GPT, which has no score."""
    if run.encoding is None:
        raise ValueError(f"{run.path} is a run of {run.config.model}, which has no score; probe a run of a DiT")
    return run.encoding


def run_splits(run: Run, n_samples: int, repeat: bool = False) -> dict[str, Tensor]:
    """Equally many grids of three kinds, int64 (n, D): train, held-out (valid, not in train), and cube.

    Args:
        run: gives rule, training set and seed.
        n_samples: n, the most of each; fewer where the training set, or what the rule leaves out of it, is smaller.
        repeat: let a training set smaller than n_samples come again and again, in whole rounds; its mean is then exact,
            and the other kinds, whose grids all differ, are sampled better.

    Raises:
        ValueError: the training set has one grid, or holds the whole rule, or all of it but one grid.
    """
    splits = comparison_splits(run, n_samples)
    size, spare = len(splits["train"]), len(splits.get("held-out", []))
    n = min(size, spare)
    if repeat and spare > size > 0:
        n = spare - spare % size
        splits["train"] = splits["train"].repeat(n // size, 1)
    if min(size, n) < 2:
        raise ValueError(
            f"{run.path}: fewer than 2 valid grids in, or left out of, a training set of {run.config.n_train}"
        )
    return {name: x[:n] for name, x in splits.items()}


@torch.no_grad()
def denoise(net: Denoiser, y: Tensor, sigma: float, batch_size: int = 1024) -> Tensor:
    """net(y, sigma) for images (B, C, H, W), in parts, without gradients."""
    return torch.cat([net(part, part.new_full((len(part),), sigma)) for part in y.split(batch_size)])


def by_denoiser(table: pd.DataFrame) -> list[tuple[str, int | None, pd.DataFrame]]:
    """The rows of each denoiser of an `over_run` table with its name and step (None for an optimum), in its order."""
    parts = []
    for key, rows in table.groupby(["denoiser", "step"], sort=False, dropna=False):
        name, step = cast(tuple[str, Any], key)
        parts.append((name, None if pd.isna(step) else int(step), rows))
    return parts


def run_title(run: Run | RunSummary) -> str:
    """What a figure must say of the run's scale."""
    about = run if isinstance(run, RunSummary) else run.config
    return f"{about.model}, {about.rule}, N = {about.n_train}, seed {about.seed}"


def phase_look(phase: str) -> dict[str, Any]:
    """Colour, line style and marker of a phase's line."""
    colour, style = PHASE_STYLES[phase]
    return {"color": colour, "ls": style, "marker": "." if phase == AFTER else "", "ms": 5}


def mark_clocks(ax: Axes, run: Run | RunSummary, labels: bool = True) -> None:
    """Both clocks of a run as vertical lines on an axis of training steps, with labels above it (title pad 15)."""
    known = {name: onset.upper for name, onset in run.onsets.items() if name in _CLOCK_LABELS and not onset.censored}
    close = len(known) == 2 and max(known.values()) < _CLOSE * min(known.values())
    for name, step in known.items():
        colour, symbol = _CLOCK_LABELS[name]
        ax.axvline(step, color=COLOURS[colour], lw=0.9)
        if labels:  # side by side where they would overlap
            side = "center" if not close else "right" if step == min(known.values()) else "left"
            ax.annotate(symbol, (step, 1.01), xycoords=("data", "axes fraction"), ha=side)


def sigma_colour(k: int, n: int) -> tuple[float, float, float, float]:
    """The colour of the k-th of n noise levels, from dark to light as sigma rises."""
    return colormaps["viridis"](0.85 * k / max(1, n - 1))


def outer_legend(figure: Figure | SubFigure, axes: Sequence[Axes], ncols: int = 3) -> None:
    """The labels of some axes, each once, below the figure."""
    entries: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(str(label), handle)
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=ncols)


def _law(run: Run, optimum: str) -> Law:
    if optimum not in REFERENCE_OF:
        raise ValueError(f"optima must be among {', '.join(REFERENCE_OF)}, got {optimum!r}")
    return run.references[REFERENCE_OF[optimum]]
