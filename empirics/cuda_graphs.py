"""CUDA graphs: work on a GPU that is recorded once and then launched as one.

What torch's documentation of CUDA graphs asks for: inputs, state and results stay at their addresses; the work is run a
few times before, on the stream that it is captured on; nothing in it reads a value back. Captures are thread-local, and
one at a time, so that other runs of this process go on meanwhile on streams of their own.

A graph is captured on the stream that it runs on. cuBLAS has a workspace for each stream and thread, and all backward
passes on a device share one thread: graphs captured on one stream but run on two would share a workspace. Only the
default stream cannot be captured, so that another stands in for it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 3
"""Runs before a capture, in which libraries choose their kernels and take their memory."""

_ONE_CAPTURE = threading.Lock()


def captured(work: Callable[[], Any]) -> Callable[[], Any]:
    """A call that repeats `work` as a CUDA graph, and returns the tensors that `work` returned, with their new values.

    The work is run `WARM_UP` times: restore what it advances. Where it cannot be captured, a warning says why, and it
    is run as it is.
    """
    graph = torch.cuda.CUDAGraph()
    here = torch.cuda.current_stream()
    side = torch.cuda.Stream() if here == torch.cuda.default_stream() else here
    with _ONE_CAPTURE:
        side.wait_stream(here)
        try:
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    work()
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                result = work()
        except RuntimeError as fault:
            first = str(fault).splitlines()[0]
            warnings.warn(f"no CUDA graph here ({first}); running the operations one by one", stacklevel=2)
            torch.cuda.synchronize()  # a stream whose capture failed cannot be waited for
            return work
        here.wait_stream(side)

    def repeat() -> Any:
        graph.replay()
        return result

    return repeat


class GraphedNetwork(nn.Module):
    """A network whose calls are CUDA graphs, one for each kind of input; its weights may change in place.

    Args:
        net: the network; its attributes are found here too. A method ``fill`` of one tensor, and ``generate`` that
            calls it, are graphed likewise.
        capture: turns a function without arguments into one that repeats it; for tests without a GPU.
    """

    def __init__(self, net: nn.Module, capture: Callable[[Callable[[], Any]], Callable[[], Any]] = captured) -> None:
        super().__init__()
        self.net = net
        self._capture = capture
        self._known: dict[tuple[Any, ...], tuple[tuple[Tensor, ...], Callable[[], Tensor]]] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("net"), name)

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the network answers."""
        return self._repeat("forward", self.net, inputs)

    def fill(self, *inputs: Tensor) -> Tensor:
        """What the network's own `fill` answers."""
        fill: Any = self.net.fill
        return self._repeat("fill", fill, inputs)

    def generate(self, *args: Any) -> Any:
        """The network's own `generate`, with the `fill` of this one."""
        kind: Any = type(self.net)
        return kind.generate(self, *args)

    def _repeat(self, name: str, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
        kind = (name, *((x.shape, x.dtype) for x in inputs))
        if kind not in self._known:
            places = tuple(x.clone() for x in inputs)
            self._known[kind] = places, self._capture(lambda: function(*places))
        places, call = self._known[kind]
        for place, x in zip(places, inputs, strict=True):
            place.copy_(x)
        return call().clone()
