"""Learned against optimal at every checkpoint of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd
from torch import Tensor
from tqdm import tqdm

from ...theory import OptimalDenoiser
from ...theory.dsm import check_sigmas
from ..data import random_stream
from ..runs.run import Run
from .denoisers import compare_on, noisy_batches
from .splits import comparison_splits, reference_laws
from .tokens import compare_tokens_on, token_laws

SIGMAS = tuple(0.2 * 2 ** (k / 2) for k in range(11))
"""Default noise levels, in units of the encoding's sigma_data: 0.2 to 6.4 in steps of sqrt 2."""


def compare_over_training(
    run: Run,
    sigmas: Sequence[float] | Tensor | None = None,
    steps: Sequence[int] | None = None,
    n_samples: int = 128,
    n_noise: int = 2,
    progress: bool = False,
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
        n_noise: DiT only: noise draws a sample.
        progress: show a progress bar.

    Returns:
        One row a checkpoint, split, and sigma (DiT) or position (GPT): ``step``, in training steps, then the columns of
        `compare_denoisers` or `compare_next_token`. For a GPT, rows without position cover all positions together.

    Raises:
        ValueError: no weights kept, or none of a step asked for; sigmas for a GPT; n_samples below 2.
    """
    kept = run.checkpoint_steps
    wanted = kept if steps is None else sorted(set(steps))
    if not wanted or not set(wanted) <= set(kept):
        missing = [step for step in wanted if step not in kept]
        raise ValueError(f"{run.path} keeps no weights{f' of step {missing[0]}' if missing else ''}; kept are {kept}")
    encoding = run.encoding
    if encoding is None and sigmas is not None:
        raise ValueError("sigmas are for a DiT; a GPT is compared by position, leave them out")
    splits, laws = comparison_splits(run, n_samples), reference_laws(run)
    bar: Iterable[int] = tqdm(wanted, desc="checkpoints", unit="checkpoint", disable=not progress, leave=False)
    if encoding is None:
        del splits["cube"]
        probs = token_laws(laws, splits)
        tables = {step: compare_tokens_on(run.model(step), splits, probs) for step in bar}
    else:
        levels = check_sigmas([encoding.sigma_data * s for s in SIGMAS] if sigmas is None else sigmas)
        references = {name: OptimalDenoiser(law, encoding) for name, law in laws.items()}
        noise = random_stream(run.config.seed, "comparison noise")
        calls = n_noise * len(levels) * sum(math.ceil(len(x) / 1024) for x in splits.values())
        drawn = noisy_batches(references, splits, levels, encoding, n_noise, noise, device=run.device)
        batches = list(tqdm(drawn, desc="references", total=calls, disable=not progress, leave=False))
        tables = {step: compare_on(run.model(step), batches, splits, levels) for step in bar}
    return pd.concat(tables, names=["step", None]).reset_index("step").reset_index(drop=True)
