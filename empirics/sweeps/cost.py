"""What runs cost: by arithmetic, to order them, and by a short measurement on this machine, to tell in advance."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from tqdm import tqdm

from ...models.layers import SIZES
from ..allocator import keep_freed_memory
from ..config import RunConfig
from ..data import random_stream
from ..engine import Engine
from ..families import Generations, family
from ..hardware import has_native_bf16, resolve
from ..tasks import task_of

Clock = Callable[[], float]
Judge = Callable[[Generations], object]
_THIN = 16  # how much smaller a batch is timed where bf16 is emulated

GPU_RATE = 1.2e14
"""Operations a second, as `expected_cost` counts them, that training is meant to reach on an H100: 800 steps of
DiT-mini with a batch of 256 grids 6x6. An aim, until `tests/gpu/speed.py` has been run on one."""


def expected_cost(config: RunConfig, step: int | None = None) -> float:
    """Floating-point operations of a run up to a step, by default the last: enough to tell long runs from short.

    `stop_when` may end a run sooner, so this is an upper bound in what it counts.
    """
    of_step, of_evaluation = step_and_evaluation_cost(config)
    last = config.steps if step is None else step
    return last * of_step + sum(at <= last for at in config.eval_steps()) * of_evaluation


def step_and_evaluation_cost(config: RunConfig) -> tuple[float, float]:
    """Floating-point operations of one training step, and of one evaluation."""
    layers, _, width = SIZES[config.model.partition("-")[2]]
    cells = task_of(config).tokens
    pass_of_one = 2.0 * cells * layers * (12 * width**2 + 2 * cells * width)  # forward, one grid
    generation = pass_of_one * family(config.model).passes(config)
    return 3 * config.batch_size * pass_of_one, config.n_eval * generation


@dataclass(frozen=True)
class Timing:
    """Seconds on this machine."""

    setup: float  # rule, training set, model
    step: float  # one training step
    evaluation: float  # one evaluation of `config.n_eval` generations

    def run(self, config: RunConfig) -> float:
        """Of a whole run that no `stop_when` ends sooner."""
        return self.setup + config.steps * self.step + len(config.eval_steps()) * self.evaluation


def measure(config: RunConfig, seconds: float = 0.4) -> Timing:
    """Time a few steps and small generations of a config, without compiling; for about a second.

    Args:
        config: the run; its evaluation is extrapolated from two small ones, its sampler from two steps.
        seconds: to spend on training steps.
    """
    # On one CPU thread, the processor's own time: true also while others use the machine.
    config = resolve(config)
    clock = time.process_time if config.device == "cpu" and config.threads == 1 else time.perf_counter
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        started = clock()
        task = task_of(config)
        data = task.data()
        emulated = config.precision == "bf16" and not has_native_bf16(config.device)  # a whole step may take a minute
        batch = max(1, config.batch_size // _THIN) if emulated else config.batch_size
        plain = replace(config, compile=False, batch_size=batch)
        engine = Engine(plain, task.rule, data.train, task.codes(data))
        evaluate = task.evaluator(data)
        setup = clock() - started
        engine.advance()
        engine.advance()
        step = _repeat(engine.advance, clock, seconds, most=64) * config.batch_size / batch
        few, many = 16, 32 if emulated else min(128, max(32, config.n_eval))
        short, long = (_time_evaluation(config, engine, evaluate, n, clock) for n in (few, many))
        growth = max(0.0, long - short) / (many - few)
        passes = family(config.model).passes
        scale = passes(config) / passes(replace(config, sampler_steps=2))
        evaluation = scale * max(short + growth * (config.n_eval - few), short / few)
        return Timing(setup, step, evaluation)
    finally:
        torch.set_num_threads(before)


def measure_all(configs: Iterable[RunConfig], progress: bool = True) -> list[Timing]:
    """`measure` for each config, once for all that differ only in what does not change the time of a step."""
    configs = list(configs)
    kinds: dict[RunConfig, Timing] = {}
    alike = [_kind(config) for config in configs]
    for kind in tqdm(dict.fromkeys(alike), desc="timing", unit="kind", disable=not progress, leave=False):
        kinds[kind] = measure(kind)
    return [kinds[kind] for kind in alike]


def wall_time(seconds: Sequence[float], workers: int) -> float:
    """When the last of some runs ends, longest first, each on the worker that is free first."""
    ends = [0.0] * max(1, min(workers, len(seconds)))
    for run in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + run)
    return max(ends)


def _kind(config: RunConfig) -> RunConfig:
    same = RunConfig()
    return replace(
        config, seed=0, steps=same.steps, lr=same.lr, warmup=same.warmup, weight_decay=same.weight_decay,
        beta2=same.beta2, schedule=same.schedule, noise_mean=same.noise_mean, noise_std=same.noise_std,
        eval_first=same.eval_first, eval_ratio=same.eval_ratio, checkpoint_ratio=same.checkpoint_ratio,
        stop_when=same.stop_when, n_train=min(config.n_train, 64),
    )  # fmt: skip


def _time_evaluation(config: RunConfig, engine: Engine, judge: Judge, n: int, clock: Clock) -> float:
    """Of n generations, with a sampler of two steps where there is one."""
    stream, short = random_stream(0, "timing"), replace(config, sampler_steps=2)

    def evaluate() -> None:
        model, encoding = engine.generator_model, engine.batches.encoding
        judge(engine.family.generate(model, n, stream, short, encoding))

    evaluate()
    return _repeat(evaluate, clock, 0.1, most=8)


def _repeat(action: Callable[[], object], clock: Clock, seconds: float, most: int) -> float:
    """Median seconds of an action, repeated for about so long."""
    times: list[float] = []
    while len(times) < most and (len(times) < 3 or sum(times) < seconds):
        started = clock()
        action()
        times.append(clock() - started)
    return median(times)
