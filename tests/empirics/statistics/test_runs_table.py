"""Reading and checking runs tables: clear errors, and the table of clocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import twoclocks as tc
from twoclocks.empirics.statistics.runs_table import (
    architecture,
    check_runs,
    model_capacity,
    onset_names,
    rule_complexity,
    rule_family,
)

CSV = """rule,model,n_train,seed,tau_rule_lower,tau_rule_upper,tau_mem_lower,tau_mem_upper,extra
"parity:6x6,G=3",gpt-nano,64,0,100,130,400,520,a
"parity:6x6,G=3",gpt-nano,64,1,130,169,520,inf,b
"parity:6x6,G=3",gpt-nano,64,2,0,100,520,676,c
"parity:6x6,G=3",gpt-nano,128,0,100,130,520,inf,d
"parity:6x6,G=3",gpt-nano,128,1,100,100,676,879,e
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    return path


def test_reads_a_table(tmp_path: Path) -> None:
    df = tc.read_runs_csv(write(tmp_path, CSV))
    assert onset_names(df) == ["tau_rule", "tau_mem"]
    assert df["tau_mem_upper"].tolist() == [520, np.inf, 676, np.inf, 879]
    assert df["rule"].iloc[0] == "parity:6x6,G=3"
    assert df["extra"].tolist() == list("abcde")
    table = check_runs(df, "tau_rule", "n_train", ("rule",))
    assert list(table.columns) == ["rule", "seed", "lower", "upper", "x"]
    assert table["x"].dtype == float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it holds no header"),
        ("seed,tau_mem_lower,tau_mem_upper\n", "holds no runs"),
        ("seed,tau_mem\n0,100\n", "tau_mem but no tau_mem_lower and tau_mem_upper: .* --tau tau_mem --grid-ratio R"),
        ("seed,steps\n0,100\n", "NAME_lower and NAME_upper"),
        ("tau_mem_lower,tau_mem_upper\n1,2\n", "no column 'seed'"),
        (
            "seed,tau_mem_lower,tau_mem_upper\n0,1,2\n1,1,never\n",
            "line 3: tau_mem_upper is 'never', not a number; write inf",
        ),
        ("seed,tau_mem_lower,tau_mem_upper\n0,1,2\n1,1,\n", "line 3: tau_mem_upper is missing; write inf"),
        ("seed,n_train,tau_mem_lower,tau_mem_upper\n0,many,1,2\n", "line 2: n_train is 'many'"),
        ("seed,tau_mem_lower,tau_mem_upper\n0,1,2\n1,1,2,3,4,5\n", "line 3 has 6 cells, the header 3"),
    ],
)
def test_refuses_what_is_no_table(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        tc.read_runs_csv(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tc.read_runs_csv(tmp_path / "none.csv")


def test_not_a_table() -> None:
    with pytest.raises(ValueError, match="DataFrame"):
        check_runs([1, 2], "tau_mem")  # type: ignore[arg-type]


def test_runs_are_told_apart_by_all_that_identifies_them(tmp_path: Path) -> None:
    df = tc.read_runs_csv(write(tmp_path, CSV))
    both = pd.concat([df, df.assign(model="dit-nano")])
    assert len(check_runs(both, "tau_mem", "n_train", ("rule",))) == 10  # same rule, N and seed, another model
    with pytest.raises(ValueError, match=r"row 5: a second run with .*seed=0"):
        check_runs(pd.concat([df, df]), "tau_mem", "n_train", ("rule",))


def test_names_are_read() -> None:
    assert rule_complexity("parity:6x6,G=3") == 3
    assert rule_complexity("parity:6x6, G=12") == 12
    assert rule_family("parity:4x6,G=3") == rule_family("parity:4x6,G=12") != rule_family("parity:6x6,G=3")
    with pytest.raises(ValueError, match="no group size"):
        rule_complexity("latin:6")
    sizes = [model_capacity(f"gpt-{size}") for size in ("nano", "micro", "mini", "small")]
    assert sizes == sorted(sizes)
    assert sizes[0] == 12 * 3 * 48**2
    assert architecture("dit-mini") == "dit"
    with pytest.raises(ValueError, match="nano, micro, mini, small"):
        model_capacity("gpt-huge")


def test_clocks_by_cell(tmp_path: Path) -> None:
    table = tc.clocks_by_cell(tc.read_runs_csv(write(tmp_path, CSV))).set_index(["onset", "n_train"])
    cell = table.loc[("tau_mem", 64)]
    assert (cell["n_runs"], cell["n_censored"]) == (3, 1)
    assert (cell["median_lower"], cell["median_upper"]) == (520, 676)
    assert (cell["lowest"], cell["highest"]) == (400, np.inf)
    assert table.loc[("tau_mem", 128), "median_upper"] == np.inf  # one of two is censored
    assert table.loc[("tau_rule", 64), "lowest"] == 0
    with pytest.raises(ValueError, match="no onsets"):
        tc.clocks_by_cell(pd.DataFrame({"seed": [0, 1]}))


def test_by_may_be_a_name_a_list_or_nothing_everywhere(tmp_path: Path) -> None:
    df = tc.read_runs_csv(write(tmp_path, CSV))
    assert list(tc.clocks_by_cell(df, by="n_train")["n_train"].unique()) == [64, 128]
    everything = tc.clocks_by_cell(df, by=())
    assert everything["n_runs"].tolist() == [5, 5]
    assert tc.statistics.cells_to_markdown(everything).count("\n") == 2
    assert list(check_runs(df, "tau_mem", by="rule").columns) == ["rule", "seed", "lower", "upper"]
    for by in (None, 3):
        with pytest.raises(ValueError, match=r"by must be the name of a column, .* got"):
            tc.clocks_by_cell(df, by=by)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be called 'onset'"):
        tc.clocks_by_cell(df.rename(columns={"rule": "onset"}), by="onset")


def test_categories_that_are_gone_are_no_groups(tmp_path: Path) -> None:
    df = tc.read_runs_csv(write(tmp_path, CSV)).drop(columns="extra")
    both = pd.concat([df, df.assign(rule="other")]).astype({"rule": "category"})
    cells = tc.clocks_by_cell(both[both["rule"] == "other"])
    assert cells["rule"].tolist() == ["other"] * 4
    assert "other" in tc.statistics.cells_to_markdown(cells.astype({"rule": both["rule"].dtype}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda df: pd.concat([df, df[["rule"]]], axis=1), "two columns 'rule', as after a merge"),
        (lambda df: pd.concat([df, df[["tau_mem_upper"]]], axis=1), "two columns 'tau_mem_upper'"),
        (lambda df: pd.concat([df, df[["seed"]]], axis=1), "two columns 'seed'"),
        (lambda df: df.assign(n_train=pd.date_range("2020", periods=5)), "row 0: n_train is 2020-01-01"),
        (lambda df: df.assign(n_train=pd.to_timedelta(df["n_train"], "D")), "n_train is Timedelta"),
        (lambda df: df.assign(n_train=df["n_train"] > 64), "row 0: n_train is False, not a number"),
        (lambda df: df.assign(tau_mem_lower=[1, 2, True, 4, 5]), "row 2: tau_mem_lower is True, not a number"),
        (lambda df: df.assign(n_train=df["n_train"] + 0j), "n_train is .64.0j., not a number"),
        (lambda df: df.assign(n_train="1e999"), "row 0: n_train is 1e999, beyond the range"),
        (lambda df: df.assign(rule=[[1]] * 5), "holds what is no name"),
        (
            lambda df: df.drop(columns="tau_mem_lower").rename(columns={"tau_mem_upper": "tau_mem"}),
            r"df\['tau_mem'\] / R",
        ),
    ],
)
def test_frames_that_mislead_are_refused(tmp_path: Path, change: Callable, message: str) -> None:
    df = tc.read_runs_csv(write(tmp_path, CSV))
    with pytest.raises(ValueError, match=message):
        check_runs(change(df), "tau_mem", "n_train", ("rule",))


def test_numbers_of_any_type_are_numbers(tmp_path: Path) -> None:
    df = tc.read_runs_csv(write(tmp_path, CSV))
    want = check_runs(df, "tau_mem", "n_train", ("rule",))
    for dtype in ("str", "category", "Int64", "object", "float32"):
        got = check_runs(df.astype({"n_train": dtype}), "tau_mem", "n_train", ("rule",))
        assert got["x"].tolist() == want["x"].tolist()
    with pytest.raises(ValueError, match="row 2: n_train is missing"):
        check_runs(df.assign(n_train=df["n_train"].astype("Int64").where(df.index != 2)), "tau_mem", "n_train")


def test_not_a_frame_is_said_by_every_function() -> None:
    for function in (tc.clocks_by_cell, tc.evaluate_claims, tc.fit_scaling):
        with pytest.raises(ValueError, match="DataFrame, got list"):
            function([1])  # type: ignore[arg-type]
