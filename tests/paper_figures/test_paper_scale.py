"""The paper's grid: what is committed of it grows run by run, and is not trained again."""

import json
from dataclasses import replace

import pytest

import twoclocks as tc
from twoclocks.empirics.sweeps.folders import run_name
from twoclocks.paper_figures.committed import bring, collect, read_tables
from twoclocks.paper_figures.studies import paper_scale

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
