"""``twoclocks report``, ``compare`` and ``dissect``: what runs on disk have learned."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from .command import Command, Precision, if_interrupted

if TYPE_CHECKING:
    from ..empirics import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportCommand(Command):
    """Write one page about a folder of runs, or several side by side.

    It holds clocks, claims, fits and every run's curve.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """searched for runs at any depth; with several, give --out"""
    out: Path | None = None
    """folder for report.html, clocks.csv and scaling.md; by default the folder of the runs"""

    def __call__(self) -> None:
        from ..empirics import write_report
        from ..empirics.runs.foreign_files import printable

        with if_interrupted("the page is not written yet"):
            print(f"report: {printable(write_report(self.folders, self.out))}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OneRun(Command):
    """A command that calls the networks of one run."""

    device: str = "auto"
    """where the networks and exact optima are computed: auto (a GPU if there is one), cpu, cuda, ..."""
    precision: Precision | None = None
    """of the networks' matrix products; by default that of the run's training"""

    def opened(self, folder: Path) -> Run:
        """The run in a folder, its networks where and as they were asked for."""
        from ..empirics import load_run
        from ..empirics.hardware import resolve_device, resolve_precision

        run, device = load_run(folder), resolve_device(self.device)
        return run.on(device, self.precision and resolve_precision(self.precision, device))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareCommand(_OneRun):
    """Compare what a run, or a network of yours, has learned with the exact optima."""

    run: tyro.conf.Positional[Path | None] = None
    """folder of a run, which is compared at each checkpoint; leave it out with --data"""
    out: Path | None = None
    """folder for comparison.csv and, of a run, comparison.png and the ladder; by default RUN/comparison, or comparison
    with --data"""
    n_samples: int = 128
    """samples per split: training, held-out and (DiT) random ones. The exact optimum of a DiT on 6x6 Latin squares or
    Sudoku takes seconds per sample: choose few"""
    sigmas: tuple[float, ...] = ()
    """DiT: noise standard deviations, in data units, or of a run on data in the data's standard deviations; by default
    11 from 0.2 to 6.4 times the root mean square of the codes; with --data, 9 from 0.05 to 12.8 standard deviations of
    the data"""
    data: str | None = None
    """what your network was trained on: a file .npy or .npz of floats or bytes (N, ...), or digits"""
    net: str | None = None
    """with --data: module:function, where function() returns net(y, sigma)"""
    held_out: str | None = None
    """with --data: samples of the same source that the network has not seen, in such a file"""
    references: tuple[str, ...] = ("empirical", "gaussian")
    """with --data, or of a run on data: of empirical, gaussian, gaussian:RANK, gmm:COMPONENTS, gmm:COMPONENTS:RANK"""

    def __call__(self) -> None:
        if self.run is None or self.data or self.net:
            self._compare_files()
        else:
            self._compare_run(self.run)

    def _compare_files(self) -> None:
        from ..empirics.comparison.own_data import compare_files

        if self.run is not None:
            raise ValueError("give the folder of a run, or --data and --net, not both")
        out = self.out or Path("comparison")
        options = {"names": self.references, "sigmas": self.sigmas or None, "n_samples": self.n_samples}
        with if_interrupted(f"the table in {out} is not written yet"):
            print(compare_files(self.data, self.net, self.held_out, out, **options))

    def _compare_run(self, folder: Path) -> None:
        from ..empirics import compare_over_training, plot_comparison
        from ..empirics.comparison.data_runs import explained_text, plot_explained
        from ..empirics.comparison.ladder import ladder_over_training
        from ..empirics.comparison.ladder_figure import ladder_text, plot_ladder
        from ..empirics.comparison.text import comparison_text
        from ..empirics.runs.files import write_table
        from ..empirics.runs.foreign_files import own_folder

        run = self.opened(folder)
        out = self.out or folder / "comparison"
        with if_interrupted(f"the tables and figures in {out} are not all written yet"):
            sigmas, n, names = self.sigmas or None, self.n_samples, self.references
            table = compare_over_training(run, sigmas, n_samples=n, progress=True, references=names)
            of_data = run.task.rule is None
            text, plot = (explained_text, plot_explained) if of_data else (comparison_text, plot_comparison)
            print(text(table, run))
            if self.out is None:
                own_folder(out, make=True)
            out.mkdir(parents=True, exist_ok=True)
            write_table(out / "comparison.csv", table)
            plot(table, run, out / "comparison.png")
            if of_data:
                print(f"\ntable:  {out / 'comparison.csv'}\nfigure: {out / 'comparison.png'}")
                return
            ladder = ladder_over_training(run, self.sigmas or None, n_samples=self.n_samples, progress=True)
            print(f"\n{ladder_text(ladder, run)}")
            write_table(out / "ladder.csv", ladder)
            plot_ladder(ladder, run, out / "ladder.png")
        print(f"\ntable:  {out / 'comparison.csv'}\nfigure: {out / 'comparison.png'}")
        print(f"ladder: {out / 'ladder.csv'}, ladder.png")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DissectCommand(_OneRun):
    """Draw every probe of a run that has ended: states, losses, landscapes, basins.

    Takes minutes.
    """

    run: tyro.conf.Positional[Path]
    """folder of a run"""
    out: Path | None = None
    """folder for figures and tables; by default RUN/dissection"""
    n_noises: int = 500
    """fixed initial noises whose state is followed over training"""

    def __call__(self) -> None:
        from ..empirics import dissect

        run = self.opened(self.run)
        with if_interrupted(f"the probes so far are in {self.out or self.run / 'dissection'}"):
            for path in dissect(run, self.out, self.n_noises):
                print(path)
