"""Grids from YAML, dicts and presets: what they expand to, and the line that each mistake earns."""

import math
import time
from dataclasses import replace

import pytest

import twoclocks as tc
from twoclocks.empirics.config import QUICK
from twoclocks.empirics.sweeps import grid as grid_module

YAML = """
base: {model: gpt-nano, lr: 2e-3, steps: 1e3}
runs:
  - {n_train: 64, batch_size: 32}
  - {n_train: 256, batch_size: 128}
grid:
  rule: ["parity:4x6,G=2", "parity:4x6,G=3"]
seeds: [0, 7]
"""


def test_a_file_expands_to_the_product_in_order(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(YAML)
    configs = tc.read_grid(path)
    base = tc.RunConfig(model="gpt-nano", lr=2e-3, steps=1000)
    assert configs == [
        replace(base, n_train=n_train, batch_size=batch_size, rule=f"parity:4x6,G={G}", seed=seed)
        for n_train, batch_size in ((64, 32), (256, 128))
        for G in (2, 3)
        for seed in (0, 7)
    ]
    assert isinstance(configs[0].steps, int)
    assert isinstance(configs[0].lr, float)


def test_presets_are_known_by_name_and_can_be_changed(monkeypatch):
    assert tc.read_grid("quick-gpt") == [QUICK["gpt"]]
    assert tc.read_grid({"preset": "quick-dit", "base": {"steps": 10}, "seeds": 2}) == [
        replace(QUICK["dit"], steps=10, seed=seed) for seed in (0, 1)
    ]
    monkeypatch.setattr(grid_module, "_PRESETS", dict(grid_module._PRESETS))
    tc.register_preset("mine", lambda: QUICK.values())
    assert tc.read_grid({"preset": "mine", "grid": {"n_train": [16, 32]}}) == [
        replace(config, n_train=n) for config in QUICK.values() for n in (16, 32)
    ]
    with pytest.raises(ValueError, match="'mine' exists already"):
        tc.register_preset("mine", list)


def test_a_grid_value_replaces_the_base():
    assert [c.lr for c in tc.read_grid({"base": {"lr": 1.0}, "grid": {"lr": [1, "2e-3", 3e-3]}})] == [1.0, 2e-3, 3e-3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"grids": {}}, "unknown key 'grids'; known keys: preset"),
        ({"preset": "fast"}, "unknown preset 'fast'; presets: quick-dit, quick-gpt, quick-mdm"),
        ({"base": {"n_trian": 5}}, "base: unknown field 'n_trian'"),
        ({"base": {"lr": "fast"}}, "base: lr must be a number, got 'fast'"),
        ({"base": {"n_train": 3.5}}, "n_train must be a whole number, got 3.5"),
        ({"base": {"steps": math.inf}}, "steps must be a whole number, got inf"),
        ({"base": {"lr": 10**400}}, "lr must be a number, got 1000"),
        ({"base": {"steps": True}}, "steps must be a whole number, got True"),
        ({"base": {"model": 3}}, "model must be text, got 3"),
        ({"base": {"compile": 1}}, "compile must be true or false, got 1"),
        ({"base": {"encoding": 4}}, "encoding must be text or null, got 4"),
        ({"base": {"precision": "fp8"}}, "precision must be one of auto, fp32, bf16, got 'fp8'"),
        ({"base": [1]}, r"base: must be {field: value}, got \[1\]"),
        ({"grid": {"lr": []}}, "grid: lr is an empty list"),
        ({"grid": {"lr": 1e-3}}, "grid: lr must be a list of values, got 0.001"),
        ({"grid": {"lr": [1e-3, [2]]}}, r"grid: lr must be a number, got \[2\]"),
        ({"grid": {"seed": [1]}, "seeds": 2}, "seeds and grid both give seed"),
        ({"runs": [{"lr": 1e-3}], "grid": {"lr": [1e-3]}}, "lr is given both in runs and in grid"),
        ({"runs": []}, "runs: must be a list of one or more"),
        ({"runs": [{"lr": 1e-3}, {"leer": 1}]}, "runs, entry 2: unknown field 'leer'"),
        ({"seeds": 0}, "seeds: must be a positive number or a list of seeds, got 0"),
        ({"seeds": 10**12}, "seeds: more than the 100,000 runs of one grid"),
        ({"seeds": []}, "seeds: must be a positive number"),
        ({"seeds": [0, "a"]}, "seeds: seed must be a whole number, got 'a'"),
        ({"grid": {"lr": [1e-3, "1e-3"]}}, "occurs twice"),
        ({"seeds": [1, 1]}, "seed=1-[0-9a-f]{12} occurs twice"),
        ({"base": {"lr": 11}}, "lr must lie in 1e-12..10"),
        ({"grid": {"lr": [1] * 1000, "n_train": [1] * 1000}}, "1,000,000 runs, more than the 100,000"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(content, message):
    with pytest.raises(ValueError, match=message) as fault:
        tc.read_grid(content)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: {lr: 1", "is not YAML"),
        ("grid:\n  lr: [1]\n  lr: [2]\n", "the key 'lr' occurs twice.*line 3"),
        ("- 1", "must hold keys such as base, grid and seeds, got list"),
        ("", "got NoneType"),
        ("base: !!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_grid_runs_no_code(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as fault:
        tc.read_grid("grid.yaml")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "pwned").exists()


def test_merge_keys_and_aliases_are_read(tmp_path):
    (tmp_path / "grid.yaml").write_text(
        "base: &small {model: gpt-nano, n_train: 64, steps: 100}\n"
        "runs:\n- {<<: *small, lr: 1.0e-3}\n- {<<: *small, steps: 200, lr: 2.0e-3}\n"
    )
    configs = tc.read_grid(tmp_path / "grid.yaml")
    assert [(c.model, c.steps, c.lr) for c in configs] == [("gpt-nano", 100, 1e-3), ("gpt-nano", 200, 2e-3)]


HOSTILE = {
    "alias bomb": (
        "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 40)),
        "aliases that expand to over 1,000,000 values.*line 7",
    ),
    "merge bomb": ("a: &a {x: 1}\n" + f"b: {{<<: [{', '.join(['*a'] * 20)}], <<: *a}}\n", "the key '<<' occurs twice"),
    "depth": ("[" * 5000, "values nested more than 20 deep"),
    "block depth": ("- " * 5000 + "1", "values nested more than 20 deep"),
    "an alias in itself": ("base: &a [*a]", "an alias to what it stands in"),
    "a list as key": ("? [1]\n: 2", "a key that is a list or a mapping.*line 1"),
    "digits": ("seeds: " + "9" * 6000, "is not YAML: Exceeds the limit"),
    "a date": ("seeds: 2024-13-45", "is not YAML: month must be in 1..12"),
    "size": ("#" * 2**22 + "\n", "is larger than 4,194,304 bytes"),
    "a long value": ("seeds: [" + "x, " * 10000 + "x]", "must be a whole number, got 'x'"),
    "a long list": ("base: [" + "x, " * 10000 + "x]", r"got \['x', 'x', 'x', 'x', 'x', 'x', \.\.\.\]"),
    "a long text": ("preset: " + "x" * 10000, r"unknown preset 'x+\.\.\.x+'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_ends_at_once_in_a_short_line(tmp_path, name):
    text, message = HOSTILE[name]
    (tmp_path / "grid.yaml").write_text(text)
    started = time.process_time()
    with pytest.raises(ValueError, match=message) as fault:
        tc.read_grid(tmp_path / "grid.yaml")
    assert time.process_time() - started < 5
    assert len(str(fault.value)) < 800
    assert "\n" not in str(fault.value)


def test_a_key_twice_is_found_in_linear_time(tmp_path):
    def seconds(n):
        (tmp_path / "grid.yaml").write_text("base:\n" + "".join(f"  k{k}: 1\n" for k in range(n)) + "  k0: 1\n")
        started = time.process_time()
        with pytest.raises(ValueError, match="the key 'k0' occurs twice"):
            tc.read_grid(tmp_path / "grid.yaml")
        return time.process_time() - started

    assert seconds(8000) < 100 * seconds(500)  # 16 times the keys; 256 times the work if each is compared with all


def test_a_missing_file_names_the_presets():
    with pytest.raises(ValueError, match=r"no file 'gird\.yaml', and no preset of that name; presets: quick-dit"):
        tc.read_grid("gird.yaml")
