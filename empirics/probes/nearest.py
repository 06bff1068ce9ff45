"""How far generations are from the training set: Hamming distance to the nearest training sample (Fig. 12)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..data import hash_rows, occur, random_stream
from ..runs.run import Run
from ..style import COLOURS, draw_measured, new_figure
from .phases import mark_clocks, outer_legend, run_title
from .probe import Probe
from .summary import RunSummary

Array = np.ndarray

# Queries and training samples that are compared at once: their 2^17 words of 8 bytes stay near a 1 MB cache.
_QUERIES, _KEYS = 16, 8192

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


class Nearest(NamedTuple):
    """The training sample nearest to each grid."""

    distance: Tensor  # int64 (n,): cells in which the symbols differ
    row: Tensor  # int64 (n,): its row in the training set, the first of the nearest


def nearest_hamming(x: Tensor, train: Tensor) -> Nearest:
    """The Hamming distance of each grid to the nearest training sample, exact.

    Symbols are packed into bit planes, one bit a cell, so that a pair costs one XOR a plane, an OR of the planes and
    one population count for every 64 cells; memory does not grow with n times N.

    Args:
        x: symbols (n, D), any integer dtype.
        train: training symbols (N, D), N at least 1.

    Raises:
        ValueError: shapes that do not fit, negative symbols, no integers, or no training samples.
    """
    for name, symbols in (("x", x), ("train", train)):
        if symbols.ndim != 2 or symbols.dtype.is_floating_point or symbols.dtype.is_complex:
            raise ValueError(f"{name} must hold integer symbols (n, D), got {tuple(symbols.shape)} {symbols.dtype}")
        if symbols.numel() and int(symbols.min()) < 0:
            raise ValueError(f"symbols must be at least 0, got {int(symbols.min())} in {name}")
    if not len(train) or not train.shape[1] or x.shape[1] != train.shape[1]:
        raise ValueError(f"train must be (N, {x.shape[1]}) with N and D at least 1, got {tuple(train.shape)}")
    most = max(int(train.max()), int(x.max()) if len(x) else 0)
    queries, keys = (_pack(symbols, max(1, most.bit_length())) for symbols in (x, train))
    distance = np.full(len(x), x.shape[1] + 1, dtype=np.uint8 if x.shape[1] < 255 else np.int64)
    row = np.zeros(len(x), dtype=np.int64)
    for key in range(0, len(train), _KEYS):
        for query in range(0, len(x), _QUERIES):
            here = slice(query, query + _QUERIES)
            # A product of -1/+1 codes in bfloat16 is as fast, but only on a CPU with bfloat16 instructions.
            counts = _differences(queries[..., here, None], keys[..., None, key : key + _KEYS], distance.dtype)
            best = counts.argmin(1)
            least = counts[np.arange(len(best)), best]
            closer = least < distance[here]
            distance[here] = np.where(closer, least, distance[here])
            row[here] = np.where(closer, key + best, row[here])
    return Nearest(torch.from_numpy(distance.astype(np.int64)), torch.from_numpy(row))


def hamming_over_training(run: Run) -> pd.DataFrame:
    """The mean distance of a run's generations to the nearest training sample, at each evaluation (Fig. 12).

    Returns:
        Three rows an evaluation:
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


def _pack(symbols: Tensor, planes: int) -> Array:
    """Bit p of the symbol of cell i as bit i of plane p: unsigned words (D / word size, planes, n)."""
    word = np.uint32 if symbols.shape[1] <= 32 else np.uint64
    size = 8 * np.dtype(word).itemsize
    x = symbols.cpu().numpy().astype(np.min_scalar_type(2**planes - 1))
    bits = np.zeros((planes, len(x), -(-x.shape[1] // size) * size), dtype=np.uint8)
    for plane in range(planes):
        bits[plane, :, : x.shape[1]] = x >> plane & 1
    return np.ascontiguousarray(np.packbits(bits, axis=-1).view(word).transpose(2, 0, 1))


def _differences(queries: Array, keys: Array, dtype: np.dtype) -> Array:
    """The number of cells that differ, for packed symbols that broadcast against each other after (words, planes)."""
    counts: Array | None = None
    for query, key in zip(queries, keys, strict=True):
        differ = query[0] ^ key[0]
        for plane in range(1, len(query)):
            differ |= query[plane] ^ key[plane]
        here = _popcount(differ)
        counts = here.astype(dtype, copy=False) if counts is None else counts + here
    assert counts is not None
    return counts


def _popcount(words: Array) -> Array:
    """The number of ones in each unsigned word: uint8."""
    if hasattr(np, "bitwise_count"):  # numpy 2 on
        return np.bitwise_count(words)
    return _popcount_by_halves(words)


def _popcount_by_halves(words: Array) -> Array:
    """`_popcount` for numpy 1: sums of neighbouring bits, pairs and nibbles, then of all bytes by a product."""
    kind = words.dtype.type
    full = np.iinfo(words.dtype).max
    pairs, nibbles, byte, ones = (kind(full // d) for d in (3, 5, 17, 255))  # 0x55.., 0x33.., 0x0f.., 0x01..
    words = words - (words >> kind(1) & pairs)
    words = (words & nibbles) + (words >> kind(2) & nibbles)
    words = (words + (words >> kind(4))) & byte
    return (words * ones >> kind(8 * words.itemsize - 8)).astype(np.uint8)


PROBES = (
    Probe(
        "nearest",
        "Distance from generations to the nearest training sample",
        lambda run: {"nearest": hamming_over_training(run), "nearest_references": hamming_references(run)},
        lambda tables, run: {"nearest": hamming_figure(tables["nearest"], tables["nearest_references"], run)},
    ),
)
