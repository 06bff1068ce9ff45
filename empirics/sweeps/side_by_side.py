"""Several runs at once on one GPU: each in a thread of this process, on a stream of its own.

A small network leaves most of a GPU idle, and processes that share one take turns; streams of one process run together.
Launching a step costs a thread little, since it is one CUDA graph, so that Python's lock is no hindrance.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..config import RunConfig
from ..interrupts import stop_threads
from .executors import SlotExecutor

LISTEN_EVERY = 0.1
"""Seconds between the calls that end the trainings under way."""


class SideBySide(SlotExecutor):
    """An executor of calls in threads of this process, `per_device` at a time on each device.

    Args:
        devices: such as cuda:0; within a call, ``"cuda"`` means its device.
        per_device: calls at a time on one device.

    Raises:
        ValueError: no device, or fewer than one call.
    """

    def __init__(self, devices: Sequence[str], per_device: int) -> None:
        if not devices or per_device < 1:
            raise ValueError(f"per_device must be 1 or more on one or more devices, got {per_device} on {devices!r}")
        self._slots = len(devices) * per_device
        super().__init__(self._slots)
        self._free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for _ in range(per_device):  # neighbours in the queue of runs go to different devices
            for device in devices:
                self._free.put(device)

    def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        device = self._free.get()
        try:
            with on_own_stream(device):
                return fn(*args, **kwargs)
        finally:
            self._free.put(device)

    def abort(self) -> None:
        while self._free.qsize() < self._slots:  # a training that is only about to begin hears a later call
            stop_threads()
            time.sleep(LISTEN_EVERY)


PER_DEVICE = 4
"""Runs at a time on a GPU where nothing else is said."""


def usual_per_device(configs: Iterable[RunConfig], workers: int | None = None) -> int | None:
    """`PER_DEVICE` for runs that train on a GPU of this machine, unless processes are asked for; else None."""
    on_gpu = gpus() and any(config.device == "auto" or config.device.startswith("cuda") for config in configs)
    return PER_DEVICE if on_gpu and workers is None else None


def gpus() -> list[str]:
    """The CUDA devices of this machine: cuda:0, cuda:1, ..; none where there is none."""
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []


@contextmanager
def on_own_stream(device: str) -> Iterator[None]:
    """Within, this thread's work on CUDA goes to a new stream of the device; nothing changes on a CPU."""
    if torch.device(device).type != "cuda":
        yield
        return
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
        yield
