"""What training, evaluation and storage must know of what a run learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from ...theory import Rule
from ..config import RunConfig
from ..families.family import Generations
from ..pixels import Codes

if TYPE_CHECKING:
    from ..clocks import Clocks


class TrainingData(NamedTuple):
    """What a run is trained on."""

    train: Tensor  # symbols int64 (N, D), or samples (N, ...), float32 or uint8
    held_out: Tensor | None = None  # samples of the same source, for chance and the held-out loss; None with a rule
    source: str = ""  # SHA-256 of the file that they are from, if any

    def same(self, other: TrainingData) -> bool:
        """Whether both hold the same numbers from the same source."""
        kept, asked = self.held_out, other.held_out
        if self.source != other.source or (kept is None) != (asked is None):
            return False
        held = kept is None or (asked is not None and torch.equal(kept, asked))
        return held and torch.equal(self.train, other.train)


class Task(ABC):
    """What one config asks to be learned. Nothing is built or read before it is asked for.

    Args:
        config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def rule(self) -> Rule | None:
        """The rule; None without one."""

    @abstractmethod
    def check(self) -> None:
        """ValueError for a config that cannot be trained."""

    @property
    @abstractmethod
    def tokens(self) -> int:
        """How many tokens the network sees of one sample."""

    @abstractmethod
    def data(self) -> TrainingData:
        """Training and held-out samples, from config and seed alone."""

    @abstractmethod
    def codes(self, data: TrainingData | None) -> Codes | None:
        """How samples become what the network sees; only arrays need the data for it."""

    @abstractmethod
    def evaluator(self, data: TrainingData) -> Callable[[Generations], dict[str, float]]:
        """What measures generations, as the clocks do."""

    @abstractmethod
    def clocks(self, data: TrainingData, seen: pd.DataFrame | None = None) -> Clocks:
        """The clocks of the run, as its config stops it."""

    @abstractmethod
    def see(
        self, clocks: Clocks, step: int, generations: Generations, model: nn.Module, data: TrainingData
    ) -> dict[str, float]:
        """Give an evaluation to the clocks; its metrics."""

    @abstractmethod
    def outcome(self, clocks: Clocks) -> dict[str, Any]:
        """What stands in the result of an ended run beside its clocks: chance levels and the like, as JSON."""

    @abstractmethod
    def floors(self, data: TrainingData) -> dict[str, float]:
        """The training loss of the exact optima that are known, by name."""

    @abstractmethod
    def write_data(self, path: Path, data: TrainingData) -> None:
        """Keep the training data with the run."""

    @abstractmethod
    def read_data(self, path: Path) -> TrainingData:
        """What `write_data` wrote; DamagedFile for anything else."""

    @abstractmethod
    def check_source(self, path: Path) -> None:
        """ValueError where the data have changed since a run kept theirs there; a rule does not change."""

    @abstractmethod
    def write_generations(self, path: Path, generations: Generations) -> str:
        """Keep the generations of an evaluation; the SHA-256 of the file."""

    @abstractmethod
    def read_generations(self, path: Path) -> Generations:
        """What `write_generations` wrote; DamagedFile for anything else."""
