"""Both clocks in a training loop of Lightning."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from ..clocks import Clocks
from .schedule import Due, Evaluating, Generate, geometric_steps


class LightningClocks(Callback):
    """Shows generations to `Clocks` at geometric steps, logs the ratios, and ends training when the clocks say so.

        trainer = Trainer(callbacks=[LightningClocks(clocks, lambda model: model.sample(1024))])

    Needs the package ``pytorch-lightning`` (extra ``lightning``).

    Args:
        clocks: their `stop` rule ends the training; `stop="never"` lets it go on.
        generate: from the LightningModule, in evaluation mode and without gradients, what `Clocks.see` takes.
        first, ratio: of the steps of evaluations, see `geometric_steps`.
    """

    def __init__(self, clocks: Clocks, generate: Generate, first: int = 10, ratio: float = 1.2) -> None:
        self.clocks, self.generate = clocks, generate
        self._due = Due(geometric_steps(first, ratio))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Evaluate where one is due, by `trainer.global_step`."""
        step = trainer.global_step
        if not self._due(step):
            return
        with torch.no_grad(), Evaluating(pl_module):
            ratios = self.clocks.see(step, self.generate(pl_module))
        shown = ("rule_accuracy", "memorization", "novel_valid")  # without a rule there is memorization alone
        pl_module.log_dict({name: ratios[name] for name in shown if name in ratios})
        trainer.should_stop = trainer.should_stop or self.clocks.should_stop
