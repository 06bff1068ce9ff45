"""The state of each generation over training, from noise that stays the same: who becomes what when (Fig. 3, 11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from torch import Tensor

from ...theory import Rule
from ..data import hash_rows, occur, random_stream
from ..families import Generations
from ..onsets import Onset
from ..runs.run import Run
from ..state_counts import STATES
from ..style import COLOURS, cell_edges
from .phases import kept_steps, run_title
from .probe import Probe
from .summary import RunSummary

GridSampler = Callable[[int, torch.Generator], Generations]
"""Generates n grids; all randomness comes from the generator."""

_BATCH = 512  # grids generated at once; part of what a seed means
_LABELS = ("ambiguous", "violating", "valid, novel", "memorized")
_CLEAR = 0.9  # the quantization window ends when this fraction is unambiguous: tau_rule cannot come before


@dataclass(frozen=True)
class StateRaster:
    """The state of each of n samples at each of some training steps.

    Attributes:
        states: int8 (n, n_steps), indices into `STATES`. Each row has its own initial noise, the same at every step.
        steps: training steps of the columns.
    """

    states: np.ndarray
    steps: tuple[int, ...]

    @property
    def counts(self) -> pd.DataFrame:
        """One row per step: step, and the number of samples in each of `STATES`."""
        columns = {name: (self.states == k).sum(0) for k, name in enumerate(STATES)}
        return pd.DataFrame({"step": self.steps, **columns})


def state_raster(run: Run, n: int = 2000, seed: int = 0, steps: Sequence[int] | None = None) -> StateRaster:
    """The states of n generations at each kept step of a run, from the same noise at all of them.

    A DiT starts from the same Gaussian images and samples deterministically (as the run does; by Heun's method where
    the run adds noise on the way). A GPT draws the symbol of each cell of each sample from its conditional law by the
    same uniform number at every step.

    Args:
        run: with weights kept.
        n: samples.
        seed: of the noise.
        steps: by default all that are kept.

    Raises:
        ValueError: n below 1, or a step without weights.
    """

    def samplers() -> Iterable[tuple[int, GridSampler]]:  # one set of weights in memory at a time
        for step in kept_steps(run) if steps is None else steps:
            model = run.model(step)
            yield step, partial(run.family.generate, model, config=run.config, encoding=run.encoding, fixed=True)

    return trace_states(samplers(), run.rule, run.train_set, n, seed)


def trace_states(
    samplers: Iterable[tuple[int, GridSampler]], rule: Rule, train: Tensor, n: int = 2000, seed: int = 0
) -> StateRaster:
    """The states of n generations of each sampler, all given the same random numbers.

    Args:
        samplers: pairs of a training step and what generates there.
        rule: the rule.
        train: training symbols (N, D).
        n: samples.
        seed: of the random numbers.

    Raises:
        ValueError: n below 1, or no samplers.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1 sample, got {n}")
    known = hash_rows(train)
    columns = []
    steps = []
    for step, sampler in samplers:
        generator = random_stream(seed, "state raster")
        parts = [sampler(min(_BATCH, n - start), generator) for start in range(0, n, _BATCH)]
        columns.append(np.concatenate([_states(rule, known, part) for part in parts]))
        steps.append(step)
    if not columns:
        raise ValueError("need at least one training step to look at")
    return StateRaster(np.stack(columns, 1), tuple(steps))


def transition_matrix(raster: StateRaster, first_step: int, last_step: int) -> pd.DataFrame:
    """How many samples are in one state at the first step and in another at the last; what lies between is left out.

    So each sample counts once, and the numbers do not depend on how many checkpoints lie between.

    Returns:
        int64 counts, rows the state at first_step, columns that at last_step, both named by `STATES`.

    Raises:
        ValueError: a step that the raster does not have, or a first step not before the last.
    """
    for step in (first_step, last_step):
        if step not in raster.steps:
            raise ValueError(f"the raster has no step {step}; it has {', '.join(map(str, raster.steps))}")
    if first_step >= last_step:
        raise ValueError(f"the first step must come before the last, got {first_step} and {last_step}")
    here, there = (raster.states[:, raster.steps.index(step)] for step in (first_step, last_step))
    counts = np.zeros((len(STATES), len(STATES)), dtype=np.int64)
    np.add.at(counts, (here, there), 1)
    return pd.DataFrame(counts, index=pd.Index(STATES, name="from"), columns=pd.Index(STATES, name="to"))


def transition_windows(raster: StateRaster, onsets: Mapping[str, Onset]) -> dict[str, tuple[int, int]]:
    """The first and last step of the windows between a run's clocks, at the raster's steps (Fig. 11).

    Quantization: from the first step until at most a tenth of the samples is ambiguous. Rule learning: from there until
    tau_rule has come. Memorization: from the last step known to precede tau_mem until the end. A window that holds no
    two steps, or whose clock did not strike, is absent.

    Args:
        raster: its steps bound the windows.
        onsets: tau_rule and tau_mem, as `Run.onsets`.
    """
    steps = raster.steps
    rule, mem = onsets["tau_rule"], onsets["tau_mem"]
    clear = (raster.states != STATES.index("ambiguous")).mean(0) >= _CLEAR
    quantized = next((step for step, yes in zip(steps, clear, strict=True) if yes), None)
    ruled = next((step for step in steps if step >= rule.upper), None)
    copying = max([steps[0], *(step for step in steps if step <= mem.lower)])
    ends = {
        "quantization": (steps[0], quantized),
        "rule learning": (quantized, ruled),
        "memorization": (copying, steps[-1] if steps[-1] >= mem.upper else None),
    }
    return {name: (a, b) for name, (a, b) in ends.items() if a is not None and b is not None and a < b}


def raster_table(raster: StateRaster) -> pd.DataFrame:
    """The raster as a tidy table, one row per sample and step: sample (0..n-1), step, state (a name from `STATES`)."""
    n, n_steps = raster.states.shape
    return pd.DataFrame(
        {
            "sample": np.repeat(np.arange(n), n_steps),
            "step": np.tile(raster.steps, n),
            "state": np.array(STATES, dtype=object)[raster.states.ravel()],
        }
    )


def read_raster(table: pd.DataFrame) -> StateRaster:
    """The raster that `raster_table` made a table of."""
    steps = tuple(int(step) for step in table["step"].unique())
    codes = table["state"].map({name: k for k, name in enumerate(STATES)}).to_numpy(np.int8)
    return StateRaster(codes.reshape(-1, len(steps)), steps)


def raster_figure(raster: StateRaster, run: Run | RunSummary) -> Figure:
    """The raster with the counts above and the transitions beside.

    Samples are sorted by the step at which they are first memorized, then first novel, then first unambiguous.
    """
    figure = Figure(figsize=(8.8, 6.0))
    halves: Any = figure.subfigures(1, 2, width_ratios=[1.5, 1])
    left, right = halves
    draw_raster(left, raster, run)
    draw_windows(right, raster, run, across=False)
    return figure


def draw_raster(figure: SubFigure, raster: StateRaster, run: Run | RunSummary) -> None:
    """The raster, sorted as in `raster_figure`, below stacked counts of its states, with clocks, scale and key."""
    counts, samples = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2.4]).tolist()
    _draw_counts(counts, raster)
    _draw_samples(samples, raster)
    for ax in (counts, samples):
        _mark_clocks(ax, run, labels=ax is counts)
    counts.set_title(f"{run_title(run)}; {len(raster.states)} fixed noises", pad=18)
    present = _present(raster)
    patches = [Patch(facecolor=_COLOURS[k], edgecolor="black", lw=0.4, label=_LABELS[k]) for k in present]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(present))


def draw_windows(figure: SubFigure, raster: StateRaster, run: Run | RunSummary, across: bool) -> None:
    """The matrix of transition counts of each of `transition_windows`: shades are shares of a row.

    Args:
        figure: is filled.
        raster: of the run.
        run: gives the clocks.
        across: side by side instead of one above the other.
    """
    windows = transition_windows(raster, run.onsets)
    if not windows:
        figure.text(0.5, 0.5, "no clock struck:\nno windows", ha="center", va="center")
        return
    shape = (1, len(windows)) if across else (len(windows), 1)
    axes = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, (name, (first, last)) in zip(axes, windows.items(), strict=True):
        _draw_transitions(ax, transition_matrix(raster, first, last), _present(raster))
        ax.set_title(f"{name}: step {first} to {last}")
    for ax in axes[:1] if across else axes:
        ax.set_ylabel("from", labelpad=1)
    for ax in axes if across else axes[-1:]:
        ax.set_xlabel("to", labelpad=1)


def _states(rule: Rule, known: frozenset[bytes], generations: Generations) -> np.ndarray:
    x, ambiguous = generations
    valid, memorized = rule.is_valid(x), occur(x, known)
    state = torch.where(memorized, 3, torch.where(valid, 2, 1))
    return torch.where(ambiguous, 0, state).to(torch.int8).numpy()


def _present(raster: StateRaster) -> list[int]:
    return [k for k in range(len(STATES)) if (raster.states == k).any()]


def _mark_clocks(ax: Axes, run: Run | RunSummary, labels: bool) -> None:
    """As `mark_clocks`, in black: the states fill the axes with their colours."""
    for name, symbol, style in (("tau_rule", r"$\tau_{rule}$", "-"), ("tau_mem", r"$\tau_{mem}$", "--")):
        onset = run.onsets[name]
        if not onset.censored:
            ax.axvline(onset.upper, color="black", ls=style, lw=1.1)
            if labels:
                ax.annotate(symbol, (onset.upper, 1.02), xycoords=("data", "axes fraction"), ha="center")


def _tint(colour: str, strength: float) -> tuple[float, float, float]:
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue


# Tints, so that the four differ in grayscale: lightness 0.87, 0.17, 0.69, 0.47.
_COLOURS = [
    _tint(COLOURS["ambiguous"], 0.33),
    _tint(COLOURS["violating"], 1.0),
    _tint(COLOURS["novel"], 0.53),
    _tint(COLOURS["memorization"], 1.0),
]


def _draw_counts(ax: Axes, raster: StateRaster) -> None:
    edges = cell_edges(raster.steps)
    counts = raster.counts[list(STATES)].to_numpy()
    top = np.cumsum(counts, 1)
    for k, colour in enumerate(_COLOURS):
        ax.stairs(top[:, k], edges, baseline=top[:, k] - counts[:, k], fill=True, color=colour)
    ax.set_ylim(0, len(raster.states))
    ax.set_ylabel("samples")
    ax.grid(visible=False)


def _draw_samples(ax: Axes, raster: StateRaster) -> None:
    states = raster.states
    keys = [_first(states == 3), _first(states >= 2), _first(states >= 1)]
    order = np.lexsort(keys[::-1])
    mesh = ax.pcolormesh(
        cell_edges(raster.steps), np.arange(len(states) + 1), states[order], cmap=ListedColormap(_COLOURS), vmin=-0.5,
        vmax=3.5, rasterized=True,
    )  # fmt: skip
    mesh.set_edgecolor("face")
    ax.set_xscale("log")
    ax.set_ylim(len(states), 0)
    ax.set_xlabel("training step")
    ax.set_ylabel("sample, by the step it is first memorized")
    ax.grid(visible=False)


def _first(met: np.ndarray) -> np.ndarray:
    """The first column in which each row holds true; the number of columns where none does."""
    return np.where(met.any(1), met.argmax(1), met.shape[1])


def _draw_transitions(ax: Axes, counts: pd.DataFrame, present: Sequence[int]) -> None:
    shown = counts.to_numpy()[np.ix_(present, present)]
    share = shown / np.maximum(shown.sum(1, keepdims=True), 1)
    ax.imshow(share, cmap="Greys", vmin=0, vmax=1.6, aspect="auto")
    for (row, column), count in np.ndenumerate(shown):
        ax.text(column, row, str(count), ha="center", va="center", fontsize=8)
    names = [_LABELS[k].removeprefix("valid, ") for k in present]
    ax.set_xticks(range(len(names)), names, fontsize=7, rotation=20)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.grid(visible=False)


PROBES = (
    Probe(
        "states",
        "What fixed noises become over training: ambiguous, violating, novel or memorized",
        lambda run, n_noises: {"states": raster_table(state_raster(run, n_noises))},
        lambda tables, run: {"states": raster_figure(read_raster(tables["states"]), run)},
        options=("n_noises",),
    ),
)
