"""What a model generates, measured: rule accuracy, memorization, novelty, each with an exact interval."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models import GPT
from ..theory import Encoding, NullOfCopying, Rule, chance_memorization, memorization_test, null_of_copying
from ..theory.memorization import binomial_interval
from .data import hash_rows, occur
from .sampling import Sampler, sample_images, sigma_schedule


class Generations(NamedTuple):
    """Grids that a model generated."""

    symbols: Tensor  # int64 (n, D)
    ambiguous: Tensor  # bool (n,): some cell is far from every code; never so for a GPT


class Evaluator:
    """Measures generations against a rule and a training set.

    A generation is valid when it satisfies the whole rule and no cell is ambiguous (see `Encoding.decode`). It is
    memorized when it is unambiguous and equals a training sample. Group-level ratios count each of `rule.groups`.

    Args:
        rule: the rule.
        train: training symbols (N, D).
    """

    def __init__(self, rule: Rule, train: Tensor) -> None:
        self.rule = rule
        self.train_set = train
        self.train = hash_rows(train)
        self.train_groups = [hash_rows(train[:, cells]) for cells in rule.groups]
        self.chance = chance_memorization(rule, train)
        self.group_chance = chance_memorization(rule, train, level="group")

    @cached_property
    def null(self) -> NullOfCopying:
        """The null of copying of the training set; found on first use, in seconds at most for 4x6 grids."""
        return null_of_copying(self.rule, self.train_set)

    def states(self, generations: Generations) -> tuple[Tensor, Tensor]:
        """Which generations are valid, and which memorized: bool (n,) each."""
        memorized = occur(generations.symbols, self.train)
        return self.rule.is_valid(generations.symbols) & ~generations.ambiguous, memorized & ~generations.ambiguous

    def metrics(self, generations: Generations) -> dict[str, float]:
        """Ratios in [0, 1] with 95% Clopper-Pearson bounds where the columns end in _low and _high."""
        x, clear = generations.symbols, ~generations.ambiguous
        n = len(x)
        valid, memorized = self.states(generations)
        held = torch.cat(list(self.rule.constraints(x).values()), -1) & clear[:, None]
        patterns = zip(self.rule.groups, self.train_groups, strict=True)
        seen = torch.stack([occur(x[:, cells], known) for cells, known in patterns], -1) & clear[:, None]
        test = memorization_test(int(memorized.sum()), n, self.chance)
        group_test = memorization_test(int(seen.sum()), seen.numel(), self.group_chance)
        return {
            **_ratio("rule_accuracy", int(valid.sum()), n),
            **_ratio("group_accuracy", int(held.sum()), held.numel()),
            "memorization": test.ratio,
            "memorization_low": test.ci_low,
            "memorization_high": test.ci_high,
            "memorization_p": test.p_value,
            "group_memorization": group_test.ratio,
            "group_memorization_low": group_test.ci_low,
            "group_memorization_high": group_test.ci_high,
            **_ratio("novel_valid", int((valid & ~memorized).sum()), n),
            "ambiguous": float(generations.ambiguous.double().mean()),
            "distinct": len(hash_rows(x)) / n,
        }


@torch.no_grad()
def generate(
    model: nn.Module,
    n: int,
    generator: torch.Generator,
    encoding: Encoding | None = None,
    sampler_steps: int = 18,
    sampler: Sampler = "heun",
) -> Generations:
    """Let a model generate n grids.

    Args:
        model: a GPT, or a denoiser net(y, sigma).
        n: how many.
        generator: source of randomness, on the CPU.
        encoding: of a denoiser's images.
        sampler_steps, sampler: of a denoiser; see `sample_images`.
    """
    if isinstance(model, GPT):
        x = model.generate(n, generator).cpu()
        return Generations(x, torch.zeros(n, dtype=torch.bool))
    if encoding is None:
        raise ValueError("generating with a denoiser needs its encoding")
    noise = torch.randn(n, encoding.channels, *encoding.shape, generator=generator)
    place = next(model.parameters()).device
    images = sample_images(model, noise.to(place), sigma_schedule(sampler_steps), sampler, generator)
    return Generations(*encoding.decode(images.cpu()))


def _ratio(name: str, count: int, trials: int) -> dict[str, float]:
    low, high = binomial_interval(count, trials)
    return {name: count / trials, f"{name}_low": low, f"{name}_high": high}
