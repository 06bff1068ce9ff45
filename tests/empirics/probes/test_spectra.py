"""Spectra against theory's loss and curves; gaps and onsets against what is known of the exact optima."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import sample_distinct
from twoclocks.empirics.probes import spectra, spectra_figures

RULE = tc.rule("parity:3x4,G=4")
SIGMAS = [0.3, 0.7, 1.2, 2.5]


def seeded(seed=7):
    return torch.Generator().manual_seed(seed)


def splits(n=64):
    train = sample_distinct(RULE, n, seeded(1))
    held_out = sample_distinct(RULE, n, seeded(2), exclude=train)
    return {"train": train, "held-out": held_out, "cube": torch.randint(2, (n, 12), generator=seeded(3))}


def optimum(law):
    return tc.OptimalDenoiser(law)


@pytest.mark.parametrize("kind", ["rule", "empirical", "net"])
def test_losses_are_theory_s_on_the_same_generator(kind):
    parts = splits()
    law = RULE if kind == "rule" else tc.EmpiricalLaw(parts["train"], 2, (3, 4))
    torch.manual_seed(0)
    net = tc.build_model("dit-nano", RULE).eval() if kind == "net" else optimum(law)
    encoding = tc.Encoding((3, 4), 2)
    table = spectra.dsm_spectra(net, parts, SIGMAS, encoding, n_noise=3, generator=seeded())
    exact = tc.theory.bayes_curves(law, parts, SIGMAS, n_noise=3, generator=seeded())
    for name, x in parts.items():
        rows = table[table["split"] == name]
        expected = tc.dsm_loss(net, x, SIGMAS, encoding, n_noise=3, generator=seeded())
        assert rows["sigma"].tolist() == SIGMAS
        assert rows["loss"].tolist() == pytest.approx(expected.tolist(), rel=1e-12)
        if kind != "net":
            assert rows["loss"].tolist() == pytest.approx(exact[name].tolist(), rel=1e-12)


@pytest.mark.slow
def test_standard_errors_cover_the_expected_loss():
    """The identity's loss is sigma^2 chi^2 / n, with the standard deviation sigma^2 sqrt(2 / n)."""
    x = {"x": splits(16)["train"]}
    rows = pd.concat(
        spectra.dsm_spectra(lambda y, sigma: y, x, [0.5], generator=seeded(seed), n_noise=2) for seed in range(300)
    )
    assert np.sqrt((rows["loss_se"] ** 2).mean()) == pytest.approx(0.25 * math.sqrt(2 / (12 * 2 * 16)), rel=0.05)
    covered = ((rows["loss"] - 0.25).abs() < 1.96 * rows["loss_se"]).mean()
    assert 0.88 < covered < 0.98  # 0.931 for t with 15 degrees of freedom


def test_clusters_of_one_sample_s_noises():
    """A net whose error depends on the sample alone: more noise must not shrink the standard error."""
    x = {"x": splits(16)["train"]}

    def net(y, sigma):
        return torch.where(y.flatten(1)[:, :1, None, None] > 0, y * 0, y * 0 + 2).expand_as(y)

    few, many = (spectra.dsm_spectra(net, x, [0.01], n_noise=k).iloc[0]["loss_se"] for k in (1, 25))
    assert many == pytest.approx(few, rel=1e-6)
    assert many > 0.1


def test_gaps_of_the_exact_optima():
    parts = splits()
    memory = spectra.dsm_spectra(optimum(tc.EmpiricalLaw(parts["train"], 2, (3, 4))), parts, SIGMAS, n_noise=4)
    of_rule = spectra.dsm_spectra(optimum(RULE), parts, SIGMAS, n_noise=4)
    for table in (memory, of_rule):
        loss = table.pivot(index="sigma", columns="split", values="loss")
        gap = table.pivot(index="sigma", columns="split", values="gap")
        assert np.allclose(gap["held-out"], loss["held-out"] - loss["train"], rtol=1e-9, atol=1e-15)
        assert (table[table["split"] == "train"][["gap", "gap_se"]] == 0).all(axis=None)
    held = memory[memory["split"] == "held-out"]
    assert (held["gap_p"] < 1e-6)[held["sigma"] < 2].all()
    held = of_rule[of_rule["split"] == "held-out"]
    assert (held["gap"].abs() < 4 * held["gap_se"]).all()
    cube = of_rule[of_rule["split"] == "cube"]
    assert (cube["gap_p"] < 1e-6)[cube["sigma"] < 1].all()


def over_a_course(nets, parts, sigmas, n_noise=4, seed=7):
    """Tables of denoisers as `run_errors` labels them; a step for what was learned, None for an optimum."""
    tables = []
    for (name, step), net in nets.items():
        table = spectra.dsm_errors(net, parts, sigmas, tc.Encoding((3, 4), 2), n_noise, seeded(seed))
        tables.append(table.assign(denoiser=name, step=pd.array([step] * len(table), dtype="Int64")))
    return pd.concat(tables, ignore_index=True)


def halfway(parts):
    """A net that has half forgotten the rule for its training set."""
    rule, memory = optimum(RULE), optimum(tc.EmpiricalLaw(parts["train"], 2, (3, 4)))
    return lambda y, sigma: 0.8 * rule(y, sigma) + 0.2 * memory(y, sigma)


def test_the_control_is_alike_on_every_valid_grid():
    """Noise n and noise n x (cell by cell) have one law, and under the latter all valid grids lose the same."""
    x = splits()["train"]
    clean = tc.Encoding((3, 4), 2).encode(x).double()
    noise = torch.randn(1, *clean.shape[1:], generator=seeded(), dtype=torch.float64) * clean
    errors = (optimum(RULE)(clean + 0.8 * noise, 0.8) - clean).square().flatten(1).sum(1)
    assert float(errors[0]) > 0.1
    assert torch.allclose(errors, errors[:1].expand(64), rtol=1e-10)


def test_the_control_keeps_the_mean_gap_and_shrinks_its_error():
    parts = splits(48)
    nets = {("learned", 5): halfway(parts), ("rule optimum", None): optimum(RULE)}
    plain, controlled = [], []
    for seed in range(25):
        errors = over_a_course(nets, parts, [0.8], n_noise=1, seed=seed)
        controlled.append(spectra.spectra_table(errors))
        plain.append(spectra.spectra_table(errors[errors["denoiser"] == "learned"]))
    plain, controlled = (pd.concat(tables).query("split == 'held-out' and denoiser == 'learned'")
                         for tables in (plain, controlled))  # fmt: skip
    difference = plain["gap"].to_numpy() - controlled["gap"].to_numpy()
    assert abs(difference.mean()) < 3 * difference.std() / np.sqrt(25)
    assert controlled["gap"].mean() > 0.01
    assert np.abs(difference).max() > 0.01  # it does do something
    assert controlled["gap_se"].mean() < 0.5 * plain["gap_se"].mean()
    assert controlled["gap"].std() < 0.5 * plain["gap"].std()
    assert (controlled["loss"].to_numpy() == plain["loss"].to_numpy()).all()


def test_the_control_is_for_held_out_samples_alone():
    parts = splits(32)
    nets = {("learned", 5): halfway(parts), ("rule optimum", None): optimum(RULE), ("cube optimum", None):
            optimum(tc.CubeLaw((3, 4)))}  # fmt: skip
    table = spectra.spectra_table(over_a_course(nets, parts, [0.5, 1.0]))
    learned = table[table["denoiser"] == "learned"].pivot(index="sigma", columns="split", values=["loss", "gap"])
    assert np.allclose(learned["gap"]["cube"], learned["loss"]["cube"] - learned["loss"]["train"], rtol=1e-9)
    assert not np.allclose(learned["gap"]["held-out"], learned["loss"]["held-out"] - learned["loss"]["train"])
    exact = table[table["denoiser"].isin(["rule optimum", "cube optimum"]) & (table["split"] == "held-out")]
    assert (exact["gap"] == 0).all()
    assert (exact["gap_p"] == 1).all()


def test_equal_splits_have_no_gap():
    x = splits()["train"]
    table = spectra.dsm_spectra(optimum(RULE), {"train": x, "held-out": x.clone()}, SIGMAS)
    assert (table["gap"] == 0).all()
    assert (table["gap_p"] == 1).all()


def test_a_gap_that_never_varies_is_certain():
    table = spectra.dsm_spectra(
        lambda y, sigma: y * 0, {"a": torch.ones(4, 6, dtype=torch.int64), "b": torch.full((4, 6), 2)}, [1.0],
        tc.Encoding((2, 3), 3, "scalar"),
    )  # fmt: skip
    assert table["loss"].tolist() == [0, 1]  # codes 0 and 1
    assert table["gap_p"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"splits": {"a": torch.zeros(3, 6, dtype=torch.int64), "b": torch.zeros(4, 6, dtype=torch.int64)}},
            "one size",
        ),
        ({"splits": {"a": torch.zeros(1, 6, dtype=torch.int64)}}, "at least 2"),
        ({"n_noise": 0}, "n_noise 0"),
        ({"sigmas": [0.0]}, "positive and finite"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {"net": lambda y, sigma: y, "splits": {"a": torch.zeros(3, 6, dtype=torch.int64)}, "sigmas": [1.0]}
    with pytest.raises(ValueError, match=message):
        spectra.dsm_spectra(**(good | change))


def test_bands_average_their_sigmas():
    table = pd.DataFrame(
        {
            "denoiser": "learned",
            "step": pd.array([5] * 4, dtype="Int64"),
            "split": "train",
            "sigma": [0.1, 0.2, 0.4, 0.8],
            "loss": [1.0, 2.0, 4.0, 8.0],
            "loss_se": [0.1, 0.3, 0.2, 0.4],
        }
    )
    bands = spectra.noise_bands(table, ((0.1, 0.2), (0.2, 0.8)))
    assert bands["loss"].tolist() == [1.5, 6.0]
    assert bands["loss_se"].tolist() == pytest.approx([0.2, 0.3])
    assert bands[["band_low", "band_high"]].to_numpy().tolist() == [[0.1, 0.2], [0.2, 0.8]]
    with pytest.raises(ValueError, match="no sigma"):
        spectra.noise_bands(table, ((0.5, 0.6),))


def test_onsets_of_the_gap_by_sigma():
    steps = [10, 20, 40, 80]
    p_values = {0.5: [0.5, 1e-4, 1e-5, 1e-9], 1.0: [1e-4, 0.5, 0.5, 1e-9], 2.0: [0.5, 0.5, 1e-4, 1e-4]}
    rows = [
        ("learned", step, "held-out", sigma, p)
        for sigma, ps in p_values.items()
        for step, p in zip(steps, ps, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["denoiser", "step", "split", "sigma", "gap_p"])
    onsets = spectra.gap_onsets(table.sample(frac=1, random_state=0))
    assert list(onsets) == [0.5, 1.0, 2.0]
    assert (onsets[0.5].lower, onsets[0.5].upper) == (10, 20)
    assert onsets[1.0].censored  # significant once, then again at the last step only
    assert onsets[1.0].lower == 40
    assert (onsets[2.0].lower, onsets[2.0].upper) == (20, 40)


@pytest.mark.slow
def test_over_a_run(dit_run, tmp_path):
    sigmas = (0.2, 0.5, 1.0, 2.0)
    errors = spectra.run_errors(dit_run, sigmas, n_images=32)
    table = spectra.spectra_table(errors)
    assert len(table) == 3 * len(sigmas) * (4 + 2)
    exact = table[(table["denoiser"] == "training-set optimum") & (table["sigma"] == 0.5)].set_index("split")
    assert exact.loc["train", "loss"] < 0.1 * exact.loc["held-out", "loss"]
    again = spectra.run_spectra(dit_run, sigmas, steps=[80], n_images=32, optima=("rule optimum",))
    chosen = table["step"].eq(80).fillna(False) | (table["denoiser"] == "rule optimum")
    pd.testing.assert_frame_equal(table[chosen].reset_index(drop=True), again)
    spectra_figures.run_spectra_figure(table, dit_run).savefig(tmp_path / "spectra.png")
    spectra_figures.run_gap_figure(spectra.sample_gaps(errors), dit_run).savefig(tmp_path / "gap.png")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("spectra.png", "gap.png"))


def test_the_axis_of_losses_begins_below_every_learned_one():
    table = pd.DataFrame({"denoiser": ["learned", "learned", "rule optimum"], "loss": [0.4, 3e-5, 1e-12]})
    assert spectra_figures.loss_floor(table) == pytest.approx(1e-5)


def test_bands_over_a_run(dit_run, tmp_path):
    table = spectra.run_spectra(dit_run, (0.2, 0.5, 1.0, 2.0), steps=[10, 80], n_images=16)
    spectra_figures.run_bands_figure(table, dit_run).savefig(tmp_path / "bands.pdf")
    assert (tmp_path / "bands.pdf").stat().st_size > 5000
    with pytest.raises(ValueError, match="no step of a phase"):
        spectra_figures.run_spectra_figure(table[table["step"].isna()], dit_run).savefig(tmp_path / "spectra.png")
