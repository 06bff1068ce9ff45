"""Do bfloat16 products move the clocks? A quick GPT and a quick DiT, float32 against bfloat16, seed by seed.

    python tests/benchmarks/precision_clocks.py --out runs/precision --seeds 8

Runs that have ended are kept, so a second call continues. Writes results/precision_clocks.csv (one row per run) and
results/precision_clocks.md (the comparison) beside this file.
"""

import argparse
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

import twoclocks as tc
from twoclocks.empirics.config import QUICK
from twoclocks.empirics.runs.run import environment
from twoclocks.empirics.statistics.aft import CensoredRegression

RESULTS = Path(__file__).parent / "results"


def configs(seeds: int) -> dict[str, tc.RunConfig]:
    """Fine evaluations, so that a shift of a tenth shows; runs end once both clocks are known."""
    return {
        f"{name}-{precision}-{seed}": replace(
            config, precision=precision, seed=seed, eval_ratio=1.1, stop_when="both", checkpoint_ratio=1e6
        )
        for seed, (name, config), precision in itertools.product(range(seeds), QUICK.items(), ("fp32", "bf16"))
    }


def compare(table, model: str, clock: str) -> dict[str, float]:
    """Clock in bfloat16 over float32 by a censored log-normal fit, and an exact paired permutation p-value."""
    runs = table[table.model == model].sort_values(["seed", "precision"])
    lower = np.log(np.maximum(runs[f"{clock}_lower"].to_numpy(float), 1))
    upper = np.log(runs[f"{clock}_upper"].to_numpy(float))
    is_bf16 = (runs.precision == "bf16").to_numpy(float)
    regression = CensoredRegression(lower, upper, np.stack([np.ones(len(runs)), is_bf16], 1))
    shift = float(regression.fit().beta[0, 1])
    low, high = regression.profile_interval(1)
    middle = np.where(np.isfinite(upper), (lower + upper) / 2, lower)
    difference = middle[is_bf16 == 1] - middle[is_bf16 == 0]  # one a seed, in the order of seeds
    mean, error = difference.mean(), difference.std(ddof=1) / math.sqrt(len(difference))
    reach = error * stats.t.ppf(0.975, len(difference) - 1)
    signs = np.array(list(itertools.product([-1, 1], repeat=len(difference))))
    p_value = float((np.abs(signs @ difference) >= abs(difference.sum()) - 1e-12).mean())
    return {
        "model": model,
        "clock": clock,
        "seeds": len(difference),
        "censored": int(np.isinf(upper).sum()),
        "ratio": math.exp(shift),
        "ci_low": math.exp(low),
        "ci_high": math.exp(high),
        "paired": math.exp(mean),
        "paired_low": math.exp(mean - reach),
        "paired_high": math.exp(mean + reach),
        "p_value": p_value,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=Path("runs/precision"))
    options.add_argument("--seeds", type=int, default=8)
    asked = options.parse_args()
    tc.empirics.ended_runs(tc.sweep(configs(asked.seeds), asked.out))
    table = tc.load_runs(asked.out).drop(columns="path")
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / "precision_clocks.csv", index=False)
    rows = [compare(table, model, clock) for model in ("gpt-nano", "dit-nano") for clock in ("tau_rule", "tau_mem")]
    lines = [
        "# Do bfloat16 products move the clocks?",
        "",
        f"`python tests/benchmarks/precision_clocks.py --seeds {asked.seeds}`; each run in `precision_clocks.csv`;",
        f"{table.seconds.sum():.0f} s of training in all;",
        f"versions: `{json.dumps(environment())}`",
        "",
        "paired ratio: geometric mean over seeds of clock in bfloat16 / clock in float32 (middles of the intervals),",
        "95% t interval; unpaired: the same from a censored log-normal fit that ignores which runs share a seed;",
        "p: exact permutation of the precisions within each seed. Evaluations lie a factor 1.1 apart.",
        "",
        "| model | clock | seeds | censored | paired ratio | unpaired ratio | p |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['model']} | {r['clock']} | {r['seeds']} | {r['censored']} "
        f"| {r['paired']:.2f} ({r['paired_low']:.2f} to {r['paired_high']:.2f}) "
        f"| {r['ratio']:.2f} ({r['ci_low']:.2f} to {r['ci_high']:.2f}) | {r['p_value']:.2f} |"
        for r in rows
    ]
    same = all(r["paired_low"] <= 1 <= r["paired_high"] for r in rows)
    lines += [
        "",
        "No clock moved: every paired interval contains 1. bf16 takes less time a step (`training_speed.md`) and is the"
        if same
        else "At least one paired interval excludes 1: bf16 moves a clock, and fp32 should be the",
        "default precision.",
    ]
    (RESULTS / "precision_clocks.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
