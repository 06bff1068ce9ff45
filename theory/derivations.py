"""The closed-form denoisers, derived step by step and proved with sympy against the posterior sum itself."""

from __future__ import annotations

from itertools import product

import sympy as sp

from . import symbolic as sym
from .derivation_counts import derive_counts
from .derivation_permutation import derive_permutation
from .exposition import Derivation, Example, Proof, Step
from .symbolic import s, sigma, t, y


def derive(name: str) -> Derivation:
    """Derive a rule's optimal denoiser, and prove it symbolically for small sizes; it takes a few seconds.

    Args:
        name: ``"parity"`` (general sign, log-density, score, small-signal order), ``"count"`` (exact and allowed
            counts) or ``"permutation"`` (rows that hold every symbol once).

    Returns:
        The derivation; print it, or call `to_latex`.

    Raises:
        ValueError: another name; the message lists the known ones.
    """
    if name not in _DERIVATIONS:
        raise ValueError(f"unknown derivation {name!r}; known derivations: {', '.join(_DERIVATIONS)}")
    return _DERIVATIONS[name]()


def _parity() -> Derivation:
    even = sym.parity_support(3, -1)  # the example: G = 3, so eps = -1
    coins_and_rule = 4 * sym.multiply(sp.cosh(a / sigma**2) for a in y[:3]) * (1 - t[0] * t[1] * t[2])
    steps = (
        Step(
            "Expand the square: as every code squares to 1, the data enter through the product of the signals alone",
            "p(y | x) = c(y) prod_j z_j^(x_j),    c(y) = (2 pi sigma^2)^(-G/2) exp(-sum_j (y_j^2 + 1) / (2 sigma^2))",
            r"p(y\mid x) = c(y)\prod_j z_j^{x_j},\qquad"
            r" c(y) = (2\pi\sigma^2)^{-G/2}\, e^{-\sum_j (y_j^2+1)/2\sigma^2}",
            Example("p(y | x = (1, 1, -1)) / c(y)", sym.gaussian_sum([(1, 1, -1)]), r"p(y\mid x=(1,1,-1))/c(y)"),
        ),
        Step(
            "With k ones the product of the codes is (-1) to the power G - k, so the valid patterns are those whose "
            "product is eps: the rule is a single monomial",
            "[x valid] = (1 + eps prod_j x_j) / 2",
            r"[x\ \mathrm{valid}] = \tfrac12\Bigl(1+\varepsilon\prod_j x_j\Bigr)",
        ),
        Step(
            "Sum over the cube cell by cell: 1 gives a factor 2 cosh for each cell, the monomial a factor 2 sinh",
            "sum_{x valid} prod_j z_j^(x_j) = 2^(G-1) prod_j cosh(y_j / sigma^2) (1 + eps prod_j t_j)",
            r"\sum_{x\ \mathrm{valid}}\prod_j z_j^{x_j}"
            r" = 2^{G-1}\prod_j\cosh\frac{y_j}{\sigma^2}\,\Bigl(1+\varepsilon\prod_j t_j\Bigr)",
            Example(sp.sstr(sym.gaussian_sum(even)), coins_and_rule, sp.latex(sym.gaussian_sum(even))),
        ),
        Step(
            "There are 2 to the power G - 1 valid patterns: the log-density is that of fair coins plus one global term",
            "log p(y) = log c(y) + sum_j log cosh(y_j / sigma^2) + log(1 + eps prod_j t_j)",
            r"\log p_\sigma(y) = \log c(y) + \sum_j\log\cosh\frac{y_j}{\sigma^2}"
            r" + \log\Bigl(1+\varepsilon\prod_j t_j\Bigr)",
        ),
        Step(
            "Differentiate: the score of fair coins, plus a term that couples each cell to all others of its group",
            "score_i = (t_i - y_i) / sigma^2 + eps (1 - t_i^2) prod_{j != i} t_j / (sigma^2 (1 + eps prod_j t_j))",
            r"\partial_i\log p_\sigma = \frac{t_i-y_i}{\sigma^2} + \frac{\varepsilon}{\sigma^2}\,"
            r"\frac{(1-t_i^2)\prod_{j\ne i}t_j}{1+\varepsilon\prod_j t_j}",
            Example(
                "sigma^2 score_1",
                sigma**2 * sym.parity_score(3, -1, 0),
                r"\sigma^2\,\partial_1\log p_\sigma",
            ),
        ),
        Step(
            "The posterior mean is y plus the score times the noise variance (Miyasawa 1961); put over one denominator",
            "D_i(y) = (t_i + eps prod_{j != i} t_j) / (1 + eps prod_j t_j)",
            r"D_i(y) = \frac{t_i+\varepsilon\prod_{j\ne i}t_j}{1+\varepsilon\prod_j t_j}",
            Example("D_1", denoiser := sym.parity_denoiser(3, -1, 0)),
        ),
        Step(
            "Small signal: each t is y over the noise variance to first order, and the rule multiplies G - 1 of them",
            "D_i - t_i = eps prod_{j != i} y_j / sigma^(2 (G-1)) + O(sigma^(-2 (G+1)))",
            r"D_i - t_i = \varepsilon\,\sigma^{-2(G-1)}\prod_{j\ne i}y_j + O\bigl(\sigma^{-2(G+1)}\bigr)",
            Example("D_1 - t_1", sp.collect(_rule_part(3, -1, 4), s) + sp.Order(s**6)),
        ),
        Step(
            "Why in general: D is the gradient of the cumulant generating function of x, and any G - 1 cells of a group"
            " are independent fair coins, so the first cumulant that the rule changes is the joint one of all G cells",
            "D_i = sum_k 1/k! sum_{j1, .., jk} kappa(x_i, x_j1, .., x_jk) y_j1 .. y_jk / sigma^(2k),\n"
            "kappa(x_1, .., x_G) = E[x_1 .. x_G] = eps",
            r"D_i = \sum_k \frac{1}{k!\,\sigma^{2k}}\sum_{j_1\ldots j_k}\kappa(x_i,x_{j_1},\ldots,x_{j_k})\,"
            r"y_{j_1}\cdots y_{j_k},\qquad \kappa(x_1,\ldots,x_G)=\mathrm{E}[x_1\cdots x_G]=\varepsilon",
        ),
        Step(
            "So the loss that the rule can save at large sigma, the rule gap, falls with a power that grows with G",
            "E (D_i - t_i)^2 ~ (1 + sigma^2)^(G-1) / sigma^(4 (G-1)) ~ sigma^(-2 (G-1))",
            r"\mathrm{E}\,(D_i-t_i)^2 \simeq \frac{(1+\sigma^2)^{G-1}}{\sigma^{4(G-1)}} \simeq \sigma^{-2(G-1)}",
        ),
    )
    cases = [(G, sign) for G in (2, 3, 4) for sign in (1, -1)]
    proofs = (
        Proof(
            "the monomial marks the patterns with an even number of ones",
            "every pattern of G = 2, 3, 4, 5 cells",
            tuple(
                sp.Rational(1 + (-1) ** G * sp.prod(x), 2) - int(x.count(1) % 2 == 0)
                for G in (2, 3, 4, 5)
                for x in product((-1, 1), repeat=G)
            ),
        ),
        Proof(
            "the mixture of Gaussians is c(y) prod cosh times the global term",
            "G = 2, 3, 4, both signs",
            tuple(
                sym.residual(sym.gaussian_sum(sym.parity_support(G, e)) / 2 ** (G - 1), sym.parity_partition(G, e))
                for G, e in cases
            ),
        ),
        Proof(
            "the closed form D is the posterior mean, in every cell",
            "G = 2, 3, 4, both signs",
            tuple(
                sym.residual(sym.posterior_mean(sym.parity_support(G, e), i), sym.parity_denoiser(G, e, i))
                for G, e in cases
                for i in range(G)
            ),
        ),
        Proof(
            "the gradient of the log-density is (posterior mean - y) over the noise variance",
            "G = 2, 3, 4, both signs",
            tuple(sym.score_residual(sym.parity_log_density(G, e), sym.parity_support(G, e), 0) for G, e in cases),
        ),
        Proof(
            "the score is that of fair coins plus the global product term",
            "G = 2, 3, 4, both signs",
            tuple(
                sym.residual(sp.diff(sym.parity_log_density(G, e), y[0]), sym.parity_score(G, e, 0)) for G, e in cases
            ),
        ),
        Proof(
            "the rule enters first at order G - 1 in the inverse noise variance, with the product of the other cells",
            "G = 2, 3, 4, 5, 6, both signs",
            tuple(
                sp.expand(_rule_part(G, e, G - 1) - e * s ** (G - 1) * sym.multiply(y[1:G]))
                for G in (2, 3, 4, 5, 6)
                for e in (1, -1)
            ),
        ),
        Proof(
            "the next correction is two orders later",
            "order G for G = 3, 4, 5, both signs",
            tuple(sp.expand(_rule_part(G, e, G) - _rule_part(G, e, G - 1)) for G in (3, 4, 5) for e in (1, -1)),
        ),
    )
    return Derivation(
        "parity",
        "Group parity: the optimal denoiser",
        "A group of G cells with codes x_j = -1 or +1, uniform over the patterns with an even number of ones (+1), "
        "seen through y = x + sigma n with n standard normal. Groups are independent. Notation: z_j = exp(y_j / "
        "sigma^2), t_j = tanh(y_j / sigma^2), eps = (-1)^G, s = 1 / sigma^2. Examples: G = 3, so eps = -1.",
        r"A group of $G$ cells with codes $x_j=\pm1$, uniform over the patterns with an even number of ones ($+1$), "
        r"seen through $y=x+\sigma n$ with $n$ standard normal. Groups are independent. Notation: "
        r"$z_j=e^{y_j/\sigma^2}$, $t_j=\tanh(y_j/\sigma^2)$, $\varepsilon=(-1)^G$, $s=1/\sigma^2$. Examples: $G=3$, "
        r"so $\varepsilon=-1$.",
        steps,
        proofs,
        denoiser,
    )


def _rule_part(G: int, sign: int, order: int) -> sp.Expr:
    """E[x_1 | y] - tanh(s y_1) for a parity group through s^order, from the posterior sum."""
    posterior = sym.small_signal(sym.parity_support(G, sign), 0, order)
    return sp.expand(posterior - sym.tanh_series(y[0], order))


_DERIVATIONS = {"parity": _parity, "count": derive_counts, "permutation": derive_permutation}
