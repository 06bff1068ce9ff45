"""The optimal denoiser of rows that hold every symbol once, derived and proved."""

from __future__ import annotations

import sympy as sp

from . import symbolic as sym
from .exposition import Derivation, Example, Proof, Step
from .symbolic import s


def derive_permutation() -> Derivation:
    """Rows that are permutations of the symbols."""
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
