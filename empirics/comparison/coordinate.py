"""Where a learned function lies on the line from the population optimum to the empirical optimum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def line_position(
    along: Tensor, signal: Tensor, displacement: Tensor, numbers: Tensor, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """The least-squares position on the line from population (0) to empirical (1), from sums over each sample.

    With p, q and f the values of population optimum, empirical optimum and net, it is
    c = sum <f - p, q - p> / sum |q - p|^2, a ratio of sums over independent samples.

    Args:
        along: <f - p, q - p> of each sample, float64 (n, ...); dimensions after the first are separate estimates.
        signal: |q - p|^2, like along.
        displacement: |f - p|^2, like along.
        numbers: how many numbers each sample's sums run over, like along; 0 where it has none.
        dtype: the precision of the net, which sets where the two optima count as the same.

    Returns:
        Float64 (...) each:
        memorization_coordinate: c; NaN where the optima coincide to rounding: root mean square of q - p at most
            eps^(3/4), 6e-6 in float32 and 2e-12 in float64, of values of order one.
        memorization_coordinate_se: its standard error, see `ratio_and_error`; NaN where c is.
        off_line_fraction: the part of |f - p|^2 that lies off the line, in [0, 1]; 0 where f equals p.
        off_line_distance: distance of f from the line, in units of the distance between the two optima, resolved
            to 1e-8; NaN where c is.
        signal: mean of (q - p)^2 over the numbers.
        effective_samples: (sum |q - p|^2)^2 / sum |q - p|^4, how many samples carry the signal; where it is below
            about ten the standard error is itself uncertain.
    """
    apart, reach = signal.sum(0), displacement.sum(0)
    mean = apart / numbers.sum(0)
    undefined = ~(mean.sqrt() > torch.finfo(dtype).eps ** 0.75)  # true for NaN, where no sample has any number
    c, error = ratio_and_error(along, signal)
    off = (reach - torch.where(apart > 0, c**2 * apart, 0)).clamp_min(0)  # Pythagoras; rounding may go below 0
    return {
        "memorization_coordinate": c.masked_fill(undefined, torch.nan),
        "memorization_coordinate_se": error.masked_fill(undefined, torch.nan),
        "off_line_fraction": torch.where(reach > 0, off / reach, reach),
        "off_line_distance": (off / apart).sqrt().masked_fill(undefined, torch.nan),
        "signal": mean,
        "effective_samples": apart**2 / signal.square().sum(0),
    }


def ratio_and_error(totals: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """sum totals / sum weights over independent samples, and its standard error, float64 (...) each.

    The error is that of the linearised residuals totals - ratio * weights (delta method): what one sample holds may
    be dependent in any way. Both are NaN where no sample has weight, the error also where only one has.

    Args:
        totals: float64 (n, ...), sums over each sample.
        weights: what they are sums of: counts, or the denominators; like totals, not negative.
    """
    n, weight = (weights > 0).double().sum(0), weights.sum(0)
    ratio = totals.sum(0) / weight
    residual = (totals - ratio * weights).square().sum(0)
    return ratio, (n / (n - 1) * residual).sqrt().masked_fill(n < 2, torch.nan) / weight


def nearest(distances: Mapping[str, float]) -> str | None:
    """The name of the smallest distance, the first of equals; None where any is NaN or there is none."""
    if not distances or any(d != d for d in distances.values()):
        return None
    return min(distances, key=lambda name: distances[name])
