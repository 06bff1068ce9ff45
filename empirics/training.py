"""Train a model, measuring both clocks on the way, into a run folder that a crash cannot spoil."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from ..models import MODEL_NAMES
from ..theory import rule as build_rule
from .allocator import keep_freed_memory
from .config import RunConfig, difference
from .criteria import copying_threshold, fewest_generations
from .data import random_stream, training_set
from .engine import Engine
from .evaluation import Evaluator, generate
from .objectives import BLOCK
from .onsets import Onset, clock_onsets, detect_onset
from .runs.run import Run, environment, load_run, onset_as_json, resolve_encoding

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
    """
    rule = build_rule(config.rule)
    if config.model not in MODEL_NAMES:
        raise ValueError(f"unknown model {config.model!r}; known models: {', '.join(MODEL_NAMES)}")
    encoding = resolve_encoding(config, rule)
    if config.n_train > rule.support_size:
        raise ValueError(f"n_train={config.n_train} exceeds the {rule.support_size} valid grids of {rule.spec}")
    try:
        torch.empty(0, device=config.device)
    except (RuntimeError, AssertionError) as fault:
        raise ValueError(f"device {config.device!r} cannot be used here: {str(fault).splitlines()[0]}") from None
    run, fresh = _open_folder(config, Path(out), resume)
    if run.result:
        return run
    keep_freed_memory()
    with _threads(config.threads):
        train_set = training_set(rule, config.n_train, config.seed)
        if fresh:
            run.start(train_set)
        engine = Engine(config, rule, train_set, encoding)
        if not fresh:
            _restore(run, engine)
        evaluator = Evaluator(rule, train_set)
        _warn_of_few_generations(config, evaluator)
        with _tensorboard_log(run.path) if tensorboard else nullcontext() as log:
            status = _advance(run, engine, evaluator, progress, line, log)
    onsets = _onsets(run, evaluator)
    run.finish(
        {
            "status": status,
            "steps": engine.step,
            "onsets": {name: onset_as_json(onset) for name, onset in onsets.items()},
            "chance": evaluator.chance,
            "null": evaluator.null._asdict(),
            "group_chance": evaluator.group_chance,
            "support_size": str(rule.support_size),
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


def _restore(run: Run, engine: Engine) -> None:
    state, faults = run.load_state()
    for fault in faults:
        warnings.warn(f"{fault}; continuing from an earlier state", stacklevel=3)
    if state:
        engine.load_state(state)
    run.forget_after(engine.step)


Log = Callable[[dict[str, float]], None]


def _advance(run: Run, engine: Engine, evaluator: Evaluator, progress: bool, line: int, log: Log | None) -> str:
    """Train to the end, evaluating on schedule; the status of the run."""
    config = engine.config
    eval_steps = set(config.eval_steps())
    measured = run.metrics
    seconds_before = float(measured["seconds"].iloc[-1]) if len(measured) else 0.0
    kept_weights = max((step for step in run.checkpoint_steps if step <= engine.step), default=0)
    started = saved = time.monotonic()
    bar = tqdm(
        total=config.steps, initial=engine.step, desc=f"{config.model} {config.rule} N={config.n_train}",
        unit="step", position=line, disable=not progress, leave=False, dynamic_ncols=True, smoothing=0.1,
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
                loss = engine.take_mean_loss()
                generations = generate(
                    engine.generator_model, config.n_eval, random_stream(config.seed, "generations", step),
                    engine.batches.encoding, config.sampler_steps, config.sampler,
                )  # fmt: skip
                metrics = {"step": step, "loss": loss, **evaluator.metrics(generations)}
                seconds = seconds_before + time.monotonic() - started
                run.record({**metrics, "seconds": round(seconds, 3)}, generations)
                if log is not None:
                    log(metrics)
                bar.set_postfix(accuracy=f"{metrics['rule_accuracy']:.2f}", memorized=f"{metrics['memorization']:.2f}")
                done = step == config.steps or _may_stop(config.stop_when, run.metrics, _onsets(run, evaluator))
                if done or step >= config.checkpoint_ratio * kept_weights:
                    run.save_weights(engine.generator_model, step)
                    kept_weights = step
                if done:
                    return "finished" if step == config.steps else "stopped"
            if due or time.monotonic() - saved > SAVE_EVERY:
                run.save_state(engine.state(), step)
                saved = time.monotonic()
    return "finished"  # resumed after its last step


def _onsets(run: Run, evaluator: Evaluator) -> dict[str, Onset]:
    metrics = run.metrics
    if metrics.empty:  # diverged before the first evaluation: nothing is known
        unknown = Onset(float("inf"), 0.0, float("inf"), True)
        return {"tau_rule": unknown, "tau_mem": unknown}
    null, n_eval = evaluator.null.memorization, run.config.n_eval
    return clock_onsets(metrics, evaluator.chance, evaluator.rule.alphabet, null, n_eval)


def _warn_of_few_generations(config: RunConfig, evaluator: Evaluator) -> None:
    null = evaluator.null.memorization
    if config.n_eval < (fewest := fewest_generations(null)):
        warnings.warn(
            f"n_eval={config.n_eval} is too few for tau_mem: a model that copies nothing shows memorization of "
            f"{null:.2g} here, and {copying_threshold(null):.2g} by luck; take n_eval={fewest} or more",
            stacklevel=3,
        )


def _may_stop(stop_when: str, metrics: pd.DataFrame, onsets: dict[str, Onset]) -> bool:
    if stop_when == "copied":
        copies = detect_onset(metrics["step"].to_numpy(), metrics["memorization"].to_numpy(), 0.3, patience=2)
        return not (copies.censored or onsets["tau_rule"].censored or onsets["tau_mem"].censored)
    wanted = {"never": [], "ruled": ["tau_rule"], "memorized": ["tau_mem"], "both": ["tau_rule", "tau_mem"]}[stop_when]
    return bool(wanted) and not any(onsets[name].censored for name in wanted)


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
