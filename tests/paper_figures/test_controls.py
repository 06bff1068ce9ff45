"""Controls: the design, main effects that are put in, powers of the learning rate, and the committed report."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from same_text import assert_same_text

from twoclocks import RunConfig
from twoclocks.paper_figures.store import read_provenance
from twoclocks.paper_figures.studies import controls


def test_the_design_asks_for_each_run_once_and_holds_all_else_equal():
    runs = controls.configs()
    assert len(runs) == len(set(runs)) == 3 * (4 + 4 + 16)
    rule, shuffled, random, online = controls.controls("gpt", 1)
    assert [c.rule for c in (rule, shuffled, random)] == list(controls.CONTROLS["gpt"].values())
    assert online.online
    assert (online.rule, online.lr) == (rule.rule, rule.lr)
    cells = {(c.n_train, c.batch_size, c.lr, c.ema_halflife) for c in controls.factorial(0)}
    assert cells == set(itertools.product(*controls.FACTORS.values()))


def test_main_effects_and_exponents_are_those_put_in():
    rows, rng = [], np.random.default_rng(0)
    for seed, levels in itertools.product(range(6), itertools.product(*controls.FACTORS.values())):
        row = dict(zip(controls.FACTORS, levels, strict=True))
        upper = {name: row[name] == controls.FACTORS[name][1] for name in controls.FACTORS}
        slope = 0.8 + 0.2 * upper["batch_size"]
        size = math.log(row["n_train"]) - math.log(128)
        log = math.log(100) + slope * size + math.log(0.5) * upper["lr"] + 0.02 * rng.standard_normal()
        lower = 1.05 ** math.floor(log / math.log(1.05))
        rows.append({**row, "seed": seed, "tau_mem_lower": lower, "tau_mem_upper": 1.05 * lower})
    found = controls.effects(pd.DataFrame(rows), "tau_mem").set_index("term")
    assert found.loc["N", "estimate"] == pytest.approx(0.9, abs=0.02)
    assert found.loc["lr", "estimate"] == pytest.approx(0.5, abs=0.02)
    assert found.loc["batch_size", "estimate"] == pytest.approx(1.0, abs=0.02)
    assert found.loc["N x batch_size", "estimate"] == pytest.approx(0.2, abs=0.03)
    assert (found["low"] < found["estimate"]).all()
    assert (found["estimate"] < found["high"]).all()


def test_powers_of_the_learning_rate_tell_one_time_from_two(tmp_path, monkeypatch):
    def sweep(mem_power):
        rows = []
        for lr, seed in itertools.product((1e-3, 2e-3, 4e-3, 8e-3), range(4)):
            row = {"lr": lr, "seed": seed, "null": 0.01}
            for name, power in (("tau_rule", 0.5), ("tau_mem", mem_power)):
                step = (100 if name == "tau_rule" else 400) * (1e-3 / lr) ** power * 1.03**seed
                row |= {f"{name}_lower": 0.98 * step, f"{name}_upper": 1.02 * step}
            rows.append(row)
        pd.DataFrame(rows).to_parquet(tmp_path / "runs.parquet")

    monkeypatch.setattr(controls, "results_folder", lambda preset, number: tmp_path)
    sweep(0.5)
    table = controls.rate_powers(24)
    assert table["ratio"].to_numpy() == pytest.approx(4.0, rel=0.01)
    assert table.attrs["b"]["tau_mem"][0] == pytest.approx(0.5, abs=0.02)
    assert "One b may serve both clocks" in controls._rates(24, "DiT", "tau_mem")[-1]
    sweep(0.1)
    assert "No single b serves both clocks" in controls._rates(24, "DiT", "tau_mem")[-1]


def test_the_committed_report_is_that_of_the_committed_runs(tmp_path: Path):
    for path in (*controls.RESULTS.glob("*.csv"), controls.RESULTS / "provenance.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    controls.write_report(tmp_path)
    assert_same_text((tmp_path / "report.md").read_text(), (controls.RESULTS / "report.md").read_text())
    made = [RunConfig.from_dict(RunConfig().to_dict() | c) for c in read_provenance(controls.RESULTS)["configs"]]
    assert set(made) <= set(controls.configs())
    curves = pd.read_csv(controls.RESULTS / "curves.csv")
    runs = pd.read_csv(controls.RESULTS / "runs.csv", keep_default_na=False)
    assert len(runs) == len(made)
    keys = ["model", "rule", "n_train", "seed", *controls.FIELDS]
    assert len(curves[keys].drop_duplicates()) == len(runs)
