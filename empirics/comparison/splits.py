"""What a run is compared on and with: clean samples by split, and its exact references."""

from __future__ import annotations

import torch
from torch import Tensor

from ...theory import Law, condensation_sigma
from ..data import random_stream, sample_distinct
from ..references import SLOW, own_references
from ..runs.run import Run


def comparison_splits(run: Run, n_samples: int = 128) -> dict[str, Tensor]:
    """Clean symbols to look at a run's model around: its training samples, held-out valid ones, and cube points.

    They depend on the run's seed alone, and fewer samples are the first of more.

    Args:
        run: gives rule, training set and seed.
        n_samples: samples a split, at least 2; fewer where there are not as many.

    Returns:
        int64 (n, D) each: ``"train"``, different training samples; ``"held-out"``, different valid grids that are not
        in the training set, left out when there are none; ``"cube"``, uniform grids, which mostly break the rule.

    Raises:
        ValueError: n_samples below 2.
    """
    if n_samples < 2:
        raise ValueError(f"n_samples must be at least 2 for a standard error, got {n_samples}")
    rule, train, seed = run.rule, run.train_set, run.config.seed
    order = torch.randperm(len(train), generator=random_stream(seed, "comparison train"))
    splits = {"train": train[order[:n_samples]]}
    if spare := min(n_samples, rule.support_size - len(train)):
        splits["held-out"] = sample_distinct(rule, spare, random_stream(seed, "comparison held-out"), exclude=train)
    cube = random_stream(seed, "comparison cube")
    return splits | {"cube": torch.randint(rule.alphabet, (n_samples, rule.dim), generator=cube)}


def reference_laws(run: Run) -> dict[str, Law]:
    """The laws that a run's model may have learned.

    Returns:
        ``population``, the rule; ``empirical``, the training set; and what sees less than the rule: for a DiT
        ``independent``, the cells without their dependence; for a GPT ``ngram_1`` and ``ngram_2``, the best Markov
        models of the rule that know the position and the last one or two symbols (not for a rule whose marginals
        take seconds, such as 6x6 Latin squares); and those that `register_reference` has added. Each is built once.
    """
    return run.references.named(run.family.references + own_references())


def condensation_scale(run: Run) -> float:
    """`condensation_sigma` of a DiT run's rule, N and encoding, in data units.

    For a rule whose marginals take seconds it is estimated from 16 draws instead of 4096, to a few percent.

    Raises:
        ValueError: N is too small or too large for it.
    """
    return condensation_sigma(run.rule, run.config.n_train, run.encoding, 16 if run.rule.cost > SLOW else 4096)
