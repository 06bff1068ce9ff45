"""``twoclocks baseline`` and ``twoclocks derive``: what the theory says before anything is trained."""

from __future__ import annotations

import dataclasses

import tyro

from .command import Command


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineCommand(Command):
    """Chance memorization: how often a sampler repeats samples that it never saw."""

    rule: tyro.conf.Positional[str]
    """the rule, such as parity:6x6,G=3"""
    n_train: tuple[int, ...] = ()
    """training-set sizes N; by default 64, 256, .. 65536 as far as there are valid grids. The values are expectations
    over training sets of N different valid grids"""

    def __call__(self) -> None:
        from ..theory import chance_table, rule
        from ..theory.law import count_text

        built = rule(self.rule)
        sizes = self.n_train or [4**k for k in range(3, 9) if 4**k <= built.support_size] or [built.support_size]
        table = chance_table(built, sizes)
        print(f"{built.spec}: {count_text(built.support_size)} valid grids of {built.alphabet}^{built.dim}\n")
        print(table.to_string(index=False, float_format="{:.4g}".format))
        print("\npopulation: a sampler uniform on the valid grids; cube: uniform on all grids")
        print("sample: the whole grid was in the training set; group: a part of it was, at its own place")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeriveCommand(Command):
    """Derive an optimal denoiser by computer algebra, and prove it on small cases."""

    name: tyro.conf.Positional[str]
    """parity, count or permutation"""
    latex: bool = False
    """print LaTeX (amsmath) rather than plain text"""

    def __call__(self) -> None:
        from ..theory import derive

        derivation = derive(self.name)
        print(derivation.to_latex() if self.latex else derivation)
