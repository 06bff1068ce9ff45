"""What this machine is, and what ``"auto"`` therefore means."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def resolve_device(asked: str) -> str:
    """The device to compute on: ``"auto"`` is the GPU where CUDA finds one, else the CPU.

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


def resolve_precision(asked: str, device: str) -> str:
    """The precision of matrix products: ``"auto"`` is bf16 where the device multiplies it natively, else fp32."""
    if asked != "auto":
        return asked
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    return "bf16" if processor_flags() & {"avx512_bf16", "amx_bf16", "bf16"} else "fp32"


def processor_flags() -> frozenset[str]:
    """Capabilities of the processor that torch may use, such as avx2, avx512_bf16, amx_bf16."""
    listed = Path("/proc/cpuinfo")
    if not listed.exists() or os.environ.get("ATEN_CPU_CAPABILITY") in ("default", "avx2"):
        return frozenset()
    for line in listed.read_text(errors="replace").splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()
