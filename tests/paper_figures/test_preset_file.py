"""A preset of one's own from a file."""

import re
from pathlib import Path

import pytest

from twoclocks.paper_figures import presets
from twoclocks.paper_figures.preset_file import read_preset
from twoclocks.paper_figures.presets import preset, register_figure_preset


def written(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_it_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "start: laptop\nseeds: 5\ngroup_sizes: [2, 3]\ncategorical_noise: {onehot: -1}\n"
        "gpt:\n  n_train: [128, 256]\n  steps_per_sample: 3\n  frontier_group_sizes: [4, 6]\n"
        "  base: {lr: 1e-3, precision: fp32}\n",
    )
    own, start = preset(str(path)), preset("laptop")
    assert (own.name, own.runs, own.seeds, own.group_sizes) == ("mine", Path("runs/figures-mine"), 5, (2, 3))
    assert own.categorical_noise == {"onehot": -1.0}
    assert own.dit == start.dit
    assert own.gpt.n_train == (128, 256)
    assert type(own.gpt.steps_per_sample) is float
    assert own.gpt.base.to_dict() == {**start.gpt.base.to_dict(), "lr": 1e-3, "precision": "fp32"}
    assert own.gpt.sizes == start.gpt.sizes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 5", "unknown field 'seed'; fields: name, shape"),
        ("seeds: five", "mine.yaml, seeds: must be a whole number, got 'five'"),
        ("seeds: 2.5", "seeds: must be a whole number"),
        ("seeds: true", "seeds: must be a whole number"),
        ("shape: 4", "shape: must be text"),
        ("group_sizes: 2", "group_sizes: must be a list of one or more values"),
        ("group_sizes: [2, x]", "group_sizes: must be a whole number, got 'x'"),
        ("gpt: 3", "gpt: must be {field: value}"),
        ("gpt: {frontier_group_sizes: [4]}", "must be a list of 2 values"),
        ("gpt: {base: {lr: much}}", "mine.yaml, gpt, base: lr must be a number, got 'much'"),
        ("gpt: {base: {lr: -1}}", "mine.yaml, gpt, base: lr must lie in"),
        ("categorical_noise: [1]", "must be {name: value}"),
        ("name: other", "leave name out"),
        ("start: desk", "unknown preset 'desk'"),
        ("- 1", "must hold keys such as start"),
        ("a: [", "is not YAML"),
    ],
)
def test_faults_are_named_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_preset(written(tmp_path, text))


def test_it_takes_no_name_that_exists(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rename the file"):
        read_preset(written(tmp_path, "seeds: 1", "laptop.yaml"))


def test_a_plugin_may_register_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "PRESETS", dict(presets.PRESETS))
    from dataclasses import replace

    own = replace(preset("smoke"), name="own", seeds=7)
    register_figure_preset(own)
    assert preset("own").seeds == 7
    with pytest.raises(ValueError, match="exists already"):
        register_figure_preset(own)
