"""Every Python snippet of the README runs as shown, by itself, and its numbers are those of the committed results."""

import re
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr

import twoclocks as tc
from twoclocks.paper_figures.claims_table import committed_tables, evaluate
from twoclocks.paper_figures.shared.clock_statistics import turn
from twoclocks.paper_figures.store import RESULTS, read_data, results_folder

README = Path(__file__).parents[1] / "README.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
USES = ("compare_denoisers", "chance_memorization", "fit_scaling")


def run_snippet(code, tmp_path, monkeypatch):
    (tmp_path / "paper_figures").symlink_to(README.parent / "paper_figures")
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "snippet"}
    exec(compile(code.replace("steps=1000", "steps=20, n_eval=64"), str(README), "exec"), names)
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
    rows = dict(re.findall(r"^\| (C\d) [a-z][^|]*\|(.*)\|$", README.read_text(), flags=re.M))
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
    rows = dict(re.findall(r"^\| (C\d) [a-z][^|]*\|(.*)\|$", README.read_text(), flags=re.M))
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
    section = README.read_text().partition("experiments ask why")[2].partition("Withdrawn, for")[0]
    bullets = [" ".join(bullet.split()) for bullet in section.split("\n- ")[1:]]
    checked = 0
    for bullet in bullets:
        report = (RESULTS / re.findall(r"\(`(\w+)`\)", bullet)[0] / "report.md").read_text()
        for interval in re.findall(r"-?[\d.]+ \(-?[\d.]+ to -?[\d.]+\)", bullet):
            assert interval in report
            checked += 1
        for p_value in re.findall(r"; p = ([\d.]+\d)", bullet):
            assert f"p = {p_value}" in report
            checked += 1
    assert checked == 8


def test_the_exponent_on_the_site_and_in_the_changelog_is_that_of_the_committed_runs():
    fit = tc.fit_scaling(tc.read_runs_csv(RESULTS / "gpt_claims" / "runs.csv"), "tau_mem", "n_train", n_boot=0)
    text = f"{fit.exponent:.2f} ({fit.ci[0]:.2f} to {fit.ci[1]:.2f})"
    for page in ("docs/index.md", "CHANGELOG.md"):
        assert text in (README.parent / page).read_text()


def test_the_claims_by_criterion_are_those_of_the_judged_curves():
    text = README.read_text().partition("does the verdict depend on the criterion?")[2].partition("Withdrawn:")[0]
    rows = dict(re.findall(r"^\| (C\d) \|(.*)\|$", text, flags=re.M))
    claims = pd.read_csv(RESULTS / "rejudged" / "claims.csv", keep_default_na=False)
    assert set(rows) == {f"C{k}" for k in range(1, 7)}
    for claim, part in claims.groupby("claim"):
        name, _, kind = claim.partition(" ")
        gpt, dit, depends = (cell.strip() for cell in rows[name].split("|"))
        verdicts = dict(zip(part["criterion"], part["verdict"], strict=True))
        assert {"GPT": gpt, "DiT": dit, "": dit}[kind] == verdicts["tau_mem"]
        former = f"in {kind}: {verdicts['tau_mem_chance']} by the former"
        assert (former in depends) == (verdicts["tau_mem_chance"] != verdicts["tau_mem"])
    runs = [part["n_runs"].iloc[0] for _, part in claims[claims["claim"].isin(["C1 GPT", "C1 DiT"])].groupby("claim")]
    assert f"GPT, {runs[1]} runs | DiT, {runs[0]} runs" in README.read_text()


def test_the_withdrawn_statements_quote_the_data():
    words = " ".join(README.read_text().partition("for they do not hold up:")[2].partition("## How to cite")[0].split())
    gain, batches = (
        (RESULTS / name / "report.md").read_text() for name in ("gain_of_copying", "memorization_exponent")
    )
    former, today = re.findall(r"p = (\S+) by the former criterion, (\S+) by today's", words)[0]
    assert f"is {former} by it, {today} by copying above the null" in gain
    few, many = re.findall(r"alpha is ([\d.]+) at batches of 16 and ([\d.]+) at 128", words)[0]
    assert f"the same exponent, {few} and {many};" in batches
    runs = read_data(results_folder("laptop", 21))["runs"]
    rules = runs.groupby("rule").agg(tau=("tau_mem_upper", "median"), size=("support_size", "first"))
    large = rules[rules["size"] > 1e5]
    found = spearmanr(rankdata(large["tau"]), large["size"])
    assert f"the correlation is {found.statistic:.2f}, p = {found.pvalue:.2g}" in words
    slopes = turn(read_data(results_folder("laptop", 24))["runs"], "tau_rule", "lr").slopes
    assert "it is {:.2f}, {:.2f} and {:.2f}".format(*slopes[:3]) in words
