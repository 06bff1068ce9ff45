"""Learning a rule from valid grids: symbols, exact chance, and both clocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ...theory import Encoding, Rule
from ...theory import rule as build_rule
from ..clocks import Clocks
from ..data import hash_rows, training_set
from ..evaluation import Evaluator
from ..families import Generations, family
from ..onsets import onset_as_json
from ..runs.files import read_symbols, write_symbols
from ..runs.foreign_files import DamagedFile, printable
from .task import Task, TrainingData


@cache
def rule_size(spec: str) -> tuple[int, int]:
    """Cells of a rule's grid, and how many grids are valid; kept, for some rules take seconds to build."""
    built = build_rule(spec)
    return built.dim, built.support_size


class RuleTask(Task):
    """See `Task`; its samples are symbols (N, D), all different and valid."""

    @cached_property
    def rule(self) -> Rule:  # built once
        return build_rule(self.config.rule)

    def check(self) -> None:
        config = self.config
        if config.stop_when == "patience":
            raise ValueError("stop_when='patience' is for data= of your own; with a rule take both or copied")
        _, support_size = rule_size(config.rule)
        if config.n_train > support_size:
            raise ValueError(f"n_train={config.n_train} exceeds the {support_size} valid grids of {config.rule}")
        kind = family(config.model)
        if config.encoding is not None:
            kind.encoding(config, self.rule)

    @property
    def tokens(self) -> int:
        return rule_size(self.config.rule)[0]

    def data(self) -> TrainingData:
        return TrainingData(training_set(self.rule, self.config.n_train, self.config.seed))

    def codes(self, data: TrainingData | None) -> Encoding | None:
        return family(self.config.model).encoding(self.config, self.rule)

    def evaluator(self, data: TrainingData) -> Callable[[Generations], dict[str, float]]:
        return Evaluator(self.rule, data.train).metrics

    def clocks(self, data: TrainingData, seen: pd.DataFrame | None = None) -> Clocks:
        return Clocks(self.rule, data.train, self.codes(data), self.config.stop_when, seen=seen)

    def see(
        self, clocks: Clocks, step: int, generations: Generations, model: nn.Module, data: TrainingData
    ) -> dict[str, float]:
        return clocks.see(step, generations)

    def outcome(self, clocks: Clocks) -> dict[str, Any]:
        return {
            "onsets": {name: onset_as_json(onset) for name, onset in clocks.onsets.items()},
            "chance": clocks.evaluator.chance,
            "null": clocks.null._asdict(),
            "group_chance": clocks.evaluator.group_chance,
            "support_size": str(self.rule.support_size),
        }

    def floors(self, data: TrainingData) -> dict[str, float]:
        return family(self.config.model).floors(self.config, self.rule, data.train, self.codes(data))

    def write_data(self, path: Path, data: TrainingData) -> None:
        write_symbols(path, data.train.numpy(), self.rule.alphabet)

    def read_data(self, path: Path) -> TrainingData:
        rule = self.rule
        x = torch.from_numpy(read_symbols(path, self.config.n_train, rule.dim, rule.alphabet)[0])
        if not rule.is_valid(x).all() or len(hash_rows(x)) != len(x):
            raise DamagedFile(f"{printable(path)} does not hold different valid grids of {rule.spec}")
        return TrainingData(x)

    def check_source(self, path: Path) -> None:
        """Its grids follow from rule, N and seed."""

    def write_generations(self, path: Path, generations: Generations) -> str:
        flags = generations.ambiguous.numpy()
        return write_symbols(path, generations.symbols.numpy(), self.rule.alphabet, ambiguous=flags)

    def read_generations(self, path: Path) -> Generations:
        rule = self.rule
        x, flags = read_symbols(path, self.config.n_eval, rule.dim, rule.alphabet)
        if "ambiguous" not in flags:
            raise DamagedFile(f"{printable(path)} does not say which grids are ambiguous")
        return Generations(torch.from_numpy(x), torch.from_numpy(flags["ambiguous"]))
