"""The training engine: one model, its optimizer and averaged weights, advanced step by step."""

from __future__ import annotations

import copy
import math
import os
import threading
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..models.layers import set_precision
from ..theory import Rule
from .config import RunConfig
from .cuda_graphs import GraphedNetwork
from .data import random_stream
from .families import Batches, build_model, family
from .hardware import resolve
from .pixels import Codes
from .static_step import StaticStep

_ONE_SEED = threading.Lock()  # the seed of torch's own generator belongs to the process


class Engine:
    """A model in training. Its state is `step`, the weights, their average, the optimizer's moments and `loss_sum`.

    Args:
        config: the run; what it leaves to ``"auto"`` is resolved here.
        rule: the rule of its grids; None for numbers.
        train: training symbols (N, D), or samples (N, ...).
        encoding: of the images that its network sees; None where it sees symbols.
        static: train by `StaticStep`; by default on a GPU, as CUDA graphs.
    """

    def __init__(
        self,
        config: RunConfig,
        rule: Rule | None,
        train: Tensor,
        encoding: Codes | None,
        static: bool | None = None,
    ) -> None:
        self.config = config = resolve(config)
        self.device = torch.device(config.device)
        self.on_gpu = on_gpu = self.device.type == "cuda"
        if on_gpu:  # read when cuBLAS is first called: on several streams its sums would else differ between calls
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        with _ONE_SEED, torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_stream(config.seed, "initial weights").initial_seed())
            self.model = build_model(config.model, rule, encoding).to(self.device)
        set_precision(self.model, config.precision)
        self.average = copy.deepcopy(self.model).requires_grad_(False) if config.ema_halflife else None
        self.family = family(config.model)
        self.batches = Batches(self.family, config, train, encoding, self.device, rule)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.lr,
            betas=(0.9, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
            capturable=on_gpu,
        )
        self.step = 0
        self.loss_sum = torch.zeros((), device=self.device)  # since the last call of `take_mean_loss`
        self.loss_steps = 0
        loss = partial(self.family.loss, encoding=encoding)
        self.loss: Callable[..., Tensor] = fuse(loss) if config.compile else loss
        self._static_wanted = on_gpu if static is None else static
        self._static: StaticStep | None = None  # made at the first step, once a state to continue from is in place
        self._graphed: GraphedNetwork | None = None

    @property
    def generator_model(self) -> nn.Module:
        """The weights to generate with: averaged ones where the config asks for them."""
        return self.average if self.average is not None else self.model

    @property
    def generator(self) -> nn.Module:
        """`generator_model` to be called: on a GPU, by CUDA graphs."""
        if not self.on_gpu:
            return self.generator_model
        self._graphed = self._graphed or GraphedNetwork(self.generator_model)
        return self._graphed

    def advance(self) -> None:
        """One training step; on a GPU it is only launched."""
        if self._static_wanted:
            self._static = self._static or StaticStep(self, capture=self.on_gpu)
            self._static()
            self.step += 1
        else:
            self._advance()
        self.loss_steps += 1

    def _advance(self) -> None:
        config = self.config
        loss = self.loss(self.model, self.batches[self.step])
        loss.backward()
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.loss_sum += loss.detach()
        if self.average is not None:
            weight = self.average_weight(self.step)
            with torch.no_grad():  # else the average would keep the history of every step
                torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), weight)

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(self.config, step)

    def average_weight(self, step: int) -> float:
        """The weight of the newest weights in their average after so many steps.

        EDM's ramp: the half-life never exceeds a twentieth of the training so far.
        """
        halflife = min(self.config.ema_halflife, 0.05 * step)
        return float(1 - 0.5 ** (1 / halflife))

    def tensors(self) -> list[Tensor]:
        """The weights, their average and the loss sum, which training changes in place."""
        modules = [self.model] if self.average is None else [self.model, self.average]
        return [*(value for module in modules for value in module.state_dict().values()), self.loss_sum]

    @property
    def finite(self) -> bool:
        """Whether every loss since the last evaluation was a finite number."""
        return bool(self.loss_sum.isfinite())

    def take_mean_loss(self) -> float:
        """The mean training loss since the last call (nan if there was no step), and start anew."""
        mean = float(self.loss_sum) / self.loss_steps if self.loss_steps else math.nan
        self.loss_sum.zero_()
        self.loss_steps = 0
        return mean

    def state(self) -> dict[str, Tensor]:
        """Everything that a bit-identical continuation needs, as named tensors."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for moment, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{moment}.{name}"] = value
        tensors["loss_sum"] = self.loss_sum
        tensors["counts"] = torch.tensor([self.step, self.loss_steps])
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `state` returned.

        Raises:
            ValueError: a tensor is missing, unknown, or has another shape than this model's.
        """
        tensors = dict(tensors)
        step, self.loss_steps = _take(tensors, "counts", torch.zeros(2)).tolist()
        self._static = None  # it holds the moments that are replaced here
        self.loss_sum = _take(tensors, "loss_sum", self.loss_sum).to(self.device)
        with torch.no_grad():
            for prefix, module in (("model", self.model), ("average", self.average)):
                for name, value in (module.state_dict() if module is not None else {}).items():
                    value.copy_(_take(tensors, f"{prefix}.{name}", value))
        for name, parameter in self.model.named_parameters():
            if step == 0:
                continue
            self.optimizer.state[parameter] = {
                moment: _take(tensors, f"optimizer.{moment}.{name}", shape).to(self.device)
                for moment, shape in (("step", torch.zeros(())), ("exp_avg", parameter), ("exp_avg_sq", parameter))
            }
        if tensors:
            raise ValueError(f"the checkpoint holds tensors unknown to this model, such as {min(tensors)!r}")
        self.step = step


def learning_rate(config: RunConfig, step: int) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, then constant or a cosine that ends at 0."""
    warm = min(1.0, (step + 1) / (config.warmup + 1))
    if config.schedule == "constant":
        return config.lr * warm
    progress = max(0.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    return config.lr * warm * (1 + math.cos(math.pi * progress)) / 2


def fuse(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.compile with a fallback: where compiling fails, such as without a C++ compiler, run the plain function."""
    compiled = torch.compile(function)
    chosen: list[Callable[..., Tensor]] = []

    def call(*args: object) -> Tensor:
        if chosen:
            return chosen[0](*args)
        try:
            result = compiled(*args)
            chosen.append(compiled)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError):
            result = function(*args)
            chosen.append(function)
        return result

    return call


def _take(tensors: dict[str, Tensor], name: str, like: Tensor) -> Tensor:
    if name not in tensors:
        raise ValueError(f"the checkpoint lacks the tensor {name!r}")
    value = tensors.pop(name)
    if value.shape != like.shape:
        raise ValueError(f"tensor {name!r} has shape {tuple(value.shape)} in the checkpoint, {tuple(like.shape)} here")
    return value
