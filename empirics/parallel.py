"""Several runs at once: one process a run, one thread a process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .config import RunConfig
from .runs import Run, load_run
from .training import train


def train_all(configs: Mapping[Path, RunConfig], resume: bool = False, progress: bool = True) -> list[Run]:
    """Train each config into its folder, as many at a time as the machine has cores; runs in the order given.

    Args:
        configs: folder of each run and its config.
        resume, progress: see `train`.

    Raises:
        ValueError, OSError: what the first failing run raised; the others are left resumable.
    """
    if len(configs) == 1:
        ((out, config),) = configs.items()
        return [train(config, out, resume, progress)]
    context = multiprocessing.get_context("spawn")  # fork would copy the threads' locks of torch
    workers = min(len(configs), os.cpu_count() or 1)
    lock = context.RLock()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=tqdm.set_lock, initargs=(lock,)) as pool:
        jobs: list[Any] = [
            pool.submit(_train, config, out, resume, progress, line)
            for line, (out, config) in enumerate(configs.items())
        ]
        for job in jobs:
            job.result()
    return [load_run(out) for out in configs]


def _train(config: RunConfig, out: Path, resume: bool, progress: bool, line: int) -> None:
    train(config, out, resume, progress, line)
