"""Denoising loss against sigma over training, for train, held-out and cube samples, and their gap (Fig. 13, 14, 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from ...theory import Encoding
from ...theory.dsm import Denoiser, check_sigmas
from ...theory.encodings import default_encoding
from ..data import random_stream
from ..onsets import Onset, detect_onset
from ..runs.run import Run
from .phases import LEARNED, OPTIMA, Optimum, by_denoiser, denoise, over_run, run_splits, score_encoding

SIGMAS = tuple(float(s) for s in np.geomspace(0.1, 5, 15))
BANDS = ((0.1, 0.25), (0.25, 0.6), (0.6, 1.5), (1.5, 5.0))
"""Noise bands (low, high], the lowest with its lower end."""

GAP_SIGNIFICANCE = 1e-3
"""One-sided p-value below which a gap counts as opened."""

CONTROLS = {"training-cells optimum": "cube optimum", "cube optimum": "cube optimum"}
"""Control variate of a denoiser's held-out gap; of any other denoiser it is the rule optimum."""


def dsm_errors(
    net: Denoiser,
    splits: Mapping[str, Tensor],
    sigmas: Sequence[float] | Tensor = SIGMAS,
    encoding: Encoding | None = None,
    n_noise: int = 1,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """The denoising loss of a net on each sample of each split at each sigma.

    Its mean over samples is `dsm_loss` with the same generator. Every split and sigma sees the same noise, so that
    sample k of a split pairs with sample k of another.

    Args:
        net: any callable net(y, sigma) on images (B, C, H, W) with sigma (B,).
        splits: clean symbols (n, D) by name, all of one size n >= 2; the first is the one that others are held against.
        sigmas: noise standard deviations, in data units.
        encoding: how symbols become images; by default the net's own if it has one, else pm1 on (1, D).
        n_noise: noise draws for each sample.
        generator: source of the noise, on the CPU. Every split starts from its present state; by default seeded with 0.

    Returns:
        One row per split, sigma and sample (0..n-1): error, mean squared error per dimension over the noise draws.

    Raises:
        ValueError: splits of different sizes or of one sample, or sigmas that are not positive and finite.
    """
    levels = check_sigmas(sigmas).tolist()
    sizes = {len(x) for x in splits.values()}
    if len(sizes) != 1 or min(sizes) < 2 or n_noise < 1:
        raise ValueError(f"splits must share one size of at least 2 to be paired, got {sizes}, and n_noise {n_noise}")
    dim = next(iter(splits.values())).shape[1]
    encoding = encoding or getattr(net, "encoding", None) or default_encoding((1, dim), 2)
    generator = generator or torch.Generator().manual_seed(0)
    start = generator.get_state()
    tables = []
    for name, x in splits.items():
        generator.set_state(start)
        clean = encoding.encode(x.repeat(n_noise, 1))
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        for sigma in levels:
            denoised = denoise(net, clean + sigma * noise, sigma)
            errors = (denoised - clean).double().square().flatten(1).mean(1).reshape(n_noise, -1).mean(0)  # (n,)
            columns = {"split": name, "sigma": sigma, "sample": range(len(x)), "error": errors.numpy()}
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def dsm_spectra(
    net: Denoiser,
    splits: Mapping[str, Tensor],
    sigmas: Sequence[float] | Tensor = SIGMAS,
    encoding: Encoding | None = None,
    n_noise: int = 1,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """The denoising loss of a net on each split at each sigma, and its gap to the first split.

    Args:
        net: any callable net(y, sigma) on images (B, C, H, W) with sigma (B,).
        splits: clean symbols (n, D) by name, all of one size n >= 2; the first is the one that others are held against.
        sigmas: noise standard deviations, in data units.
        encoding: how symbols become images; by default the net's own if it has one, else pm1 on (1, D).
        n_noise: noise draws for each sample.
        generator: source of the noise, on the CPU. Every split starts from its present state; by default seeded with 0.

    Returns:
        One row per split and sigma. loss, loss_se: mean squared error per dimension and its standard error, clustered
        by sample. gap, gap_se: loss less the first split's, paired by noise, and its standard error (0 for the first
        split). gap_p: one-sided p-value of "no more loss than the first split" (paired t-test over samples).

    Raises:
        ValueError: splits of different sizes or of one sample, or sigmas that are not positive and finite.
    """
    return spectra_table(dsm_errors(net, splits, sigmas, encoding, n_noise, generator))


def spectra_table(errors: pd.DataFrame) -> pd.DataFrame:
    """Losses of each split, and their gaps to the first split, from losses of each sample.

    Args:
        errors: from `dsm_errors` or `run_errors`.

    Returns:
        One row per split and sigma (and denoiser and step). loss, loss_se: mean squared error per dimension and its
        standard error, clustered by sample. gap, gap_se: mean and standard error of `sample_gaps` (0 for the first
        split). gap_p: one-sided p-value of "no more loss than the first split" (paired t-test over samples; 1 for the
        first).
    """
    keys = _keys(errors)
    losses = errors.groupby(keys, sort=False, dropna=False)["error"]
    table = pd.DataFrame({"loss": losses.mean(), "loss_se": losses.sem()}).reset_index()
    table = table.merge(gap_table(sample_gaps(errors)), on=keys, how="left")
    return table.fillna({"gap": 0.0, "gap_se": 0.0, "gap_p": 1.0})


def gap_table(gaps: pd.DataFrame) -> pd.DataFrame:
    """The columns gap, gap_se and gap_p of `spectra_table` from `sample_gaps` alone."""
    groups = gaps.groupby(_keys(gaps), sort=False, dropna=False)["gap"]
    table = pd.DataFrame({"gap": groups.mean(), "gap_se": groups.sem(), "gap_p": groups.size()}).reset_index()
    return table.assign(gap_p=_p_above(table["gap"], table["gap_se"], table["gap_p"]))


def sample_gaps(errors: pd.DataFrame) -> pd.DataFrame:
    """How much more each sample of a split loses than the sample of the first split that saw the same noise.

    Where the table has the rule optimum, a denoiser's gap on the held-out split is that of its loss less the rule
    optimum's on the same noise: a control variate. The rule optimum loses as much on every valid grid of a rule whose
    grids are alike (parity, exact-K, row-K, permutations, ...), so the mean gap is unchanged; for other rules it is
    unchanged over random training sets, and the part of the gap that only tells which grids are harder is taken away.
    The noise that both share cancels: on parity the standard error falls about threefold once the rule is learned.
    `CONTROLS` names the exceptions.

    Args:
        errors: from `dsm_errors` (without control) or `run_errors`.

    Returns:
        One row per split but the first, sigma and sample (and denoiser and step): gap.
    """
    first = str(errors["split"].iloc[0])
    parts = by_denoiser(errors) if "denoiser" in errors else [("", None, errors)]
    own = {name: _wide(rows) for name, step, rows in parts if step is None}
    tables = []
    for name, step, rows in parts:
        wide = _wide(rows)
        control = own.get(CONTROLS.get(name, "rule optimum"))
        for split in rows["split"].unique():
            if split == first:
                continue
            gap = wide.loc[split] - wide.loc[first]
            if split == "held-out" and control is not None:
                gap = gap - (control.loc[split] - control.loc[first])
            long = gap.loc[rows["sigma"].unique()].stack().rename("gap").reset_index()
            long.insert(0, "split", split)
            if "denoiser" in errors:
                long.insert(0, "denoiser", name)
                long.insert(1, "step", pd.Series([step] * len(long), dtype="Int64"))
            tables.append(long)
    return pd.concat(tables, ignore_index=True) if tables else errors.iloc[:0].rename(columns={"error": "gap"})


def run_errors(
    run: Run,
    sigmas: Sequence[float] = SIGMAS,
    steps: Sequence[int] | None = None,
    n_images: int = 256,
    optima: Sequence[Optimum] = OPTIMA,
) -> pd.DataFrame:
    """`dsm_errors` over the kept steps of a DiT's run, and of exact optima on the same images.

    Args:
        run: of a DiT.
        sigmas: noise standard deviations, in data units.
        steps: by default all that are kept.
        n_images: images of each split and sigma, each with its own noise; a smaller training set comes again, in as
            many whole rounds as fit. Its samples are then all that there are, and standard errors a little too wide.
        optima: see `over_run`.

    Returns:
        The columns of `dsm_errors` with denoiser and step; splits train, held-out and cube.
    """
    splits = run_splits(run, n_images, repeat=True)
    encoding, seed = score_encoding(run), run.config.seed

    def probe(net: Denoiser) -> pd.DataFrame:
        return dsm_errors(net, splits, sigmas, encoding, generator=random_stream(seed, "spectra"))

    return over_run(run, probe, steps, optima)


def run_spectra(
    run: Run,
    sigmas: Sequence[float] = SIGMAS,
    steps: Sequence[int] | None = None,
    n_images: int = 256,
    optima: Sequence[Optimum] = OPTIMA,
) -> pd.DataFrame:
    """`spectra_table` of `run_errors`: losses and gaps over the kept steps of a DiT's run, and of exact optima."""
    return spectra_table(run_errors(run, sigmas, steps, n_images, optima))


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
    learned = table[(table["denoiser"] == LEARNED) & (table["split"] == split)].sort_values("step")
    found = {}
    for sigma, rows in learned.groupby("sigma"):
        significant = (rows["gap_p"] < GAP_SIGNIFICANCE).to_numpy().astype(float)
        found[float(str(sigma))] = detect_onset(rows["step"].to_numpy(dtype=float), significant, 1.0, patience)
    return found


def _keys(table: pd.DataFrame) -> list[str]:
    return [key for key in ("denoiser", "step", "split", "sigma") if key in table]


def _wide(errors: pd.DataFrame) -> pd.DataFrame:
    """Errors with a row per split and sigma, and a column per sample."""
    return errors.pivot(index=["split", "sigma"], columns="sample", values="error")


def _p_above(mean: pd.Series, error: pd.Series, n: pd.Series) -> np.ndarray:
    """One-sided p-values of t-tests that means of n values are not positive; settled where the values do not vary."""
    p_values = stats.t.sf(mean / error.where(error > 0, 1.0), n - 1)
    return np.where(error > 0, p_values, np.where(mean > 0, 0.0, 1.0))
