"""Counts of states against the generations themselves, and ratios back from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import training_set
from twoclocks.empirics.evaluation import Evaluator
from twoclocks.empirics.families import Generations
from twoclocks.empirics.state_counts import STATES, check_counts, ratios

RULE = tc.rule("parity:2x4,G=4")
N_EVAL = 97  # no power of two: ratios are rounded


@pytest.fixture(scope="module")
def evaluations() -> tuple[Evaluator, list[Generations], pd.DataFrame]:
    evaluator = Evaluator(RULE, training_set(RULE, 16, seed=0))
    generator = torch.Generator().manual_seed(1)
    generations = []
    for _ in range(5):
        x = torch.cat([RULE.sample(60, generator), torch.randint(2, (N_EVAL - 60, 8), generator=generator)])
        generations.append(Generations(x, torch.rand(N_EVAL, generator=generator) < 0.2))
    metrics = [{"step": 10 * (k + 1), **evaluator.metrics(g)} for k, g in enumerate(generations)]
    return evaluator, generations, pd.DataFrame(metrics)


def test_counts_are_those_of_the_generations(
    evaluations: tuple[Evaluator, list[Generations], pd.DataFrame],
) -> None:
    evaluator, generations, metrics = evaluations
    counts = tc.empirics.state_counts(metrics, N_EVAL)
    assert counts["step"].tolist() == [10, 20, 30, 40, 50]
    for (_, row), each in zip(counts.iterrows(), generations, strict=True):
        valid, memorized = evaluator.states(each)
        assert row["memorized"] == (valid & memorized).sum() > 0
        assert row["novel_valid"] == (valid & ~memorized).sum()
        assert row["violating"] == (~valid & ~each.ambiguous).sum()
        assert row["ambiguous"] == each.ambiguous.sum() > 0


def test_ratios_are_the_metrics(evaluations: tuple[Evaluator, list[Generations], pd.DataFrame]) -> None:
    evaluator, _, metrics = evaluations
    columns = ["rule_accuracy", "memorization", "memorization_p", "novel_valid"]
    got = ratios(check_counts(tc.empirics.state_counts(metrics, N_EVAL)), columns, evaluator.chance)
    for column in columns:
        np.testing.assert_array_equal(got[column], metrics[column])


def test_what_is_no_count_is_refused(evaluations: tuple[Evaluator, list[Generations], pd.DataFrame]) -> None:
    _, _, metrics = evaluations
    with pytest.raises(ValueError, match="counts of 96 generations"):
        tc.empirics.state_counts(metrics, 96)
    with pytest.raises(ValueError, match="contradict"):
        tc.empirics.state_counts(metrics.assign(novel_valid=0.0), N_EVAL)
    counts = tc.empirics.state_counts(metrics, N_EVAL)
    with pytest.raises(ValueError, match="no column 'memorized'"):
        check_counts(counts.drop(columns="memorized"))
    with pytest.raises(ValueError, match="whole numbers"):
        check_counts(counts.assign(violating=0.5))
    with pytest.raises(ValueError, match="at least one evaluation"):
        check_counts(counts[:0])
    with pytest.raises(ValueError, match="at least one generation"):
        check_counts(counts.assign(**dict.fromkeys(STATES, 0)))


def test_a_run_gives_its_counts_chance_and_onsets(tmp_path) -> None:
    config = tc.RunConfig(rule=RULE.spec, model="gpt-nano", n_train=8, steps=12, batch_size=8, n_eval=32, eval_first=5)
    run = tc.train(config, tmp_path / "run", progress=False)
    counts = run.state_counts
    assert (counts[list(STATES)].sum(axis=1) == 32).all()
    evaluator = Evaluator(RULE, run.train_set)
    for _, row in counts.iterrows():
        valid, memorized = evaluator.states(run.samples(row["step"]))
        assert row["memorized"] == memorized.sum()
        assert row["novel_valid"] + row["memorized"] == valid.sum()
    assert {name: run.onset(name) for name in ("tau_rule", "tau_mem")} == run.onsets
    assert run.chance == run.result["chance"]
    (tmp_path / "run" / "result.json").unlink()
    assert run.chance == 8 / RULE.support_size
    assert run.onset("tau_rule", patience=99).censored
    with pytest.raises(ValueError, match="unknown onset"):
        run.onset("tau")
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="no evaluation yet"):
        run.onset("tau_rule")
