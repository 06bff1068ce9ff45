"""A run is a folder: what was asked, what was measured, what was learned. Reading one runs no code from it."""

from __future__ import annotations

import json
import math
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...models.layers import set_precision
from ...theory import Encoding, Rule, chance_memorization, rule
from ..config import RunConfig
from ..families import Family, Generations, build_model, family
from ..hardware import processor_flags, resolve_precision
from ..null_again import null_again
from ..onsets import Onset, clock_onsets, find_onsets
from ..placement import place_network
from ..state_counts import state_counts
from .files import (
    DamagedFile,
    append_line,
    read_json,
    read_lines,
    read_symbols,
    read_tensors,
    remove_tensors,
    write_atomically,
    write_json,
    write_symbols,
    write_tensors,
)

FORMAT = 1
_HARDWARE = ("device", "precision")


class Run:
    """One training run on disk.

    ``config.json`` what was asked; ``hardware.json`` which device and precision that became; ``training_set.npz``;
    ``metrics.jsonl`` a line an evaluation; ``samples/`` the generations of each evaluation; ``checkpoints/`` weights
    (and, until the run ends, the whole training state); ``result.json`` the clocks, chance levels and environment, once
    the run has ended.

    Attributes:
        path: the folder.
        config: its RunConfig.
        device: where its networks compute, once they are read; see `on`.
    """

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config
        self.device = "cpu"
        self._precision: str | None = None

    def on(self, device: str, precision: str | None = None) -> Run:
        """The run with networks that `model` puts on a device, in a precision; by default that of the training.

        Whoever calls such a network gives and gets tensors on the CPU, wherever it computes; exact optima beside it are
        computed on the device too.
        """
        moved = Run(self.path, self.config)
        moved.device, moved._precision = device, precision
        return moved

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status}, {self.hardware['precision']} on {self.hardware['device']})"

    @property
    def rule(self) -> Rule:
        """The rule of the run's grids."""
        return rule(self.config.rule)

    @property
    def encoding(self) -> Encoding | None:
        """The encoding of the images that the network sees; None where it sees symbols."""
        return self.family.encoding(self.config, self.rule)

    @property
    def floors(self) -> dict[str, float]:
        """The training loss of both exact optima, in the units of `loss`: "population", the rule's, which a model that
        has learned nothing of the training set attains; and "empirical", the least any model can reach, by memorizing.
        """
        return self.family.floors(self.config, self.rule, self.train_set, self.encoding)

    @property
    def family(self) -> Family:
        """What the package must know of the run's architecture."""
        return family(self.config.model)

    @property
    def metrics(self) -> pd.DataFrame:
        """One row an evaluation: step, loss, the ratios of `Evaluator.metrics`, and seconds of wall time so far."""
        return pd.DataFrame(list(read_lines(self.path / "metrics.jsonl")))

    @property
    def result(self) -> dict[str, Any]:
        """Status, clocks, chance levels, environment; empty before the run has ended."""
        path = self.path / "result.json"
        return read_json(path) if path.exists() else {}

    @property
    def status(self) -> str:
        """``"finished"``, ``"stopped"`` (its clocks were known), ``"diverged"``, or ``"unfinished"``."""
        return str(self.result.get("status", "unfinished"))

    @property
    def onsets(self) -> dict[str, Onset]:
        """The two clocks, tau_rule and tau_mem.

        The result of a run that ended before there was a null of copying states other criteria, `FORMER`; its clocks
        are found again from its metrics.

        Raises:
            ValueError: the run has not ended.
        """
        result = self.result
        if not result:
            raise ValueError(f"{self.path} has no result yet: the run has not ended; resume it")
        if "null" not in result and len(metrics := self.metrics):
            return clock_onsets(metrics, self.chance, self.rule.alphabet, self.null, self.config.n_eval)
        stored = result["onsets"]
        return {
            name: Onset(_infinite(o["step"]), o["lower"], _infinite(o["upper"]), o["censored"])
            for name, o in stored.items()
        }

    def onset(self, name: str, patience: int | None = None, ema_halflife: float = 0.0) -> Onset:
        """The onset of any criterion from `CRITERIA`, from the evaluations so far; see `find_onsets`.

        Raises:
            ValueError: an unknown criterion, no evaluation yet, or options that `find_onsets` refuses.
        """
        metrics = self.metrics
        if metrics.empty:
            raise ValueError(f"{self.path} has no evaluation yet")
        return find_onsets(
            metrics, self.chance, self.rule.alphabet, (name,), patience, ema_halflife, self.null, self.config.n_eval
        )[name]

    @property
    def chance(self) -> float:
        """Sample-level chance memorization."""
        stored = self.result.get("chance")
        return chance_memorization(self.rule, self.train_set) if stored is None else float(stored)

    @property
    def null(self) -> float:
        """The null of copying: memorization that needs none; see `null_of_copying`, and `null_again` for old runs."""
        stored = self.result.get("null")
        if stored is None:
            return null_again(self.config.rule, self.config.n_train, self.config.seed)
        return float(stored["memorization"])

    @property
    def hardware(self) -> dict[str, str]:
        """The device and precision that the run began with, and keeps wherever it is resumed.

        For a run that was recorded before these were: what its config asks by name.
        """
        path = self.path / "hardware.json"
        found = read_json(path) if path.exists() else self.config.to_dict()
        if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in _HARDWARE):
            raise DamagedFile(f"{path} must name a device and a precision")
        return {name: found[name] for name in _HARDWARE}

    @property
    def state_counts(self) -> pd.DataFrame:
        """One row an evaluation: step, and how many generations were novel_valid, memorized, violating, ambiguous."""
        return state_counts(self.metrics, self.config.n_eval)

    @property
    def train_set(self) -> Tensor:
        """The training symbols, int64 (N, D)."""
        return torch.from_numpy(read_symbols(self.path / "training_set.npz")[0])

    def samples(self, step: int) -> Generations:
        """The generations of the evaluation at a step."""
        x, flags = read_symbols(self.path / "samples" / f"step-{step:010d}.npz")
        return Generations(torch.from_numpy(x), torch.from_numpy(flags["ambiguous"]))

    @property
    def checkpoint_steps(self) -> list[int]:
        """The steps whose weights are kept."""
        return sorted(int(p.stem.split("-")[1]) for p in (self.path / "checkpoints").glob("weights-*.safetensors"))

    def model(self, step: int | None = None) -> nn.Module:
        """The model with the weights that generated at a step; by default the last kept.

        Raises:
            ValueError: no weights are kept for this step.
            DamagedFile: the file was cut short or altered.
        """
        steps = self.checkpoint_steps
        if not steps or (step is not None and step not in steps):
            raise ValueError(f"{self.path} keeps no weights of step {step}; kept are {steps}")
        tensors = read_tensors(self._weights_path(steps[-1] if step is None else step))
        model = build_model(self.config.model, self.rule, self.encoding)
        precision = self._precision or resolve_precision(self.hardware["precision"], self.device)
        set_precision(model, precision)
        model.load_state_dict(tensors)
        return place_network(model.eval(), self.device)

    # What follows writes; `train` calls it.

    def start(self, train: Tensor, resolved: RunConfig) -> None:
        """Lay out a new run folder; `resolved` is the config with device and precision as they are here."""
        for folder in (self.path, self.path / "checkpoints", self.path / "samples"):
            folder.mkdir(parents=True, exist_ok=True)
        write_symbols(self.path / "training_set.npz", train.numpy(), self.rule.alphabet)
        found = {**{name: getattr(resolved, name) for name in _HARDWARE}, "processor": sorted(processor_flags())}
        write_json(self.path / "hardware.json", found)
        write_json(self.path / "config.json", {"format": FORMAT, **self.config.to_dict()})  # last: now it is a run

    def record(self, metrics: dict[str, float], generations: Generations) -> None:
        """Add one evaluation: its generations, then its line of metrics."""
        path = self.path / "samples" / f"step-{metrics['step']:010d}.npz"
        write_symbols(path, generations.symbols.numpy(), self.rule.alphabet, ambiguous=generations.ambiguous.numpy())
        append_line(self.path / "metrics.jsonl", metrics)

    def forget_after(self, step: int) -> None:
        """Drop evaluations later than a step: the training that resumes there makes them again."""
        kept = [line for line in read_lines(self.path / "metrics.jsonl") if line["step"] <= step]
        write_atomically(self.path / "metrics.jsonl", b"".join((json.dumps(line) + "\n").encode() for line in kept))

    def save_weights(self, model: nn.Module, step: int) -> None:
        """Keep the weights of a step."""
        write_tensors(self._weights_path(step), dict(model.state_dict()))

    def save_state(self, tensors: dict[str, Tensor], step: int) -> None:
        """Keep the whole training state of a step, and the one before it in case this one is damaged."""
        write_tensors(self._state_path(step), tensors)
        for old in self.state_steps[:-2]:
            remove_tensors(self._state_path(old))

    @property
    def state_steps(self) -> list[int]:
        """The steps whose whole training state is kept."""
        return sorted(int(p.stem.split("-")[1]) for p in (self.path / "checkpoints").glob("state-*.safetensors"))

    def load_state(self) -> tuple[dict[str, Tensor], list[str]]:
        """The newest intact training state, and a warning for each newer one that is damaged.

        Returns:
            Named tensors, empty when the run was killed before it kept any state.

        Raises:
            DamagedFile: states were kept, and none is intact.
        """
        faults: list[str] = []
        for step in reversed(self.state_steps):
            try:
                return read_tensors(self._state_path(step)), faults
            except DamagedFile as fault:
                faults.append(str(fault))
        newest_incomplete = len(faults) == 1 and faults[0].endswith("is missing") and not self.metrics.size
        if faults and not newest_incomplete:
            raise DamagedFile(f"no intact training state is left: {'; '.join(faults)}; start the run in another folder")
        return {}, faults

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result; a finished run needs its training state no more."""
        write_json(self.path / "result.json", result)
        if result["status"] != "diverged":
            for step in self.state_steps:
                remove_tensors(self._state_path(step))

    def _weights_path(self, step: int) -> Path:
        return self.path / "checkpoints" / f"weights-{step:010d}.safetensors"

    def _state_path(self, step: int) -> Path:
        return self.path / "checkpoints" / f"state-{step:010d}.safetensors"


def load_run(path: str | Path) -> Run:
    """Open a run folder.

    Raises:
        ValueError: not a run folder, or written by a format this version does not know.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a run: it has no config.json")
    values = read_json(folder / "config.json")
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise DamagedFile(f"{folder / 'config.json'} is not of format {FORMAT}")
    return Run(folder, RunConfig.from_dict(values))


def onset_as_json(onset: Onset) -> dict[str, Any]:
    """Fields of an onset with null for infinity."""

    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "step": finite(onset.step),
        "lower": onset.lower,
        "upper": finite(onset.upper),
        "censored": onset.censored,
    }


def environment() -> dict[str, str]:
    """Versions that a result may depend on."""
    return {
        "twoclocks": version("twoclocks"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _infinite(value: float | None) -> float:
    return math.inf if value is None else float(value)
