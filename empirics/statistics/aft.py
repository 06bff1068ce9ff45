"""Log-normal accelerated-failure-time models of interval-censored times, many resamples fitted at once.

    log tau_i = design_i . beta + sigma * Normal,   known only through  lower_i < tau_i <= upper_i.

We maximise over eta = beta / sigma and theta = 1 / sigma (Olsen 1978): every contribution is then the log of a Gaussian
integral over an interval whose ends are linear in (eta, theta), so the log-likelihood is concave (Prekopa 1973) and
Newton's method with step halving finds its one maximum. Resamples differ in their weights alone: an iteration over
all of them is a few matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special, stats

from .designs import Arrow, Design
from .normal_intervals import LOG_SQRT_2PI, Ends, interval_terms

Array = np.ndarray

EXACT_RATIO = 1e-6
"""An interval with log(upper / lower) below this is an exact observation: the likelihood is the same but for units."""

_BLOCK = 250_000  # resamples x runs worked on at once, to stay in cache


@dataclass(frozen=True)
class AFTFit:
    """Maximum-likelihood fits of one data set under B sets of weights.

    Attributes:
        beta: coefficients (B, p) of log tau.
        sigma: standard deviation (B,) of log tau about its mean.
        log_likelihood: weighted log-likelihood (B,), in nats; exact observations count by the density of log tau.
        converged: (B,) whether Newton's decrement became negligible.
    """

    beta: Array
    sigma: Array
    log_likelihood: Array
    converged: Array


@dataclass(frozen=True)
class CensoredRegression:
    """Interval-censored log times with their covariates.

    Attributes:
        log_lower: (n,) log of the lower ends; -inf when left-censored.
        log_upper: (n,) log of the upper ends; inf when right-censored. Equal ends are an exact observation.
        design: covariates (n, p), of full column rank over the runs that `informative` marks; an array or a `Design`.
    """

    log_lower: Array
    log_upper: Array
    design: Array | Design

    @cached_property
    def covariates(self) -> Design:
        """The design in parts."""
        return self.design if isinstance(self.design, Design) else Design.dense(self.design)

    @property
    def informative(self) -> Array:
        """(n,) bool: both ends known. Full rank of the design over these makes every coefficient finite."""
        return np.isfinite(self.log_lower) & np.isfinite(self.log_upper)

    @cached_property
    def exact(self) -> Array:
        """(n,) bool: observed exactly."""
        width = np.where(self.informative, self.log_upper, math.inf) - np.where(self.informative, self.log_lower, 0.0)
        return width < EXACT_RATIO

    @property
    def n_uncensored(self) -> int:
        """Runs that are not right-censored: the sample size in small-sample corrections."""
        return int(np.isfinite(self.log_upper).sum())

    @property
    def degrees_of_freedom(self) -> int:
        """Uncensored runs less coefficients."""
        return self.n_uncensored - self.design.shape[1]

    @cached_property
    def resolution(self) -> float:
        """The sigma below which the intervals hardly tell one scatter from another: a sixth of their median width."""
        width = (self.log_upper - self.log_lower)[self.informative]
        return float(np.median(width)) / 6 if len(width) else 0.0

    @property
    def sigma_floor(self) -> float:
        """The smallest sigma that `fit` considers: where one line crosses every interval, the maximum is at 0."""
        return max(self.resolution / 5, 1e-6)

    def fit(self, weights: Array | None = None, start: Array | None = None, max_iterations: int = 100) -> AFTFit:
        """Maximise the weighted log-likelihood for each row of weights.

        Args:
            weights: (B, n), non-negative; all one when left out.
            start: (p + 1,) coefficients and sigma to start from; least squares on the mid-points when left out.
            max_iterations: of Newton's method, halvings included.
        """
        n, p = self.design.shape
        weights = np.ones((1, n)) if weights is None else weights
        start = self._least_squares() if start is None else start
        psi0 = np.append(start[:p], 1.0) / max(start[p], self.sigma_floor)
        rows = max(_BLOCK // n, 1)
        parts = [self._newton(psi0, weights[k : k + rows], max_iterations) for k in range(0, len(weights), rows)]
        psi, value, converged = (np.concatenate(part) for part in zip(*parts, strict=True))
        return AFTFit(psi[:, :p] / psi[:, p:], 1 / psi[:, p], value, converged)

    def covariance(self, beta: Array, sigma: float) -> Array:
        """Covariance (p, p) of beta at the maximum from the observed information, by the delta method.

        Scaled by n / (n - p) over uncensored runs, as least squares would, for use with Student's t. A sigma below the
        resolution is taken as known and equal to it, which makes the covariance larger.
        """
        information, resolved, scale = self._information(beta, sigma)
        inverse = np.linalg.pinv(information.dense()[0], hermitian=True)
        jacobian = np.column_stack([np.eye(len(beta)), -beta]) if resolved else np.eye(len(beta))
        return scale * (jacobian @ inverse @ jacobian.T)

    def variances(self, beta: Array, sigma: float, columns: Array) -> Array:
        """Some of the diagonal of `covariance`, without the rest of it."""
        information, resolved, scale = self._information(beta, sigma)
        inverse = information.inverse_diagonal()[0]
        if not resolved:
            return scale * inverse[columns]
        last = information.solve(np.eye(1, len(inverse), len(inverse) - 1))[0]
        own = inverse[columns] - 2 * beta[columns] * last[columns] + beta[columns] ** 2 * inverse[-1]
        return scale * own

    def scores(self, beta: Array, sigma: float) -> tuple[Array, Array]:
        """Each run's gradient (n, p + 1) in (eta, theta), and the Hessian (p + 1, p + 1) of the log-likelihood."""
        g_design, g_theta = self._scores(beta, sigma)
        gradient = np.column_stack([g_design[:, None] * np.asarray(self.covariates), g_theta])
        return gradient, self._evaluate((np.append(beta, 1.0) / sigma)[None], self._ones)[2].dense()[0]

    def influence(self, beta: Array, sigma: float, column: int) -> Array:
        """How much each run (n,) moves one coefficient, to first order."""
        _, _, hessian = self._evaluate((np.append(beta, 1.0) / sigma)[None], self._ones)
        right = np.zeros((1, len(beta) + 1))
        right[0, column], right[0, -1] = sigma, -sigma * beta[column]  # d beta / d (eta, theta)
        move = _ridged(-hessian).solve(right)
        g_design, g_theta = self._scores(beta, sigma)
        return g_design * self.covariates.times(move[:, :-1])[0] + g_theta * move[0, -1]

    def standardised(self, beta: Array, sigma: float) -> tuple[Array, Array]:
        """Ends (n,), (n,) of each run's interval in units of sigma about its fitted mean."""
        mean = self.means(beta)
        return (self.log_lower - mean) / sigma, (self.log_upper - mean) / sigma

    def means(self, beta: Array) -> Array:
        """The fitted mean of log tau (n,)."""
        return self.covariates.times(beta[None])[0]

    def residuals(self, beta: Array, sigma: float) -> Array:
        """Generalised residuals (n,): the mean of the standard normal error over each run's interval."""
        ends = self._ends((np.append(beta, 1.0) / sigma)[None])
        return -(ends.g_lower + ends.g_upper)[0]

    def quantile_residuals(self, beta: Array, sigma: float, n_draws: int, rng: np.random.Generator) -> Array:
        """Randomised quantile residuals (n_draws, n), standard normal under the model (Dunn and Smyth 1996).

        Each error is drawn from the fitted normal restricted to its run's interval.
        """
        lower, upper = self.standardised(beta, sigma)
        upper = np.where(self.exact, lower, upper)
        flip = lower + upper > 0  # as in log_normal_mass: differences of Phi keep their digits in the left tail
        low, high = special.ndtr(np.where(flip, -upper, lower)), special.ndtr(np.where(flip, -lower, upper))
        z = special.ndtri(np.maximum(low + (high - low) * rng.random((n_draws, len(lower))), 1e-300))
        return np.where(self.exact, lower, np.where(flip, -z, z))

    def rows(self, index: Array) -> CensoredRegression:
        """The same law for some of the runs."""
        return CensoredRegression(self.log_lower[index], self.log_upper[index], self.covariates[index])

    def hold(self, column: int, value: float, rest: Design | None = None) -> CensoredRegression:
        """The same data with one coefficient held at a value; its own covariate is 0 from then on.

        Args:
            column, value: which, and where.
            rest: the covariates without it, where they are at hand.
        """
        offset = value * self.covariates.column(column)
        return CensoredRegression(
            self.log_lower - offset, self.log_upper - offset, rest or self.covariates.without(column)
        )

    def profile_interval(self, column: int, confidence: float = 0.95) -> tuple[float, float]:
        """Profile-likelihood interval of one coefficient.

        The cut-off on twice the log-likelihood drop is n log(1 + t^2 / (n - p)) with Student's t on n - p degrees of
        freedom, n counting uncensored runs: exact for uncensored Gaussian data, chi-squared for many runs.
        """
        best = self._best
        beta, sigma, top = best.beta[0], float(best.sigma[0]), float(best.log_likelihood[0])
        t = stats.t.ppf(0.5 + confidence / 2, self.degrees_of_freedom)
        cut = math.sqrt(self.n_uncensored * math.log1p(t * t / self.degrees_of_freedom))
        step = t * math.sqrt(max(float(self.variances(beta, sigma, np.array([column]))[0]), 1e-16))
        rest = self.covariates.without(column)

        def excess(value: float) -> float:  # a root of the drop, nearly linear in the value, for quick root finding
            start = np.append(beta, sigma)
            start[column] = 0.0
            drop = 2 * (top - float(self.hold(column, value, rest).fit(start=start).log_likelihood[0]))
            return math.sqrt(max(drop, 0.0)) - cut

        ends = []
        for sign in (-1, 1):
            reach, there = step, excess(beta[column] + sign * step)
            near, here = 0.0, -cut  # excess at the maximum
            while there < 0:
                near, here = reach, there
                reach *= 1.5
                if reach > 1e4 * step:
                    return -math.inf, math.inf
                there = excess(beta[column] + sign * reach)
            root = _root(excess, beta[column] + sign * near, here, beta[column] + sign * reach, there, 1e-4 * step)
            ends.append(root)
        return float(ends[0]), float(ends[1])

    def wald_intervals(self, columns: Array) -> Array:
        """95% intervals (len(columns), 2) of estimate and standard error with Student's t: quick, symmetric."""
        beta, sigma = self._best.beta[0], float(self._best.sigma[0])
        reach = stats.t.ppf(0.975, self.degrees_of_freedom) * np.sqrt(self.variances(beta, sigma, columns))
        return np.stack([beta[columns] - reach, beta[columns] + reach], axis=-1)

    def likelihood_ratio(self, reduced: CensoredRegression, df: int) -> tuple[float, float]:
        """Twice the log-likelihood gain over a nested model, and its p-value.

        The p-value refers (exp(LR / n) - 1) (n - p) / df to Fisher's F with df and n - p degrees of freedom, n counting
        uncensored runs: exact for uncensored Gaussian data, and the chi-squared test for many runs.
        """
        lr = max(2 * float(self._best.log_likelihood[0] - reduced._best.log_likelihood[0]), 0.0)
        return lr, corrected_p_value(lr, df, self.n_uncensored, self.degrees_of_freedom)

    # Everything below works on psi = (eta, theta), shape (B, p + 1).

    @cached_property
    def _best(self) -> AFTFit:
        return self.fit()

    @cached_property
    def _ones(self) -> Array:
        return np.ones((1, len(self.log_lower)))

    @cached_property
    def _lower(self) -> Array:
        """(n,) derivative of the standardised lower end in theta; in eta it is minus the covariates."""
        return np.where(np.isfinite(self.log_lower), self.log_lower, 0.0)

    @cached_property
    def _upper(self) -> Array:
        return np.where(np.isfinite(self.log_upper), self.log_upper, 0.0)

    def _least_squares(self) -> Array:
        """Coefficients and sigma (p + 1,) from interval mid-points; censored runs enter at the end they have."""
        middle = np.where(np.isfinite(self.log_lower), self.log_lower, self.log_upper)
        middle = np.where(self.informative, (middle + np.where(self.informative, self.log_upper, 0)) / 2, middle)
        beta = least_squares(self.covariates, middle)
        return np.append(beta, max(float(np.std(middle - self.means(beta))), 1e-3))

    def _scores(self, beta: Array, sigma: float) -> tuple[Array, Array]:
        """Each run's derivative (n,), (n,) of its log-likelihood in its standardised mean and in theta."""
        ends = self._ends((np.append(beta, 1.0) / sigma)[None])
        in_theta = ends.g_lower[0] * self._lower + ends.g_upper[0] * self._upper
        return -(ends.g_lower + ends.g_upper)[0], in_theta + np.where(self.exact, sigma, 0.0)

    def _information(self, beta: Array, sigma: float) -> tuple[Arrow, bool, float]:
        """The observed information in (eta, theta), or in eta alone where sigma is below the resolution; whether it is
        not; and the factor from its inverse to the covariance of beta."""
        resolved = sigma > self.resolution
        sigma = max(sigma, self.resolution)
        information = -self._evaluate((np.append(beta, 1.0) / sigma)[None], self._ones)[2]
        scale = sigma**2 * self.n_uncensored / max(self.degrees_of_freedom, 1)
        return _ridged(information if resolved else information.without_last()), resolved, scale

    def _ends(self, psi: Array) -> Ends:
        mean = self.covariates.times(psi[:, :-1])  # (B, n)
        theta = psi[:, -1:]
        lower = theta * self.log_lower - mean
        upper = theta * self.log_upper - mean
        exact = self.exact
        if not exact.any():
            return interval_terms(lower, upper)
        z = lower[:, exact]
        upper[:, exact] = math.inf  # any proper interval: overwritten
        ends = interval_terms(lower, upper)
        ends.value[:, exact] = np.log(theta) - z * z / 2 - LOG_SQRT_2PI
        ends.g_lower[:, exact], ends.g_upper[:, exact] = -z, 0.0
        ends.c_lower[:, exact], ends.c_upper[:, exact], ends.c_mixed[:, exact] = -1.0, 0.0, 0.0
        return ends

    def _evaluate(self, psi: Array, weights: Array) -> tuple[Array, Array, Arrow]:
        """Weighted log-likelihood (B,), gradient (B, p + 1) and Hessian (B, p + 1, p + 1)."""
        ends = self._ends(psi)
        lower, upper = self._lower, self._upper
        value = (weights * ends.value).sum(1)
        in_theta = (weights * ends.g_lower) @ lower + (weights * ends.g_upper) @ upper
        c_lower, c_upper = weights * (ends.c_lower + ends.c_mixed), weights * (ends.c_upper + ends.c_mixed)
        mixed = (weights * ends.c_mixed) @ ((upper - lower) ** 2)
        corner = c_lower @ lower**2 + c_upper @ upper**2 - mixed
        exact_weight = weights[:, self.exact].sum(1)
        in_theta += exact_weight / psi[:, -1]
        corner -= exact_weight / psi[:, -1] ** 2
        gradient = np.column_stack([self.covariates.sums(-weights * (ends.g_lower + ends.g_upper)), in_theta])
        hessian = self.covariates.arrow(c_lower + c_upper, -(c_lower * lower + c_upper * upper), corner)
        return value, gradient, hessian

    def _newton(self, psi0: Array, weights: Array, max_iterations: int) -> tuple[Array, Array, Array]:
        B = len(weights)
        theta_max = 1 / self.sigma_floor
        psi = np.tile(psi0, (B, 1))
        value, gradient, hessian = self._evaluate(psi, weights)
        direction, decrement = _newton_step(psi, gradient, hessian, theta_max)
        step = np.ones(B)
        open_ = np.arange(B)
        for _ in range(max_iterations):
            if len(open_) == 0:
                break
            trial = psi[open_] + step[open_, None] * direction[open_]
            new_value, gradient, hessian = self._evaluate(trial, weights[open_])
            better = new_value >= value[open_] - 1e-10 * (1 + np.abs(value[open_]))
            step[open_] = np.where(better, 1.0, step[open_] / 2)
            moved = open_[better]
            psi[moved], value[moved] = trial[better], new_value[better]
            direction[moved], decrement[moved] = _newton_step(psi[moved], gradient[better], hessian[better], theta_max)
            open_ = open_[(decrement[open_] > 1e-9) & (step[open_] > 1e-10)]
        converged = decrement <= 1e-6
        psi[converged] += direction[converged]  # a last full step: quadratic convergence makes it exact
        return psi, value, converged


def corrected_p_value(lr: float, df: int, n: int, degrees_of_freedom: int) -> float:
    """P-value of a likelihood-ratio statistic through Fisher's F; see `CensoredRegression.likelihood_ratio`."""
    return float(stats.f.sf(math.expm1(lr / n) * degrees_of_freedom / df, df, degrees_of_freedom))


def least_squares(design: Design, values: Array) -> Array:
    """Coefficients (p,) of least squares on values (n,)."""
    solve = _ridged(design.gram()).solve
    beta = solve(design.sums(values[None]))
    return (beta + solve(design.sums(values[None] - design.times(beta))))[0]  # refined once


def _ridged(information: Arrow) -> Arrow:
    return information.raised(1e-12 * information.largest() + 1e-300)


def _root(
    function: Callable[[float], float], near: float, here: float, far: float, there: float, tolerance: float
) -> float:
    """A root between near and far, with values here <= 0 <= there, by false position (Illinois)."""
    for _ in range(100):
        at = (near * there - far * here) / (there - here)
        found = function(at)
        if found <= 0:
            step, near, here, there = at - near, at, found, there / 2
        else:
            step, far, there, here = far - at, at, found, here / 2
        if abs(step) < tolerance or abs(far - near) < tolerance or found == 0:
            return at
    return at


def _newton_step(psi: Array, gradient: Array, hessian: Arrow, theta_max: float) -> tuple[Array, Array]:
    """Newton direction (B, q) that keeps theta in (theta / 8, theta_max], and the decrement (B,)."""
    information = _ridged(-hessian)
    direction = information.solve(gradient)
    theta = psi[:, -1]
    allowed = np.clip(direction[:, -1], -0.875 * theta, theta_max - theta)
    bound = allowed != direction[:, -1]
    if bound.any():  # the best step of the quadratic model given theta's
        d_theta, rest = allowed[bound], information[bound]
        right = gradient[bound, :-1] - rest.last() * d_theta[:, None]
        direction[bound, :-1] = rest.without_last().solve(right)
        direction[bound, -1] = d_theta
    return direction, np.abs(np.einsum("bi,bi->b", gradient, direction))
