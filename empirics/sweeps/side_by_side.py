"""Several runs at once on one GPU: each in a thread of this process, on a stream of its own.

A small network leaves most of a GPU idle, and processes that share one take turns; streams of one process run together.
Launching a step costs a thread little, since it is one CUDA graph, so that Python's lock is no hindrance.

The streams are made once. torch has `STREAMS` of them on a device and hands them out in turn: made anew for each call,
two calls at once could come to share one, and work of one while the other captures its graph would go into that graph.
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

STREAMS = 32
"""Streams that torch has on one device."""
LISTEN_EVERY = 0.1
"""Seconds between the calls that end the trainings under way."""


class SideBySide(SlotExecutor):
    """An executor of calls in threads of this process, `per_device` at a time on each device.

    Args:
        devices: such as cuda:0; within a call, ``"cuda"`` means its device.
        per_device: calls at a time on one device.

    Raises:
        ValueError: no device, or not from 1 to `STREAMS` calls.
    """

    def __init__(self, devices: Sequence[str], per_device: int) -> None:
        if not devices or not 1 <= per_device <= STREAMS:
            raise ValueError(
                f"per_device must be 1 or more, at most {STREAMS}, on one or more devices; "
                f"got {per_device} on {devices!r}"
            )
        self._slots = len(devices) * per_device
        super().__init__(self._slots)
        self._free: queue.SimpleQueue[tuple[str, torch.cuda.Stream | None]] = queue.SimpleQueue()
        for _ in range(per_device):  # neighbours in the queue of runs go to different devices
            for device in devices:
                self._free.put((device, new_stream(device)))

    def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        slot = self._free.get()
        try:
            with on_stream(*slot):
                return fn(*args, **kwargs)
        finally:
            self._free.put(slot)

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


def new_stream(device: str) -> torch.cuda.Stream | None:
    """A stream of a GPU; None on a CPU, which has none."""
    return torch.cuda.Stream(device) if torch.device(device).type == "cuda" else None


@contextmanager
def on_stream(device: str, stream: torch.cuda.Stream | None) -> Iterator[None]:
    """Within, this thread's work on CUDA goes to a stream of the device; nothing changes on a CPU."""
    if stream is None:
        yield
        return
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield
