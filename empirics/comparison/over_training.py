"""Learned against optimal at every checkpoint of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from torch import Tensor
from tqdm import tqdm

from ...theory import Density, Law
from ..families import families
from ..runs.run import Run
from .data_runs import REFERENCES, data_densities, data_splits
from .splits import comparison_splits, reference_laws


def compare_over_training(
    run: Run,
    sigmas: Sequence[float] | Tensor | None = None,
    steps: Sequence[int] | None = None,
    n_samples: int = 128,
    n_noise: int | None = None,
    progress: bool = False,
    references: Sequence[str] = REFERENCES,
) -> pd.DataFrame:
    """`compare_denoisers` or `compare_next_token` for the checkpoints of a run, all on the same samples and noise.

    The splits are those of `comparison_splits` (for a GPT without the cube, where the rule's law is undefined), the
    references those of `reference_laws`. It holds the references' answers for all noisy images in memory:
    n_samples * n_noise * sigmas * splits images.

    Args:
        run: a run folder with weights, of a DiT or a GPT; it may be unfinished. `Run.on` says on which device its
            networks and their references are computed.
        sigmas: DiT only: noise standard deviations in data units; by default 11 from 0.2 to 6.4 times the encoding's
            sigma_data.
        steps: checkpoints to compare; by default all that are kept.
        n_samples: samples a split, at most.
        n_noise: DiT only: noise draws a sample, by default 2.
        progress: show a progress bar.
        references: of a run on data: densities fitted to its training set, by name, see `references`; sigmas and scores
            are then in units of the data's standard deviation.

    Returns:
        One row per checkpoint, split, and sigma (DiT) or position (GPT): ``step``, in training steps, then the columns
        of `compare_denoisers` or `compare_next_token`. For a GPT, rows without position cover all positions together.

    Raises:
        ValueError: no weights kept, or none of a step asked for; sigmas for a GPT; n_samples below 2.
    """
    wanted = kept_steps(run, steps)
    options = compare_options(run, {"sigmas": sigmas, "n_noise": n_noise})
    laws: Mapping[str, Law | Density]
    if run.task.rule is None:  # numbers come as the network sees them
        splits, laws, codes = data_splits(run, n_samples), data_densities(run, references), None
    else:
        splits, laws, codes = comparison_splits(run, n_samples), reference_laws(run), run.encoding
    bar: Iterable[int] = tqdm(wanted, desc="checkpoints", unit="checkpoint", disable=not progress, leave=False)
    models = ((step, run.model(step)) for step in bar)
    config = replace(run.config, device=run.device)  # where the references are computed, too
    tables = run.family.compare(models, laws, splits, config, codes, progress, **options)
    return pd.concat(tables, names=["step", None]).reset_index("step").reset_index(drop=True)


def kept_steps(run: Run, steps: Sequence[int] | None) -> list[int]:
    """The checkpoints asked for, by default all; ValueError where a run does not keep one, or none."""
    kept = run.checkpoint_steps
    wanted = kept if steps is None else sorted(set(steps))
    if not wanted or not set(wanted) <= set(kept):
        missing = [step for step in wanted if step not in kept]
        raise ValueError(f"{run.path} keeps no weights{f' of step {missing[0]}' if missing else ''}; kept are {kept}")
    return wanted


def compare_options(run: Run, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of a comparison that are not None; ValueError for one that is not of the run's family."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in run.family.compare_options:
            able = " or ".join(kind.title for kind in families().values() if name in kind.compare_options)
            raise ValueError(f"{name} are for a {able}; leave them out for {run.config.model}")
    return given
