"""Committed curves judged again: the clocks of a curve by hand, and the committed report is what its table gives."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from same_text import assert_same_text

import twoclocks as tc
from twoclocks.paper_figures.store import read_data, read_provenance, results_folder, write_data
from twoclocks.paper_figures.studies import rejudged


def test_a_curve_is_judged_by_the_null_of_its_own_training_set():
    run = pd.Series({"model": "gpt-nano", "rule": "parity:4x6,G=2", "n_train": 96, "seed": 2,
                     "tau_mem_lower": 10.0, "tau_mem_upper": 20.0})  # fmt: skip
    metrics = pd.DataFrame(
        {
            "step": [10, 20, 40, 80, 160],
            "rule_accuracy": np.float32([0.5, 0.905, 0.93, 0.97, 0.99]),
            "memorization": np.float32([0.02, 0.1, 0.125, 0.25, 0.5]),
        }
    )
    row = rejudged.judged(rejudged.Curve("here", run, "", 512, metrics))
    assert row["rung"] == "pairs"
    assert row["chance"] == 96 / 4096
    assert 0.04 < row["null"] < 0.06
    assert (row["tau_mem_lower"], row["tau_mem_upper"]) == (40, 80)  # 0.9 of what is left from about 0.05: 0.145
    assert (row["tau_mem_10_lower"], row["tau_mem_10_upper"]) == (10, 20)
    assert (row["tau_mem_chance_lower"], row["tau_mem_chance_upper"]) == (10, 20)  # as committed
    assert row["tau_rule_all_upper"] == 20
    assert row["tau_rule_upper"] == 40  # 0.805 of 0.9 at 20, 0.805 of 0.875 at 40
    assert row["most_copied"] == 0.5


def test_every_committed_run_with_a_curve_is_judged_once():
    table = pd.read_csv(rejudged.RESULTS / "runs.csv", keep_default_na=False)
    curves = list(rejudged.committed_curves())
    wanted = {(c.source == "gpt_claims", *c.run[rejudged.KEY], c.setting) for c in curves}
    judged = list(zip(table["source"] == "gpt_claims", *(table[k] for k in (*rejudged.KEY, "setting")), strict=True))
    assert len(judged) == len(set(judged))
    assert set(judged) == wanted
    for curve in curves[::40]:
        row = table[(table[rejudged.KEY] == curve.run[rejudged.KEY]).all(axis=1) & (table["setting"] == curve.setting)]
        found = tc.detect_onset(curve.metrics["step"], curve.metrics["memorization"], 0.1)
        assert found.upper in row["tau_mem_10_upper"].tolist()


def test_the_committed_report_is_that_of_the_committed_table(tmp_path):
    for name in ("runs.csv", "claims.csv", "provenance.json"):
        (tmp_path / name).write_bytes((rejudged.RESULTS / name).read_bytes())
    rejudged.write_report(tmp_path)
    assert_same_text((tmp_path / "report.md").read_text(), (rejudged.RESULTS / "report.md").read_text())


@pytest.mark.parametrize("number", [8, 21])
def test_figures_whose_every_run_has_a_curve_carry_the_clocks_of_the_table(number):
    table = pd.read_csv(rejudged.RESULTS / "runs.csv", keep_default_na=False)
    runs = pd.read_parquet(results_folder("laptop", number) / "runs.parquet")
    merged = runs.merge(table[(table["setting"] == "") & (table["source"] != "gpt_claims")], on=rejudged.KEY)
    assert len(merged) == len(runs)
    for name in ("null", "tau_mem_lower", "tau_mem_upper", "tau_rule_upper", "tau_mem_chance_upper"):
        np.testing.assert_allclose(merged[f"{name}_x"], merged[f"{name}_y"].astype(float), rtol=1e-12)


def test_every_judged_table_states_the_null_of_copying():
    for number, names in rejudged.JUDGED.items():
        for name in names:
            assert "null" in pd.read_parquet(results_folder("laptop", number) / f"{name}.parquet").columns


def test_runs_trained_again_are_read_from_their_counted_evaluations(tmp_path):
    rows = {"model": "gpt-nano", "rule": "parity:4x6,G=2", "n_train": 96, "seed": 7, "n_eval": 8}
    pd.DataFrame([{"name": "one", **rows}, {"name": "two", **rows, "seed": 8}]).to_csv(
        tmp_path / "runs.csv", index=False
    )
    counts = {"novel_valid": [1, 2], "memorized": [0, 4], "violating": [6, 2], "ambiguous": [1, 0]}
    pd.DataFrame({"name": ["two", "two"], "step": [10, 20], **counts}).to_csv(tmp_path / "evaluations.csv", index=False)
    first, second = rejudged._counted_curves(tmp_path)
    assert (first.source, first.n_eval, len(first.metrics)) == (tmp_path.name, 8, 0)
    assert second.run["seed"] == 8
    assert second.metrics["rule_accuracy"].tolist() == [1 / 8, 6 / 8]
    assert second.metrics["memorization"].tolist() == [0, 0.5]
    assert list(rejudged._counted_curves(tmp_path / "none")) == []


def test_a_figure_is_judged_on_the_runs_that_have_a_curve(tmp_path, monkeypatch):
    """Four runs of a made-up figure; one of them is trained again, so that it ended at another step."""
    folder = tmp_path / "fig10"
    runs = pd.DataFrame({"model": "gpt-nano", "rule": "r", "n_train": 8, "seed": range(4), "last_step": 50,
                         "tau_mem_lower": 1.0, "tau_mem_upper": 2.0})  # fmt: skip
    monkeypatch.setattr(rejudged, "results_folder", lambda preset, number: folder)
    monkeypatch.setattr(rejudged, "JUDGED", {10: ("runs",)})
    monkeypatch.setattr(rejudged, "figure_module", lambda number: SimpleNamespace(derived=_doubled))
    write_data(folder, {"runs": runs}, [], 0.0, "by hand")
    sources = ["fig04", "fig04", rejudged.RETRAINED.name, "fig04"]
    judged = runs.assign(setting="", source=sources, null=0.1, last_step=[50, 50, 70, 50])
    judged = judged.assign(**dict.fromkeys(rejudged.ENDS, 5.0))
    assert rejudged.left(judged.head(2)) == {10: (2, 4)}
    rejudged.judge_figures(judged.head(3))
    new = read_data(folder)
    assert new["runs"]["tau_mem_lower"].tolist() == [5, 5, 5, 0]
    assert new["runs"]["tau_mem_upper"].tolist() == [5, 5, 5, np.inf]  # nothing is known of the last
    assert new["runs"]["last_step"].tolist() == [50, 50, 70, 50]
    assert new["doubled"]["seed"].tolist() == [0, 2, 4, 6]
    record = read_provenance(folder)
    assert (record["clocks"]["command"], record["without_curve"]) == (rejudged.COMMAND, 1)
    assert rejudged.left(judged) == {}


def _doubled(runs):
    return {"doubled": pd.DataFrame({"seed": 2 * runs["seed"]})}


def test_the_committed_claims_are_those_of_the_committed_table():
    table = pd.read_csv(rejudged.RESULTS / "runs.csv", keep_default_na=False)
    claims = rejudged.judged_claims(table)
    committed = pd.read_csv(rejudged.RESULTS / "claims.csv", keep_default_na=False)
    assert claims["verdict"].tolist() == committed["verdict"].tolist()
    assert claims["claim"].tolist() == committed["claim"].tolist()
    assert set(claims["criterion"]) == {"tau_mem", "tau_mem_10", "tau_mem_chance"}


def test_a_sweep_whose_curves_end_early_gives_no_exponent():
    rows = []
    for n in (16, 32, 64, 128):
        for seed in range(3):
            row = {"source": "s", "model": "m", "rule": "r", "n_train": n, "seed": seed, "setting": ""}
            for name in rejudged.OF_COPYING:
                row |= {f"{name}_lower": n * (2.9 + 0.1 * seed), f"{name}_upper": n * (3.1 + 0.1 * seed)}
            rows.append(row)
    table = pd.DataFrame(rows)
    (found,) = rejudged.exponents(table.assign(most_copied=0.5))
    assert found[:3] == ["s", "m", "r"]
    assert float(found[3].split()[0]) == pytest.approx(1.0, abs=0.01)
    assert rejudged.exponents(table.assign(most_copied=np.where(table["n_train"] == 128, 0.1, 0.5))) == []
