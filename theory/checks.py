"""Values as callers give them: seen under torch's wrappers, checked, counted in words."""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor
from torch._C import _functorch  # the only way to see the values under the wrappers of torch.func


def concrete(x: Tensor) -> Tensor:
    """The values of a tensor, without derivatives and the wrappers of torch.func: checks may look at them anywhere."""
    while _functorch.is_functorch_wrapped_tensor(x):
        x = _functorch.get_unwrapped(x)
    return x.detach()


def tracked(x: Tensor) -> bool:
    """Whether derivatives of x may be asked for."""
    return _functorch.is_functorch_wrapped_tensor(x) or (x.requires_grad and torch.is_grad_enabled())


def extent(values: Tensor) -> tuple[float, float]:
    """The least and the largest value, both NaN where one is; (0, 0) of nothing."""
    if not values.numel():
        return 0.0, 0.0
    low, high = torch.aminmax(concrete(values))
    return float(low), float(high)


def count_text(n: int) -> str:
    """A count in words of any size: 17,179,869,184, and 1.4e+6020 beyond 30 digits."""
    if n < 10**30:
        return f"{n:,}"
    exponent = math.floor(math.log10(n))
    return f"{10 ** (math.log10(n) - exponent):.1f}e+{exponent}"


def available_memory() -> float:
    """Bytes that this process may still take, infinite where the system does not say."""
    try:
        free = float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
        with open("/proc/meminfo") as lines:  # what caches hold can be had too
            free = max([free, *(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))])
    except (OSError, ValueError, AttributeError):
        return math.inf
    return free
