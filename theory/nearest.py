"""The nearest rows of a data set by Euclidean distance, a block of rows at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .certified import squared_distances
from .rows import BLOCK, Rows

QUERIES = 2**10
SPARE = 6
"""Rows beyond those asked for that are kept until distances are computed again, exactly."""


class NearestRows(NamedTuple):
    """The rows of the data nearest to each query, nearest first."""

    distance: Tensor  # float64 (m, k), Euclidean, in the data's units
    row: Tensor  # int64 (m, k)


def nearest_rows(queries: Rows, rows: Rows, k: int) -> NearestRows:
    """The k nearest rows of each query, or all where there are fewer.

    Candidates come from products of centred rows in float32; the distances of the nearest k + 6 are computed again from
    differences in float64, and so the distance of a copy is 0. A row that is passed over for another is nearer by at
    most a rounding of float32: its squared distance is, by 1e-6 of the squared norms at most.

    Args:
        queries, rows: of equally many numbers.
        k: at least 1.
    """
    wanted = min(k + SPARE, rows.n)
    device = torch.device("cpu")
    found = []
    for first in range(0, queries.n, QUERIES):
        y = queries.read(slice(first, first + QUERIES)).cpu().double()
        near = (y - rows.centre).float()
        best = near.new_full((len(y), 0), 0.0)
        at = torch.zeros(len(y), 0, dtype=torch.int64)
        for block in rows.blocks(torch.float32, device, max(1, min(BLOCK // rows.dim, BLOCK // len(y)))):
            products = torch.addmm(-block.half.float(), near, block.x.T)
            top = products.topk(min(wanted, products.shape[1]), dim=1)
            best, at = torch.cat([best, top.values], 1), torch.cat([at, top.indices + block.first], 1)
            if best.shape[1] > wanted:
                order = best.topk(wanted, dim=1).indices
                best, at = best.gather(1, order), at.gather(1, order)
        query = torch.arange(len(y)).repeat_interleave(at.shape[1])
        distance = squared_distances(y, rows, query, at.flatten()).sqrt().reshape(at.shape)
        order = distance.sort(dim=1, stable=True).indices[:, :k]
        found.append((distance.gather(1, order), at.gather(1, order)))
    distances, indices = (torch.cat(parts) for parts in zip(*found, strict=True))
    return NearestRows(distances, indices)
