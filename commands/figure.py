"""``twoclocks figure``: the figures of the paper."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from .command import Precision, TrainingCommand, if_interrupted

if TYPE_CHECKING:
    from ..paper_figures.presets import Preset


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureCommand(TrainingCommand):
    """Draw the figures of arXiv:2605.10019 as measured by this package, PNG and PDF."""

    figures: tyro.conf.Positional[tuple[str, ...]]
    """numbers from 1 to 28, or all; names of studies, whose report and tables go to a folder of the name; names of
    figures that a plugin registered"""
    preset: str = "laptop"
    """the scale: smoke (exercises the code), laptop (two cores), paper (GPUs); or a YAML file of your own, such as
    mine.yaml with {start: laptop, seeds: 5, gpt: {n_train: [128, 256, 512]}}"""
    recompute: bool = False
    """train what is missing and measure again, in place of drawing the tables that are there"""
    existing: bool = False
    """measure again from the runs that have ended so far, such as those of `merge`; train nothing, and leave out
    figures for which there are too few"""
    out: Path = Path("figures")
    """folder for the figures"""
    data: Path | None = None
    """folder of the measured tables, drawn and with --recompute written. By default the committed ones in a clone, and
    figures-data here without one. An installed package holds no tables; the source distribution does"""
    runs: Path | None = None
    """with --recompute: folder of the training runs, shared by all figures; by default runs/figures-PRESET"""
    device: str | None = None
    """with --recompute: where to train, such as auto, cpu or cuda; by default as the preset says"""
    per_device: int | None = None
    """with --recompute: runs at a time on each GPU, by default 4; without a GPU, one process per core, as usual"""
    precision: Precision | None = None
    """with --recompute: of the matrix products in training; by default as the preset says"""

    def __call__(self) -> None:
        if self.max_time and not self.recompute:
            raise ValueError("--max-time is for training; it needs --recompute")
        with self.limited():
            self._draw()

    def _measure(self, names: list[int | str], scale: Preset) -> list[int | str]:
        """Measure from the runs that there are; the figures that have tables."""
        from ..paper_figures.exhibit import figure_module, stem
        from ..paper_figures.figures import measure_existing
        from ..paper_figures.store import drawn_folder, written_data

        if self.recompute:
            raise ValueError("--existing trains nothing, --recompute what is missing; give one of them")
        modules = {name: figure_module(name) for name in names}
        for name, said in measure_existing(modules, scale, written_data(self.data)).items():
            print(f"figure {name}: {said}")
        drawn = [name for name in names if any(drawn_folder(scale.name, stem(name), self.data).glob("*.parquet"))]
        if not drawn:
            raise ValueError(f"no figure can be measured from the runs in {scale.runs}")
        return drawn

    def _draw(self) -> None:
        from ..paper_figures.exhibit import FIGURES, figure_module, studies
        from ..paper_figures.figures import draw
        from ..paper_figures.presets import preset
        from ..paper_figures.store import drawn_folder
        from ..paper_figures.studies.command import draw_study

        if not self.figures:
            raise ValueError(f"which figures? numbers from 1 to {FIGURES[-1]}, all, or {', '.join(studies())}")
        asked = [text for text in self.figures if text not in ("all", *studies())]
        names = [int(text) if text.isdecimal() else text for text in asked]
        names = list(dict.fromkeys([*(FIGURES if "all" in self.figures else ()), *names]))
        for name in names:
            figure_module(name)  # what is unknown is refused before anything is drawn
        scale = preset(self.preset).in_folder(self.runs)
        if self.existing:
            names = self._measure(names, scale)
        runs = f", runs so far in {scale.runs}; the same command continues" if self.recompute else ""
        with if_interrupted(f"the figures so far are in {self.out}{runs}"):
            files = draw(
                names, self.preset, self.out, self.recompute, self.runs,
                data=self.data, device=self.device, precision=self.precision, per_device=self.per_device,
            )  # fmt: skip
            for file in files:
                print(f"{file} (drawn from {drawn_folder(scale.name, file.stem, self.data)})")
            for name in self.figures:
                if name in studies():
                    print(draw_study(name, self.out, self.recompute))
