"""Every Python snippet of the README runs as shown, by itself, and its numbers are those of the committed results."""

import re
from pathlib import Path

import pytest

import twoclocks as tc
from twoclocks.paper_figures import fig21
from twoclocks.paper_figures.claims_table import committed_tables, evaluate
from twoclocks.paper_figures.store import RESULTS, read_data, results_folder

README = Path(__file__).parents[1] / "README.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
USES = ("compare_denoisers", "chance_memorization", "fit_scaling")


def run_snippet(code, tmp_path, monkeypatch):
    (tmp_path / "paper_figures").symlink_to(README.parent / "paper_figures")
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "snippet"}
    exec(compile(code.replace("steps=1000", "steps=30"), str(README), "exec"), names)
    return names


@pytest.mark.parametrize("use", USES)
def test_each_use_takes_under_ten_lines(use):
    (code,) = [code for code in SNIPPETS if use in code]
    assert len([line for line in code.splitlines() if line.strip()]) < 10


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_run(number, tmp_path, monkeypatch):
    names = run_snippet(SNIPPETS[number], tmp_path, monkeypatch)
    if "run" in names:
        assert names["run"].status == "finished"
    if "chance" in names:
        assert f"{names['chance']:.6f}" in SNIPPETS[number]
    if "fit" in names:
        shown = f"{names['fit'].exponent:.2f} ({names['fit'].ci[0]:.2f}, {names['fit'].ci[1]:.2f})"
        assert shown in SNIPPETS[number]


def test_there_is_a_snippet_for_each_use():
    assert len(SNIPPETS) >= 5
    assert all(any(use in code for code in SNIPPETS) for use in USES)


def test_the_claims_are_those_of_the_committed_runs():
    rows = dict(re.findall(r"^\| (C\d) [^|]*\|(.*)\|$", README.read_text(), flags=re.M))
    committed = evaluate(committed_tables("laptop"))
    for verdict in committed:
        name, _, kind = verdict.claim.partition(" ")
        if name not in rows:
            continue  # C7 and C8 stand in the gallery alone
        cell = rows[name].split("|")[{"GPT": 1, "DiT": 2, "": 2}[kind]]
        assert cell.strip().endswith(f", {verdict.verdict}")
        if verdict.ci is None:
            assert "sizes differ in learning rate" in verdict.note
            assert cell.strip().startswith("sizes at different learning rates")
            continue
        low, high = verdict.ci
        assert f"{verdict.estimate:.2g} ({low:.2g} to {high:.2g})" in cell
    assert set(rows) == {f"C{k}" for k in range(1, 7)}


def test_the_claims_on_6x6_grids_are_those_of_the_committed_runs():
    rows = dict(re.findall(r"^\| (C\d) [^|]*\|(.*)\|$", README.read_text(), flags=re.M))
    verdicts = {v.claim: v for v in tc.evaluate_claims(tc.read_runs_csv(RESULTS / "gpt_claims" / "runs.csv"))}
    for name in ("C1", "C3", "C4", "C5"):
        cell, verdict = rows[name].split("|")[0].strip(), verdicts[name]
        digits = ".3g" if name == "C3" else ".2g"
        low, high = (format(end, digits) for end in verdict.ci)
        assert cell.startswith(f"{verdict.estimate:{digits}} ({low} to {high})")
        assert cell.endswith(f", {verdict.verdict}")
    slopes = re.findall(r"(-?\d\.\d\d) \+- ", verdicts["C5"].note)
    assert "slopes {} and {}), not at 4 and 6 ({} and {})".format(*slopes) in " ".join(README.read_text().split())


def test_the_numbers_of_the_experiments_are_those_of_their_reports():
    section = README.read_text().partition("experiments ask why")[2].partition("## How to cite")[0]
    bullets = [" ".join(bullet.split()) for bullet in section.split("\n- ")[1:]]
    checked = 0
    for bullet in bullets:
        report = (RESULTS / re.findall(r"\(`(\w+)`\)", bullet)[0] / "report.md").read_text()
        for interval in re.findall(r"[\d.]+ \([\d.]+ to [\d.]+\)", bullet):
            assert interval in report
            checked += 1
        for p_value in re.findall(r"; p = ([\d.]+\d)", bullet):
            assert f"p = {p_value}" in report
            checked += 1
    assert checked == 9
    correlation = re.search(r"Spearman correlation of ([\d.]+) \(p = ([\d.]+)\)", " ".join(section.split()))
    assert correlation is not None
    binary_rules = fig21.measured(read_data(results_folder("laptop", 21)))
    assert "Spearman correlation {} (p = {})".format(*correlation.groups()) in binary_rules
