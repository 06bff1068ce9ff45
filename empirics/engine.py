"""The training engine: one model, its optimizer and averaged weights, advanced step by step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..models.layers import set_precision
from ..theory import Rule
from .config import RunConfig
from .data import random_stream
from .families import Batches, build_model, family
from .hardware import resolve
from .pixels import Codes


class Engine:
    """A model in training. Its state is `step`, the weights, their average, the optimizer's moments and `loss_sum`.

    Args:
        config: the run; what it leaves to ``"auto"`` is resolved here.
        rule: the rule of its grids; None for numbers.
        train: training symbols (N, D), or samples (N, ...).
        encoding: of the images that its network sees; None where it sees symbols.
    """

    def __init__(self, config: RunConfig, rule: Rule | None, train: Tensor, encoding: Codes | None) -> None:
        self.config = config = resolve(config)
        self.device = torch.device(config.device)
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.set_float32_matmul_precision("high")  # TF32 in what stays float32
        with torch.random.fork_rng(devices=[]):
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
        )
        self.step = 0
        self.loss_sum = torch.zeros((), device=self.device)  # since the last call of `take_mean_loss`
        self.loss_steps = 0
        loss = partial(self.family.loss, encoding=encoding)
        # CUDA graphs where there are any: at these sizes a GPU waits for its launches.
        mode = "reduce-overhead" if on_gpu else "default"
        self._loss: Callable[..., Tensor] = fuse(loss, mode) if config.compile else loss

    @property
    def generator_model(self) -> nn.Module:
        """The weights to generate with: averaged ones where the config asks for them."""
        return self.average if self.average is not None else self.model

    def advance(self) -> None:
        """One training step."""
        config = self.config
        loss = self._loss(self.model, self.batches[self.step])
        loss.backward()
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.loss_sum += loss.detach()
        self.loss_steps += 1
        if self.average is not None:
            # EDM's ramp: the half-life never exceeds a twentieth of the training so far.
            halflife = min(config.ema_halflife, 0.05 * self.step)
            weight = 1 - 0.5 ** (1 / halflife)
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), weight)

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


def fuse(function: Callable[..., Tensor], mode: str = "default") -> Callable[..., Tensor]:
    """torch.compile with a fallback: where compiling fails, such as without a C++ compiler, run the plain function."""
    compiled = torch.compile(function, mode=mode)
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
