"""The command ``twoclocks``: each subcommand is a thin call of the Python API."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

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

    def __call__(self, asked_for: list[str]) -> None:
        if self.resume and self.out is None:
            raise ValueError("--resume needs the --out of the run to continue")
        quick = not any(arg.startswith("-") and arg.split("=")[0] not in ("--out", "--resume") for arg in asked_for)
        out = self.out or _new_folder("quick" if quick else self.config.model)
        configs = {out / name: config for name, config in QUICK.items()} if quick else {out: self.config.checked()}
        run_and_show(configs, out, self.resume)


def run_and_show(configs: dict[Path, RunConfig], out: Path, resume: bool) -> None:
    """Train in parallel, print the table of clocks, and draw the figure."""
    from .empirics.clocks import clocks_table, plot_clocks
    from .empirics.parallel import train_all

    runs = train_all(configs, resume=resume)
    print(clocks_table(runs).to_string(index=False))
    figure = out / "clocks.png"
    plot_clocks(runs, figure)
    print(f"\nfigure: {figure}\nruns:   {', '.join(str(run.path) for run in runs)}")


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit status: 0 done, 2 a bad argument or input (one line on standard error), 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = tyro.extras.subcommand_cli_from_dict({"run": RunCommand}, args=arguments, prog="twoclocks")
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
