import math

import pytest
import torch

import twoclocks as tc


@pytest.mark.parametrize(("kind", "Q"), [("pm1", 2), ("scalar", 2), ("scalar", 6), ("onehot", 2), ("onehot", 6)])
def test_decode_inverts_encode(kind, Q):
    encoding = tc.Encoding((2, 3), Q, kind)
    x = torch.randint(Q, (50, 6), generator=torch.Generator().manual_seed(0))
    y = encoding.encode(x)
    assert y.shape == (50, Q if kind == "onehot" else 1, 2, 3)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    small = noise * (0.2 / Q / noise.abs().max())
    symbols, ambiguous = encoding.decode(y + small)
    assert torch.equal(symbols, x)
    assert not ambiguous.any()
    mean_square = encoding.codes.square().mean()
    assert encoding.sigma_data == pytest.approx(math.sqrt(mean_square))


def test_raster_order_is_kept():
    x = torch.tensor([[0, 1, 1, 0, 0, 1]])
    assert tc.Encoding((2, 3), 2).encode(x).tolist() == [[[[-1, 1, 1], [-1, -1, 1]]]]


def test_a_cell_is_ambiguous_outside_half_to_three_halves():
    encoding = tc.Encoding((1, 2), 2)
    y = torch.tensor([[0.51, -1.49], [0.49, 1.0], [1.0, 1.51], [math.nan, 1.0], [-0.6, math.inf]])
    assert encoding.decode(y)[1].tolist() == [False, True, True, True, True]
    six = tc.Encoding((1, 2), 6, "scalar")  # codes 0.4 apart: ambiguous farther than 0.1 from all of them
    assert six.decode(torch.tensor([[1.09, -0.2], [0.31, 1.0]]))[1].tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_decoded(dtype):
    encoding = tc.Encoding((2, 2), 3, "onehot")
    x = torch.tensor([[0, 1, 2, 1]])
    assert torch.equal(encoding.decode(encoding.encode(x, dtype))[0], x)


def test_bad_encodings_and_images_are_refused():
    with pytest.raises(ValueError, match="needs 2 symbols"):
        tc.Encoding((2, 2), 3, "pm1")
    with pytest.raises(ValueError, match="unknown encoding"):
        tc.Encoding((2, 2), 3, "embedding")
    encoding = tc.Encoding((2, 2), 2)
    with pytest.raises(ValueError, match="symbols must be"):
        encoding.encode(torch.zeros(3, 4))
    for symbol in (-1, 2):  # neither read as the last code nor an IndexError
        with pytest.raises(ValueError, match=r"symbols must lie in 0\.\.1"):
            encoding.encode(torch.tensor([[0, 1, 1, symbol]]))
    with pytest.raises(ValueError, match="at least 2 symbols, got 1"):
        tc.Encoding((2, 2), 1, "scalar")
    with pytest.raises(ValueError, match="at least 1"):
        tc.Encoding((0, 2), 2)
    with pytest.raises(ValueError, match="images must have shape"):
        encoding.decode(torch.zeros(3, 2, 2, 2))
