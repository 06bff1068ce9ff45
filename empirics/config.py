"""What a run is asked to do: every choice of an experiment, in one value that a JSON file holds."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class RunConfig:
    """One training run. Defaults are the paper's scale where it states it, and our assumptions where it does not."""

    rule: str = "parity:6x6,G=3"
    """the rule, such as parity:6x6,G=3"""
    data: str | None = None
    """in place of a rule, numbers of your own, for a DiT: a file .npy or .npz of floats or bytes (N, ...), such as
    images (C, H, W) or points (n,), with held-out samples under held_out if you like; or digits. What is not trained on
    is held out. In place of tau_rule stands tau_best, the step with the least held-out loss"""
    model: str = "dit-mini"
    """architecture and size: dit-, gpt- or mdm- with nano, micro, mini or small"""
    n_train: int = 4096
    """N, training samples; with a rule all different"""
    online: bool = False
    """draw fresh valid grids at every step, never the N: a control that cannot copy; the N are only what generations
    are held against"""
    steps: int = 100_000
    """training steps"""
    batch_size: int = 256
    """training samples per step, drawn at random from the N"""
    lr: float = 1e-4
    """AdamW learning rate after warm-up"""
    warmup: int = 100
    """steps over which the learning rate rises from 0"""
    weight_decay: float = 0.0
    """AdamW weight decay"""
    beta2: float = 0.99
    """AdamW second-moment decay"""
    schedule: Literal["constant", "cosine"] = "constant"
    """learning rate after warm-up: constant, or a cosine that ends at 0"""
    clip_norm: float = 0.0
    """clip the gradient to this norm; 0 is off"""
    ema_halflife: float = 0.0
    """generate with weights averaged over about this many steps (EDM's half-life form); 0 is off"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """of matrix products; weights, sums, norms and softmax stay float32. auto: bf16 where the hardware multiplies it
    (AVX512-BF16, AMX, Arm BF16, a GPU), three times faster, else fp32. Both clocks stay where they are
    (tests/benchmarks/results/precision_clocks.md)"""
    compile: bool = False
    """fuse the training step with torch.compile where a compiler is present; costs up to a minute at the start"""
    encoding: str | None = None
    """DiT only: pm1, scalar or onehot; by default pm1 for two symbols, onehot above"""
    patch: int = 1
    """with data only: side of the square of pixels that is one token; for points, how many numbers"""
    noise_mean: float = -0.5
    """DiT only: mean of ln(sigma / sigma_data) in training (EDM: -1.2 at sigma_data 0.5)"""
    noise_std: float = 1.0
    """DiT only: standard deviation of ln sigma in training (EDM: 1.2)"""
    sampler: Literal["heun", "euler", "churn"] = "heun"
    """DiT only: how to generate; heun and euler are deterministic, churn adds noise on the way"""
    sampler_steps: int = 18
    """DiT only, but for an MDM's ancestral unmasking: steps of a generation"""
    mask_schedule: Literal["root", "linear", "cosine"] = "root"
    """MDM only: how often k cells are masked in training; the objective is the same, its noise is not. root: in
    proportion to 1 / sqrt(k), the least noise; linear, cosine: as of mask rates with that schedule"""
    unmasking: Literal["one", "ancestral", "confidence"] = "one"
    """MDM only: how to generate; one cell at a time in random order; in `sampler_steps` steps, each of the cells that
    fall due; or one cell at a time, the one that the network is surest of"""
    n_eval: int = 1024
    """generations per evaluation"""
    eval_first: int = 10
    """step of the first evaluation"""
    eval_ratio: float = 1.2
    """ratio of the steps of successive evaluations"""
    checkpoint_ratio: float = 1.5
    """ratio of the steps of successive weight files that are kept; evaluations between them keep no weights"""
    stop_when: Literal["never", "ruled", "memorized", "both", "copied", "window", "patience"] = "never"
    """end the run once tau_rule, tau_mem or both are known; window, once it has opened and closed; or, copied, once
    both are known and memorization was at least 0.3 twice, which leaves room to read tau_mem by stricter criteria, or
    at least 0.9 at three evaluations in a row, which leaves no generation to read tau_rule from; with
    data never, memorized, both, or patience, once the held-out loss has not improved for five evaluations"""
    seed: int = 0
    """of everything random: initial weights, training set, batches, noise, generations"""
    device: str = "auto"
    """auto: the GPU where CUDA finds one, else the CPU; or cpu, cuda, cuda:1, ..."""
    threads: int = 1
    """CPU threads; two runs of one thread beat one run of two"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", getattr(self.rule, "spec", self.rule))  # a Rule is as good as its spec
        if self.data is not None:
            self._name_data()
        elif self.patch != 1:
            raise ValueError(f"patch={self.patch!r} is for data of your own; leave it out with a rule")
        for name, low, high in _RANGES:
            value, kind = getattr(self, name), type(getattr(RunConfig, name))
            number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                raise ValueError(f"{name} must lie in {low:g}..{high:g}, got {value!r}")
            if kind is int and int(value) != value:
                raise ValueError(f"{name} must be a whole number, got {value!r}")
            object.__setattr__(self, name, kind(value))  # 1e4 steps, or NumPy's 64, are as good as 10000 and 64
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {getattr(self, name)!r}")
        if self.eval_ratio <= 1:
            raise ValueError(f"eval_ratio must exceed 1, got {self.eval_ratio}")
        if math.log(max(1.0, self.steps / self.eval_first)) > _MOST_EVALUATIONS * math.log(self.eval_ratio):
            raise ValueError(
                f"eval_ratio={self.eval_ratio} asks for over {_MOST_EVALUATIONS:,} evaluations; choose a larger one"
            )

    def _name_data(self) -> None:
        """`rule` becomes data: and the file's name, which tables show; ValueError where a rule is asked for too."""
        if not isinstance(self.data, str | Path) or not str(self.data):
            raise ValueError(f"data must be the path of a file .npy or .npz, or digits, got {self.data!r}")
        object.__setattr__(self, "data", str(self.data))
        name = f"data:{Path(str(self.data)).name}"
        if self.rule not in (name, RunConfig.rule):
            raise ValueError(f"give a rule or data, not both: got rule={self.rule!r} and data={self.data!r}")
        object.__setattr__(self, "rule", name)

    def eval_steps(self) -> list[int]:
        """Steps of the evaluations: geometric from `eval_first` by about `eval_ratio`, and the last step."""
        steps = {self.steps}
        step = float(self.eval_first)
        while step * self.eval_ratio**0.5 < self.steps:
            steps.add(round(step))
            step *= self.eval_ratio
        return sorted(steps)

    def to_dict(self) -> dict[str, Any]:
        """Every field by its name, in plain values that JSON holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunConfig:
        """The config that `to_dict` wrote; ValueError for a field this version does not know."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown config fields: {', '.join(unknown)}")
        return cls(**values)


def difference(kept: RunConfig, asked: RunConfig) -> str:
    """Which fields of a run's config differ from the config asked for, in words; empty where none does."""
    pairs = zip(kept.to_dict().items(), asked.to_dict().values(), strict=True)
    return ", ".join(f"{name}={value!r} (asked: {wanted!r})" for (name, value), wanted in pairs if value != wanted)


_MOST_EVALUATIONS = 100_000

_RANGES = [
    ("n_train", 1, 2**31),
    ("steps", 1, 2**40),
    ("batch_size", 1, 2**24),
    ("lr", 1e-12, 10),
    ("warmup", 0, 2**40),
    ("weight_decay", 0, 10),
    ("beta2", 0, 1 - 1e-9),
    ("clip_norm", 0, 1e9),
    ("ema_halflife", 0, 1e12),
    ("patch", 1, 4096),
    ("noise_mean", -20, 20),
    ("noise_std", 1e-6, 20),
    ("sampler_steps", 2, 10_000),
    ("n_eval", 1, 2**24),
    ("eval_first", 1, 2**40),
    ("eval_ratio", 1, 1e6),
    ("checkpoint_ratio", 1, 1e6),
    ("seed", 0, 2**62),
    ("threads", 1, 1024),
]

_CHOICES = {
    "schedule": ("constant", "cosine"),
    "precision": ("auto", "fp32", "bf16"),
    "sampler": ("heun", "euler", "churn"),
    "mask_schedule": ("root", "linear", "cosine"),
    "unmasking": ("one", "ancestral", "confidence"),
    "stop_when": ("never", "ruled", "memorized", "both", "copied", "window", "patience"),
    "encoding": (None, "pm1", "scalar", "onehot"),
    "compile": (True, False),
    "online": (True, False),
}

QUICK: dict[str, RunConfig] = {
    "gpt": RunConfig(
        rule="parity:4x6,G=3", model="gpt-nano", n_train=256, steps=1000, batch_size=128, lr=2e-3, warmup=20, n_eval=512
    ),
    "dit": RunConfig(
        rule="parity:4x6,G=2",
        model="dit-nano",
        n_train=32,
        steps=2000,
        batch_size=128,
        lr=4e-3,
        warmup=20,
        noise_mean=0.0,
        noise_std=0.8,
        sampler_steps=12,
        n_eval=256,
        eval_first=50,
    ),
}
"""The quick preset: both clocks of a GPT and of a DiT within minutes on two cores."""

QUICK_MASKED = RunConfig(
    rule="parity:4x6,G=2",
    model="mdm-nano",
    n_train=32,
    steps=2000,
    batch_size=128,
    lr=3e-3,
    warmup=20,
    n_eval=512,
    eval_first=40,
    eval_ratio=1.25,
)
"""Both clocks of a masked model, beside `QUICK`'s two."""

QUICK_THREE = {**QUICK, "mdm": QUICK_MASKED}
"""The preset quick-three: a GPT, a DiT and a masked model side by side."""
