"""Covariates in parts against the same covariates in one matrix."""

from __future__ import annotations

import numpy as np
import pytest

from twoclocks.empirics.statistics.aft import CensoredRegression, least_squares
from twoclocks.empirics.statistics.designs import Design

G, N = 9, 120


def design(own: int, shared: int, rng: np.random.Generator) -> Design:
    group = rng.permutation(np.arange(N) % G)
    return Design(group, G, rng.normal(size=(N, own)) + 1, rng.normal(size=(N, shared)))


PARTS = [(1, 0), (1, 1), (2, 0), (2, 3), (0, 4)]


@pytest.mark.parametrize(("own", "shared"), PARTS)
def test_sums_products_and_solutions(own: int, shared: int) -> None:
    rng = np.random.default_rng(own + 10 * shared)
    d = design(own, shared, rng)
    matrix = np.asarray(d)
    p = matrix.shape[1]
    assert d.shape == (N, p)
    for k in range(p):
        assert (d.column(k) == matrix[:, k]).all()
        assert (np.asarray(d.without(k)) == np.where(np.arange(p) == k, 0, matrix)).all()
    beta, values = rng.normal(size=(3, p)), rng.uniform(0.5, 2, (3, N))
    assert d.times(beta) == pytest.approx(beta @ matrix.T, rel=1e-12, abs=1e-12)
    assert d.sums(values) == pytest.approx(values @ matrix, rel=1e-12, abs=1e-12)
    arrow = d.arrow(values, 0.1 * values, np.full(3, 50.0))
    full = np.zeros((3, p + 1, p + 1))
    full[:, :p, :p] = np.einsum("bn,ni,nj->bij", values, matrix, matrix)
    full[:, p, :p] = full[:, :p, p] = 0.1 * values @ matrix
    full[:, p, p] = 50
    assert arrow.dense() == pytest.approx(full, rel=1e-10, abs=1e-10)
    right = rng.normal(size=(3, p + 1))
    assert arrow.solve(right) == pytest.approx(np.linalg.solve(full, right[..., None])[..., 0], rel=1e-8)
    inverse = np.linalg.inv(full)
    assert arrow.inverse_diagonal() == pytest.approx(np.einsum("bii->bi", inverse), rel=1e-8)
    y = rng.normal(size=N)
    assert least_squares(d, y) == pytest.approx(np.linalg.lstsq(matrix, y, rcond=None)[0], rel=1e-9)


@pytest.mark.parametrize(("own", "shared"), PARTS)
def test_a_regression_in_parts_is_the_same_regression(own: int, shared: int) -> None:
    rng = np.random.default_rng(1 + own + 10 * shared)
    d = design(own, shared, rng)
    lower = np.floor((1 + rng.normal(size=N)) / 0.3) * 0.3
    upper = np.where(rng.random(N) < 0.2, np.inf, lower + 0.3)
    upper[:3] = lower[:3]
    parts, whole = CensoredRegression(lower, upper, d), CensoredRegression(lower, upper, np.asarray(d))
    weights = rng.uniform(0, 2, (4, N))
    a, b = parts.fit(weights), whole.fit(weights)
    assert a.converged.all()
    assert a.beta == pytest.approx(b.beta, rel=1e-9, abs=1e-9)
    assert a.sigma == pytest.approx(b.sigma, rel=1e-9)
    beta, sigma = whole.fit().beta[0], float(whole.fit().sigma[0])
    covariance = whole.covariance(beta, sigma)
    assert parts.covariance(beta, sigma) == pytest.approx(covariance, rel=1e-7, abs=1e-9)
    columns = np.array([0, len(beta) - 1])
    assert parts.variances(beta, sigma, columns) == pytest.approx(covariance[columns, columns], rel=1e-7)
    assert parts.influence(beta, sigma, 0) == pytest.approx(whole.influence(beta, sigma, 0), rel=1e-6, abs=1e-8)
    assert parts.profile_interval(0) == pytest.approx(whole.profile_interval(0), rel=1e-7)


def test_influence_is_what_a_run_more_or_less_does() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=200)
    y = 1 + x + 0.5 * rng.normal(size=200)
    lower = np.floor(y / 0.2) * 0.2
    model = CensoredRegression(lower, lower + 0.2, np.column_stack([np.ones(200), x]))
    fit = model.fit()
    influence = model.influence(fit.beta[0], float(fit.sigma[0]), 1)
    step = 1e-4
    weights = 1 + step * np.eye(200)[[0, 17, 99]]
    moved = (model.fit(weights).beta[:, 1] - fit.beta[0, 1]) / step
    assert moved == pytest.approx(influence[[0, 17, 99]], rel=1e-2, abs=1e-6)


def test_rank_is_that_of_the_whole_matrix() -> None:
    rng = np.random.default_rng(3)
    d = design(1, 2, rng)
    everyone = np.ones(N, dtype=bool)
    assert d.full_rank(everyone)
    assert not d.full_rank(everyone & (d.group != 4))  # a group without runs
    assert not d.full_rank(np.zeros(N, dtype=bool))
    doubled = Design(d.group, G, d.own, np.column_stack([d.shared, d.shared.sum(1)]))
    assert not doubled.full_rank(everyone)
    constant = Design(d.group, G, np.ones((N, 1)), d.group[:, None].astype(float))  # within the intercepts' span
    assert not constant.full_rank(everyone)
    flat = Design(d.group, G, np.column_stack([np.ones(N), np.where(d.group == 2, 3.0, d.own[:, 0])]), d.shared[:, :0])
    assert not flat.full_rank(everyone)  # one group with a single value of x
