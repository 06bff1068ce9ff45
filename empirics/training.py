"""Train a model, measuring both clocks on the way, into a run folder that a crash cannot spoil."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from ..theory import rule as build_rule
from .allocator import keep_freed_memory
from .clocks import Clocks
from .config import RunConfig, difference
from .criteria import copying_threshold, fewest_generations
from .data import random_stream, training_set
from .engine import Engine
from .families import family
from .families.family import BLOCK
from .hardware import has_native_bf16, resolve, resolve_device
from .interrupts import Interrupts, deferred
from .progress import TimedBar, seconds_left
from .runs.run import Run, environment, load_run, onset_as_json

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
        The run, with `metrics`, `onsets` and `model()`.

    Raises:
        ValueError: an impossible config; a folder in use; a config that differs from the folder's.
        DamagedFile: a run to resume has no intact state left.
        OSError: the disk is full; the earlier state is intact.
        KeyboardInterrupt, SystemExit: Ctrl-C; SIGTERM (code 143). The text says at which step the run was saved.
    """
    rule = build_rule(config.rule)
    encoding = family(config.model).encoding(config, rule)
    if config.n_train > rule.support_size:
        raise ValueError(f"n_train={config.n_train} exceeds the {rule.support_size} valid grids of {rule.spec}")
    resolve_device(config.device)  # refused before anything is written
    run, fresh = _open_folder(config, Path(out), resume)
    if run.result:
        return run
    keep_freed_memory()
    with _threads(config.threads):
        train_set = training_set(rule, config.n_train, config.seed)
        if fresh:
            run.start(train_set, resolve(config))
        resolved = _on_this_machine(run)
        engine = Engine(resolved, rule, train_set, encoding)
        if not fresh:
            _restore(run, engine)
        seen = run.metrics.assign(n_generated=config.n_eval)
        clocks = Clocks(rule, train_set, encoding, config.stop_when, seen=seen)
        _warn_of_few_generations(config, clocks.null.memorization)
        with (
            _tensorboard_log(run.path) if tensorboard else nullcontext() as log,
            deferred(progress) as interrupts,
        ):
            status = _advance(run, engine, clocks, interrupts, progress, line, log)
    run.finish(
        {
            "status": status,
            "steps": engine.step,
            "onsets": {name: onset_as_json(onset) for name, onset in clocks.onsets.items()},
            "chance": clocks.evaluator.chance,
            "null": clocks.null._asdict(),
            "group_chance": clocks.evaluator.group_chance,
            "support_size": str(rule.support_size),
            "device": resolved.device,
            "precision": resolved.precision,
            "seconds": run.metrics["seconds"].iloc[-1] if len(run.metrics) else 0.0,
            "environment": environment(),
        }
    )
    return run


def _open_folder(config: RunConfig, folder: Path, resume: bool) -> tuple[Run, bool]:
    """The run of a folder, and whether it is new."""
    if not (folder / "config.json").exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not resume:
            raise ValueError(f"{folder} exists and is not an empty folder; choose another --out")
        return Run(folder, config), True
    if not resume:
        raise ValueError(f"{folder} holds a run already; choose another --out, or --resume to continue that run")
    run = load_run(folder)
    if run.config != config:
        made_with = difference(run.config, config)
        raise ValueError(f"the run in {folder} was made with {made_with}; resume with the same arguments")
    return run, False


def _on_this_machine(run: Run) -> RunConfig:
    """The config with the device and precision that the run began with."""
    kept = run.hardware
    try:
        resolved = resolve(RunConfig.from_dict({**run.config.to_dict(), **kept}))
    except ValueError:
        raise ValueError(f"the run in {run.path} began on {kept['device']}; resume it where there is one") from None
    if run.config.precision == "auto" and resolved.precision == "bf16" and not has_native_bf16(resolved.device):
        slow = "bf16, which this machine emulates, ten times slower than fp32"
        warnings.warn(f"the run in {run.path} goes on in {slow}", stacklevel=3)
    return resolved


def _restore(run: Run, engine: Engine) -> None:
    state, faults = run.load_state()
    for fault in faults:
        warnings.warn(f"{fault}; continuing from an earlier state", stacklevel=3)
    if state:
        engine.load_state(state)
    run.forget_after(engine.step)


Log = Callable[[dict[str, float]], None]


def _advance(
    run: Run, engine: Engine, clocks: Clocks, interrupts: Interrupts, progress: bool, line: int, log: Log | None
) -> str:
    """Train to the end, evaluating on schedule; the status of the run."""
    config = engine.config
    eval_steps = set(config.eval_steps())
    measured = run.metrics
    seconds_before = float(measured["seconds"].iloc[-1]) if len(measured) else 0.0
    kept_weights = max((step for step in run.checkpoint_steps if step <= engine.step), default=0)
    started = saved = time.monotonic()
    first_step, evaluations, evaluating = engine.step, 0, 0.0  # of this call: what the time left is made of
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
            if (due or step % BLOCK == 0) and not engine.finite:
                return "diverged"
            if due:
                began = time.monotonic()
                loss = engine.take_mean_loss()
                stream = random_stream(config.seed, "generations", step)
                generations = engine.family.generate(
                    engine.generator_model, config.n_eval, stream, config, engine.batches.encoding
                )
                metrics = {"step": step, "loss": loss, **clocks.see(step, generations)}
                seconds = seconds_before + time.monotonic() - started
                run.record({**metrics, "seconds": round(seconds, 3)}, generations)
                if log is not None:
                    log(metrics)
                now = time.monotonic()
                evaluations, evaluating = evaluations + 1, evaluating + now - began
                per_step = (now - started - evaluating) / (step - first_step)
                bar.seconds_left = seconds_left(config, step, per_step, evaluating / evaluations)
                bar.set_postfix(accuracy=f"{metrics['rule_accuracy']:.2f}", memorized=f"{metrics['memorization']:.2f}")
                done = step == config.steps or clocks.should_stop
                if done or step >= config.checkpoint_ratio * kept_weights:
                    run.save_weights(engine.generator_model, step)
                    kept_weights = step
                if done:
                    return "finished" if step == config.steps else "stopped"
            if due or interrupts.came or time.monotonic() - saved > SAVE_EVERY:
                run.save_state(engine.state(), step)
                saved = time.monotonic()
            if interrupts.came:
                interrupts.act(f"{run.path} is saved at step {step}")
    return "finished"  # resumed after its last step


def _warn_of_few_generations(config: RunConfig, null: float) -> None:
    if config.n_eval < (fewest := fewest_generations(null)):
        warnings.warn(
            f"n_eval={config.n_eval} is too few for tau_mem: a model that copies nothing shows memorization of "
            f"{null:.2g} here, and {copying_threshold(null):.2g} by luck; take n_eval={fewest} or more",
            stacklevel=3,
        )


@contextmanager
def _tensorboard_log(folder: Path) -> Iterator[Log]:
    """Takes the metrics of an evaluation; closed at the end, for it has a file and a thread."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("logging for TensorBoard needs its package: pip install 'twoclocks[tensorboard]'") from None
    with SummaryWriter(str(folder / "tensorboard")) as writer:

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
