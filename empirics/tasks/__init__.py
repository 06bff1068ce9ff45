"""What a run learns: a rule, or arrays of one's own. What differs between them is a `Task`, found from the config."""

from __future__ import annotations

from ..config import RunConfig
from .task import Task, TrainingData

__all__ = ["Task", "TrainingData", "task_of"]


def task_of(config: RunConfig) -> Task:
    """The task of a run."""
    from .array_task import ArrayTask
    from .rule_task import RuleTask

    return RuleTask(config) if config.data is None else ArrayTask(config)
