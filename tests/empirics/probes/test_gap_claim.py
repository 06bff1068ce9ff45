"""Claim C8 on made gaps and on exact denoisers that play a net in training."""

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import sample_distinct
from twoclocks.empirics.probes import gap_claim, spectra

STEPS = (10, 20, 40, 80, 160, 320)
SIGMAS = (0.1, 0.5, 1.0, 3.0)


def gaps(course, scatter=0.02, n=40, seed=0):
    """Samples about the mean gaps of `course`: a row per step, a column per sigma."""
    rng = np.random.default_rng(seed)
    means = np.asarray(course, dtype=float)
    noise = rng.normal(size=(1, 1, n)) * scatter
    values = means[..., None] + noise * np.abs(means[..., None])
    grid = np.array([(step, sigma, k) for step in STEPS for sigma in SIGMAS for k in range(n)])
    table = pd.DataFrame(grid, columns=["step", "sigma", "sample"]).astype({"step": "Int64", "sample": int})
    return table.assign(denoiser="learned", split="held-out", gap=values.reshape(-1))


FIRST_AT_ONE = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0.02, 0.001], [0, 0.02, 0.05, 0.01], [0, 0.05, 0.1, 0.02],
                [0.02, 0.1, 0.1, 0.02]]  # fmt: skip


def test_the_first_opening_by_hand():
    found = gap_claim.gap_opening(gaps(FIRST_AT_ONE))
    assert found.sigma == 1.0
    assert found.interval == (1.0, 1.0)
    assert (found.onset.lower, found.onset.upper) == (20, 40)
    assert gap_claim.opening_text(found) == "sigma = 1 [1, 1], step (20, 40]"


def test_among_equally_early_ones_the_largest_counts():
    course = np.array(FIRST_AT_ONE)
    course[2] = [0, 0.02, 0.03, 0.02]
    assert gap_claim.gap_opening(gaps(course)).sigma == 1.0
    course[2] = [0, 0.04, 0.03, 0.02]
    assert gap_claim.gap_opening(gaps(course)).sigma == 0.5


def test_a_gap_that_does_not_last_is_no_opening():
    course = np.array(FIRST_AT_ONE)
    course[0] = [0, 0, 0, 0.5]
    course[-1] = [0, 5, 5, 5]  # the level rises to 0.5, which is reached once at first and once at last
    assert gap_claim.gap_opening(gaps(course)) is None
    noise = gaps(np.zeros((6, 4)))
    noise["gap"] = np.tile(np.random.default_rng(2).normal(size=4 * 40), 6)  # the same at every step
    assert gap_claim.gap_opening(noise) is None


def test_the_interval_covers_both_of_two_scales_that_samples_cannot_tell_apart():
    course = np.array(FIRST_AT_ONE)
    course[2] = [0, 0, 0.02, 0.02]
    table = gaps(course)
    rng = np.random.default_rng(1)
    shake = table["step"].eq(40) & table["sigma"].ge(1)
    table.loc[shake, "gap"] += rng.normal(size=shake.sum()) * 0.02
    assert gap_claim.gap_opening(table).interval == (1.0, 3.0)


# Exact denoisers play the net: 3x4 parity, 24 training samples.
RULE = tc.rule("parity:3x4,G=4")
TRAIN = sample_distinct(RULE, 24, torch.Generator().manual_seed(1))
PARTS = {
    "train": TRAIN,
    "held-out": sample_distinct(RULE, 24, torch.Generator().manual_seed(2), exclude=TRAIN),
    "cube": torch.randint(2, (24, 12), generator=torch.Generator().manual_seed(3)),
}
CELLS = tc.ProductLaw(torch.nn.functional.one_hot(TRAIN, 2).double().mean(0), (3, 4))
LAWS = {"cube": tc.CubeLaw((3, 4)), "rule": RULE, "memory": tc.EmpiricalLaw(TRAIN, 2, (3, 4)), "cells": CELLS}
WIDE = (0.1, 0.3, 0.6, 1.0, 1.5, 2.5, 4.0)


def mixture(weights):
    nets = {name: tc.OptimalDenoiser(LAWS[name]) for name in weights}
    return lambda y, sigma: sum(w(sigma) * nets[name](y, sigma) for name, w in weights.items())


def labelled(net, name, step):
    table = spectra.dsm_errors(net, PARTS, WIDE, tc.Encoding((3, 4), 2), 8, torch.Generator().manual_seed(5))
    return table.assign(denoiser=name, step=pd.array([step] * len(table), dtype="Int64"))


def course(learned):
    optima = {"cube optimum": "cube", "rule optimum": "rule", "training-cells optimum": "cells"}
    tables = [labelled(net, "learned", step) for step, net in zip(STEPS, learned, strict=True)]
    tables += [labelled(tc.OptimalDenoiser(LAWS[law]), name, None) for name, law in optima.items()]
    return spectra.sample_gaps(pd.concat(tables, ignore_index=True))


def constant(value):
    return lambda sigma: torch.full((), value)


def within(low, high, value):
    """A weight where low < sigma < high."""
    return lambda sigma: (value * ((sigma > low) & (sigma < high))).reshape(-1, 1, 1, 1)


def less(weight):
    return lambda sigma: 1 - weight(sigma)


def memory_within(low, high, value):
    weight = within(low, high, value)
    return mixture({"rule": less(weight), "memory": weight})


ONLY_CUBE, ONLY_RULE = mixture({"cube": constant(1.0)}), mixture({"rule": constant(1.0)})
CLOCKS = {"tau_rule": tc.Onset(40.0, 20.0, 40.0, False), "tau_mem": tc.Onset(160.0, 80.0, 160.0, False)}


def test_memory_at_intermediate_noise_after_the_rule_supports_the_claim():
    table = course([ONLY_CUBE, ONLY_CUBE, ONLY_RULE, ONLY_RULE, memory_within(0.5, 2, 0.3), memory_within(0, 9, 0.8)])
    verdict = gap_claim.claim_gap(table, CLOCKS)
    assert verdict.claim == "C8"
    assert verdict.verdict == "supported"
    assert verdict.n_runs == 1
    assert 0.2 <= verdict.ci[0] <= verdict.estimate <= verdict.ci[1] <= 2
    assert "opens in step (80, 160]" in verdict.note
    assert "split off in step (20, 40], 0.5 to 2 times tau_rule (20, 40]" in verdict.note
    shares = gap_claim.cube_share(table).set_index("step")
    assert shares.loc[20, "high"] < 0.3
    assert shares.loc[40, "low"] == pytest.approx(1)
    assert "significant first at sigma = " in verdict.note
    assert "half rule accuracy" not in verdict.note
    half = CLOCKS | {"rule_half": tc.Onset(20.0, 10.0, 20.0, False)}
    assert "that is in step (20, 40], 1 to 4 times half rule accuracy (10, 20]" in gap_claim.claim_gap(table, half).note
    unclear = gap_claim.claim_gap(table, {"tau_rule": tc.Onset(20.0, 15.0, 20.0, False)})
    assert unclear.verdict == "undecided"  # the cube's onset is 1 to 2.7 times tau_rule


def test_memory_at_high_noise_first_refutes_the_claim():
    table = course([ONLY_CUBE, ONLY_CUBE, ONLY_RULE, ONLY_RULE, memory_within(2, 9, 1.0), memory_within(0, 9, 0.8)])
    verdict = gap_claim.claim_gap(table, CLOCKS)
    assert verdict.verdict == "not supported"
    assert verdict.ci[0] > 2


def test_cube_samples_that_split_off_late_refute_the_claim():
    table = course([ONLY_CUBE] * 3 + [ONLY_RULE, memory_within(0.5, 2, 0.3), memory_within(0, 9, 0.8)])
    early = {"tau_rule": tc.Onset(15.0, 10.0, 15.0, False)}
    verdict = gap_claim.claim_gap(table, early)
    assert "split off in step (40, 80]" in verdict.note
    assert verdict.verdict == "not supported"


def test_no_gap_and_no_clock_leave_it_undecided():
    never = tc.Onset(np.inf, 320.0, np.inf, True)
    verdict = gap_claim.claim_gap(course([ONLY_CUBE] * 6), {"tau_rule": never})
    assert verdict.verdict == "undecided"
    assert verdict.estimate is None
    assert "no gap opens" in verdict.note


def test_what_cell_frequencies_explain_is_taken_away():
    """A net that first knows the cells of the training set, at high noise, and then memorizes at intermediate noise."""
    weight = within(2, 9, 1.0)
    cells = mixture({"rule": less(weight), "cells": weight})
    late = mixture({"rule": less(within(0.5, 9, 1.0)), "cells": weight, "memory": within(0.5, 2, 1.0)})
    table = course([ONLY_CUBE, ONLY_RULE, cells, cells, late, late])
    raw = gap_claim.gap_opening(table[(table["denoiser"] == "learned") & (table["split"] == "held-out")])
    beyond = gap_claim.gap_opening(gap_claim.gap_beyond_cells(table))
    assert raw.sigma > 2
    assert raw.onset.upper == 40
    assert beyond.sigma < 2
    assert beyond.onset.upper == 160
    with pytest.raises(ValueError, match="training-cells optimum"):
        gap_claim.gap_beyond_cells(table[table["denoiser"] == "learned"])
    with pytest.raises(ValueError, match="rule optimum"):
        gap_claim.cube_share(table[table["denoiser"] == "learned"])
