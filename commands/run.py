"""``twoclocks run``: the quick preset, another preset, or one run."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

import tyro

from ..empirics.config import QUICK, QUICK_THREE, RunConfig
from ..empirics.time_limit import TimeOver
from .command import TrainingCommand, if_interrupted

if TYPE_CHECKING:
    from ..empirics import Run

    RunFields = dict[str, Any]
else:

    def _field(name: str, kind: object, default: object) -> object:
        hint = f"(one run: {default})" if default is not None else ""
        return Annotated[kind, tyro.conf.arg(help=_DOCS[name], help_behavior_hint=hint)]

    def _docstrings(cls: type) -> dict[str, str]:
        """The string after each field in the source of a class, as one line."""
        body = ast.parse(inspect.getsource(cls)).body[0].body
        return {
            field.target.id: " ".join(text.value.value.split())
            for field, text in itertools.pairwise(body)
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
        }

    _DOCS = _docstrings(RunConfig)
    _KINDS = get_type_hints(RunConfig)
    RunFields = TypedDict(
        "RunFields",
        {field.name: _field(field.name, _KINDS[field.name], field.default) for field in dataclasses.fields(RunConfig)},
        total=False,
    )
    """The fields of RunConfig that were asked for, and no other."""

SINGLE = ("model", "rule", "data")
"""Options that ask for one run."""
DIT_ONLY = ("encoding", "noise_mean", "noise_std", "sampler", "sampler_steps")
MDM_ONLY = ("mask_schedule", "unmasking")
"""Options that leave the other runs of a preset as they are."""
SIDE_BY_SIDE = {"quick": QUICK, "quick-three": QUICK_THREE}
"""Presets whose runs have short names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCommand(TrainingCommand):
    """Train a model and find both clocks.

    With no options: the quick preset, a GPT and a DiT side by side on two cores.

    With --preset quick-three a masked diffusion model is the third.

    Options change all of its runs; --model, --rule or --data asks for one instead.

    That run is at the paper's scale where no option says otherwise.
    """

    config: tyro.conf.OmitArgPrefixes[RunFields] = dataclasses.field(default_factory=lambda: RunFields())
    """what to change in the preset's runs, or in the one run"""
    preset: str | None = None
    """the runs that options change: quick; quick-three; none, for one run; or a preset of `twoclocks sweep`, such as
    quick-gpt. By default none with --model, --rule or --data, else quick"""
    out: Path | None = None
    """folder for the run, new or empty; by default a new one under runs/"""
    resume: bool = False
    """continue the run in --out, made with the same options; --max-time with --out does so too"""
    tensorboard: bool = False
    """also log every evaluation for TensorBoard (needs the extra twoclocks[tensorboard])"""

    def __call__(self) -> None:
        with self.limited():
            self._run()

    @property
    def resumes(self) -> bool:
        """Whether a run in `out` is continued."""
        return self.resume or (self.max_time is not None and self.out is not None)

    def _run(self) -> None:
        if self.resume and self.out is None:
            raise ValueError("--resume needs the --out of the run to continue")
        from ..empirics.hardware import hardware_text, resolve, resolve_device

        preset = self.preset or ("none" if any(name in self.config for name in SINGLE) else "quick")
        configs = self._configs(preset)
        for config in configs.values():
            resolve_device(config.device)
        first = next(iter(configs.values()))
        out = self.out or _new_folder(first.model if preset == "none" else preset)
        self._check_folder(out, configs)
        found = resolve(first)
        on = hardware_text(found.device, found.precision)
        print(f"{_description(preset, configs, self.config)}; {on}; results in {out}", flush=True)
        with if_interrupted(f"results so far are in {out}; continue with: {self._continued(out)}"):
            runs = self._train(configs, out)
        show_clocks(runs, out)
        diverged = {run: how for run in runs if (how := run.divergence)}
        for run, how in diverged.items():
            print(f"diverged: {run.path}: {how}; try a lower --lr", file=sys.stderr)
        if diverged:
            raise SystemExit(1)

    def _configs(self, preset: str) -> dict[str, RunConfig]:
        """The configs of the preset with the options asked for, by the names of their folders."""
        from ..empirics.sweeps.folders import run_name
        from ..empirics.sweeps.grid import presets, read_grid

        asked = dict(self.config)
        if preset == "none":
            return {"": RunConfig(**asked)}
        if preset not in SIDE_BY_SIDE:
            if preset not in presets():
                raise ValueError(f"unknown preset {preset!r}; presets: quick, none, {', '.join(presets())}")
            configs = [_changed(config, asked) for config in read_grid(preset)]
            return {"" if len(configs) == 1 else run_name(config): config for config in configs}
        if "model" in asked:
            raise ValueError(
                f"the {preset} preset has models of its own; for one run of your --model leave --preset out"
            )
        return {name: _changed(config, asked) for name, config in SIDE_BY_SIDE[preset].items()}

    def _check_folder(self, out: Path, configs: dict[str, RunConfig]) -> None:
        if "" in configs:
            return  # `train` checks it
        if (out / "config.json").exists():
            raise ValueError(f"{out} holds one run; choose another --out, or its own options and --resume")
        if (in_use := [name for name in configs if (out / name).exists()]) and not self.resumes:
            raise ValueError(f"{out / in_use[0]} exists already; choose another --out, or --resume to continue it")

    def _train(self, configs: dict[str, RunConfig], out: Path) -> list[Run]:
        if "" in configs:
            from ..empirics import train

            run = train(configs[""], out, self.resumes, tensorboard=self.tensorboard)
            if not run.ended:
                raise TimeOver(f"the time is over; {out} is saved at step {run.state_steps[-1]}")
            return [run]
        from ..empirics.sweeps.sweep import ended_runs, sweep

        return ended_runs(sweep(configs, out, tensorboard=self.tensorboard))

    def _continued(self, out: Path) -> str:
        """The command that continues this one."""
        options: list[object] = ["--preset", self.preset] if self.preset else []
        for name, value in self.config.items():
            option = name.replace("_", "-")
            switch = isinstance(value, bool)
            options += [f"--{option}" if value else f"--no-{option}"] if switch else [f"--{option}", value]
        for plugin in self.plugin:
            options += ["--plugin", plugin]
        if self.tensorboard:
            options.append("--tensorboard")
        if self.max_time:
            options += ["--max-time", self.max_time]
        return shlex.join(["twoclocks", "run", *map(str, options), "--out", str(out), "--resume"])


def show_clocks(runs: list[Run], out: Path) -> None:
    """Print the table of clocks and draw the figure."""
    from ..empirics.clocks_figure import clocks_table, plot_clocks

    print(clocks_table(runs).to_string(index=False))
    figure = out / "clocks.png"
    plot_clocks(runs, figure)
    folders = [out / os.path.relpath(run.path, out) for run in runs]  # named as the folder was
    print(f"\nfigure: {figure}\nruns:   {', '.join(map(str, folders))}")


def _changed(config: RunConfig, asked: dict[str, Any]) -> RunConfig:
    """The config with the values asked for, without those that its model does not have."""
    from ..empirics.families import family

    left_out = {
        "gaussian": MDM_ONLY,
        "mask": [name for name in DIT_ONLY if name != "sampler_steps"],
    }.get(family(config.model).channel, (*DIT_ONLY, *MDM_ONLY))
    return dataclasses.replace(config, **{name: value for name, value in asked.items() if name not in left_out})


def _description(preset: str, configs: dict[str, RunConfig], asked: dict[str, Any]) -> str:
    """What is about to be trained, in a line."""
    runs = [f"{config.model} on {config.rule}" for config in configs.values()]
    if preset == "none":
        config = configs[""]
        return f"one run: {runs[0]}, N = {config.n_train}, {config.steps:,} steps"
    few = len(runs) <= len(QUICK_THREE)
    what = " and ".join([", ".join(runs[:-1]), runs[-1]] if runs[1:] else runs) if few else f"{len(runs)} runs"
    changes = f", with {', '.join(f'{name}={value}' for name, value in asked.items())}" if asked else ""
    return f"{preset} preset: {what}{changes}"


def _new_folder(name: str) -> Path:
    """runs/NAME-1, or the first number that is free."""
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder
