"""Architectures, one file each: what differs between them is a `Family`, found by the name of a model."""

from __future__ import annotations

from functools import cache

from torch import nn

from ...models.layers import SIZES
from ...theory import Rule
from ..discovery import offered
from ..pixels import Codes
from .family import Batches, Family, Generations

__all__ = ["Batches", "Family", "Generations", "build_model", "families", "family", "register_family"]

_registered: dict[str, Family] = {}


def families() -> dict[str, Family]:
    """Every family by its name: those of this folder, each module's ``FAMILY``, and registered ones."""
    return dict(sorted({**_own_families(), **_registered}.items()))


def family(model: str) -> Family:
    """The family of a model's name, such as ``dit-mini``.

    Raises:
        ValueError: an unknown family or size, naming the known models.
    """
    kind, _, size = model.partition("-")
    if kind not in families() or size not in SIZES:
        raise ValueError(f"unknown model {model!r}; known models: {', '.join(model_names())}")
    return families()[kind]


def model_names() -> list[str]:
    """Every NAME-SIZE that a run can train."""
    return [f"{name}-{size}" for name in families() for size in SIZES]


def register_family(added: Family) -> None:
    """Make a family of one's own known in this process, so that its models are built, trained and compared by name.

    Raises:
        ValueError: a name that is taken by another family, or that holds a hyphen.
    """
    if "-" in added.name or families().get(added.name, added) is not added:
        raise ValueError(f"the name {added.name!r} is taken or holds a hyphen; choose another")
    _registered[added.name] = added


def build_model(name: str, rule: Rule | None, encoding: Codes | None = None) -> nn.Module:
    """A freshly initialised model for the grids of a rule.

    Args:
        name: FAMILY-SIZE, such as ``dit-nano``, ``gpt-mini``; SIZE one of nano, micro, mini, small.
        rule: gives the grid's shape and alphabet; None for a DiT on numbers, whose encoding says what it sees.
        encoding: of a DiT; by default -1/+1 for two symbols and one-hot above. A model of symbols takes none.

    Returns:
        A DiT in its EDM preconditioning, called ``net(y, sigma)``; or a GPT, called ``net(x)`` for logits.

    Raises:
        ValueError: an unknown name, naming the known ones; or an encoding for a model of symbols.
    """
    return family(name).network(SIZES[name.partition("-")[2]], rule, encoding)


@cache
def _own_families() -> dict[str, Family]:
    return {found.name: found for found in offered(__name__, "FAMILY").values()}
