"""The one object behind every exact reference: a law p(x) over symbol grids, tilted by unary fields.

Under Gaussian noise, or under a known prefix, the posterior over configurations x in {0..Q-1}^D is always
p(x) exp(sum_i h[i, x_i]) up to normalisation. Its log normaliser and its marginals give the optimal denoiser, the
score, the log-density, the next-token law, counts, samples and chance levels; see `OptimalDenoiser`. A `Rule` is the
uniform law on the grids that satisfy a constraint.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .calculus import Contrast, LogPartition, Marginals, clamped_marginals
from .channels import Mask, Prefix
from .checks import extent, tracked

BLOCKED = -1e30
"""Stand-in for -inf inside the laws: finite, so that 0 * field and field - field stay numbers, in float32 too."""
FAINTEST = -1e24
"""The least finite field: what is below counts as this, so that sums over up to 10^5 cells stay far from BLOCKED."""


class Law(ABC):
    """A probability law on grids of symbols, read as D = H * W cells in raster order.

    Attributes:
        shape: (H, W), rows and columns of the grid.
        alphabet: Q, the number of symbols; symbols are the integers 0..Q-1.

    A subclass implements `_posterior`, `sample` and `entropy`, and overrides what it can do faster.
    """

    shape: tuple[int, int]
    alphabet: int

    def __init__(self, shape: tuple[int, int], alphabet: int) -> None:
        check_grid(shape, alphabet)
        self.shape = (int(shape[0]), int(shape[1]))
        self.alphabet = int(alphabet)

    @property
    def dim(self) -> int:
        """D = H * W, the number of cells."""
        return self.shape[0] * self.shape[1]

    @property
    @abstractmethod
    def entropy(self) -> float:
        """Shannon entropy of the law, in nats."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n independent configurations exactly from the law: int64 (n, D)."""

    @abstractmethod
    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Log normaliser (B,) and marginals (B, D, Q) for fields h (B, D, Q), float32 or float64, BLOCKED for -inf."""

    def _log_normaliser(self, h: Tensor) -> Tensor:
        """As `_posterior`, without the marginals."""
        return self._posterior(h)[0]

    def log_partition(self, h: Tensor) -> Tensor:
        """log sum_x p(x) exp(sum_i h[i, x_i]), in nats.

        Args:
            h: fields (..., D, Q), any float dtype; -inf forbids a symbol at a cell.

        Returns:
            (...) in the dtype of h; -inf where the fields forbid the whole support. Differentiable: the gradient is
            `marginals(h)`, the second derivative the posterior covariance of the one-hot symbols.

        Raises:
            ValueError: wrong shape, an integer dtype, NaN or +inf.
        """
        self._check_fields(h)
        return LogPartition.apply(h, self)

    def marginals(self, h: Tensor) -> Tensor:
        """Posterior probabilities P(x_i = s) under the tilted law: the gradient of `log_partition`.

        Args:
            h: fields (..., D, Q), any float dtype; -inf forbids a symbol at a cell.

        Returns:
            (..., D, Q) in the dtype of h, rows summing to 1; all zero where the fields forbid the whole support.

        Raises:
            ValueError: wrong shape, an integer dtype, NaN or +inf.
        """
        self._check_fields(h)
        return Marginals.apply(h, self)

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """`log_partition` and `marginals` in one pass; same argument and errors.

        Args:
            h: fields (..., D, Q), any float dtype; -inf forbids a symbol at a cell.

        Returns:
            (...) and (..., D, Q) in the dtype of h, differentiable as the two methods are.
        """
        self._check_fields(h)
        if tracked(h):
            return LogPartition.apply(h, self), Marginals.apply(h, self)
        return self._evaluate(h, marginals=True)

    def contrast(self, log_odds: Tensor) -> Tensor:
        """P(x_i = 1) - P(x_i = 0) of each cell under the tilted law, for an alphabet of two.

        Args:
            log_odds: (..., D), h[..., 1] - h[..., 0], any float dtype.

        Returns:
            (..., D) in the dtype of log_odds, differentiable.

        Raises:
            ValueError: wrong shape, an integer dtype, NaN or infinities, or another alphabet.
        """
        if self.alphabet != 2:
            raise ValueError(f"contrast needs an alphabet of 2, got {self.alphabet}; use marginals")
        self._check_fields(log_odds[..., None].expand(*log_odds.shape, 2))
        return Contrast.apply(log_odds, self) if tracked(log_odds) else self._evaluate_contrast(log_odds)

    def _contrast(self, log_odds: Tensor) -> Tensor:
        """`contrast` for (B, D), float32 or float64; a law with a faster way overrides this."""
        m = self._posterior(torch.stack([torch.zeros_like(log_odds), log_odds], -1))[1]
        return m[..., 1] - m[..., 0]

    def pair_marginals(self, h: Tensor) -> Tensor:
        """P(x_i = s, x_j = u) under the tilted law, by conditioning on each (i, s) in turn.

        Args:
            h: fields (..., D, Q).

        Returns:
            (..., D, Q, D, Q).
        """
        self._check_fields(h)
        pairs = torch.stack([clamped_marginals(self, h, i) for i in range(self.dim)], -4)
        return self.marginals(h)[..., None, None] * pairs

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats for symbols x (..., D): float64 (...), -inf off the support."""
        x = self.check_symbols(x)
        return self.log_partition(Mask().fields(x, self.alphabet))

    def next_token_probs(self, x: Tensor) -> Tensor:
        """The autoregressive optimum P(x_t = s | x_<t), by clamping the prefix.

        Args:
            x: symbols (B, D), teacher-forced: position t sees x[:, :t].

        Returns:
            float64 (B, D, Q); the rows of a prefix that the law cannot produce are all zero.

        Raises:
            ValueError: wrong shape, dtype or symbols.
        """
        x = self.check_symbols(x, batch=True)
        steps = [self.marginals(Prefix().fields(x, t, self.alphabet))[:, t] for t in range(self.dim)]
        return torch.stack(steps, 1)

    def unmask_probs(self, x: Tensor) -> Tensor:
        """The optimum of masked diffusion: P(x_i = s | the visible cells), for every masked cell i.

        Args:
            x: symbols (B, D), Q where a cell is masked.

        Returns:
            float64 (B, D, Q). A visible cell's row is its own symbol. Where the law cannot produce the visible cells,
            the rows of masked cells are all zero, as those of `next_token_probs` after an impossible prefix.

        Raises:
            ValueError: wrong shape, dtype or symbols.
        """
        x = self.check_symbols(x, batch=True, masked=True).long()
        own = torch.arange(self.alphabet, device=x.device) == x.unsqueeze(-1)
        return torch.where((x < self.alphabet).unsqueeze(-1), own.double(), self._unmask(x))

    def _unmask(self, x: Tensor) -> Tensor:
        """`unmask_probs` in masked cells, anything in visible ones; a law with a faster way overrides this."""
        return self.marginals(Mask().fields(x, self.alphabet))

    def check_symbols(self, x: Tensor, batch: bool = False, masked: bool = False) -> Tensor:
        """The symbols x (..., D), or (B, D) when batch is set; Q, where masked is set, stands for a masked cell.

        Returns:
            x itself, or as int64 where it is bool or an unsigned type for which torch lacks operations.

        Raises:
            ValueError: another shape, another dtype than integers or bool, or symbols outside 0..Q-1.
        """
        if not isinstance(x, Tensor) or x.dtype.is_floating_point or x.dtype.is_complex:
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"symbols must be an integer tensor, got {kind}")
        if x.ndim < 1 or x.shape[-1] != self.dim or (batch and x.ndim != 2):
            wanted = f"(B, {self.dim})" if batch else f"(..., {self.dim})"
            raise ValueError(f"symbols must have shape {wanted} for a {self.shape} grid, got {tuple(x.shape)}")
        if x.dtype in (torch.bool, torch.uint16, torch.uint32, torch.uint64):
            x = x.long()
        most = self.alphabet if masked else self.alphabet - 1
        if x.numel() and (int(x.min()) < 0 or int(x.max()) > most):
            mask = f", or {most} for a masked cell" if masked else ""
            raise ValueError(f"symbols must lie in 0..{self.alphabet - 1}{mask}, got {int(x.min())}..{int(x.max())}")
        return x

    def _check_fields(self, h: Tensor) -> None:
        if not isinstance(h, Tensor) or not h.dtype.is_floating_point:
            kind = h.dtype if isinstance(h, Tensor) else type(h).__name__
            raise ValueError(f"fields must be a floating-point tensor, got {kind}")
        if h.ndim < 2 or h.shape[-2:] != (self.dim, self.alphabet):
            raise ValueError(f"fields must have shape (..., {self.dim}, {self.alphabet}), got {tuple(h.shape)}")

    def _evaluate(self, h: Tensor, marginals: bool) -> tuple[Tensor, Tensor]:
        """Log partition (...) and, if asked, marginals (..., D, Q), with -inf fields and impossible tilts settled."""
        batch = h.shape[:-2]
        work = h.reshape(-1, self.dim, self.alphabet).to(torch.promote_types(h.dtype, torch.float32))
        low, high = extent(work)
        if not high < math.inf:
            raise ValueError("fields must be finite or -inf; found NaN or +inf")
        if low < FAINTEST:
            work = work.clamp_min(FAINTEST).masked_fill(work == -math.inf, BLOCKED)
        if marginals:
            log_z, m = self._posterior(work)
        else:
            log_z = self._log_normaliser(work)
            m = log_z.new_empty(0)
        impossible = log_z < BLOCKED / 2
        if marginals:
            m = m.masked_fill(impossible[:, None, None], 0.0).to(h.dtype).reshape(h.shape)
        return log_z.masked_fill(impossible, -math.inf).to(h.dtype).reshape(batch), m

    def _evaluate_contrast(self, log_odds: Tensor) -> Tensor:
        work = log_odds.reshape(-1, self.dim).to(torch.promote_types(log_odds.dtype, torch.float32))
        low, high = extent(work)
        if not -math.inf < low <= high < math.inf:
            raise ValueError("log-odds must be finite; found NaN or an infinity")
        if low < FAINTEST or high > -FAINTEST:
            work = work.clamp(FAINTEST, -FAINTEST)
        return self._contrast(work).to(log_odds.dtype).reshape(log_odds.shape)


class Rule(Law):
    """The uniform law on the support of a rule: every valid grid equally likely.

    Attributes:
        spec: the text that `rule` turns into this object.
        groups: int64 (n_groups, size), the cells whose joint patterns count as the rule's parts; group memorization
            asks whether a part was seen in training at its own place.
        group_constraint: the kind of `constraints`, one for each group, that alone decides which patterns a group can
            show; None where there is none.
    """

    spec: str
    groups: Tensor
    group_constraint: str | None = None

    @property
    @abstractmethod
    def support_size(self) -> int:
        """|S|, the exact number of valid grids."""

    @property
    def group_patterns(self) -> int | None:
        """How many patterns each of `groups` can show, where all of them are equally likely; None where they are not.

        A single group of all cells shows every valid grid once.
        """
        return self.support_size if self.groups.shape == (1, self.dim) else None

    def possible_groups(self, x: Tensor) -> Tensor:
        """Which groups show a pattern that some valid grid has there: bool (B, n_groups) for symbols x (B, D)."""
        if self.groups.shape == (1, self.dim):
            return self.is_valid(x)[:, None]
        if self.group_constraint is not None:
            return self.constraints(x)[self.group_constraint]
        valid = self.is_valid(x)
        possible = valid[:, None].repeat(1, len(self.groups))
        for group, cells in enumerate(self.groups.to(x.device)):
            patterns, which = torch.unique(x[~valid][:, cells], dim=0, return_inverse=True)
            shown = self.log_partition(Mask().fields(masked_except(self, cells, patterns), self.alphabet)) > -math.inf
            possible[~valid, group] = shown[which]
        return possible

    @abstractmethod
    def constraints(self, x: Tensor) -> dict[str, Tensor]:
        """Which parts of the rule hold, by kind.

        Args:
            x: integer symbols (..., D).

        Returns:
            bool (..., n) for each kind of constraint, such as ``{"row": ..., "column": ...}``.
        """

    def is_valid(self, x: Tensor) -> Tensor:
        """Whether each configuration satisfies the whole rule.

        Args:
            x: integer symbols (..., D).

        Returns:
            bool (...).

        Raises:
            ValueError: wrong shape, dtype or symbols.
        """
        x = self.check_symbols(x)
        parts = [held.all(-1) for held in self.constraints(x).values()]
        return torch.stack(parts).all(0)

    @property
    def cost(self) -> float:
        """Operations that the marginals of one set of fields take, to a small factor, known without finding them.

        By default those of a closed form: a few for each cell and symbol.
        """
        return 10.0 * self.dim * self.alphabet

    def markov_accuracy(self, transitions: Tensor) -> float | None:
        """P(valid) of a Markov model, given as `NGramLaw.transitions`; None where no closed form is known."""
        return None

    def ngram_accuracy(self, order: int) -> float | None:
        """P(valid) of the rule's best order-k Markov model; None where no closed form is known."""
        return None

    @property
    def entropy(self) -> float:
        return math.log(self.support_size)

    def __repr__(self) -> str:
        return f"rule({self.spec!r})"


def check_grid(shape: tuple[int, int], alphabet: int) -> None:
    """ValueError unless shape is (height, width), both at least 1, and the alphabet holds at least 2 symbols."""
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"shape must be (height, width), both at least 1, got {shape}")
    if alphabet < 2:
        raise ValueError(f"alphabet must hold at least 2 symbols, got {alphabet}")


def count_text(n: int) -> str:
    """A count in words of any size: 17,179,869,184, and 1.4e+6020 beyond 30 digits."""
    if n < 10**30:
        return f"{n:,}"
    exponent = math.floor(math.log10(n))
    return f"{10 ** (math.log10(n) - exponent):.1f}e+{exponent}"


def masked_except(law: Law, cells: Tensor, patterns: Tensor) -> Tensor:
    """Symbols int64 (n, D) that show each pattern (n, size) in the cells (size,), and are masked elsewhere."""
    x = torch.full((len(patterns), law.dim), law.alphabet, dtype=torch.int64, device=patterns.device)
    x[:, cells] = patterns.long()
    return x
