"""The committed simulation of the clocks of copying says what the docs say of it."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from twoclocks.empirics.criteria import fewest_generations

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "tests/benchmarks/results/copying_clock.json").read_text())
DOCS = re.sub(r"\s+", " ", (ROOT / "docs/statistics.md").read_text())


def test_exponents_and_coverage_are_those_of_the_docs():
    table = pd.DataFrame(RESULTS["fits"])
    assert (table["sweeps"] >= 300).all()
    large = table[table["sizes"] == "128 to 1024"]
    enough = large[large["n_eval"] >= large["fewest"]]
    assert len(enough) >= 15
    low, high = enough["exponent_tau_mem"].min(), enough["exponent_tau_mem"].max()
    assert f"exponents of {low:.3f} to {high:.3f}" in DOCS
    assert abs(enough["exponent_tau_mem"] - 1).max() < 0.025
    share = enough["coverage_tau_mem"]
    assert f"hold 1 in {100 * share.min():.0f} to {100 * share.max():.0f}%" in DOCS
    assert share.between(0.925, 0.975).all()
    risen = enough[enough["before"] == "chance"]
    former, covered = risen["exponent_tau_mem_chance"], 100 * risen["coverage_tau_mem_chance"]
    said = f"{former.min():.2f} to {former.max():.2f} and {covered.min():.0f} to {covered.max():.0f}%"
    assert f"`tau_mem_chance` gives {said}" in DOCS
    (late,) = table.loc[(table["sizes"] == "24 to 192") & (table["before"] == "chance"), "exponent_tau_mem"]
    assert f"the exponent is then {late:.2f} instead" in DOCS


def test_a_sampler_of_pairs_does_not_strike_the_clock():
    table = pd.DataFrame(RESULTS["false_clocks"])
    table = table[table["ridge"] == "1 / sqrt(N)"]
    assert (table["fewest"] == table["null"].map(fewest_generations)).all()
    enough = table[table["n_eval"] >= table["fewest"]]
    assert len(enough[["support", "N"]].drop_duplicates()) == 15
    assert (enough["tau_mem"] == 0).all()
    assert enough["tau_mem_chance"].max() == 1
    np.testing.assert_allclose(table["repeats"], table["null"], rtol=1e-9)


def test_power_is_that_of_the_docs():
    for key in ("power", "power_of_rule"):
        table = RESULTS[key]
        for true in next(iter(table.values())):
            cells = " | ".join(f"{column[true]:.3f}" for column in table.values())
            row = f"| {float(true):.2f} | {cells} |"
            assert (row in DOCS) == (key == "power_of_rule" or float(true) not in (0.04, 0.16, 0.3)), row
