"""The mixture's study: its clocks by hand, its population, and the committed report is what its tables give."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from same_text import assert_same_text

from twoclocks.paper_figures.studies import mixture_clocks as study


def test_the_committed_report_is_that_of_the_committed_tables(tmp_path):
    for name in ("runs.csv", "evaluations.csv", "provenance.json"):
        shutil.copy(study.RESULTS / name, tmp_path)
    study.write_report(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in study.RESULTS.iterdir()}
    assert_same_text((tmp_path / "report.md").read_text(), (study.RESULTS / "report.md").read_text())


def test_the_committed_clocks_are_those_of_the_committed_evaluations():
    table, runs = (pd.read_csv(study.RESULTS / f"{name}.csv") for name in ("evaluations", "runs"))
    found = pd.DataFrame([study.onsets(part) for _, part in table.groupby(["n_train", "seed"])])
    keys = ["n_train", "seed"]
    pd.testing.assert_frame_equal(
        found.sort_values(keys, ignore_index=True), runs.sort_values(keys, ignore_index=True), check_dtype=False
    )
    assert set(zip(runs["n_train"], runs["seed"], strict=True)) <= {
        (n, seed) for n in study.N_TRAIN for seed in study.SEEDS
    }


def test_a_clock_of_learning_asks_for_two_evaluations_in_a_row():
    errors = [0.2, 0.049, 0.06, 0.05, 0.03, 0.029, 0.028]
    table = pd.DataFrame(
        {"n_train": 64, "seed": 1, "step": [4, 8, 16, 32, 64, 128, 256], "score_error": errors, "memorization": 0.0,
         "memorization_low": 0.0, "memorization_p": 1.0, "chance": 0.001, "held_out_loss": np.linspace(1, 0.4, 7)}
    )  # fmt: skip
    row = study.onsets(table)
    assert (row["tau_gen_lower"], row["tau_gen_upper"]) == (16, 32)
    assert (row["tau_gen_strict_lower"], row["tau_gen_strict_upper"]) == (32, 64)
    assert math.isinf(float(str(row["tau_mem_upper"])))


def test_the_population_has_its_moments():
    x = study.population().sample(200_000, torch.Generator().manual_seed(0))
    dim, spread, distance = (study.SETTINGS[name] for name in ("dim", "spread", "distance"))
    # E |x|^2 = distance^2 + dim spread^2
    assert float(x.square().sum(1).mean()) == pytest.approx(distance**2 + dim * spread**2, rel=0.01)


def test_a_run_gives_the_same_numbers_twice(monkeypatch):
    for name, value in (("held_out", 64), ("n_eval", 32), ("steps", 30), ("width", 16)):
        monkeypatch.setitem(study.SETTINGS, name, value)
    once, twice = (study.evaluations(16, 1).drop(columns="processor_seconds") for _ in range(2))
    pd.testing.assert_frame_equal(once, twice)
    assert once["step"].tolist() == list(study.eval_steps())
    assert once["score_error"].iloc[-1] < once["score_error"].iloc[0]  # 30 steps towards the exact denoiser
    assert not np.allclose(once["loss"], study.evaluations(16, 2)["loss"])
