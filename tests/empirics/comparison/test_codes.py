"""Networks trained on images with other codes: told so, and placed rightly once the codes are given."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import twoclocks as tc

RULE = tc.rule("parity:2x3,G=3")
TRAIN = RULE.sample(12, torch.Generator().manual_seed(0))
EXACT = tc.OptimalDenoiser(RULE)


def references(rule=RULE, train=TRAIN, encoding=None):
    return {
        "population": tc.OptimalDenoiser(rule, encoding),
        "empirical": tc.OptimalDenoiser(tc.EmpiricalLaw(train, rule.alphabet, rule.shape), encoding),
    }


def moved(exact, low, high):
    """A perfect denoiser of images whose codes lie in low..high where those of exact lie in -1..1."""
    half, middle = (high - low) / 2, (high + low) / 2
    return lambda y, s: exact((y - middle) / half, s / half) * half + middle


LEVELS = [(0, 1), (0, 255), (-0.5, 0.5), (0, 2), (-5, 5), (-0.4242, 2.8215), (100, 101), (-0.01, 0.01)]


@pytest.mark.parametrize(("low", "high"), LEVELS)
def test_other_codes_are_told_and_given_they_make_the_place_right(low, high):
    net = moved(EXACT, low, high)
    sigmas = [k * (high - low) for k in (0.2, 0.4)]
    with pytest.warns(UserWarning, match=r"root mean square .* give encoding=Encoding\(\(2, 3\), 2, \[") as told:
        tc.compare_denoisers(net, references(), TRAIN, sigmas)
    (warning,) = told
    given = eval(str(warning.message).partition("encoding=")[2].partition(", with")[0], {"Encoding": tc.Encoding})
    assert given.codes[:, 0].tolist() == pytest.approx([low, high], abs=0.01 * (high - low))
    assert warning.filename == __file__

    own = tc.Encoding((2, 3), 2, [low, high])
    for table in (  # nor is there a warning, which would be an error here
        tc.compare_denoisers(net, references(encoding=own), TRAIN, sigmas, dtype=torch.float64),
        tc.compare_denoisers(net, references(), TRAIN, sigmas, encoding=own, dtype=torch.float64),
    ):
        np.testing.assert_allclose(table["memorization_coordinate"], 0, atol=1e-9)
        np.testing.assert_allclose(table["score_mse_population"], 0, atol=1e-9)


def test_the_warning_names_both_sizes():
    data = torch.tensor([[0, 1, 1, 1, 1, 0]])
    with pytest.warns(UserWarning, match=r"of root mean square 0\.816, and is shown images of 1,"):
        tc.compare_denoisers(moved(EXACT, 0, 1), references(), data, [0.5])


def test_three_levels_of_which_the_middle_one_hides():
    rule = tc.rule("permutation:3")
    train = rule.sample(5, torch.Generator().manual_seed(1))
    encoding = tc.Encoding(rule.shape, 3, "scalar")
    net = moved(tc.OptimalDenoiser(rule, encoding), 0, 255)
    with pytest.warns(UserWarning, match=r"Encoding\(\(3, 3\), 3, \[0\.0, 12[78]\.0, 255\.0\]\)"):
        tc.compare_denoisers(net, references(rule, train, encoding), train, [20.0])
    own = tc.Encoding(rule.shape, 3, [0, 127.5, 255])
    table = tc.compare_denoisers(net, references(rule, train, own), train, [20.0, 60.0], dtype=torch.float64)
    np.testing.assert_allclose(table["memorization_coordinate"], 0, atol=1e-9)


def test_vectors_of_ones_own():
    """Symbols as corners of a tetrahedron that does not sit at zero; a net that knows one-hot codes instead."""
    rule = tc.rule("latin:3")
    train = rule.sample(4, torch.Generator().manual_seed(1))
    codes = torch.tensor([[3.0, 1.0], [4.0, 1.0], [3.0, 3.0]])
    own = tc.Encoding(rule.shape, 3, codes)
    net = tc.OptimalDenoiser(rule, own)
    table = tc.compare_denoisers(lambda y, s: net(y, s), references(rule, train, own), train, [0.6])
    np.testing.assert_allclose(table["memorization_coordinate"], 0, atol=1e-4)
    shifted = tc.OptimalDenoiser(rule, tc.Encoding(rule.shape, 3, 2 * torch.eye(3) - 1))
    with pytest.warns(UserWarning, match="root mean square"):
        tc.compare_denoisers(lambda y, s: shifted(y, s), references(rule, train), train, [0.6])


@pytest.mark.parametrize(
    "net",
    [
        EXACT,
        lambda y, s: EXACT(y, s),
        lambda y, s: y,  # an EDM network at its start
        lambda y, s: 0.9 * y,
        lambda y, s: torch.zeros_like(y),  # a network whose last layer starts at zero
        lambda y, s: 0.3 * torch.tanh(y) + 0.1,
        lambda y, s: y * torch.nan,
        lambda y, s: torch.randn(y.shape, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["exact", "as a function", "identity", "shrinking", "zero", "junk", "nan", "noise"],
)
def test_no_warning_without_cause(net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tc.compare_denoisers(net, references(), TRAIN, [0.5, 2.0])


def test_networks_at_their_start_are_not_warned_of():
    torch.manual_seed(0)
    for layer in (nn.Conv2d(1, 1, 3, padding=1), nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 1, 1))):
        for predicts in ("noise", "data", "velocity"):
            net = tc.as_denoiser(lambda z, t, layer=layer: layer(z), predicts, tc.Schedule.vp_linear())
            tc.compare_denoisers(net, references(), TRAIN, [0.5, 1.0])
    tc.compare_denoisers(tc.build_model("dit-nano", RULE), references(), TRAIN, [0.5])


def test_a_net_that_refuses_the_noise_level_of_the_question_is_compared():
    asked = []

    def net(y, s):
        asked.append(float(s[0]))
        if float(s[0]) < 0.4:
            raise AssertionError("trained on one level")
        return EXACT(y, s)

    table = tc.compare_denoisers(net, references(), TRAIN, [0.5])
    assert abs(float(table["memorization_coordinate"].iloc[0])) < 1e-4
    assert asked[0] == 0.25


def test_a_net_with_codes_of_its_own_is_not_shown_others():
    class Own(nn.Module):
        encoding = tc.Encoding((2, 3), 2, [0, 1])

        def forward(self, y, s):
            return moved(EXACT, 0, 1)(y, s)

    table = tc.compare_denoisers(Own(), references(), TRAIN, [0.5], dtype=torch.float64)  # the references follow
    np.testing.assert_allclose(table["memorization_coordinate"], 0, atol=1e-9)
    with pytest.raises(ValueError, match=r"net denoises images of Encoding\(\(2, 3\), 2, \[0\.0, 1\.0\]\)"):
        tc.compare_denoisers(Own(), references(), TRAIN, [0.5], encoding=tc.Encoding((2, 3), 2))


def test_symbols_in_order_of_their_codes_do_not_matter():
    """Codes that fall, and codes of a permutation of the symbols, give the denoiser of the permuted symbols."""
    rule = tc.rule("permutation:1x3")
    grids = torch.tensor(list(itertools.permutations(range(3))))
    y = torch.randn(7, 1, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rising = tc.OptimalDenoiser(rule, tc.Encoding((1, 3), 3, [-2.0, 0.5, 7.0]))(y, 0.8)
    falling = tc.OptimalDenoiser(rule, tc.Encoding((1, 3), 3, [7.0, 0.5, -2.0]))(y, 0.8)
    torch.testing.assert_close(rising, falling, rtol=1e-12, atol=1e-12)
    images = torch.tensor([-2.0, 0.5, 7.0], dtype=torch.float64)[grids]
    weight = (-(y.reshape(7, 1, 3) - images).square().sum(-1) / (2 * 0.8**2)).softmax(-1)
    torch.testing.assert_close(rising.reshape(7, 3), weight @ images, rtol=1e-12, atol=1e-12)
