"""A learned next-token law against the exact ones, position by position."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import Tensor

from ...theory import Law
from .causality import check_causal, shape_fault
from .coordinate import line_position, nearest, ratio_and_error
from .denoisers import Samples, check_splits
from .networks import evaluation_mode, shown, tensor_in, weight_of

TokenModel = Callable[[Tensor], Tensor]


@torch.no_grad()
def compare_next_token(
    model: TokenModel, references: Mapping[str, Law], x: Samples, batch_size: int = 1024
) -> pd.DataFrame:
    """How far a learned next-token law is from each reference, and where it lies between rule and memory.

    Every position of every sample is a prefix x[:, :t]. A reference is undefined on prefixes that it cannot produce:
    the empirical optimum on those that no training sample has, as most held-out ones are after some positions, and the
    population optimum on those that break the rule. Each column averages over the prefixes where all that it needs is
    defined, and the columns defined_R count them.

    Args:
        model: any callable that returns logits (B, D, Q), alone or in a tuple, dict or dataclass, for symbols x (B, D),
            int64, where the logits at position t depend on x[:, :t] alone; our GPT is one. A module is called in
            evaluation mode.
        references: laws by name. The memorization coordinate runs from the one named ``population`` (0) to the one
            named ``empirical`` (1).
        x: symbols (N, D), or several such by split name, such as train and held-out.
        batch_size: samples a call of the model; bounds the memory.

    Returns:
        For each split a row of all positions together, then one per position:
        split: its name; ``"x"`` when x is a tensor.
        position: t, 0..D-1; missing (pandas.NA) in the row of all positions.
        cross_entropy, cross_entropy_se: mean of -log q(symbol that follows), in nats per token, and its standard error
            over samples.
        kl_R, kl_R_se: for each reference R, mean KL(R || learned) in nats per token, and its standard error over
            samples. This direction stays finite where R gives a symbol no chance; it is the loss in excess of that of R
            itself, on prefixes like these whose next symbol R draws.
        defined_R: number of prefixes on which R is defined.
        nearest: the reference with the least KL over the prefixes where all are defined, the first of equals; None when
            there are none.
        memorization_coordinate, memorization_coordinate_se, off_line_fraction, off_line_distance, signal,
            effective_samples: see `line_position`, with the vectors of Q probabilities on the prefixes where both
            optima are defined; NaN without both, and where they agree, as on a cell that the rule settles.
        n_samples: samples behind the row.

    Raises:
        ValueError: symbols that do not fit the references; no reference; a model that returns another shape, or whose
            logits at a position change with the symbol there or later: those would be unshifted, or not causal.
    """
    splits = check_splits(x)
    laws = token_laws(references, splits)
    Q = next(iter(references.values())).alphabet
    weight = weight_of(model)
    dtype = torch.float32 if weight is None else weight.dtype
    check_causal(lambda part: _logits(model, part, Q), next(iter(splits.values())), Q, dtype, batch_size)
    return compare_tokens_on(model, splits, laws, batch_size)


def token_laws(references: Mapping[str, Law], splits: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The references' next-token laws, float64 (N, D, Q), by split and name; keep them to compare several models."""
    if not references:
        raise ValueError("need at least one reference law")
    if len(sizes := {law.alphabet for law in references.values()}) > 1:
        raise ValueError(f"the references must share one alphabet, got {sorted(sizes)} symbols")
    return {split: {R: law.next_token_probs(x) for R, law in references.items()} for split, x in splits.items()}


@torch.no_grad()
def compare_tokens_on(
    model: TokenModel,
    splits: Mapping[str, Tensor],
    laws: Mapping[str, Mapping[str, Tensor]],
    batch_size: int = 1024,
) -> pd.DataFrame:
    """`compare_next_token` with the references' laws from `token_laws`."""
    tables = []
    for split, x in splits.items():
        log_learned = torch.cat([_log_probs(model, part, laws[split]) for part in x.split(batch_size)])
        tables.append(_compare(split, x, log_learned, laws[split]))
    return pd.concat(tables, ignore_index=True)


def _compare(split: str, x: Tensor, log_learned: Tensor, laws: Mapping[str, Tensor]) -> pd.DataFrame:
    n, D, _ = log_learned.shape
    columns: dict[str, object] = {"split": split, "position": pd.array([pd.NA, *range(D)], dtype="Int64")}
    surprise = -log_learned.gather(-1, x.long().cpu()[..., None])[..., 0]
    mean, error = ratio_and_error(*_rows(surprise, torch.ones_like(surprise)))
    columns |= {"cross_entropy": mean.numpy(), "cross_entropy_se": error.numpy()}
    divergence, defined = {}, {}
    for R, probs in laws.items():
        defined[R] = (probs.sum(-1) > 0.5).double()  # (n, D); an undefined law is all zero
        against = torch.where(probs > 0, probs * log_learned, 0).sum(-1)
        divergence[R] = (torch.special.entr(probs).sum(-1).neg() - against).clamp_min(0)  # but for rounding it is
        mean, error = ratio_and_error(*_rows(divergence[R], defined[R]))
        columns[f"kl_{R}"], columns[f"kl_{R}_se"] = mean.numpy(), error.numpy()
        columns[f"defined_{R}"] = _rows(defined[R])[0].sum(0).long().numpy()
    shared = torch.stack(list(defined.values())).amin(0)
    means = {R: ratio_and_error(*_rows(divergence[R] * shared, shared))[0] for R in laws}
    columns["nearest"] = [nearest({R: float(means[R][k]) for R in laws}) for k in range(D + 1)]
    both = "population" in laws and "empirical" in laws
    p, q = (laws["population"], laws["empirical"]) if both else (log_learned, log_learned)
    here = defined["population"] * defined["empirical"] if both else torch.zeros(n, D, dtype=torch.float64)
    f = log_learned.exp()
    products = ((f - p) * (q - p), (q - p).square(), (f - p).square())
    along, signal, displacement, numbers = _rows(*(here * v.sum(-1) for v in products), here * f.shape[-1])
    position = line_position(along, signal, displacement, numbers)
    columns |= {name: value.numpy() for name, value in position.items()}
    return pd.DataFrame(columns | {"n_samples": n})


def _rows(*values: Tensor) -> list[Tensor]:
    """(n, D) -> (n, 1 + D): all positions together, then each."""
    return [torch.cat([v.sum(1, keepdim=True), v], 1) for v in values]


def _log_probs(model: TokenModel, x: Tensor, laws: Mapping[str, Tensor]) -> Tensor:
    """Log-probabilities of the next symbols, float64 (B, D, Q) on the CPU."""
    return _logits(model, x, next(iter(laws.values())).shape[-1]).double().log_softmax(-1).cpu()


def _logits(model: TokenModel, x: Tensor, alphabet: int) -> Tensor:
    """What a model returns for symbols x (B, D), if it is logits (B, D, Q)."""
    weight = weight_of(model)
    given = x.long() if weight is None else x.long().to(weight.device)
    wanted = (*x.shape, alphabet)
    with evaluation_mode(model):
        logits = tensor_in(model(given), wanted)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted or not logits.dtype.is_floating_point:
        hint = shape_fault(tuple(logits.shape), wanted) if isinstance(logits, Tensor) else ""
        raise ValueError(f"the model must return real logits of shape {wanted}, got {shown(logits)}{hint}")
    return logits
