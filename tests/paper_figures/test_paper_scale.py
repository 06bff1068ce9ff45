"""The paper's grid: what is committed of it grows run by run, and is not trained again."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from same_text import assert_same_text
from synthetic_runs import onset_rows

import twoclocks as tc
from twoclocks.empirics.sweeps.folders import run_name
from twoclocks.paper_figures.committed import bring, collect, read_tables
from twoclocks.paper_figures.studies import paper_scale, paper_scale_report

SMALL = tc.RunConfig(rule="parity:2x4,G=4", model="gpt-nano", steps=12, batch_size=8, n_eval=16, n_train=8, seed=3)
TWO = [SMALL, replace(SMALL, seed=4)]


def test_the_grid_is_trained_seed_by_seed():
    grid = paper_scale.configs("gpt-mini")
    assert len(grid) == 48
    assert [config.seed for config in grid.values()] == [0] * 16 + [1] * 16 + [2] * 16
    assert {(c.rule, c.n_train) for c in grid.values()} == {
        (f"parity:6x6,G={G}", n) for G in (2, 3, 4, 6) for n in (512, 1024, 2048, 4096)
    }
    assert not set(grid) & set(paper_scale.configs("gpt-micro"))
    assert {c.precision for c in paper_scale.configs("gpt-micro").values()} == {"auto"}


def test_tables_grow_run_by_run(tmp_path):
    trained, folder = tmp_path / "runs", tmp_path / "results"
    names = [run_name(config) for config in TWO]
    assert collect(trained, folder) == 0
    for number, (name, config) in enumerate(zip(names, TWO, strict=True), start=1):
        tc.train(config, trained / name, progress=False)
        assert collect(trained, folder) == number
    runs, evaluations = read_tables(folder)
    assert runs["name"].tolist() == sorted(names)
    assert json.loads(runs["config"][0])["n_train"] == 8
    run = tc.load_run(trained / names[1])
    mine = evaluations[evaluations["name"] == names[1]]
    assert mine["step"].tolist() == run.metrics["step"].tolist()
    assert (mine[["novel_valid", "memorized", "violating", "ambiguous"]].sum(axis=1) == 16).all()
    row = runs[runs["name"] == names[1]].iloc[0]
    assert row["tau_mem_upper"] == run.onsets["tau_mem"].upper
    assert row["tau_rule_lower"] == run.onsets["tau_rule"].lower
    before = (folder / "runs.csv").read_bytes()
    assert collect(trained, folder) == 2
    assert (folder / "runs.csv").read_bytes() == before
    assert sorted(bring(tmp_path / "elsewhere", folder)) == sorted(names)
    assert tc.sweep(TWO, tmp_path / "elsewhere", progress=False)["attempts"].tolist() == [0, 0]


def test_a_run_of_another_configuration_is_refused(tmp_path):
    tc.train(replace(SMALL, lr=1e-3), tmp_path / run_name(SMALL), progress=False)
    with pytest.raises(ValueError, match="another configuration"):
        collect(tmp_path, tmp_path / "results")


def test_the_report_judges_a_known_law(tmp_path):
    settings = [
        {"model": "gpt-mini", "rule": f"parity:6x6,G={G}", "n_train": n, "seed": seed, "lr": 3e-4, "ema_halflife": 0.0,
         "batch_size": 128}
        for seed in range(2) for n in (512, 1024, 2048, 4096) for G in (2, 3, 4, 6)
    ]  # fmt: skip

    def clocks(setting):
        rule, copied = 30 * int(setting["rule"].rpartition("=")[2]) ** 2, setting["n_train"]
        return {"tau_rule": rule, "tau_rule_all": rule, "tau_mem": copied, "tau_mem_10": copied,
                "tau_mem_chance": 700}  # fmt: skip

    runs = onset_rows(settings, clocks, last_step=6000)
    runs = runs.assign(name=[f"run {k}" for k in range(len(runs))], null=0.001, seconds=3600.0, steps=6000,
                       precision="bf16", environment='{"torch": "2.13.0"}')  # fmt: skip
    steps = np.array([10, 100, 1000, 6000])
    counts = pd.DataFrame({"step": steps, "violating": [90, 10, 0, 0], "ambiguous": 0, "novel_valid": [10, 90, 50, 0],
                           "memorized": [0, 0, 50, 100], "loss": 0.5})  # fmt: skip
    runs.to_csv(tmp_path / "runs.csv", index=False)
    pd.concat([counts.assign(name=name) for name in runs["name"]]).to_csv(tmp_path / "evaluations.csv", index=False)
    paper_scale_report.write_report(tmp_path, 48)
    claims = pd.read_csv(tmp_path / "claims.csv").set_index(["criterion", "claim"])
    assert claims.loc[("tau_mem", "C4 GPT"), "verdict"] == "supported"
    assert claims.loc[("tau_mem", "C4 GPT"), "estimate"] == pytest.approx(1, abs=0.1)
    assert claims.loc[("tau_mem_chance", "C4 GPT"), "estimate"] == pytest.approx(0, abs=0.1)
    assert claims.loc[("tau_mem", "C1 GPT"), "estimate"] == pytest.approx(2, abs=0.2)
    report = (tmp_path / "report.md").read_text()
    assert "32 of 48 runs of gpt-mini" in report
    assert "32.0 core-hours" in report
    assert "The verdict depends on the criterion for C4 GPT" in report
    assert "median tau_mem" in report
    assert "What has not run is missing below" in report
    assert (tmp_path / "clocks.png").stat().st_size > 10_000
    paper_scale_report.write_report(tmp_path, 32)
    assert "What has not run" not in (tmp_path / "report.md").read_text()


def test_without_runs_there_is_no_report(tmp_path):
    for name in ("runs", "evaluations"):
        pd.DataFrame({"name": []}).to_csv(tmp_path / f"{name}.csv", index=False)
    paper_scale_report.write_report(tmp_path, 48)
    assert not (tmp_path / "report.md").exists()


def test_the_committed_report_is_that_of_the_committed_runs(tmp_path):
    folder = paper_scale.SCALE
    for name in ("runs.csv", "evaluations.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    paper_scale_report.write_report(tmp_path, 48)
    assert_same_text((tmp_path / "report.md").read_text(), (folder / "report.md").read_text())
    made, committed = (pd.read_csv(place / "claims.csv") for place in (tmp_path, folder))
    pd.testing.assert_frame_equal(made, committed, rtol=1e-6)  # the last digits differ between processors
