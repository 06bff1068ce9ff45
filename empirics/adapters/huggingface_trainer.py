"""Both clocks in a training loop of Hugging Face's Trainer."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..clocks import Clocks
from .schedule import Due, Evaluating, Generate, geometric_steps


class TrainerClocks(TrainerCallback):
    """Shows generations to `Clocks` at geometric steps, and ends training when the clocks say so.

        trainer = Trainer(..., callbacks=[TrainerClocks(clocks, generate)])

    Needs the package ``transformers``. The ratios are in ``clocks.table``.

    Args:
        clocks: their `stop` rule ends the training; `stop="never"` lets it go on.
        generate: from the model, in evaluation mode and without gradients, what `Clocks.see` takes.
        first, ratio: of the steps of evaluations, see `geometric_steps`.
    """

    def __init__(self, clocks: Clocks, generate: Generate, first: int = 10, ratio: float = 1.2) -> None:
        self.clocks, self.generate = clocks, generate
        self._due = Due(geometric_steps(first, ratio))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> TrainerControl:
        """Evaluate where one is due, by `state.global_step`."""
        if self._due(state.global_step):
            with torch.no_grad(), Evaluating(rest["model"]) as model:
                self.clocks.see(state.global_step, self.generate(model))
            control.should_training_stop = control.should_training_stop or self.clocks.should_stop
        return control
