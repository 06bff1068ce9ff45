"""A GPU that is not there: tensors on another device, whose values are kept on the CPU, and which refuse to mix.

torch's FakeTensorMode has shapes and no values, so that code which looks at a value (`bool(x.any())`, `nonzero`) cannot
run in it; and where torch is built without CUDA it cannot index a CUDA tensor. Here every operation runs, with the
results of the CPU, under the rules of a real GPU: an operation on tensors of both devices fails, but for the exceptions
that torch makes (numbers of no dimension, CPU indices, copies). The device is called `meta`, the one device beside the
CPU that every build of torch knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("meta")
aten = torch.ops.aten
COPIES = {aten.copy_, aten._to_copy, aten._copy_from}
CPU_INDICES = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}


class OnGPU(torch.Tensor):
    """A tensor on the stand-in GPU."""

    value: torch.Tensor

    @staticmethod
    def __new__(cls, value: torch.Tensor, requires_grad: bool = False) -> OnGPU:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            value.size(),
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=GPU,
            requires_grad=requires_grad,
        )
        tensor.value = value.detach()
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnGPU({self.value})"

    __torch_function__ = torch._C._disabled_torch_function_impl


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """Tensors from Python numbers and back, which torch does out of the other mode's sight."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.new_tensor and isinstance(args[0], OnGPU):
            return torch.tensor(args[1], **{"dtype": args[0].dtype} | kwargs).to(GPU)
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == GPU:
            return func(*args, **kwargs | {"device": None}).to(GPU)
        if func is torch.Tensor.tolist and isinstance(args[0], OnGPU):
            return args[0].value.tolist()
        return func(*args, **kwargs)


@contextmanager
def stand_in_gpu() -> Iterator[torch.device]:
    """Within: the device `GPU` works."""
    precision = torch.get_float32_matmul_precision()
    try:
        with (
            mock.patch("torch.optim.optimizer._get_fused_kernels_supported_devices", return_value=[GPU.type, "cpu"]),
            _Mode(),
            _Literals(),
        ):
            yield GPU
    finally:
        torch.set_float32_matmul_precision(precision)


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = list(_tensors((args, kwargs)))
    here = [t for t in tensors if isinstance(t, OnGPU)]
    assert not any(t.device == GPU for t in tensors if not isinstance(t, OnGPU)), f"{func}: a tensor without values"
    asked = kwargs.get("device")
    if not here and asked is None:
        return func(*args, **kwargs)
    if asked is not None:
        on_gpu = torch.device(asked) == GPU
        kwargs = kwargs | {"device": torch.device("cpu") if on_gpu else asked}
    else:
        on_gpu = bool(here) and (func.overloadpacket not in COPIES or isinstance(args[0], OnGPU))
    if on_gpu and kwargs.get("generator") is not None:
        raise RuntimeError(f"{func}: a CPU generator cannot draw on {GPU}")
    if here and func.overloadpacket not in COPIES:
        there = [t for t in tensors if not isinstance(t, OnGPU)]
        if func.overloadpacket in CPU_INDICES:
            there = [t for t in (args[0], *args[2:3]) if isinstance(t, torch.Tensor) and not isinstance(t, OnGPU)]
        if any(t.ndim for t in there):
            raise RuntimeError(f"{func}: expected all tensors on {GPU}, found one on the CPU of shape {there[0].shape}")
    known = {id(t.value): t for t in here}
    result = func(*_mapped(_value, args), **_mapped(_value, kwargs))

    def wrap(x: torch.Tensor) -> torch.Tensor:
        return known[id(x)] if id(x) in known else OnGPU(x)

    return _mapped(wrap, result) if on_gpu else result


def _value(x: torch.Tensor) -> torch.Tensor:
    return x.value if isinstance(x, OnGPU) else x


def _tensors(x: Any) -> Iterator[torch.Tensor]:
    """Those in arguments or results; a fraction of the time of torch's own trees, which know more types."""
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, list | tuple | dict):
        for part in x.values() if isinstance(x, dict) else x:
            yield from _tensors(part)


def _mapped(change: Callable[[torch.Tensor], torch.Tensor], x: Any) -> Any:
    """The same with every tensor changed."""
    if isinstance(x, torch.Tensor):
        return change(x)
    if isinstance(x, dict):
        return {name: _mapped(change, part) for name, part in x.items()}
    return type(x)([_mapped(change, part) for part in x]) if isinstance(x, list | tuple) else x
