"""How often each claim gets each verdict on simulated sweeps whose truth is known; writes results/claims_calibration.*.

    nice -n 10 python tests/benchmarks/claims_calibration.py --sweeps 300 --seed 0

A sweep has the shape of the committed ones: G = 2, 3, 4, 6, five N from 64 to 1024, three seeds, log-normal scatter of
both clocks, an evaluation grid of ratio 1.2, training to a common last step. Each row names what is true in it, and
whether the claim then is: sizes where it is false, or where the model of the test is wrong; power where it is true.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from twoclocks.empirics.statistics import ordered_trend
from twoclocks.empirics.statistics.claims import CLAIMS, evaluate_claims
from twoclocks.empirics.statistics.runs_table import model_capacity, rule_complexity

RESULTS = Path(__file__).parent / "results"
N_PERMUTATIONS = 499
"""Of each trend test, a tenth of the usual number: the verdicts turn on 0.05."""
SIZES = (64, 128, 256, 512, 1024)
Law = Callable[[pd.DataFrame], np.ndarray]
"""log of a clock's median (n,) from a table with rule, model, n_train, G, and z, log N less its middle."""


@dataclass(frozen=True)
class Scenario:
    """How synthetic sweeps are made, and whether the claim is true of them."""

    claim: str  # C1 to C5, or "all": any of them supported
    name: str
    true: bool
    rule: Law = lambda t: np.log(20) + 1.5 * np.log(t["G"]) + 0 * t["z"]
    mem: Law = lambda t: LINEAR(t)
    sigma: float | Law = 0.2
    heavy: bool = False  # Student's t with 4 degrees of freedom, of the same variance
    rules: tuple[str, ...] = tuple(f"parity:6x6,G={G}" for G in (2, 3, 4, 6))
    models: tuple[str, ...] = ("gpt-nano",)
    sizes: tuple[int, ...] = SIZES
    n_seeds: int = 3
    last: float = 2e5
    columns: dict[str, Callable[[pd.DataFrame], Any]] = field(default_factory=dict)


def by_rule(*values: float) -> Law:
    """A number for each rule in turn."""
    return lambda t: t["rule"].map(dict(zip(dict.fromkeys(t["rule"]), values, strict=True))).to_numpy(float)


def exponents(*values: float) -> Law:
    return lambda t: np.log(1000) + by_rule(*values)(t) * t["z"]


def ratio_over_n(factor: float) -> Law:
    """Two rules whose ratio goes from 1 / factor at the smallest N to factor at the largest, and others between."""
    return lambda t: (
        np.log(5) + np.log(t["n_train"]) + by_rule(0.5, 0, 0, -0.5)(t) * np.log(factor) * (t["z"] / t["z"].max())
    )


def window(slopes: tuple[float, ...], in_g: float) -> Law:
    """tau_mem whose ratio to a tau_rule of 1.5 in G has these slopes in N, and this elasticity in G."""
    return lambda t: np.log(300) + by_rule(*slopes)(t) * t["z"] + (in_g + 1.5) * np.log(t["G"])


def six(G: float) -> str:
    return f"parity:6x6,G={G:g}"


def scatter_by_n(power: float) -> Law:
    return lambda t: 0.15 * np.exp(power * t["z"])


def apart(ratio: float) -> Law:
    """One of four rules apart from the others."""
    return lambda t: LINEAR(t) + by_rule(0, 0, 0, np.log(ratio))(t)


LINEAR: Law = lambda t: np.log(5) + np.log(t["n_train"])  # noqa: E731
NO_TREND: Law = lambda t: np.log(100) + 0 * t["z"]  # noqa: E731
BENT: Law = lambda t: np.log(1000) + t["z"] - 0.15 * t["z"] ** 2  # noqa: E731  (local slopes 1.4 to 0.6)
STARTUP: Law = lambda t: np.log(400 + 1.6 * t["n_train"])  # noqa: E731
FAMILIES = ("parity:4x6,G=2", "parity:4x6,G=3", "parity:6x6,G=4", "parity:6x6,G=6")
SEVEN = tuple(f"parity:4x6,G={G}" for G in (2, 3, 4, 6, 8, 12, 24))
TWO_SIZES = ("gpt-nano", "gpt-micro")


def capacity(power: float) -> Law:
    return lambda t: np.log(20) + 1.5 * np.log(t["G"]) + power * np.log(t["model"].map(model_capacity).to_numpy(float))


SCENARIOS = (
    Scenario("C1", "no trend in G", False, rule=NO_TREND),
    Scenario("C1", "no trend, scatter grows with G", False, rule=NO_TREND, sigma=lambda t: 0.1 * t["G"].to_numpy()),
    Scenario("C1", "no trend, levels differ by grid", False, rules=FAMILIES,
             rule=lambda t: np.log(100) + 2.0 * t["rule"].str.contains("6x6")),
    Scenario("C1", "two group sizes, elasticity 3", False, rules=(six(2), six(3)),
             rule=lambda t: 3 * np.log(10 * t["G"])),
    Scenario("C1", "elasticity 0.3", True, rule=lambda t: np.log(100) + 0.3 * np.log(t["G"])),
    Scenario("C1", "elasticity 3.2, the largest G never learned", True, last=3000,
             rules=(six(2), six(3), six(4), six(12)), rule=lambda t: np.log(10) + 3.2 * np.log(t["G"])),
    Scenario("C2", "no effect of size", False, models=TWO_SIZES),
    Scenario("C2", "no effect of size, the larger one at twice the rate", False, models=TWO_SIZES,
             rule=lambda t: np.log(100) - 0.7 * (t["model"] == "gpt-micro"),
             columns={"lr": lambda t: np.where(t["model"] == "gpt-micro", 4e-3, 2e-3)}),
    Scenario("C2", "elasticity -0.22", True, models=TWO_SIZES, rule=capacity(-0.22)),
    Scenario("C3", "one pair apart by 1.5", False, mem=apart(1.5)),
    Scenario("C3", "one pair apart by 1.5, scatter grows with N", False, sigma=scatter_by_n(0.4),
             mem=apart(1.5)),
    Scenario("C3", "ratios from 1/3 to 3 over N", False, mem=ratio_over_n(3)),
    Scenario("C3", "ratios from 1/1.8 to 1.8 over N", False, mem=ratio_over_n(1.8)),
    Scenario("C3", "ratios from 1/1.55 to 1.55 over N", False, mem=ratio_over_n(1.55)),
    Scenario("C3", "four equal rules", True),
    Scenario("C3", "seven equal rules", True, rules=SEVEN),
    Scenario("C3", "one pair apart by 1.1", True, mem=apart(1.1)),
    Scenario("C4", "exponent 0.8 (edge)", False, mem=exponents(0.8, 0.8, 0.8, 0.8)),
    Scenario("C4", "exponent 0.8, scatter grows with N", False, mem=exponents(0.8, 0.8, 0.8, 0.8),
             sigma=scatter_by_n(0.4)),
    Scenario("C4", "exponent 0.8, heavy tails", False, mem=exponents(0.8, 0.8, 0.8, 0.8), heavy=True),
    Scenario("C4", "exponents 0.6, 1.0, 1.0, 1.4", False, mem=exponents(0.6, 1, 1, 1.4)),
    Scenario("C4", "exponents 0.7, 1.0, 1.0, 1.3", False, mem=exponents(0.7, 1, 1, 1.3)),
    Scenario("C4", "bent: local exponents 1.4 to 0.6", False, mem=BENT),
    Scenario("C4", "a start-up time: local exponents 0.2 to 0.8", False, mem=STARTUP),
    Scenario("C4", "exponent 1", True),
    Scenario("C4", "exponent 1, scatter grows with N", True, sigma=scatter_by_n(0.4)),
    Scenario("C4", "exponent 1, a third censored", True, last=1500),
    Scenario("C5", "no trend in N", False, mem=window((0, 0, 0, 0), -3)),
    Scenario("C5", "no trend in G", False, mem=window((0.7, 0.7, 0.7, 0.7), 0)),
    Scenario("C5", "slopes in N 0.72, 0.89, 0.01, -0.54 by G", False, mem=window((0.72, 0.89, 0.01, -0.54), -3.2)),
    Scenario("C5", "slopes in N 0.7, 0.7, 0.7, 0 by G", False, mem=window((0.7, 0.7, 0.7, 0), -3.2)),
    Scenario("C5", "no trend in G, levels differ by grid", False, rules=FAMILIES,
             mem=lambda t: np.log(300) + 0.7 * t["z"] + 1.5 * np.log(t["G"]) - 2.0 * t["rule"].str.contains("6x6")),
    Scenario("C5", "slope 0.34 in N, -3.2 in G", True, mem=window((0.34, 0.34, 0.34, 0.34), -3.2)),
    Scenario("C5", "slope 0.74 in N, -3.2 in G", True, mem=window((0.74, 0.74, 0.74, 0.74), -3.2)),
    Scenario("all", "every claim false", False, rule=NO_TREND, models=TWO_SIZES,
             mem=lambda t: np.log(100) + by_rule(0, 0, 0, np.log(1.5))(t)),
)  # fmt: skip


def synthetic_sweep(scenario: Scenario, rng: np.random.Generator) -> pd.DataFrame:
    """A runs table with both clocks between evaluations."""
    cells = itertools.product(scenario.models, scenario.rules, scenario.sizes, range(scenario.n_seeds))
    table = pd.DataFrame(cells, columns=["model", "rule", "n_train", "seed"])
    table["G"] = table["rule"].map(rule_complexity).astype(float)
    log_n = np.log(table["n_train"])
    table["z"] = log_n - (log_n.min() + log_n.max()) / 2
    sigma = scenario.sigma(table) if callable(scenario.sigma) else scenario.sigma
    grid = 1.2 ** (rng.uniform() + np.arange(80))
    grid = grid[grid <= scenario.last]
    for clock, law in (("tau_rule", scenario.rule), ("tau_mem", scenario.mem)):
        n = len(table)
        noise = rng.standard_t(4, n) / np.sqrt(2) if scenario.heavy else rng.normal(size=n)
        after = np.searchsorted(grid, np.exp(np.asarray(law(table), dtype=float) + sigma * noise))
        table[f"{clock}_lower"] = np.where(after > 0, grid[np.maximum(after, 1) - 1], 0.0)
        table[f"{clock}_upper"] = np.where(after < len(grid), grid[np.minimum(after, len(grid) - 1)], np.inf)
    for name, values in scenario.columns.items():
        table[name] = values(table)
    return table.drop(columns=["G", "z"])


def run(scenario: Scenario, n_sweeps: int, seed: int) -> dict[str, Any]:
    """Shares of sweeps with each verdict, and how often the estimate's interval misses 1 where all rules are equal."""
    rng = np.random.default_rng(seed)
    started = time.process_time()
    verdicts, missed = [], []
    for _ in range(n_sweeps):
        table = synthetic_sweep(scenario, rng)
        if scenario.claim == "all":
            found = [v.verdict for v in evaluate_claims(table)]
            verdicts.append("supported" if "supported" in found else "undecided")
        else:
            verdict = CLAIMS[scenario.claim][0](table)
            verdicts.append(verdict.verdict)
            if "equal rules" in scenario.name and verdict.ci is not None:
                missed.append(not verdict.ci[0] <= 1 <= verdict.ci[1])
    row: dict[str, Any] = {
        "claim": scenario.claim,
        "scenario": scenario.name,
        "true": scenario.true,
        "sweeps": n_sweeps,
    }
    row |= {word: round(verdicts.count(word) / n_sweeps, 4) for word in ("supported", "not supported", "undecided")}
    if missed:
        row["interval excludes 1"] = round(float(np.mean(missed)), 4)
    return row | {"seconds": round(time.process_time() - started, 1)}


def report(results: dict[str, Any]) -> str:
    """The results as a Markdown page."""
    error = np.sqrt(0.05 * 0.95 / results["sweeps"])
    lines = [
        "# How often each claim gets each verdict",
        "",
        f"`{results['command']}`: {results['sweeps']} sweeps a row, seed {results['seed']}, "
        f"{results['seconds']:.0f} s of one core's time ({results['versions']}). "
        f"The Monte Carlo standard error of a share of 0.05 is {error:.3f}.",
        "",
        "A sweep: G = 2, 3, 4, 6 on 6x6 grids, five N from 64 to 1024, three seeds, scatter 0.2 in log tau, "
        "evaluations at steps of ratio 1.2, unless the row says otherwise. Verdicts are each claim's own, before "
        "Holm's correction for the claims of a table, which only takes back; the row `all` is the corrected table.",
        "",
        f"Trend tests take {N_PERMUTATIONS} permutations.",
        "",
    ]
    titles = {False: "Where the claim is false: at most 0.05 supported", True: "Where it is true: power"}
    words = ("supported", "not supported", "undecided")
    for true, title in titles.items():
        lines += [f"## {title}", "", f"| claim | what is true | {' | '.join(words)} |", "|---|---|---|---|---|"]
        for row in results["rows"]:
            if row["true"] == true:
                shares = " | ".join(f"{row[word]:.3f}" for word in words)
                lines.append(f"| {row['claim']} | {row['scenario']} | {shares} |")
        lines.append("")
    lines += ["## Simultaneous limits of C3", ""]
    lines += [
        f"- {r['scenario']}: the 90% limits of the widest pair exclude 1 in {r['interval excludes 1']:.3f} of sweeps "
        "(at most 0.1)."
        for r in results["rows"]
        if "interval excludes 1" in r
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=300, help="sweeps a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="rows whose claim or name holds this; nothing is written then")
    options = parser.parse_args()
    ordered_trend.N_PERMUTATIONS = N_PERMUTATIONS
    started = time.process_time()
    rows = []
    for k, scenario in enumerate(SCENARIOS):
        if options.only in f"{scenario.claim} {scenario.name}":
            rows.append(run(scenario, options.sweeps, options.seed + 1000 * k))
            print(rows[-1], flush=True)
    results = {
        "command": f"python tests/benchmarks/claims_calibration.py --sweeps {options.sweeps} --seed {options.seed}",
        "sweeps": options.sweeps,
        "seed": options.seed,
        "versions": f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}",
        "seconds": round(time.process_time() - started, 1),
        "rows": rows,
    }
    if not options.only:
        (RESULTS / "claims_calibration.json").write_text(json.dumps(results, indent=1) + "\n")
        (RESULTS / "claims_calibration.md").write_text(report(results))


if __name__ == "__main__":
    main()
