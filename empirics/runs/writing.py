"""What training writes into a run's folder, each step whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..config import RunConfig
from ..families import Generations
from ..hardware import processor_flags
from ..tasks import TrainingData
from .checkpoints import checkpoint_path, read_state
from .evaluations import Evaluations, evaluation_line
from .files import (
    append_line,
    remove_tensors,
    temporaries,
    write_atomically,
    write_json,
    write_tensors,
)
from .foreign_files import DamagedFile, own_folder, printable
from .lock import LOCK
from .reading import FORMAT, result_digest
from .run import HARDWARE, PARTS, Run


class RunWriter(Run):
    """A run that training writes."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        super().__init__(path, config)
        self._config_digest = self._digest = ""  # of config.json, and of the evaluations so far

    def start(self, data: TrainingData, resolved: RunConfig) -> None:
        """Lay out a new run folder; `resolved` is the config with device and precision as they are here."""
        for name in PARTS:
            own_folder(self.path / name, make=True)
        self.task.write_data(self.path / "training_set.npz", data)
        found = {**{name: getattr(resolved, name) for name in HARDWARE}, "processor": sorted(processor_flags())}
        write_json(self.path / "hardware.json", found)
        write_json(self.path / "config.json", {"format": FORMAT, **self.config.to_dict()})  # last: now it is a run
        self._continue_from(self.read().evaluations, 0)

    def record(self, metrics: dict[str, float], generations: Generations) -> None:
        """Add one evaluation: its generations, then its line of metrics."""
        path = self._samples_path(int(metrics["step"]))
        of_samples = self.task.write_generations(path, generations)
        line, self._digest = evaluation_line(metrics, of_samples, self._digest)
        append_line(self.path / "metrics.jsonl", line)

    def forget_after(self, step: int) -> None:
        """Drop evaluations later than a step: the training that resumes there makes them again."""
        evaluations = self.read().evaluations
        kept = evaluations.lines[: sum(at <= step for at in evaluations.steps)]
        write_atomically(self.path / "metrics.jsonl", b"".join(line + b"\n" for line in kept))
        self._continue_from(evaluations, step)

    def _continue_from(self, evaluations: Evaluations, step: int) -> None:
        self._config_digest, self._digest = evaluations.digests[0], evaluations.digest_at(step)

    def save_weights(self, model: nn.Module, step: int) -> None:
        """Keep the weights of a step."""
        write_tensors(
            checkpoint_path(self.path, "weights", step),
            model.state_dict(),
            {"config": self._config_digest, "step": step},
        )

    def save_state(self, tensors: dict[str, Tensor], step: int) -> None:
        """Keep the whole training state of a step, and the one before it in case this one is damaged."""
        note = {"config": self._config_digest, "step": step, "evaluations": self._digest}
        write_tensors(checkpoint_path(self.path, "state", step), tensors, note)
        for old in self.state_steps[:-2]:
            remove_tensors(checkpoint_path(self.path, "state", old))

    def load_state(self, largest: int) -> tuple[dict[str, Tensor], list[str]]:
        """The newest intact training state that fits the evaluations, and a fault for each newer one.

        Args:
            largest: bytes that a state of this run may have.

        Returns:
            Named tensors, empty when the run was killed before it kept any state.

        Raises:
            DamagedFile: states were kept, or evaluations made, and no state is intact.
        """
        faults: list[str] = []
        record = self.read()
        for step in reversed(self.state_steps):
            try:
                return read_state(self.path, record, step, largest), faults
            except DamagedFile as fault:
                faults.append(str(fault))
        # A run killed about its first evaluation has kept no whole state yet, and loses nothing by beginning anew.
        begun = len(faults) == 1 and faults[0].endswith(".sha256 is missing")
        if (faults and not begun) or len(record.evaluations.lines) > 1:
            why = "; ".join(faults) or f"{len(record.evaluations.lines)} evaluations were made, and no state is there"
            raise DamagedFile(
                f"{printable(self.path)}: no intact training state is left: {why}; start the run in another folder"
            )
        return {}, faults

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result; a finished run needs its training state no more."""
        digests = {
            "config": self._config_digest,
            "training_set": self._training_set_digest(),
            "evaluations": self._digest,
        }
        result = {**result, "digests": digests}
        write_json(self.path / "result.json", {**result, "digest": result_digest(result)})
        self.tidy()


def blocks_a_start(folder: Path) -> str | None:
    """The name of something in a folder without config.json that no start of a run leaves there; None if all is well.

    A run that was killed before it had its config leaves its lock, its training set and empty folders.
    """
    if not os.path.lexists(folder):
        return None
    if not folder.is_dir():
        return folder.name
    for entry in sorted(folder.iterdir()):
        if entry.name in PARTS and not entry.is_symlink() and entry.is_dir() and not any(entry.iterdir()):
            continue
        own = entry.name in (LOCK, "training_set.npz", "hardware.json", "error.txt")
        if own and not entry.is_symlink() and entry.is_file():
            continue
        if entry not in temporaries(folder):
            return entry.name
    return None
