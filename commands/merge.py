"""``twoclocks merge``: runs and figures from another machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from .command import Command


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergeCommand(Command):
    """Bring the files of `make gpu` into the results here.

    Runs that have ended join the folder of runs and the committed tables.

    Tables of figures join the data folder.

    Runs under way go on from where they were, by the next sweep of that folder.
    """

    archives: tyro.conf.Positional[tuple[Path, ...]]
    """files results-1.zip, .., or folders of them"""
    preset: str = "paper"
    """whose queue was worked at"""
    runs: Path | None = None
    """folder of runs to join; by default the preset's, runs/figures-PRESET"""
    data: Path | None = None
    """folder of the figures' tables; by default as in `twoclocks figure`"""
    results: Path | None = None
    """folder of the tables runs.csv and evaluations.csv with the light runs; by default, in a clone, that of the
    committed ones"""

    def __call__(self) -> None:
        from ..empirics.runs.foreign_files import printable
        from ..empirics.sweeps.light import read_archives, unpack_runs
        from ..paper_figures.committed import SCALE, collect, run_names, write_figures
        from ..paper_figures.presets import preset
        from ..paper_figures.store import RESULTS, written_data

        if not self.archives:
            raise ValueError("which files? such as gpu-results/results-1.zip, or their folder gpu-results")
        scale = preset(self.preset).in_folder(self.runs)
        members = read_archives(self.archives)
        if not members:
            raise ValueError(f"no archive of runs in {', '.join(map(str, self.archives))}")
        brought = unpack_runs(members, scale.runs)
        print(f"{len(brought)} of {len(run_names(members))} runs are new in {printable(scale.runs)}")
        for folder in write_figures(members, scale.name, written_data(self.data)):
            print(f"figure: {printable(folder)}")
        in_clone = written_data() == RESULTS and scale.name == "paper"
        if results := self.results or (SCALE if in_clone else None):
            print(f"{collect(scale.runs, results)} runs in {printable(results)}")
