import itertools
import math

import numpy as np
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


OWN = {
    "0 and 1": (2, [0, 1]),
    "bytes": (2, [0, 255]),
    "falling": (2, [1.0, -1.0]),
    "uneven": (4, [0.0, 0.1, 5.0, 6.0]),
    "vectors": (3, [[0.0, 1.0], [3.0, 1.0], [0.0, -4.0]]),
    "a tensor": (3, torch.tensor([10, 20, 40])),
    "a list of tensors": (2, [torch.tensor([0.0, 1.0]), torch.tensor([2.0, 1.0])]),
    "an array": (2, np.array([[1.5], [2.5]], dtype=np.float32)),
}


@pytest.mark.parametrize("name", OWN)
def test_codes_of_ones_own(name):
    Q, codes = OWN[name]
    encoding = tc.Encoding((2, 3), Q, codes)
    table = torch.stack([torch.as_tensor(code, dtype=torch.float64) for code in codes]).reshape(Q, -1)
    assert torch.equal(encoding.codes, table)
    assert (encoding.kind, encoding.channels) == ("own", table.shape[1])
    assert encoding.gap == pytest.approx(min(float((a - b).norm()) for a, b in itertools.combinations(table, 2)))
    assert encoding.sigma_data == pytest.approx(float(table.square().mean().sqrt()))
    x = torch.randint(Q, (50, 6), generator=torch.Generator().manual_seed(0))
    y = encoding.encode(x, torch.float64)
    assert torch.equal(y, table[x].transpose(1, 2).reshape(50, -1, 2, 3))
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    symbols, ambiguous = encoding.decode(y + 0.2 * encoding.gap * noise / noise.flatten(2).abs().max())
    assert torch.equal(symbols, x)
    assert not ambiguous.any()
    assert eval(repr(encoding), {"Encoding": tc.Encoding}).same_codes(encoding)


def test_ambiguous_is_measured_by_the_code_s_own_neighbour():
    encoding = tc.Encoding((1, 2), 4, [0.0, 0.1, 5.0, 6.0])
    near, far = 0.25 * 0.1, 0.25 * 1.0  # a quarter of the distance to the next code
    inside = torch.tensor([[-0.99 * near, 5 - 0.99 * far], [0.1 + 0.99 * near, 6 + 0.99 * far]]).double()
    outside = torch.tensor([[-1.01 * near, 5.0], [0.1, 5 + 1.01 * far], [3.0, 5.0]]).double()
    assert encoding.decode(inside)[1].tolist() == [False, False]
    assert encoding.decode(outside)[1].tolist() == [True, True, True]


def test_pixels_are_decoded_as_they_come():
    images = torch.tensor([[[[0, 255, 250]]], [[[130, 0, 0]]]], dtype=torch.uint8)
    symbols, ambiguous = tc.Encoding((1, 3), 2, [0, 255]).decode(images)
    assert symbols.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert ambiguous.tolist() == [False, True]


def test_the_named_codes_are_what_they_were():
    for kind, Q in (("pm1", 2), ("scalar", 5), ("onehot", 4)):
        encoding = tc.Encoding((2, 3), Q, kind)
        assert encoding.kind == kind
        assert encoding.same_codes(tc.Encoding((3, 2), Q, encoding.codes))
        assert encoding.gap == {"pm1": 2.0, "scalar": 0.5, "onehot": math.sqrt(2)}[kind]
        assert repr(encoding) == f"Encoding((2, 3), {Q}, '{kind}')"


@pytest.mark.parametrize(
    ("codes", "fault"),
    [
        ([0, 1, 2], r"one for each of 2 symbols, got shape \(3,\)"),
        ([0.5, 0.5], r"codes must all be different, got \[0\.5, 0\.5\]"),
        ([0.0, math.nan], "codes must be finite"),
        ([0.0, math.inf], "codes must be finite"),
        ([0j, 1j], "real numbers"),
        ([[[0]], [[1]]], "got shape"),
        (["a", "b"], "real numbers"),
        (torch.tensor([0j, 1j]), r"got shape \(2,\)"),
        ([torch.zeros(2), torch.zeros(3)], "real numbers"),
        ([], "got shape"),
        (None, "real numbers"),
    ],
)
def test_bad_codes_are_refused(codes, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        tc.Encoding((2, 3), 2, codes)
    assert "\n" not in str(caught.value)
