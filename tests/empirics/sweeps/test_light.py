"""Light runs: what is packed is laid out elsewhere as a run that is read, or continued to the same evaluations."""

import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import twoclocks as tc
from twoclocks.empirics.runs.foreign_files import DamagedFile
from twoclocks.empirics.sweeps.folders import condition, run_name
from twoclocks.empirics.sweeps.light import (
    expand,
    light_run,
    read_archives,
    squeeze,
    unpack_runs,
    write_archives,
)
from twoclocks.empirics.time_limit import time_limit

CONFIG = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=30, batch_size=8, n_eval=8, eval_first=5,
    precision="fp32", device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    return tc.train(CONFIG, tmp_path_factory.mktemp("runs") / run_name(CONFIG), progress=False)


@pytest.fixture
def under_way(tmp_path, monkeypatch):
    """A run that stopped at step 12, after two evaluations."""
    from twoclocks.empirics.engine import Engine
    from twoclocks.empirics.interrupts import Terminated

    advance = Engine.advance

    def stop(engine):
        advance(engine)
        if engine.step == 12:
            os.kill(os.getpid(), 15)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "advance", stop)
        with pytest.raises(Terminated):
            tc.train(CONFIG, tmp_path / "under-way" / run_name(CONFIG), progress=False)
    return tc.load_run(tmp_path / "under-way" / run_name(CONFIG))


def evaluations(run):
    return run.metrics.drop(columns="seconds").to_csv()


def test_an_ended_run_travels_without_its_bulk(tmp_path, ended):
    members = light_run(ended)
    assert sorted(name.rpartition("/")[2] for name in members) == [
        "config.json", "hardware.json", "metrics.jsonl", "result.json",
    ]  # fmt: skip
    assert write_archives(tmp_path / "out", members) == 1
    assert unpack_runs(read_archives([tmp_path / "out"]), tmp_path / "there") == [ended.path.name]
    there = tc.load_run(tmp_path / "there" / ended.path.name)
    assert evaluations(there) == evaluations(ended)
    assert there.onsets == ended.onsets
    assert there.train_set.equal(ended.train_set)
    assert there.left_out == {"samples", "weights", "training_set"}
    assert condition(there.path, CONFIG).status == "finished"
    assert tc.load_runs(tmp_path / "there")["status"].tolist() == ["finished"]
    with pytest.raises(ValueError, match="keeps no weights"):
        there.model()
    with pytest.raises(DamagedFile):
        there.samples(30)
    assert tc.sweep([CONFIG], tmp_path / "there", progress=False)["attempts"].tolist() == [0]
    assert unpack_runs(members, tmp_path / "there") == []  # it is there


def test_a_run_under_way_is_continued_to_the_same_evaluations(tmp_path, ended, under_way):
    members = light_run(under_way, state=True)
    write_archives(tmp_path / "out", members)
    assert unpack_runs(read_archives([tmp_path / "out"]), tmp_path / "there") == [under_way.path.name]
    there = tc.load_run(tmp_path / "there" / under_way.path.name)
    assert there.state_steps == [12]
    assert condition(there.path, CONFIG).status == "unfinished"
    there = tc.train(CONFIG, there.path, resume=True, progress=False)
    assert evaluations(there) == evaluations(ended)
    assert there.result["digests"] == ended.result["digests"]
    assert all(
        np.array_equal(a.numpy(), b.numpy())
        for a, b in zip(there.model().state_dict().values(), ended.model().state_dict().values(), strict=True)
    )


def test_the_run_that_is_further_stays(tmp_path, ended, under_way):
    state = light_run(under_way, state=True)
    unpack_runs(state, tmp_path / "there")
    assert unpack_runs(state, tmp_path / "there") == []
    assert unpack_runs(light_run(ended), tmp_path / "there") == [ended.path.name]
    assert tc.load_run(tmp_path / "there" / ended.path.name).ended
    assert len(list((tmp_path / "there" / "quarantine").iterdir())) == 1
    assert unpack_runs(state, tmp_path / "there") == []


def test_archives_are_the_same_bytes_and_replace_those_of_before(tmp_path, ended):
    members = light_run(ended)
    members |= {f"runs/other/state-0000000012.part{k:03d}": os.urandom(40_000) for k in range(5)}
    assert write_archives(tmp_path, members, largest=100_000) == 3
    before = [path.read_bytes() for path in sorted(tmp_path.glob("*.zip"))]
    assert all(len(content) <= 100_000 for content in before)
    assert read_archives([tmp_path]) == members
    write_archives(tmp_path, members, largest=100_000)
    assert [path.read_bytes() for path in sorted(tmp_path.glob("*.zip"))] == before
    assert write_archives(tmp_path, light_run(ended)) == 1
    assert len(list(tmp_path.glob("*.zip"))) == 1
    with pytest.raises(ValueError, match="do not fit into 2 files of 100,000 bytes"):
        write_archives(tmp_path, members, most=2, largest=100_000)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 1000, 4097])
def test_squeezing_loses_nothing(size):
    content = np.random.default_rng(0).normal(size=size // 4 + 1).astype(np.float32).tobytes()[:size]
    assert expand(squeeze(content)) == content
    with pytest.raises(ValueError, match="cut short"):
        expand(squeeze(content + b"more")[:-5])


def test_float_numbers_become_shorter():
    content = (0.02 * np.random.default_rng(0).normal(size=100_000)).astype(np.float32).tobytes()
    assert len(squeeze(content)) < 0.9 * len(content)


@pytest.mark.parametrize(
    "name", ["../evil", "runs/../../evil/config.json", "runs/a/evil.py", "runs//config.json", "/runs/a/config.json",
             "runs/a/b/config.json", "figures/x/fig01/../../evil.json"],
)  # fmt: skip
def test_an_archive_with_anything_else_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"{}")
    with pytest.raises(DamagedFile, match="which is no run's"):
        read_archives([tmp_path / "a.zip"])


def test_damaged_archives_and_runs_are_refused(tmp_path, ended):
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    with pytest.raises(DamagedFile, match="no archive of runs"):
        read_archives([tmp_path / "a.zip"])
    members = light_run(ended)
    result = f"runs/{ended.path.name}/result.json"
    with pytest.raises(DamagedFile, match=r"result\.json"):
        unpack_runs({**members, result: members[result].replace(b'"finished"', b'"stopped"')}, tmp_path / "b")
    assert not list((tmp_path / "b").iterdir())
    with pytest.raises(DamagedFile, match=r"without its config\.json"):
        unpack_runs({result: members[result]}, tmp_path / "c")


def test_a_folder_with_a_limit_packs_a_fresh_run_too(tmp_path):
    with time_limit(0.001):
        run = tc.train(replace(CONFIG, seed=5), tmp_path / "run", progress=False)
    members = light_run(run, state=True)
    assert any(".part" in name for name in members)
    unpack_runs(members, tmp_path / "there")
    assert tc.load_run(tmp_path / "there" / "run").state_steps == run.state_steps
