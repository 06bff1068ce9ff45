"""Train a model, measuring both clocks on the way, into a run folder that a crash cannot spoil."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .allocator import keep_freed_memory
from .clocks import Clocks
from .config import RunConfig, difference
from .criteria import copying_threshold, fewest_generations
from .data import random_stream
from .engine import Engine
from .families.family import BLOCK
from .hardware import has_native_bf16, resolve, resolve_device
from .interrupts import Interrupts, deferred
from .progress import TimedBar, seconds_left
from .runs.foreign_files import DamagedFile, own_folder
from .runs.lock import LOCK, FolderInUse, hold
from .runs.reading import UNFINISHED
from .runs.run import Run, environment, load_run
from .runs.writing import RunWriter, blocks_a_start
from .tasks import Task, TrainingData, task_of
from .time_limit import time_left

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_SHOWN = {"rule_accuracy": "accuracy", "held_out_loss": "held out", "memorization": "memorized"}

SAVE_EVERY = 60.0
"""Seconds of training after which the state is saved, besides at every evaluation."""


def train(
    config: RunConfig,
    out: str | Path,
    resume: bool = False,
    progress: bool = True,
    line: int = 0,
    tensorboard: bool = False,
) -> Run:
    """Train a model and measure both clocks.

    One process at a time: the folder is locked while it is written (see `runs/lock.py`). Ctrl-C and SIGTERM take effect
    at the end of a training step, once the state is saved; a second one at once. So does the end of a `time_limit`.

    Args:
        config: what to do.
        out: folder for the run; must be new or empty unless `resume`.
        resume: continue the run in `out`, asked for with the same config, to the result it would have had; a run that
            has ended is returned as it is, and a folder without a run starts one.
        progress: show a progress bar with rate and time left.
        line: screen line of the bar, for runs side by side.
        tensorboard: also log every evaluation for TensorBoard, into the folder's ``tensorboard/``; needs the extra of
            that name.

    Returns:
        The run, with `metrics`, `onsets` and `model()`; unfinished where a `time_limit` is over: the same call with
        `resume` continues it.

    Raises:
        ValueError: an impossible config; a folder in use; a config that differs from the folder's; `FolderInUse` where
            another process trains there.
        DamagedFile: a run to resume does not hold, or has no intact state left.
        OSError: the disk is full; the earlier state is intact.
        KeyboardInterrupt, SystemExit: Ctrl-C; SIGTERM (code 143). The text says at which step the run was saved.
    """
    task = task_of(config)
    task.check()
    resolve_device(config.device)  # refused before anything is written
    writer = _summary_writer() if tensorboard else None
    folder = Path(out)
    run, _ = _open_folder(config, folder, resume)  # refuses before anything is written
    if not run.ended:
        with hold(folder), _threads(config.threads), deferred(progress) as interrupts:
            run, fresh = _open_folder(config, folder, resume)  # again: now nobody else writes
            if not run.ended:
                keep_freed_memory()
                log = _tensorboard_log(run.path, writer) if writer else nullcontext()
                _train(run, fresh, task, interrupts, progress, line, log)
    if run.litter() or os.path.lexists(folder / LOCK):  # left by a process that was killed as it ended
        with suppress(FolderInUse, OSError), hold(folder):
            run.tidy()
    return run


Log = Callable[[dict[str, float]], None]


def _open_folder(config: RunConfig, folder: Path, resume: bool) -> tuple[RunWriter, bool]:
    """The run of a folder, and whether it is new."""
    if not os.path.lexists(folder / "config.json"):
        if foreign := blocks_a_start(folder):
            advice = "it has no config.json to resume from; " if resume else ""
            raise ValueError(f"{folder} exists and is not an empty folder ({foreign}); {advice}choose another --out")
        return RunWriter(folder, config), True
    if not resume:
        raise ValueError(f"{folder} holds a run already; choose another --out, or --resume to continue that run")
    run = RunWriter(folder, load_run(folder).config)
    if run.config != config:
        made_with = difference(run.config, config)
        raise ValueError(f"the run in {folder} was made with {made_with}; resume with the same arguments")
    run.task.check_source(run.path / "training_set.npz")
    return run, False


def _train(
    run: RunWriter,
    fresh: bool, task: Task, interrupts: Interrupts, progress: bool, line: int,
    log: AbstractContextManager[Log | None],
) -> None:  # fmt: skip
    config = run.config
    data = task.data()
    if fresh:
        run.start(data, resolve(config))
    elif not run.training_data.same(data):
        path = run.path / "training_set.npz"
        of = "file" if task.rule is None else "rule"
        raise DamagedFile(f"{path} is not the training set of this {of}, N and seed; start the run in another folder")
    resolved = _on_this_machine(run)
    engine = Engine(resolved, task.rule, data.train, task.codes(data))
    if not fresh:
        _restore(run, engine)
    seen = run.metrics.assign(n_generated=config.n_eval)
    clocks = task.clocks(data, seen)
    outcome = task.outcome(clocks)
    _warn_of_few_generations(config, outcome["null"]["memorization"])
    with log as opened:
        status = _advance(run, engine, task, data, clocks, interrupts, progress, line, opened)
    if status == UNFINISHED:
        return
    metrics = run.metrics
    run.finish(
        {
            "status": status,
            "steps": engine.step,
            **task.outcome(clocks),
            "device": resolved.device,
            "precision": resolved.precision,
            "seconds": metrics["seconds"].iloc[-1] if len(metrics) else 0.0,
            "environment": environment(),
        }
    )


def _on_this_machine(run: RunWriter) -> RunConfig:
    """The config with the device and precision that the run began with."""
    kept = run.hardware
    try:
        resolved = resolve(RunConfig.from_dict({**run.config.to_dict(), **kept}))
    except ValueError:
        raise ValueError(f"the run in {run.path} began on {kept['device']}; resume it where there is one") from None
    if run.config.precision == "auto" and resolved.precision == "bf16" and not has_native_bf16(resolved.device):
        slow = "bf16, which this machine emulates, ten times slower than fp32"
        warnings.warn(f"the run in {run.path} goes on in {slow}", stacklevel=4)
    return resolved


def _restore(run: RunWriter, engine: Engine) -> None:
    weights = sum(parameter.nbytes for parameter in engine.model.parameters())
    state, faults = run.load_state(largest=5 * weights + 2**24)  # weights, their average, two moments
    for fault in faults:
        warnings.warn(f"{fault}; continuing from an earlier state", stacklevel=4)
    if state:
        engine.load_state(state)
    run.tidy()
    run.forget_after(engine.step)
    run.check_bulk(whole=True)


def _advance(
    run: RunWriter,
    engine: Engine, task: Task, data: TrainingData, clocks: Clocks, interrupts: Interrupts, progress: bool,
    line: int, log: Log | None,
) -> str:  # fmt: skip
    """Train to the end, or to that of a `time_limit`, evaluating on schedule; the status of the run."""
    config = engine.config
    eval_steps = set(config.eval_steps())
    measured = run.metrics
    seconds_before = float(measured["seconds"].iloc[-1]) if len(measured) else 0.0
    kept_weights = max((step for step in run.checkpoint_steps if step <= engine.step), default=0)
    started = saved = time.monotonic()
    first_step, evaluations, evaluating = engine.step, 0, 0.0  # of this call: what the time left is made of
    longest = 0.0  # evaluation, in seconds: none is begun that the time left does not suffice for
    bar = TimedBar(
        total=config.steps, initial=engine.step, desc=f"{config.model} {config.rule} N={config.n_train}",
        unit="step", position=line, disable=not progress, leave=False, dynamic_ncols=True, smoothing=0.1,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{left}, {rate_fmt}{postfix}]",
    )  # fmt: skip
    with bar:
        while engine.step < config.steps:
            engine.advance()
            step = engine.step
            bar.update()
            due = step in eval_steps
            if (due or (step % BLOCK == 0 and not engine.on_gpu)) and not engine.finite:  # to look is to wait for a GPU
                return "diverged"
            if due:
                began = time.monotonic()
                loss = engine.take_mean_loss()
                stream = random_stream(config.seed, "generations", step)
                generations = engine.family.generate(
                    engine.generator, config.n_eval, stream, config, engine.batches.encoding
                )
                seen = task.see(clocks, step, generations, engine.generator_model, data)
                metrics = {"step": step, "loss": loss, **seen}
                seconds = seconds_before + time.monotonic() - started
                run.record({**metrics, "seconds": round(seconds, 3)}, generations)
                if log is not None:
                    log(metrics)
                now = time.monotonic()
                evaluations, evaluating = evaluations + 1, evaluating + now - began
                longest = max(longest, now - began)
                per_step = (now - started - evaluating) / (step - first_step)
                bar.seconds_left = seconds_left(config, step, per_step, evaluating / evaluations)
                bar.set_postfix({text: f"{metrics[name]:.2f}" for name, text in _SHOWN.items() if name in metrics})
                done = step == config.steps or clocks.should_stop
                if done or step >= config.checkpoint_ratio * kept_weights:
                    run.save_weights(engine.generator_model, step)
                    kept_weights = step
                if done:
                    return "finished" if step == config.steps else "stopped"
            over = time_left() <= (longest if step + 1 in eval_steps else 0)
            if due or over or interrupts.came or time.monotonic() - saved > SAVE_EVERY:
                run.save_state(engine.state(), step)
                saved = time.monotonic()
            if interrupts.came:
                interrupts.act(f"{run.path} is saved at step {step}")
            if over:
                return UNFINISHED
    return "finished"  # resumed after its last step


def _warn_of_few_generations(config: RunConfig, null: float) -> None:
    if config.n_eval < (fewest := fewest_generations(null)):
        warnings.warn(
            f"n_eval={config.n_eval} is too few for tau_mem: a model that copies nothing shows memorization of "
            f"{null:.2g} here, and {copying_threshold(null):.2g} by luck; take n_eval={fewest} or more",
            stacklevel=4,
        )


def _summary_writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("logging for TensorBoard needs its package: pip install 'twoclocks[tensorboard]'") from None
    return SummaryWriter


@contextmanager
def _tensorboard_log(folder: Path, writer_class: type[SummaryWriter]) -> Iterator[Log]:
    """Takes the metrics of an evaluation; closed at the end, for it has a file and a thread."""
    with writer_class(str(own_folder(folder / "tensorboard"))) as writer:

        def log(metrics: dict[str, float]) -> None:
            for name, value in metrics.items():
                writer.add_scalar(name, value, int(metrics["step"]))
            writer.flush()

        yield log


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
