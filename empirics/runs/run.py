"""A run is a folder: what was asked, what was measured, what was learned. Reading one runs no code from it."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...models.layers import set_precision
from ...theory import Encoding, Rule, chance_memorization
from ..config import RunConfig
from ..families import Family, Generations, build_model, family
from ..hardware import resolve_precision
from ..null_again import null_again
from ..onsets import Onset, clock_onsets, find_onsets
from ..pixels import Codes, Pixels
from ..placement import place_network
from ..references import References, references_of
from ..state_counts import state_counts
from ..tasks import Task, TrainingData, task_of
from ..versions import own_version
from .checkpoints import check_weights, checkpoint_path, kept_steps, state_files
from .evaluations import Evaluations
from .files import (
    read_tensors,
    temporaries,
)
from .foreign_files import DamagedFile, own_folder, printable, read_json_object, read_regular
from .reading import RunRecord, read_record

LEFT_OUT = "left_out.json"
"""In the folder of a light run: which of "samples", "weights" and "training_set" were left out (see `light.py`)."""
HARDWARE = ("device", "precision")
PARTS = ("checkpoints", "samples")
_ABSURD_LOSS = 10.0  # a guess costs ln Q nats per token, or 1 in EDM's units


class Run:
    """One training run on disk.

    ``config.json`` what was asked; ``hardware.json`` which device and precision that became; ``training_set.npz``;
    ``metrics.jsonl`` a line per evaluation; ``samples/`` the generations of each evaluation; ``checkpoints/`` weights
    (and, until the run ends, the whole training state); ``result.json`` the clocks, chance levels and environment, once
    the run has ended. Digests bind them all to the config and to their steps (see `evaluations.py` and `reading.py`):
    what was cut, edited or brought from another run raises DamagedFile where it is read.

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
        try:
            about = f"{self.status}, {self.hardware['precision']} on {self.hardware['device']}"
        except ValueError:
            about = "damaged"
        return f"Run({str(self.path)!r}, {about})"

    def _repr_html_(self) -> str:
        """The run as a notebook shows it: its settings, how it ended, and both clocks."""
        try:
            record = self.read()
            facts = {name: record.values[name] for name in ("model", "rule", "n_train", "seed", "status")}
            if self.ended:
                facts |= {name: f"{onset} steps" for name, onset in self.onsets.items()}
            facts["folder"] = str(self.path)
        except ValueError as fault:
            facts = {"damaged": str(fault)}
        return pd.DataFrame(facts.items(), columns=["run", ""]).to_html(index=False)

    @property
    def task(self) -> Task:
        """What the run learns: a rule, or data."""
        return task_of(self.config)

    @property
    def rule(self) -> Rule:
        """The rule of the run's grids; ValueError for a run that learns data."""
        if (found := self.task.rule) is None:
            raise ValueError(f"the run in {self.path} learns {self.config.rule}, which has no rule")
        return found

    @property
    def references(self) -> References:
        """The exact laws that its model may have learned, by name; each is built once a process."""
        return references_of(self.rule, self.train_set)

    @property
    def encoding(self) -> Encoding | None:
        """The encoding of the images that the network sees; None where it sees symbols. Of data there are `pixels`."""
        return family(self.config.model).encoding(self.config, self.rule)

    @property
    def pixels(self) -> Pixels:
        """How the samples of a run on data become what its network sees; ValueError for a run on a rule."""
        if not isinstance(codes := self._codes(), Pixels):
            raise ValueError(f"the run in {self.path} learns a rule, whose symbols have an `encoding`")
        return codes

    def _codes(self) -> Codes | None:
        return self.task.codes(self.training_data if self.task.rule is None else None)

    @property
    def floors(self) -> dict[str, float]:
        """The training loss of both exact optima, in the units of `loss`: "population", the rule's, which a model that
        has learned nothing of the training set attains; and "empirical", the least any model can reach, by memorizing.
        Of data the second alone is known.
        """
        return self.task.floors(self.training_data)

    @property
    def family(self) -> Family:
        """What the package must know of the run's architecture."""
        return family(self.config.model)

    def read(self) -> RunRecord:
        """Config, evaluations and result as they are on disk now, checked; DamagedFile where they do not hold."""
        return read_record(self.path)

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per evaluation: step, loss, the ratios of `Evaluator.metrics`, and seconds of wall time so far."""
        table = pd.DataFrame(self.read().metrics)
        return table.astype({"step": np.int64}) if len(table) else table

    @property
    def result(self) -> dict[str, Any]:
        """Status, clocks, chance levels, environment; empty before the run has ended."""
        return self.read().result

    @property
    def status(self) -> str:
        """``"finished"``, ``"stopped"`` (its clocks were known), ``"diverged"``, or ``"unfinished"``."""
        return str(self.result.get("status", "unfinished"))

    @property
    def divergence(self) -> str:
        """How the run diverged, in words; empty where it did not."""
        record = self.read()
        if record.values["status"] == "diverged":
            return f"the loss is no number at step {record.values['steps_done']}"
        loss = record.metrics.get("loss", np.empty(0))
        if len(loss) and not loss[-1] <= _ABSURD_LOSS:
            return f"the loss is {loss[-1]:.3g} at step {record.evaluations.steps[-1]}, far above that of a guess"
        return ""

    @property
    def ended(self) -> bool:
        """Whether the run has a result."""
        return os.path.lexists(self.path / "result.json")

    @property
    def onsets(self) -> dict[str, Onset]:
        """The two clocks, tau_rule and tau_mem; of data, tau_best, the best held-out loss, and tau_mem.

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
        found = read_json_object(path, 2**20)[0] if os.path.lexists(path) else self.config.to_dict()
        if not all(isinstance(found.get(name), str) for name in HARDWARE):
            raise DamagedFile(f"{printable(path)} must name a device and a precision")
        return {name: found[name] for name in HARDWARE}

    @property
    def state_counts(self) -> pd.DataFrame:
        """One row per evaluation: step, and how many generations were novel_valid, memorized, violating, ambiguous."""
        return state_counts(self.metrics, self.config.n_eval)

    @property
    def left_out(self) -> frozenset[str]:
        """What a light run came without; empty for any other run."""
        path = self.path / LEFT_OUT
        if not os.path.lexists(path):
            return frozenset()
        names = read_json_object(path, 2**20)[0].get("left_out")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DamagedFile(f"{printable(path)} must list what was left out")
        return frozenset(names)

    @property
    def train_set(self) -> Tensor:
        """The training symbols, int64 (N, D); of data, the samples (N, ...).

        Raises:
            DamagedFile: as of `training_data`.
        """
        return self.training_data.train

    @property
    def training_data(self) -> TrainingData:
        """What the run was trained on and, of data, its held-out samples; of a light run, drawn again by its config.

        Raises:
            DamagedFile: it is not N different valid grids of the rule, or N samples, or not what the run ended with.
        """
        path = self.path / "training_set.npz"
        if "training_set" in self.left_out:
            return self.task.data()
        stated = self.result.get("digests", {}).get("training_set")
        if stated is not None and os.path.lexists(path) and stated != self._training_set_digest():
            raise DamagedFile(f"{printable(path)} is not what result.json was made from: it was edited")
        return self.task.read_data(path)

    def samples(self, step: int) -> Generations:
        """The generations of the evaluation at a step.

        Raises:
            DamagedFile: missing, or not those that were measured.
        """
        return self._read_samples(step, self.read().evaluations)

    @property
    def checkpoint_steps(self) -> list[int]:
        """The steps whose weights are kept."""
        return kept_steps(self.path, "weights")

    def model(self, step: int | None = None) -> nn.Module:
        """The model with the weights that generated at a step; by default the last kept.

        Raises:
            ValueError: no weights are kept for this step.
            DamagedFile: the file was cut short or altered.
        """
        steps = self.checkpoint_steps
        if not steps or (step is not None and step not in steps):
            raise ValueError(f"{self.path} keeps no weights of step {step}; kept are {steps}")
        step = steps[-1] if step is None else step
        path = checkpoint_path(self.path, "weights", step)
        model = build_model(self.config.model, self.task.rule, self._codes())
        own = model.state_dict()
        check_weights(self.path, self.read(), step, {name: tuple(value.shape) for name, value in own.items()})
        model.load_state_dict(read_tensors(path, 2**22 + sum(value.nbytes for value in own.values()))[0])
        set_precision(model, self._precision or resolve_precision(self.hardware["precision"], self.device))
        return place_network(model.eval(), self.device)

    def check_bulk(self, whole: bool = False) -> None:
        """DamagedFile unless the generations and the weights of all evaluations so far are there, and theirs.

        Args:
            whole: read the weights to the end, and miss none that this run must have kept. Else as `check_weights`;
                weights that someone has deleted to save space are not missed then.
        """
        record, left_out = self.read(), self.left_out
        kept, found = 0, self.checkpoint_steps
        whole = whole and "weights" not in left_out
        for step in record.evaluations.steps:
            if "samples" not in left_out or os.path.lexists(self._samples_path(step)):
                self._read_samples(step, record.evaluations)
            if whole and record.evaluations.bound and step >= self.config.checkpoint_ratio * kept:
                kept = step
                found.append(step)
        last = record.evaluations.steps[-1] if record.evaluations.steps else 0
        for step in sorted(set(found)):
            if step <= last:  # later ones were being written when the run was killed, and are written again
                check_weights(self.path, record, step)
                if whole:
                    read_tensors(checkpoint_path(self.path, "weights", step))

    @property
    def state_steps(self) -> list[int]:
        """The steps whose whole training state is kept."""
        return kept_steps(self.path, "state")

    def litter(self) -> list[Path]:
        """What a run that was killed has left and nobody needs: temporary files, and the states of an ended run."""
        left = [path for name in ("", *PARTS) for path in temporaries(own_folder(self.path / name))]
        # The state of a run that diverged is kept: it shows how.
        return left + state_files(self.path, orphans=self.status in ("unfinished", "diverged"))

    def tidy(self) -> None:
        """Delete the litter; for the holder of the run's lock."""
        for path in self.litter():
            path.unlink(missing_ok=True)

    def _read_samples(self, step: int, evaluations: Evaluations) -> Generations:
        path = self._samples_path(step)
        found = self.task.read_generations(path)
        stated = dict(zip(evaluations.steps, evaluations.samples, strict=True)).get(step)
        if stated and hashlib.sha256(read_regular(path, path.stat().st_size)).hexdigest() != stated:
            raise DamagedFile(f"{printable(path)} is not what metrics.jsonl measured: it was altered")
        return found

    def _training_set_digest(self) -> str:
        path = self.path / "training_set.npz"
        return hashlib.sha256(read_regular(path, path.lstat().st_size)).hexdigest()

    def _samples_path(self, step: int) -> Path:
        return own_folder(self.path / "samples") / f"step-{step:010d}.npz"


def load_run(path: str | Path) -> Run:
    """Open a run folder.

    Raises:
        ValueError: not a run folder.
        DamagedFile: its config, evaluations and result do not hold; the message names the file and the fault.
    """
    folder = Path(path)
    if not os.path.lexists(folder / "config.json"):
        raise ValueError(f"{printable(folder)} is not a run: it has no config.json")
    return Run(folder, read_record(folder).config)


def environment() -> dict[str, str]:
    """Versions that a result may depend on."""
    return {
        "twoclocks": own_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _infinite(value: float | None) -> float:
    return math.inf if value is None else float(value)
