"""Names of run folders, what a folder holds, and quarantine."""

import json
import re
import shutil
from dataclasses import replace

import pytest

import twoclocks as tc
from twoclocks.empirics.sweeps.folders import check_name, condition, quarantine, run_name


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run that has ended."""
    from twoclocks.empirics import training

    path = tmp_path_factory.mktemp("runs") / "run"
    config = tc.RunConfig(
        rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=24, batch_size=8, n_eval=16, eval_first=6
    )
    training.train(config, path, progress=False)
    return path


@pytest.fixture
def run(original, tmp_path):
    """A copy of it, to be spoiled."""
    return tc.load_run(shutil.copytree(original, tmp_path / "run"))


def test_names_are_stable_readable_and_different(tiny):
    assert run_name(tiny) == "gpt-nano-parity-2x4-G=4-N=8-seed=0-" + run_name(tiny)[-12:]
    assert run_name(tc.RunConfig()) == "dit-mini-parity-6x6-G=3-N=4096-seed=0-44136fa355b3"  # SHA-256 of {}
    others = [replace(tiny, seed=1), replace(tiny, lr=1e-3), replace(tiny, stop_when="both"), replace(tiny, steps=25)]
    assert len({run_name(config) for config in [tiny, *others]}) == 5
    assert run_name(replace(tiny, lr=1)) == run_name(replace(tiny, lr=1.0))


@pytest.mark.parametrize("rule", ["../../etc:6x6", "a/b", "a\\b:\n\0", "x" * 500])
def test_names_stay_inside_the_folder(tiny, rule):
    name = run_name(replace(tiny, rule=rule))
    check_name(name)
    assert len(name) < 120


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", ".locks", "quarantine", "a b", "a\n"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="cannot be named"):
        check_name(name)


def test_conditions_of_intact_folders(run, tmp_path, tiny):
    assert condition(tmp_path / "none", tiny) == ("new", 0, "")
    assert condition(run.path, run.config) == ("finished", 24, "")
    (run.path / "result.json").unlink()
    (run.path / "checkpoints" / "state-0000000024.safetensors").write_bytes(b"")
    assert condition(run.path, run.config)[:2] == ("unfinished", 24)


def spoil_json(name, **changes):
    def spoil(run):
        path = run.path / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def cut(pattern, keep=-3):
    def spoil(run):
        path = sorted(run.path.glob(pattern))[0]
        path.write_bytes(path.read_bytes()[:keep])

    return spoil


def remove(pattern):
    return lambda run: sorted(run.path.glob(pattern))[0].unlink()


def copy(source, target):
    return lambda run: shutil.copy(run.path / source, run.path / target)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (cut("config.json", 20), "config.json is not valid JSON"),
        (spoil_json("config.json", lr=0.5), "line 1: its digest does not follow from config.json"),
        (spoil_json("config.json", format=99), "not of format 1"),
        (spoil_json("config.json", path="x"), "unknown config fields: path"),
        (remove("config.json"), "has checkpoints but no config.json"),
        (remove("result.json"), "neither a result nor a training state"),
        (spoil_json("result.json", status=None), "status must be one of finished, stopped, diverged, got None"),
        (lambda run: (run.path / "result.json").write_text("{}"), "status must be one of"),
        (cut("result.json"), "result.json is not valid JSON"),
        (lambda run: (run.path / "result.json").write_text("[" * 100_000), "run"),
        (spoil_json("result.json", status="splendid"), "status must be one of .*, got splendid"),
        (spoil_json("result.json", onsets={}), "has no onset tau_rule"),
        (spoil_json("result.json", onsets=3), "has no onset tau_rule"),
        (spoil_json("result.json", chance="none"), "chance must be a finite number"),
        (spoil_json("result.json", steps=23), "finished after 23 of 24 steps"),
        (cut("metrics.jsonl"), "metrics.jsonl has 8 evaluations, the last at step 21; .* has 9, the last at step 24"),
        (cut("metrics.jsonl", 0), "metrics.jsonl has 0 evaluations; a run that finished at step 24 has 9"),
        (lambda run: (run.path / "metrics.jsonl").write_text("garbage\n"), "metrics.jsonl: line 1"),
        (remove("training_set.npz"), "training_set.npz is missing"),
        (cut("training_set.npz"), "training_set.npz is not what result.json was made from"),
        (
            lambda run: shutil.copy(run.path / "samples/step-0000000006.npz", run.path / "training_set.npz"),
            "training_set.npz is not what result.json was made from",
        ),
        (cut("samples/*.npz", 40), "samples/step-0000000006.npz does not hold grids of symbols"),
        (remove("samples/*.npz"), "samples/step-0000000006.npz is missing"),
        (cut("checkpoints/*.safetensors"), "does not hold tensors .*cut short"),
        (cut("checkpoints/*.safetensors", 4), "does not hold tensors .*cut short"),
        (cut("checkpoints/*.sha256"), "sha256 is missing or cut short"),
    ],
)
def test_damage_is_seen_and_named(run, spoil, fault):
    config = run.config
    spoil(run)
    found = condition(run.path, config)
    assert found.status == "damaged"
    assert re.search(fault, found.fault)
    assert "\n" not in found.fault
    assert str(run.path) in found.fault


def test_a_link_is_not_a_run_folder(run, tmp_path):
    (tmp_path / "link").symlink_to(run.path)
    assert "not a folder of its own" in condition(tmp_path / "link", run.config).fault


def test_quarantine_keeps_everything(run):
    path, content = run.path, (run.path / "config.json").read_bytes()
    first = quarantine(path)
    assert first == path.parent / "quarantine" / "run-1"
    assert (first / "config.json").read_bytes() == content
    path.mkdir()
    assert quarantine(path).name == "run-2"
    assert not path.exists()
