"""``twoclocks doctor``: what this machine is, what is installed, and how fast it trains."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from .command import Command

if TYPE_CHECKING:
    from torch import Tensor

_NOTEWORTHY = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16")
_FOR_USERS = ("dask", "diffusers", "slurm", "tensorboard")  # extras that add abilities; the others are for developers


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorCommand(Command):
    """Print what a report of a fault should hold: hardware, versions, speed.

    Takes about 15 seconds.
    """

    speed: bool = True
    """time matrix products and training steps, on one thread"""

    def __call__(self) -> None:
        for title, lines in (("Hardware", _hardware()), ("Versions", _versions()), ("Extras", _extras())):
            _print(title, lines)
        if self.speed:
            _print("Speed", _speed())


def _print(title: str, lines: Iterator[tuple[str, str]]) -> None:
    print(title, flush=True)
    for name, value in lines:
        print(f"  {name:<24}{value}", flush=True)  # each as soon as it is known


def _hardware() -> Iterator[tuple[str, str]]:
    import torch

    from ..empirics.hardware import processor_flags, resolve_device, resolve_precision
    from ..empirics.sweeps.executors import cores

    flags = processor_flags()
    device = resolve_device("auto")
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "processor", _processor_name()
    yield "its instructions", ", ".join(flag for flag in _NOTEWORTHY if flag in flags) or "none of interest known"
    yield "torch uses", torch.backends.cpu.get_cpu_capability()
    yield "cores for this process", str(cores())
    yield "memory", f"{_memory() / 2**30:.1f} GiB"
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            yield f"cuda:{number}", f"{facts.name}, {facts.total_memory / 2**30:.1f} GiB"
    else:
        yield "CUDA", "no GPU found" if torch.version.cuda else "this torch is built without it"
    yield "device auto", f"means {device} here"
    yield "precision auto", f"means {resolve_precision('auto', device)} here"


def _versions() -> Iterator[tuple[str, str]]:
    from ..empirics.versions import own_version

    yield "twoclocks", own_version()
    yield "python", platform.python_version()
    for name, extra in _requirements():
        if not extra:
            yield name, _version(name) or "missing"


def _extras() -> Iterator[tuple[str, str]]:
    for extra in _FOR_USERS:
        found = {name: _version(name) for name, of in _requirements() if of == extra}
        there = ", ".join(f"{name} {number}" for name, number in found.items())
        yield extra, there if all(found.values()) else f"not installed: pip install 'twoclocks[{extra}]'"
    from ..empirics.plugins import GROUP, loaded_plugins

    plugins = [*(entry.name for entry in entry_points(group=GROUP)), *loaded_plugins()]
    yield "plugins", ", ".join(plugins) or "none"


def _speed() -> Iterator[tuple[str, str]]:
    import torch

    from ..empirics.config import QUICK, RunConfig
    from ..empirics.hardware import has_native_bf16, resolve_device, resolve_precision
    from ..empirics.sweeps.cost import measure

    device = resolve_device("auto")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, dtype in (("fp32 product", torch.float32), ("bf16 product", torch.bfloat16)):
            size = 1024 if dtype == torch.float32 or has_native_bf16(device) else 256  # else emulated, in seconds
            x = torch.randn(size, size, device=device).to(dtype)
            seconds = _seconds(partial(_product, x))
            yield f"{name} on {device}", f"{2 * size**3 / seconds / 1e9:.3g} GFLOP/s"
    finally:
        torch.set_num_threads(threads)
    precision = resolve_precision("auto", device)
    for config in QUICK.values():
        here = RunConfig.from_dict({**config.to_dict(), "device": device, "precision": precision})
        timing = measure(here, seconds=2.0)
        whole = f"the quick preset's run takes about {timing.run(config):.0f} s"
        yield f"{config.model}, {precision}", f"{1 / timing.step:.3g} steps/s; {whole}"


def _product(x: Tensor) -> float:
    """x x, waited for."""
    return float((x @ x).sum())


def _seconds(action: Callable[[], object], limit: float = 1.5) -> float:
    """The least seconds of an action, repeated for about so long: others on the machine can only add to it."""
    action()
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < limit:
        before = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - before)
    return best


def _requirements() -> Iterator[tuple[str, str]]:
    """The packages that this one asks for, each with the extra that it belongs to."""
    for line in requires("twoclocks") or []:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        yield re.split(r"[\s;<>=!~\[(]", line, maxsplit=1)[0], extra[1] if extra else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor_name() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", listed.read_text(errors="replace"), flags=re.M)
        if names:
            return str(names[0])
    return platform.processor() or platform.machine()


def _memory() -> int:
    """Bytes that this process may use: the machine's, or the limit of the container that it is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    said = limit.read_text().strip() if limit.exists() else "max"
    return min(total, int(said)) if said.isdecimal() else total
