"""The study of other seeds judges each run by the figures' own code, and says what they say."""

from dataclasses import replace

import pandas as pd
import pytest

from twoclocks.paper_figures import fig15, fig16
from twoclocks.paper_figures.catalogue import trained
from twoclocks.paper_figures.presets import preset
from twoclocks.paper_figures.store import read_data, results_folder
from twoclocks.paper_figures.studies import other_seeds as study


def test_the_verdict_of_a_line_is_its_last_word():
    assert study.last_word("ratio 1.2 [1.1, 1.3]; n = 1 run: undecided") == "undecided"
    with pytest.raises(ValueError, match="must end in one of agree"):
        study.last_word("not measured yet at this scale.")


def test_seeds_differ_in_nothing_else():
    scale = preset("laptop")
    [shown] = fig16.configs(scale)
    assert shown.seed == study.FIGURES_SEED
    assert [replace(config, seed=0) for config in study.configs(scale)] == [shown, shown]
    assert {config.seed for config in study.configs(scale)} == {1, 2}


@pytest.mark.slow
def test_the_committed_data_of_the_figures_are_judged_as_they_were():
    data = {number: read_data(results_folder("laptop", number)) for number in study.FIGURES}
    answers, claims = study.judge(0, data)
    assert answers.set_index("figure").loc[16, "measured"] == fig16.measured(data[16])
    assert claims.set_index("claim").loc["C8", "verdict"] == fig15.claim(data[15]).verdict


@pytest.mark.slow
def test_a_run_is_judged_as_its_figures_judge_it(tmp_path):
    scale = preset("smoke").in_folder(tmp_path)
    [run] = trained(study.configs(scale)[:1], scale, progress=False).values()
    answers, claims = study.judge(1, study.figure_data(scale, run))
    assert set(answers["figure"]) == set(study.FIGURES)
    assert set(answers["seed"]) == {1}
    line = answers.set_index("figure").loc[16, "measured"]
    assert line == fig16.measured(fig16.compute(scale, [run]))
    assert dict(zip(claims["claim"], claims["verdict"], strict=True)).keys() == {"C7", "C8"}
    answers.to_csv(tmp_path / "answers.csv", index=False)
    claims.to_csv(tmp_path / "claims.csv", index=False)
    (tmp_path / "provenance.json").write_text('{"runs": 1, "training_seconds": 1}')
    study.write_report(tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert report.count("### Figure") == len(study.FIGURES)
    assert all(text in report for text in pd.read_csv(tmp_path / "answers.csv")["measured"])
