"""The density of a finite set of numbers under noise: the optimum that memorizes, exact, a block of rows at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .certified import CertifiedPosterior, certify, squared_distances
from .density import Density
from .rows import BLOCK, Block, Rows

QUERIES = 2**9  # queries a product: their log-weights against a block stay small
TOLERATED = {torch.float32: 2.0**-7, torch.float64: 1e-11}  # nats: estimated errors of log-weights that need no repair


class PosteriorSums(NamedTuple):
    """What one shard of the data has to say: an associative state, so that shards, devices and workers add up.

    The log-weight of a sample is log N(y; x_n, sigma^2), normalised over y, in the data's units.
    """

    top: Tensor  # float64 (B,), the largest log-weight; -inf without samples
    total: Tensor  # float64 (B,), sum of exp(log-weight - top)
    mean: Tensor  # float64 (B, n), the mean of the samples under these weights
    samples: Tensor  # float64 (B,), how many

    def merge(self, other: PosteriorSums) -> PosteriorSums:
        """The sums over both shards."""
        top = torch.maximum(self.top, other.top)
        at = torch.where(top.isfinite(), top, 0)
        mine, theirs = self.total * (self.top - at).exp(), other.total * (other.top - at).exp()
        total = mine + theirs
        share = torch.where(total > 0, theirs / total, 0)
        return PosteriorSums(
            top, total, torch.lerp(self.mean, other.mean, share[:, None]), self.samples + other.samples
        )

    @property
    def log_density(self) -> Tensor:
        """log p_sigma(y) in nats, float64 (B,)."""
        return self.top + self.total.log() - self.samples.log()


class EmpiricalDensity(Density):
    """Equal masses on the samples of a data set; under noise, the density whose score a memorizing network has.

    E[x | y] = sum_n w_n x_n with w = softmax(-|y - x_n|^2 / (2 sigma^2)), as in Eq. 57 of Karras et al. (2022). The
    data stay where they are, as they are: blocks of rows are converted, two matrix products each, and summed by a
    running softmax. No memory grows with N but a number for each sample.

    Products are taken with centred data in float32 for y in float32, in float64 for y in float64. Where sigma is so
    small that their rounding is felt, estimated as u sqrt(n) |y - c| max |x - c| / sigma^2 with unit roundoff u, the
    log-weights that matter are computed again from exact differences in float64. So log-weights relative to each other
    err by at most 2^-7 nats in float32 and 1e-11 in float64 by that estimate, which is that of Higham and Mary (2019)
    for sums of rounding errors of mean zero; what they find is a hundred times less.

    Args:
        x: the data (N, ...), floats or bytes (uint8): a tensor, an array, a memory map (`numpy.load` with
            ``mmap_mode="r"``), or whatever has shape, dtype and slices that numpy can read. Not copied.
        labels: the class of each sample, integers (N,); then `posterior` takes the classes of y.
        scale, shift: what is stored stands for scale * x + shift, such as ``scale=1 / 127.5, shift=-1`` for bytes of
            images that a network sees in -1..1.

    Raises:
        ValueError: data or labels of other shapes or dtypes, or not finite; a scale that is not positive.
    """

    def __init__(self, x: Any, labels: Any = None, *, scale: float = 1.0, shift: float = 0.0) -> None:
        self._rows = Rows(x)
        self.shape = self._rows.shape
        if not (0 < scale < math.inf and math.isfinite(shift)):
            raise ValueError(f"scale must be positive and finite, and shift finite, got {scale} and {shift}")
        self.scale, self.shift = float(scale), float(shift)
        self.labels: Tensor | None = None
        if labels is not None:
            self.labels = torch.as_tensor(labels).cpu()
            if self.labels.shape != (self._rows.n,) or self.labels.is_floating_point():
                found = f"{tuple(self.labels.shape)} {self.labels.dtype}"
                raise ValueError(f"labels must be integers ({self._rows.n},), one for each sample, got {found}")

    @property
    def n_train(self) -> int:
        """N, the number of samples, repetitions included."""
        return self._rows.n

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        at = torch.randint(self.n_train, (n,), generator=generator).numpy()
        x = self._rows.read(at)
        x = x if x.is_floating_point() else x.float()
        return (x * self.scale + self.shift).reshape(n, *self.shape)

    def sums(self, y: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> PosteriorSums:
        """The sums behind the posterior, which those of other shards of the data can be merged with.

        Arguments as of `posterior`.
        """
        rows, s = self._inputs(y, sigma)
        return self._sums(rows.detach(), s, self._check_labels(labels, len(y), shard=True))

    def with_labels(self, labels: Any) -> EmpiricalDensity:
        """The same samples with the class of each; what has been converted of them is shared."""
        other = EmpiricalDensity(self._rows.of, labels, scale=self.scale, shift=self.shift)
        other._rows = self._rows
        return other

    def certified(self, y: Tensor, sigma: float | Tensor, tolerance: float = 1e-9) -> CertifiedPosterior:
        """The posterior in float64 from the samples that matter alone, with a proven bound on what that leaves out.

        Samples are passed over where a bound on their distance from y, from a projection on the 64 leading directions
        of the data and the norm of what is left, shows that all of them together weigh less than the tolerance
        relative to the nearest one. It pays where few samples matter; where many do, all are taken in float64.

        Args:
            y, sigma: as of `posterior`.
            tolerance: of the weight passed over, in (0, 1).

        Raises:
            ValueError: as of `posterior`, or a tolerance outside (0, 1).
        """
        rows, s = self._inputs(y, sigma)
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance must lie between 0 and 1, got {tolerance}")
        given = (rows.double() - self.shift) / self.scale
        # Of units that differ from y's, by rounding; one unit roundoff is 2^-53.
        converted = (self.scale, self.shift) != (1.0, 0.0)
        error = (given.norm(dim=1) + abs(self.shift / self.scale) * math.sqrt(self.dim)) * (2.0**-51 * converted)
        found = certify(
            self._rows, given, s / self.scale, tolerance, error, lambda t, sigma: self._sums_of(t, sigma, None)
        )
        return found._replace(
            log_density=found.log_density - self.dim * math.log(self.scale),
            mean=(found.mean * self.scale + self.shift).reshape(y.shape),
            mean_error=found.mean_error * self.scale,
        )

    def _posterior(self, y: Tensor, s: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        if y.requires_grad and torch.is_grad_enabled():
            return _Differentiable.apply(y, s, labels, self)
        sums = self._sums(y, s, labels)
        return sums.log_density, sums.mean

    @torch.no_grad()
    def _sums(self, y: Tensor, s: Tensor, labels: Tensor | None) -> PosteriorSums:
        given = (y.double() - self.shift) / self.scale
        sums = self._sums_of(given, s / self.scale, labels, y.dtype)
        return sums._replace(top=sums.top - self.dim * math.log(self.scale), mean=sums.mean * self.scale + self.shift)

    def _sums_of(
        self, y: Tensor, s: Tensor, labels: Tensor | None, dtype: torch.dtype = torch.float64
    ) -> PosteriorSums:
        """`sums` in the data's own units, for y in float64 and products in dtype."""
        centre = self._rows.centre.to(y.device)
        queries = self._stream(y, s, labels, dtype)
        top, total, read = (
            torch.cat(parts) for parts in zip(*((q.top, q.total, q.read) for q in queries), strict=True)
        )
        count = top.new_full((len(y),), self.n_train)
        if labels is not None and self.labels is not None:
            count = (self.labels.to(y.device) == labels[:, None]).double().sum(1)
        normaliser = self.dim * (s.log() + math.log(2 * math.pi) / 2)
        mean = torch.where(total > 0, 1 / total, 0)[:, None] * read + centre
        return PosteriorSums(top - normaliser, total, mean, count)

    @torch.no_grad()
    def _covariance_product(self, y: Tensor, s: Tensor, v: Tensor, labels: Tensor | None) -> Tensor:
        given, sigma = (y.double() - self.shift) / self.scale, s / self.scale
        centre = self._rows.centre.to(y.device)
        mean = self._sums_of(given, sigma, labels, y.dtype).mean - centre
        along = v.double()
        queries = self._stream(given, sigma, labels, y.dtype, along, (mean * along).sum(1))
        read, total, seen = (torch.cat(p) for p in zip(*((q.read, q.total, q.seen) for q in queries), strict=True))
        return (read - mean * seen[:, None]) / total[:, None] * self.scale**2

    def _stream(
        self,
        y: Tensor,
        s: Tensor,
        labels: Tensor | None,
        dtype: torch.dtype,
        along: Tensor | None = None,
        middle: Tensor | None = None,
    ) -> list[_Queries]:
        """The softmax sums of y, float64 (B, n), over all blocks; `read` is centred.

        With a vector along and its product with the posterior mean, middle, weights are multiplied by
        (x_n - mean) . along before they are summed.
        """
        centre = self._rows.centre.to(y.device)
        parts = [slice(low, low + QUERIES) for low in range(0, max(1, len(y)), QUERIES)]
        queries = [
            _Queries(
                y[part],
                centre,
                s[part],
                dtype,
                self.n_train,
                None if labels is None else labels[part],
                None if along is None else along[part],
                None if middle is None else middle[part],
            )
            for part in parts
        ]
        size = max(1, min(BLOCK // self.dim, BLOCK // max(1, min(len(y), QUERIES))))
        for block in self._rows.blocks(dtype, y.device, size) if len(y) else ():
            classes = None
            if labels is not None and self.labels is not None:
                classes = self.labels[block.first : block.first + len(block.x)].to(y.device)
            for q in queries:
                q.add(block, classes, self._rows)
        return queries

    def _check_labels(self, labels: Tensor | None, n: int, shard: bool = False) -> Tensor | None:
        if labels is None:
            return None
        if self.labels is None:
            raise ValueError("this EmpiricalDensity has no classes; give it labels, one for each sample")
        labels = torch.as_tensor(labels)
        if labels.shape != (n,) or labels.is_floating_point():
            raise ValueError(f"labels must be integers ({n},), one for each y, got {tuple(labels.shape)}")
        known = self.labels.unique().tolist()
        if not shard and (missing := sorted(set(labels.tolist()) - set(known))):
            raise ValueError(f"no sample has the label {missing[0]}; labels: {', '.join(map(str, known[:20]))}")
        return labels


@dataclass
class _Queries:
    """Some of the queries, and their softmax sums so far. Logarithms are -|y - x_n|^2 / (2 sigma^2)."""

    y: Tensor  # float64 (B, n), not centred
    centre: Tensor  # float64 (n,)
    s: Tensor  # float64 (B,)
    dtype: torch.dtype  # of products
    n_train: int
    labels: Tensor | None
    along: Tensor | None
    middle: Tensor | None
    top: Tensor = field(init=False)  # float64 (B,), the largest logarithm
    total: Tensor = field(init=False)  # float64 (B,), sum of weights exp(logarithm - top)
    read: Tensor = field(init=False)  # float64 (B, n), sum of weights times centred samples
    seen: Tensor = field(init=False)  # float64 (B,), sum of weights times (x_n - mean) . along

    def __post_init__(self) -> None:
        self.top = torch.full_like(self.s, -torch.inf)
        self.total, self.seen, self.read = torch.zeros_like(self.s), torch.zeros_like(self.s), torch.zeros_like(self.y)
        self.near = (self.y - self.centre).to(self.dtype)
        norm = self.near.double().square().sum(1)
        self.offset = -norm / (2 * self.s**2)  # what products leave out of a logarithm
        unit = torch.finfo(self.dtype).eps / 2
        self.error = unit * math.sqrt(max(1, self.y.shape[1])) * norm.sqrt()  # times the radius: of a product
        self.cut = math.log(self.n_train) - math.log(unit)  # nats: all the samples beyond weigh less than one rounding
        self.best = torch.full_like(self.top, -torch.inf)  # the largest product so far

    def add(self, block: Block, classes: Tensor | None, rows: Rows) -> None:
        """Take the samples of a block."""
        products = torch.addmm(-block.half.to(self.dtype), self.near, block.x.T)  # y . x - |x|^2 / 2
        if classes is not None and self.labels is not None:
            products.masked_fill_(classes != self.labels[:, None], -torch.inf)
        error = self.error * math.sqrt(2 * float(block.half.max()))
        coarse = error / self.s**2 > TOLERATED[self.dtype]
        pairs = self._repaired(products, error, coarse, block, rows) if bool(coarse.any()) else None
        top = torch.maximum(self.top, products.amax(1).double() / self.s**2 + self.offset)
        if pairs is not None:
            top.scatter_reduce_(0, pairs.query, pairs.logarithm, "amax")
        from_top = torch.where(top.isfinite(), (top - self.offset) * self.s**2, 0).to(self.dtype)
        weights = products.sub_(from_top[:, None]).mul_((self.s**-2).clamp(1e-30, 1e30).to(self.dtype)[:, None]).exp_()
        if pairs is not None:
            weights[pairs.query, pairs.column] = (pairs.logarithm - top[pairs.query]).exp().to(self.dtype)
        kept = torch.where(self.top.isfinite(), (self.top - top).exp(), 0)
        self.top = top
        self.total.mul_(kept).add_(weights.sum(1, dtype=torch.float64))
        self.read.mul_(kept[:, None])
        x, heavy = block.x, (weights.amax(0) > math.exp(-self.cut)).nonzero()[:, 0]
        if 2 * len(heavy) < len(x):
            x, weights = x[heavy], weights[:, heavy]
        if self.along is not None and self.middle is not None:
            weights = weights * (self.along.to(x) @ x.T - self.middle.to(x)[:, None])
            self.seen.mul_(kept).add_(weights.sum(1, dtype=torch.float64))
        if len(x):
            self.read.add_(weights @ x)

    def _repaired(self, products: Tensor, error: Tensor, coarse: Tensor, block: Block, rows: Rows) -> _Pairs:
        """The pairs of coarse queries that may matter; the products of all coarse queries become -inf."""
        self.best = torch.maximum(self.best, products.amax(1).double())
        least = torch.where(coarse, self.best - 4 * error - self.cut * self.s**2, torch.inf).to(self.dtype)
        query, column = (products >= least[:, None]).nonzero(as_tuple=True)
        squared = squared_distances(self.y, rows, query, column + block.first)
        products[coarse] = -torch.inf
        return _Pairs(query, column, -squared / (2 * self.s[query] ** 2))


class _Pairs(NamedTuple):
    """Some pairs of a query and a sample of a block, with their exact logarithm in float64."""

    query: Tensor
    column: Tensor
    logarithm: Tensor


class _Differentiable(torch.autograd.Function):
    """log p_sigma and E[x | y] with their derivatives in y: the score, and the covariance over sigma^2."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, s: Tensor, labels: Tensor | None, density: EmpiricalDensity) -> Any:
        sums = density._sums(y, s, labels)
        ctx.save_for_backward(y, s, sums.mean)
        ctx.labels, ctx.density = labels, density
        return sums.log_density, sums.mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        y, s, mean = ctx.saved_tensors
        by_log, by_mean = gradients
        score = (mean - y) / s[:, None] ** 2
        product = ctx.density._covariance_product(y, s, by_mean, ctx.labels).double()
        return (by_log[:, None] * score + product / s[:, None] ** 2).to(y.dtype), None, None, None
