"""Denoisers that are known exactly get the numbers that they must; the rest against sums written out."""

import math

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.comparison.denoisers import compare_on, noisy_batches

RULE = tc.rule("parity:2x3,G=3")
G = torch.Generator().manual_seed(0)
TRAIN = torch.tensor([[0, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 1], [1, 0, 1, 0, 1, 1]])
SPLITS = {"train": TRAIN, "held-out": RULE.sample(12, G), "cube": torch.randint(2, (12, 6), generator=G)}
POPULATION = tc.OptimalDenoiser(RULE)
EMPIRICAL = tc.OptimalDenoiser(tc.EmpiricalLaw(TRAIN, 2, RULE.shape))
REFERENCES = {"population": POPULATION, "empirical": EMPIRICAL, "independent": tc.OptimalDenoiser(tc.CubeLaw((2, 3)))}
WIDE = [10.0**k for k in range(-4, 5)]


def mixture(weight):
    """A net on the line between the optima."""
    return lambda y, sigma: torch.lerp(POPULATION(y, sigma), EMPIRICAL(y, sigma), weight)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-2)])
@pytest.mark.parametrize(("net", "position"), [(POPULATION, 0), (EMPIRICAL, 1), (mixture(0.5), 0.5)])
def test_exact_denoisers_have_their_coordinate(net, position, dtype, tolerance):
    table = tc.compare_denoisers(net, REFERENCES, SPLITS, [*WIDE, 0.5, 0.8, 2.0], dtype=dtype)
    defined = table["memorization_coordinate"].notna()
    faint = torch.finfo(dtype).eps ** 0.75
    assert (defined == (table["signal"] > faint**2)).all()
    assert defined[table["sigma"] >= 0.5].all()
    known = table[defined]
    np.testing.assert_allclose(known["memorization_coordinate"], position, atol=tolerance)
    within = 4 * known["memorization_coordinate_se"] + 1e-5 + known["signal"] ** -0.5 * 1e-6
    assert (abs(known["memorization_coordinate"] - position) <= within).all()
    np.testing.assert_allclose(known["off_line_distance"], 0, atol=max(tolerance, 1e-7))
    always = [c for c in table if c.startswith(("sigma", "score", "cosine", "signal", "n_samples"))]
    assert np.isfinite(table[always].to_numpy()).all()
    clear = table[(table["sigma"] >= 0.5) & (table["sigma"] <= 2)]
    if position != 0.5:
        assert set(clear["nearest"]) == {"empirical" if position else "population"}
        own = clear["cosine_empirical" if position else "cosine_population"]
        np.testing.assert_allclose(own, 1, atol=1e-6)


def test_every_column_equals_its_sum_written_out():
    sigma, n_noise = 0.9, 3

    def net(y, s):
        return 0.3 * torch.tanh(y) + 0.1

    x = SPLITS["held-out"]
    table = tc.compare_denoisers(net, REFERENCES, x, [sigma], n_noise=n_noise, dtype=torch.float64)
    assert list(table["split"]) == ["x"]
    generator = torch.Generator().manual_seed(0)
    noise = torch.stack([torch.randn(len(x), 1, 2, 3, generator=generator).double() for _ in range(n_noise)], 1)
    y = (2.0 * x.double() - 1).reshape(-1, 1, 1, 2, 3) + sigma * noise  # (n, n_noise, 1, 2, 3)

    def at(denoiser):
        return denoiser(y.flatten(0, 1), sigma).reshape(len(x), n_noise, 6).numpy()

    f, flat = at(net), y.reshape(len(x), n_noise, 6).numpy()
    row = table.iloc[0]
    for name, reference in REFERENCES.items():
        D = at(reference)
        squared = ((f - D) ** 2).mean((1, 2)) / sigma**4
        a, b = f - flat, D - flat
        cosine = ((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).mean(1)
        for column, values in ((f"score_mse_{name}", squared), (f"cosine_{name}", cosine)):
            assert row[column] == pytest.approx(values.mean(), rel=1e-10)
            assert row[f"{column}_se"] == pytest.approx(values.std(ddof=1) / math.sqrt(len(x)), rel=1e-10)
    p, q = at(POPULATION), at(EMPIRICAL)
    c = np.linalg.lstsq((q - p).reshape(-1, 1), (f - p).reshape(-1), rcond=None)[0][0]
    off = f - p - c * (q - p)
    assert row["memorization_coordinate"] == pytest.approx(c, rel=1e-10)
    assert row["off_line_fraction"] == pytest.approx((off**2).sum() / ((f - p) ** 2).sum(), rel=1e-9)
    assert row["off_line_distance"] == pytest.approx(math.sqrt((off**2).sum() / ((q - p) ** 2).sum()), rel=1e-9)
    assert row["signal"] == pytest.approx(((q - p) ** 2).mean(), rel=1e-10)
    b = ((q - p) ** 2).sum((1, 2))
    assert row["effective_samples"] == pytest.approx(b.sum() ** 2 / (b**2).sum(), rel=1e-10)
    assert row["n_samples"] == 12


@pytest.mark.slow
def test_the_standard_error_is_the_spread_over_fresh_samples_and_noise():
    def net(y, sigma):  # on the line, at a place that depends on the image: its spread is between samples
        p, q = POPULATION(y, sigma), EMPIRICAL(y, sigma)
        return p + torch.sigmoid(3 * y.mean((1, 2, 3), keepdim=True)) * (q - p)

    found = []
    for seed in range(150):
        generator = torch.Generator().manual_seed(seed)
        x = RULE.sample(60, generator)
        found.append(tc.compare_denoisers(net, REFERENCES, x, [0.7, 1.5], n_noise=2, generator=generator))
    c = np.array([t["memorization_coordinate"] for t in found])
    stated = np.array([t["memorization_coordinate_se"] for t in found])
    ratio = c.std(0, ddof=1) / stated.mean(0)
    assert ((ratio > 0.85) & (ratio < 1.15)).all(), ratio  # the spread itself is known to 6 %


@pytest.mark.parametrize("kind", ["onehot", "scalar"])
def test_more_symbols_and_their_encodings(kind):
    rule = tc.rule("permutation:3")
    train = rule.sample(6, torch.Generator().manual_seed(1))
    encoding = tc.Encoding(rule.shape, 3, kind)
    population = tc.OptimalDenoiser(rule, encoding)
    empirical = tc.OptimalDenoiser(tc.EmpiricalLaw(train, 3, rule.shape), encoding)
    references = {"population": population, "empirical": empirical}
    for net, position in ((population, 0), (empirical, 1)):
        table = tc.compare_denoisers(net, references, rule.sample(8), [0.4, 1.0], dtype=torch.float64)
        np.testing.assert_allclose(table["memorization_coordinate"], position, atol=1e-10)


def test_rows_do_not_depend_on_batches_other_splits_or_other_sigmas():
    whole = tc.compare_denoisers(mixture(0.3), REFERENCES, SPLITS, [0.5, 1.0])
    batched = tc.compare_denoisers(mixture(0.3), REFERENCES, SPLITS, [0.5, 1.0], batch_size=5)
    numbers = whole.select_dtypes("number").columns
    np.testing.assert_allclose(batched[numbers], whole[numbers], rtol=1e-5, atol=1e-6)
    alone = tc.compare_denoisers(mixture(0.3), REFERENCES, SPLITS["cube"], [1.0])
    np.testing.assert_allclose(alone[numbers], whole[numbers].iloc[[5]], rtol=1e-12)
    batches = list(noisy_batches(REFERENCES, SPLITS, [0.5, 1.0], POPULATION.encoding))
    assert compare_on(mixture(0.3), batches, SPLITS, [0.5, 1.0]).equals(whole)


def test_a_trained_network_and_a_single_reference():
    net = tc.build_model("dit-nano", RULE)
    table = tc.compare_denoisers(net, {"rule": POPULATION}, TRAIN, [0.1, 1.0])
    assert table["memorization_coordinate"].isna().all()
    assert list(table["nearest"]) == ["rule", "rule"]
    broken = tc.compare_denoisers(lambda y, s: y * math.nan, REFERENCES, TRAIN, [1.0]).iloc[0]
    assert broken["nearest"] is None
    assert math.isnan(broken["score_mse_population"])


def test_a_zero_score_has_cosine_zero():
    row = tc.compare_denoisers(lambda y, s: y, REFERENCES, TRAIN, [1.0]).iloc[0]
    assert row["cosine_population"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigmas": [0.0]}, "sigma must be positive"),
        ({"sigmas": []}, "at least one reference, sigma"),
        ({"references": {}}, "at least one reference"),
        ({"n_noise": 0}, "n_noise=0"),
        ({"x": {}}, "no split"),
        ({"x": TRAIN.float()}, "integer symbols"),
        ({"x": TRAIN[:0]}, "N >= 1"),
        ({"x": TRAIN - 1}, "must lie in 0..1, got -1..0"),
        ({"x": {"train": TRAIN[:, :5]}}, "shape"),
        ({"dtype": torch.float16}, "float32 or torch.float64"),
        ({"net": lambda y, s: y[:1]}, "must return images like it was given"),
        ({"net": lambda y, s: y, "references": {"mine": lambda y, s: y}}, "encoding=Encoding"),
    ],
)
def test_bad_input_is_refused(options, message):
    given = {"net": POPULATION, "references": REFERENCES, "x": TRAIN, "sigmas": [1.0]} | options
    with pytest.raises(ValueError, match=message):
        tc.compare_denoisers(**given)
