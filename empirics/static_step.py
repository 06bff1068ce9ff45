"""A training step whose inputs, state and results stay where they are, so that a CUDA graph can repeat it.

On a GPU a step of a small network is many short kernels, and launching them takes longer than running them. Here the
whole step (batch, forward, backward, clipping, optimizer, average, loss sum) is captured once as a CUDA graph and
launched as one. Batches are drawn on the CPU, a block of steps at a time, from seed and step alone: the same on every
device. They, the learning rates and the weights of the average are uploaded before the block begins; the graph
counts its steps itself, so that nothing waits for the GPU between evaluations.

Without capture the same step runs on any device. On a CPU it gives the bits of `Engine`'s plain step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .cuda_graphs import captured
from .families.family import BLOCK

if TYPE_CHECKING:
    from .engine import Engine


class StaticStep:
    """The steps of an engine, one call each.

    Args:
        engine: whose model, optimizer, average and loss sum are advanced in place.
        capture: repeat a CUDA graph; else run the operations.
    """

    def __init__(self, engine: Engine, capture: bool) -> None:
        self.engine = engine
        self._block = -1
        block = self._drawn(engine.step // BLOCK)
        self.inputs = tree_map(lambda x: torch.empty_like(x, device=engine.device), block)
        on_gpu = engine.device.type == "cuda"
        # Fused AdamW reads the rate from the GPU as float32; on a CPU, as a double like the plain step's.
        self.rates = torch.zeros(BLOCK, dtype=torch.float32 if on_gpu else torch.float64, device=engine.device)
        self.average_weights = torch.zeros(BLOCK, device=engine.device)
        self.rate = self.rates[0].clone()
        self.index = torch.zeros(1, dtype=torch.long, device=engine.device)
        for group in engine.optimizer.param_groups:
            group["lr"] = self.rate
        self._run: Callable[[], object] = self.compute
        if capture:
            self._upload(engine.step // BLOCK)
            with unchanged(engine, self.index):
                self._run = captured(self.compute)

    def __call__(self) -> None:
        """Advance by the step that the engine's counter names; the caller counts."""
        step = self.engine.step
        if step // BLOCK != self._block:
            self._upload(step // BLOCK)
        self._run()

    def compute(self) -> None:
        """The work of one step on the device; nothing in it depends on a value that the CPU would have to know."""
        engine = self.engine
        batch = tree_map(self._now, self.inputs)
        self.rate.copy_(self._now(self.rates))
        loss = engine.loss(engine.model, batch)
        loss.backward()
        if engine.config.clip_norm:
            nn.utils.clip_grad_norm_(engine.model.parameters(), engine.config.clip_norm)
        engine.optimizer.step()
        engine.optimizer.zero_grad(set_to_none=True)
        engine.loss_sum += loss.detach()
        if engine.average is not None:
            average(engine.average, engine.model, self._now(self.average_weights))
        self.index += 1

    def _now(self, block: Tensor) -> Tensor:
        return block.index_select(0, self.index).squeeze(0)

    def _drawn(self, block: int) -> Any:
        """The inputs of a block of steps on the CPU, stacked."""
        batches = self.engine.batches.of_block(block)
        return tree_map(lambda *fields: torch.stack(fields), *batches)

    def _upload(self, block: int) -> None:
        """Bring a block's inputs, learning rates and average's weights to the device, and stand at the present step."""
        engine, first = self.engine, block * BLOCK
        steps = range(first, first + BLOCK)
        tree_map(_send, self._drawn(block), self.inputs)
        _send(torch.tensor([engine.learning_rate(k) for k in steps], dtype=self.rates.dtype), self.rates)
        if engine.average is not None:
            _send(torch.tensor([engine.average_weight(k + 1) for k in steps]), self.average_weights)
        self.index.fill_(engine.step - first)
        self._block = block


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, weight: Tensor) -> None:
    """averaged += weight (model - averaged), the weight a tensor of no dimension on their device."""
    there: list[Tensor] = list(averaged.parameters())
    here: list[Tensor] = list(model.parameters())
    if weight.device.type == "cuda":
        average_at_once(there, here, weight)
        return
    for a, b in zip(there, here, strict=True):
        a.lerp_(b, weight)


@torch.no_grad()
def average_at_once(there: list[Tensor], here: list[Tensor], weight: Tensor) -> None:
    """`average` in three kernels over all tensors, where `lerp` by a tensor would launch one for each."""
    difference = torch._foreach_sub(here, there)
    torch._foreach_mul_(difference, weight)
    torch._foreach_add_(there, difference)


class unchanged:
    """Within, the engine's tensors may be advanced; at the end they are what they were, in the same memory."""

    def __init__(self, engine: Engine, *more: Tensor) -> None:
        self.engine = engine
        self.more = more

    def __enter__(self) -> None:
        self._tensors = [*self.engine.tensors(), *self.more]
        self._before = [x.detach().clone() for x in self._tensors]
        self._moments = {p: {k: v.clone() for k, v in s.items()} for p, s in self.engine.optimizer.state.items()}

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for x, value in zip(self._tensors, self._before, strict=True):
                x.copy_(value)
            for p, moments in self.engine.optimizer.state.items():
                for name, value in moments.items():
                    value.copy_(self._moments[p][name]) if p in self._moments else value.zero_()


def _send(source: Tensor, target: Tensor) -> None:
    """Copy to the device without waiting for what is under way there."""
    if target.device.type == "cuda":
        source = source.pin_memory()  # kept by torch until the copy is done
    target.copy_(source, non_blocking=True)
