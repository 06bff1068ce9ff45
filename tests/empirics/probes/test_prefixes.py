"""Losses and completions of exact laws against entropies and counts, and of a small net against all its grids."""

import math

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import sample_distinct, training_set
from twoclocks.empirics.probes import prefixes

RULE = tc.rule("parity:2x4,G=4")
TRAIN = training_set(RULE, 16, seed=0)
HELD_OUT = sample_distinct(RULE, 30, torch.Generator().manual_seed(1), exclude=TRAIN)
EMPIRICAL = tc.EmpiricalLaw(TRAIN, 2, (2, 4))
SPLITS = {"train": TRAIN, "held-out": HELD_OUT}


@pytest.fixture(scope="module")
def gpt_run(tmp_path_factory):
    config = tc.RunConfig(
        rule="parity:2x4,G=4", model="gpt-nano", n_train=16, steps=80, batch_size=16, lr=2e-3, warmup=5, n_eval=16,
        eval_first=10, eval_ratio=2.0, checkpoint_ratio=1.9,
    )  # fmt: skip
    return tc.train(config, tmp_path_factory.mktemp("runs") / "gpt", progress=False)


def shared(x, k):
    """For each row, how many training samples begin with its first k symbols."""
    return (x[:, None, :k] == TRAIN[None, :, :k]).all(-1).sum(1).double()


def net():
    torch.manual_seed(0)
    model = tc.build_model("gpt-nano", RULE).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)  # sharper, so that the prefix matters
    return model


def test_full_memorization_completes_a_prefix_once_it_is_unique():
    table = prefixes.prefix_completions(prefixes.law_logits(EMPIRICAL), SPLITS, TRAIN)
    train = table[table["split"] == "train"].set_index("prefix")
    counts = [shared(TRAIN, k) for k in range(9)]
    unique_from = next(k for k, count in enumerate(counts) if (count == 1).all())
    assert unique_from < 8
    assert train["same"].tolist() == pytest.approx([float((1 / count).mean()) for count in counts], rel=1e-12)
    assert train.loc[unique_from:, "same"].tolist() == pytest.approx([1.0] * (9 - unique_from), rel=1e-12)
    assert train.loc[unique_from - 1, "same"] < 1
    assert train["any"].tolist() == pytest.approx([1.0] * 9, rel=1e-12)
    control = table[table["split"] == "held-out"].set_index("prefix")
    assert (control.loc[:7, "same"] == 0).all()
    assert control["any"].tolist() == pytest.approx(
        [float((shared(HELD_OUT, k) > 0).double().mean()) for k in range(9)]
    )
    assert 0 < control.loc[4, "any"] < 1
    assert control.loc[8, "any"] == 0


def test_the_rule_completes_at_chance():
    table = prefixes.prefix_completions(prefixes.law_logits(RULE), SPLITS, TRAIN)
    completions = np.array([64, 32, 16, 8, 8, 4, 2, 1, 1])  # valid grids that begin with k given cells
    for split, x in SPLITS.items():
        rows = table[table["split"] == split]
        assert rows["same"].to_numpy() == pytest.approx(1 / completions, rel=1e-12)
        assert (rows["same_se"] < 1e-15).all()
        chance = np.stack([shared(x, k) / completions[k] for k in range(9)], 1)
        assert rows["any"].to_numpy() == pytest.approx(chance.mean(0), rel=1e-12)
        assert rows["any_se"].to_numpy() == pytest.approx(chance.std(0, ddof=1) / math.sqrt(len(x)), abs=1e-15)


def test_completions_of_a_net_are_those_of_its_joint_law():
    """All 256 grids: P(completion | prefix) from the joint probabilities alone."""
    model = net()
    everything = torch.cartesian_prod(*[torch.arange(2)] * 8)
    joint = prefixes.token_log_probs(model, everything).sum(1).exp()
    assert float(joint.sum()) == pytest.approx(1, abs=1e-6)
    table = prefixes.prefix_completions(model, SPLITS, TRAIN)
    known = (everything[:, None] == TRAIN[None]).all(-1).any(1)
    for split, x in SPLITS.items():
        rows = table[table["split"] == split].set_index("prefix")
        for k in range(9):
            agrees = (x[:, None, :k] == everything[None, :, :k]).all(-1).double()  # (n, 256)
            same = (x[:, None] == everything[None]).all(-1).double()
            assert rows.loc[k, "same"] == pytest.approx(float((same @ joint / (agrees @ joint)).mean()), rel=1e-5)
            reached = (agrees * known) @ joint / (agrees @ joint)
            assert rows.loc[k, "any"] == pytest.approx(float(reached.mean()), rel=1e-5)


def test_completions_without_a_prefix_are_what_the_net_generates():
    model = net()
    table = prefixes.prefix_completions(model, {"train": TRAIN}, TRAIN)
    x = model.generate(20_000, torch.Generator().manual_seed(0))
    hits = (x[:, None] == TRAIN[None]).all(-1).any(1).double().mean()
    p = table["any"].iloc[0]
    assert 0.005 < p < 0.5
    assert abs(float(hits) - p) < 4 * math.sqrt(p * (1 - p) / 20_000)


def test_repeated_training_samples_count_once():
    once = prefixes.prefix_completions(net(), SPLITS, TRAIN)
    twice = prefixes.prefix_completions(net(), SPLITS, torch.cat([TRAIN, TRAIN[:5]]))
    assert once["any"].to_numpy() == pytest.approx(twice["any"].to_numpy(), rel=1e-6)


def test_loss_of_exact_laws_is_their_conditional_entropy():
    table = prefixes.loss_by_position(prefixes.law_logits(RULE), SPLITS)
    coins = [math.log(2)] * 3 + [0.0]
    for split in SPLITS:
        rows = table[table["split"] == split]
        assert rows["loss"].tolist() == pytest.approx(coins * 2, abs=1e-15)
        assert (rows["loss_se"] < 1e-15).all()
    memorized = prefixes.loss_by_position(prefixes.law_logits(EMPIRICAL), {"train": TRAIN})
    assert memorized["loss"].sum() == pytest.approx(math.log(16), rel=1e-12)  # the chain rule


def test_loss_of_a_net_is_its_cross_entropy():
    model = net()
    table = prefixes.loss_by_position(model, {"held-out": HELD_OUT})
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(HELD_OUT).transpose(1, 2), HELD_OUT, reduction="none")
    assert table["loss"].to_numpy() == pytest.approx(loss.mean(0).numpy(), rel=1e-5)
    assert table["loss_se"].to_numpy() == pytest.approx((loss.std(0) / math.sqrt(30)).numpy(), rel=1e-4)
    assert table["n"].unique().tolist() == [30]


def test_floors_add_up_to_the_entropies(gpt_run, tmp_path):
    floors = prefixes.position_floors(gpt_run, n_samples=50)
    assert floors["rule"].tolist() == pytest.approx(([math.log(2)] * 3 + [0.0]) * 2, abs=1e-15)
    assert (floors["rule_se"] < 1e-15).all()
    assert floors["training_set"].sum() == pytest.approx(math.log(16), rel=1e-12)


def test_floors_of_a_rule_with_prefix_dependent_entropy(gpt_run, monkeypatch):
    rule = tc.rule("exact-k:2x4,K=3")
    monkeypatch.setattr(tc.Run, "rule", rule)
    monkeypatch.setattr(tc.Run, "train_set", rule.sample(8, torch.Generator().manual_seed(0)))
    floors = prefixes.position_floors(gpt_run, n_samples=20_000)
    assert floors["rule"].sum() == pytest.approx(math.log(56), abs=4 * float(np.hypot.reduce(floors["rule_se"])))
    assert floors["rule"].iloc[0] == pytest.approx(-(3 / 8) * math.log(3 / 8) - (5 / 8) * math.log(5 / 8), rel=1e-12)
    assert (floors["rule_se"].iloc[1:7] > 0).all()
    assert floors["rule"].iloc[7] == 0  # the count settles the last cell


def test_tables_and_figures_of_a_run(gpt_run, tmp_path):
    losses = prefixes.loss_over_training(gpt_run, 20)
    assert losses["step"].unique().tolist() == gpt_run.checkpoint_steps
    assert losses["split"].unique().tolist() == ["train", "held-out", "cube"]
    assert len(losses) == 3 * 8 * len(gpt_run.checkpoint_steps)
    last = losses[(losses["step"] == 80) & (losses["split"] == "train")]
    expected = prefixes.token_log_probs(gpt_run.model(80), gpt_run.train_set).mean(0)
    assert last["loss"].to_numpy() == pytest.approx(-expected.numpy(), rel=1e-6)
    completions = prefixes.completions_over_training(gpt_run, 20, steps=[80])
    assert completions["model"].unique().tolist() == ["learned", "rule optimum", "training-set optimum"]
    assert completions["step"].isna().sum() == 2 * 2 * 9
    prefixes.positions_figure(losses, prefixes.position_floors(gpt_run), gpt_run).savefig(tmp_path / "loss.png")
    prefixes.completions_figure(completions, gpt_run).savefig(tmp_path / "completions.png")
    for name in ("loss.png", "completions.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_a_dit_is_refused(dit_run):
    for probe in (prefixes.loss_over_training, prefixes.completions_over_training):
        with pytest.raises(ValueError, match="probe a run of a GPT"):
            probe(dit_run)
