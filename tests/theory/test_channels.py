"""The Gaussian channel far from the data, at any noise level and precision, for every law."""

import math

import numpy as np
import pytest
import torch
from automata import NoAdjacentOnes
from hypothesis import given, settings
from hypothesis import strategies as st

import twoclocks as tc
from twoclocks.theory.channels import Gaussian

TRAIN = torch.randint(3, (20, 6), generator=torch.Generator().manual_seed(0))
LAWS = {
    "parity": tc.rule("parity:2x4,G=4"),
    "counts": tc.rule("row-variable-k:2x4,K=1+3"),
    "all or nothing": tc.rule("global-k:2x3,K=0+6"),
    "permutation": tc.rule("permutation:2x3"),
    "latin": tc.rule("latin:4"),
    "sudoku": tc.rule("sudoku:2x2"),
    "automaton": NoAdjacentOnes((2, 3)),
    "empirical": tc.EmpiricalLaw(TRAIN, 3, (2, 3)),
    "empirical, binary": tc.EmpiricalLaw(TRAIN % 2, 2, (2, 3)),
    "product": tc.ProductLaw(torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.0, 0.9]]), (1, 3)),
    "cube": tc.CubeLaw((2, 2), 5),
    "ngram": tc.NGramLaw(tc.rule("latin:3"), 1),
}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(list(LAWS)),
    kind=st.sampled_from(["scalar", "onehot"]),
    double=st.booleans(),
    log_size=st.floats(-3, 37),
    log_sigma=st.one_of(st.floats(-6, 6), st.sampled_from([-22.0, 300.0, -300.0])),
    direction=st.sampled_from(["random", "up", "down", "mixed"]),
    seed=st.integers(0, 9),
)
def test_posteriors_are_probabilities_and_means_lie_in_the_hull(
    name, kind, double, log_size, log_sigma, direction, seed
):
    law = LAWS[name]
    denoiser = tc.OptimalDenoiser(law, tc.Encoding(law.shape, law.alphabet, kind))
    codes = denoiser.encoding.codes
    y = torch.randn(3, codes.shape[1], *law.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    if direction != "random":
        y = {"up": torch.ones_like(y), "down": -torch.ones_like(y), "mixed": y.sign()}[direction]
    y = (10**log_size * y).to(torch.float64 if double else torch.float32)
    sigma = 10.0**log_sigma
    slack = 1e-14 if double else 1e-6
    h = denoiser.channel.fields(y, sigma)
    marginals = law.marginals(h)
    assert marginals.min() >= 0
    assert (marginals.sum(-1) - 1).abs().max() <= 20 * slack
    mean = denoiser(y, sigma)
    assert codes.min() - slack <= mean.min()
    assert mean.max() <= codes.max() + slack
    assert not denoiser.log_density(y, sigma).isnan().any()
    assert not denoiser.score(y, sigma).isnan().any()


def test_latin_squares_far_below_all_codes_stay_symmetric():
    """Every 4x4 square holds each symbol 4 times, so equal pixels tell nothing, however far they are."""
    law = tc.rule("latin:4")
    denoiser = tc.OptimalDenoiser(law, tc.Encoding(law.shape, 4, "scalar"))
    for size, sigma, slack in ((-1e3, 1e-2, 1e-6), (-1e6, 1e-1, 1e-4), (-1e6, 1e-4, 0.2)):
        y = torch.full((1, 1, 4, 4), size, dtype=torch.float64)
        assert denoiser(y, sigma).abs().max() < slack


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["pm1", "onehot"])
@pytest.mark.parametrize("name", ["empirical", "ngram", "permutation"])
def test_single_precision_follows_double_off_the_data(name, kind, sigma):
    """Midway between samples, at random corners and far out, where the sizes of the fields' sums exceed 2^24."""
    generator = torch.Generator().manual_seed(1)
    Q = 2 if kind == "pm1" else 4
    train = torch.randint(Q, (300, 24), generator=generator)
    law = {
        "empirical": lambda: tc.EmpiricalLaw(train, Q, (4, 6)),
        "ngram": lambda: tc.NGramLaw(tc.EmpiricalLaw(train, Q, (4, 6)), 2),
        "permutation": lambda: tc.rule(f"permutation:{24 // Q}x{Q}"),
    }[name]()
    denoiser = tc.OptimalDenoiser(law, tc.Encoding(law.shape, Q, kind))
    clean = denoiser.encoding.encode(train[:30])
    other = denoiser.encoding.encode(train[30:60])
    corners = denoiser.encoding.encode(torch.randint(Q, (30, 24), generator=generator))
    far = 30 * torch.randn(clean.shape, generator=generator)
    near_middle = (clean + other) / 2 + sigma**2 * torch.randn(clean.shape, generator=generator)
    y = torch.cat([(clean + other) / 2, near_middle, corners, far, 0 * far])
    torch.testing.assert_close(denoiser(y, sigma), denoiser(y.double(), sigma).float(), rtol=0, atol=3e-5)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_images_that_are_not_finite_are_refused_by_every_law(name, value):
    denoiser = tc.OptimalDenoiser(LAWS[name])
    y = torch.zeros(2, denoiser.encoding.channels, *LAWS[name].shape)
    y[1, 0, 0, 0] = value
    for method in (denoiser, denoiser.score, denoiser.log_density, denoiser.posterior_covariance):
        with pytest.raises(ValueError, match="y must be finite; found NaN or an infinity"):
            method(y, 0.5)


@pytest.mark.parametrize("sigma", [1e-22, 1e-300, 1e300])
def test_sigma_beyond_single_precision(sigma):
    denoiser = tc.OptimalDenoiser(tc.rule("parity:1x4,G=2"))
    y = torch.tensor([[1.0, 0.9, -0.7, -1.2]])
    expected = [[1.0, 1.0, -1.0, -1.0]] if sigma < 1 else [[0.0, 0.0, 0.0, 0.0]]
    assert denoiser(y, sigma).tolist() == expected
    assert denoiser(y, torch.tensor([sigma], dtype=torch.float64)).tolist() == expected
    assert not denoiser.score(y, sigma).isnan().any()


def test_grids_of_another_shape_are_refused():
    denoiser = tc.OptimalDenoiser(tc.rule("parity:2x6,G=3"))
    with pytest.raises(ValueError, match=r"images must be \(2, 6\) grids, got \(6, 2\)"):
        denoiser(torch.zeros(3, 1, 6, 2), 0.5)
    assert denoiser(torch.zeros(3, 12), 0.5).shape == (3, 12)


def test_fields_are_log_likelihoods_relative_to_the_nearest_grid():
    generator = torch.Generator().manual_seed(2)
    encoding = tc.Encoding((2, 2), 3, "onehot")
    y = torch.randn(5, 3, 2, 2, generator=generator, dtype=torch.float64)
    sigma = torch.tensor([0.1, 0.5, 1.0, 2.0, 9.0], dtype=torch.float64)
    h, offset = Gaussian(encoding).log_likelihood(y, sigma)
    assert (h.amax(-1) == 0).all()
    x = torch.randint(3, (5, 4), generator=generator)
    noise = (y - encoding.encode(x, torch.float64)).flatten(1) / sigma[:, None]
    expected = -noise.square().sum(1) / 2 - 12 * (sigma.log() + math.log(2 * math.pi) / 2)
    found = h.gather(-1, x[..., None]).sum((1, 2)) + offset
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert Gaussian(encoding).fields(y.float(), 1.0).dtype == torch.float32
    assert Gaussian(encoding).fields(y.float(), 0.001).dtype == torch.float64  # as their sums ask for it


@pytest.mark.parametrize(
    "codes", [[0, 255], [1000, 1001], [[1000, 1000], [1001, 1000]], [0, 1, 3], [[500, 0], [501, 0], [500, 2]]]
)
def test_codes_of_ones_own_far_from_zero(codes):
    """The posterior depends on differences of codes alone, in single precision too."""
    Q = len(codes)
    train = torch.randint(Q, (40, 6), generator=torch.Generator().manual_seed(3))
    law = tc.EmpiricalLaw(train, Q, (2, 3))
    encoding = tc.Encoding((2, 3), Q, codes)
    offset = encoding.codes[0][None, :, None, None]
    moved = tc.OptimalDenoiser(law, tc.Encoding((2, 3), Q, encoding.codes - encoding.codes[0]))
    clean = encoding.encode(train[:20], torch.float64)
    for sigma in (0.1 * encoding.gap, 0.6 * encoding.gap, 3 * encoding.gap):
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        y = (clean + sigma * noise).float()
        expected = moved(y.double() - offset, sigma) + offset
        found = tc.OptimalDenoiser(law, encoding)(y, sigma)
        torch.testing.assert_close(found.double(), expected, rtol=2e-7, atol=1e-4 * encoding.gap)


@pytest.mark.parametrize("name", LAWS)
def test_an_empty_batch_has_empty_answers(name):
    law = LAWS[name]
    denoiser = tc.OptimalDenoiser(law)
    y = torch.zeros(0, denoiser.encoding.channels, *law.shape)
    x = torch.zeros(0, law.dim, dtype=torch.int64)
    assert denoiser(y, 0.5).shape == denoiser.score(y, 0.5).shape == y.shape
    assert denoiser.log_density(y, torch.zeros(0)).shape == law.log_prob(x).shape == (0,)
    assert law.unmask_probs(x).shape == law.next_token_probs(x).shape == (0, law.dim, law.alphabet)
    assert law.posterior(torch.zeros(0, law.dim, law.alphabet))[1].shape == (0, law.dim, law.alphabet)
