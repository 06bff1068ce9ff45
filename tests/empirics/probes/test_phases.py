"""Which steps stand for the phases, and what is probed over a run."""

import shutil

import pandas as pd
import pytest
import torch
from written_runs import write_clocks

import twoclocks as tc
from twoclocks.empirics.probes import phases


def with_onsets(run, path, rule, mem):
    shutil.copytree(run.path, path)
    write_clocks(path, tau_rule=rule, tau_mem=mem)
    return tc.load_run(path)


def test_phases_of_a_run_with_both_clocks(dit_run):
    assert list(phases.phase_steps(dit_run).items()) == [
        (phases.BEFORE, 10), (phases.AT_RULE, 20), (phases.WINDOW, 40), (phases.AFTER, 80)
    ]  # fmt: skip


def test_phases_never_reached_are_absent(dit_run, tmp_path):
    no_mem = with_onsets(dit_run, tmp_path / "no-mem", (5.0, 10.0), (60.0, None))
    assert phases.phase_steps(no_mem) == {phases.AT_RULE: 10, phases.WINDOW: 20}  # the middle of 10..60 is 24
    none = with_onsets(dit_run, tmp_path / "none", (80.0, None), (80.0, None))
    assert phases.phase_steps(none) == {phases.BEFORE: 80}


def test_before_the_rule_is_well_before_it(dit_run, tmp_path):
    late = with_onsets(dit_run, tmp_path / "late", (40.0, 80.0), (80.0, None))
    assert phases.phase_steps(late) == {phases.BEFORE: 20, phases.AT_RULE: 80}  # at 40 most would obey it
    none_so_early = with_onsets(dit_run, tmp_path / "early", (10.0, 20.0), (80.0, None))
    assert phases.phase_steps(none_so_early)[phases.BEFORE] == 10


def test_the_first_copies_are_a_phase_of_their_own(dit_run, tmp_path):
    both = with_onsets(dit_run, tmp_path / "both", (5.0, 10.0), (10.0, 20.0))
    assert phases.phase_steps(both) == {phases.AT_RULE: 10, phases.AT_MEM: 20, phases.AFTER: 80}


def test_every_denoiser_is_probed_with_the_run_s_weights(dit_run):
    y = torch.randn(3, 1, 2, 4, generator=torch.Generator().manual_seed(0))

    def probe(net):
        return pd.DataFrame({"value": [float(phases.denoise(net, y, 0.7)[0, 0, 0, 0])]})

    optima = ("cube optimum", "rule optimum", "training-set optimum")
    table = phases.over_run(dit_run, probe, steps=[20, 80], optima=optima)
    assert table["denoiser"].tolist() == ["learned", "learned", *optima]
    assert table["step"].tolist() == [20, 80, pd.NA, pd.NA, pd.NA]
    laws = (tc.CubeLaw((2, 4), 2), dit_run.rule, tc.EmpiricalLaw(dit_run.train_set, 2, (2, 4)))
    nets = [dit_run.model(20), dit_run.model(80), *(tc.OptimalDenoiser(law) for law in laws)]
    with torch.no_grad():
        expected = [float(net(y, torch.full((3,), 0.7))[0, 0, 0, 0]) for net in nets]
    assert table["value"].tolist() == pytest.approx(expected, rel=1e-6)
    assert [(name, step) for name, step, _ in phases.by_denoiser(table)][1:3] == [
        ("learned", 80),
        ("cube optimum", None),
    ]


def test_parts_of_a_batch_are_denoised_alike():
    y = torch.randn(10, 1, 2, 4)
    assert torch.equal(phases.denoise(lambda y, sigma: y * sigma[:, None, None, None], y, 0.5, batch_size=3), y * 0.5)


def test_splits_are_equally_many_and_of_their_kind(dit_run):
    splits = phases.run_splits(dit_run, 100)
    assert {name: tuple(x.shape) for name, x in splits.items()} == dict.fromkeys(("train", "held-out", "cube"), (16, 8))
    train = {tuple(x) for x in dit_run.train_set.tolist()}
    assert {tuple(x) for x in splits["train"].tolist()} == train
    assert dit_run.rule.is_valid(splits["held-out"]).all()
    assert not train & {tuple(x) for x in splits["held-out"].tolist()}


def test_a_small_training_set_comes_in_whole_rounds(dit_run):
    """16 training samples; 48 other valid grids."""
    for n_samples, rounds in ((20, 1), (32, 2), (47, 2), (100, 3)):
        splits = phases.run_splits(dit_run, n_samples, repeat=True)
        assert {len(x) for x in splits.values()} == {16 * rounds}
        assert torch.equal(splits["train"], splits["train"][:16].repeat(rounds, 1))
        assert len({tuple(x) for x in splits["held-out"].tolist()}) == 16 * rounds
    assert {len(x) for x in phases.run_splits(dit_run, 5, repeat=True).values()} == {5}


def test_what_cannot_be_probed_is_refused(dit_run, tmp_path):
    with pytest.raises(ValueError, match="optima must be among"):
        phases.over_run(dit_run, lambda net: pd.DataFrame(), steps=[10], optima=("best",))
    gpt = tc.train(
        tc.RunConfig(
            rule="parity:2x4,G=4", model="gpt-nano", n_train=16, steps=4, batch_size=4, n_eval=4, eval_first=4
        ),
        tmp_path / "gpt",
        progress=False,
    )
    with pytest.raises(ValueError, match="no score"):
        phases.over_run(gpt, lambda net: pd.DataFrame())
