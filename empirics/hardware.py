"""What this machine is, and what ``"auto"`` therefore means: found from the processor's own list of capabilities."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from .config import RunConfig

BF16_FLAGS = {
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX",
    "bf16": "Arm BF16",
    "hw.optional.arm.FEAT_BF16": "Arm BF16",
}
"""Flags of processors that multiply bfloat16 numbers natively: as Linux, and macOS, spell them."""

_LIBRARY_LIMITS = {
    "ATEN_CPU_CAPABILITY": ("avx512", "sve", "zvector"),
    "ONEDNN_MAX_CPU_ISA": ("bf16", "amx", "avx10", "all", "default"),
}
"""Environment variables that hold torch to older instructions, and the words of values that still allow bf16."""


def resolve(config: RunConfig) -> RunConfig:
    """The config with device and precision as they are on this machine; what was asked by name stays.

    Raises:
        ValueError: a device that this machine lacks, or that torch does not know.
    """
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    return replace(config, device=device, precision=precision)


def resolve_device(asked: str) -> str:
    """The device to train on: ``"auto"`` is the GPU where CUDA finds one, else the CPU.

    Apple's GPU is taken only when asked for by name, ``"mps"``: nothing here has been tested on one.

    Raises:
        ValueError: a device that cannot be used here.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as fault:
        reason = str(fault).splitlines()[0]
        raise ValueError(f"device {asked!r} cannot be used here: {reason}; choose auto, or cpu") from None
    return asked


def resolve_precision(asked: str, device: str) -> Literal["fp32", "bf16"]:
    """The precision of matrix products: ``"auto"`` is bf16 where the hardware multiplies it, else fp32.

    That is on a processor with AVX512-BF16, AMX or Arm's BF16, and on an NVIDIA GPU of compute capability 8.0 or more.
    Elsewhere bf16 is emulated, and ten times slower than fp32.

    Args:
        asked: ``"auto"``, ``"fp32"`` or ``"bf16"``.
        device: as `resolve_device` gives it.
    """
    if asked == "auto":
        return "bf16" if has_native_bf16(device) else "fp32"
    return "bf16" if asked == "bf16" else "fp32"


def has_native_bf16(device: str = "cpu") -> bool:
    """Whether a device multiplies bfloat16 numbers natively."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return kind == "cpu" and torch.backends.mkldnn.is_available() and bool(processor_flags() & set(BF16_FLAGS))


def processor_flags() -> frozenset[str]:
    """Capabilities of the processor that torch may use, such as avx2, avx512_bf16, amx_bf16.

    Native bf16 is left out where an environment variable holds torch to older instructions: ATEN_CPU_CAPABILITY
    (default, avx2) or ONEDNN_MAX_CPU_ISA (such as AVX2).
    """
    for variable, unlimited in _LIBRARY_LIMITS.items():
        limit = os.environ.get(variable, "").lower()
        if limit and not any(word in limit for word in unlimited):
            return _flags_of_processor() - set(BF16_FLAGS)
    return _flags_of_processor()


def hardware_text(device: str, precision: str) -> str:
    """One line for people: the precision, the device and why."""
    kind = torch.device(device).type
    if kind == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        native = sorted({BF16_FLAGS[flag] for flag in processor_flags() & set(BF16_FLAGS)})
        where = f"{device}, {f'with {native[0]}' if native else 'without bf16 instructions'}"
    emulated = precision == "bf16" and not has_native_bf16(device)
    return f"{precision} products on {where}{'; emulated, ten times slower than fp32' if emulated else ''}"


@cache
def _flags_of_processor() -> frozenset[str]:
    if platform.system() == "Linux":
        return _flags_of_cpuinfo(Path("/proc/cpuinfo"))
    if platform.system() == "Darwin":
        name = "hw.optional.arm.FEAT_BF16"
        try:
            said = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False).stdout
        except OSError:
            said = ""
        return frozenset({name} if said.strip() == "1" else ())
    known = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_bf16": "_is_amx_tile_supported"}  # where torch can tell
    return frozenset(flag for flag, name in known.items() if getattr(torch.cpu, name, bool)())


def _flags_of_cpuinfo(path: Path) -> frozenset[str]:
    """The flags of the first processor that Linux lists: "flags" on x86, "Features" on Arm."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()
