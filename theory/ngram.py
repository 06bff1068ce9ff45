"""The n-gram control: the best model of a law that sees only the previous k symbols, and how well it obeys the rule."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .law import BLOCKED, Law, Rule, masked_except


class NGramLaw(Law):
    """The best order-k Markov model of a law: P(x_t | position t, the previous k symbols), cells in raster order.

    Of all such models it has the highest likelihood, and it agrees with the law on every window of k + 1 cells; order 0
    is the product of the single-cell marginals, order D - 1 the law itself. It knows the position, as a GPT does
    through its position embedding, so that it is the strongest local control; pooling the windows over positions
    could only lose likelihood. Its conditionals are exact, read from the law's marginals with the window clamped.

    Args:
        law: a rule, or any other law.
        order: k, from 0 to D - 1; it makes a (k + 1)-gram model.

    Attributes:
        order: k.
        transitions: float64 (D, S, Q), P(x_t = s | state): the state is the number that the last max(k, 1) symbols
            spell in base Q, read as 0 before the first cell; S = Q^max(k, 1).

    Raises:
        ValueError: an order outside 0..D-1, or Q^(k+1) beyond 2^17 entries a cell.
    """

    LARGEST_TABLE = 2**17  # entries Q^(k+1) of one cell's conditional table
    BLOCK = 2**22  # numbers that the recursion, or the law while it is read, holds at once

    def __init__(self, law: Law, order: int) -> None:
        super().__init__(law.shape, law.alphabet)
        if not 0 <= order < self.dim:
            raise ValueError(f"order must lie in 0..{self.dim - 1} for {self.dim} cells, got {order}")
        if self.alphabet ** (order + 1) > self.LARGEST_TABLE:
            largest = int(math.log(self.LARGEST_TABLE + 0.5, self.alphabet)) - 1
            raise ValueError(
                f"order {order} needs {self.alphabet}^{order + 1} conditionals a cell, more than {self.LARGEST_TABLE}; "
                f"use an order of at most {largest}"
            )
        self.order = order
        self.transitions = _conditionals(law, order, self.BLOCK)

    @property
    def entropy(self) -> float:
        rows = torch.special.entr(self.transitions).sum(-1)  # (D, S)
        state = torch.zeros(1, self.transitions.shape[1], dtype=torch.float64)
        state[:, 0] = 1.0
        total = 0.0
        for t in range(self.dim):
            total += float((state @ rows[t]).sum())
            state = _slide(state[..., None] * self.transitions[t]).sum(1)
        return total

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        x = torch.empty(n, self.dim, dtype=torch.int64)
        state = torch.zeros(n, dtype=torch.int64)
        for t in range(self.dim):
            if n:
                x[:, t] = torch.multinomial(self.transitions[t, state], 1, generator=generator)[:, 0]
            state = self._next(state, x[:, t])
        return x

    def next_token_probs(self, x: Tensor) -> Tensor:
        """Look up each window; see `Law.next_token_probs`."""
        x = self.check_symbols(x, batch=True)
        symbols = x.long().cpu()
        probs = torch.empty(*x.shape, self.alphabet, dtype=torch.float64)
        state = torch.zeros(len(x), dtype=torch.int64)
        possible = torch.ones(len(x), dtype=torch.float64)
        for t in range(self.dim):
            probs[:, t] = possible[:, None] * self.transitions[t, state]
            possible = (probs[torch.arange(len(x)), t, symbols[:, t]] > 0).double()
            state = self._next(state, symbols[:, t])
        return probs.to(x.device)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats for symbols x (..., D), float64 (...): the sum of the chain's conditionals."""
        x = self.check_symbols(x)
        flat = x.reshape(-1, self.dim)
        chosen = self.next_token_probs(flat).gather(-1, flat.long().unsqueeze(-1))
        return chosen.log().sum((1, 2)).reshape(x.shape[:-1])

    def _next(self, state: Tensor, symbol: Tensor) -> Tensor:
        return (state * self.alphabet + symbol) % self.transitions.shape[1]

    def _posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        size = self.dim * self.transitions.shape[1] * self.alphabet
        parts = [self._forward_backward(part) for part in h.split(max(1, self.BLOCK // size))]
        log_z, marginals = zip(*parts, strict=True)
        return torch.cat(log_z), torch.cat(marginals)

    def _forward_backward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        step = self.transitions.log().clamp_min(BLOCKED).to(h)  # (D, S, Q)
        ahead = [h.new_full((len(h), step.shape[1]), BLOCKED)]
        ahead[0][:, 0] = 0.0
        for t in range(self.dim):
            ahead.append(_slide(ahead[t][..., None] + step[t] + h[:, t, None]).logsumexp(1))
        marginals = torch.empty_like(h)
        behind = torch.zeros_like(ahead[0])
        for t in reversed(range(self.dim)):
            onward = step[t] + h[:, t, None] + _spread(behind, self.alphabet)  # (B, S, Q)
            marginals[:, t] = (ahead[t][..., None] + onward).logsumexp(1).softmax(-1)
            behind = onward.logsumexp(-1)
        return ahead[-1].logsumexp(-1), marginals


class RuleAccuracy(NamedTuple):
    """The probability that a sample is valid, with its standard error: 0 where the value is exact."""

    value: float
    standard_error: float


def ngram_rule_accuracy(
    rule: Rule, order: int, n_samples: int = 4096, generator: torch.Generator | None = None
) -> RuleAccuracy:
    """How often the best order-k Markov model of a rule obeys it: what local statistics alone can reach.

    Group parity is settled in closed form: with k < G - 1 every window is a fair coin, so the accuracy is
    2^(-number of groups); with k >= G - 1 it is 1. For another rule with at most 2^14 valid grids, p_k is summed over
    them all. For the rest we use that it equals |S| E[p_k(x)] with x uniform on the rule's support: unbiased, and with
    a small variance also where a plain count of valid model samples would see none.

    Args:
        rule: any rule.
        order: k, the number of previous symbols that the model sees, besides the position; see `NGramLaw`.
        n_samples: draws from the rule where the support is too large to sum over.
        generator: source of the draws; by default seeded with 0.

    Returns:
        RuleAccuracy(value, standard_error).

    Raises:
        ValueError: an order outside 0..D-1, Q^(k+1) too large, or n_samples < 2.
    """
    if not 0 <= order < rule.dim:
        raise ValueError(f"order must lie in 0..{rule.dim - 1} for {rule.dim} cells, got {order}")
    if (known := rule.ngram_accuracy(order)) is not None:
        return RuleAccuracy(known, 0.0)
    model = NGramLaw(rule, order)
    if rule.support_size <= 2**14:
        return RuleAccuracy(float(model.log_prob(support(rule)).exp().sum()), 0.0)
    if n_samples < 2:
        raise ValueError(f"n_samples must be at least 2 for a standard error, got {n_samples}")
    x = rule.sample(n_samples, generator or torch.Generator().manual_seed(0))
    ratio = (model.log_prob(x) + math.log(rule.support_size)).exp()
    return RuleAccuracy(float(ratio.mean()), float(ratio.std()) / math.sqrt(n_samples))


def support(law: Law) -> Tensor:
    """Every configuration of positive probability, in lexicographic order: int64 (n, D).

    It grows prefixes cell by cell and keeps those that the law can complete: about n D calls of its marginals.
    """
    prefixes = torch.zeros(1, 0, dtype=torch.int64)
    for t in range(law.dim):
        kept = []
        for part in prefixes.split(4096):
            alive = law.unmask_probs(masked_except(law, torch.arange(t), part))[:, t] > 1e-12  # zeros may be rounded
            row, symbol = alive.nonzero(as_tuple=True)
            kept.append(torch.cat([part[row], symbol[:, None]], 1))
        prefixes = torch.cat(kept)
    return prefixes


def _conditionals(law: Law, order: int, block: int) -> Tensor:
    """P(x_t = s | the previous k symbols) for every cell and state: (D, Q^max(k, 1), Q)."""
    D, Q = law.dim, law.alphabet
    states = Q ** max(order, 1)
    table = torch.empty(D, states, Q, dtype=torch.float64)
    for t in range(D):
        seen = min(t, order)
        places = Q ** torch.arange(seen - 1, -1, -1)
        windows = torch.arange(Q**seen)[:, None] // places % Q  # (Q^seen, seen)
        parts, cells = windows.split(max(1, block // (D * Q))), torch.arange(t - seen, t)
        rows = [law.unmask_probs(masked_except(law, cells, part))[:, t] for part in parts]
        conditional = torch.cat(rows)
        conditional[conditional.sum(-1) == 0] = 1 / Q  # a window of probability zero, never reached
        table[t] = conditional.repeat(states // Q**seen, 1)  # the same whatever stands before the window
    return table


def _slide(joint: Tensor) -> Tensor:
    """From (B, state, next symbol) to (B, forgotten symbol, next state)."""
    B, S, Q = joint.shape
    return joint.reshape(B, Q, S)


def _spread(values: Tensor, alphabet: int) -> Tensor:
    """Values (B, next state) as (B, state, symbol), where state and symbol lead to the next state."""
    B, S = values.shape
    return values[:, None].expand(B, alphabet, S).reshape(B, S, alphabet)
