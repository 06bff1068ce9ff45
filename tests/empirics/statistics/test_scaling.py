"""The scaling fit against enumeration, lifelines, statsmodels, and its own promises of coverage."""

from __future__ import annotations

import math
import tracemalloc
import warnings
from dataclasses import replace

import mpmath
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

import twoclocks as tc
from twoclocks.empirics.statistics.aft import CensoredRegression
from twoclocks.empirics.statistics.normal_intervals import log_normal_mass
from twoclocks.empirics.statistics.resampling import (
    bca_interval,
    cluster_weights,
    percentile_interval,
    stratified_weights,
)
from twoclocks.empirics.statistics.scaling_tests import normality_test

SIZES = (128, 256, 512, 1024)


def sweep(
    rng: np.random.Generator,
    sigma: float = 0.25,
    exponents: tuple[float, ...] = (1.0, 1.0, 1.0),
    censored: float = 0.3,
    n_seeds: int = 5,
    ratio: float = 1.3,
) -> pd.DataFrame:
    """A runs table with 4 values of N, one group per exponent, a common last step and a geometric evaluation grid."""
    rows = [(g, N, s) for g in range(len(exponents)) for N in SIZES for s in range(n_seeds)]
    group, N, seed = np.array(rows).T
    log_tau = math.log(3) + 0.4 * group + np.array(exponents)[group] * np.log(N) + sigma * rng.normal(size=len(rows))
    grid = rng.uniform(0, math.log(ratio)) + math.log(ratio) * np.arange(60)
    after = np.searchsorted(grid, log_tau)
    end = np.quantile(log_tau, 1 - censored) if censored else grid[-1]
    last = np.abs(grid - end).argmin()  # the last evaluation
    late = after > last
    table = pd.DataFrame({"rule": np.char.add("parity:6x6,G=", (group + 2).astype(str)), "n_train": N, "seed": seed})
    table["tau_mem_lower"] = np.exp(grid[np.where(late, last, after - 1)])
    table["tau_mem_upper"] = np.where(late, np.inf, np.exp(grid[after]))
    return table


def exact_sweep(rng: np.random.Generator) -> pd.DataFrame:
    df = sweep(rng, censored=0.0)
    middle = np.sqrt(df["tau_mem_lower"] * df["tau_mem_upper"]) * np.exp(0.05 * rng.normal(size=len(df)))
    return df.assign(tau_mem_lower=middle, tau_mem_upper=middle)


@pytest.mark.parametrize(
    ("low", "high"),
    [(-1, 1), (-math.inf, -40), (37, math.inf), (-30, -29.5), (8, 8.001), (-1e-5, 2e-5), (25, 25.0001), (3, 3 + 1e-9)],
)
def test_log_normal_mass_in_the_tails(low: float, high: float) -> None:
    with mpmath.workdps(400):
        want = float(mpmath.log(mpmath.ncdf(high) - mpmath.ncdf(low)))
    got = log_normal_mass(np.array([float(low)]), np.array([float(high)]))[0]
    assert got == pytest.approx(want, rel=1e-9 if high - low > 1e-8 else 1e-7)


def test_derivatives_against_finite_differences() -> None:
    rng = np.random.default_rng(0)
    lower = rng.normal(size=8)
    upper = lower + rng.uniform(0.1, 1, 8)
    upper[:2], lower[2:4], upper[5] = np.inf, -np.inf, lower[5]
    model = CensoredRegression(lower, upper, np.column_stack([np.ones(8), rng.normal(size=8)]))
    psi, weights = np.array([[0.3, -0.5, 1.7]]), rng.uniform(0, 2, (1, 8))
    _, gradient, hessian = model._evaluate(psi, weights)
    for k, step in enumerate(1e-5 * np.eye(3)):
        up, down = model._evaluate(psi + step, weights), model._evaluate(psi - step, weights)
        assert (up[0] - down[0]) / 2e-5 == pytest.approx(gradient[:, k], rel=1e-6)
        assert (up[1] - down[1])[0] / 2e-5 == pytest.approx(hessian.dense()[0, k], rel=1e-5, abs=1e-6)
    scores, _ = model.scores(psi[0, :2] / psi[0, 2], 1 / psi[0, 2])
    assert (weights[0] @ scores) == pytest.approx(gradient[0], rel=1e-10)


def lifelines_fit(model: CensoredRegression) -> tuple[np.ndarray, float]:
    """Coefficients with log sigma last, and the log-likelihood."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lifelines import LogNormalAFTFitter

        names = [f"x{k}" for k in range(1, model.design.shape[1])]
        df = pd.DataFrame(model.design[:, 1:], columns=names)
        # lifelines cannot start from a lower end of 0; no onset comes before exp(-30)
        df["lower"], df["upper"] = np.exp(np.maximum(model.log_lower, -30)), np.exp(model.log_upper)
        fitted = LogNormalAFTFitter().fit_interval_censoring(df, "lower", "upper", fit_options={"gtol": 3e-7})
    params = fitted.params_
    order = [("mu_", "Intercept"), *[("mu_", name) for name in names], ("sigma_", "Intercept")]
    log_steps = model.log_lower[model.exact].sum()  # lifelines takes densities per step, we of log tau
    return np.array([params[key] for key in order]), float(fitted.log_likelihood_ + log_steps)


def random_data(seed: int) -> CensoredRegression:
    """Exact, interval, left- and right-censored data in one to three groups; 0% (seed 0) to 50% (seed 49) censored."""
    rng = np.random.default_rng(seed)
    n, groups = int(rng.integers(30, 80)), int(rng.integers(1, 4))
    group = np.arange(n) % groups
    log_x = np.log(rng.choice(SIZES, n))
    design = np.column_stack([np.ones(n), *[(group == g).astype(float) for g in range(1, groups)], log_x])
    grid = math.log(rng.uniform(1.1, 2))
    sigma = grid * rng.uniform(0.5, 3)  # far finer than the grid, the maximum would be at sigma = 0
    y = 1 + 0.3 * group + rng.uniform(0.5, 1.5) * log_x + sigma * rng.normal(size=n)
    lower = np.floor(y / grid) * grid
    upper = lower + grid
    exact = rng.random(n) < rng.choice([0.0, 0.3])
    lower[exact], upper[exact] = y[exact], y[exact]
    late = y > np.quantile(y, 1 - 0.5 * seed / 49)
    lower[late], upper[late] = np.where(exact, y - 0.1, lower)[late], np.inf
    early = (rng.random(n) < 0.05) & ~late & ~exact
    lower[early] = -np.inf
    return CensoredRegression(lower, upper, design)


def assert_agrees_with_lifelines(seed: int) -> None:
    model = random_data(seed)
    ours = model.fit()
    coefficients, log_likelihood = lifelines_fit(model)
    assert ours.converged.all()
    assert np.append(ours.beta[0], np.log(ours.sigma[0])) == pytest.approx(coefficients, abs=1e-4)
    assert ours.log_likelihood[0] == pytest.approx(log_likelihood, abs=1e-3)
    assert ours.log_likelihood[0] >= log_likelihood - 1e-8


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_lifelines(seed: int) -> None:
    assert_agrees_with_lifelines(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 50))
def test_agrees_with_lifelines_on_more_data(seed: int) -> None:
    assert_agrees_with_lifelines(seed)


def test_exact_onsets_are_least_squares() -> None:
    df = exact_sweep(np.random.default_rng(3))
    fit = tc.fit_scaling(df, by="rule", n_boot=0)
    y, x = np.log(df["tau_mem_upper"]), np.log(df["n_train"])
    design = np.column_stack([pd.get_dummies(df["rule"]).astype(float), x])
    ols = sm.OLS(y.to_numpy(), design).fit()
    assert fit.beta == pytest.approx(ols.params, rel=1e-8)
    assert fit.sigma**2 * len(df) == pytest.approx(ols.ssr, rel=1e-8)  # maximum likelihood divides by n, not n - p
    assert fit.log_likelihood == pytest.approx(ols.llf - y.sum(), rel=1e-10)  # density per step, not per log step
    assert fit.ci == pytest.approx(ols.conf_int()[-1], rel=1e-6)  # the profile's cut-off is exact here
    assert fit.tests["exponent_one"].p_value == pytest.approx(ols.t_test("x4 = 1").pvalue.item(), rel=1e-6)
    within = sm.OLS(y.to_numpy(), sm.add_constant(x.to_numpy())).fit()
    assert fit.tests["no_rule_effect"].p_value == pytest.approx(ols.compare_f_test(within)[1], rel=1e-6)
    assert fit.regression.covariance(fit.beta, fit.sigma) == pytest.approx(ols.cov_params(), rel=1e-6)
    assert fit.ols.exponent == pytest.approx(fit.exponent, rel=1e-10)
    assert fit.ols.ci == pytest.approx(ols.conf_int()[-1], rel=1e-9)
    assert list(fit.ols.prefactor.values()) == pytest.approx(np.exp(ols.params[:-1]), rel=1e-9)
    assert fit.ols.sigma == pytest.approx(np.sqrt(ols.scale), rel=1e-9)
    assert fit.ols.r_squared == pytest.approx(ols.rsquared, rel=1e-9)


def test_resamples_fit_as_if_alone() -> None:
    df = sweep(np.random.default_rng(4))
    model = tc.fit_scaling(df, by="rule", n_boot=0).regression
    weights = np.random.default_rng(0).multinomial(len(df), np.full(len(df), 1 / len(df)), size=6).astype(float)
    together = model.fit(weights)
    for b in range(6):
        repeated = np.repeat(np.arange(len(df)), weights[b].astype(int))
        alone = CensoredRegression(model.log_lower[repeated], model.log_upper[repeated], model.design[repeated]).fit()
        assert together.beta[b] == pytest.approx(alone.beta[0], rel=1e-7)
        assert together.sigma[b] == pytest.approx(alone.sigma[0], rel=1e-7)


def test_weights_have_unbiased_variance() -> None:
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1, 2], [5, 4, 1])
    weights = stratified_weights(strata, 40000, rng)
    for label, m in ((0, 5), (1, 4), (2, 1)):
        assert weights[:, strata == label].sum(1) == pytest.approx(m)
    values = rng.normal(size=5)
    means = weights[:, :5] @ values / 5
    assert means.var() == pytest.approx(values.var(ddof=1) / 5, rel=0.03)
    clustered = cluster_weights(np.array([7, 8, 9, 7, 8, 9]), 100, rng)
    assert (clustered[:, :3] == clustered[:, 3:]).all()


def test_bca_corrects_bias_and_skewness() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=200_000)
    symmetric = np.array([-1.0, 1.0])
    assert bca_interval(draws, 0.0, symmetric) == pytest.approx(percentile_interval(draws), abs=0.02)
    assert bca_interval(draws, 0.2, symmetric)[0] > percentile_interval(draws)[0] + 0.3  # draws fall below the estimate
    x = rng.exponential(size=30)  # the mean of a skewed sample: the interval reaches further up
    means = rng.multinomial(30, np.full(30, 1 / 30), size=20_000) @ x / 30
    low, high = bca_interval(means, x.mean(), x - x.mean())
    assert high - x.mean() > x.mean() - low


@pytest.mark.slow
def test_coverage_of_the_default_interval() -> None:
    """Acceptance: 500 sweeps, 95% intervals cover between 0.925 and 0.975; least squares is biased."""
    rng = np.random.default_rng(5)
    cover, least_squares, censored = [], [], []
    for _ in range(500):
        fit = tc.fit_scaling(sweep(rng), by="rule", n_boot=0)
        low, high = fit.ci
        cover.append(low <= 1 <= high)
        seen = np.isfinite(fit.regression.log_upper)
        design, y = fit.regression.design[seen], fit.regression.log_upper[seen]
        least_squares.append(np.linalg.lstsq(design, y, rcond=None)[0][-1])
        censored.append(fit.n_censored / fit.n_runs)
    assert np.mean(censored) == pytest.approx(0.3, abs=0.04)
    assert 0.925 <= np.mean(cover) <= 0.975
    assert np.mean(least_squares) < 0.95


@pytest.mark.slow
def test_coverage_of_the_bootstrap() -> None:
    rng = np.random.default_rng(6)
    covers = []
    for k in range(300):
        fit = tc.fit_scaling(sweep(rng), by="rule", n_boot=1000, seed=k)
        covers.append([low <= 1 <= high for low, high in (fit.ci_percentile, fit.ci_bca)])
    assert (np.abs(np.mean(covers, axis=0) - 0.945) < 0.035).all()


def test_separate_slopes_and_their_test() -> None:
    df = sweep(np.random.default_rng(7), exponents=(0.8, 1.2), censored=0.1)
    fit = tc.fit_scaling(df, by="rule", slope="separate", n_boot=200)
    assert list(fit.exponent) == ["parity:6x6,G=2", "parity:6x6,G=3"]
    for key, truth in zip(fit.groups, (0.8, 1.2), strict=True):
        low, high = fit.ci[key]
        assert low < fit.exponent[key] < high
        assert fit.exponent[key] == pytest.approx(truth, abs=0.2)
        alone = tc.fit_scaling(df[df["rule"] == key], by="rule", n_boot=0)
        assert fit.exponent[key] == pytest.approx(alone.exponent, abs=0.05)  # sigma is shared, so not the same fit
    assert fit.tests["equal_slopes"].p_value < 0.01
    shared = tc.fit_scaling(df, by="rule", n_boot=0)
    assert fit.aic < shared.aic
    assert fit.tests["equal_slopes"].statistic == pytest.approx(
        2 * (fit.log_likelihood - shared.log_likelihood), rel=1e-6
    )


def test_lack_of_fit_is_seen() -> None:
    df = sweep(np.random.default_rng(8), censored=0.0)
    bent = df.copy()
    bent.loc[bent["n_train"] > 300, ["tau_mem_lower", "tau_mem_upper"]] *= 3
    fitted = tc.fit_scaling(bent, by="rule", n_boot=0)
    assert fitted.failures[0].startswith("a power law is rejected (p = ")
    assert "a power law is rejected (p = " in fitted.plot().get_title()
    assert "assumptions rejected at 5%: a power law is rejected" in fitted.summary()
    assert not tc.fit_scaling(df, by="rule", n_boot=0).failures
    assert tc.fit_scaling(df, by="rule", n_boot=0).tests["log_linear"].p_value > 0.05
    assert tc.fit_scaling(bent, by="rule", n_boot=0).tests["log_linear"].p_value < 0.01


def test_normality_test_sees_heavy_tails() -> None:
    rng = np.random.default_rng(9)
    x = np.log(rng.choice(SIZES, 150))
    design = np.column_stack([np.ones(150), x])
    p_values = []
    for noise in (rng.normal(size=150), rng.standard_t(2, size=150)):
        lower = np.floor((x + 0.3 * noise) / 0.2) * 0.2
        p_values.append(normality_test(CensoredRegression(lower, lower + 0.2, design)).p_value)
    assert p_values[0] > 0.05
    assert p_values[1] < 1e-3


@pytest.mark.slow
def test_tests_have_their_size() -> None:
    rng = np.random.default_rng(10)
    rejected = []
    for _ in range(400):
        tests = tc.fit_scaling(sweep(rng, exponents=(1.0, 1.0)), by="rule", n_boot=0).tests
        names = ("exponent_one", "equal_slopes", "log_linear", "normal_residuals")
        rejected.append([tests[name].p_value < 0.05 for name in names])
    assert (np.abs(np.mean(rejected, axis=0) - 0.05) < 0.035).all()


def test_scatter_finer_than_the_grid_widens_the_interval() -> None:
    df = sweep(np.random.default_rng(11), sigma=0.01, censored=0.2)
    fit = tc.fit_scaling(df, by="rule", n_boot=100)
    assert fit.at_resolution
    assert "finer than the evaluation grid" in fit.summary()
    assert fit.tests["normal_residuals"].p_value is None
    with pytest.raises(ValueError, match="undecided"):
        fit.interval("percentile")
    fit.plot()
    low, high = fit.ci
    assert low < 1 < high
    assert 0.03 < high - low < 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_units_move_the_prefactor_alone(seed: int, steps: float, samples: float) -> None:
    df = sweep(np.random.default_rng(seed))
    fit = tc.fit_scaling(df, by="rule", n_boot=0)
    other = df.assign(
        n_train=df["n_train"] * samples,
        tau_mem_lower=df["tau_mem_lower"] * steps,
        tau_mem_upper=df["tau_mem_upper"] * steps,
    ).sample(frac=1, random_state=seed)
    moved = tc.fit_scaling(other, by="rule", n_boot=0)
    assert moved.exponent == pytest.approx(fit.exponent, rel=1e-6)
    assert moved.sigma == pytest.approx(fit.sigma, rel=1e-6)
    assert moved.log_likelihood == pytest.approx(fit.log_likelihood, rel=1e-6)
    for key in fit.groups:
        assert moved.prefactor[key] == pytest.approx(fit.prefactor[key] * steps * samples**-fit.exponent, rel=1e-5)


def test_seeded_bootstrap_repeats() -> None:
    df = sweep(np.random.default_rng(12))
    first, again = (tc.fit_scaling(df, by="rule", n_boot=200, seed=1) for _ in range(2))
    assert (first.draws == again.draws).all()
    assert first.ci_bca == again.ci_bca
    by_seed = tc.fit_scaling(df, by="rule", n_boot=200, seed=1, resample="seed")
    for low, high in (by_seed.ci_percentile, by_seed.ci_bca, first.interval("percentile", 0.5)):
        assert low < high
    assert by_seed.exponent == first.exponent
    assert np.diff(first.interval("profile", 0.5)) < np.diff(first.ci)


def test_text_and_tables() -> None:
    fit = tc.fit_scaling(sweep(np.random.default_rng(13)).assign(model="gpt_a"), n_boot=300)
    assert fit.groups[0] == ("gpt_a", "parity:6x6,G=2")
    frame = fit.to_frame()
    assert list(frame["rule"]) == [f"parity:6x6,G={g}" for g in (2, 3, 4)]
    assert frame["n_runs"].sum() == 60
    assert frame["n_censored"].sum() == fit.n_censored
    assert ((frame["prefactor_low"] < frame["prefactor"]) & (frame["prefactor"] < frame["prefactor_high"])).all()
    assert fit.to_markdown().count("\n") == 4
    assert r"gpt\_a" in fit.to_latex()
    text = fit.summary()
    for word in (
        "60 runs",
        "profile",
        "bca",
        "least squares",
        "AIC",
        "McKelvey",
        "equal slopes",
        "normal residuals",
        "log tau_mem = log c_group + exponent log n_train + sigma * Normal(0, 1)",
        "standard deviation of the log",
        f"{fit.n_censored} censored",
        "0 earlier than the first",
        "n_train from 128 to 1024, 4 values; 5 seeds",
        f"{60 - fit.n_censored - 4} degrees of freedom",
        "converged; 300 resamples of runs within cells",
        "equal scatter",
        "at 5%",
        "twoclocks ",
        "CITATION.cff",
    ):
        assert word in text
    assert 0.5 < fit.pseudo_r2 < 1
    assert np.average(fit.residuals["residual"]) == pytest.approx(0, abs=1e-6)  # the score equation of the intercepts
    low, high = fit.band([100, 1000], fit.groups[0])
    median = fit.predict([100, 1000], fit.groups[0])
    assert (low < median).all()
    assert (median < high).all()


def test_without_groups_or_bootstrap(tmp_path: object) -> None:
    df = sweep(np.random.default_rng(14), exponents=(1.0,))
    fit = tc.fit_scaling(df, by=(), n_boot=0)
    assert isinstance(fit.prefactor, float)
    assert fit.predict([1.0])[0] == pytest.approx(fit.prefactor)
    assert "no bootstrap" in fit.summary()
    with pytest.raises(ValueError, match="n_boot"):
        fit.interval("percentile")
    with pytest.raises(ValueError, match="method"):
        fit.interval("wald")


def test_figure_marks_every_run(tmp_path) -> None:
    df = sweep(np.random.default_rng(15))
    df.loc[0, "tau_mem_lower"] = 0.0
    fit = tc.fit_scaling(df, by="rule", n_boot=100)
    ax = fit.plot()
    ax.figure.savefig(tmp_path / "fit.png")
    assert ax.get_xscale() == ax.get_yscale() == "log"
    points = sum(len(c.lines[0].get_xdata()) for c in ax.containers)
    assert points == 60
    assert f"{fit.n_censored} censored" in ax.get_title()
    assert tc.fit_scaling(df, by=(), n_boot=0).plot(ax) is ax


def change(**columns: object) -> object:
    return lambda df: df.assign(**columns)


def set_cell(column: str, value: object) -> object:
    def apply(df: pd.DataFrame) -> pd.DataFrame:
        df = df.astype({column: object})
        df.loc[3, column] = value
        return df

    return apply


DEGENERATE = {
    "one N": (lambda df: df[df["n_train"] == 128], "at least two values"),
    "all censored": (change(tau_mem_upper=np.inf), "all 60 runs are censored"),
    "one seed": (lambda df: df[df["seed"] == 0], "share one seed"),
    "missing upper": (set_cell("tau_mem_upper", np.nan), "row 3: tau_mem_upper is missing"),
    "missing x": (set_cell("n_train", None), "row 3: n_train is missing"),
    "missing group": (set_cell("rule", None), "row 3: rule is missing"),
    "text": (set_cell("tau_mem_upper", "never"), "'never', not a number; write inf"),
    "duplicate": (lambda df: pd.concat([df, df.iloc[[5]]]), "row 60: a second run"),
    "negative": (set_cell("tau_mem_lower", -1.0), "at least 0"),
    "zero upper": (set_cell("tau_mem_upper", 0.0), "must be positive"),
    "reversed": (lambda df: df.assign(tau_mem_lower=df["tau_mem_upper"] + 1), "must be finite|at least tau_mem_lower"),
    "infinite lower": (set_cell("tau_mem_lower", np.inf), "must be finite"),
    "says nothing": (lambda df: df.assign(tau_mem_lower=0.0, tau_mem_upper=np.inf), "which says nothing"),
    "zero x": (set_cell("n_train", 0), "n_train must be positive"),
    "mixed units": (lambda df: df.assign(unit=np.where(df["seed"] > 2, "epochs", "steps")), "one unit"),
    "empty": (lambda df: df.iloc[:0], "empty"),
    "no such onset": (lambda df: df.drop(columns="tau_mem_lower"), "no column 'tau_mem_lower'"),
    "censored group": (
        lambda df: df.assign(tau_mem_upper=df["tau_mem_upper"].where(df["rule"] != "parity:6x6,G=4", np.inf)),
        "group 'parity:6x6,G=4' never shows tau_mem between two evaluations",
    ),
    "exact line": (
        lambda df: df.assign(tau_mem_lower=3.0 * df["n_train"], tau_mem_upper=3.0 * df["n_train"]),
        "on a line exactly",
    ),
    "few runs": (lambda df: df[df["rule"] == "parity:6x6,G=2"].iloc[[0, 6]], "2 uncensored runs for 2 coefficients"),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_tables_are_refused_in_one_line(name: str) -> None:
    damage, message = DEGENERATE[name]
    with pytest.raises(ValueError, match=message) as caught:
        tc.fit_scaling(damage(sweep(np.random.default_rng(16))), by="rule", n_boot=0)
    assert "\n" not in str(caught.value)


def test_one_run_in_each_cell_is_fitted_without_a_bootstrap_and_says_so() -> None:
    df = sweep(np.random.default_rng(16)).groupby(["rule", "n_train"]).sample(1, random_state=0)
    fit = tc.fit_scaling(df, by="rule")
    assert fit.single_runs
    low, high = fit.ci
    assert low < fit.exponent < high
    assert "take the power law for true" in fit.summary()
    assert fit.tests["log_linear"].p_value is None
    with pytest.raises(ValueError, match="every cell has a single run"):
        fit.interval("percentile")
    with pytest.raises(ValueError, match="every cell has a single run"):
        fit.band([100.0], fit.groups[0])


def test_separate_slopes_need_two_sizes_in_each_group() -> None:
    df = sweep(np.random.default_rng(17))
    late = (df["rule"] == "parity:6x6,G=4") & (df["n_train"] > 128)
    df.loc[late, "tau_mem_upper"] = np.inf
    with pytest.raises(ValueError, match="n_train=128 alone"):
        tc.fit_scaling(df, by="rule", slope="separate", n_boot=0)
    fit = tc.fit_scaling(df, by="rule", n_boot=0)
    assert fit.tests["equal_slopes"].p_value is None
    assert "undecided" in str(fit.tests["equal_slopes"])


@pytest.mark.parametrize(
    "options", [{"slope": "none"}, {"resample": "row"}, {"n_boot": -1}, {"by": "architecture"}, {"onset": "tau"}]
)
def test_bad_options(options: dict) -> None:
    with pytest.raises(ValueError, match=r".+"):
        tc.fit_scaling(sweep(np.random.default_rng(18)), **({"by": "rule"} | options))


def test_a_figure_without_a_trusted_bootstrap_has_no_band() -> None:
    fit = tc.fit_scaling(sweep(np.random.default_rng(19)), by="rule", n_boot=40)
    assert len(fit.plot().collections) > len(replace(fit, draws=fit.draws[:20]).plot().collections)


def test_an_unknown_group_is_named() -> None:
    fit = tc.fit_scaling(sweep(np.random.default_rng(20)), by="rule", n_boot=0)
    for group in ("parity:6x6,G=9", None):
        with pytest.raises(ValueError, match=r"one of \['parity:6x6,G=2', .*\], got"):
            fit.predict([64.0], group)


def test_group_columns_do_not_hide_behind_the_fit_columns() -> None:
    df = sweep(np.random.default_rng(21)).rename(columns={"rule": "x"})
    with pytest.raises(ValueError, match="cannot be called 'x'"):
        tc.fit_scaling(df, by="x", n_boot=0)


def test_a_run_that_says_nothing_is_left_out_and_counted() -> None:
    df = sweep(np.random.default_rng(22))
    spoilt = df.copy()
    spoilt.loc[3, ["tau_mem_lower", "tau_mem_upper"]] = [0.0, np.inf]
    fit, without = tc.fit_scaling(spoilt, by="rule", n_boot=0), tc.fit_scaling(df.drop(index=3), by="rule", n_boot=0)
    assert (fit.n_runs, fit.n_left_out, without.n_left_out) == (59, 1, 0)
    assert fit.exponent == without.exponent
    assert "1 more left out: (0, inf] says nothing" in fit.summary()


def test_groups_of_a_filtered_category_are_those_present() -> None:
    df = sweep(np.random.default_rng(23)).astype({"rule": "category"})
    kept = df[df["rule"] != "parity:6x6,G=4"]
    fit = tc.fit_scaling(kept, by=("rule",), n_boot=0)
    assert fit.groups == ("parity:6x6,G=2", "parity:6x6,G=3")
    assert fit.exponent == tc.fit_scaling(kept.astype({"rule": str}), by="rule", n_boot=0).exponent


def test_a_column_of_groups_may_be_called_group() -> None:
    df = sweep(np.random.default_rng(24)).rename(columns={"rule": "group"})
    fit = tc.fit_scaling(df, by="group", n_boot=0)
    assert fit.to_frame()["group"].tolist() == [f"parity:6x6,G={g}" for g in (2, 3, 4)]
    assert fit.table["group"].tolist() == df["group"].tolist()
    assert fit.exponent == tc.fit_scaling(df.rename(columns={"group": "rule"}), by="rule", n_boot=0).exponent
    assert fit.tests["no_group_effect"].p_value < 1e-3
    fit.plot()
    with pytest.raises(ValueError, match="cannot be called 'sigma'"):
        tc.fit_scaling(df.rename(columns={"group": "sigma"}), by="sigma", n_boot=0)


def test_the_unit_is_the_columns() -> None:
    df = sweep(np.random.default_rng(25)).assign(unit="epochs")
    fit = tc.fit_scaling(df, by="rule", n_boot=0)
    assert "prefactor, epochs" in fit.summary()
    assert fit.plot().get_ylabel().endswith("(epochs)")
    assert "steps" not in fit.summary()
    assert "prefactor, steps" in tc.fit_scaling(df.drop(columns="unit"), by="rule", n_boot=0).summary()


NAMES = (r"_base", r"a$b$c", r"\alpha_1", r"$x_{1}", r"50% \$")


def test_names_in_a_figure_are_no_formulas(tmp_path) -> None:
    df = sweep(np.random.default_rng(26), exponents=(1.0,) * 5)
    df["rule"] = df["rule"].map(dict(zip(sorted(df["rule"].unique()), NAMES, strict=True)))
    df = df.rename(columns={"n_train": "n_$train$", "tau_mem_lower": "t_$a$_lower", "tau_mem_upper": "t_$a$_upper"})
    ax = tc.fit_scaling(df, onset="t_$a$", x="n_$train$", by="rule", n_boot=0).plot()
    ax.figure.savefig(tmp_path / "fit.png")
    texts = ax.get_legend().get_texts()
    shown = {text.get_text().strip() for text in texts if not text.get_parse_math()}
    assert shown == set(NAMES)
    assert not ax.xaxis.label.get_parse_math()
    assert ax.get_xlabel() == "n_$train$"


def test_a_figure_of_many_groups_names_some() -> None:
    fit = tc.fit_scaling(many_groups(40), by="rule", n_boot=0)
    labels = [text.get_text() for text in fit.plot().get_legend().get_texts()]
    assert "and 10 more groups" in labels


def many_groups(n: int) -> pd.DataFrame:
    """n groups at three values of x, each cell with three runs."""
    df = sweep(np.random.default_rng(27), exponents=(1.0,), n_seeds=3 * n, censored=0.1)
    df = df.assign(rule=[f"r{seed // 3}" for seed in df["seed"]], seed=df["seed"] % 3)
    return df[df["n_train"] < 1000].reset_index(drop=True)


def test_many_cells_need_no_memory_of_their_square() -> None:
    """1,080 runs in 360 cells: nested models, lack of fit, intervals of 120 prefactors."""
    df = many_groups(120)
    assert (len(df), df.groupby(["rule", "n_train"]).ngroups) == (1080, 360)
    tracemalloc.start()
    fit = tc.fit_scaling(df, by="rule", n_boot=0)
    assert fit.tests["log_linear"].df == 360 - 121
    assert len(fit.prefactor_ci) == 120
    fit.summary()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def test_a_long_bootstrap_draws_equal_runs_as_one(capsys, monkeypatch) -> None:
    df = sweep(np.random.default_rng(28), n_seeds=80, ratio=2.0)
    short = tc.fit_scaling(df, by="rule", n_boot=1500, seed=1)
    monkeypatch.setattr("twoclocks.empirics.statistics.scaling_bootstrap._LONG", 100_000)
    long = tc.fit_scaling(df, by="rule", n_boot=1500, seed=1)
    assert "bootstrap" in capsys.readouterr().err
    assert len(long.draws) == 1500
    assert long.draws.mean(0) == pytest.approx(short.draws.mean(0), abs=4 * short.draws.std(0).max() / 38)
    assert long.draws.std(0) == pytest.approx(short.draws.std(0), rel=0.1)


def test_prefactors_of_many_groups_have_intervals_by_standard_error() -> None:
    df = sweep(np.random.default_rng(29), n_seeds=40, censored=0.1)
    fit = tc.fit_scaling(df, by="rule", n_boot=0)
    quick = np.exp(fit.regression.wald_intervals(np.arange(3)))
    assert quick == pytest.approx(np.array(list(fit.prefactor_ci.values())), rel=0.01)


@pytest.mark.parametrize("n_boot", [2.5, True, "20", -1, None, 10**9])
def test_resamples_are_counted_in_whole_numbers(n_boot: object) -> None:
    with pytest.raises(ValueError, match=r"n_boot must be a whole number in 0\.\.1000000, got"):
        tc.fit_scaling(sweep(np.random.default_rng(18)), by="rule", n_boot=n_boot)


def test_predictions_need_positive_x() -> None:
    fit = tc.fit_scaling(sweep(np.random.default_rng(30)), by="rule", n_boot=0)
    for x in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="n_train must be positive and finite, got"):
            fit.predict([64.0, x], fit.groups[0])
