"""What a model is measured against, each named once and built once a process: laws of symbols, densities of numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from ..theory import (
    CubeLaw,
    Density,
    EmpiricalDensity,
    EmpiricalLaw,
    GaussianDensity,
    GaussianMixture,
    Law,
    NGramLaw,
    OptimalDenoiser,
    PairwiseLaw,
    ProductLaw,
    Rule,
)
from ..theory.pairwise import EXACT

SLOW = 4e6
"""`Rule.cost` beyond which an exact optimum takes seconds per batch."""
LADDER = ("cube", "cells", "pairs", "population", "empirical")
"""The rungs that a model climbs, from knowing nothing to knowing the training set alone."""
MOST_KEPT = 8
"""Pairs of a rule and a training set whose references a process keeps."""


@dataclass(frozen=True)
class Reference:
    """A law that a model may have learned.

    Attributes:
        build: (rule, training symbols (N, D)) -> the law.
        title: for figures and tables.
        copies: it knows training samples as such, so that its draws repeat them.
        serves: (rule) -> whether the law can be built in seconds.
    """

    build: Callable[[Rule, Tensor], Law]
    title: str
    copies: bool = False
    serves: Callable[[Rule], bool] = lambda rule: True


class References(Mapping[str, Law]):
    """The references of a rule and a training set, by name, each built when it is first asked for.

    Those of this package: ``population``, the rule; ``empirical``, the training set; ``cube``, all grids alike;
    ``cells``, the training set's symbol frequencies in each cell; ``pairs``, the `PairwiseLaw` of its pair statistics
    on the rule's support, for rules of up to 2^24 valid grids; ``independent``, the rule's symbol frequencies in each
    cell; ``ngram_1`` and ``ngram_2``, the best Markov models of the rule that know the position and the last one or two
    symbols, for rules whose marginals take less than seconds. `register_reference` adds more.

    Iterating gives the names that the rule allows. `references_of` gives the same object for the same rule and set.

    Args:
        rule: the rule.
        train: training symbols (N, D).
    """

    def __init__(self, rule: Rule, train: Tensor) -> None:
        self.rule, self.train = rule, train
        self._built: dict[str, Law] = {}

    def __getitem__(self, name: str) -> Law:
        """The law of a name.

        Raises:
            KeyError: no reference of this name, or none for this rule.
        """
        if name not in self._built:
            if name not in self:
                raise KeyError(f"no reference {name!r} of {self.rule.spec}; there are {', '.join(self)}")
            self._built[name] = _known[name].build(self.rule, self.train)
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in _known and _known[str(name)].serves(self.rule)

    def __iter__(self) -> Iterator[str]:
        return (name for name in _known if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def named(self, names: Sequence[str]) -> dict[str, Law]:
        """The laws of those of the names that the rule allows, in this order."""
        return {name: self[name] for name in names if name in self}

    @property
    def ladder(self) -> dict[str, Law]:
        """The rungs of `LADDER` that the rule allows, in its order."""
        return self.named(LADDER)


def references_of(rule: Rule, train: Tensor) -> References:
    """The `References` of a rule and training symbols (N, D), the same object for the same ones."""
    content = train.cpu().contiguous()
    key = id(rule), content.dtype, tuple(content.shape), hashlib.sha256(content.numpy().tobytes()).digest()
    found = _kept.pop(key, None) or References(rule, train)
    _kept[key] = found  # the last used comes last; it holds its rule, whose id no other can have then
    while len(_kept) > MOST_KEPT:
        del _kept[next(iter(_kept))]
    return found


def register_reference(name: str, build: Callable[[Rule, Tensor], Law] | Reference) -> None:
    """Make a law of one's own a reference of every run, which comparisons then have a column for.

    Args:
        name: of the reference: a word, as columns of tables bear it.
        build: (rule, training symbols (N, D)) -> the law; or a `Reference`, which says more.

    Raises:
        ValueError: the name is taken, or is no plain word.
    """
    if not isinstance(name, str) or not name.isidentifier() or len(name) > 40:
        raise ValueError(f"a reference's name is a word of letters, digits and underscores, got {name!r}")
    if name in _known:
        raise ValueError(f"a reference named {name!r} exists already")
    _known[name] = build if isinstance(build, Reference) else Reference(build, name.replace("_", " "))


def reference_title(name: str) -> str:
    """What figures and tables call a reference; its name where it is none of ours."""
    return _known[name].title if name in _known else name


def own_references() -> tuple[str, ...]:
    """The names that `register_reference` has added."""
    return tuple(name for name in _known if name not in _OURS)


def references(
    x: Any, names: Sequence[str] = ("empirical", "gaussian"), *, scale: float = 1.0, shift: float = 0.0, seed: int = 0
) -> dict[str, OptimalDenoiser]:
    """Optimal denoisers of densities fitted to data: what a network would do that had learned just so much of them.

    Args:
        x: the data (N, ...), as of `EmpiricalDensity`.
        names: of ``empirical``, the data themselves: the optimum that memorizes; ``gaussian``, their mean and
            covariance, or ``gaussian:RANK``, along so many directions; ``gmm:COMPONENTS``, a mixture of normal
            densities, or ``gmm:COMPONENTS:RANK`` (needs the extra ``data``).
        scale, shift: what is stored stands for scale * x + shift, as of `EmpiricalDensity`.
        seed: of the first guess of mixtures.

    Returns:
        A denoiser D(y, sigma) for each name, for `compare_denoisers`.

    Raises:
        ValueError: an unknown name, or data that do not fit.
    """
    return {name: OptimalDenoiser(_density(x, name, scale, shift, seed)) for name in names}


def _density(x: Any, name: str, scale: float, shift: float, seed: int) -> Density:
    kind, *numbers = name.split(":")
    known = {"empirical": (0, 0), "gaussian": (0, 1), "gmm": (1, 2)}
    if kind not in known or not known[kind][0] <= len(numbers) <= known[kind][1] or not all(map(str.isdigit, numbers)):
        raise ValueError(
            f"unknown reference {name!r}; known: empirical, gaussian, gaussian:RANK, gmm:COMPONENTS, "
            "gmm:COMPONENTS:RANK"
        )
    if kind == "empirical":
        return EmpiricalDensity(x, scale=scale, shift=shift)
    fitted: GaussianDensity | GaussianMixture
    if kind == "gaussian":
        fitted = GaussianDensity.fit(x, int(numbers[0]) if numbers else None)
    else:
        fitted = GaussianMixture.fit(x, int(numbers[0]), rank=int(numbers[1]) if len(numbers) > 1 else None, seed=seed)
    return fitted if (scale, shift) == (1.0, 0.0) else fitted.moved(scale, shift)


def _is_small(rule: Rule) -> bool:
    try:
        return rule.support_size <= EXACT
    except ValueError:  # beyond what can be counted
        return False


def _ngram(order: int, rule: Rule, train: Tensor) -> Law:
    return NGramLaw(rule, order)


def _serves_ngram(order: int, rule: Rule) -> bool:
    return rule.cost <= SLOW and order < rule.dim


_OURS = {
    "cube": Reference(lambda rule, train: CubeLaw(rule.shape, rule.alphabet), "cube"),
    "cells": Reference(lambda rule, train: ProductLaw.fit(train, rule.shape, rule.alphabet), "cells"),
    "pairs": Reference(PairwiseLaw.fit, "pairs", serves=_is_small),
    "population": Reference(lambda rule, train: rule, "rule"),
    "empirical": Reference(
        lambda rule, train: EmpiricalLaw(train, rule.alphabet, rule.shape), "training set", copies=True
    ),
    "independent": Reference(lambda rule, train: ProductLaw.of(rule), "cells of the rule"),
    "ngram_1": Reference(partial(_ngram, 1), "bigrams of the rule", serves=partial(_serves_ngram, 1)),
    "ngram_2": Reference(partial(_ngram, 2), "trigrams of the rule", serves=partial(_serves_ngram, 2)),
}
_known = dict(_OURS)
_kept: dict[tuple[object, ...], References] = {}
