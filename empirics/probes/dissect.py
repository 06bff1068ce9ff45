"""Every probe of a run in one call: a figure and tidy tables each, beside the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from ..allocator import keep_freed_memory
from ..comparison.figure import plot_comparison
from ..comparison.over_training import compare_over_training
from ..references import SLOW
from ..runs.files import write_atomically, write_table
from ..runs.foreign_files import own_folder
from ..runs.run import Run
from ..statistics.claims import ClaimVerdict, claims_to_markdown
from .basin_claim import basin_ratios, claim_basins, plot_basin_ratio
from .basins import plot_basins, run_basins
from .gap_claim import claim_gap
from .nearest import hamming_over_training, hamming_references, plot_hamming
from .phases import Optimum
from .planes import run_planes
from .planes_figure import plot_planes
from .prefixes import (
    completions_over_training,
    loss_over_training,
    plot_completions,
    plot_loss_by_position,
    position_floors,
)
from .segments import plot_segment_widths, plot_segments, run_segments, segment_widths
from .spectra import run_errors, sample_gaps, spectra_table
from .spectra_figures import plot_gap, plot_noise_bands, plot_spectra
from .states import plot_state_raster, raster_table, state_raster


class Part(NamedTuple):
    """One probe: what it writes, and the channel whose networks it looks at; any where there is none."""

    name: str
    write: Callable[[Run, Path], list[ClaimVerdict]]
    channel: str | None = None


def dissect(run: Run, out: str | Path | None = None, n_noises: int = 500, progress: bool = True) -> list[Path]:
    """Look into a run from every side, and write what is seen.

    A DiT: the comparison with the exact optima; states of fixed noises; nearest training sample; loss spectra, noise
    bands and the train / held-out gap; segments, planes and basins of the score; claims C7 and C8. A GPT: comparison,
    states, nearest training sample, loss by position, completions of forced prefixes. Each probe on its own has more
    options.

    Args:
        run: a run that has ended and kept weights.
        out: folder for the figures (PNG), tables (CSV) and, for a DiT, claims.md; by default ``dissection`` in the
            run's folder. Files of the same names are replaced.
        n_noises: fixed initial noises of the state raster.
        progress: show a bar with a step a probe.

    Returns:
        The files written, sorted.

    Raises:
        ValueError: the run has not ended, or keeps no weights.
        OSError: the folder cannot be written.
    """
    folder = run.path / "dissection" if out is None else Path(out)
    if not run.checkpoint_steps:
        raise ValueError(f"{run.path} keeps no weights, so there is nothing to look into")
    _ = run.onsets  # raises where the run has not ended
    if out is None:
        own_folder(folder, make=True)
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    parts = [Part("states", _states(n_noises)), *(p for p in _PARTS if p.channel in (None, run.family.channel))]
    verdicts: list[ClaimVerdict] = []
    bar = tqdm(parts, unit="probe", disable=not progress, leave=False, dynamic_ncols=True)
    for part in bar:
        bar.set_description(part.name)
        verdicts += part.write(run, folder)
    if verdicts:
        write_atomically(folder / "claims.md", f"{claims_to_markdown(verdicts)}\n".encode())
    return sorted(path for path in folder.iterdir() if path.suffix in (".png", ".csv", ".md"))


def _optima(run: Run, *wanted: Optimum) -> Sequence[Optimum]:
    """Those of the wanted optima that this rule can afford."""
    costly = run.rule.cost > SLOW
    return tuple(optimum for optimum in wanted if not (costly and optimum == "rule optimum"))


def _write(table: pd.DataFrame, folder: Path, name: str) -> None:
    write_table(folder / f"{name}.csv", table)


def _states(n: int) -> Callable[[Run, Path], list[ClaimVerdict]]:
    def write(run: Run, folder: Path) -> list[ClaimVerdict]:
        raster = state_raster(run, n)
        _write(raster_table(raster), folder, "states")
        plot_state_raster(raster, run, folder / "states.png")
        return []

    return write


def _comparison(run: Run, folder: Path) -> list[ClaimVerdict]:
    costly = run.family.channel == "gaussian" and run.rule.cost > SLOW
    table = compare_over_training(run, n_samples=8 if costly else 128)
    _write(table, folder, "comparison")
    plot_comparison(table, run, folder / "comparison.png")
    return []


def _nearest(run: Run, folder: Path) -> list[ClaimVerdict]:
    table, references = hamming_over_training(run), hamming_references(run)
    _write(table, folder, "nearest")
    _write(references, folder, "nearest_references")
    plot_hamming(table, references, run, folder / "nearest.png")
    return []


def _spectra(run: Run, folder: Path) -> list[ClaimVerdict]:
    errors = run_errors(run, optima=_optima(run, "rule optimum", "training-set optimum"))
    table, gaps = spectra_table(errors), sample_gaps(errors)
    _write(table, folder, "spectra")
    plot_spectra(table, run, folder / "spectra.png")
    plot_noise_bands(table, run, folder / "noise_bands.png")
    plot_gap(gaps, run, folder / "gap.png")
    return [claim_gap(gaps, run.onsets)] if "rule optimum" in set(gaps["denoiser"]) else []


def _segments(run: Run, folder: Path) -> list[ClaimVerdict]:
    profiles = run_segments(run, optima=_optima(run, "rule optimum", "training-set optimum"))
    _write(profiles, folder, "segments")
    _write(segment_widths(profiles), folder, "segment_widths")
    plot_segments(profiles, run, folder / "segments.png")
    plot_segment_widths(profiles, run, folder / "segment_widths.png")
    return []


def _planes(run: Run, folder: Path) -> list[ClaimVerdict]:
    table = run_planes(run, optima=_optima(run, "rule optimum", "training-set optimum"))
    _write(table, folder, "planes")
    plot_planes(table, run, folder / "planes.png")
    plot_planes(table, run, folder / "planes_score.png", quantity="score")
    return []


def _basins(run: Run, folder: Path) -> list[ClaimVerdict]:
    table = run_basins(run, optima=_optima(run, "cube optimum", "rule optimum", "training-set optimum"))
    _write(table, folder, "basins")
    _write(basin_ratios(table), folder, "basin_ratios")
    plot_basins(table, run, folder / "basins.png")
    plot_basin_ratio(table, run, folder / "basin_ratio.png")
    return [claim_basins(table, run.onsets)]


def _positions(run: Run, folder: Path) -> list[ClaimVerdict]:
    table, floors = loss_over_training(run), position_floors(run)
    _write(table, folder, "positions")
    _write(floors, folder, "position_floors")
    plot_loss_by_position(table, floors, run, folder / "positions.png")
    return []


def _completions(run: Run, folder: Path) -> list[ClaimVerdict]:
    table = completions_over_training(run)
    _write(table, folder, "completions")
    plot_completions(table, run, folder / "completions.png")
    return []


_PARTS = (
    Part("comparison", _comparison),
    Part("nearest", _nearest),
    Part("spectra", _spectra, "gaussian"),
    Part("segments", _segments, "gaussian"),
    Part("planes", _planes, "gaussian"),
    Part("basins", _basins, "gaussian"),
    Part("positions", _positions, "prefix"),
    Part("completions", _completions, "prefix"),
)
