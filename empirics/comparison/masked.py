"""A learned masked-diffusion model against the exact laws of masked cells, by mask rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from ...theory import Law
from .coordinate import line_position, nearest, ratio_and_error
from .denoisers import Samples, check_splits

MaskedModel = Callable[[Tensor], Tensor]


class MaskedGrids(NamedTuple):
    """Grids of one split at one mask rate."""

    split: str
    rate: float
    clean: Tensor  # int64 (n, D)
    given: Tensor  # int64 (n, D), the symbol Q where masked


@torch.no_grad()
def compare_masked(
    model: MaskedModel,
    references: Mapping[str, Law],
    x: Samples,
    mask_rates: Sequence[float] | Tensor,
    generator: torch.Generator | None = None,
    batch_size: int = 1024,
) -> pd.DataFrame:
    """How far a learned law of masked cells is from each reference, and where it lies between rule and memory.

    Each cell of each sample is masked at random at the given rate; the model and every reference are asked for the law
    of each masked cell, given the visible ones. A reference is undefined where it cannot produce the visible cells, as
    the empirical optimum on most held-out grids at low mask rates. Each column averages over the masked cells where all
    that it needs is defined.

    Args:
        model: any callable that returns logits (B, D, Q) for symbols (B, D), int64, with the symbol Q where masked.
        references: laws by name. The memorization coordinate runs from the one named ``population`` (0) to the one
            named ``empirical`` (1).
        x: symbols (N, D), or several such by split name, such as train and held-out.
        mask_rates: chances for a cell to be masked, in (0, 1].
        generator: source of the masks, on the CPU; every rate and split sees the same random numbers. By default seeded
            with 0.
        batch_size: grids a call of the model; bounds the memory.

    Returns:
        One row per split and mask rate:
        split: its name; ``"x"`` when x is a tensor.
        mask_rate: the chance for a cell to be masked.
        cross_entropy, cross_entropy_se: mean of -log q(true symbol) over masked cells, in nats, and its standard error
            over samples.
        kl_R, kl_R_se: for each reference R, mean KL(R || learned) in nats a masked cell, and its standard error.
        defined_R: number of masked cells on which R is defined.
        nearest: the reference with the least KL over the cells where all are defined; None when there are none.
        memorization_coordinate, memorization_coordinate_se, off_line_fraction, off_line_distance, signal,
            effective_samples: see `line_position`, with the vectors of Q probabilities on the masked cells where both
            optima are defined; NaN without both, and where they agree.
        n_samples: samples behind the row.

    Raises:
        ValueError: symbols or mask rates that do not fit; no reference; a model that returns another shape.
    """
    splits = check_splits(x)
    alphabet = _shared_alphabet(references)
    grids = masked_grids(splits, mask_rates, alphabet, generator)
    return compare_masked_on(model, grids, mask_laws(references, grids), batch_size)


def masked_grids(
    splits: Mapping[str, Tensor],
    mask_rates: Sequence[float] | Tensor,
    alphabet: int,
    generator: torch.Generator | None = None,
) -> list[MaskedGrids]:
    """The partly masked grids on which models are compared; a cell masked at one rate is masked at every higher one."""
    rates = torch.as_tensor(mask_rates, dtype=torch.float64).reshape(-1)
    if not len(rates) or not bool(((rates > 0) & (rates <= 1)).all()):
        raise ValueError(f"mask rates must lie in (0, 1], at least one of them, got {rates.tolist()}")
    generator = generator or torch.Generator().manual_seed(0)
    start = generator.get_state()
    grids = []
    for split, x in splits.items():
        if int(x.min()) < 0 or int(x.max()) >= alphabet:
            found = f"{int(x.min())}..{int(x.max())}"
            raise ValueError(f"symbols of split {split!r} must lie in 0..{alphabet - 1}, got {found}")
        generator.set_state(start)
        uniform = torch.rand(x.shape, generator=generator, dtype=torch.float64)
        for rate in rates.tolist():
            grids.append(MaskedGrids(split, rate, x.long(), x.long().masked_fill(uniform < rate, alphabet)))
    return grids


def mask_laws(references: Mapping[str, Law], grids: Sequence[MaskedGrids]) -> list[dict[str, Tensor]]:
    """The references' laws of the cells, float64 (n, D, Q), by grids; keep them to compare several models."""
    _shared_alphabet(references)
    return [{R: law.unmask_probs(g.given) for R, law in references.items()} for g in grids]


@torch.no_grad()
def compare_masked_on(
    model: MaskedModel, grids: Sequence[MaskedGrids], laws: Sequence[Mapping[str, Tensor]], batch_size: int = 1024
) -> pd.DataFrame:
    """`compare_masked` on grids of `masked_grids`, with the references' laws from `mask_laws`."""
    rows = []
    for g, exact in zip(grids, laws, strict=True):
        log_learned = torch.cat([_log_probs(model, part, exact) for part in g.given.split(batch_size)])
        rows.append(_compare(g, log_learned, exact))
    return pd.DataFrame(rows)


def _compare(g: MaskedGrids, log_learned: Tensor, laws: Mapping[str, Tensor]) -> dict[str, object]:
    masked = (g.given != g.clean).double()  # (n, D)
    surprise = -log_learned.gather(-1, g.clean[..., None])[..., 0]
    mean, error = ratio_and_error((surprise * masked).sum(1), masked.sum(1))
    row: dict[str, object] = {"split": g.split, "mask_rate": g.rate}
    row |= {"cross_entropy": float(mean), "cross_entropy_se": float(error)}
    divergence, defined = {}, {}
    for R, probs in laws.items():
        defined[R] = masked * (probs.sum(-1) > 0.5)  # an undefined law is all zero
        against = torch.where(probs > 0, probs * log_learned, 0).sum(-1)
        divergence[R] = (torch.special.entr(probs).sum(-1).neg() - against).clamp_min(0)  # but for rounding it is
        mean, error = ratio_and_error((divergence[R] * defined[R]).sum(1), defined[R].sum(1))
        row[f"kl_{R}"], row[f"kl_{R}_se"] = float(mean), float(error)
        row[f"defined_{R}"] = int(defined[R].sum())
    shared = torch.stack(list(defined.values())).amin(0)
    row["nearest"] = nearest({R: float((divergence[R] * shared).sum() / shared.sum()) for R in laws})
    both = "population" in laws and "empirical" in laws
    p, q = (laws["population"], laws["empirical"]) if both else (log_learned, log_learned)
    here = defined["population"] * defined["empirical"] if both else torch.zeros_like(masked)
    f = log_learned.exp()
    products = ((f - p) * (q - p), (q - p).square(), (f - p).square())
    along, signal, displacement = ((here * product.sum(-1)).sum(1) for product in products)
    position = line_position(along, signal, displacement, here.sum(1) * f.shape[-1])
    row |= {name: float(value) for name, value in position.items()}
    return row | {"n_samples": len(g.clean)}


def _log_probs(model: MaskedModel, given: Tensor, laws: Mapping[str, Tensor]) -> Tensor:
    """Log-probabilities of the cells' symbols, float64 (B, D, Q) on the CPU."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    logits = model(given if parameter is None else given.to(parameter.device))
    wanted = (*given.shape, next(iter(laws.values())).shape[-1])
    if not isinstance(logits, Tensor) or logits.shape != wanted or not logits.dtype.is_floating_point:
        what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"the model must return real logits of shape {wanted}, got {what}")
    return logits.double().log_softmax(-1).cpu()


def _shared_alphabet(references: Mapping[str, Law]) -> int:
    if not references:
        raise ValueError("need at least one reference law")
    if len(sizes := {law.alphabet for law in references.values()}) > 1:
        raise ValueError(f"the references must share one alphabet, got {sorted(sizes)} symbols")
    return sizes.pop()
