"""The paper's grid: its tables grow run by run, and what they hold is not trained again."""

import json
from dataclasses import replace

import pytest

import twoclocks as tc
from twoclocks.paper_figures.studies import paper_scale


@pytest.fixture
def tiny(monkeypatch):
    """The grid's first three runs, small enough to train."""
    small = {"steps": 12, "batch_size": 8, "n_eval": 16, "n_train": 8, "model": "gpt-nano", "rule": "parity:2x4,G=4"}

    def configs(model, seeds=3):
        grid = list(real(model, 1).items())[:3] if model == "gpt-mini" else []
        return {name: replace(config, seed=k, **small) for k, (name, config) in enumerate(grid)}

    real = paper_scale.configs
    monkeypatch.setattr(paper_scale, "configs", configs)
    return configs("gpt-mini")


def test_the_grid_is_trained_seed_by_seed():
    grid = paper_scale.configs("gpt-mini")
    assert len(grid) == 48
    assert [config.seed for config in grid.values()] == [0] * 16 + [1] * 16 + [2] * 16
    assert {(c.rule, c.n_train) for c in grid.values()} == {
        (f"parity:6x6,G={G}", n) for G in (2, 3, 4, 6) for n in (512, 1024, 2048, 4096)
    }
    assert not set(grid) & set(paper_scale.configs("gpt-micro"))


def test_tables_grow_run_by_run(tmp_path, tiny):
    trained, folder = tmp_path / "runs", tmp_path / "results"
    names = list(tiny)
    tc.train(tiny[names[0]], trained / names[0], progress=False)
    assert paper_scale.collect(trained, folder) == 1
    tc.train(tiny[names[1]], trained / names[1], progress=False)
    assert paper_scale.collect(trained, folder) == 2
    runs, evaluations = paper_scale.read_committed(folder)
    assert runs["name"].tolist() == names[:2]
    assert json.loads(runs["config"][0])["n_train"] == 8
    run = tc.load_run(trained / names[1])
    mine = evaluations[evaluations["name"] == names[1]]
    assert mine["step"].tolist() == run.metrics["step"].tolist()
    assert (mine[["novel_valid", "memorized", "violating", "ambiguous"]].sum(axis=1) == 16).all()
    before = (folder / "runs.csv").read_bytes()
    assert paper_scale.collect(trained, folder) == 2
    assert (folder / "runs.csv").read_bytes() == before


def test_a_run_of_another_configuration_is_refused(tmp_path, tiny):
    name, config = next(iter(tiny.items()))
    tc.train(replace(config, lr=1e-3), tmp_path / name, progress=False)
    with pytest.raises(ValueError, match="another configuration"):
        paper_scale.collect(tmp_path, tmp_path / "results")
