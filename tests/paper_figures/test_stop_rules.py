"""What stop rules save is counted right, and the report and the guide quote the committed table."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from same_text import assert_same_text

from twoclocks.empirics.text_tables import markdown_table
from twoclocks.paper_figures.store import read_provenance, results_folder
from twoclocks.paper_figures.studies import stop_rules

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "your-loop.md"


def test_steps_saved_are_of_the_steps_of_all_runs():
    columns = ["runs", "stop", "stopped_at", "last_step", "best_seen"]
    rows = [("gpt-nano, fig04", "ruled", 25, 100, 0.5), ("gpt-nano, fig28", "ruled", 100, 100, 1.0),
            ("gpt-nano, fig28", "ruled", np.inf, 100, 1.0), ("mixture", "patience", np.inf, 10, 1.0)]  # fmt: skip
    assert stop_rules.saved(pd.DataFrame(rows, columns=columns)) == [
        ["gpt-nano, 3", "`ruled`", "1", "25%", "50%"],
        ["mixture, 1", "`patience`", "0", "0%", ""],
    ]


def test_the_report_is_that_of_the_committed_table(tmp_path):
    for data in ("stops.csv", "provenance.json"):
        shutil.copy(stop_rules.RESULTS / data, tmp_path)
    stop_rules.write_report(tmp_path)
    assert_same_text((tmp_path / "report.md").read_text(), (stop_rules.RESULTS / "report.md").read_text())
    assert json.loads((tmp_path / "provenance.json").read_text())["command"] == stop_rules.COMMAND


def test_the_guide_shows_the_committed_table():
    stops = pd.read_csv(stop_rules.RESULTS / "stops.csv")
    assert markdown_table(stop_rules.HEAD, stop_rules.saved(stops)) in GUIDE.read_text()


def test_the_first_committed_rows_are_measured_again():
    name, clocks, _ = next(stop_rules.grid_runs())
    stops = pd.read_csv(stop_rules.RESULTS / "stops.csv").head(len(stop_rules.STOPS))
    assert set(stops["runs"]) == {name}
    assert stops["stopped_at"].tolist() == [clocks.stopping_step(stop) for stop in stops["stop"]]


@pytest.mark.parametrize("number", [int(name[3:]) for name in stop_rules.FIGURES])
def test_no_rule_ended_the_runs_of_these_figures(number):
    configs = read_provenance(results_folder("laptop", number))["configs"]
    assert all(config.get("stop_when", "never") == "never" for config in configs)
