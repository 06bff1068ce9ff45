"""Denoisers of numbers: images, points, latents; known answers, sums written out, standard errors by simulation."""

import math

import numpy as np
import pytest
import torch

import twoclocks as tc

MEANS = torch.tensor([[3.0, 0, 0], [-3, 1, 0], [0, -3, 2]], dtype=torch.float64)
POPULATION = tc.GaussianMixture([0.5, 0.3, 0.2], MEANS, [1.0, 0.5, 0.2])
TRAIN = POPULATION.sample(30, torch.Generator().manual_seed(0))
HELD_OUT = POPULATION.sample(30, torch.Generator().manual_seed(1))
REFERENCES = {
    "population": tc.OptimalDenoiser(POPULATION),
    "empirical": tc.OptimalDenoiser(tc.EmpiricalDensity(TRAIN)),
    "gaussian": tc.OptimalDenoiser(tc.GaussianDensity.fit(TRAIN)),
}
SPLITS = {"train": TRAIN, "held-out": HELD_OUT}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-2)])
@pytest.mark.parametrize(("name", "position"), [("population", 0.0), ("empirical", 1.0)])
def test_exact_denoisers_have_their_coordinate_and_explain_themselves(name, position, dtype, tolerance):
    table = tc.compare_denoisers(REFERENCES[name], REFERENCES, SPLITS, [0.1, 0.5, 2.0, 10.0], dtype=dtype)
    assert list(table["split"].unique()) == ["train", "held-out"]
    np.testing.assert_allclose(table["memorization_coordinate"], position, atol=tolerance)
    np.testing.assert_allclose(table[f"explained_{name}"], 1, atol=tolerance)
    np.testing.assert_allclose(table[f"captured_{name}"], 1, atol=tolerance)
    assert (table["explained_gaussian"] < 1 - 1e-6).all()
    assert set(table["nearest"]) == {name}


def test_explained_and_captured_are_shares_of_squared_scores():
    sigma, x = 0.8, HELD_OUT.reshape(30, 1, 1, 3)
    references = {
        "gaussian": tc.OptimalDenoiser(tc.GaussianDensity.fit(TRAIN.reshape(30, 1, 1, 3))),
        "zero": lambda y, s: torch.zeros_like(y),
    }

    def net(y, s):
        return torch.tanh(y)

    row = tc.compare_denoisers(net, references, x, [sigma], n_noise=1, dtype=torch.float64).iloc[0]
    y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    score = ((net(y, sigma) - y) / sigma**2).flatten(1)
    for name, reference in references.items():
        theirs = ((reference(y, sigma) - y) / sigma**2).flatten(1)
        missed, own, other = ((t**2).sum(1) for t in (score - theirs, score, theirs))
        for column, scale in (("explained", own), ("captured", other)):
            share = missed.sum() / scale.sum()
            assert row[f"{column}_{name}"] == pytest.approx(float(1 - share), rel=1e-10)
            residual = missed - share * scale
            error = math.sqrt(30 / 29 * float((residual**2).sum())) / float(scale.sum())
            assert row[f"{column}_{name}_se"] == pytest.approx(error, rel=1e-10)


def test_the_standard_error_of_explained_is_the_spread_over_fresh_samples():
    def net(y, sigma):
        return 0.9 * REFERENCES["population"](y, sigma) + 0.2

    found = []
    for seed in range(150):
        g = torch.Generator().manual_seed(seed)
        x = POPULATION.sample(80, g)
        found.append(tc.compare_denoisers(net, REFERENCES, x, [0.7, 3.0], n_noise=1, generator=g))
    for column in ("explained_population", "captured_gaussian"):
        values = np.array([table[column] for table in found])
        stated = np.array([table[f"{column}_se"] for table in found])
        ratio = values.std(0, ddof=1) / stated.mean(0)
        assert ((ratio > 0.8) & (ratio < 1.2)).all(), (column, ratio)  # the spread itself is known to 6 %


def test_symbols_have_the_columns_too_and_densities_of_their_images_are_references():
    rule = tc.rule("parity:2x3,G=3")
    train = rule.sample(8, torch.Generator().manual_seed(0))
    exact = tc.OptimalDenoiser(rule)
    images = exact.encoding.encode(train, torch.float64)
    references = {"population": exact, "gaussian": tc.OptimalDenoiser(tc.GaussianDensity.fit(images))}
    table = tc.compare_denoisers(exact, references, train, [0.5, 1.0], dtype=torch.float64)
    np.testing.assert_allclose(table["explained_population"], 1, atol=1e-12)
    assert (table["explained_gaussian"] < 0.999).all()
    same = tc.OptimalDenoiser(tc.EmpiricalDensity(images))
    law = tc.OptimalDenoiser(tc.EmpiricalLaw(train, 2, rule.shape))
    np.testing.assert_allclose(same(images, 0.7), law(images, 0.7), atol=1e-10)
    np.testing.assert_allclose(same.log_density(images, 0.7), law.log_density(images, 0.7), rtol=1e-10)


def test_the_loss_of_numbers_is_that_written_out_and_least_at_the_optimum():
    x = torch.randn(20, 2, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    D = tc.OptimalDenoiser(tc.EmpiricalDensity(x))
    loss = tc.dsm_loss(D, x, [0.3, 2.0])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for k, sigma in enumerate((0.3, 2.0)):
        assert float(loss[k]) == pytest.approx(float((D(x + sigma * noise, sigma) - x).square().mean()), rel=1e-12)
    many = tc.dsm_loss(D, x, [0.5, 1.0, 2.0], n_noise=200)
    other = tc.dsm_loss(tc.OptimalDenoiser(tc.GaussianDensity.fit(x)), x, [0.5, 1.0, 2.0], n_noise=200)
    assert (many < other).all()


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="take no encoding"):
        tc.compare_denoisers(REFERENCES["gaussian"], REFERENCES, TRAIN, [1.0], encoding=tc.Encoding((1, 3), 2, "pm1"))
    with pytest.raises(ValueError, match="take no encoding"):
        tc.dsm_loss(REFERENCES["gaussian"], TRAIN, [1.0], encoding=tc.Encoding((1, 3), 2, "pm1"))
    law = tc.OptimalDenoiser(tc.CubeLaw((1, 3)))
    for net, references in ((law, REFERENCES), (REFERENCES["gaussian"], {"cube": law})):
        with pytest.raises(ValueError, match="give integer symbols"):
            tc.compare_denoisers(net, references, TRAIN, [1.0])
    with pytest.raises(ValueError, match="shaped alike"):
        tc.compare_denoisers(REFERENCES["gaussian"], REFERENCES, {"a": TRAIN, "b": TRAIN[:, :2]}, [1.0])
    with pytest.raises(ValueError, match="must be finite"):
        tc.compare_denoisers(REFERENCES["gaussian"], REFERENCES, TRAIN * math.nan, [1.0])
    with pytest.raises(ValueError, match="must hold integer symbols"):
        tc.compare_denoisers(
            REFERENCES["gaussian"], REFERENCES, {"a": TRAIN, "b": torch.zeros(3, 3, dtype=torch.long)}, [1.0]
        )
