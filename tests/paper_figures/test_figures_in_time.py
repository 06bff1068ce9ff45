"""Figures within a limit of time: what is measured stays measured, and the same call goes on with the next."""

import pandas as pd
import pytest

from twoclocks.cli import main
from twoclocks.empirics.time_limit import TimeOver, time_limit
from twoclocks.paper_figures import figures
from twoclocks.paper_figures.presets import preset
from twoclocks.paper_figures.store import figure_folder


class Module:
    """A figure without runs; counts how often it is measured."""

    def __init__(self):
        self.computed = 0

    def configs(self, scale):
        return []

    def compute(self, scale, runs):
        self.computed += 1
        return {"numbers": pd.DataFrame({"x": [self.computed]})}


@pytest.fixture
def call(tmp_path, monkeypatch):
    modules = {1: Module(), 2: Module(), 3: Module()}
    scale = preset("smoke").in_folder(tmp_path / "runs")
    scale.runs.mkdir()

    def measure(figures_a_call, folder="data"):
        left = [1.0] * figures_a_call
        monkeypatch.setattr(figures, "time_left", lambda: left.pop() if left else 0.0)
        with time_limit(1000):
            figures.recompute_data(modules, scale, False, tmp_path / folder, "--preset smoke")

    return modules, scale, measure


def test_each_figure_is_measured_once(tmp_path, call):
    modules, scale, measure = call
    with pytest.raises(TimeOver, match="2 of 3 figures are measured"):
        measure(2)
    assert [module.computed for module in modules.values()] == [1, 1, 0]
    measure(2)
    assert [module.computed for module in modules.values()] == [1, 1, 1]
    assert all(any(figure_folder(tmp_path / "data", scale.name, f"fig0{k}").iterdir()) for k in modules)
    measure(3)  # a new call after one that was completed measures all again
    assert [module.computed for module in modules.values()] == [2, 2, 2]


def test_another_folder_is_measured_from_the_start(tmp_path, call):
    modules, _, measure = call
    with pytest.raises(TimeOver):
        measure(2)
    with pytest.raises(TimeOver, match="1 of 3"):
        measure(1, "elsewhere")
    assert [module.computed for module in modules.values()] == [2, 1, 0]


def test_options_of_training_need_training(tmp_path, capsys):
    for options in (["--max-time", "8m"], ["--per-device", "2"]):
        with pytest.raises(SystemExit):
            main(["figure", "1", "--out", str(tmp_path), *options])
        assert "--recompute" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["figure", "1", "--out", str(tmp_path), "--existing", "--recompute"])
    assert "give one of them" in capsys.readouterr().err
