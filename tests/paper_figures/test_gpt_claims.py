"""The committed data of the sweep agree with each other, and the report follows from them alone."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

import twoclocks as tc
from twoclocks.empirics.state_counts import check_counts, ratios
from twoclocks.empirics.statistics.runs_table import onset_names
from twoclocks.paper_figures.studies.gpt_claims import RESULTS, configs
from twoclocks.paper_figures.studies.gpt_claims_report import RUN, criterion_of, write_report

DATA = ("runs.csv", "evaluations.csv", "diversity.csv", "provenance.json")


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return pd.read_csv(RESULTS / "runs.csv")


def test_every_config_of_the_grid_has_its_run(runs: pd.DataFrame) -> None:
    grid = {(c.rule, c.model, c.n_train, c.seed) for c in configs()}
    assert len(grid) == 60
    assert set(runs[RUN].itertuples(index=False, name=None)) == grid
    for name in ("evaluations", "diversity"):
        table = pd.read_csv(RESULTS / f"{name}.csv")
        assert set(table[RUN].itertuples(index=False, name=None)) == grid


def test_counts_give_the_onsets_of_the_runs_table(runs: pd.DataFrame) -> None:
    evaluations = pd.read_csv(RESULTS / "evaluations.csv")
    for key, counts in evaluations.groupby(RUN):
        run = runs[(runs[RUN] == list(key)).all(axis=1)].iloc[0]  # type: ignore[call-overload]
        columns = ("rule_accuracy", "memorization", "memorization_p", "novel_valid")
        values = ratios(check_counts(counts), columns, run["chance"])
        found = tc.find_onsets(pd.DataFrame({"step": counts["step"], **values}), run["chance"], null=run.get("null"))
        for name in onset_names(runs):
            onset = found[criterion_of(runs, name)]
            assert (onset.lower, onset.upper) == (run[f"{name}_lower"], run[f"{name}_upper"])


@pytest.mark.slow
def test_the_report_is_that_of_the_committed_data(tmp_path) -> None:
    for name in DATA:
        shutil.copy(RESULTS / name, tmp_path)
    write_report(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in RESULTS.iterdir()}
    for name in ("clocks.csv", "ngram.csv", "sampling.csv"):
        made, committed = pd.read_csv(tmp_path / name), pd.read_csv(RESULTS / name)
        numbers = made.select_dtypes("number").columns
        np.testing.assert_allclose(made[numbers], committed[numbers], rtol=1e-6)
    headings = [line for line in (RESULTS / "report.md").read_text().splitlines() if line.startswith("#")]
    assert headings == [line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("#")]
