"""The density of a data set in shards, each summed where an executor runs it: threads, processes, workers of dask."""

from __future__ import annotations

from concurrent.futures import Executor
from functools import lru_cache, reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .density import Density
from .empirical_density import EmpiricalDensity, PosteriorSums


class Shard(NamedTuple):
    """Rows first..last - 1 of a data set, and what their numbers stand for."""

    x: Any  # the path of an .npy file, as text, or the rows themselves
    labels: Any  # integers (last - first,), or None
    first: int
    last: int
    scale: float
    shift: float


class ShardedDensity(Density):
    """`EmpiricalDensity` over shards of the data: the same posterior, each shard's part computed by an executor.

    Shards answer with their `PosteriorSums`, of a size that does not grow with N, and these merge exactly. A worker
    keeps the shards that it has read converted, where they are small enough, from call to call::

        from dask.distributed import Client
        client = Client("tcp://10.0.0.1:8786")  # its workers must see the file
        density = ShardedDensity("images.npy", client.get_executor(), 16)
        D = tc.OptimalDenoiser(density)

    The answers carry no gradients.

    Args:
        x: the path of a file ``.npy`` that every worker can read, which sends no data about; or data in memory, as of
            `EmpiricalDensity`, which go to the workers with every call: for threads.
        executor: any `concurrent.futures.Executor` whose workers have this package.
        n_shards: into how many parts of equal length; several for each worker even the load out.
        labels, scale, shift: as of `EmpiricalDensity`.

    Raises:
        ValueError: as of `EmpiricalDensity`; another kind of file, or a number of shards that is not 1..N.
    """

    def __init__(
        self,
        x: Any,
        executor: Executor,
        n_shards: int,
        labels: Any = None,
        *,
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        path = Path(x).absolute() if isinstance(x, str | Path) else None
        if path is not None and (path.suffix != ".npy" or not path.is_file()):
            raise ValueError(f"x must be a file .npy that exists, or data in memory, got {str(x)!r}")
        # Reads nothing yet: it draws samples and knows shape and classes.
        self._whole = EmpiricalDensity(x if path is None else _opened(str(path)), labels, scale=scale, shift=shift)
        self.shape, self.executor = self._whole.shape, executor
        n = self._whole.n_train
        if not 1 <= n_shards <= n:
            raise ValueError(f"n_shards must lie in 1..{n}, one sample each at least, got {n_shards}")
        edges = np.linspace(0, n, n_shards + 1).round().astype(int).tolist()
        classes = self._whole.labels
        self._shards = [
            Shard(
                x[low:high] if path is None else str(path),
                None if classes is None else classes[low:high],
                low,
                high,
                scale,
                shift,
            )
            for low, high in pairwise(edges)
        ]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self._whole.sample(n, generator)

    def sums(self, y: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> PosteriorSums:
        """The merged sums of all shards; arguments as of `posterior`."""
        rows, s = self._inputs(y, sigma)
        return self._merged(rows, s, self._check_labels(labels, len(y)))

    def _merged(self, y: Tensor, s: Tensor, labels: Tensor | None) -> PosteriorSums:
        parts = [self.executor.submit(_sums, shard, y.detach(), s, labels) for shard in self._shards]
        return reduce(PosteriorSums.merge, (part.result() for part in parts))

    def _posterior(self, y: Tensor, s: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        sums = self._merged(y, s, labels)
        return sums.log_density, sums.mean

    def _covariance_product(self, y: Tensor, s: Tensor, v: Tensor, labels: Tensor | None) -> Tensor:
        """By the law of total covariance: that within each shard, and that of the shards' means."""
        futures = [self.executor.submit(_products, shard, y.detach(), s, v, labels) for shard in self._shards]
        parts = [future.result() for future in futures]
        whole = reduce(PosteriorSums.merge, (sums for sums, _ in parts))
        total = torch.zeros_like(whole.mean)
        for sums, within in parts:
            share = (sums.total * (sums.top - whole.top).exp() / whole.total)[:, None]
            off = sums.mean - whole.mean
            between = off * (off * v.double()).sum(1, keepdim=True)
            total += torch.where(share > 0, share * (within + between), 0)
        return total

    def _check_labels(self, labels: Tensor | None, n: int) -> Tensor | None:
        return self._whole._check_labels(labels, n)


def _sums(shard: Shard, y: Tensor, s: Tensor, labels: Tensor | None) -> PosteriorSums:
    """Of one shard; runs on a worker."""
    return _density(shard).sums(y, s, labels)


def _products(shard: Shard, y: Tensor, s: Tensor, v: Tensor, labels: Tensor | None) -> tuple[PosteriorSums, Tensor]:
    """Of one shard: its sums, and Cov[x | y] v within it; 0 for a y that none of its samples has the class of."""
    density = _density(shard)
    sums = density.sums(y, s, labels)
    product = density._covariance_product(y, s, v, labels)
    return sums, torch.where((sums.total > 0)[:, None], product.double(), 0)


def _density(shard: Shard) -> EmpiricalDensity:
    if isinstance(shard.x, str):
        rows = _rows(shard.x, shard.first, shard.last, shard.scale, shard.shift)
        return rows if shard.labels is None else rows.with_labels(shard.labels)
    return EmpiricalDensity(shard.x, shard.labels, scale=shard.scale, shift=shard.shift)


@lru_cache(64)
def _rows(path: str, first: int, last: int, scale: float, shift: float) -> EmpiricalDensity:
    """Kept by a worker, with what it has converted."""
    return EmpiricalDensity(_opened(path)[first:last], scale=scale, shift=shift)


def _opened(path: str) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)
