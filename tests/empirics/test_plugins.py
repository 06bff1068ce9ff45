"""Plugins: rules and presets of one's own, in commands and in the workers of a sweep."""

import importlib.metadata
import pickle
import sys
from dataclasses import dataclass

import pytest

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics import plugins
from twoclocks.empirics.sweeps import grid
from twoclocks.empirics.sweeps.worker import train_run
from twoclocks.theory import rules

PLUGIN = '''
import numpy as np
import twoclocks as tc
from twoclocks.theory.rules import Family, parse_grid


class NoTwo(tc.LayeredAutomaton):
    """No two adjacent ones in raster order."""

    def __init__(self, shape):
        super().__init__(shape, alphabet=2)
        self.spec = f"no-two:{shape[0]}x{shape[1]}"

    def step(self, states, position, symbol):
        return (states == 0) | (symbol == 0), np.full_like(states, symbol)


tc.register_rule("no-two", Family(lambda grid, options: NoTwo(parse_grid(grid)), "no-two:2x4"))
tc.register_preset(
    "mine",
    lambda: [
        tc.RunConfig(rule="no-two:2x4", model="gpt-nano", n_train=8, steps=4, batch_size=4, n_eval=4, eval_first=4)
    ],
)
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A file that registers the rule no-two and the preset mine; forgotten afterwards."""
    monkeypatch.setattr(rules, "_FAMILIES", dict(rules._FAMILIES))
    monkeypatch.setattr(grid, "_PRESETS", dict(grid._PRESETS))
    monkeypatch.setattr(plugins, "_loaded", {})
    path = tmp_path / "own.py"
    path.write_text(PLUGIN)
    return path


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_rule_of_ones_own_reaches_a_command(plugin, capsys):
    assert "unknown rule 'no-two'" in refused(capsys, "baseline", "no-two:2x4")
    main(["baseline", "no-two:2x4", "--n-train", "5", "--plugin", str(plugin)])
    assert "55 valid grids of 2^8" in capsys.readouterr().out  # the tenth Fibonacci number
    main(["baseline", "no-two:2x4", "--n-train", "5", "--plugin", str(plugin)])  # loaded once


def test_what_a_plugin_defines_can_be_pickled(plugin):
    tc.empirics.load_plugins([plugin])
    built = tc.rule("no-two:2x4")
    assert pickle.loads(pickle.dumps(built)).support_size == built.support_size
    assert plugins.loaded_plugins() == (str(plugin),)


def test_several_files_and_a_preset_of_ones_own(plugin, tmp_path, capsys):
    other = tmp_path / "other.py"
    other.write_text("import twoclocks as tc\ntc.register_preset('two', lambda: [])\n")
    main(
        ["sweep", "mine", "--out", str(tmp_path / "out"), "--dry-run", "--plugin", str(plugin), "--plugin", str(other)]
    )
    assert "1 runs: 1 new" in capsys.readouterr().out
    assert {"mine", "two"} <= set(grid.presets())


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nraise RuntimeError('no')\n", "line 2: RuntimeError: no"),
        ("def f(:\n", "line 1: SyntaxError"),
        ("import twoclocks as tc\ntc.register_rule('parity', None)\n", "line 2: ValueError: a rule named 'parity'"),
    ],
)
def test_a_plugin_that_fails_is_one_line(plugin, capsys, code, message):
    plugin.write_text(code)
    error = refused(capsys, "baseline", "no-two:2x4", "--plugin", plugin)
    assert f"plugin {plugin}" in error
    assert message in error
    assert not [name for name in sys.modules if name.startswith("twoclocks_plugin_") and sys.modules[name] is None]
    assert plugins.loaded_plugins() == ()


def test_a_plugin_that_is_no_python_file_is_refused(plugin, tmp_path, capsys):
    assert "no such file" in refused(capsys, "baseline", "latin:3", "--plugin", tmp_path / "absent.py")
    (tmp_path / "text.txt").write_text("x = 1")
    assert "must end in .py" in refused(capsys, "baseline", "latin:3", "--plugin", tmp_path / "text.txt")


def test_a_worker_loads_the_plugins_first(plugin, tmp_path):
    tc.empirics.load_plugins([plugin])
    (config,) = tc.read_grid("mine")
    named = plugins.loaded_plugins()
    rules._FAMILIES.pop("no-two")
    grid._PRESETS.pop("mine")
    plugins._loaded.clear()  # as in a process of its own
    assert train_run(config.to_dict(), str(tmp_path / "none"))["status"] == "failed"
    assert train_run(config.to_dict(), str(tmp_path / "run"), plugins=named)["status"] == "finished"
    answer = train_run(config.to_dict(), str(tmp_path / "gone"), plugins=["/absent/own.py"])
    assert (answer["status"], answer["again"]) == ("failed", False)
    assert "no such file" in answer["error"]


@pytest.mark.slow
def test_a_sweep_with_a_rule_of_ones_own(plugin, tmp_path, capsys):
    out = tmp_path / "out"
    main(["sweep", "mine", "--out", str(out), "--workers", "1", "--plugin", str(plugin)])
    assert f"1 runs in {out}: 1 finished" in capsys.readouterr().out


@dataclass
class Entry:
    """As an installed package names a plugin."""

    name: str
    value: str
    plugin: object

    def load(self):
        if isinstance(self.plugin, Exception):
            raise self.plugin
        return self.plugin


def test_installed_plugins_are_loaded_once_and_a_bad_one_is_left_out(monkeypatch):
    called = []
    entries = [Entry("good", "good:register", lambda: called.append("good")), Entry("bad", "bad", ImportError("torn"))]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == "twoclocks.plugins" else [])
    monkeypatch.setattr(plugins, "_installed", set())
    with pytest.warns(UserWarning, match=r"the installed plugin bad \(bad\) is left out: ImportError: torn"):
        plugins.load_installed_plugins()
    plugins.load_installed_plugins()
    assert called == ["good"]
    assert importlib.metadata.entry_points is not plugins.entry_points
