import errno
import json
import os

import numpy as np
import pytest
import torch

from twoclocks.empirics.runs import files
from twoclocks.empirics.runs.files import DamagedFile


def test_tensors_survive_the_round_trip(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.tensor(2.0)}
    files.write_tensors(tmp_path / "t.safetensors", tensors, {"step": 7})
    back, header = files.read_tensors(tmp_path / "t.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert header == ({"a": (3, 4), "b": (5,), "c": ()}, {"step": 7})


@pytest.mark.parametrize("damage", ["cut", "flip", "no digest", "digest of no text", "empty"])
def test_damaged_tensors_are_named(tmp_path, damage):
    path = tmp_path / "t.safetensors"
    files.write_tensors(path, {"a": torch.randn(30)})
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-7])
    elif damage == "flip":
        content[-3] ^= 1
        path.write_bytes(content)
    elif damage == "no digest":
        path.with_suffix(".sha256").unlink()
    elif damage == "digest of no text":
        path.with_suffix(".sha256").write_bytes(b"\xff" * 64)
    else:
        path.write_bytes(b"")
    with pytest.raises(DamagedFile, match=r"t\.safetensors"):
        files.read_tensors(path)


def test_writing_obeys_the_umask_of_the_process_and_leaves_it_alone(tmp_path, monkeypatch):
    """Setting it, even for a moment, would reach the files of other threads."""
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
            files.write_json(tmp_path / "config.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    files.write_json(path, {"a": 1})

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"config\.json.*No space left.*intact"):
        files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("alphabet", [2, 6])
def test_grids_are_packed_and_come_back(tmp_path, alphabet):
    x = np.random.default_rng(0).integers(0, alphabet, (100, 36))
    flags = x[:, 0] == 1
    files.write_symbols(tmp_path / "x.npz", x, alphabet, ambiguous=flags)
    back, stored = files.read_symbols(tmp_path / "x.npz")
    assert np.array_equal(back, x)
    assert np.array_equal(stored["ambiguous"], flags)
    if alphabet == 2:
        assert (tmp_path / "x.npz").stat().st_size < 100 * 5 + 1500


def test_pickles_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DamagedFile, match=r"x\.npy"):
        files.read_symbols(tmp_path / "x.npy")
    (tmp_path / "y.npz").write_bytes(b"not a zip")
    with pytest.raises(DamagedFile, match=r"y\.npz"):
        files.read_symbols(tmp_path / "y.npz")
    for damaged in ({"symbols": np.zeros((2, 3))}, {"dim": np.zeros(2)}):
        np.savez(tmp_path / "w.npz", **({"symbols": np.zeros((2, 3), np.uint8), "dim": 3, "alphabet": 2} | damaged))
        with pytest.raises(DamagedFile, match=r"w\.npz"):
            files.read_symbols(tmp_path / "w.npz")
