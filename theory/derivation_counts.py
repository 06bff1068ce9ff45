"""The optimal denoiser of groups with an exact or allowed number of ones, derived and proved."""

from __future__ import annotations

import sympy as sp

from . import symbolic as sym
from .exposition import Derivation, Example, Proof, Step
from .symbolic import s, sigma, w, y


def derive_counts() -> Derivation:
    """Exact and allowed counts of ones in a group."""
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
