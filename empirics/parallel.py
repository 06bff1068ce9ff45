"""Several runs at once: one process a run, one thread a process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from .config import RunConfig
from .runs import Run, load_run
from .training import train


def train_all(
    configs: Mapping[Path, RunConfig], resume: bool = False, progress: bool = True, tensorboard: bool = False
) -> list[Run]:
    """Train each config into its folder, as many at a time as the machine has cores; runs in the order given.

    Args:
        configs: folder of each run and its config.
        resume, tensorboard: see `train`.
        progress: show a bar for each run; with more runs than cores, one bar that counts them.

    Raises:
        ValueError, OSError: what the first failing run raised; runs not yet started are left out, and those under way
            are finished.
    """
    if len(configs) == 1:
        ((out, config),) = configs.items()
        return [train(config, out, resume, progress, tensorboard=tensorboard)]
    context = multiprocessing.get_context("spawn")  # fork would copy the threads' locks of torch
    workers = min(len(configs), os.cpu_count() or 1)
    each = progress and len(configs) <= workers
    lock = context.RLock()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=tqdm.set_lock, initargs=(lock,)) as pool:
        jobs = [
            pool.submit(_train, config, out, resume, each, line, tensorboard)
            for line, (out, config) in enumerate(configs.items())
        ]
        try:
            for job in tqdm(as_completed(jobs), total=len(jobs), unit="run", disable=each or not progress):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [load_run(out) for out in configs]


def _train(config: RunConfig, out: Path, resume: bool, progress: bool, line: int, tensorboard: bool) -> None:
    train(config, out, resume, progress, line, tensorboard)
