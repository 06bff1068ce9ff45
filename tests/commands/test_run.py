"""`twoclocks run`: which runs the options ask for."""

from dataclasses import replace
from pathlib import Path

import pytest

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.commands.run import DIT_ONLY, RunCommand, show_clocks
from twoclocks.empirics.config import QUICK, QUICK_THREE


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The configs that a command would train, by folder; nothing is trained."""
    runs = {}

    def note(self, configs, out):
        runs.clear()
        runs.update(configs)
        return []

    monkeypatch.setattr(RunCommand, "_train", note)
    monkeypatch.setattr("twoclocks.commands.run.show_clocks", lambda runs, out: None)
    monkeypatch.chdir(tmp_path)
    return runs


def changed(runs):
    """The fields in which runs differ from the quick preset's."""
    return {
        name: {k: v for k, v in runs[name].to_dict().items() if v != start.to_dict()[k]}
        for name, start in QUICK.items()
    }


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ([], {}),
        (["--preset", "quick"], {}),
        (["--no-resume", "--no-tensorboard"], {}),
        (["--precision", "fp32"], {"precision": "fp32"}),
        (["--seed=3", "--threads", "2"], {"seed": 3, "threads": 2}),
        (["--steps", "7", "--n_eval", "9"], {"steps": 7, "n_eval": 9}),
        (["--preset", "quick", "--rule", "parity:2x6,G=3", "--n-train", "16"],
         {"rule": "parity:2x6,G=3", "n_train": 16}),
    ],
)  # fmt: skip
def test_options_change_the_quick_preset(asked, capsys, options, fields):
    main(["run", *options])
    assert changed(asked) == {"gpt": fields, "dit": fields}
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("quick preset: gpt-nano on ")
    assert "results in runs/quick-1" in first


def test_options_of_a_dit_leave_the_gpt_alone(asked):
    main(["run", "--encoding", "onehot", "--sampler-steps", "5"])
    assert changed(asked) == {"gpt": {}, "dit": {"encoding": "onehot", "sampler_steps": 5}}
    from twoclocks.commands.run import _DOCS

    assert {name for name, text in _DOCS.items() if text.startswith("DiT only")} == set(DIT_ONLY)


def test_three_families_side_by_side(asked, capsys):
    main(["run", "--preset", "quick-three", "--seed", "2", "--mask-schedule", "cosine", "--sampler-steps", "7"])
    own = {"gpt": {}, "dit": {"sampler_steps": 7}, "mdm": {"sampler_steps": 7, "mask_schedule": "cosine"}}
    for name, start in QUICK_THREE.items():
        assert asked[name] == replace(start, seed=2, **own[name])
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(
        "quick-three preset: gpt-nano on parity:4x6,G=3, dit-nano on parity:4x6,G=2 and mdm-nano on "
    )
    from twoclocks.commands.run import _DOCS, MDM_ONLY

    assert {name for name, text in _DOCS.items() if text.startswith("MDM only")} == set(MDM_ONLY)


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (["--model", "gpt-mini"], {"model": "gpt-mini"}),
        (["--rule", "latin:4", "--n-train", "99"], {"rule": "latin:4", "n_train": 99}),
        (["--preset", "none", "--lr", "1e-3"], {"lr": 1e-3}),
    ],
)
def test_a_model_or_a_rule_asks_for_one_run(asked, capsys, options, fields):
    main(["run", *options])
    assert asked == {"": tc.RunConfig(**fields)}
    assert capsys.readouterr().out.startswith("one run: ")


def test_presets_of_sweeps_are_presets_here(asked, capsys):
    main(["run", "--preset", "quick-gpt", "--seed", "1"])
    (config,) = asked.values()
    assert config.to_dict() == {**QUICK["gpt"].to_dict(), "seed": 1}
    assert capsys.readouterr().out.startswith("quick-gpt preset: gpt-nano on ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "fast"], "presets: quick, none, quick-dit, quick-gpt, quick-mdm, quick-three"),
        (["--preset", "quick", "--model", "gpt-mini"], "leave --preset out"),
        (["--device", "toaster"], "device 'toaster'"),
        (["--n-train", "0"], "n_train must lie in 1"),
        (["--resume"], "--resume needs the --out"),
    ],
)
def test_impossible_requests_are_one_line(asked, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        main(["run", *options])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not asked
    assert not list(tmp_path.iterdir())


def test_the_quick_preset_enters_no_folder_of_another_kind(asked, tmp_path, capsys):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_text("{}")
    (tmp_path / "two" / "gpt").mkdir(parents=True)
    for options, message in (
        (["--out", "one", "--resume"], "one holds one run"),
        (["--out", "two"], "two/gpt exists already"),
    ):
        with pytest.raises(SystemExit):
            main(["run", *options])
        assert message in capsys.readouterr().err
        assert not asked
    main(["run", "--out", "two", "--resume"])
    assert set(asked) == {"gpt", "dit"}


def test_a_run_that_diverged_says_so(tmp_path, capsys):
    options = ["--model", "gpt-nano", "--rule", "parity:2x4,G=4", "--n-train", "8", "--steps", "200", "--lr", "10"]
    options += ["--batch-size", "8", "--n-eval", "8", "--warmup", "0", "--weight-decay", "10"]
    with pytest.raises(SystemExit) as ended:
        main(["run", *options, "--out", str(tmp_path / "run")])
    assert ended.value.code == 1
    assert f"diverged: {tmp_path / 'run'}: " in capsys.readouterr().err


def test_the_folders_of_runs_are_named_as_the_folder_was(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twoclocks.empirics.clocks_figure.plot_clocks", lambda runs, path: None)
    tiny = tc.RunConfig(rule="parity:2x2,G=2", model="gpt-nano", n_train=2, steps=2, batch_size=2, n_eval=64)
    run = tc.train(tiny, tmp_path / "out" / "gpt", progress=False)
    show_clocks([run], Path("out"))
    assert capsys.readouterr().out.splitlines()[-1] == "runs:   out/gpt"
    show_clocks([run], Path("out/gpt"))
    assert capsys.readouterr().out.splitlines()[-1] == "runs:   out/gpt"
