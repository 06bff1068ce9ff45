"""What a masked model knows at each mask rate: its loss on train, held-out and cube samples (as Figures 13 to 15)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ...theory import Law
from ..comparison.coordinate import ratio_and_error
from ..comparison.masked import MaskedGrids, masked_grids
from ..comparison.splits import comparison_splits
from ..data import random_stream
from ..references import SLOW
from ..runs.run import Run
from ..style import COLOURS, draw_measured, new_figure
from .phases import mark_clocks, outer_legend, over_steps, phase_look, phase_steps, run_title
from .probe import Probe
from .summary import RunSummary

MaskedModel = Callable[[Tensor], Tensor]

RATES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SHOWN_RATES = (0.1, 0.5, 0.9)
"""Rates whose loss is drawn over training."""

_BATCH = 1024
_SPLIT_STYLES = {  # colour, line and marker
    "train": (COLOURS["memorization"], "-", "o"),
    "held-out": (COLOURS["rule"], "--", "s"),
    "cube": (COLOURS["ambiguous"], ":", "^"),
}


def loss_by_mask_rate(
    model: MaskedModel,
    splits: Mapping[str, Tensor],
    alphabet: int,
    mask_rates: Sequence[float] = RATES,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """The loss of a masked model at each mask rate.

    Args:
        model: any callable that returns logits (B, D, Q) for symbols (B, D), int64, with the symbol Q where masked.
        splits: symbols (n, D) by name.
        alphabet: Q.
        mask_rates: chances for a cell to be masked, in (0, 1].
        generator: source of the masks, on the CPU; every split and rate sees the same random numbers. By default seeded
            with 0.

    Returns:
        One row per split and rate: split; mask_rate; n, samples; loss, mean of -ln p(x_i | visible cells) over masked
        cells, in nats a masked cell, and loss_se, its standard error over samples.

    Raises:
        ValueError: symbols or rates that do not fit.
    """
    return _losses(model, masked_grids(splits, mask_rates, alphabet, generator))


def loss_over_training(run: Run, n_samples: int = 256, steps: Sequence[int] | None = None) -> pd.DataFrame:
    """`loss_by_mask_rate` at each kept step of a masked model's run, on train, held-out and cube samples.

    Args:
        run: of an MDM.
        n_samples: samples a split; see `comparison_splits`.
        steps: by default all that are kept.

    Returns:
        Its columns, with step before them.

    Raises:
        ValueError: another family's run, or a step without weights.
    """
    check_masked(run)
    grids = masked_grids(comparison_splits(run, n_samples), RATES, run.rule.alphabet, probe_stream(run))
    return over_steps(run, lambda model: _losses(model, grids), steps)


def rate_floors(run: Run, n_samples: int = 512) -> pd.DataFrame:
    """The least loss at each mask rate that a model of the rule, or of the training set, can reach.

    They are the conditional entropies of a masked cell given the visible ones, of the two laws on their own samples.
    For group parity the rule's is ln 2 (1 - (1 - rate)^(G - 1)): a cell is settled where no other of its group is
    masked.

    Args:
        run: gives rule and training set.
        n_samples: fresh draws of the rule, and of the training set.

    Returns:
        One row a rate, in nats a masked cell: mask_rate; rule and training_set, each with _se, its standard error over
        samples and masks. The rule's are missing where its marginals take seconds.
    """
    rule, stream = run.rule, random_stream(run.config.seed, "mask floors")
    drawn = torch.randint(len(run.train_set), (n_samples,), generator=stream)
    laws: dict[str, tuple[Law, Tensor]] = {"training_set": (run.references["empirical"], run.train_set[drawn])}
    if rule.cost <= SLOW:
        laws = {"rule": (rule, rule.sample(n_samples, stream))} | laws
    table = pd.DataFrame({"mask_rate": RATES})
    for name, (law, x) in laws.items():
        rows = []
        for g in masked_grids({name: x}, RATES, rule.alphabet, stream):
            masked = (g.given == rule.alphabet).double()
            entropy = torch.special.entr(law.unmask_probs(g.given)).sum(-1)
            rows.append([float(part) for part in ratio_and_error((entropy * masked).sum(1), masked.sum(1))])
        table[name], table[f"{name}_se"] = np.array(rows).T
    return table


def mask_rates_figure(table: pd.DataFrame, floors: pd.DataFrame, run: Run | RunSummary) -> Figure:
    """Loss by mask rate in each phase, a column per split; below, over training at three rates, with the clocks.

    Args:
        table: from `loss_over_training`.
        floors: from `rate_floors`.
        run: gives phases, clocks and scale; the run or its record.
    """
    splits = list(dict.fromkeys(table["split"]))
    columns = max(len(splits), len(SHOWN_RATES))
    figure, axes = new_figure(2, columns, 3.1 * columns, 5.4)
    for ax, split in zip(axes[0], splits, strict=False):
        _draw_phases(ax, table[table["split"] == split], floors, run, split)
    for ax in axes[0][len(splits) :]:
        ax.set_axis_off()
    axes[0][0].set_ylabel("nats a masked cell")
    for ax, rate in zip(axes[1], SHOWN_RATES, strict=True):
        _draw_over_training(ax, table[table["mask_rate"] == rate])
        mark_clocks(ax, run)
        ax.set_title(f"mask rate {rate:g}", pad=15)
        ax.set_xlabel("training step")
    axes[1][0].set_ylabel("nats a masked cell")
    figure.suptitle(f"{run_title(run)}; bands: 95%", fontsize=9)
    outer_legend(figure, [*axes[0][: len(splits)], axes[1][0]], ncols=3)
    return figure


def mask_gap_figure(table: pd.DataFrame, run: Run | RunSummary) -> Figure:
    """Held-out less train loss, over training and mask rate; a dot where it exceeds twice its standard error.

    Args: as `mask_rates_figure`.
    """
    gap = mask_gaps(table)
    steps, rates = sorted(set(gap["step"])), sorted(set(gap["mask_rate"]))
    grid = gap.pivot(index="mask_rate", columns="step", values="gap").loc[rates, steps].to_numpy()
    sure = gap.pivot(index="mask_rate", columns="step", values="z").loc[rates, steps].to_numpy() > 2
    figure, ((ax,),) = new_figure(1, 1, 5.6, 3.8)
    most = max(float(np.abs(grid).max()), 1e-9)
    image = ax.imshow(grid, origin="lower", aspect="auto", cmap="PuOr_r", vmin=-most, vmax=most)
    rows, columns = np.nonzero(sure)
    ax.plot(columns, rows, "k.", ms=3, ls="", label="beyond 2 standard errors")
    ax.set_xticks(range(len(steps)), [str(step) for step in steps], rotation=60, fontsize=7)
    ax.set_yticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    ax.grid(visible=False)
    ax.set(xlabel="training step", ylabel="mask rate", title="held-out less train loss")
    figure.colorbar(image, ax=ax, label="nats a masked cell")
    figure.suptitle(run_title(run), fontsize=9)
    outer_legend(figure, [ax])
    return figure


def mask_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Held-out less train loss, of a table of losses: step, mask_rate, gap, and z, the gap over its standard error."""
    keys = ["step", "mask_rate"]
    train, held_out = (table[table["split"] == name].set_index(keys) for name in ("train", "held-out"))
    gap = held_out["loss"] - train["loss"]
    error = np.hypot(held_out["loss_se"], train["loss_se"])
    return pd.DataFrame({"gap": gap, "z": gap / error}).reset_index()


def check_masked(run: Run) -> None:
    """ValueError unless a run is of a model that fills in masked cells."""
    if run.family.channel != "mask":
        raise ValueError(
            f"{run.path} is a run of {run.config.model}, which fills in no masked cells; probe one of an MDM"
        )


def probe_stream(run: Run) -> torch.Generator:
    """The masks of a run's probes: the same at every step."""
    return random_stream(run.config.seed, "probe masks")


@torch.no_grad()
def _losses(model: MaskedModel, grids: Sequence[MaskedGrids]) -> pd.DataFrame:
    rows = []
    for g in grids:
        logits = torch.cat([model(part).double() for part in g.given.split(_BATCH)]).cpu()
        surprise = -logits.log_softmax(-1).gather(-1, g.clean[..., None])[..., 0]
        masked = (g.given == logits.shape[-1]).double()
        mean, error = ratio_and_error((surprise * masked).sum(1), masked.sum(1))
        row = {"split": g.split, "mask_rate": g.rate, "n": len(g.clean), "loss": float(mean), "loss_se": float(error)}
        rows.append(row)
    return pd.DataFrame(rows)


def _draw_phases(ax: Axes, rows: pd.DataFrame, floors: pd.DataFrame, run: Run | RunSummary, split: str) -> None:
    for phase, step in phase_steps(run).items():
        here = rows[rows["step"] == step]
        if len(here):
            draw_measured(ax, here, "mask_rate", "loss", label=f"{phase}: step {step}", **phase_look(phase))
    if split != "cube" and "rule" in floors:
        ax.plot(floors["mask_rate"], floors["rule"], color=COLOURS["chance"], ls="-.", lw=1,
                label="exact floor of the rule")  # fmt: skip
    if split == "train":
        ax.plot(floors["mask_rate"], floors["training_set"], color=COLOURS["loss"], ls=":", lw=1,
                label="exact floor of the training set")  # fmt: skip
    ax.set_title(f"{rows['n'].iloc[0]} {split} samples")
    ax.set_xlabel("mask rate")
    ax.set_ylim(bottom=0)


def _draw_over_training(ax: Axes, rows: pd.DataFrame) -> None:
    for split, part in rows.groupby("split", sort=False):
        colour, style, marker = _SPLIT_STYLES[str(split)]
        draw_measured(ax, part, "step", "loss", label=f"{split} samples", color=colour, ls=style, marker=marker, ms=3)
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)


def _measure(run: Run) -> dict[str, pd.DataFrame]:
    return {"mask_rates": loss_over_training(run), "mask_floors": rate_floors(run)}


def _draw(tables: Mapping[str, pd.DataFrame], run: Run) -> dict[str, Figure]:
    figures = {"mask_rates": mask_rates_figure(tables["mask_rates"], tables["mask_floors"], run)}
    if "held-out" in set(tables["mask_rates"]["split"]):
        figures["mask_gap"] = mask_gap_figure(tables["mask_rates"], run)
    return figures


PROBES = (Probe("mask_rates", "Loss against the mask rate", _measure, _draw, ("mask",)),)
