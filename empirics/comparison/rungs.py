"""The laws on the ladder from the cube to a training set."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...theory import CubeLaw, EmpiricalLaw, Law, PairwiseLaw, ProductLaw, Rule

RUNGS = {
    "cube": "all grids",
    "cells": "cells",
    "pairs": "pairs",
    "population": "rule",
    "empirical": "training set",
}
"""Their names in tables, from below, with what they are called in figures and texts."""
LISTED = 2**18
"""The most valid grids of a rule whose pairs are a rung here: each question to them takes a sum over all."""


def ladder_laws(rule: Rule, train: Tensor) -> dict[str, Law]:
    """What a model may know of a training set, ever more of it: every grid alike; the frequency of each cell's
    symbols; the rule with the pair statistics; the rule; the training set. Pairs are left out beyond `LISTED`.
    """
    cells = F.one_hot(train.long(), rule.alphabet).double().mean(0)
    laws: dict[str, Law] = {"cube": CubeLaw(rule.shape, rule.alphabet), "cells": ProductLaw(cells, rule.shape)}
    if rule.support_size <= LISTED:
        laws["pairs"] = PairwiseLaw.fit(rule, train)
    return laws | {"population": rule, "empirical": EmpiricalLaw(torch.unique(train, dim=0), rule.alphabet, rule.shape)}
