"""The command `twoclocks sweep`."""

import pytest

import twoclocks as tc
from twoclocks.cli import main

GRID = """
base: {rule: "parity:2x4,G=4", model: gpt-nano, n_train: 8, steps: 12, batch_size: 8, n_eval: 16, eval_first: 6}
"""


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def stopped(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["sweep", *map(str, arguments)])
    return stop.value.code, capsys.readouterr().err


@pytest.mark.slow
def test_dry_run_then_sweep_then_nothing_left(tmp_path, grid, capsys):
    out = tmp_path / "out"
    command = ["sweep", str(grid), "--out", str(out)]
    main([*command, "--dry-run"])
    assert "1 runs: 1 new" in capsys.readouterr().out
    assert not out.exists()
    main([*command, "--workers", "1"])
    assert f"1 runs in {out}: 1 finished" in capsys.readouterr().out
    assert len(tc.load_runs(out)) == 1
    main([*command, "--dry-run"])
    assert "nothing is left to do" in capsys.readouterr().out


@pytest.mark.slow
def test_a_failed_run_is_one_line_and_status_1(tmp_path, grid, capsys):
    grid.write_text(GRID + 'grid: {device: ["toaster"]}\n')
    code, error = stopped(capsys, grid, "--out", tmp_path / "out", "--workers", "1")
    assert code == 1
    last = error.splitlines()[-1]
    assert last.startswith("failed: gpt-nano-parity-2x4-G=4-N=8-seed=0-")
    assert "device 'toaster' cannot be used here" in last
    assert len(list((tmp_path / "out").glob("*/error.txt"))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--executor", "dask"], "needs --scheduler ADDRESS"),
        (["--retries", "-1"], "retries must be 0 or more"),
        (["--workers", "0"], "workers must be 1 or more"),
    ],
)
def test_bad_requests_are_one_line(tmp_path, grid, capsys, options, message):
    code, error = stopped(capsys, grid, "--out", tmp_path / "out", *options)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_grid_names_the_presets(tmp_path, capsys):
    code, error = stopped(capsys, "fast", "--out", tmp_path / "out")
    assert code == 2
    assert "presets: quick-dit, quick-gpt, quick-mdm" in error


def test_a_dry_run_for_a_device_that_is_not_here_is_one_line(tmp_path, grid, capsys):
    grid.write_text(GRID + 'grid: {device: ["cpu", "cuda:77"]}\n')
    code, error = stopped(capsys, grid, "--out", tmp_path / "out", "--dry-run")
    assert code == 2
    assert error.count("\n") == 1
    assert "device 'cuda:77' cannot be used here" in error
