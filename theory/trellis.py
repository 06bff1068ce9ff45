"""The edges of a layered automaton, and the sums over their paths: counts, posterior and marginals in one sweep.

Forward and backward messages are those of Bahl et al. (1974); `LayeredAutomaton` builds the layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Edges(NamedTuple):
    """The edges of one layer that read one symbol; a source occurs once."""

    source: Tensor  # int32 (E,), ascending
    target: Tensor  # int32 (E,)
    injective: bool  # a target occurs once too

    def blocks(self, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Sources and targets in blocks whose messages (..., B) stay in cache."""
        rows = max(1, 2**17 // max(1, like.shape[-1]))
        return zip(self.source.split(rows), self.target.split(rows), strict=True)


class Trellis:
    """The layers of states and edges, and the sums over the paths through them.

    Messages have the batch last, (states, B), so that one gathered row is contiguous.
    """

    def __init__(self, layers: list[list[tuple[np.ndarray, np.ndarray]]], sizes: list[int]) -> None:
        self.sizes = sizes  # states in layers 0..D
        self.n_states = sum(sizes)
        self.layers = [
            [
                Edges(torch.from_numpy(source), torch.from_numpy(target), _all_distinct(target, sizes[t + 1]))
                for source, target in layer
            ]
            for t, layer in enumerate(layers)
        ]
        completions = _completions(layers, sizes, np.float64)
        if not completions[0][0] < 2**53:  # beyond, float64 rounds: count in Python integers
            completions = _completions(layers, sizes, object)
        self.support_size = int(completions[0][0])
        self.log_completions = [torch.from_numpy(_log(counts)) for counts in completions]
        self.n_edges = sum(len(edges.source) for layer in self.layers for edges in layer)
        self._copies = {torch.device("cpu"): self.layers}
        self.most_completions = [float(logs.max()) for logs in self.log_completions]

    def moves(self, t: int, state: Tensor) -> tuple[Tensor, Tensor]:
        """P(x_t = s | state) float64 (B, Q) and the states it leads to (B, Q), -1 where s cannot follow."""
        probs = torch.zeros(len(state), len(self.layers[t]), dtype=torch.float64)
        targets = torch.full(probs.shape, -1, dtype=torch.int64)
        for s, edges in enumerate(self.layers[t]):
            if len(edges.source):
                at = torch.searchsorted(edges.source, state.int()).clamp_max_(len(edges.source) - 1)
                rows = (edges.source[at] == state).nonzero()[:, 0]
                target = edges.target[at[rows]].long()
                targets[rows, s] = target
                probs[rows, s] = torch.exp(self.log_completions[t + 1][target] - self.log_completions[t][state[rows]])
        return probs, targets

    def layers_on(self, device: torch.device) -> list[list[Edges]]:
        """The layers on a device, copied there once."""
        if device not in self._copies:
            self._copies[device] = [
                [Edges(edges.source.to(device), edges.target.to(device), edges.injective) for edges in layer]
                for layer in self.layers
            ]
        return self._copies[device]

    def posterior(self, h: Tensor, marginals: bool) -> tuple[Tensor, Tensor]:
        """Log normaliser (B,) and, if asked, marginals (B, D, Q), for fields h (B, D, Q).

        Sums run over weights exp(h), rescaled at each layer. Where a row's fields contradict the rule so strongly that
        underflow could matter, that row is done again in float64, and at last in log space.
        """
        top = h.amax(-1, keepdim=True)
        fields = (h - top).permute(1, 2, 0).contiguous()  # (D, Q, B), at most 0
        weights = fields.exp()
        alphas, log_z, safe = self._forward(weights)
        m = self._backward(weights, alphas) if marginals and bool(safe.any()) else torch.zeros_like(fields)
        del alphas
        log_z = log_z + top.double().sum((1, 2)) - math.log(self.support_size)
        log_z, m = log_z.to(h.dtype), m.permute(2, 0, 1)
        if not bool(safe.all()):
            rows = (~safe).nonzero()[:, 0]
            if h.dtype == torch.float64:
                exact, redone = self._in_log_space(fields[..., rows], marginals)
                log_z[rows] = exact + top[rows].sum((1, 2)) - math.log(self.support_size)
            else:
                exact, redone = self.posterior(h[rows].double(), marginals)
                log_z[rows] = exact.to(h.dtype)
            m[rows] = redone.to(h.dtype)
        return log_z, m

    def _forward(self, w: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Scaled sums over the paths from the start, log of the total (B,), and the rows without harmful underflow."""
        info = torch.finfo(w.dtype)
        alphas = [w.new_ones(1, w.shape[-1])]
        log_scale = torch.zeros(w.shape[-1], dtype=torch.float64, device=w.device)
        largest_loss = torch.full_like(log_scale, -math.inf)
        for t, layer in enumerate(self.layers_on(w.device)):
            # Each edge loses at most `tiny` to underflow, in units of the sum over sources, here and in the backward
            # pass; as no weight exceeds 1, no more than that times the most completions of a target.
            loss = log_scale + self.most_completions[t + 1] + math.log(info.tiny * sum(len(e.source) for e in layer))
            largest_loss = torch.maximum(largest_loss, loss)
            reached = w.new_zeros(self.sizes[t + 1], w.shape[-1])
            for s, edges in enumerate(layer):
                for source, target in edges.blocks(w):
                    _add_at(reached, target, alphas[t].index_select(0, source).mul_(w[t, s]), edges.injective)
            scale = reached.sum(0)
            log_scale = log_scale + scale.double().log()
            alphas.append(reached.div_(scale.clamp_min(info.tiny)))
        return alphas, log_scale, log_scale > largest_loss - math.log(info.eps)

    def _backward(self, w: Tensor, alphas: list[Tensor]) -> Tensor:
        """Marginals (D, Q, B), while the scaled sums over the paths to the end are passed back."""
        tiny = torch.finfo(w.dtype).tiny
        m = torch.zeros_like(w)
        beta = torch.ones_like(alphas[-1])
        for t, layer in reversed(list(enumerate(self.layers_on(w.device)))):
            reached = torch.zeros_like(alphas[t])
            for s, edges in enumerate(layer):
                for source, target in edges.blocks(w):
                    flow = beta.index_select(0, target).mul_(w[t, s])
                    _add_at(reached, source, flow, True)
                    m[t, s] += flow.mul_(alphas[t].index_select(0, source)).sum(0)
            beta = reached.div_(reached.sum(0).clamp_min(tiny))
        return m / m.sum(1, keepdim=True).clamp_min(tiny)

    def _in_log_space(self, fields: Tensor, marginals: bool) -> tuple[Tensor, Tensor]:
        """Log of the total (B,) and marginals (B, D, Q) for float64 fields (D, Q, B) of any size.

        Log messages run back from the end; forward from the start they make the posterior a Markov chain. The chances
        of the edges that leave a state are scaled to sum to 1, which rounding alone would not let them do: messages
        of size 1e15 are known to 0.1.
        """
        betas = [fields.new_zeros(self.sizes[-1], fields.shape[-1])]
        for t in reversed(range(len(self.layers))):
            reached = fields.new_full((self.sizes[t], fields.shape[-1]), -math.inf)
            for source, flow in self._onward(t, fields, betas[0]):
                reached.index_copy_(0, source, torch.logaddexp(reached.index_select(0, source), flow))
            betas.insert(0, reached)
        m = torch.zeros_like(fields)
        chance = fields.new_ones(1, fields.shape[-1])
        for t, layer in enumerate(self.layers_on(fields.device)) if marginals else ():
            top, total = torch.full_like(chance, -math.inf), torch.zeros_like(chance)
            for source, flow in self._onward(t, fields, betas[t + 1]):
                top.index_copy_(0, source, torch.maximum(top.index_select(0, source), flow))
            for source, flow in self._onward(t, fields, betas[t + 1]):
                _add_at(total, source, flow.sub_(top.index_select(0, source)).exp_(), True)
            share = chance.div_(total)  # every state has an edge onward, and its likeliest counts 1
            reached = fields.new_zeros(self.sizes[t + 1], fields.shape[-1])
            for s, edges in enumerate(layer):
                for source, target in edges.blocks(fields):
                    flow = betas[t + 1].index_select(0, target).add_(fields[t, s])
                    flow = flow.sub_(top.index_select(0, source)).exp_().mul_(share.index_select(0, source))
                    m[t, s] += flow.sum(0)
                    _add_at(reached, target, flow, edges.injective)
            chance = reached
        return betas[0][0], (m / m.sum(1, keepdim=True)).permute(2, 0, 1)

    def _onward(self, t: int, fields: Tensor, beta: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each block of edges of layer t, the sources and the log messages that come back along the edges."""
        for s, edges in enumerate(self.layers_on(fields.device)[t]):
            for source, target in edges.blocks(fields):
                yield source.long(), beta.index_select(0, target).add_(fields[t, s])


def _add_at(total: Tensor, rows: Tensor, values: Tensor, distinct: bool) -> None:
    """total[rows] += values; a plain copy back is four times faster than index_add_ where the rows are distinct."""
    if distinct:
        total.index_copy_(0, rows.long(), total.index_select(0, rows).add_(values))
    else:
        total.index_add_(0, rows, values)


def _all_distinct(index: np.ndarray, size: int) -> bool:
    seen = np.zeros(size, dtype=bool)
    seen[index] = True
    return int(np.count_nonzero(seen)) == len(index)


def _completions(layers: list[list[tuple[np.ndarray, np.ndarray]]], sizes: list[int], dtype: Any) -> list[np.ndarray]:
    """How many ways each state can reach the end, by layer."""
    counts = [np.ones(sizes[-1], dtype=dtype)]
    with np.errstate(over="ignore"):
        for t in reversed(range(len(layers))):
            ways = np.zeros(sizes[t], dtype=dtype)
            for source, target in layers[t]:
                ways[source] += counts[0][target]
            counts.insert(0, ways)
    return counts


def _log(counts: np.ndarray) -> np.ndarray:
    if counts.dtype == object:  # Python integers beyond float64's range
        return np.array([math.log(count) for count in counts.tolist()])
    return np.log(counts)
