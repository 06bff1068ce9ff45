"""The ladder in a report: rungs of the first seed, and runs that it leaves out."""

import re

import pytest

import twoclocks as tc
from twoclocks.empirics.report.ladders import ladders
from twoclocks.empirics.runs.folder import read_runs_folder


def shown(folder):
    """The section as text, a line per row."""
    rows = []

    def table(header, lines, numbers, by):
        rows.extend(lines)
        return ""

    return ladders(read_runs_folder(folder), table), rows


def test_each_model_rule_and_n_has_the_losses_of_its_first_seed(tmp_path):
    for seed in (1, 0):
        config = tc.RunConfig(
            rule="parity:2x4,G=4", model="gpt-nano", n_train=6, steps=8, batch_size=8, n_eval=400, seed=seed, lr=5e-3
        )
        run = tc.train(config, tmp_path / f"run-{seed}", progress=False)
    html, rows = shown(tmp_path)
    assert "What was learned when" in html
    ((model, rule, n, seed, *rungs),) = rows
    assert (model, rule, n, seed) == ("gpt-nano", "parity:2x4,G=4", "6", "0")
    losses = [float(re.match(r"[\d.]+", rung)[0]) for rung in rungs]
    assert losses[0] == 0.693  # ln 2
    assert losses[3] == pytest.approx(run.rule.entropy / 8, abs=1e-3)
    assert losses[4] == 0.224  # ln(6) / 8
    assert rungs[4].endswith("(not)")


def test_an_online_run_and_an_unknown_rule_have_none(tmp_path):
    config = tc.RunConfig(
        rule="parity:2x4,G=4", model="gpt-nano", n_train=6, steps=2, batch_size=8, n_eval=400, online=True
    )
    tc.train(config, tmp_path / "run", progress=False)
    assert shown(tmp_path) == ("", [])
