"""Probes of masked models: losses and completions of exact laws against entropies and counts, and over a tiny run."""

import math

import pandas as pd
import pytest
import torch
from written_runs import write_clocks

import twoclocks as tc
from twoclocks.empirics.comparison.masked_generation import complete
from twoclocks.empirics.data import sample_distinct, training_set
from twoclocks.empirics.probes import mask_rates, unmasking
from twoclocks.empirics.probes.probe import probes

RULE = tc.rule("parity:2x4,G=4")
TRAIN = training_set(RULE, 16, seed=0)
HELD_OUT = sample_distinct(RULE, 30, torch.Generator().manual_seed(1), exclude=TRAIN)
EMPIRICAL = tc.EmpiricalLaw(TRAIN, 2, (2, 4))
SPLITS = {"train": TRAIN, "held-out": HELD_OUT}


def logits_of(law):
    return lambda x: law.unmask_probs(x).log()


@pytest.fixture(scope="module")
def mdm_run(tmp_path_factory):
    """Kept steps 10, 20, 40, 80; tau_rule in (10, 20], tau_mem in (40, 80]."""
    config = tc.RunConfig(
        rule=RULE.spec, model="mdm-nano", n_train=16, steps=80, batch_size=16, lr=2e-3, warmup=5, n_eval=16,
        eval_first=10, eval_ratio=2.0, checkpoint_ratio=1.9,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("runs") / "mdm"
    tc.train(config, path, progress=False)
    write_clocks(path, tau_rule=(10.0, 20.0), tau_mem=(40.0, 80.0))
    return tc.load_run(path)


def test_the_rules_loss_is_its_conditional_entropy():
    """A masked cell of parity is settled where no other cell of its group is masked; else it costs ln 2."""
    x = RULE.sample(4000, torch.Generator().manual_seed(0))
    table = mask_rates.loss_by_mask_rate(logits_of(RULE), {"rule": x}, 2, [0.2, 0.5, 1.0])
    expected = [math.log(2) * (1 - (1 - rate) ** 3) for rate in (0.2, 0.5, 1.0)]
    assert table["loss"].tolist() == pytest.approx(expected, abs=4 * table["loss_se"].max())
    assert table["loss"].iloc[-1] == pytest.approx(math.log(2), rel=1e-12)
    copied = mask_rates.loss_by_mask_rate(logits_of(EMPIRICAL), {"train": TRAIN}, 2, [0.125])
    assert copied["loss"].item() < table["loss"].iloc[0]


def test_floors_are_the_losses_of_the_optima(mdm_run):
    floors = mask_rates.rate_floors(mdm_run, 2000).set_index("mask_rate")
    for rate, row in floors.iterrows():
        expected = math.log(2) * (1 - (1 - rate) ** 3)
        assert row["rule"] == pytest.approx(expected, abs=max(4 * row["rule_se"], 1e-12))
    assert (floors["training_set"] < floors["rule"])[:0.9].all()
    # nothing seen: the entropy of each cell's frequencies in the training set
    share = mdm_run.train_set.double().mean(0)
    alone = torch.special.entr(torch.stack([share, 1 - share])).sum(0).mean()
    assert floors.loc[1.0, "training_set"] == pytest.approx(float(alone), rel=1e-10)


def test_exact_completions_by_counting():
    """For each masked sample, over the 64 valid grids: those that fit the visible cells are as likely as each other."""
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    rates = [0.25, 0.5, 0.9]
    tables = {
        name: unmasking.law_completions(law, SPLITS, TRAIN, rates, torch.Generator().manual_seed(3))
        for name, law in (("rule", RULE), ("train", EMPIRICAL))
    }
    everything = torch.cartesian_prod(*[torch.arange(2)] * 8)
    supports = {"rule": everything[RULE.is_valid(everything)], "train": TRAIN}
    for split, x in SPLITS.items():
        generator.set_state(state)
        uniform = torch.rand(x.shape, generator=generator, dtype=torch.float64)
        for rate in rates:
            seen = uniform >= rate
            for name, support in supports.items():
                fits = ((x[:, None] == support) | ~seen[:, None]).all(-1)  # (n, support)
                of_train = ((x[:, None] == TRAIN) | ~seen[:, None]).all(-1).sum(1).double()
                itself = (x[:, None] == support).all(-1).any(1).double()
                count = fits.sum(1).double()
                same = torch.where(count > 0, itself / count, 0).mean()
                some = torch.where(count > 0, of_train / count, 0).mean()
                table = tables[name]
                row = table[(table["split"] == split) & (table["mask_rate"] == rate)].iloc[0]
                assert row["same"] == pytest.approx(float(same), rel=1e-10, abs=1e-12)
                assert row["any"] == pytest.approx(float(some), rel=1e-10, abs=1e-12)
    assert (tables["train"].query("split == 'train'")["any"] - 1).abs().max() < 1e-12


@pytest.mark.parametrize("law", [RULE, EMPIRICAL], ids=["rule", "training set"])
def test_drawn_completions_of_a_law_come_as_often_as_they_should(law):
    splits = {"train": TRAIN.repeat(250, 1)}
    drawn = unmasking.unmasking_completions(logits_of(law), splits, TRAIN, RULE, [0.3, 0.7, 1.0])
    exact = unmasking.law_completions(law, splits, TRAIN, [0.3, 0.7, 1.0])
    for name in ("same", "any"):
        error = (exact[name] * (1 - exact[name]) / 4000).clip(lower=0) ** 0.5
        assert ((drawn[name] - exact[name]).abs() <= 4 * error + 1e-9).all()
    assert (drawn["valid"] == 1).all()


def test_visible_cells_stay():
    torch.manual_seed(0)
    net = tc.build_model("mdm-nano", RULE)
    given = torch.randint(3, (200, 8), generator=torch.Generator().manual_seed(0))
    given[0], given[1] = 2, torch.tensor([0, 1] * 4)  # all masked, and none
    x = complete(net, given, 2, torch.Generator().manual_seed(1))
    assert torch.equal(x[given < 2], given[given < 2])
    assert set(x.unique().tolist()) == {0, 1}


def test_over_a_run(mdm_run):
    losses = mask_rates.loss_over_training(mdm_run, 8)
    assert set(losses["step"]) == {10, 20, 40, 80}
    assert set(losses["split"]) == {"train", "held-out", "cube"}
    done = unmasking.completions_over_training(mdm_run, 8)
    assert set(done["model"]) == {"learned", "rule optimum", "training-set optimum"}
    pd.testing.assert_frame_equal(done, unmasking.completions_over_training(mdm_run, 8))
    gaps = mask_rates.mask_gaps(losses)
    first = losses[(losses["step"] == 10) & (losses["mask_rate"] == 0.5)].set_index("split")["loss"]
    found = gaps.query("step == 10 and mask_rate == 0.5")["gap"].item()
    assert found == pytest.approx(first["held-out"] - first["train"])


@pytest.mark.slow
def test_dissect_asks_the_probes_of_masks(mdm_run, tmp_path):
    assert {"mask_rates", "unmasking"} <= {name for name, probe in probes().items() if probe.serves(mdm_run.family)}
    written = {path.name for path in tc.probes.dissect(mdm_run, tmp_path / "seen", n_noises=20, progress=False)}
    expected = {"mask_rates.csv", "mask_floors.csv", "mask_rates.png", "mask_gap.png", "unmasking.csv", "unmasking.png"}
    assert expected | {"states.png", "nearest.png", "comparison.png"} <= written
    assert "positions.png" not in written


def test_other_families_are_refused(dit_run):
    for probe in (mask_rates.loss_over_training, unmasking.completions_over_training):
        with pytest.raises(ValueError, match="fills in no masked cells; probe one of an MDM"):
            probe(dit_run)
