"""The command ``twoclocks``: each subcommand is a thin call of the Python API."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import tyro

from .empirics.config import QUICK, RunConfig


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
        configs = {out / name: config for name, config in QUICK.items()} if quick else {out: self.config.checked()}
        run_and_show(configs, out, self.resume, self.tensorboard)


@dataclasses.dataclass(frozen=True)
class BaselineCommand:
    """Chance memorization of a rule, exact: how often a sampler that never saw the training set reproduces it."""

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
    """Derive an optimal denoiser symbolically, and prove it equal to the posterior mean on small cases."""

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
    """Fit a scaling law, onset = c * x^exponent, to a table of censored onsets, yours or `twoclocks run`'s."""

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


_NOT_CONFIG = ("--out", "--resume", "--tensorboard")  # options of `run` that leave the quick preset as it is

COMMANDS: dict[str, Callable[..., Any]] = {
    "run": RunCommand,
    "baseline": BaselineCommand,
    "derive": DeriveCommand,
    "fit": FitCommand,
}


def run_and_show(configs: dict[Path, RunConfig], out: Path, resume: bool, tensorboard: bool) -> None:
    """Train in parallel, print the table of clocks, and draw the figure."""
    from .empirics.clocks import clocks_table, plot_clocks
    from .empirics.parallel import train_all

    runs = train_all(configs, resume=resume, tensorboard=tensorboard)
    print(clocks_table(runs).to_string(index=False))
    figure = out / "clocks.png"
    plot_clocks(runs, figure)
    print(f"\nfigure: {figure}\nruns:   {', '.join(str(run.path) for run in runs)}")


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit status: 0 done, 2 a bad argument or input (one line on standard error), 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = tyro.extras.subcommand_cli_from_dict(COMMANDS, args=arguments, prog="twoclocks")
        command(arguments[1:])
    except (ValueError, OSError) as fault:
        print(f"twoclocks: {' '.join(str(fault).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("twoclocks: interrupted; continue with --resume and the same --out", file=sys.stderr)
        raise SystemExit(130) from None


def _new_folder(name: str) -> Path:
    """runs/NAME-1, or the first number that is free."""
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder
