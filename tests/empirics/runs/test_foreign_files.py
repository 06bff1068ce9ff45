"""What a stranger's folder may hold: read in bounded memory and time, or refused in one line that names it."""

import io
import json
import os
import resource
import shutil
import stat
import time
import zipfile

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics.runs import files
from twoclocks.empirics.runs.foreign_files import DamagedFile, read_arrays, read_regular, tensor_header
from twoclocks.empirics.style import figure_style, new_figure

CONFIG = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=9, batch_size=8, n_eval=16, eval_first=4, eval_ratio=1.6
)
FIRST = "samples/step-0000000004.npz"
WEIGHTS = "checkpoints/weights-0000000009.safetensors"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tc.train(CONFIG, tmp_path_factory.mktemp("runs") / "run", progress=False).path


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def lying(shape, size=100):
    """An .npz whose array claims a shape that its bytes do not have."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "|u1", "fortran_order": False, "shape": shape})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("symbols.npy", array.getvalue() + bytes(size))
    return buffer.getvalue()


BOMBS = {
    "a compressed bomb": (npz(symbols=np.zeros((10**8,), np.uint8)), "is compressed"),
    "an absurd shape": (lying((2**40, 2**20)), "cannot have the shape"),
    "a negative shape": (lying((-1, 100)), "cannot have the shape"),
    "a deep header": (lying((1,)).replace(b"'|u1'", b"((((("), "does not hold grids"),
    "many arrays": (npz(**{f"a{k}": np.zeros(1) for k in range(50)}), "50 arrays"),
    "floats": (None, "not of whole numbers"),
    "text": (b"PK\x03\x04 nonsense", "does not hold grids"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_arrays_are_bounded_by_their_file(tmp_path, bomb):
    content, message = BOMBS[bomb]
    path = tmp_path / "x.npz"
    if content is None:
        np.savez(path, symbols=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(DamagedFile, match=message) as fault:
        read_arrays(path, 2**24)
    assert str(path) in str(fault.value)
    assert len(str(fault.value)) < 500


def header(value, data=b""):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return len(text).to_bytes(8, "little") + text + data


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "empty": b"",
    "absurd length": (2**63).to_bytes(8, "little") + b"{}",
    "deep": header(b"[" * 10**5),
    "no object": header([]),
    "no JSON": header(b"{{{"),
    "short data": header({"a": TENSOR}, bytes(7)),
    "long data": header({"a": TENSOR}, bytes(9)),
    "overlap": header({"a": TENSOR, "b": TENSOR}, bytes(8)),
    "huge shape": header({"a": {**TENSOR, "shape": [2**60]}}, bytes(8)),
    "negative shape": header({"a": {**TENSOR, "shape": [-2]}}, bytes(8)),
    "bool shape": header({"a": {**TENSOR, "shape": [True, 2]}}, bytes(8)),
    "unknown dtype": header({"a": {**TENSOR, "dtype": "F128"}}, bytes(8)),
    "entry of another type": header({"a": 5}, bytes(8)),
    "offsets of another type": header({"a": {**TENSOR, "data_offsets": "08"}}, bytes(8)),
    "note of another type": header({"__metadata__": {"twoclocks": "[]"}, "a": TENSOR}, bytes(8)),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_tensors_with_an_absurd_header_are_refused(tmp_path, fault):
    path = tmp_path / "t.safetensors"
    files.write_tensors(path, {"a": torch.zeros(2)})
    path.write_bytes(HEADERS[fault])
    with pytest.raises(DamagedFile, match=r"t\.safetensors"):
        tensor_header(path)
    with pytest.raises(DamagedFile, match=r"t\.safetensors"):
        files.read_tensors(path)


def read_all(folder):
    run = tc.load_run(folder)
    return run.train_set, run.samples(4), run.model()


@pytest.mark.parametrize("name", ["config.json", "result.json", "metrics.jsonl", "training_set.npz", FIRST, WEIGHTS])
@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "socket"])
def test_what_is_no_file_is_named_and_not_opened(folder, name, kind, capsys):
    path = folder / name
    path.rename(folder.parent / "aside")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(folder.parent / "aside")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    with pytest.raises(DamagedFile, match=r"regular file|symbolic link|cannot be read") as fault:
        read_all(folder)
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)
    if name != FIRST:  # which is nothing to `compare`
        with pytest.raises(SystemExit) as ended:
            main(["compare", str(folder), "--out", str(folder.parent / "out")])
        assert ended.value.code == 2


def test_a_gigabyte_of_empty_lines_is_refused_at_once(folder):
    (folder / "metrics.jsonl").write_bytes(b"{}\n" * (40 * 10**6))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(DamagedFile, match=r"metrics.jsonl is larger than [\d,]+ bytes"):
        tc.load_run(folder)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_config_that_asks_for_endless_evaluations_is_refused(folder):
    for changes in ({"eval_ratio": 1 + 1e-15, "steps": 2**40}, {"eval_ratio": 1.0000001, "steps": 10**9}):
        (folder / "config.json").write_text(json.dumps({"format": 1, **CONFIG.to_dict(), **changes}))
        with pytest.raises(DamagedFile, match="evaluations; choose a larger one"):
            tc.load_run(folder)


def test_weights_of_another_model_are_refused_before_they_are_read(folder, tmp_path):
    from dataclasses import replace

    other = tc.train(replace(CONFIG, model="gpt-micro"), tmp_path / "other", progress=False)
    for suffix in (".safetensors", ".sha256"):
        shutil.copy((other.path / WEIGHTS).with_suffix(suffix), (folder / WEIGHTS).with_suffix(suffix))
    with pytest.raises(DamagedFile, match=r"weights-0000000009\.safetensors is of another run"):
        tc.load_run(folder).model()


def test_a_file_is_read_no_further_than_it_goes(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    assert read_regular(path, 2**60) == b"abc"
    with pytest.raises(DamagedFile, match="larger than 2 bytes"):
        read_regular(path, 2)


# No link is written or deleted through.


@pytest.fixture
def victims(tmp_path):
    """Files and a folder that must stay as they are."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("comparison.csv", "comparison.png", "state-0000000004.safetensors", "notes.txt"):
        (outside / name).write_text("mine")
    yield outside
    assert all(path.read_text() == "mine" for path in outside.iterdir())
    assert len(list(outside.iterdir())) == 4


@pytest.mark.parametrize("name", ["checkpoints", "samples"])
@pytest.mark.parametrize("ended", [True, False])
def test_a_linked_folder_of_a_run_is_refused(folder, victims, name, ended):
    shutil.rmtree(folder / name)
    (folder / name).symlink_to(victims)
    if not ended:
        (folder / "result.json").unlink()
        (folder / "metrics.jsonl").unlink()
    with pytest.raises(DamagedFile, match=f"{name} is a symbolic link"):
        tc.train(CONFIG, folder, resume=True, progress=False)


def test_a_start_never_goes_through_links(tmp_path, victims):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "samples").symlink_to(victims)
    with pytest.raises(ValueError, match=r"not an empty folder \(samples\)"):
        tc.train(CONFIG, folder, resume=True, progress=False)


def test_metrics_are_not_appended_through_a_link(tmp_path, victims):
    (tmp_path / "metrics.jsonl").symlink_to(victims / "notes.txt")
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        files.append_line(tmp_path / "metrics.jsonl", b"{}")


@pytest.mark.slow
def test_compare_writes_no_link_of_the_folder(folder, victims, capsys):
    (folder / "comparison").symlink_to(victims)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(folder), "--n-samples", "4"])
    assert ended.value.code == 2
    assert "comparison is a symbolic link" in capsys.readouterr().err
    (folder / "comparison").unlink()
    (folder / "comparison").mkdir()
    names = ("comparison.csv", "comparison.png", "ladder.csv", "ladder.png")
    for name in names:
        (folder / "comparison" / name).symlink_to(victims / name)
    main(["compare", str(folder), "--n-samples", "4"])
    for name in names:  # replaced
        assert not (folder / "comparison" / name).is_symlink()
        assert (folder / "comparison" / name).stat().st_size > 100


def test_figures_and_tables_replace_a_link(tmp_path, victims):
    for name in ("a.png", "a.pdf", "b"):
        (tmp_path / name).symlink_to(victims / "notes.txt")
    with figure_style():
        figure, _ = new_figure(1, 1, 2, 2)
        figure.savefig(tmp_path / "a.png")
        figure.savefig(str(tmp_path / "a.pdf"))
        figure.savefig(tmp_path / "b")  # matplotlib's own: b.png
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "a.pdf").read_bytes()[:4] == b"%PDF"
    assert (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"
