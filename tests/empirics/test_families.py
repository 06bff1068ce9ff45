"""A family of one's own: registered, it is built, trained and compared by name like those of the package."""

from dataclasses import replace

import pytest

import twoclocks as tc
from twoclocks.empirics import families
from twoclocks.empirics.families import autoregressive, family, register_family

TOY = replace(autoregressive.FAMILY, name="toy", title="Toy")


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(families, "_registered", {})
    register_family(TOY)


def test_a_registered_family_trains_by_name(registered, tmp_path):
    config = tc.RunConfig(rule="parity:2x2,G=2", model="toy-nano", n_train=4, steps=12, batch_size=8, n_eval=8)
    run = tc.train(config, tmp_path / "run", progress=False)
    assert family("toy-nano") is TOY
    assert run.family is TOY
    as_gpt = tc.train(replace(config, model="gpt-nano"), tmp_path / "gpt", progress=False)
    assert run.metrics["loss"].tolist() == as_gpt.metrics["loss"].tolist()
    assert len(tc.compare.compare_over_training(run, n_samples=2))


def test_names_that_are_taken_or_unknown_are_refused(registered):
    register_family(TOY)  # once more, the same
    for name in ("toy", "dit", "a-b"):
        with pytest.raises(ValueError, match="is taken or holds a hyphen"):
            register_family(replace(TOY, name=name, title="Another"))
    with pytest.raises(ValueError, match="unknown model 'toys-nano'; known models: dit-nano"):
        family("toys-nano")
