"""States of generations from exact laws, whose fate is known; transitions and windows of rasters written by hand."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import random_stream, sample_distinct, training_set
from twoclocks.empirics.families import Generations, family
from twoclocks.empirics.probes import states
from twoclocks.empirics.probes.states import STATES, StateRaster

RULE = tc.rule("parity:2x4,G=4")
ENCODING = tc.Encoding((2, 4), 2)
TRAIN = training_set(RULE, 16, seed=0)
AMBIGUOUS, VIOLATING, NOVEL, MEMORIZED = range(4)


def onset(lower, upper):
    return tc.Onset(upper, lower, upper, math.isinf(upper))


def sampler(net, encoding, sampler_steps=18, model="dit-nano"):
    config = tc.RunConfig(model=model, sampler_steps=sampler_steps)
    return partial(family(model).generate, net, config=config, encoding=encoding, fixed=True)


def test_every_state_is_told_from_the_others():
    (novel,) = sample_distinct(RULE, 1, torch.Generator().manual_seed(0), exclude=TRAIN)
    x = torch.stack([TRAIN[0], TRAIN[0], novel, TRAIN[0]])
    x[3, 0] = 1 - x[3, 0]
    flags = torch.tensor([True, False, False, False])
    raster = states.trace_states([(7, lambda n, generator: Generations(x, flags))], RULE, TRAIN, n=4)
    assert raster.states.tolist() == [[AMBIGUOUS], [MEMORIZED], [NOVEL], [VIOLATING]]
    assert raster.states.dtype == np.int8
    assert raster.counts.to_dict("records") == [{"step": 7, **dict.fromkeys(STATES, 1)}]


def test_exact_optima_memorize_or_innovate():
    laws = {1: RULE, 2: tc.EmpiricalLaw(TRAIN, 2, (2, 4)), 3: tc.CubeLaw((2, 4))}
    samplers = [(step, sampler(tc.OptimalDenoiser(law), ENCODING, 30)) for step, law in laws.items()]
    raster = states.trace_states(samplers, RULE, TRAIN, n=600, seed=3)
    counts = raster.counts.set_index("step")
    assert counts.loc[2, "memorized"] == 600
    assert counts.loc[1, "memorized"] + counts.loc[1, "novel_valid"] >= 598  # the sampler's steps are finite
    for step, chance, of in ((1, 16 / 64, "memorized"), (3, 48 / 256, "novel_valid"), (3, 192 / 256, "violating")):
        assert abs(counts.loc[step, of] - 600 * chance) < 4 * math.sqrt(600 * chance * (1 - chance))


def test_the_noise_is_the_same_at_every_step_and_the_seed_s():
    seen = []

    def sampler(n, generator):
        seen.append(torch.rand(n, generator=generator))
        return Generations(torch.zeros(n, 8, dtype=torch.long), torch.zeros(n, dtype=torch.bool))

    states.trace_states([(1, sampler), (2, sampler)], RULE, TRAIN, n=700, seed=5)
    states.trace_states([(1, sampler)], RULE, TRAIN, n=700, seed=6)
    batches = len(seen) // 3
    first, second, other = (torch.cat(seen[k * batches : (k + 1) * batches]) for k in range(3))
    assert len(first) == 700
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert len(first.unique()) > 690  # batches do not repeat each other's noise


def test_a_gpt_draws_each_cell_with_the_same_number():
    """A barely changed model changes few symbols; with fresh numbers it would change them all."""
    torch.manual_seed(0)
    model = tc.build_model("gpt-nano", tc.rule("parity:6x6,G=3"))
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(1e-4 * torch.randn_like(parameter))
    grids = [
        sampler(net, None, model="gpt-nano")(300, random_stream(seed, "x")).symbols
        for net, seed in ((model, 0), (changed, 0), (model, 1))
    ]
    assert (grids[0] != grids[1]).any(1).double().mean() < 0.05
    assert (grids[0] != grids[2]).any(1).all()


def test_a_sampler_that_fails_is_told():
    with pytest.raises(ValueError, match="encoding"):
        sampler(lambda y, sigma: y, None)(2, random_stream(0, "x"))
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        states.trace_states([], RULE, TRAIN, n=0)
    with pytest.raises(ValueError, match="at least one training step"):
        states.trace_states([], RULE, TRAIN)


RASTER = StateRaster(
    np.array([[0, 1, 2, 3], [0, 0, 2, 3], [0, 1, 1, 2], [1, 1, 2, 2]] + [[0, 1, 2, 2]] * 6, dtype=np.int8),
    (10, 20, 40, 80),
)


def test_transitions_are_counts_between_the_ends():
    matrix = states.transition_matrix(RASTER, 10, 80)
    assert matrix.to_numpy().sum() == 10
    assert matrix.loc["ambiguous", "memorized"] == 2
    assert matrix.loc["ambiguous", "novel_valid"] == 7
    assert matrix.loc["violating", "novel_valid"] == 1
    assert (states.transition_matrix(RASTER, 20, 40).loc["violating"] == [0, 1, 8, 0]).all()
    for first, last, said in (
        (10, 30, "no step 30; it has 10, 20, 40, 80"),
        (40, 20, "before the last"),
        (20, 20, "before"),
    ):
        with pytest.raises(ValueError, match=said):
            states.transition_matrix(RASTER, first, last)


def test_windows_lie_between_the_clocks():
    windows = states.transition_windows(RASTER, {"tau_rule": onset(25, 35), "tau_mem": onset(50, 60)})
    assert windows == {"quantization": (10, 20), "rule learning": (20, 40), "memorization": (40, 80)}
    windows = states.transition_windows(RASTER, {"tau_rule": onset(80, math.inf), "tau_mem": onset(80, math.inf)})
    assert windows == {"quantization": (10, 20)}
    clear = StateRaster(np.maximum(RASTER.states, 1), RASTER.steps)  # as of a GPT
    windows = states.transition_windows(clear, {"tau_rule": onset(10, 15), "tau_mem": onset(2, 5)})
    assert windows == {"rule learning": (10, 20), "memorization": (10, 80)}


def test_the_table_holds_the_raster():
    table = states.raster_table(RASTER)
    assert list(table.columns) == ["sample", "step", "state"]
    assert table.iloc[1].tolist() == [0, 20, "violating"]
    wide = table.pivot(index="sample", columns="step", values="state")
    assert tuple(wide.columns) == RASTER.steps
    np.testing.assert_array_equal(wide, np.array(states.STATES, dtype=object)[RASTER.states])


def test_the_raster_of_a_run_is_that_of_its_weights(dit_run, tmp_path):
    raster = states.state_raster(dit_run, n=40, seed=2)
    assert raster.steps == (10, 20, 40, 80)
    at_40 = sampler(dit_run.model(40), dit_run.encoding, 4)
    alone = states.trace_states([(40, at_40)], dit_run.rule, dit_run.train_set, n=40, seed=2)
    np.testing.assert_array_equal(raster.states[:, 2], alone.states[:, 0])
    np.testing.assert_array_equal(states.state_raster(dit_run, 40, 2, steps=[20, 80]).states, raster.states[:, [1, 3]])
    with pytest.raises(ValueError, match="keeps no weights of step 30"):
        states.state_raster(dit_run, 5, steps=[30])
    states.raster_figure(raster, dit_run).savefig(tmp_path / "raster.png")
    states.raster_figure(StateRaster(raster.states[:, :1], (10,)), dit_run).savefig(tmp_path / "one.png")
    assert (tmp_path / "raster.png").stat().st_size > 10_000
    assert (tmp_path / "one.png").stat().st_size > 10_000


def test_colours_differ_in_grayscale():
    gray = sorted(0.299 * r + 0.587 * g + 0.114 * b for r, g, b in states._COLOURS)
    assert np.diff(gray).min() > 0.12
