"""Posterior sums and closed forms as sympy expressions, on both sides of every proof in `derivations`.

A configuration is a tuple of codes -1/+1, one for each cell of a group, and y = x + sigma n. Everything becomes a
rational function of z_j = exp(y_j / sigma^2), where sympy decides equality. For rows that are permutations, it is the
tuple of symbols, and everything is a rational function of the likelihoods W[i, s].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import permutations, product

import sympy as sp
from sympy.polys.ring_series import rs_exp, rs_mul, rs_series_inversion, rs_trunc

Configuration = tuple[int, ...]

SIZES = range(1, 7)
sigma = sp.Symbol("sigma", positive=True)
s = sp.Symbol("s", positive=True)  # 1 / sigma^2
y = tuple(sp.Symbol(f"y{j}", real=True) for j in SIZES)
z = tuple(sp.Symbol(f"z{j}", positive=True) for j in SIZES)  # exp(y / sigma^2)
t = tuple(sp.Symbol(f"t{j}", real=True) for j in SIZES)  # tanh(y / sigma^2)
w = tuple(sp.Symbol(f"w{j}", positive=True) for j in SIZES)  # exp(2 y / sigma^2), the odds of a one


def parity_support(G: int, sign: int) -> list[Configuration]:
    """The configurations whose product of codes is sign; (-1)^G for an even number of ones."""
    return [x for x in product((-1, 1), repeat=G) if math.prod(x) == sign]


def count_support(n: int, allowed: Sequence[int]) -> list[Configuration]:
    """The configurations whose number of ones is allowed."""
    return [x for x in product((-1, 1), repeat=n) if x.count(1) in allowed]


def gaussian_sum(support: Sequence[Configuration], weight: Callable[[Configuration], int] = lambda x: 1) -> sp.Expr:
    """sum_x weight(x) exp(-|y - x|^2 / (2 sigma^2)), over exp(-sum_j (y_j^2 + 1) / (2 sigma^2)), in terms of z."""
    total = sp.Integer(0)
    for x in support:
        distance = sum((a - b) ** 2 for a, b in zip(y, x, strict=False))
        shared = sum(a**2 + 1 for a in y[: len(x)])
        total += weight(x) * in_z(sp.exp(sp.expand((shared - distance) / (2 * sigma**2))))
    return total


def posterior_mean(support: Sequence[Configuration], i: int) -> sp.Expr:
    """E[x_i | y] under the uniform law on the support, by definition: the ratio of two sums of Gaussians."""
    return gaussian_sum(support, lambda x: x[i]) / gaussian_sum(support)


def in_z(expression: sp.Expr) -> sp.Expr:
    """Hyperbolic functions and exponentials of y / sigma^2, t and w as powers of z."""
    tanh = [(zj**2 - 1) / (zj**2 + 1) for zj in z]
    rules = [*zip(t, tanh, strict=True), *((a, b**2) for a, b in zip(w, z, strict=True))]
    return expression.subs(rules).rewrite(sp.exp).subs([(a, sigma**2 * sp.log(b)) for a, b in zip(y, z, strict=True)])


def residual(left: sp.Expr, right: sp.Expr) -> sp.Expr:
    """The difference as one reduced fraction of polynomials in z: 0 exactly when the two sides agree."""
    return sp.cancel(sp.together(in_z(left) - in_z(right)))


def score_residual(log_density: sp.Expr, support: Sequence[Configuration], i: int) -> sp.Expr:
    """The derivative of a log-density by y_i, minus (E[x_i | y] - y_i) / sigma^2 from the posterior sum."""
    return residual(sp.diff(log_density, y[i]), (posterior_mean(support, i) - y[i]) / sigma**2)


def small_signal(support: Sequence[Configuration], i: int, order: int) -> sp.Expr:
    """E[x_i | y] as a power series in s = 1 / sigma^2 through s^order, from the posterior sum itself."""
    n = len(support[0])
    ring, *generators = sp.ring(["s", *[a.name for a in y[:n]]], sp.QQ)
    step = generators[0]
    numerator, denominator = ring.zero, ring.zero
    for x in support:
        signal = sum((value * a for value, a in zip(x, generators[1:], strict=True)), ring.zero)
        likelihood = rs_exp(signal * step, step, order + 1)
        numerator, denominator = numerator + x[i] * likelihood, denominator + likelihood
    inverse = rs_series_inversion(denominator / len(support), step, order + 1)
    series = rs_trunc(rs_mul(numerator / len(support), inverse, step, order + 1), step, order + 1)
    return series.as_expr(s, *y[:n])


def tanh_series(argument: sp.Expr, order: int) -> sp.Expr:
    """tanh(s argument) through s^order."""
    return sp.series(sp.tanh(s * argument), s, 0, order + 1).removeO()


def shared_log_factor(n: int) -> sp.Expr:
    """log c(y), c(y) = (2 pi sigma^2)^(-n/2) exp(-sum_j (y_j^2 + 1) / (2 sigma^2)): what all configurations share."""
    return -sp.Rational(n, 2) * sp.log(2 * sp.pi * sigma**2) - sum(a**2 + 1 for a in y[:n]) / (2 * sigma**2)


def parity_partition(G: int, sign: int) -> sp.Expr:
    """prod_j cosh(y_j / sigma^2) (1 + sign prod_j tanh(y_j / sigma^2)): the density over c(y)."""
    coins = multiply(sp.cosh(a / sigma**2) for a in y[:G])
    return coins * (1 + sign * multiply(sp.tanh(a / sigma**2) for a in y[:G]))


def parity_log_density(G: int, sign: int) -> sp.Expr:
    """log c(y) + sum_j log cosh(y_j / sigma^2) + log(1 + sign prod_j tanh(y_j / sigma^2))."""
    coins = sum(sp.log(sp.cosh(a / sigma**2)) for a in y[:G])
    rule = sp.log(1 + sign * multiply(sp.tanh(a / sigma**2) for a in y[:G]))
    return shared_log_factor(G) + coins + rule


def parity_denoiser(G: int, sign: int, i: int) -> sp.Expr:
    """(t_i + sign prod_{j != i} t_j) / (1 + sign prod_j t_j)."""
    others = multiply(t[j] for j in range(G) if j != i)
    return (t[i] + sign * others) / (1 + sign * t[i] * others)


def parity_score(G: int, sign: int, i: int) -> sp.Expr:
    """(t_i - y_i) / sigma^2 of the coins, plus sign (1 - t_i^2) prod_{j != i} t_j / (sigma^2 (1 + sign prod_j t_j))."""
    others = multiply(t[j] for j in range(G) if j != i)
    return (t[i] - y[i] + sign * (1 - t[i] ** 2) * others / (1 + sign * t[i] * others)) / sigma**2


def elementary(values: Sequence[sp.Expr], degree: int) -> sp.Expr:
    """e_degree(values), by multiplying out prod_j (1 + w_j u) one factor at a time; 0 for a degree out of range."""
    coefficients = [sp.Integer(1)]
    for value in values:
        padded = [*coefficients, sp.Integer(0)]
        coefficients = [a + value * b for a, b in zip(padded, [sp.Integer(0), *coefficients], strict=True)]
    return sp.expand(coefficients[degree]) if 0 <= degree < len(coefficients) else sp.Integer(0)


def count_denoiser(n: int, allowed: Sequence[int], i: int) -> sp.Expr:
    """sum_K (w_i e_{K-1}(w without i) - e_K(w without i)) / sum_K e_K(w), over the allowed counts K."""
    others = [w[j] for j in range(n) if j != i]
    top = sum(w[i] * elementary(others, K - 1) - elementary(others, K) for K in allowed)
    return top / sum(elementary(w[:n], K) for K in allowed)


def count_log_density(n: int, allowed: Sequence[int]) -> sp.Expr:
    """log c(y) - sum_j y_j / sigma^2 + log(sum_K e_K(w) / |S|)."""
    size = sum(math.comb(n, K) for K in allowed)
    odds = [sp.exp(2 * a / sigma**2) for a in y[:n]]
    polynomial = sum(elementary(odds, K) for K in allowed)
    return shared_log_factor(n) - sum(y[:n]) / sigma**2 + sp.log(polynomial / size)


def weights(n: int, letter: str = "W") -> sp.Matrix:
    """Symbols W[i, s], the likelihood of symbol s at cell i."""
    return sp.Matrix(n, n, lambda i, u: sp.Symbol(f"{letter}{i + 1}{u + 1}", positive=True))


def permanent(matrix: sp.Matrix) -> sp.Expr:
    """The permanent by the subset recursion F_m(A) = sum_{s in A} W[m, s] F_{m-1}(A without s), F_0 = 1."""

    @cache
    def placed(symbols: frozenset[int]) -> sp.Expr:
        row = len(symbols) - 1
        return (
            sum((matrix[row, u] * placed(symbols - {u}) for u in symbols), sp.Integer(0)) if symbols else sp.Integer(1)
        )

    return sp.expand(placed(frozenset(range(matrix.rows))))


def permutation_marginal(matrix: sp.Matrix, i: int, u: int) -> sp.Expr:
    """W[i, u] perm(W without row i and column u) / perm(W)."""
    return matrix[i, u] * permanent(matrix.minor_submatrix(i, u)) / permanent(matrix)


def permutation_sum(matrix: sp.Matrix, keep: Callable[[Configuration], bool] = lambda x: True) -> sp.Expr:
    """sum of prod_i W[i, x_i] over the permutations x that are kept: the posterior sum."""
    rows = range(matrix.rows)
    return sum((multiply(matrix[i, x[i]] for i in rows) for x in permutations(rows) if keep(x)), sp.Integer(0))


def permutation_posterior(matrix: sp.Matrix, i: int, u: int) -> sp.Expr:
    """P(x_i = u | y) by definition: the ratio of two sums over permutations."""
    return permutation_sum(matrix, lambda x: x[i] == u) / permutation_sum(matrix)


def permutation_score_residual(n: int, i: int) -> sp.Expr:
    """The derivative of log perm(W(y)) by y_i, minus (D_i - y_i) / sigma^2, for arbitrary scalar codes e_s.

    W[i, s] stays a function of y_i with W' = (e_s - y_i) W / sigma^2, which is all that the Gaussian says of it.
    """
    codes = sp.symbols(f"e1:{n + 1}", real=True)
    matrix = weights(n)
    functions = {matrix[j, u]: sp.Function(matrix[j, u].name)(y[j]) for j in range(n) for u in range(n)}
    slope = sp.diff(sp.log(permanent(matrix).subs(functions)), y[i])
    for u in range(n):
        entry = functions[matrix[i, u]]
        slope = slope.subs(sp.Derivative(entry, y[i]), (codes[u] - y[i]) / sigma**2 * entry)
    slope = slope.subs({value: key for key, value in functions.items()})
    mean = sum(codes[u] * permutation_marginal(matrix, i, u) for u in range(n))
    return sp.cancel(sp.together(slope - (mean - y[i]) / sigma**2))


def permutation_small_signal(n: int, i: int, u: int) -> sp.Expr:
    """P(x_i = u | y) through first order in s, with W = exp(s h), from the posterior sum."""
    fields = weights(n, "h")
    matrix = fields.applyfunc(lambda h: 1 + s * h)
    kept = sp.Poly(permutation_sum(matrix, lambda x: x[i] == u), s)
    total = sp.Poly(permutation_sum(matrix), s)
    k0, k1, t0, t1 = kept.nth(0), kept.nth(1), total.nth(0), total.nth(1)
    return k0 / t0 + s * (k1 * t0 - k0 * t1) / t0**2


def multiply(factors: Iterable[sp.Expr]) -> sp.Expr:
    """The product of expressions."""
    return sp.Mul(*factors)
