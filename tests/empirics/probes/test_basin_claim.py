"""Claim C7 on exact denoisers that play a net in training: supported, refuted, undecided as they must be."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import twoclocks as tc
from twoclocks.empirics.data import sample_distinct, training_set
from twoclocks.empirics.probes import basin_claim, basins

RULE = tc.rule("parity:3x4,G=2")
TRAIN = training_set(RULE, 16, seed=0)
ANCHORS = {"train": TRAIN, "novel valid": sample_distinct(RULE, 16, torch.Generator().manual_seed(1), exclude=TRAIN)}
LAWS = {"cube": tc.CubeLaw((3, 4)), "rule": RULE, "memory": tc.EmpiricalLaw(TRAIN, 2, (3, 4))}
CLOCKS = {"tau_rule": tc.Onset(20.0, 10.0, 20.0, False), "tau_mem": tc.Onset(80.0, 40.0, 80.0, False)}


def labelled(law, step, denoiser="learned", n_draws=40):
    net = tc.OptimalDenoiser(LAWS[law])
    table = basins.basin_volumes(net, ANCHORS, RULE, TRAIN, [0.6, 0.9], n_draws=n_draws)
    return table.assign(denoiser=denoiser, step=pd.array([step] * len(table), dtype="Int64"))


def course(laws, **options):
    tables = [labelled(law, step, **options) for law, step in zip(laws, (10, 20, 40, 80, 160), strict=True)]
    return pd.concat([*tables, *(labelled(law, None, f"{law} optimum", **options) for law in ("cube", "rule"))])


def test_rule_then_memory_supports_the_claim():
    verdict = basin_claim.claim_basins(course(["cube", "rule", "rule", "memory", "memory"]), CLOCKS)
    assert verdict.claim == "C7"
    assert verdict.verdict == "supported"
    assert verdict.p_value < 1e-6
    assert verdict.ci[0] > 100  # novel grids never return
    assert verdict.n_runs == 1
    assert "above 1 (p < 0.05) from step (40, 80], tau_mem (40, 80]" in verdict.note
    assert "valid basins expand in step (10, 20], 0.5 to 2 times tau_rule (10, 20]" in verdict.note
    assert "half rule accuracy" not in verdict.note
    assert "rule optimum: novel valid" in verdict.note


@pytest.mark.parametrize(
    "laws",
    [
        ("rule", "rule", "rule", "rule", "memory"),  # valid basins are there from the start
        ("cube", "cube", "cube", "rule", "memory"),  # they come late
        ("cube", "cube", "rule", "rule", "rule"),  # training basins never dominate
        ("cube", "cube", "rule", "memory", "rule"),  # they do, but not for good
        ("cube", "cube", "rule", "rule", "memory"),  # they do, but not from tau_mem on
    ],
)
def test_either_part_alone_refutes_it(laws):
    clocks = {"tau_rule": tc.Onset(27.0, 24.0, 27.0, False), "tau_mem": CLOCKS["tau_mem"]}
    verdict = basin_claim.claim_basins(course(laws, n_draws=200), clocks)
    assert verdict.verdict == "not supported"


def test_evaluations_too_far_apart_leave_it_undecided():
    clocks = CLOCKS | {"tau_rule": tc.Onset(15.0, 11.0, 15.0, False), "rule_half": tc.Onset(12.0, 10.0, 12.0, False)}
    verdict = basin_claim.claim_basins(course(["cube", "cube", "rule", "memory", "memory"]), clocks)
    assert verdict.verdict == "undecided"
    assert "expand in step (20, 40], 1.3 to 3.6 times tau_rule (11, 15]" in verdict.note
    assert "that is in step (20, 40], 1.7 to 4 times half rule accuracy (10, 12]" in verdict.note


def test_the_interval_of_the_expansion_covers_the_draws():
    """Some anchors always return at step 20, as many as lift the mean to the level: half the draws cross it there."""
    table = course(["cube", "cube", "rule", "rule", "rule"])
    assert str(basin_claim.expansion_onset(table)) == "(20, 40]"
    novel, early = table["kind"].eq("novel valid"), table["step"].eq(20).fillna(False)
    cube, rule = (table[novel & table["denoiser"].eq(f"{law} optimum")]["itself"].sum() for law in ("cube", "rule"))
    most = table[novel & early]["n_draws"].sum()
    lifted = round(16 * (rule - cube) / 2 / (most - cube))
    assert 0 < lifted < 16
    table.loc[novel & early & (table["anchor"] < lifted), "itself"] = 40
    found = basin_claim.expansion_onset(table)
    assert (found.lower, found.upper) == (10, 40)
    assert basin_claim.expansion_onset(course(["cube"] * 5)).censored


def test_too_few_draws_leave_it_undecided():
    table = course(["cube", "rule", "rule", "rule", "rule"], n_draws=1)
    assert basin_claim.claim_basins(table[table["anchor"] < 3], CLOCKS).verdict == "undecided"


def test_missing_clocks_and_optima_leave_it_undecided():
    never = tc.Onset(np.inf, 160.0, np.inf, True)
    table = course(["cube"] * 5, n_draws=1)
    table = table[table["denoiser"] != "rule optimum"]
    verdict = basin_claim.claim_basins(table, {"tau_rule": never, "tau_mem": never})
    assert verdict.verdict == "undecided"
    assert verdict.estimate is verdict.ci is verdict.p_value is None
    assert verdict.note == "no weights kept from tau_mem on; no rule optimum"


def test_ratios_by_hand():
    table = pd.DataFrame(
        {"denoiser": "learned", "step": 5, "kind": ["train"] * 3 + ["novel valid"] * 3, "sigma": 1.0,
         "anchor": [0, 1, 2] * 2, "n_draws": 4, "itself": [4, 2, 4, 1, 3, 0]}
    )  # fmt: skip
    row = basin_claim.basin_ratios(table).iloc[0]
    assert row["train"] == pytest.approx(10 / 12)
    assert row["novel_valid"] == pytest.approx(4 / 12)
    assert row["ratio"] == pytest.approx(10.5 / 4.5)
    assert row["low"] < row["ratio"] < row["high"]
    expected = stats.ttest_ind([1, 0.5, 1], [0.25, 0.75, 0], equal_var=False, alternative="greater").pvalue
    assert row["p_value"] == pytest.approx(expected)


@pytest.mark.slow
def test_ratios_of_equal_basins_cover_one():
    rng = np.random.default_rng(0)
    covered, rejected = [], []
    for _ in range(200):
        chance = rng.beta(2, 2, size=80)
        table = pd.DataFrame(
            {"denoiser": "learned", "step": 1, "kind": np.repeat(["train", "novel valid"], 40), "sigma": 1.0,
             "anchor": np.tile(np.arange(40), 2), "n_draws": 3, "itself": rng.binomial(3, chance)}
        )  # fmt: skip
        row = basin_claim.basin_ratios(table, n_boot=500).iloc[0]
        covered.append(row["low"] < 1 < row["high"])
        rejected.append(row["p_value"] < 0.05)
    assert np.mean(covered) > 0.91
    assert 0.01 < np.mean(rejected) < 0.10


def test_figure_over_a_run(dit_run, tmp_path):
    table = basins.run_basins(dit_run, sigmas=(0.5, 1.0), n_anchors=12, n_draws=1)
    verdict = basin_claim.claim_basins(table, dit_run.onsets)
    assert verdict.verdict in ("undecided", "not supported")  # 80 steps of training have no basins to speak of
    basin_claim.basin_ratio_figure(table, dit_run).savefig(tmp_path / "ratio.png")
    assert (tmp_path / "ratio.png").stat().st_size > 5000
