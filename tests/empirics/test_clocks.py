"""Clocks in anyone's loop: the onsets that training would have, at any steps, with any number of generations."""

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.config import RunConfig

RULE = tc.rule("parity:4x6,G=3")
TRAIN = RULE.sample(64, torch.Generator().manual_seed(0)).unique(dim=0)


def generations(n, valid, copied, seed=0):
    """n grids, so many of them valid, so many of these copies of training samples."""
    g = torch.Generator().manual_seed(seed)
    copies = TRAIN[torch.randint(len(TRAIN), (copied,), generator=g)]
    others = RULE.sample(valid - copied, g)
    broken = RULE.sample(n - valid, g)
    broken[:, 0] = 1 - broken[:, 0]
    return torch.cat([copies, others, broken])


def story(clocks, sizes=(200, 300, 250, 400, 200), steps=(10, 20, 40, 80, 160)):
    """Learns the rule at the third evaluation and copies from the fourth on."""
    told = ((0.1, 0), (0.5, 0), (0.97, 0), (0.98, 0.4), (0.99, 0.8))
    return [
        clocks.see(step, generations(n, int(valid * n), int(copied * n), step))
        for step, n, (valid, copied) in zip(steps, sizes, told, strict=True)
    ]


def test_onsets_are_intervals_between_evaluations():
    clocks = tc.Clocks(RULE, TRAIN)
    assert clocks.onsets["tau_rule"].censored
    assert clocks.table.empty
    story(clocks)
    assert str(clocks.onsets["tau_rule"]) == "(20, 40]"
    assert str(clocks.onsets["tau_mem"]) == "(40, 80]"


def test_each_evaluation_is_a_row_with_its_intervals():
    clocks = tc.Clocks(RULE, TRAIN)
    ratios = story(clocks)
    table = clocks.table
    assert table["step"].tolist() == [10, 20, 40, 80, 160]
    assert table["n_generated"].tolist() == [200, 300, 250, 400, 200]
    assert ratios[3]["memorization"] == 0.4 == table["memorization"][3]
    assert ratios[3]["memorization_low"] < 0.4 < ratios[3]["memorization_high"]
    assert ratios[1]["rule_accuracy"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("stop", "after"), [("never", 6), ("ruled", 3), ("memorized", 5), ("both", 5), ("copied", 5), ("window", 4)]
)
def test_a_stop_rule_is_met_when_it_says(stop, after):
    clocks = tc.Clocks(RULE, TRAIN, stop=stop)
    met = []
    for k, (valid, copied) in enumerate(((0.1, 0), (0.5, 0), (0.97, 0), (0.98, 0.4), (0.99, 0.8))):
        clocks.see(10 * 2**k, generations(300, int(300 * valid), int(300 * copied), k))
        met.append(clocks.should_stop)
    assert met == [k + 1 >= after for k in range(5)]
    steps = clocks.table["step"].tolist()
    assert clocks.stopping_step(stop) == (steps[after - 1] if after <= 5 else np.inf)


def test_a_run_that_only_copies_ends_without_the_rule():
    clocks = tc.Clocks(RULE, TRAIN, stop="copied")
    met = []
    for k, copied in enumerate((0.5, 0.92, 0.89, 0.92, 0.93, 0.95)):
        clocks.see(10 * 2**k, generations(300, int(300 * copied), int(300 * copied), k))  # what is new is not valid
        met.append(clocks.should_stop)
    assert met == [False] * 5 + [True]
    assert clocks.onsets["tau_rule"].censored


def test_patience_counts_from_the_tau_best():
    clocks = tc.Clocks(RULE, TRAIN, stop="patience", patience=2)
    met = []
    for step, loss in enumerate((3.0, 2.0, 2.5, 1.9, 2.0, 2.1), start=1):
        clocks.see(step, TRAIN, held_out_loss=loss)
        met.append(clocks.should_stop)
    assert met == [False] * 5 + [True]
    assert clocks.stopping_step("patience") == 6
    assert clocks.stopping_step("memorized") == 2
    assert clocks.table["held_out_loss"].tolist() == [3.0, 2.0, 2.5, 1.9, 2.0, 2.1]
    clocks.see(7, TRAIN)
    with pytest.raises(ValueError, match="needs the held_out_loss of every evaluation"):
        _ = clocks.should_stop


def test_images_are_read_by_the_encoding():
    x = generations(50, 40, 10)
    of_symbols = tc.Clocks(RULE, TRAIN).see(1, x)
    encoding = tc.Encoding(RULE.shape, 2)
    images = encoding.encode(x) + 0.1 * torch.randn(50, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    assert tc.Clocks(RULE, TRAIN).see(1, images) == of_symbols
    assert tc.Clocks(RULE, TRAIN).see(1, images.requires_grad_()) == of_symbols
    assert tc.Clocks(RULE, TRAIN).see(1, x.numpy().astype(np.int32)) == of_symbols
    blurred = tc.Clocks(RULE, TRAIN).see(1, 0.2 * images)
    assert blurred["ambiguous"] == 1
    assert blurred["rule_accuracy"] == 0


@pytest.mark.parametrize("model", ["gpt-nano", pytest.param("dit-nano", marks=pytest.mark.slow)])
def test_the_onsets_are_those_of_training_on_the_same_generations(tmp_path, model):
    """The kept samples of a run, shown to clocks of one's own."""
    config = RunConfig(
        rule="parity:2x4,G=2", model=model, n_train=8, steps=300, batch_size=16, lr=4e-3, warmup=5, n_eval=64,
        sampler_steps=6, noise_mean=0.0, noise_std=0.8,
    )  # fmt: skip
    run = tc.train(config, tmp_path / "run", progress=False)
    clocks = tc.Clocks(run.rule, run.train_set, run.encoding)
    for step in run.metrics["step"]:
        clocks.see(step, run.samples(step))
    assert clocks.onsets == run.onsets
    assert run.onsets["tau_mem"].censored == (model == "dit-nano")  # which needs longer
    columns = [name for name in run.metrics.columns if name not in ("loss", "seconds")]
    assert clocks.table[columns].equals(run.metrics[columns])


def test_they_continue_from_their_table():
    whole, first = tc.Clocks(RULE, TRAIN), tc.Clocks(RULE, TRAIN)
    story(whole)
    for step in (10, 20):
        first.see(step, generations(200, 20, 0))
    again = tc.Clocks(RULE, TRAIN, seen=first.table)
    assert again.table.equals(first.table)
    again.see(40, generations(200, 195, 0))
    assert str(again.onsets["tau_rule"]) == "(20, 40]"


@pytest.mark.parametrize(
    ("generated", "said"),
    [
        (torch.zeros(4, 23, dtype=torch.long), r"must be symbols \(n, 24\)"),
        (torch.zeros(0, 24, dtype=torch.long), "n >= 1"),
        (torch.full((4, 24), 2), r"must lie in 0..1, got 2..2"),
        (torch.zeros(4, 1, 5, 6), "images must have shape"),
    ],
)
def test_generations_that_do_not_fit_are_refused(generated, said):
    clocks = tc.Clocks(RULE, TRAIN)
    with pytest.raises(ValueError, match=said):
        clocks.see(1, generated)
    assert clocks.table.empty


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="stop must be one of never, ruled"):
        tc.Clocks(RULE, TRAIN, stop="soon")
    with pytest.raises(ValueError, match="patience must be a whole number"):
        tc.Clocks(RULE, TRAIN, stop="patience", patience=0)
    clocks = tc.Clocks(RULE, TRAIN)
    assert clocks.stopping_step("both") == np.inf  # nothing is seen yet
    with pytest.raises(ValueError, match="stop must be one of never, ruled"):
        clocks.stopping_step("soon")
    clocks.see(5, TRAIN)
    with pytest.raises(ValueError, match="steps must increase: 5 comes after 5"):
        clocks.see(5, TRAIN)


def digits(n, seed):
    """Floats without a rule."""
    return torch.randn(n, 2, 3, generator=torch.Generator().manual_seed(seed))


def test_data_without_a_rule_have_a_clock_of_copying_against_held_out_samples_and_a_best_loss():
    train, control = digits(300, 0), digits(300, 1)
    clocks = tc.Clocks(train=train, control=control, metric="l2-ratio")
    assert clocks.onsets["tau_mem"].censored
    assert clocks.onsets["tau_best"].censored
    met = []
    for step, copies, loss in ((10, 0, 3.0), (20, 2, 2.0), (40, 60, 1.5), (80, 150, 1.8), (160, 250, 2.2)):
        generated = torch.cat([train[:copies], digits(300 - copies, step)])
        ratios = clocks.see(step, generated.numpy(), held_out_loss=loss)
        met.append(clocks.should_stop)
    assert str(clocks.onsets["tau_mem"]) == "(20, 40]"
    best = clocks.onsets["tau_best"]
    assert (best.step, best.lower, best.upper, best.censored) == (40, 20, 80, False)
    assert met == [False, False, False, True, True]
    assert clocks.stopping_step("memorized") == 80
    with pytest.raises(ValueError, match="needs a rule"):
        clocks.stopping_step("ruled")
    assert ratios["memorization_low"] < 250 / 300 <= ratios["memorization_high"]
    assert ratios["chance_low"] <= ratios["chance"] < 0.05
    assert clocks.table["n_generated"].tolist() == [300] * 5
    assert clocks.table["distance"].is_monotonic_decreasing
    again = tc.Clocks(train=train, control=control, seen=clocks.table)
    assert again.onsets == clocks.onsets


def test_the_best_loss_is_censored_while_it_falls_and_without_losses():
    clocks = tc.Clocks(train=digits(50, 0), control=digits(50, 1), stop="memorized")
    clocks.see(1, digits(50, 2))
    assert clocks.onsets["tau_best"].censored
    for step, loss in ((2, 3.0), (3, 2.0)):
        clocks.see(step, digits(50, step), held_out_loss=loss)
    assert str(clocks.onsets["tau_best"]) == "> 2"
    assert not clocks.should_stop


def test_clocks_need_a_rule_or_held_out_samples():
    x = digits(20, 0)
    for arguments in ({}, {"train": x}, {"rule": RULE}, {"rule": RULE, "train": TRAIN, "control": TRAIN}):
        with pytest.raises(ValueError, match="control=held_out"):
            tc.Clocks(**arguments)
    for more in ({"stop": "window"}, {"stop": "ruled"}, {"encoding": tc.Encoding((2, 3), 2)}):
        with pytest.raises(ValueError, match="needs a rule"):
            tc.Clocks(train=x, control=x + 1, **more)
