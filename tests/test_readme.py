"""Every snippet of the README prints what it shows, by itself; its numbers and the claims' are the committed ones."""

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr
from shown_output import check, printed, snippets

import twoclocks as tc
from twoclocks.paper_figures.shared.clock_statistics import turn
from twoclocks.paper_figures.shared.judging import HEADLINE
from twoclocks.paper_figures.store import RESULTS, read_data, results_folder
from twoclocks.paper_figures.studies import paper_scale

README = Path(__file__).parents[1] / "README.md"
CLAIMS = README.parent / "docs" / "claims.md"
SNIPPETS = snippets(README)
USES = ("compare_denoisers", "chance_memorization", "fit_scaling")


@pytest.mark.parametrize("use", USES)
def test_each_use_takes_ten_lines_at_most(use):
    (code,) = [snippet.code for snippet in SNIPPETS if use in snippet.code]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_each_snippet_prints_what_is_shown(number, tmp_path, monkeypatch):
    (tmp_path / "paper_figures").symlink_to(README.parent / "paper_figures")
    monkeypatch.chdir(tmp_path)
    snippet = SNIPPETS[number]
    check(snippet, printed(snippet.code.replace("steps=1000", "steps=30"), {"__name__": "snippet"}, "README"), "README")
    assert snippet.shown
    assert snippet.varies == ("steps=1000" in snippet.code)


def test_there_is_a_snippet_for_each_use():
    assert len(SNIPPETS) >= 5
    assert all(any(use in snippet.code for snippet in SNIPPETS) for use in USES)


def claim_rows():
    """The cells of the table of claims by C1 to C6: the paper's grids, GPT, DiT, what depends on the criterion."""
    rows = re.findall(r"^\| (C\d) [a-z][^|]*\|(.*)\|$", CLAIMS.read_text(), flags=re.M)
    cells = {name: [cell.strip() for cell in row.split("|")] for name, row in rows if row.count("|") == 3}
    assert set(cells) == {f"C{k}" for k in range(1, 7)}
    return cells


def verdict_text(row):
    if pd.isna(row["estimate"]):
        return row["verdict"]
    return "{:.2g} ({:.2g} to {:.2g}), {}".format(*row[["estimate", "low", "high", "verdict"]])


@pytest.mark.parametrize(("study", "columns"), [("rejudged", {"GPT": 1, "DiT": 2, "": 2}), ("paper_scale", {"GPT": 0})])
def test_the_claims_are_those_of_the_committed_runs(study, columns):
    cells = claim_rows()
    claims = pd.read_csv(RESULTS / study / "claims.csv")
    checked = 0
    for _, row in claims[claims["criterion"] == HEADLINE].iterrows():
        name, _, kind = row["claim"].partition(" ")
        if kind in columns:
            assert cells[name][columns[kind]] == verdict_text(row)
            checked += 1
    assert checked == (11 if study == "rejudged" else 4)


def test_the_claims_say_where_a_verdict_depends_on_the_criterion():
    cells = claim_rows()
    claims = pd.read_csv(RESULTS / "rejudged" / "claims.csv")
    words = {"tau_mem_10": "at a memorization of 0.1", "tau_mem_chance": "by the former criteria"}
    for claim, part in claims.groupby("claim"):
        name, _, kind = claim.partition(" ")
        verdicts = dict(zip(part["criterion"], part["verdict"], strict=True))
        for criterion, text in words.items():
            said = f"{kind} {verdicts[criterion]} {text}".strip()
            assert (said in cells[name][3]) == (verdicts[criterion] != verdicts[HEADLINE])


def test_the_words_below_the_claims_quote_the_data():
    words = " ".join(CLAIMS.read_text().split())
    claims = pd.read_csv(RESULTS / "rejudged" / "claims.csv")
    notes = claims[claims["criterion"] == HEADLINE].set_index("claim")["note"]
    exponents = [float(x) for x in re.findall(r"G=\d (-?[\d.]+) \+-", notes["C4 GPT"])]
    assert len(exponents) == 6
    assert f"exponents lie between {min(exponents):.2f} and {max(exponents):.2f}" in words
    in_g = float(re.findall(r"elasticity in G (-?[\d.]+)", notes["C5 GPT"])[0])
    assert f"The elasticity of the window in G is {in_g:.1f} in GPT" in words
    small, large = re.findall(r"at the (?:smallest|largest) N ([\d.]+)", notes["C3 GPT"])
    assert f"the largest ratio of two rules is {small} at the smallest N, {large} at the largest" in words
    times, low, high = map(float, re.findall(r"tau_mem x([\d.]+) \[([\d.]+), ([\d.]+)\]", notes["C6"])[0])
    assert f"tau_mem comes {times:.0f} times ({low:.0f} to {high:.0f}) as late in DiT" in words
    assert f"from N = {math.ceil(0.1 * tc.rule('parity:4x6,G=2').support_size)} on" in words
    paper = pd.read_csv(RESULTS / "paper_scale" / "claims.csv")
    note = paper[paper["criterion"] == HEADLINE].set_index("claim")["note"]["C4 GPT"]
    alpha = {int(G): float(value) for G, value in re.findall(r"G=(\d) (-?[\d.]+) \+-", note)}
    assert "Alpha is {:.2f}, {:.2f}, {:.2f} and {:.2f} at G = 2, 3, 4 and 6".format(*alpha.values()) in words
    assert "after Bonferroni's correction: gpt-mini, parity:6x6,G=2;" in note
    ratios = paper[paper["criterion"] == HEADLINE].set_index("claim").loc["C3 GPT"]
    small, large = re.findall(r"at the (?:smallest|largest) N ([\d.]+)", ratios["note"])
    assert f"is {small} at the smallest, {large} at the largest: C3 is {ratios['verdict']} there" in words
    assert ratios["high"] < 1.5
    runs = pd.read_csv(RESULTS / "paper_scale" / "runs.csv")
    assert set(runs["name"]) == set(paper_scale.configs("gpt-mini"))
    assert f"all {len(runs)} runs have ended, at every N with three seeds" in words
    largest = runs["rule"].str.endswith("G=6")
    assert np.isinf(runs.loc[largest, "tau_rule_upper"]).all()
    assert "none at G = 6 has learned it" in words
    former = paper[(paper["claim"] == "C5 GPT") & (paper["criterion"] == "tau_mem_chance")]["verdict"].item()
    assert f"By the former criteria C5 is {former} there" in words


def test_the_claims_say_how_many_runs_they_rest_on():
    runs = {}
    for study in ("rejudged", "paper_scale"):
        claims = pd.read_csv(RESULTS / study / "claims.csv")
        runs[study] = claims[claims["criterion"] == HEADLINE].set_index("claim")["n_runs"]
    header = (
        f"GPT-mini, 6x6, {runs['paper_scale']['C1 GPT']} runs | GPT, 4x6, {runs['rejudged']['C1 GPT']} runs "
        f"| DiT, 4x6, {runs['rejudged']['C1 DiT']} runs"
    )
    assert header in CLAIMS.read_text()


def test_the_numbers_of_the_experiments_are_those_of_their_reports():
    section = CLAIMS.read_text().partition("experiments ask why")[2].partition("Four statements")[0]
    bullets = [" ".join(bullet.split()) for bullet in section.split("\n- ")[1:]]
    checked = 0
    for bullet in bullets:
        report = (RESULTS / re.findall(r"\(`(\w+)`\)", bullet)[0] / "report.md").read_text()
        for interval in re.findall(r"-?[\d.]+ \(-?[\d.]+ to -?[\d.]+\)", bullet):
            assert interval in report
            checked += 1
    assert checked == 1


def test_the_exponent_on_the_site_and_in_the_changelog_is_that_of_the_committed_runs():
    runs = tc.read_runs_csv(RESULTS / "paper_scale" / "runs.csv")
    fit = tc.fit_scaling(runs, "tau_mem", "n_train", n_boot=0)
    text = f"{fit.exponent:.2f} ({fit.ci[0]:.2f} to {fit.ci[1]:.2f})"
    for page in ("docs/index.md", "CHANGELOG.md"):
        words = " ".join((README.parent / page).read_text().split())
        assert text in words
        assert f"N = {runs['n_train'].min():g} and {runs['n_train'].max():g}" in words
        assert f"{len(runs)} runs" in words


def test_the_readme_says_todays_verdicts():
    claims = pd.read_csv(RESULTS / "rejudged" / "claims.csv", keep_default_na=False)
    today = claims[claims["criterion"] == "tau_mem"].set_index("claim")
    decided = today[today["verdict"] != "undecided"]["verdict"].to_dict()
    assert decided == {
        "C1 GPT": "supported", "C2 GPT": "supported", "C4 DiT": "not supported", "C5 GPT": "supported"
    }  # fmt: skip
    text = README.read_text()
    for claim in ("C1", "C2", "C5"):
        assert re.search(rf"^- {claim}, .*: supported in GPT, undecided in DiT\.$", text, flags=re.M)
    assert "undecided in GPT, not supported in DiT, where it grows faster." in text
    assert "C3 and C6 are undecided" in text
    paper = pd.read_csv(RESULTS / "paper_scale" / "claims.csv")
    paper = paper[paper["criterion"] == HEADLINE].set_index("claim")
    assert paper["verdict"].to_dict() == {
        "C1 GPT": "supported", "C3 GPT": "undecided", "C4 GPT": "not supported", "C5 GPT": "supported"
    }  # fmt: skip
    assert f"On {paper['n_runs'].max()} runs of GPT-mini" in text
    words = " ".join(text.split())
    assert all(said in words for said in ("C1 and C5 are supported", "C4 is not supported", "C3 is undecided"))
    assert f"On {sum(today.loc[[f'C1 {kind}' for kind in ('GPT', 'DiT')], 'n_runs'])} runs with 4x6 grids" in text


def test_the_withdrawn_statements_quote_the_data():
    words = " ".join(CLAIMS.read_text().partition("Four statements")[2].split())
    former, today = re.findall(r"p = (\S+) by the former criterion, (\S+) by today's", words)[0]
    judged = (RESULTS / "rejudged" / "report.md").read_text()
    assert f"| tau_mem: copying beyond the null | {today} |" in judged
    assert f"| tau_mem_chance: the former criteria | {former} |" in judged
    runs = read_data(results_folder("laptop", 21))["runs"]
    rules = runs.groupby("rule").agg(tau=("tau_mem_upper", "median"), size=("support_size", "first"))
    large = rules[rules["size"] > 1e5]
    found = spearmanr(rankdata(large["tau"]), large["size"])
    assert f"the correlation is {found.statistic:.2f}, p = {found.pvalue:.2g}" in words
    slopes = turn(read_data(results_folder("laptop", 24))["runs"], "tau_rule", "lr").slopes
    assert "it is {:.2f}, {:.2f} and {:.2f}".format(*slopes[:3]) in words
