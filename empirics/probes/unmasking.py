"""Which training samples a part of one brings out of a masked model: the counterpart of Figure 20's completions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ...theory import Law, Rule
from ...theory.channels import Mask
from ..comparison.masked import masked_grids
from ..comparison.masked_generation import complete
from ..comparison.splits import comparison_splits
from ..data import hash_rows, occur
from ..runs.run import Run
from ..style import new_figure
from .completions import draw_completion_shares, mean_and_error
from .mask_rates import MaskedModel, check_masked, probe_stream
from .phases import OPTIMA, REFERENCE_OF, affordable, beside_optima, outer_legend, run_title
from .probe import Probe
from .summary import RunSummary

RATES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_OUTCOMES = {"same": "that sample", "any": "a training sample", "valid": "a valid grid"}


def unmasking_completions(
    model: MaskedModel,
    splits: Mapping[str, Tensor],
    train: Tensor,
    rule: Rule,
    mask_rates: Sequence[float] = RATES,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """What a masked model makes of samples of which some cells are masked: one completion each, a cell at a time.

    Args:
        model: any callable that returns logits (B, D, Q) for symbols (B, D), int64, with the symbol Q where masked.
        splits: symbols (n, D) by name.
        train: training symbols (N, D).
        rule: says which grids are valid.
        mask_rates: chances for a cell to be masked, in (0, 1]; at 1 nothing is given.
        generator: source of masks and completions, on the CPU. By default seeded with 0.

    Returns:
        One row per split and rate: split; mask_rate; n; and shares of the completions, each with _se, its standard
        error: same, the sample itself; any, one of the training samples; valid, obeying the rule.
    """
    generator = generator or torch.Generator().manual_seed(0)
    known = hash_rows(train)
    rows = []
    for g in masked_grids(splits, mask_rates, rule.alphabet, generator):
        x = complete(model, g.given, rule.alphabet, generator)
        found = {"same": (x == g.clean).all(1), "any": occur(x, known), "valid": rule.is_valid(x)}
        rows.append(_row(g.split, g.rate, {name: share.double() for name, share in found.items()}))
    return pd.DataFrame(rows)


def law_completions(
    law: Law,
    splits: Mapping[str, Tensor],
    train: Tensor,
    mask_rates: Sequence[float] = RATES,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """The same of an exact law, without drawing: P(sample | visible cells) = p(sample) / p(visible cells).

    Args:
        law: gives both, p(visible cells) as its log-partition function in the mask's fields. What it cannot produce is
            completed to nothing: both shares are 0.
        splits, train, mask_rates, generator: as in `unmasking_completions`; the masks are the same for the same state
            of the generator and one rate and split.

    Returns:
        Columns split, mask_rate, n, same, any and their _se.
    """
    generator = generator or torch.Generator().manual_seed(0)
    known = torch.unique(train, dim=0)
    log_known = law.log_prob(known)  # (N,)
    rows = []
    for g in masked_grids(splits, mask_rates, law.alphabet, generator):
        visible = law.log_partition(Mask().fields(g.given, law.alphabet))[:, None]  # (n, 1)
        fits = ((g.given[:, None] == known) | (g.given[:, None] == law.alphabet)).all(-1)  # (n, N)
        possible = visible > -math.inf
        some = torch.where(fits & possible, (log_known - visible).exp(), 0).sum(1).clamp_max(1)  # but for rounding
        same = torch.where(possible[:, 0], (law.log_prob(g.clean) - visible[:, 0]).exp(), 0).clamp_max(1)
        rows.append(_row(g.split, g.rate, {"same": same, "any": some}))
    return pd.DataFrame(rows)


def completions_over_training(run: Run, n_samples: int = 256, steps: Sequence[int] | None = None) -> pd.DataFrame:
    """`unmasking_completions` at each kept step of a masked model's run, and both exact optima.

    The rule optimum's are the exact chance: one over the number of valid completions. The training-set optimum's are
    those of full memorization: it copies a training sample as soon as the visible cells tell it from all others.

    Args:
        run: of an MDM.
        n_samples: training samples, and held-out ones as the control, that are masked in part.
        steps: by default all that are kept.

    Returns:
        Their columns, with model before them, "learned" or the name of the optimum, and step, missing for an optimum.

    Raises:
        ValueError: another family's run, or a step without weights.
    """
    check_masked(run)
    rule, train = run.rule, run.train_set
    splits = {name: x for name, x in comparison_splits(run, n_samples).items() if name != "cube"}

    def probe(model: MaskedModel) -> pd.DataFrame:
        return unmasking_completions(model, splits, train, rule, generator=probe_stream(run))

    laws = ((name, run.references[REFERENCE_OF[name]]) for name in affordable(run, *OPTIMA))
    exact = ((name, law_completions(law, splits, train, generator=probe_stream(run))) for name, law in laws)
    return beside_optima(run, probe, steps, exact)


def completions_figure(table: pd.DataFrame, run: Run | RunSummary) -> Figure:
    """Shares of completions by mask rate in each phase: to the sample itself, any training sample, a valid grid.

    Args:
        table: from `completions_over_training`.
        run: gives phases and scale; the run or its record.
    """
    splits = list(dict.fromkeys(table["split"]))
    figure, axes = new_figure(len(_OUTCOMES), len(splits), 3.6 * len(splits), 7.6, sharex=True, sharey=True)
    for row, (outcome, what) in zip(axes, _OUTCOMES.items(), strict=True):
        for ax, split in zip(row, splits, strict=True):
            draw_completion_shares(ax, table[table["split"] == split], run, "mask_rate", outcome)
        row[0].set_ylabel(f"share completed to\n{what}")
    for ax, split in zip(axes[0], splits, strict=True):
        ax.set_title(f"{table.loc[table['split'] == split, 'n'].iloc[0]} {split} samples, masked in part")
    for ax in axes[-1]:
        ax.set_xlabel("mask rate")
    axes[0][0].set_ylim(-0.03, 1.03)
    figure.suptitle(f"{run_title(run)}; 95% intervals", fontsize=9)
    outer_legend(figure, [axes[0][0]], ncols=2)
    return figure


def _row(split: str, rate: float, shares: Mapping[str, Tensor]) -> dict[str, Any]:
    row: dict[str, Any] = {"split": split, "mask_rate": rate, "n": len(next(iter(shares.values())))}
    for name, share in shares.items():
        row[name], row[f"{name}_se"] = map(float, mean_and_error(share))
    return row


PROBES = (
    Probe(
        "unmasking",
        "Which training samples a part of one brings out",
        lambda run: {"unmasking": completions_over_training(run)},
        lambda tables, run: {"unmasking": completions_figure(tables["unmasking"], run)},
        ("mask",),
    ),
)
