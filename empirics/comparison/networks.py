"""Networks as people bring them: compiled, wrapped, in half precision, with a tuple or a dataclass as their answer."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def objects_within(network: object) -> Iterator[object]:
    """A network and the callables inside it, the outermost first.

    It looks through compiled modules, DataParallel and every other module that holds modules, bound methods,
    `functools.partial`, the variables of a closure, and the attributes of plain objects.
    """
    seen: dict[int, object] = {}  # the objects themselves too, lest another gets the id of one that is gone
    level = [network]
    while level:
        inside: list[object] = []
        for thing in level:
            if id(thing) not in seen:
                seen[id(thing)] = thing
                yield thing
                inside += _parts(thing)
        level = inside


def weight_of(network: object) -> Tensor | None:
    """The first real-valued weight of a network: it tells device and precision. None without weights."""
    modules = (thing for thing in objects_within(network) if isinstance(thing, nn.Module))
    weights = (weight for module in modules for weight in module.parameters() if weight.dtype.is_floating_point)
    return next(weights, None)


@contextmanager
def evaluation_mode(network: object) -> Iterator[None]:
    """Switch the dropout and the like of all modules inside off, and afterwards back to just what it was."""
    training = [m for m in objects_within(network) if isinstance(m, nn.Module) and m.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def answer(network: Callable[..., Any], images: Tensor, times: Tensor, dtypes: list[torch.dtype]) -> Any:
    """network(images, times), in the first of the precisions that it takes: half-precision weights refuse others.

    Args:
        network: any callable.
        images: its first argument.
        times: its second, rounded to less than float32 only where the network takes nothing else.
        dtypes: precisions of the images to try, in order.
    """
    tries = [(dtype, _at_least_single(times, dtype)) for dtype in dtypes]
    if times.is_floating_point() and dtypes[-1] in (torch.float16, torch.bfloat16):
        tries.append((dtypes[-1], times.to(dtypes[-1])))
    refused: RuntimeError | None = None
    for dtype, t in tries:
        try:
            return network(images.to(dtype), t)
        except RuntimeError as fault:
            if "type" not in str(fault):
                raise
            refused = refused or fault
    assert refused is not None
    raise refused


def takes(model: Any, *given: object, **named: object) -> bool:
    """Whether a network's signature, if it has one to look at, allows such a call."""
    try:
        inspect.signature(model.forward if isinstance(model, nn.Module) else model).bind(*given, **named)
    except TypeError:
        return False
    except ValueError:  # no signature, as of compiled code
        return callable(model)
    return True


def tensor_in(output: object, shape: tuple[int, ...]) -> object:
    """The tensor that a network's answer holds, preferably of this shape; the answer itself where it holds none.

    It knows tensors, tuples and lists, dicts, dataclasses and the outputs of transformers and diffusers.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        fields: list[object] = list(output.values())
    elif isinstance(output, tuple | list):
        fields = list(output)
    elif dataclasses.is_dataclass(output):
        fields = [getattr(output, field.name, None) for field in dataclasses.fields(output)]
    else:
        fields = list(getattr(output, "__dict__", {}).values())
    named = [getattr(output, "sample", None), getattr(output, "logits", None)]
    if isinstance(output, Mapping):
        named += [output.get("sample"), output.get("logits")]
    tensors = [value for value in (*named, *fields) if isinstance(value, Tensor)]
    fitting = [value for value in tensors if tuple(value.shape) == shape]
    return next(iter(fitting or tensors), output)


def shown(output: object) -> str:
    """What a network answered, for a message: a shape, or a type."""
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__


def _parts(thing: object) -> list[object]:
    """What a callable is made of."""
    if isinstance(thing, nn.Module):
        original = getattr(thing, "_orig_mod", None)  # of torch.compile; not always a child
        return [*([] if original is None else [original]), *thing.children(), *_callables(vars(thing).values())]
    if isinstance(thing, functools.partial):
        return [thing.func]
    parts: list[object] = []
    if (owner := getattr(thing, "__self__", None)) is not None:
        parts.append(owner)
    for cell in getattr(thing, "__closure__", None) or ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:  # a variable not yet set
            continue
    values = list(getattr(thing, "__dict__", {}).values())
    slots = [getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ()) if isinstance(name, str)]
    return _callables([*parts, *values, *slots])


def _callables(values: Any) -> list[object]:
    """Those that may hold a network; classes and plain data do not."""
    return [value for value in values if callable(value) and not isinstance(value, type)]


def _at_least_single(times: Tensor, dtype: torch.dtype) -> Tensor:
    """Half precision would round the timestep 999 to 1000."""
    return times.to(torch.promote_types(torch.float32, dtype)) if times.is_floating_point() else times
