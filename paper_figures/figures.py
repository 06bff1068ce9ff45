"""Draw the paper's figures from committed data, or compute the data again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from ..empirics import Run, RunConfig
from ..empirics.allocator import keep_freed_memory
from ..empirics.style import figure_style, save_figure
from .catalogue import trained
from .presets import Preset, preset
from .store import Data, read_data, results_folder, write_data

FIGURES = tuple(range(1, 29))
OUTPUT = Path(__file__).parent / "output"


class FigureModule(Protocol):
    """What each of fig01 .. fig28 offers."""

    PAPER: str
    """what the paper's figure claims, in one line"""

    def configs(self, preset: Preset) -> list[RunConfig]:
        """The training runs that the figure needs; other figures may share them."""

    def compute(self, preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
        """The figure's tables, from its runs in the order of `configs`."""

    def plot(self, data: Data) -> Figure:
        """The figure, from its tables."""

    def measured(self, data: Data) -> str:
        """What ours shows: numbers with intervals and runs, and whether it agrees, in one line."""


def figure_module(number: int) -> FigureModule:
    """The module of a figure; ValueError for a number that the paper does not have."""
    if number not in FIGURES:
        raise ValueError(f"the paper has figures 1 to {FIGURES[-1]}, not {number}")
    return cast(FigureModule, import_module(f".fig{number:02d}", __package__))


def draw(
    numbers: Iterable[int],
    preset_name: str = "laptop",
    out: Path = OUTPUT,
    recompute: bool = False,
    runs: Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """Draw figures as PNG and PDF.

    Args:
        numbers: of the figures, 1 to 28.
        preset_name: the scale: smoke, laptop or paper.
        out: folder for the figures.
        recompute: train what is missing and measure again, and keep the tables as the preset's data; otherwise the
            committed tables are drawn.
        runs: folder of the training runs, shared by the figures; by default the preset's own.
        progress: show a bar.

    Returns:
        The PNG files.

    Raises:
        ValueError: an unknown figure or preset, or no data of this preset.
    """
    scale = preset(preset_name).in_folder(runs)
    chosen = sorted(set(numbers))
    modules = {number: figure_module(number) for number in chosen}
    if recompute:
        recompute_data(modules, scale, progress)
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for number in tqdm(chosen, unit="figure", disable=not progress or len(chosen) == 1, leave=False):
        with figure_style():
            figure = modules[number].plot(read_data(results_folder(scale.name, number)))
            for suffix in (".png", ".pdf"):
                save_figure(figure, out / f"fig{number:02d}{suffix}", metadata=_undated(suffix))
        files.append(out / f"fig{number:02d}.png")
    return files


def recompute_data(modules: dict[int, FigureModule], scale: Preset, progress: bool) -> None:
    """Train every run that the figures need, each once, then compute and keep each figure's tables."""
    needed = {number: module.configs(scale) for number, module in modules.items()}
    runs = trained([config for configs in needed.values() for config in configs], scale, progress)
    keep_freed_memory()
    for number in tqdm(modules, desc="measuring", unit="figure", disable=not progress):
        started = time.monotonic()
        own = [runs[config] for config in needed[number]]
        data = modules[number].compute(scale, own)
        command = f"twoclocks figure {number} --preset {scale.name} --recompute"
        write_data(results_folder(scale.name, number), data, own, time.monotonic() - started, command)


def _undated(suffix: str) -> dict[str, None]:
    """File metadata without the date, so that the same data give the same bytes."""
    return {"CreationDate": None} if suffix == ".pdf" else {}
