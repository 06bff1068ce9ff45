"""Which samples can matter to a posterior, proven from a projection; the others are passed over, with a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .rows import BLOCK, Rows

if TYPE_CHECKING:
    from .empirical_density import PosteriorSums

DIRECTIONS = 64
SEEN = 2**12  # rows that choose the directions
FEW = 1 / 128  # pairs a (query, sample) above which taking all samples is no slower

_SINGLE, _DOUBLE = 2.0**-24, 2.0**-53  # unit roundoffs


class CertifiedPosterior(NamedTuple):
    """The posterior from the samples that matter, and proven bounds on its errors, rounding included."""

    log_density: Tensor  # float64 (B,), nats
    mean: Tensor  # float64, like y
    log_density_error: Tensor  # float64 (B,): at most this far from the exact value, in nats
    mean_error: Tensor  # float64 (B,): at most this far, as a Euclidean norm in data units
    kept: Tensor  # float64 (B,), the share of the samples whose weight was computed


@dataclass(frozen=True)
class Projection:
    """The data seen along a few orthonormal directions, and the norm of what that leaves: vectors of k + 1 numbers.

    |y - x| >= |p(y) - p(x)| for p(x) = (Q x, |x - Q^T Q x|), by the triangle inequality in the complement.
    """

    directions: Tensor  # float64 (n, k)
    seen: Tensor  # float32 (N, k + 1)
    half: Tensor  # float32 (N,), half the squared norm of each

    @staticmethod
    def of(rows: Rows) -> Projection:
        """Directions from at most `SEEN` rows, spread evenly; then one pass over the data."""
        at = np.unique(np.linspace(0, rows.n - 1, min(rows.n, SEEN)).astype(np.int64))
        some = (rows.read(at).cpu().double() - rows.centre).float()
        k = min(DIRECTIONS, rows.dim, len(some))
        found = torch.randn(rows.dim, k, generator=torch.Generator().manual_seed(0))
        for _ in range(3):
            found = torch.linalg.qr(some.T @ (some @ found))[0]
        directions = torch.linalg.qr(found.double())[0]
        parts = [
            _seen(block.x, directions)
            for block in rows.blocks(torch.float64, torch.device("cpu"), max(1, BLOCK // rows.dim))
        ]
        seen = torch.cat(parts)
        return Projection(directions, seen, seen.double().square().sum(1).float() / 2)


def certify(
    rows: Rows,
    y: Tensor,
    s: Tensor,
    tolerance: float,
    y_error: Tensor,
    all_sums: Callable[[Tensor, Tensor], PosteriorSums],
) -> CertifiedPosterior:
    """`EmpiricalDensity.certified` in the data's own units.

    Args:
        rows: the data.
        y: float64 (B, n).
        s: float64 (B,).
        tolerance: of the weight passed over, relative to that of the nearest sample.
        y_error: float64 (B,), how far y may be from what it stands for.
        all_sums: of some queries over all samples in float64, where many of them matter.
    """
    device, y, s, y_error = y.device, y.cpu(), s.cpu(), y_error.cpu()
    centred = y - rows.centre
    norm = centred.square().sum(1).sqrt()
    projected = _seen(centred, rows.projection.directions)
    slack, square_slack = _slack(rows, norm)
    nearest = _nearest(rows, y, projected)
    # All samples farther than this weigh, together, less than the tolerance relative to the nearest known one.
    farthest = nearest * (1 + 4 * _rounding(rows)) + 2 * s**2 * math.log(rows.n / tolerance)
    reach = ((farthest.sqrt() + slack) ** 2 + square_slack) * (1 + 8 * _SINGLE)
    query, row, few = _within(rows, projected, reach)
    log_density, mean, kept = s.new_zeros(len(s)), torch.zeros_like(y), torch.ones_like(s)
    squared = squared_distances(y, rows, query, row)
    relative = torch.zeros_like(s)  # the largest error of a logarithm by rounding, nats
    if bool(few.any()):
        logarithm = -squared / (2 * s[query] ** 2)
        top = torch.full_like(s, -torch.inf).scatter_reduce(0, query, logarithm, "amax")
        weight = (logarithm - top[query]).exp()
        total = torch.zeros_like(s).index_add(0, query, weight)
        mean = _weighted_rows(rows, query, row, weight, mean) / total[:, None] + rows.centre
        normaliser = rows.dim * (s.log() + math.log(2 * math.pi) / 2)
        log_density = top + total.log() - math.log(rows.n) - normaliser
        kept = torch.zeros_like(s).index_add(0, query, torch.ones_like(weight)) / rows.n
        relative = 2 * _rounding(rows) * farthest / (2 * s**2)
    if bool((~few).any()):
        at = (~few).nonzero()[:, 0]
        sums = all_sums(y[at], s[at])
        log_density[at], mean[at], kept[at] = sums.log_density, sums.mean, 1.0
        product = rows.dim * _DOUBLE * (norm[at] + rows.radius) ** 2 / s[at] ** 2
        far = (norm[at] + rows.radius) ** 2 / s[at] ** 2
        relative[at] = 4 * product + 8 * _DOUBLE * far
    passed = torch.where(kept < 1, tolerance, 0.0)
    distance = torch.where(few, farthest.sqrt(), norm + rows.radius)
    spread = 2 * (relative + 2 * y_error * distance / s**2)
    change = passed + torch.expm1(spread)
    diameter = 2 * rows.radius
    largest = rows.centre.norm() + rows.radius + torch.finfo(torch.float64).tiny * rows.n * rows.dim / _DOUBLE
    size = log_density.abs() + rows.dim * (s.log().abs() + 2)
    return CertifiedPosterior(
        log_density.to(device),
        mean.to(device),
        (torch.log1p(passed) + spread + (16 + rows.n) * _DOUBLE * (1 + size)).to(device),
        (change * diameter + (64 + rows.n) * _DOUBLE * largest).to(device),
        kept.to(device),
    )


def squared_distances(y: Tensor, rows: Rows, query: Tensor, row: Tensor) -> Tensor:
    """|y - x|^2 in float64 from differences, for pairs of a query, float64 (B, n), and a row of the data: (pairs,)."""
    parts = []
    step = max(1, BLOCK // (2 * rows.dim))
    for low in range(0, len(query), step):
        x = rows.read(row[low : low + step].cpu().numpy()).to(y.device, torch.float64, copy=True)
        parts.append(x.sub_(y[query[low : low + step]]).square_().sum(1))
    return torch.cat(parts) if parts else y.new_zeros(0)


def _weighted_rows(rows: Rows, query: Tensor, row: Tensor, weight: Tensor, zero: Tensor) -> Tensor:
    """The sum of weights times centred rows of each query: (B, n)."""
    step = max(1, BLOCK // (2 * rows.dim))
    for low in range(0, len(query), step):
        part = slice(low, low + step)
        x = rows.read(row[part].numpy()).cpu().double() - rows.centre
        zero.index_add_(0, query[part], x.mul_(weight[part, None]))
    return zero


def _seen(centred: Tensor, directions: Tensor) -> Tensor:
    """Centred rows (m, n) as vectors of k + 1 numbers, float32."""
    along = centred.double() @ directions
    rest = (centred.double() - along @ directions.T).square().sum(1, keepdim=True).sqrt()
    return torch.cat([along, rest], 1).float()


def _rounding(rows: Rows) -> float:
    """A bound on the relative error of a squared distance by differences in float64."""
    return (rows.dim + 8) * _DOUBLE


def _slack(rows: Rows, norm: Tensor) -> tuple[Tensor, Tensor]:
    """How much too large a projected distance may come out, and then its square by products: float64 (B,) each.

    Projections err by roundings of float32 and, as directions are orthonormal to rounding, by n roundings of float64.
    """
    k = DIRECTIONS + 1
    size = norm + rows.radius
    smallest = math.sqrt(k) * torch.finfo(torch.float32).tiny
    return (4 * _SINGLE + 8 * rows.dim * _DOUBLE) * size + 4 * smallest, 4 * (k + 4) * _SINGLE * size**2


def _nearest(rows: Rows, y: Tensor, projected: Tensor) -> Tensor:
    """The squared distance of each query to a sample that is near it, by differences: float64 (B,)."""
    best, row = projected.new_full((len(y),), -torch.inf), torch.zeros(len(y), dtype=torch.int64)
    for first, products in _products(rows, projected):
        here, column = products.max(1)
        row = torch.where(here > best, column + first, row)
        best = torch.maximum(best, here)
    return squared_distances(y, rows, torch.arange(len(y)), row)


def _within(rows: Rows, projected: Tensor, reach: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of a query and a row whose projected distance is within reach, and the queries that have few: bool (B,).

    Pairs of the other queries are left out.
    """
    norm = projected.double().square().sum(1)
    least = ((norm - reach) / 2).float()
    least = torch.nextafter(least, torch.full_like(least, -torch.inf))
    most, found = max(1, int(FEW * rows.n), 64), torch.zeros(len(least), dtype=torch.int64)
    pairs: list[tuple[Tensor, Tensor]] = []
    for first, products in _products(rows, projected):
        products[found > most] = -torch.inf
        query, column = (products >= least[:, None]).nonzero(as_tuple=True)
        found += torch.bincount(query, minlength=len(least))
        pairs.append((query, column + first))
    few = found <= most
    query, row = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return query[few[query]], row[few[query]], few


def _products(rows: Rows, projected: Tensor) -> Iterator[tuple[int, Tensor]]:
    """p(y) . p(x) - |p(x)|^2 / 2 a block of samples at a time, with the first sample of the block."""
    step = max(1, BLOCK // max(1, len(projected)))
    seen, half = rows.projection.seen, rows.projection.half
    for first in range(0, rows.n, step):
        part = slice(first, first + step)
        yield first, torch.addmm(-half[part], projected, seen[part].T)
