"""The ladder: exact losses of each rung against enumeration, and a network that climbs it, in all three families."""

import math

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.comparison.exact_networks import exact_network
from twoclocks.empirics.comparison.ladder import (
    half_way,
    ladder_laws,
    ladder_over_training,
    overall,
    place_of,
)
from twoclocks.empirics.comparison.ladder_figure import ladder_text, plot_ladder
from twoclocks.empirics.comparison.rung_losses import passed, rung_losses
from twoclocks.empirics.families import family
from twoclocks.empirics.references import LADDER, references_of

RULE = "parity:2x4,G=4"
SETTINGS = {
    "gpt": {"lr": 5e-3},
    "mdm": {"lr": 5e-3},
    "dit": {"lr": 5e-3, "noise_mean": 0.0, "sampler_steps": 4},
}


@pytest.fixture(scope="module", params=list(SETTINGS))
def climbed(request, tmp_path_factory):
    """A short run and its ladder."""
    config = tc.RunConfig(
        rule=RULE, model=f"{request.param}-nano", n_train=6, steps=60, batch_size=16, warmup=5, n_eval=16,
        eval_first=8, checkpoint_ratio=1.5, eval_ratio=2.0, **SETTINGS[request.param],
    )  # fmt: skip
    with pytest.warns(UserWarning, match="too few"):
        run = tc.train(config, tmp_path_factory.mktemp("ladder") / request.param, progress=False)
    return run, ladder_over_training(run, n_samples=6)


def test_each_rung_and_each_checkpoint_has_its_rows(climbed):
    run, ladder = climbed
    place = place_of(ladder)
    assert place == run.family.place
    assert set(ladder["of"]) == {*LADDER, "learned"}
    assert sorted(set(ladder["step"].dropna())) == run.checkpoint_steps
    assert len(overall(ladder, "train")) == len(run.checkpoint_steps)
    own = ladder[(ladder["of"] == "population") & (ladder["split"] == "train")]
    assert own["reached_population"].dropna().to_numpy() == pytest.approx(1.0)
    cube = ladder[ladder["of"] == "cube"]
    assert cube["reached_population"].dropna().to_numpy() == pytest.approx(0.0, abs=1e-9)


def test_training_climbs_towards_the_training_set(climbed):
    _, ladder = climbed
    rows = overall(ladder, "train")
    assert rows["reached_empirical"].iloc[-1] > rows["reached_empirical"].iloc[0]
    assert rows["loss"].iloc[-1] < rows["loss"].iloc[0]
    assert half_way(ladder, level=-math.inf)["empirical"] == rows["step"].iloc[0]
    assert half_way(ladder, level=1.1)["empirical"] == math.inf


def test_losses_of_the_rungs_are_those_of_enumeration(climbed):
    run, ladder = climbed
    mine = ladder[(ladder["split"] == "train") & ladder[place_of(ladder)].isna()].set_index("of")["loss"]
    if run.family.channel == "prefix":  # all positions together: the mean of -log p over the six samples
        train = run.train_set
        for name, law in ladder_laws(references_of(run.rule, train)).items():
            assert mine[name] == pytest.approx(-float(law.log_prob(train).mean()) / run.rule.dim, rel=1e-10)
        assert mine["empirical"] == pytest.approx(math.log(6) / 8)
        assert mine["cube"] == pytest.approx(math.log(2))
    elif run.family.channel == "mask":
        assert mine["cube"] == pytest.approx(math.log(2))
        assert mine["empirical"] < mine["population"] < mine["cube"]
    else:
        assert mine["empirical"] < mine["population"] < mine["cube"]


def test_the_denoising_loss_is_that_of_the_posterior_mean_over_an_enumerated_support():
    law, codes = tc.rule(RULE), tc.Encoding((2, 4), 2, "pm1")
    grids = torch.tensor([[int(b) for b in f"{k:08b}"] for k in range(256)])
    support = codes.encode(grids[law.is_valid(grids)], torch.float64)
    x = law.sample(5, torch.Generator().manual_seed(1))
    table = tc.compare_denoisers(
        tc.OptimalDenoiser(law, codes), {"population": tc.OptimalDenoiser(law, codes)}, x, [0.5, 1.0],
        n_noise=3, generator=torch.Generator().manual_seed(2), dtype=torch.float64,
    )  # fmt: skip
    generator, wanted = torch.Generator().manual_seed(2), np.zeros(2)
    clean = codes.encode(x, torch.float64)
    for _ in range(3):
        noise = torch.randn(clean.shape, generator=generator).double()
        for k, sigma in enumerate((0.5, 1.0)):
            y = clean + sigma * noise
            squared = (y[:, None] - support).flatten(2).square().sum(-1)
            mean = torch.einsum("bn,nchw->bchw", (-squared / 2 / sigma**2).softmax(1), support)
            wanted[k] += float((mean - clean).square().mean()) / 3
    assert table["denoising_loss"].to_numpy() == pytest.approx(wanted, rel=1e-10)


def test_exact_networks_answer_like_networks_of_their_family():
    rule = tc.rule(RULE)
    x = rule.sample(4, torch.Generator().manual_seed(0))
    gpt, mdm = (exact_network(family(f"{name}-nano"), rule, None) for name in ("gpt", "mdm"))
    assert torch.allclose(gpt(x).exp(), rule.next_token_probs(x))
    hidden = x.clone()
    hidden[:, 3:] = 2
    assert torch.allclose(mdm(hidden).exp(), rule.unmask_probs(hidden))
    broken = x.clone()
    broken[:, 0] = 1 - broken[:, 0]  # after four cells no symbol is possible
    assert torch.allclose(gpt(broken)[:, 4:].exp(), torch.full((4, 4, 2), 0.5, dtype=torch.float64))


def test_figure_and_text(climbed, tmp_path):
    run, ladder = climbed
    plot_ladder(ladder, run, tmp_path / "ladder.png")
    assert (tmp_path / "ladder.png").stat().st_size > 10_000
    text = ladder_text(ladder, run)
    assert "exact optimum" in text
    assert "Half way by step" in text
    assert max(map(len, text.splitlines())) <= 80


def test_options_of_another_family_are_refused(climbed):
    run, _ = climbed
    with pytest.raises(ValueError, match="leave them out for" if run.family.name != "dit" else "keeps no weights"):
        ladder_over_training(run, sigmas=[1.0], steps=None if run.family.name != "dit" else [3])


def test_training_losses_of_the_rungs_are_the_floors_of_their_family(climbed):
    run, _ = climbed
    losses = rung_losses(run.config, run.rule, run.train_set)
    assert list(losses) == list(LADDER)
    assert losses["empirical"] < losses["population"] < losses["cube"]
    floors = run.family.floors(run.config, run.rule, run.train_set, run.encoding)
    close = 0.03 if run.family.channel == "gaussian" else 1e-12  # draws of noise; exact elsewhere
    for name in ("population", "empirical"):
        assert losses[name] == pytest.approx(floors[name], rel=close)


def test_a_rung_is_passed_at_the_first_evaluation_whose_loss_is_at_most_its_own():
    steps, losses = np.array([10, 20, 30, 40]), np.array([0.7, 0.5, 0.55, 0.2])
    found = passed(steps, losses, {"cube": 0.69, "population": 0.5, "empirical": 0.1})
    assert found == {"cube": 20, "population": 20, "empirical": math.inf}
