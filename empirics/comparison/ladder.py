"""The ladder cube -> cells -> pairs -> rule -> training set: what each rung costs, and how far up a model has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor
from tqdm import tqdm

from ...theory import Law
from ..references import LADDER, References, references_of
from ..runs.run import Run
from .exact_networks import exact_network
from .over_training import compare_options, kept_steps
from .splits import comparison_splits

LEARNED = "learned"
"""The rows of the network, beside those of the rungs."""
LISTED = 2**18
"""The most valid grids of a rule whose pairs are a rung here: each question to them takes a sum over all."""


def ladder_over_training(
    run: Run,
    sigmas: Sequence[float] | Tensor | None = None,
    steps: Sequence[int] | None = None,
    n_samples: int = 128,
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """The exact loss of every rung, the loss of a run's network at its checkpoints, and how far it has come to each.

    Rungs and networks see the same samples, noise and masks, those of `compare_over_training`. A rung's loss is what
    a network would pay that knew just so much: the denoising loss at each sigma (DiT), the next-token loss at each
    position (GPT), or the loss of masked cells at each mask rate (MDM).

    Args:
        run: a run folder with weights; it may be unfinished.
        sigmas: DiT only, see `compare_over_training`.
        steps: checkpoints; by default all that are kept.
        n_samples: samples a split, at most.
        progress: show a progress bar.
        options: others of the family's comparison, such as n_noise or mask_rates.

    Returns:
        One row for each of the rungs and ``learned`` at each checkpoint, split and place, and one of all places
        together, where the place is missing (NaN):
        of: ``cube``, ``cells``, ``pairs``, ``population``, ``empirical`` or ``learned``.
        step: of the checkpoint; NaN for rungs.
        split: train or held-out.
        sigma, position or mask_rate: the place.
        loss, loss_se: squared error per dimension in data units^2 (DiT), or nats per token or masked cell; its standard
            error over samples, NaN for all places together but for a GPT. NaN for the training set's optimum off the
            training set, where it says nothing of symbols; inf where a rung excludes what is there.
        reached_R: for each rung R above the cube, 1 - d(R, this) / d(R, cube): 0 no nearer to R than the cube's
            optimum is, 1 there, negative farther away. d is the squared difference of denoised images (DiT), or
            KL(R || this) over what R can produce. NaN where R and the cube's optimum agree.
        reached_R_se: its standard error over samples, with d(R, cube) as it is.
        explained_R: DiT only: share of the score that R explains, see `compare_denoisers`.
        n_samples: samples behind the row.

    Raises:
        ValueError: as of `compare_over_training`.
    """
    laws = ladder_laws(references_of(run.rule, run.train_set))
    wanted = kept_steps(run, steps)
    chosen = compare_options(run, {**options, "sigmas": sigmas})
    splits = {name: x for name, x in comparison_splits(run, n_samples).items() if name != "cube"}
    family, config = run.family, replace(run.config, device=run.device)
    bar = tqdm(wanted, desc="ladder", unit="checkpoint", disable=not progress, leave=False)
    rungs = ((name, exact_network(family, law, run.encoding)) for name, law in laws.items())
    models: Any = (pair for part in (rungs, ((step, run.model(step)) for step in bar)) for pair in part)
    tables: Mapping[Any, pd.DataFrame] = family.compare(models, laws, splits, config, run.encoding, progress, **chosen)
    return ladder_table(tables, laws, family.place)


def ladder_laws(references: References) -> dict[str, Law]:
    """The rungs, from below: every grid alike; the frequency of each cell's symbols; the rule with the training set's
    pair statistics, where its valid grids are at most `LISTED`; the rule; the training set.
    """
    few = references.rule.support_size <= LISTED
    return references.named([name for name in LADDER if few or name != "pairs"])


def ladder_table(tables: Mapping[Any, pd.DataFrame], laws: Mapping[str, Law], place: str) -> pd.DataFrame:
    """`ladder_over_training` from comparisons: of each rung under its name, of a network under its step."""
    with_all = {name: _with_all_places(table, place) for name, table in tables.items()}
    base = with_all["cube"]
    parts = []
    for name, table in with_all.items():
        rung = isinstance(name, str)
        part = pd.DataFrame(
            {"of": name if rung else LEARNED, "step": np.nan if rung else float(name), "split": table["split"],
             place: table[place].astype(float)}
        )  # fmt: skip
        loss = "denoising_loss" if place == "sigma" else "cross_entropy"
        silent = (name == "empirical") & (place != "sigma") & (table["split"] != "train")
        for end in ("", "_se"):
            part[f"loss{end}"] = table[f"{loss}{end}"].mask(silent)
        kind = "score_mse" if place == "sigma" else "kl"
        for R in laws:
            if R == "cube":
                continue
            apart = base[f"{kind}_{R}"].where(base[f"{kind}_{R}"] > 1e-12)
            part[f"reached_{R}"] = 1 - table[f"{kind}_{R}"] / apart
            part[f"reached_{R}_se"] = table[f"{kind}_{R}_se"] / apart
        for R in laws:
            if f"explained_{R}" in table:
                part[f"explained_{R}"] = table[f"explained_{R}"]
        part["n_samples"] = table["n_samples"].astype(int)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def half_way(ladder: pd.DataFrame, level: float = 0.5) -> dict[str, float]:
    """The step of the first checkpoint at which a network had come half way from the cube to each rung; inf if never.

    Args:
        ladder: from `ladder_over_training`; counted is `reached_R` on train samples, all places together.
        level: what counts as half way.
    """
    rows = overall(ladder, "train")
    found = {}
    for R in rungs_of(ladder):
        steps = rows.loc[rows[f"reached_{R}"] >= level, "step"]
        found[R] = float(steps.min()) if len(steps) else np.inf
    return found


def overall(ladder: pd.DataFrame, split: str) -> pd.DataFrame:
    """The rows of the network on a split, all places together, by step."""
    rows = ladder[(ladder["of"] == LEARNED) & (ladder["split"] == split) & ladder[place_of(ladder)].isna()]
    return rows.sort_values("step")


def rungs_of(ladder: pd.DataFrame) -> list[str]:
    """The rungs above the cube that a table has, from below."""
    return [R for R in LADDER if f"reached_{R}" in ladder]


def place_of(ladder: pd.DataFrame) -> str:
    """The column that says where the networks were looked at."""
    return next(name for name in ("sigma", "position", "mask_rate") if name in ladder)


def _with_all_places(table: pd.DataFrame, place: str) -> pd.DataFrame:
    """With a row of all places together, first of each split: a mean over places, of squared errors in data units^2.

    A comparison of next tokens has such rows; elsewhere every place counts alike.
    """
    if table[place].isna().any():
        return table
    numbers = table.select_dtypes("number")
    if place == "sigma":  # differences of denoised images: those of scores would be of the least noise alone
        mse = [name for name in numbers if str(name).startswith("score_mse")]
        table = table.assign(**{name: table[name] * table["sigma"] ** 4 for name in map(str, mse)})
        numbers = table.select_dtypes("number")
    errors = [name for name in numbers if str(name).endswith("_se")]
    plain = [name for name in numbers if not str(name).endswith("_se")]
    mean = numbers.groupby(table["split"], sort=False)[plain].mean()
    # The same samples at every place: their errors add up rather than average out, to be on the safe side.
    error = numbers.groupby(table["split"], sort=False)[errors].mean()
    together = pd.concat([mean, error], axis=1).reset_index().assign(**{place: np.nan})
    return pd.concat([together, table], ignore_index=True)
