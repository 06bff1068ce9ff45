"""The command ``twoclocks``: each subcommand is a thin call of the Python API."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from .empirics.config import QUICK, RunConfig

if TYPE_CHECKING:
    from .empirics import Run


@dataclasses.dataclass(frozen=True)
class RunOptions(RunConfig):
    """The options of a run as typed, checked only when the command turns them into a RunConfig."""

    def __post_init__(self) -> None:
        pass

    def checked(self) -> RunConfig:
        return RunConfig(**self.to_dict())


@dataclasses.dataclass(frozen=True)
class RunCommand:
    """Train a model and find both clocks.

    With no options: the quick preset, a GPT and a DiT side by side on two cores.
    """

    config: tyro.conf.OmitArgPrefixes[RunOptions] = dataclasses.field(default_factory=RunOptions)
    """the run"""
    out: Path | None = None
    """folder for the run, new or empty; by default a new one under runs/"""
    resume: bool = False
    """continue the run in --out, made with the same options"""

    tensorboard: bool = False
    """also log every evaluation for TensorBoard (needs the extra twoclocks[tensorboard])"""

    def __call__(self, asked_for: list[str]) -> None:
        if self.resume and self.out is None:
            raise ValueError("--resume needs the --out of the run to continue")
        quick = not any(arg.startswith("-") and arg.split("=")[0] not in _NOT_CONFIG for arg in asked_for)
        out = self.out or _new_folder("quick" if quick else self.config.model)
        if quick:
            runs = self._train_quick(out)
        else:
            from .empirics import train

            runs = [train(self.config.checked(), out, self.resume, tensorboard=self.tensorboard)]
        show_clocks(runs, out)

    def _train_quick(self, out: Path) -> list[Run]:
        from .empirics.sweeps.sweep import ended_runs, sweep

        in_use = [name for name in QUICK if (out / name).exists()]
        if in_use and not self.resume:
            raise ValueError(f"{out / in_use[0]} exists already; choose another --out, or --resume to continue it")
        return ended_runs(sweep(QUICK, out, tensorboard=self.tensorboard))


@dataclasses.dataclass(frozen=True)
class BaselineCommand:
    """Chance memorization: how often a sampler repeats samples that it never saw."""

    rule: tyro.conf.Positional[str]
    """the rule, such as parity:6x6,G=3"""
    n_train: tuple[int, ...] = ()
    """training-set sizes N; by default 64, 256, .. 65536 as far as there are valid grids. The values are expectations
    over training sets of N different valid grids"""

    def __call__(self, asked_for: list[str]) -> None:
        from .theory import chance_table, rule

        built = rule(self.rule)
        sizes = self.n_train or [4**k for k in range(3, 9) if 4**k <= built.support_size] or [built.support_size]
        table = chance_table(built, sizes)
        print(f"{built.spec}: {built.support_size:,} valid grids of {built.alphabet}^{built.dim}\n")
        print(table.to_string(index=False, float_format="{:.4g}".format))
        print("\npopulation: a sampler uniform on the valid grids; cube: uniform on all grids")
        print("sample: the whole grid was in the training set; group: a part of it was, at its own place")


@dataclasses.dataclass(frozen=True)
class DeriveCommand:
    """Derive an optimal denoiser by computer algebra, and prove it on small cases."""

    name: tyro.conf.Positional[str]
    """parity, count or permutation"""
    latex: bool = False
    """print LaTeX (amsmath) rather than plain text"""

    def __call__(self, asked_for: list[str]) -> None:
        from .theory import derive

        derivation = derive(self.name)
        print(derivation.to_latex() if self.latex else derivation)


@dataclasses.dataclass(frozen=True)
class FitCommand:
    """Fit a scaling law, onset = c * x^exponent, to anyone's table of onsets."""

    table: tyro.conf.Positional[Path]
    """CSV with columns ONSET_lower, ONSET_upper (steps; upper is inf when never reached), x, by..., seed"""
    onset: str = "tau_mem"
    """which clock: the prefix of its columns"""
    x: str = "n_train"
    """the column that scales"""
    by: tuple[str, ...] = ("model", "rule")
    """columns whose groups have prefactors of their own"""
    slope: Literal["shared", "separate"] = "shared"
    """one exponent for all groups, or one each"""
    n_boot: int = 2000
    """bootstrap resamples"""
    seed: int = 0
    """of the bootstrap"""
    figure: Path | None = None
    """where to draw the fit, .png or .pdf"""

    def __call__(self, asked_for: list[str]) -> None:
        from .empirics import fit_scaling, read_runs_csv

        fit = fit_scaling(
            read_runs_csv(self.table), self.onset, self.x, self.by, self.n_boot, self.seed, slope=self.slope
        )
        print(fit.summary())
        if self.figure is not None:
            from .empirics.style import figure_style, new_figure

            with figure_style():
                figure, axes = new_figure(1, 1, 6, 4.2)
                fit.plot(axes[0][0])
                figure.savefig(self.figure)
            print(f"\nfigure: {self.figure}")


@dataclasses.dataclass(frozen=True)
class SweepCommand:
    """Train every run of a grid.

    Runs that have ended are kept, interrupted ones resumed, failed ones tried again:

    the same command continues a sweep that was interrupted.
    """

    grid: tyro.conf.Positional[str]
    """YAML file with any of the keys preset, base, runs, grid, seeds; or the name of a preset, such as quick-gpt"""
    out: Path
    """folder of the runs, shared by all workers; several sweeps may use one"""
    executor: Literal["local", "dask", "slurm"] = "local"
    """where to train: processes on this machine, a dask.distributed scheduler, or Slurm jobs"""
    workers: int | None = None
    """runs at a time: local, by default one a core; Slurm, jobs queued at a time, by default 64"""
    scheduler: str | None = None
    """address of the dask scheduler, such as tcp://10.0.0.1:8786"""
    dry_run: bool = False
    """only list the runs, what is finished, and the expected cost from a short timing on this machine"""
    retries: int = 2
    """how often a run is tried again after it has failed or its worker was lost"""

    def __call__(self, asked_for: list[str]) -> None:
        from .empirics.sweeps.dry_run import dry_run
        from .empirics.sweeps.executors import open_executor
        from .empirics.sweeps.grid import read_grid
        from .empirics.sweeps.sweep import sweep

        configs = read_grid(self.grid)
        if self.dry_run:
            print(dry_run(configs, self.out, self.workers))
            return
        threads = max(config.threads for config in configs)
        try:
            with open_executor(self.executor, self.workers, self.scheduler, self.out, threads) as executor:
                table = sweep(configs, self.out, executor, self.retries)
        except KeyboardInterrupt:
            print("twoclocks: interrupted; the same command continues the sweep", file=sys.stderr)
            raise SystemExit(130) from None
        counts = table["status"].value_counts()
        print(f"{len(table)} runs in {self.out}: {', '.join(f'{n} {status}' for status, n in counts.items())}")
        failed = table[table["status"] == "failed"]
        for name, error in zip(failed["name"], failed["error"], strict=True):
            print(f"failed: {name}: {error}", file=sys.stderr)
        if len(failed):
            raise SystemExit(1)


@dataclasses.dataclass(frozen=True)
class ReportCommand:
    """Write one page about a folder of runs: claims, clocks, fits, every run's curve."""

    folder: tyro.conf.Positional[Path]
    """searched for runs at any depth"""
    out: Path | None = None
    """folder for report.html, clocks.csv and scaling.md; by default the folder of the runs"""

    def __call__(self, asked_for: list[str]) -> None:
        from .empirics import write_report

        print(f"report: {write_report(self.folder, self.out)}")


@dataclasses.dataclass(frozen=True)
class CompareCommand:
    """Compare what a run, or a network of yours, has learned with the exact optima."""

    run: tyro.conf.Positional[Path | None] = None
    """folder of a run, which is compared at each checkpoint; leave it out with --data"""
    out: Path | None = None
    """folder for comparison.csv and, of a run, comparison.png; by default RUN/comparison, or comparison with --data"""
    n_samples: int = 128
    """samples a split: training, held-out and (DiT) random ones. The exact optimum of a DiT on 6x6 Latin squares or
    Sudoku takes seconds a sample: choose few"""
    sigmas: tuple[float, ...] = ()
    """DiT: noise standard deviations, in data units; by default 11 from 0.2 to 6.4 times the root mean square of the
    codes; with --data, 9 from 0.05 to 12.8 standard deviations of the data"""
    data: str | None = None
    """what your network was trained on: a file .npy or .npz of floats or bytes (N, ...), or digits"""
    net: str | None = None
    """with --data: module:function, where function() returns net(y, sigma)"""
    held_out: str | None = None
    """with --data: samples of the same source that the network has not seen, in such a file"""
    references: tuple[str, ...] = ("empirical", "gaussian")
    """with --data: of empirical, gaussian, gaussian:RANK, gmm:COMPONENTS, gmm:COMPONENTS:RANK"""

    def __call__(self, asked_for: list[str]) -> None:
        from .empirics import compare_over_training, load_run, plot_comparison
        from .empirics.comparison.own_data import compare_files
        from .empirics.comparison.text import comparison_text

        if self.run is None or self.data or self.net:
            if self.run is not None:
                raise ValueError("give the folder of a run, or --data and --net, not both")
            out = self.out or Path("comparison")
            options = {"names": self.references, "sigmas": self.sigmas or None, "n_samples": self.n_samples}
            print(compare_files(self.data, self.net, self.held_out, out, **options))
            return
        run = load_run(self.run)
        table = compare_over_training(run, self.sigmas or None, n_samples=self.n_samples, progress=True)
        print(comparison_text(table, run))
        out = self.out or self.run / "comparison"
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(out / "comparison.csv", index=False)
        plot_comparison(table, run, out / "comparison.png")
        print(f"\ntable:  {out / 'comparison.csv'}\nfigure: {out / 'comparison.png'}")


@dataclasses.dataclass(frozen=True)
class DissectCommand:
    """Draw every probe of a run: states, losses, landscapes, basins. Takes minutes."""

    run: tyro.conf.Positional[Path]
    """folder of a run that has ended"""
    out: Path | None = None
    """folder for figures and tables; by default RUN/dissection"""
    n_noises: int = 500
    """fixed initial noises whose state is followed over training"""

    def __call__(self, asked_for: list[str]) -> None:
        from .empirics import dissect, load_run

        for path in dissect(load_run(self.run), self.out, self.n_noises):
            print(path)


@dataclasses.dataclass(frozen=True)
class FigureCommand:
    """Draw the figures of arXiv:2605.10019 as measured by this package, PNG and PDF."""

    figures: tyro.conf.Positional[tuple[str, ...]]
    """numbers from 1 to 28, or all"""
    preset: str = "laptop"
    """the scale: smoke (exercises the code), laptop (two cores), paper (GPUs)"""
    recompute: bool = False
    """train what is missing and measure again, in place of drawing the committed data"""
    out: Path = Path("figures")
    """folder for the figures"""
    runs: Path | None = None
    """with --recompute: folder of the training runs, shared by all figures; by default runs/figures-PRESET"""

    def __call__(self, asked_for: list[str]) -> None:
        from .paper_figures.figures import FIGURES, draw

        if not self.figures:
            raise ValueError(f"which figures? numbers from 1 to {FIGURES[-1]}, or all")
        if bad := [text for text in self.figures if text != "all" and not text.isdecimal()]:
            raise ValueError(f"a figure is a number from 1 to {FIGURES[-1]}, or all; got {bad[0]!r}")
        numbers = FIGURES if "all" in self.figures else [int(text) for text in self.figures]
        for path in draw(numbers, self.preset, self.out, self.recompute, self.runs):
            print(path)


# options of `run` that leave the quick preset as it is
_NOT_CONFIG = ("--out", "--resume", "--no-resume", "--tensorboard", "--no-tensorboard")

COMMANDS: dict[str, Callable[..., Any]] = {
    "run": RunCommand,
    "sweep": SweepCommand,
    "report": ReportCommand,
    "baseline": BaselineCommand,
    "derive": DeriveCommand,
    "fit": FitCommand,
    "compare": CompareCommand,
    "dissect": DissectCommand,
    "figure": FigureCommand,
}


def show_clocks(runs: list[Run], out: Path) -> None:
    """Print the table of clocks and draw the figure."""
    from .empirics.clocks_figure import clocks_table, plot_clocks

    print(clocks_table(runs).to_string(index=False))
    figure = out / "clocks.png"
    plot_clocks(runs, figure)
    print(f"\nfigure: {figure}\nruns:   {', '.join(str(run.path) for run in runs)}")


DESCRIPTION = """When does a model learn the rule, and when does it copy its training set?

-v before a command shows the traceback of an error; --version the version.

Shell completion: twoclocks --tyro-print-completion bash (or zsh, tcsh).

Exit status: 0 done, 1 some runs failed, 2 bad input (one line), 130 interrupted."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point; `DESCRIPTION` lists the exit statuses."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verbose = arguments[:1] == ["-v"]
    arguments = arguments[verbose:]
    if arguments == ["--version"]:
        print(f"twoclocks {version('twoclocks')}")
        return
    try:
        _parse(arguments)(arguments[1:])
    except BrokenPipeError:  # the reader, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except (ValueError, OSError) as fault:
        if verbose:
            traceback.print_exc()
        else:
            print(f"twoclocks: {' '.join(str(fault).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        again = "; continue with --resume and the same --out" if arguments[0] == "run" else ""
        print(f"twoclocks: interrupted{again}", file=sys.stderr)
        raise SystemExit(130) from None


def _parse(arguments: list[str]) -> Callable[[list[str]], None]:
    """The command that the arguments ask for; ValueError, in one line, for arguments that ask for none."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                COMMANDS, args=arguments, prog="twoclocks", description=DESCRIPTION
            )
    except SystemExit as ended:
        if not ended.code:
            raise  # --help
        _, *lines = [line.strip(" │╭╮╰╯─-") for line in said.getvalue().splitlines()]  # without the box's title
        started = itertools.dropwhile(lambda line: not line, lines)
        fault = itertools.takewhile(bool, started)  # up to the next rule
        raise ValueError(f"{' '.join(fault).rstrip('.')}; see twoclocks --help") from None


def _new_folder(name: str) -> Path:
    """runs/NAME-1, or the first number that is free."""
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder
