"""The committed report of a study is that of its committed data, and these are of the runs that it asks for."""

import json
import shutil

import pandas as pd
import pytest
from same_text import assert_same_text

from twoclocks import RunConfig
from twoclocks.paper_figures.presets import preset
from twoclocks.paper_figures.studies import masked_clocks, other_seeds

LAPTOP = preset("laptop")
CONFIGS = {
    masked_clocks: masked_clocks.configs(),
    other_seeds: other_seeds.configs(LAPTOP),
}


@pytest.mark.parametrize("study", CONFIGS, ids=lambda study: study.__name__.rpartition(".")[2])
def test_the_report_is_that_of_the_committed_data(study, tmp_path):
    for data in (*study.RESULTS.glob("*.csv"), study.RESULTS / "provenance.json"):
        shutil.copy(data, tmp_path)
    study.write_report(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in study.RESULTS.iterdir()}
    assert_same_text((tmp_path / "report.md").read_text(), (study.RESULTS / "report.md").read_text())
    made = json.loads((study.RESULTS / "provenance.json").read_text())
    configs = [RunConfig.from_dict(RunConfig().to_dict() | fields) for fields in made["configs"]]
    assert made["command"] == study.COMMAND
    assert configs == list(dict.fromkeys(CONFIGS[study]))
    assert made["runs"] == len(configs)
    assert all(len(pd.read_csv(table)) == len(configs) for table in study.RESULTS.glob("runs.csv"))
