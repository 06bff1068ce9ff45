"""The closed-form denoisers, derived step by step and proved with sympy against the posterior sum itself."""

from __future__ import annotations

from itertools import product

import sympy as sp

from . import symbolic as sym
from .exposition import Derivation, Example, Proof, Step
from .symbolic import s, sigma, t, w, y


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


def _count() -> Derivation:
    n, K = 3, 1
    others = w[1:n]
    odds = [sp.exp(2 * a / sigma**2) for a in y[:4]]
    steps = (
        Step(
            "Expand the square: with b = (1 + x) / 2 a cell contributes its odds w if it holds a one, else 1",
            "p(y | x) = c(y) exp(-sum_j y_j / sigma^2) prod_j w_j^(b_j)",
            r"p(y\mid x) = c(y)\,e^{-\sum_j y_j/\sigma^2}\prod_j w_j^{b_j}",
        ),
        Step(
            "Sum over every choice of K ones: that is the elementary symmetric polynomial",
            "sum_{|b| = K} prod_j w_j^(b_j) = e_K(w_1, .., w_n)",
            r"\sum_{|b|=K}\prod_j w_j^{b_j} = e_K(w_1,\ldots,w_n)",
            Example("e_2(w1, w2, w3)", sym.elementary(w[:3], 2), "e_2(w_1,w_2,w_3)"),
        ),
        Step(
            "Its generating function takes one cell at a time: n K products in place of a sum over n choose K grids",
            "sum_K e_K u^K = prod_j (1 + w_j u),    so    e_K(.., w_m) = e_K(.., w_{m-1}) + w_m e_{K-1}(.., w_{m-1})",
            r"\sum_K e_K u^K = \prod_j(1+w_j u),\qquad"
            r" e_K(w_{1..m}) = e_K(w_{1..m-1}) + w_m\,e_{K-1}(w_{1..m-1})",
        ),
        Step(
            "Hold cell i at one: the other cells share K - 1 ones",
            "P(b_i = 1 | y) = w_i e_{K-1}(w without i) / e_K(w)",
            r"P(b_i=1\mid y) = \frac{w_i\,e_{K-1}(w_{\setminus i})}{e_K(w)}",
            Example(
                "P(b_1 = 1 | y)", w[0] * sym.elementary(others, K - 1) / sym.elementary(w[:n], K), r"P(b_1=1\mid y)"
            ),
        ),
        Step(
            "A cell at one counts +1, at zero -1",
            "D_i(y) = (w_i e_{K-1}(w without i) - e_K(w without i)) / e_K(w)",
            r"D_i(y) = \frac{w_i\,e_{K-1}(w_{\setminus i})-e_K(w_{\setminus i})}{e_K(w)}",
            Example("D_1", denoiser := sym.count_denoiser(n, [K], 0)),
        ),
        Step(
            "If the count may take several values, numerators and denominators add",
            "D_i(y) = sum_K (w_i e_{K-1}(w without i) - e_K(w without i)) / sum_K e_K(w),    K allowed",
            r"D_i(y) = \frac{\sum_{K}\bigl(w_i\,e_{K-1}(w_{\setminus i})-e_K(w_{\setminus i})\bigr)}{\sum_{K}e_K(w)}",
        ),
        Step(
            "The log-density: the sum over the support divided by its size",
            "log p(y) = log c(y) - sum_j y_j / sigma^2 + log(sum_K e_K(w) / sum_K binomial(n, K))",
            r"\log p_\sigma(y) = \log c(y) - \sum_j\frac{y_j}{\sigma^2} + \log\frac{\sum_K e_K(w)}{\sum_K\binom nK}",
        ),
        Step(
            "Parity is the count rule that allows every even count",
            "sum_{K even} e_K(w) = (prod_j (1 + w_j) + prod_j (1 - w_j)) / 2",
            r"\sum_{K\ \mathrm{even}} e_K(w) = \tfrac12\Bigl(\prod_j(1+w_j)+\prod_j(1-w_j)\Bigr)",
        ),
        Step(
            "Small signal: with a fixed count any two cells are dependent already, so the rule enters at first order",
            "D_i = m + (1 - m^2) (y_i - mean_{j != i} y_j) / sigma^2 + O(sigma^-4),    m = 2 K / n - 1",
            r"D_i = m + \frac{1-m^2}{\sigma^2}\Bigl(y_i-\frac1{n-1}\sum_{j\ne i}y_j\Bigr) + O(\sigma^{-4}),"
            r"\qquad m=\frac{2K}{n}-1",
            Example("D_1", sym.small_signal(sym.count_support(n, [K]), 0, 1) + sp.Order(s**2)),
        ),
    )
    exact = [(2, (1,)), (3, (1,)), (3, (2,)), (4, (1,)), (4, (2,)), (4, (3,))]
    several = [(3, (0, 2)), (4, (1, 3)), (4, (0, 1, 4))]
    proofs = (
        Proof(
            "the closed form D is the posterior mean, exact count, in every cell",
            "n = 2, 3, 4, every count from 1 to n - 1",
            tuple(_count_residual(n, allowed, i) for n, allowed in exact for i in range(n)),
        ),
        Proof(
            "the closed form D is the posterior mean, several counts, in every cell",
            "counts 0 or 2 of 3; 1 or 3 of 4; 0, 1 or 4 of 4",
            tuple(_count_residual(n, allowed, i) for n, allowed in several for i in range(n)),
        ),
        Proof(
            "the gradient of the log-density is (posterior mean - y) over the noise variance",
            "the same nine cases",
            tuple(
                sym.score_residual(sym.count_log_density(n, allowed), sym.count_support(n, allowed), 0)
                for n, allowed in exact + several
            ),
        ),
        Proof(
            "even counts give the parity sum",
            "n = 2, 3, 4",
            tuple(
                sym.residual(
                    sym.multiply(1 / sp.sqrt(a) for a in odds[:n])
                    * sum(sym.elementary(odds[:n], K) for K in range(0, n + 1, 2))
                    / 2 ** (n - 1),
                    sym.parity_partition(n, (-1) ** n),
                )
                for n in (2, 3, 4)
            ),
        ),
        Proof(
            "the small-signal expansion through first order",
            "n = 2, 3, 4, every count from 1 to n - 1",
            tuple(_count_small_signal_residual(n, allowed[0]) for n, allowed in exact),
        ),
    )
    return Derivation(
        "count",
        "Exact and allowed counts: the optimal denoiser",
        "A group of n cells with codes x_j = -1 or +1, uniform over the grids whose number of ones is K, or lies in "
        "a set of allowed counts, seen through y = x + sigma n with n standard normal. Notation: w_j = exp(2 y_j / "
        "sigma^2), the odds of a one; s = 1 / sigma^2; c(y) as for independent cells. Examples: n = 3, K = 1.",
        r"A group of $n$ cells with codes $x_j=\pm1$, uniform over the grids whose number of ones is $K$, or lies in "
        r"a set of allowed counts, seen through $y=x+\sigma n$ with $n$ standard normal. Notation: "
        r"$w_j=e^{2y_j/\sigma^2}$, the odds of a one; $s=1/\sigma^2$; "
        r"$c(y)=(2\pi\sigma^2)^{-n/2}e^{-\sum_j(y_j^2+1)/2\sigma^2}$. Examples: $n=3$, $K=1$.",
        steps,
        proofs,
        denoiser,
    )


def _count_residual(n: int, allowed: tuple[int, ...], i: int) -> sp.Expr:
    return sym.residual(sym.posterior_mean(sym.count_support(n, allowed), i), sym.count_denoiser(n, allowed, i))


def _count_small_signal_residual(n: int, K: int) -> sp.Expr:
    mean = sp.Rational(2 * K, n) - 1
    claimed = mean + s * (1 - mean**2) * (y[0] - sum(y[1:n]) / (n - 1))
    return sp.expand(sym.small_signal(sym.count_support(n, (K,)), 0, 1) - claimed)


def _permutation() -> Derivation:
    steps = (
        Step(
            "The noise is independent by cell: a likelihood multiplies one entry from each row of the weight matrix",
            "p(y | x) = c prod_i W[i, x_i],    W[i, s] = exp(-|y_i - e(s)|^2 / (2 sigma^2))",
            r"p(y\mid x) = c\prod_i W_{i,x_i},\qquad W_{is} = e^{-|y_i-e(s)|^2/2\sigma^2}",
        ),
        Step(
            "Sum over all permutations: that is the permanent, the determinant without its signs",
            "p(y) = c perm(W) / n!",
            r"p_\sigma(y) = \frac{c}{n!}\,\mathrm{perm}(W)",
            Example("perm(W)", sym.permanent(sym.weights(3)), r"\mathrm{perm}(W)"),
        ),
        Step(
            "Hold cell i at symbol s: strike row i and column s",
            "P(x_i = s | y) = W[i, s] perm(W without row i, column s) / perm(W)",
            r"P(x_i=s\mid y) = \frac{W_{is}\,\mathrm{perm}(W_{\setminus i,\setminus s})}{\mathrm{perm}(W)}",
            Example("P(x_1 = 1 | y)", sym.permutation_marginal(sym.weights(3), 0, 0), r"P(x_1=1\mid y)"),
        ),
        Step(
            "Laplace expansion by row i and by column s: a cell holds one symbol, and a symbol stands in one cell",
            "sum_s P(x_i = s | y) = 1,    sum_i P(x_i = s | y) = 1",
            r"\sum_s P(x_i=s\mid y) = 1,\qquad \sum_i P(x_i=s\mid y) = 1",
        ),
        Step(
            "The denoiser is the mean code",
            "D_i(y) = sum_s e(s) P(x_i = s | y)",
            r"D_i(y) = \sum_s e(s)\,P(x_i=s\mid y)",
            Example("D_1", denoiser := _scalar_mean(3)),
        ),
        Step(
            "Place symbols cell by cell and remember only the set in use: 2 to the power n sets in place of n! orders",
            "F_m(A) = sum_{s in A} W[m, s] F_{m-1}(A without s),    F_0 = 1,    perm(W) = F_n(all symbols)",
            r"F_m(A) = \sum_{s\in A} W_{ms}\,F_{m-1}(A\setminus s),\qquad F_0(\varnothing)=1,\qquad"
            r" \mathrm{perm}(W) = F_n(\{1,\ldots,n\})",
        ),
        Step(
            "Small signal: with W = exp(h) the rule centres the fields by rows and by columns, already at first order",
            "P(x_i = s | y) = 1/n + (h[i, s] - mean_u h[i, u] - mean_j h[j, s] + mean_ju h[j, u]) / (n - 1) + O(h^2)",
            r"P(x_i=s\mid y) = \frac1n"
            r" + \frac{h_{is}-\bar h_{i\cdot}-\bar h_{\cdot s}+\bar h_{\cdot\cdot}}{n-1} + O(h^2)",
            Example("P(x_1 = 1 | y)", sp.Rational(1, 2) + s * _centred(2, 0, 0) + sp.Order(s**2), r"P(x_1=1\mid y)"),
        ),
    )
    entries = [(n, i, u) for n in (2, 3, 4) for i in range(n) for u in range(n)]
    matrices = {n: sym.weights(n) for n in (2, 3, 4)}
    proofs = (
        Proof(
            "the subset recursion gives the sum over all permutations",
            "n = 2, 3, 4",
            tuple(sp.expand(sym.permanent(W) - sym.permutation_sum(W)) for W in matrices.values()),
        ),
        Proof(
            "the ratio of permanents is the posterior probability, for every cell and symbol",
            "n = 2, 3, 4",
            tuple(
                sp.cancel(sym.permutation_marginal(matrices[n], i, u) - sym.permutation_posterior(matrices[n], i, u))
                for n, i, u in entries
            ),
        ),
        Proof(
            "rows and columns of the posterior sum to one",
            "n = 2, 3",
            tuple(
                sp.cancel(sum(sym.permutation_marginal(matrices[n], *cell) for cell in line) - 1)
                for n in (2, 3)
                for k in range(n)
                for line in ([(k, u) for u in range(n)], [(i, k) for i in range(n)])
            ),
        ),
        Proof(
            "the gradient of the log-density is (D - y) over the noise variance, for arbitrary scalar codes",
            "n = 2, 3",
            tuple(sym.permutation_score_residual(n, 0) for n in (2, 3)),
        ),
        Proof(
            "the small-signal expansion through first order, for every cell and symbol",
            "n = 2, 3, 4",
            tuple(
                sp.expand(sym.permutation_small_signal(n, i, u) - sp.Rational(1, n) - s * _centred(n, i, u))
                for n, i, u in entries
            ),
        ),
    )
    return Derivation(
        "permutation",
        "Rows that are permutations: the optimal denoiser",
        "A row of n cells and n symbols, uniform over the n! ways to use every symbol once; symbol s has the code "
        "e(s), of any dimension, and y = e(x) + sigma n with n standard normal. Rows are independent. Notation: W is "
        "the n by n matrix of likelihoods, c the normaliser of the Gaussian, h = log W (s h with s = 1 / sigma^2 in "
        "the small-signal example). Examples: n = 3 with codes -1, 0, 1, or n = 2.",
        r"A row of $n$ cells and $n$ symbols, uniform over the $n!$ ways to use every symbol once; symbol $s$ has "
        r"the code $e(s)$, of any dimension, and $y=e(x)+\sigma n$ with $n$ standard normal. Rows are independent. "
        r"Notation: $W$ is the $n\times n$ matrix of likelihoods, $c$ the normaliser of the Gaussian, $h=\log W$ "
        r"($s\,h$ with $s=1/\sigma^2$ in the small-signal example). Examples: $n=3$ with codes $-1,0,1$, or $n=2$.",
        steps,
        proofs,
        denoiser,
    )


def _scalar_mean(n: int) -> sp.Expr:
    """D_1 for codes evenly spaced in [-1, 1]."""
    W = sym.weights(n)
    top = sum((sp.Rational(2 * u, n - 1) - 1) * W[0, u] * sym.permanent(W.minor_submatrix(0, u)) for u in range(n))
    return sp.factor(top) / sym.permanent(W)


def _centred(n: int, i: int, u: int) -> sp.Expr:
    """The doubly centred field over n - 1."""
    h = sym.weights(n, "h")
    row, column, whole = sum(h[i, :]), sum(h[:, u]), sum(h)
    return sp.expand((h[i, u] - row / n - column / n + whole / n**2) / (n - 1))


_DERIVATIONS = {"parity": _parity, "count": _count, "permutation": _permutation}
