"""What was cut, edited or brought from another run is found by whoever reads it, and by a resume."""

import json
import shutil
from dataclasses import replace

import pytest
from written_runs import GPT, write_run

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics import training
from twoclocks.empirics.runs.files import read_tensors, write_tensors
from twoclocks.empirics.runs.folder import read_runs_folder
from twoclocks.empirics.runs.foreign_files import DamagedFile
from twoclocks.empirics.sweeps.folders import condition

CONFIG = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=60, batch_size=16, lr=2e-3, warmup=5, n_eval=32,
    eval_first=5, eval_ratio=1.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A run that has ended, one cut off after step 25 with states of 17 and 25, and both of another seed."""
    folder = tmp_path_factory.mktemp("originals")
    for seed, name in ((0, ""), (1, "-other")):
        config = replace(CONFIG, seed=seed)
        tc.train(config, folder / f"ended{name}", progress=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training.RunWriter, "save_weights", cut_at(training.RunWriter.save_weights, 38))
            with pytest.raises(KeyboardInterrupt):
                tc.train(config, folder / f"cut{name}", progress=False)
    assert tc.load_run(folder / "cut").state_steps == [17, 25]
    assert tc.load_run(folder / "cut").metrics["step"].tolist() == [5, 8, 11, 17, 25, 38]
    return folder


def cut_at(save, last):
    def saving(self, model, step):
        if step >= last:
            raise KeyboardInterrupt
        save(self, model, step)

    return saving


@pytest.fixture
def folder(originals, tmp_path):
    return shutil.copytree(originals, tmp_path / "runs")


def edit(name, old, new):
    def spoil(run):
        content = (run / name).read_text()
        assert old in content
        (run / name).write_text(content.replace(old, new))

    return spoil


def edit_json(name, **changes):
    def spoil(run):
        stored = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**stored, **changes}))

    return spoil


def lines(change):
    def spoil(run):
        path = run / "metrics.jsonl"
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return spoil


def line(number, **changes):
    """A value of one line edited, the rest as it is written."""

    def change(all_lines):
        values = {**json.loads(all_lines[number]), **changes}
        return [*all_lines[:number], (json.dumps(values) + "\n").encode(), *all_lines[number + 1 :]]

    return lines(change)


def from_other(*names, ended=True):
    def spoil(run):
        for name in names:
            shutil.copy(run.with_name(f"{run.name}-other") / name, run / name)

    return spoil


CLOCK = {"step": 8.0, "lower": 5.0, "upper": 8.0, "censored": False}
EDITS = {
    "lines cut": (lines(lambda all_lines: all_lines[:-2]), "metrics.jsonl has 5 evaluations, the last at step 25"),
    "emptied": (lines(lambda all_lines: []), "metrics.jsonl has 0 evaluations"),
    "a line lost": (lines(lambda all_lines: all_lines[:2] + all_lines[3:]), "line 3: step 17; it lacks .* step 11"),
    "a line twice": (lines(lambda all_lines: [*all_lines, all_lines[-1]]), "8 lines, more than the run's 7"),
    "a ratio edited": (line(3, memorization=0.5), "line 4: memorization must lie within its own bounds"),
    "a loss edited": (line(3, loss=0.5), "line 4: its digest does not follow"),
    "ratio 7": (line(3, rule_accuracy=7.0), "line 4: rule_accuracy must lie in 0..1, got 7"),
    "text": (line(3, rule_accuracy="0.5"), "line 4 holds something that is not a number"),
    "NaN": (line(3, memorization=float("nan")), "line 4: memorization must lie in 0..1, got nan"),
    "p-value": (line(0, memorization_p=-1e-3), "line 1: memorization_p must lie in 0..1"),
    "time runs back": (line(4, seconds=-1.0), "line 5: seconds must be finite and never decrease, got -1"),
    "digests taken off": (
        lines(lambda all_lines: [text[: text.index(b', "samples"')] + b"}\n" for text in all_lines]),
        "metrics.jsonl is not what result.json was made from",
    ),
    "lines of another run": (from_other("metrics.jsonl"), "line 1: its digest does not follow from config.json"),
    "a clock edited": (
        edit_json("result.json", onsets={"tau_rule": CLOCK, "tau_mem": CLOCK}), "result.json does not match its digest"
    ),
    "chance edited": (edit_json("result.json", chance=0.5), "result.json does not match its digest"),
    "chance -3": (edit_json("result.json", chance=-3.0), "chance must lie in 0..1, got -3"),
    "status": (edit_json("result.json", status="stopped"), "result.json does not match its digest"),
    "an earlier end": (edit_json("result.json", status="stopped", steps=38), "metrics.jsonl has 7 evaluations"),
    "its digest too": (edit_json("result.json", digest=None), "result.json does not match its digest"),
    "a result of another run": (from_other("result.json"), "config.json is not what result.json was made from"),
    "result and lines": (from_other("result.json", "metrics.jsonl"), "line 1: its digest does not follow"),
    "another rule": (edit("config.json", "G=4", "G=2"), "line 1: its digest does not follow from config.json"),
    "another seed": (edit("config.json", '"seed": 0', '"seed": 1'), "line 1: its digest does not follow"),
    "another schedule": (edit("config.json", '"eval_ratio": 1.5', '"eval_ratio": 1.4'), "line 2: step 8; .* step 7"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_ended_run_that_was_cut_or_edited_is_found_by_all(folder, name, capsys):
    spoil, message = EDITS[name]
    run = folder / "ended"
    spoil(run)
    with pytest.raises(DamagedFile, match=message) as fault:
        tc.load_run(run)
    assert str(run) in str(fault.value)
    assert "\n" not in str(fault.value)
    with pytest.raises(ValueError, match=message):
        tc.load_runs(folder)
    with pytest.raises(ValueError, match=message):
        tc.load_metrics(folder)
    assert list(read_runs_folder(folder).damaged) == ["ended"]
    assert condition(run, CONFIG).status == "damaged"
    for command in ("compare", "dissect"):
        with pytest.raises(SystemExit) as ended:
            main([command, str(run)])
        assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 2
    with pytest.raises(ValueError, match=r"ended"):
        tc.train(CONFIG, run, resume=True, progress=False)


FIRST, WEIGHTS = "samples/step-0000000005.npz", "checkpoints/weights-0000000008.safetensors"


def flip(name):
    def spoil(run):
        content = bytearray((run / name).read_bytes())
        content[-40] ^= 1
        (run / name).write_bytes(content)

    return spoil


def older_weights(run):
    for suffix in (".safetensors", ".sha256"):
        shutil.copy(run / f"checkpoints/weights-0000000005{suffix}", (run / WEIGHTS).with_suffix(suffix))


def state_of_another_seed(run):
    for path in (run.parent / "cut-other" / "checkpoints").glob("state-*"):
        shutil.copy(path, run / "checkpoints")


def renamed_state(run):
    for suffix in (".safetensors", ".sha256"):
        (run / f"checkpoints/state-0000000017{suffix}").unlink()
        (run / f"checkpoints/state-0000000025{suffix}").rename(run / f"checkpoints/state-0000000017{suffix}")


def state_without_a_note(run):
    """As it was before states were bound to their run."""
    for path in (run / "checkpoints").glob("state-*.safetensors"):
        write_tensors(path, read_tensors(path)[0])


LOSSES = {
    "emptied": (lines(lambda all_lines: []), "saved after the evaluation at step 25, which metrics.jsonl lacks"),
    "three lines left": (lines(lambda all_lines: all_lines[:3]), "saved after the evaluation at step 25"),
    "lines of another run": (from_other("metrics.jsonl"), "line 1: its digest does not follow"),
    "no metrics": (lambda run: (run / "metrics.jsonl").unlink(), "saved after the evaluation at step 25"),
    "no states": (lambda run: [path.unlink() for path in run.glob("checkpoints/state-*")], "6 evaluations were made"),
    "digests taken off": (EDITS["digests taken off"][0], "is of another history"),
    "no config": (lambda run: (run / "config.json").unlink(), "has no config.json to resume from"),
    "a config of another run": (from_other("config.json"), r"seed=1 \(asked: 0\)|line 1: its digest"),
    "a state of another seed": (state_of_another_seed, "no intact training state is left: .* is of another run"),
    "a state of another step": (renamed_state, "is of another step"),
    "a state without its note": (state_without_a_note, "is of another run"),
    "another training set": (from_other("training_set.npz"), "is not the training set of this rule, N and seed"),
    "damaged samples": (flip(FIRST), f"{FIRST} "),
    "samples of another step": (
        lambda run: shutil.copy(run / "samples/step-0000000008.npz", run / FIRST), "not what metrics.jsonl measured"
    ),
    "no samples": (lambda run: (run / FIRST).unlink(), f"{FIRST} is missing"),
    "damaged weights": (flip(WEIGHTS), f"{WEIGHTS} does not match its SHA-256"),
    "older weights": (older_weights, f"{WEIGHTS} is of another step"),
    "no weights": (lambda run: (run / WEIGHTS).unlink(), "weights-0000000008.safetensors is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_resume_refuses_what_is_not_all_there(folder, name):
    spoil, message = LOSSES[name]
    run = folder / "cut"
    spoil(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "metrics.jsonl"}
    with pytest.raises(ValueError, match=message):
        tc.train(CONFIG, run, resume=True, progress=False)
    assert {path: path.read_bytes() for path in before} == before
    assert not (run / ".lock").exists()


@pytest.mark.filterwarnings("error:.*state")
def test_what_was_made_after_the_state_may_be_lost(folder):
    """It is made again; and one line less than the newest state has, and the state before it is taken."""
    lines(lambda all_lines: all_lines[:-1])(folder / "cut")
    shutil.copytree(folder / "cut", folder / "less")
    assert tc.train(CONFIG, folder / "cut", resume=True, progress=False).metrics["loss"].tolist() == (
        tc.load_run(folder / "ended").metrics["loss"].tolist()
    )
    lines(lambda all_lines: all_lines[:-1])(folder / "less")
    with pytest.warns(UserWarning, match="which metrics.jsonl lacks; continuing from an earlier state"):
        run = tc.train(CONFIG, folder / "less", resume=True, progress=False)
    assert run.metrics["loss"].tolist() == tc.load_run(folder / "ended").metrics["loss"].tolist()


def test_a_training_set_that_breaks_the_rule_is_refused(folder):
    shutil.copy(folder / "ended" / FIRST, folder / "ended" / "training_set.npz")
    with pytest.raises(DamagedFile, match=r"training_set\.npz"):
        _ = tc.load_run(folder / "ended").train_set


# Folders of runs that ended before there were digests.


def old(run):
    """As the same run would have been written then."""
    lines(lambda all_lines: [text[: text.index(b', "samples"')] + b"}\n" for text in all_lines])(run)
    path = run / "result.json"
    if path.exists():
        stored = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in stored.items() if k not in ("digest", "digests")}))
    for path in (run / "checkpoints").glob("*.safetensors"):
        write_tensors(path, read_tensors(path)[0])
    return run


def test_an_old_run_is_read_and_an_old_interrupted_run_continued(folder):
    plain = tc.load_run(folder / "ended")
    run = tc.load_run(old(folder / "ended"))
    assert run.metrics.equals(plain.metrics)
    assert run.samples(5).symbols.shape == (32, 8)
    assert len(run.train_set) == 8
    run.model(8)
    assert condition(run.path, CONFIG).status == "finished"
    old(folder / "cut")
    continued = tc.train(CONFIG, folder / "cut", resume=True, progress=False)
    assert continued.metrics.drop(columns="seconds").equals(run.metrics.drop(columns="seconds"))
    assert tc.load_run(folder / "cut").status == "finished"
    line(0, loss=0.1)(folder / "cut")  # lines from before the digests are bound by those after them
    with pytest.raises(DamagedFile, match="its digest does not follow"):
        tc.load_run(folder / "cut")
    assert len(tc.load_runs(folder / "ended")) == 1


def no_memory_yet(run):
    """The evaluation at which tau_mem strikes, edited."""
    at = json.loads((run / "result.json").read_text())["onsets"]["tau_mem"]["step"]
    line(GPT.eval_steps().index(at), memorization=0.0, memorization_low=0.0)(run)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lines(lambda all_lines: all_lines[:-8]), "metrics.jsonl has 35 evaluations"),
        (edit_json("result.json", chance=0.25), r"chance is 0.25, not the 256 / 16777216"),
        (edit_json("result.json", onsets={"tau_rule": CLOCK, "tau_mem": CLOCK}), r"tau_rule is \(5, 8\], by metrics"),
        (lines(lambda all_lines: [text.replace(b'"rule_accuracy": 0', b'"rule_accuracy": 1') for text in all_lines]),
         "rule_accuracy must lie in 0..1"),
        (no_memory_yet, r"tau_mem is .* by metrics.jsonl"),
    ],
    ids=["cut", "chance", "clock", "ratio", "an evaluation"],
)  # fmt: skip
def test_an_old_run_is_checked_as_far_as_can_be(tmp_path, spoil, message):
    run = write_run(tmp_path / "run", GPT, tau_mem=12000.0)
    tc.load_run(run)
    spoil(run)
    with pytest.raises(DamagedFile, match=message):
        tc.load_run(run)
