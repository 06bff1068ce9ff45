"""Runs compared at each checkpoint: exact optima in place of their weights, curves of known shape, real training."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics.comparison.text import comparison_text
from twoclocks.empirics.config import QUICK

TINY = {
    "steps": 12, "batch_size": 8, "n_eval": 16, "eval_first": 3, "eval_ratio": 1.6, "checkpoint_ratio": 1.5,
    "sampler_steps": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    configs = {
        "dit": tc.RunConfig(rule="parity:2x4,G=4", model="dit-nano", n_train=8, **TINY),
        "gpt": tc.RunConfig(rule="parity:2x4,G=4", model="gpt-nano", n_train=8, **TINY),
    }
    return {name: tc.train(config, folder / name, progress=False) for name, config in configs.items()}


def exact_gpt(run, name):
    law = tc.compare.reference_laws(run)[name]

    def model(x):
        probs = law.next_token_probs(x)
        return torch.where(probs.sum(-1, keepdim=True) > 0.5, probs, 0.5).log()

    return model


@pytest.mark.parametrize(("name", "position"), [("population", 0), ("empirical", 1)])
def test_exact_optima_in_place_of_the_weights(runs, monkeypatch, name, position):
    dit, gpt = runs["dit"], runs["gpt"]
    exact = {"dit": tc.OptimalDenoiser(tc.compare.reference_laws(dit)[name]), "gpt": exact_gpt(gpt, name)}
    monkeypatch.setattr(tc.Run, "model", lambda run, step=None: exact[run.config.model[:3]])
    table = tc.compare.compare_over_training(dit, n_samples=16)
    sure = table[table["memorization_coordinate_se"] < 0.01]
    assert len(sure) > len(table) / 2
    np.testing.assert_allclose(sure["memorization_coordinate"], position, atol=1e-3)
    clear = table[(table["sigma"] > 0.6) & (table["sigma"] < 2)]
    assert set(clear["nearest"]) == {name}
    table = tc.compare.compare_over_training(gpt)
    known = table["memorization_coordinate"].dropna()
    assert len(known) > 8
    np.testing.assert_allclose(known, position, atol=1e-10)


def test_tables_are_tidy_and_reproducible(runs):
    dit, gpt = runs["dit"], runs["gpt"]
    table = tc.compare.compare_over_training(dit, sigmas=[0.5, 1.0], n_samples=8)
    assert table.groupby(["step", "split", "sigma"]).ngroups == len(table) == len(dit.checkpoint_steps) * 3 * 2
    assert list(table["step"].unique()) == dit.checkpoint_steps
    assert set(table["split"]) == {"train", "held-out", "cube"}
    last = tc.compare.compare_over_training(dit, [0.5, 1.0], steps=[12], n_samples=8)
    assert last.equals(table[table["step"] == 12].reset_index(drop=True))
    first = table[table["step"] == 3]["score_mse_population"].to_numpy()
    assert not np.allclose(first, last["score_mse_population"], rtol=1e-5)
    tokens = tc.compare.compare_over_training(gpt, n_samples=8)
    assert len(tokens) == len(gpt.checkpoint_steps) * 2 * (1 + 8)
    assert {"kl_population", "kl_empirical", "kl_ngram_1", "kl_ngram_2"} <= set(tokens)


def test_splits_are_what_they_say(runs):
    run = runs["gpt"]
    splits = tc.compare.comparison_splits(run, 20)
    train = {tuple(row) for row in run.train_set.tolist()}
    assert {tuple(row) for row in splits["train"].tolist()} == train  # there are only 8
    held_out = {tuple(row) for row in splits["held-out"].tolist()}
    assert len(held_out) == 20
    assert not held_out & train
    assert run.rule.is_valid(splits["held-out"]).all()
    assert splits["cube"].shape == (20, 8)
    assert not run.rule.is_valid(splits["cube"]).all()
    assert torch.equal(splits["train"][:4], tc.compare.comparison_splits(run, 4)["train"])
    assert len(tc.compare.comparison_splits(run, 100)["held-out"]) == 64 - 8
    with pytest.raises(ValueError, match="n_samples must be at least 2"):
        tc.compare.comparison_splits(run, 1)


def test_a_training_set_of_all_grids_leaves_none_out(runs, tmp_path):
    config = dataclasses.replace(runs["gpt"].config, rule="parity:1x4,G=2", n_train=4)
    run = tc.train(config, tmp_path / "all", progress=False)
    table = tc.compare.compare_over_training(run, steps=run.checkpoint_steps[-1:])
    assert set(table["split"]) == {"train"}
    assert table["memorization_coordinate"].isna().all()  # the optima are the same
    assert "train" in comparison_text(table, run)
    tc.compare.plot_comparison(table, run, tmp_path / "all.png")


def test_bad_requests(runs):
    with pytest.raises(ValueError, match="no weights of step 7"):
        tc.compare.compare_over_training(runs["dit"], steps=[7])
    with pytest.raises(ValueError, match="sigmas are for a DiT"):
        tc.compare.compare_over_training(runs["gpt"], sigmas=[1.0])
    with pytest.raises(ValueError, match="positive"):
        tc.compare.compare_over_training(runs["dit"], sigmas=[-1.0])
    tokens = tc.compare.compare_over_training(runs["gpt"])
    with pytest.raises(ValueError, match="needs the table of a DiT"):
        tc.compare.condensation_check(runs["gpt"], tokens)
    with pytest.raises(ValueError, match="not of a dit-nano run"):
        tc.compare.plot_comparison(tokens, runs["dit"], "unused.png")
    with pytest.raises(ValueError, match="lacks step"):
        tc.compare.coordinate_onsets(tokens.drop(columns="step"))


def curves(steps, sigmas, coordinate, signal, error=0.01):
    """A table as of a DiT run, with given coordinate(step, sigma) and signal(sigma) on train and held-out samples."""
    rows = [
        {
            "step": step, "split": split, "sigma": sigma, "memorization_coordinate": coordinate(step, sigma),
            "memorization_coordinate_se": error, "signal": signal(sigma), "effective_samples": 50.0, "n_samples": 64,
        }
        for step in steps for split in ("train", "held-out") for sigma in sigmas
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_condensation_check_finds_a_known_peak_and_crossing(runs):
    sigmas = np.geomspace(0.1, 10, 25)

    def coordinate(step, sigma):
        return 1 / (1 + (1.3 / sigma) ** 3)

    table = curves([10], sigmas, coordinate, lambda s: math.exp(-(math.log(s / 0.8) ** 2)))
    check = tc.compare.condensation_check(runs["dit"], table)
    assert check.crossing == pytest.approx(1.3, rel=0.01)
    assert check.crossing_low < 1.3 < check.crossing_high < 1.4
    assert check.optimal_peak == pytest.approx(0.8, rel=0.01)
    fine = np.geomspace(0.1, 10, 100_001)
    exact = fine[np.argmax([coordinate(10, s) ** 2 * math.exp(-(math.log(s / 0.8) ** 2)) for s in fine])]
    assert check.peak == pytest.approx(exact, rel=0.02)
    assert check.peak_low <= check.peak <= check.peak_high
    assert check.predicted == tc.condensation_sigma(runs["dit"].rule, 8)
    assert "1.30" in str(check)
    never = tc.compare.condensation_check(runs["dit"], curves([10], sigmas, lambda *_: 0.1, lambda s: 1.0))
    assert math.isnan(never.crossing)
    assert "nowhere" in str(never)
    still = tc.compare.condensation_check(runs["dit"], curves([10], sigmas, lambda *_: 0.02, lambda s: 1.0))
    assert math.isnan(still.peak)
    assert "none beyond 3 standard errors" in str(still)


def test_intervals_cover_the_truth_under_their_errors(runs, monkeypatch):
    from twoclocks.empirics.comparison import moves

    monkeypatch.setattr(moves, "N_BOOT", 300)
    rng = np.random.default_rng(0)
    sigmas, covered = np.geomspace(0.2, 6.4, 11), 0
    for _ in range(100):
        noise = dict(zip(sigmas, 0.05 * rng.standard_normal(11), strict=True))
        table = curves([10], sigmas, lambda _, s, noise=noise: 0.5 + math.log(s) / 4 + noise[s], lambda s: 1.0, 0.05)
        monkeypatch.setattr(moves, "condensation_scale", lambda run: 1.0)
        check = tc.compare.condensation_check(runs["dit"], table)
        covered += check.crossing_low <= 1.0 <= check.crossing_high
    assert covered >= 88


def test_onsets_of_the_coordinate():
    table = curves([10, 20, 40], [0.5, 1.0], lambda step, sigma: sigma * step / 50, lambda s: 1.0)
    onsets = tc.compare.coordinate_onsets(table)
    found = onsets[onsets["split"] == "train"].set_index("sigma")
    assert found.loc[1.0, ["lower", "upper", "censored"]].tolist() == [20, 40, False]
    assert found.loc[0.5, ["lower", "upper", "censored"]].tolist() == [40, math.inf, True]
    early = tc.compare.coordinate_onsets(table, 0.2)
    assert early["upper"].tolist() == [20, 10, 20, 10]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dit", "gpt"])
def test_the_command_prints_and_writes(runs, tmp_path, capsys, kind):
    options = ["--sigmas", "0.8", "1", "1.4", "2", "--n-samples", "24"] if kind == "dit" else []
    main(["compare", str(runs[kind].path), "--out", str(tmp_path / "deep" / "out"), *options])
    printed = capsys.readouterr().out
    body = printed.split("\ntable:")[0]
    assert max(map(len, body.splitlines())) <= 80
    assert "held-out" in body
    assert ("sigma_c(N)" if kind == "dit" else "ngram_2") in body
    table = pd.read_csv(tmp_path / "deep" / "out" / "comparison.csv")
    assert list(table["step"].unique()) == runs[kind].checkpoint_steps
    assert (tmp_path / "deep" / "out" / "comparison.png").stat().st_size > 30_000
    ladder = pd.read_csv(tmp_path / "deep" / "out" / "ladder.csv")
    assert {"cube", "cells", "population", "empirical", "learned"} <= set(ladder["of"])
    assert (tmp_path / "deep" / "out" / "ladder.png").stat().st_size > 30_000
    assert "Half way by step: cells" in body
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(tmp_path)])
    assert stop.value.code == 2
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trained_gpt_moves_from_rule_to_memory(tmp_path):
    run = tc.train(QUICK["gpt"], tmp_path / "gpt", progress=False)
    table = tc.compare.compare_over_training(run)
    whole = table[table["position"].isna()].pivot(index="step", columns="split", values="memorization_coordinate")
    before = whole[whole.index <= run.onsets["tau_rule"].upper]
    assert (before.abs() < 0.15).all(axis=None)
    assert (whole.iloc[-1] > 0.8).all()


@pytest.mark.slow
def test_a_trained_dit_moves_from_rule_to_memory(tmp_path):
    run = tc.train(QUICK["dit"], tmp_path / "dit", progress=False)
    table = tc.compare.compare_over_training(run, [0.8, 1.131, 1.6])
    train = table[table["split"] == "train"].pivot(index="step", columns="sigma", values="memorization_coordinate")
    mostly_valid = run.metrics["step"][run.metrics["rule_accuracy"] >= 0.5].min()  # 0.9 is reached sooner or later
    learned = train[train.index >= mostly_valid].iloc[0]  # it rises from then on, before copies show
    assert (learned < 0.25).all()
    assert (train.iloc[-1] > 0.3).all()
    assert (train.iloc[-1] > learned + 0.15).all()
