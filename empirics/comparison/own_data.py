"""A network and the data it was trained on, from files: read, compared with what the data alone would teach."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...theory.dsm import Denoiser
from ...theory.rows import Rows
from ..data_files import read_data, read_held_out
from ..references import references
from ..text_tables import plain_table
from .denoisers import compare_denoisers

BYTES = {"scale": 1 / 127.5, "shift": -1.0}
"""How bytes are shown to a network, as by EDM: 0..255 is -1..1."""
SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)
"""Noise levels of a comparison, in standard deviations of the data."""


def load_net(spec: str) -> Denoiser:
    """The network that ``module:function`` returns when it is called; a module beside the current folder is found too.

    Raises:
        ValueError: another form, no such module or function, or what it returns is not callable.
    """
    module, colon, function = spec.partition(":")
    if not colon or not module or not function:
        raise ValueError(f"net must be module:function, where function() returns net(y, sigma), got {spec!r}")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        make = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as missing:
        raise ValueError(f"no module {missing.name!r} for net {spec!r} in {here} or installed") from missing
    finally:
        if added:
            sys.path.remove(here)
    if not callable(make):
        raise ValueError(f"the module {module!r} has no function {function!r}")
    net = make()
    if not callable(net):
        raise ValueError(f"{spec} must return a network net(y, sigma), got {type(net).__name__}")
    return net


def compare_with_data(
    net: Denoiser,
    train: Any,
    held_out: Any = None,
    names: Sequence[str] = ("empirical", "gaussian"),
    sigmas: Sequence[float] | Tensor | None = None,
    n_samples: int = 128,
    n_noise: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """`compare_denoisers` of a network with the references of the data it was trained on.

    Args:
        net: net(y, sigma).
        train: what it was trained on (N, ...), as of `EmpiricalDensity`; bytes are shown to it in -1..1.
        held_out: samples of the same source that it has not seen, for a second split.
        names: of the references, see `references`.
        sigmas: by default `SIGMAS`, from 0.05 to 12.8 standard deviations of the data.
        n_samples: of each split, drawn at random; fewer where there are not as many.
        n_noise: noise draws for each.
        seed: of the samples and of the noise.

    Raises:
        ValueError: as of `compare_denoisers`, or held-out samples of another shape or dtype.
    """
    rows = Rows(train)
    shown = BYTES if rows.whole else {"scale": 1.0, "shift": 0.0}
    found = references(train, names, seed=seed, **shown)
    splits = {"train": _drawn(rows, n_samples, seed, **shown)}
    if held_out is not None:
        other = Rows(held_out)
        if other.shape != rows.shape or other.whole != rows.whole:
            raise ValueError(f"held-out samples must be like train, {rows.shape}, got {other.shape}")
        splits["held-out"] = _drawn(other, n_samples, seed, **shown)
    if sigmas is None:
        some = _drawn(rows, 4096, seed, **shown).flatten(1).double()
        spread = math.sqrt(float((some - some.mean(0)).square().mean())) or 1.0
        sigmas = [spread * s for s in SIGMAS]
    generator = torch.Generator().manual_seed(seed)
    return compare_denoisers(net, found, splits, sigmas, n_noise=n_noise, generator=generator)


def compare_files(data: str | None, net: str | None, held_out: str | None, out: Path, **options: Any) -> str:
    """The command `twoclocks compare --data FILE --net module:function`: its text; the table goes to a folder.

    Args:
        data, held_out: as of `read_data`; held-out samples may be in the file of data, see `read_held_out`.
        net: as of `load_net`.
        out: folder for comparison.csv.
        options: of `compare_with_data`.

    Raises:
        ValueError: no data or no net, or as of these functions.
    """
    if not data or not net:
        raise ValueError("give the folder of a run, or both --data FILE and --net module:function")
    try:
        x = read_data(data)
        other = read_data(held_out) if held_out else read_held_out(data)
        table = compare_with_data(load_net(net), x, other, **options)
    except ImportError as missing:
        raise ValueError(str(missing)) from missing
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "comparison.csv", index=False)
    return f"{own_data_text(table)}\n\ntable:  {out / 'comparison.csv'}"


def own_data_text(table: pd.DataFrame) -> str:
    """The shares of a learned score that each reference explains, by split and sigma."""
    columns = map(str, table.columns)
    names = [c.removeprefix("explained_") for c in columns if c.startswith("explained_") and not c.endswith("_se")]
    rows = [
        [
            row["split"], f"{row['sigma']:.3g}",
            *(f"{row[f'explained_{R}']:.4f} ± {1.96 * row[f'explained_{R}_se']:.4f}" for R in names),
            row["nearest"] or "none",
        ]
        for row in table.to_dict("records")
    ]  # fmt: skip
    head = "Share of the learned score that each reference explains, with 95% intervals"
    return f"{head}\n\n{plain_table(['split', 'sigma', *names, 'nearest'], rows)}"


def _drawn(rows: Rows, n: int, seed: int, scale: float, shift: float) -> Tensor:
    at = np.random.default_rng(seed).permutation(rows.n)[:n]
    x = rows.read(np.sort(at)).cpu()
    x = x if x.dtype == torch.float64 else x.float()
    return (x * scale + shift).reshape(-1, *rows.shape)
