"""What a GPT knows cell by cell, and which training samples a prefix brings out of it (Fig. 20)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ...theory import Law
from ..comparison.splits import comparison_splits
from ..comparison.tokens import TokenModel
from ..data import random_stream
from ..runs.run import Run
from ..style import COLOURS, new_figure
from .completions import draw_completion_shares, mean_and_error
from .phases import (
    OPTIMA,
    REFERENCE_OF,
    beside_optima,
    mark_clocks,
    outer_legend,
    over_steps,
    phase_look,
    phase_steps,
    run_title,
)
from .probe import Probe
from .summary import RunSummary

_BATCH = 1024


def loss_by_position(model: TokenModel, splits: Mapping[str, Tensor]) -> pd.DataFrame:
    """The next-symbol loss of a model at each cell.

    Args:
        model: any callable that returns logits (B, D, Q) for symbols x (B, D), int64, where the logits at position t
            depend on x[:, :t] alone.
        splits: symbols (n, D) by name.

    Returns:
        One row per split and cell: split; position, 0..D-1 in raster order; n; loss, mean of -ln p(x_t | x_<t) in nats,
        and loss_se, its standard error over samples (NaN for one).
    """
    tables = []
    for split, x in splits.items():
        loss = -token_log_probs(model, x)
        mean, error = mean_and_error(loss)
        columns = {"position": np.arange(x.shape[1]), "n": len(x), "loss": mean, "loss_se": error}
        tables.append(pd.DataFrame({"split": split, **columns}))
    return pd.concat(tables, ignore_index=True)


def loss_over_training(run: Run, n_samples: int = 512, steps: Sequence[int] | None = None) -> pd.DataFrame:
    """`loss_by_position` at each kept step of a GPT's run, on train, held-out and cube samples (Fig. 20).

    Args:
        run: of a GPT.
        n_samples: samples a split; see `comparison_splits`.
        steps: by default all that are kept.

    Returns:
        Its columns, with step before them.

    Raises:
        ValueError: a DiT's run, or a step without weights.
    """
    splits = _check_gpt(run, n_samples)
    return over_steps(run, lambda model: loss_by_position(model, splits), steps)


def position_floors(run: Run, n_samples: int = 4096) -> pd.DataFrame:
    """The least loss at each cell that a model of the rule, or of the training set, can reach.

    They are the conditional entropies H(x_t | x_<t) of the two laws: the mean over their own prefixes of the entropy of
    the exact next-symbol law. For parity the rule's is ln 2, and 0 at the last cell of a group, settled by the rest.

    Args:
        run: gives rule and training set.
        n_samples: fresh draws of the rule; where the entropy depends on the position alone, as for parity and
            permutations, the result is exact for any number.

    Returns:
        One row per cell, in nats: position; rule and rule_se, its standard error over draws; training_set, exact.
    """
    rule, train = run.rule, run.train_set
    fresh = rule.sample(n_samples, random_stream(run.config.seed, "position floors"))
    mean, error = mean_and_error(torch.special.entr(rule.next_token_probs(fresh)).sum(-1))
    memorized = torch.special.entr(run.references["empirical"].next_token_probs(train)).sum(-1).mean(0)
    columns = {"rule": mean, "rule_se": error, "training_set": memorized.numpy()}
    return pd.DataFrame({"position": np.arange(rule.dim), **columns})


def prefix_completions(model: TokenModel, splits: Mapping[str, Tensor], train: Tensor) -> pd.DataFrame:
    """How likely a model, given the first k cells of a sample, completes them to a training sample.

    The probabilities are exact for the model, not counted from generations: that of a completion is the product of its
    teacher-forced conditional probabilities, and all training samples that share the prefix are summed. So one pass
    over the training set gives every prefix length.

    Args:
        model: as in `loss_by_position`. Rows of logits that are all -inf, as those of an exact law on a prefix that it
            cannot produce, count as probability 0.
        splits: symbols (n, D) by name, whose prefixes are given.
        train: training symbols (N, D); repeated rows count once.

    Returns:
        One row per split and prefix length:
        split; prefix, k = 0..D; n;
        same, same_se: mean probability that the completion is the sample that the prefix was taken from;
        any, any_se: mean probability that it is one of the training samples.
        The standard errors are over the samples of the split (NaN for one).
    """
    known = torch.unique(train, dim=0)
    tails = _tails(model, known).exp()  # (N, D + 1): P(x_k.. | x_<k)
    tables = []
    for split, x in splits.items():
        groups = _prefix_groups(torch.cat([known, x]))
        reached = np.empty((len(x), x.shape[1] + 1))
        for k, group in enumerate(groups):
            total = np.bincount(group[: len(known)], weights=tails[:, k].numpy(), minlength=len(known) + len(x))
            reached[:, k] = np.minimum(total[group[len(known) :]], 1.0)  # rounding may exceed 1
        same, same_error = mean_and_error(_tails(model, x).exp())
        some, some_error = mean_and_error(torch.from_numpy(reached))
        columns = {"same": same, "same_se": same_error, "any": some, "any_se": some_error}
        tables.append(pd.DataFrame({"split": split, "prefix": np.arange(x.shape[1] + 1), "n": len(x), **columns}))
    return pd.concat(tables, ignore_index=True)


def completions_over_training(run: Run, n_samples: int = 512, steps: Sequence[int] | None = None) -> pd.DataFrame:
    """`prefix_completions` at each kept step of a GPT's run and for the two exact optima (Fig. 20).

    The rule optimum's are the exact chance: one over the number of valid completions. The training-set optimum's are
    those of full memorization: it copies a training sample as soon as the prefix tells it from all others.

    Args:
        run: of a GPT.
        n_samples: training samples, and held-out ones as the control, whose prefixes are given.
        steps: by default all that are kept.

    Returns:
        Its columns, with model before them, "learned" or the name of the optimum, and step, missing for an optimum.

    Raises:
        ValueError: a DiT's run, or a step without weights.
    """
    splits = {name: x for name, x in _check_gpt(run, n_samples).items() if name != "cube"}

    def probe(model: TokenModel) -> pd.DataFrame:
        return prefix_completions(model, splits, run.train_set)

    exact = ((name, probe(law_logits(run.references[REFERENCE_OF[name]]))) for name in OPTIMA)
    return beside_optima(run, probe, steps, exact)


def law_logits(law: Law) -> TokenModel:
    """An exact law as a next-symbol model: the logarithms of `Law.next_token_probs`."""
    return lambda x: law.next_token_probs(x).log()


@torch.no_grad()
def token_log_probs(model: TokenModel, x: Tensor) -> Tensor:
    """ln p(x_t | x_<t) in nats of each symbol: float64 (n, D); -inf after a prefix whose logits are all -inf."""
    parts = []
    for part in x.split(_BATCH):
        logits = model(part).double()
        log_probs = logits.log_softmax(-1).masked_fill((logits == -math.inf).all(-1, keepdim=True), -math.inf)
        parts.append(log_probs.gather(-1, part[..., None])[..., 0])
    return torch.cat(parts)


def positions_figure(table: pd.DataFrame, floors: pd.DataFrame, run: Run | RunSummary) -> Figure:
    """Loss by cell in each phase, and over training where the rule settles a cell and where not; a column per split.

    Args:
        table: from `loss_over_training`.
        floors: from `position_floors`.
        run: gives phases, clocks and scale; the run or its summary.
    """
    splits = list(dict.fromkeys(table["split"]))
    figure, axes = new_figure(2, len(splits), 3.1 * len(splits), 5.4, sharey="col")
    draw_position_losses(axes[0], table, floors, run)
    for ax, split in zip(axes[1], splits, strict=True):
        _draw_by_kind(ax, table[table["split"] == split], floors)
        mark_clocks(ax, run)
        ax.set_xlabel("training step")
    axes[1][0].set_ylabel("nats per cell")
    figure.suptitle(run_title(run), fontsize=9)
    outer_legend(figure, [*axes[0], *axes[1]], ncols=3)
    return figure


def draw_position_losses(
    axes: Sequence[Axes], table: pd.DataFrame, floors: pd.DataFrame, run: Run | RunSummary
) -> None:
    """Loss by cell in each phase that the table holds, with the exact floors; one of the axes per split.

    Args: as `positions_figure`.
    """
    for ax, split in zip(axes, dict.fromkeys(table["split"]), strict=True):
        rows = table[table["split"] == split]
        for phase, step in phase_steps(run).items():
            here = rows[rows["step"] == step]
            if len(here):
                ax.plot(here["position"] + 1, here["loss"], label=f"{phase}: step {step}", **phase_look(phase))
        if split != "cube":
            _draw_floors(ax, floors, split)
        ax.set_title(f"{rows['n'].iloc[0]} {split} samples")
        ax.set_xlabel("cell, in raster order")
    axes[0].set_ylabel("nats per cell")


def completions_figure(table: pd.DataFrame, run: Run | RunSummary) -> Figure:
    """The probability of completing a prefix to a training sample, by its length, in each phase; a column per split.

    Args:
        table: from `completions_over_training`.
        run: gives phases and scale; the run or its summary.
    """
    splits = list(dict.fromkeys(table["split"]))
    figure, axes = new_figure(2, len(splits), 3.6 * len(splits), 5.6, sharex=True, sharey=True)
    draw_completions(axes, table, run)
    figure.suptitle(f"{run_title(run)}; 95% intervals", fontsize=9)
    outer_legend(figure, [axes[0][0]], ncols=2)
    return figure


def draw_completions(axes: Sequence[Sequence[Axes]], table: pd.DataFrame, run: Run | RunSummary) -> None:
    """Completions to the sample itself, and below to any training sample, by prefix length.

    Args:
        axes: two rows, a column per split of the table, with shared x and y.
        table: from `completions_over_training`.
        run: gives phases; the run or its summary.
    """
    for row, (outcome, what) in zip(axes, (("same", "that sample"), ("any", "a training sample")), strict=True):
        for ax, (_, part) in zip(row, table.groupby("split", sort=False), strict=True):
            draw_completion_shares(ax, part, run, "prefix", outcome)
        row[0].set_ylabel(f"P(completes to\n{what})")
    for above, below, (split, part) in zip(*axes, table.groupby("split", sort=False), strict=True):
        above.set_title(f"prefixes of {part['n'].iloc[0]} {split} samples")
        below.set_xlabel("cells given")
    axes[0][0].set_ylim(-0.03, 1.03)


def _check_gpt(run: Run, n_samples: int) -> dict[str, Tensor]:
    if run.family.channel != "prefix":
        raise ValueError(
            f"{run.path} is a run of {run.config.model}, which has no next-symbol law; probe a run of a GPT"
        )
    return comparison_splits(run, n_samples)


def _tails(model: TokenModel, x: Tensor) -> Tensor:
    """ln P(x_k, ..., x_{D-1} | x_<k) for k = 0..D: float64 (n, D + 1)."""
    backwards = token_log_probs(model, x).flip(1).cumsum(1).flip(1)
    return torch.cat([backwards, backwards.new_zeros(len(x), 1)], 1)


def _prefix_groups(x: Tensor) -> list[np.ndarray]:
    """For each prefix length k = 0..D, a number for each row of x (n, D), the same for rows that share the prefix.

    In lexicographic order rows that share a prefix are neighbours: one sort serves all lengths.
    """
    rows = x.numpy()
    order = np.lexsort(rows.T[::-1])
    differ = rows[order[1:]] != rows[order[:-1]]
    first = np.where(differ.any(1), differ.argmax(1), rows.shape[1])  # where a row leaves the one before it
    groups = []
    for k in range(rows.shape[1] + 1):
        group = np.empty(len(rows), dtype=np.int64)
        group[order] = np.r_[0, np.cumsum(first < k)]
        groups.append(group)
    return groups


def _draw_floors(ax: Axes, floors: pd.DataFrame, split: str) -> None:
    cells = floors["position"] + 1
    ax.step(cells, floors["rule"], where="mid", color=COLOURS["chance"], ls="-.", lw=1, label="exact floor of the rule")
    if split == "train":
        ax.step(cells, floors["training_set"], where="mid", color=COLOURS["loss"], ls=":", lw=1,
                label="exact floor of the training set")  # fmt: skip


def _draw_by_kind(ax: Axes, rows: pd.DataFrame, floors: pd.DataFrame) -> None:
    """Mean loss over training of the cells that the rule settles and of the others."""
    settled = floors["rule"].to_numpy() < 1e-9
    for kind, cells, marker, style in (
        ("cells that the rule settles", settled, "s", "-"),
        ("other cells", ~settled, "o", "--"),
    ):
        if cells.any():
            mean = rows[rows["position"].isin(np.flatnonzero(cells))].groupby("step")["loss"].mean()
            ax.plot(mean.index, mean, ls=style, marker=marker, ms=3.5, color=COLOURS["loss"], label=kind)
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)


PROBES = (
    Probe(
        "positions",
        "Loss of the next symbol, cell by cell",
        lambda run: {"positions": loss_over_training(run), "position_floors": position_floors(run)},
        lambda tables, run: {"positions": positions_figure(tables["positions"], tables["position_floors"], run)},
        ("prefix",),
    ),
    Probe(
        "completions",
        "Which training samples a prefix brings out",
        lambda run: {"completions": completions_over_training(run)},
        lambda tables, run: {"completions": completions_figure(tables["completions"], run)},
        ("prefix",),
    ),
)
