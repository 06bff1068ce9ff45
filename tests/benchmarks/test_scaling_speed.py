"""The batched bootstrap against one lifelines fit at a time, on the same table in the same process."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
import pytest

import twoclocks as tc

GROUPS, SIZES, SEEDS = 8, (64, 128, 256, 512, 1024), 3


def table() -> pd.DataFrame:
    """120 runs in 8 groups, 30% censored."""
    rng = np.random.default_rng(0)
    cells = pd.MultiIndex.from_product([range(GROUPS), SIZES, range(SEEDS)], names=["rule", "n_train", "seed"])
    df = cells.to_frame(index=False)
    log_tau = 1 + 0.2 * df["rule"] + np.log(df["n_train"]) + 0.25 * rng.normal(size=len(df))
    step = np.log(1.3)
    lower = np.floor(log_tau / step) * step
    end = np.round(np.quantile(log_tau, 0.7) / step) * step
    late = lower >= end
    upper = np.where(late, np.inf, np.exp(lower + step))
    return df.assign(tau_mem_lower=np.exp(np.minimum(lower, end)), tau_mem_upper=upper)


def lifelines_seconds(df: pd.DataFrame, n_fits: int) -> list[float]:
    """Wall time of fits to resampled tables."""
    from lifelines import LogNormalAFTFitter

    design = pd.get_dummies(df["rule"], prefix="rule", drop_first=True).astype(float)
    design["log_n"] = np.log(df["n_train"])
    data = design.assign(lower=df["tau_mem_lower"], upper=df["tau_mem_upper"])
    seconds = []
    for k in range(n_fits):
        drawn = (
            data.groupby([df["rule"], df["n_train"]])
            .sample(frac=1, replace=True, random_state=k)
            .reset_index(drop=True)
        )
        started = time.perf_counter()
        LogNormalAFTFitter().fit_interval_censoring(drawn, "lower", "upper")
        seconds.append(time.perf_counter() - started)
    return seconds


@pytest.mark.benchmark(group="scaling bootstrap")
def test_2000_bootstrap_fits(benchmark) -> None:
    """Acceptance: under 10 s, and at least 50 times faster per fit than lifelines."""
    df = table()
    n_boot = 2000
    fit = benchmark.pedantic(tc.fit_scaling, (df,), {"by": "rule", "n_boot": n_boot}, rounds=5, warmup_rounds=1)
    assert (fit.n_runs, len(fit.groups), len(fit.draws)) == (120, GROUPS, n_boot)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = lifelines_seconds(df, 7)
    ours = benchmark.stats.stats.median
    ratio = np.array(peer) / (ours / n_boot)
    benchmark.extra_info["lifelines_seconds_per_fit"] = [round(s, 3) for s in peer]
    print(
        f"\n{n_boot} bootstrap fits of 120 runs in 8 groups: {ours:.3f} s; lifelines {np.median(peer):.3f} s a fit "
        f"({min(peer):.3f} to {max(peer):.3f}); per fit {np.median(ratio):.0f} times faster"
    )
    assert ours < 10
    assert np.min(ratio) > 50
