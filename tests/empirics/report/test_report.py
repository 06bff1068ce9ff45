"""The report's three files: true to the runs, complete on degenerate folders, and harmless on a stranger's."""

import base64
import hashlib
import json
import os
import pickle
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from written_runs import GPT, curves, write_run, write_sweep

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics.criteria import CRITERIA
from twoclocks.empirics.report.answer import answer, in_words
from twoclocks.empirics.report.data import embed, natural
from twoclocks.empirics.report.findings import find, setting_fields
from twoclocks.empirics.runs.folder import read_runs_folder

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{data}}</title>"


class Page(HTMLParser):
    """Elements with their attributes, the text outside scripts, and the embedded data."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.text, self.raw = [], [], "", {}
        self.feed(html)
        self.close()
        self.data = json.loads(self.raw["script"][0])

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "input", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.raw.setdefault(self.open[-1], []).append(data)
        else:
            self.text += data


def read(path):
    html = path.read_text()
    page = Page(html)
    assert page.open == []
    return html, page


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "runs"
    write_sweep(folder)
    write_run(folder / "going", replace(GPT, seed=7), status="unfinished", rows=curves(GPT, 100.0, 600.0)[:9])
    write_run(folder / "gone", replace(GPT, seed=8), status="diverged", rows=curves(GPT, 100.0, 600.0)[:5])
    write_run(folder / "broken", replace(GPT, seed=9))
    (folder / "broken" / "result.json").write_text('{"status": ')
    return folder


@pytest.fixture(scope="module")
def report(sweep):
    return tc.write_report(sweep, sweep.parent / "out")


def ratios(text):
    values = np.frombuffer(base64.b64decode(text), "<u2").astype(float)
    return np.where(values == 65535, np.nan, values / 65534)


def test_the_page_holds_every_run_and_every_evaluation(sweep, report):
    _, page = read(report)
    found = read_runs_folder(sweep)
    data = page.data
    assert data["runs"] == found.runs["run"].tolist()
    assert len(data["runs"]) == 20  # all but the damaged one
    for name in ("model", "rule", "status"):
        coded = data["texts"][name]
        assert [coded["values"][k] for k in coded["codes"]] == found.runs[name].tolist()
    for name in ("rule_accuracy", "memorization_low", "memorization_high"):
        np.testing.assert_allclose(ratios(data["curves"]["columns"][name]), found.evaluations[name], atol=1e-5)
    loss = np.frombuffer(base64.b64decode(data["curves"]["columns"]["loss"]), "<f4")
    np.testing.assert_allclose(loss, found.evaluations["loss"], rtol=1e-6)
    steps = np.concatenate([data["curves"]["grids"][k] for k in data["curves"]["grid"]])
    assert steps.tolist() == found.evaluations["step"].tolist()
    for clock in CRITERIA:
        for end in ("lower", "upper"):
            stored = [np.nan if v is None else np.inf if v == -1 else v for v in data["numbers"][f"{clock}_{end}"]]
            np.testing.assert_array_equal(stored, found.runs[f"{clock}_{end}"])


def test_the_page_says_what_was_found_and_what_was_left_out(sweep, report):
    html, page = read(report)
    (finding,), notes = find(read_runs_folder(sweep).runs)
    assert notes == []
    assert len(finding.runs) == 18  # neither unfinished nor diverged
    for claim in finding.claims:
        assert f'<span class="name">{claim.claim}</span>' in html
        assert f"{claim.n_runs} runs" in page.text
    verdicts = re.findall(r'class="verdict [\w-]+">([\w ]+)<', html)
    assert verdicts == [claim.verdict for claim in finding.claims] + ["not tested"] * 3
    by_name = {claim.claim: claim for claim in finding.claims}
    assert by_name["C1"].verdict == "undecided"
    assert "one contrast" in by_name["C1"].note  # two group sizes
    assert by_name["C2"].verdict == "undecided"
    assert by_name["C4"].verdict == "undecided"
    assert "a power law is rejected for a bend" in by_name["C4"].note  # the seeds of these curves are no noise
    expected = tc.fit_scaling(finding.runs, "tau_mem", n_boot=0)
    assert finding.scalings[0].fit.exponent == pytest.approx(expected.exponent)
    assert f"{expected.exponent:.2f} [{expected.ci[0]:.2f}, {expected.ci[1]:.2f}]" in page.text
    for words in ("19 runs ended, 1 diverged, 1 unfinished, 1 damaged", "going", "gone", "broken", "not valid JSON"):
        assert words in page.text
    (figure,) = (f for f in page.data["figures"] if (f["onset"], f["x"]) == ("tau_rule", "group size G"))
    (panel,) = figure["panels"]
    points = [point for series in panel["series"] for point in series["points"]]
    for x, lower, upper, run in points:
        row = read_runs_folder(sweep).runs.loc[run]
        assert row["rule"] == f"parity:6x6,G={x:g}"
        assert (row["tau_rule_lower"], row["tau_rule_upper"]) == (lower, upper)


def test_the_page_stands_alone_and_allows_nothing_else(report):
    html, page = read(report)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "a") or (
            tag == "a" and attributes["href"].startswith("#")
        )
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")}
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    style, script = page.raw["style"][0], page.raw["script"][1]
    hashes = {
        name: "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"
        for name, content in (("style", style), ("script", script))
    }
    assert policy == (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "innerHTML" not in script
    assert "eval(" not in script


def test_clocks_csv_is_the_runs_table_and_can_be_fitted(sweep, report, capsys):
    table = tc.read_runs_csv(report.with_name("clocks.csv"))
    runs = read_runs_folder(sweep).runs
    runs = runs[runs["status"] != "unfinished"]
    assert table["run"].tolist() == runs["run"].tolist()
    for name in ("n_train", "tau_mem_lower", "tau_mem_upper", "lr", "chance"):
        np.testing.assert_allclose(table[name], runs[name], rtol=1e-12)
    main(["fit", str(report.with_name("clocks.csv")), "--n-boot", "0"])
    assert "exponent" in capsys.readouterr().out


def test_scaling_md_has_every_fit(report):
    text = report.with_name("scaling.md").read_text()
    for heading in ("## Claims", "## tau_mem against N", "## tau_rule against N", "## tau_rule against G"):
        assert heading in text
    assert "profile [" in text
    assert "| gpt-nano | parity:6x6,G=3 | 9 | 0 |" in text


@pytest.mark.slow
def test_the_same_folder_gives_the_same_bits(sweep, report, tmp_path):
    again = tc.write_report(sweep, tmp_path / "again")
    for name in ("report.html", "clocks.csv", "scaling.md"):
        assert again.with_name(name).read_bytes() == report.with_name(name).read_bytes()


def one_run(folder):
    write_run(folder / "run")


def all_censored(folder):
    for seed in range(3):
        rows = curves(GPT, 1e9, 1e9)
        write_run(folder / f"run-{seed}", replace(GPT, seed=seed), rows=rows)


def only_dit(folder):
    write_sweep(folder, models=("dit-nano",), rules=("latin:4",), sizes=(64, 256), seeds=2)


def one_n(folder):
    write_sweep(folder, sizes=(256,))


def only_unfinished(folder):
    write_run(folder / "run", status="unfinished")


def not_begun(folder):
    write_run(folder / "run", status="unfinished", rows=[])


def only_diverged(folder):
    write_run(folder / "run", status="diverged", rows=[])


def unknown_rule(folder):
    write_sweep(folder, rules=("mine:9x9",), sizes=(64, 256), seeds=2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (one_run, "all runs share one seed"),
        (all_censored, "no run shows"),
        (only_dit, "only one rule"),
        (one_n, "all runs have n_train=256"),
        (only_unfinished, "nothing to test yet"),
        (not_begun, "nothing to test yet"),
        (only_diverged, "nothing to test yet"),
        (unknown_rule, "left out 4 runs of mine:9x9"),
    ],
)
def test_degenerate_folders_make_a_page_that_says_what_is_undecided(tmp_path, make, says):
    make(tmp_path / "runs")
    report = tc.write_report(tmp_path / "runs")
    assert report == tmp_path / "runs" / "report.html"
    html, page = read(report)
    assert says in page.text
    assert 'class="verdict supported"' not in html or make in (only_dit, unknown_rule, one_n)
    assert says.split(" of ")[0] in report.with_name("scaling.md").read_text()


def test_the_command_says_where_the_page_is(tmp_path, capsys):
    one_run(tmp_path / "runs")
    main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "new" / "out")])
    assert capsys.readouterr().out == f"report: {tmp_path / 'new' / 'out' / 'report.html'}\n"
    assert sorted(p.name for p in (tmp_path / "new" / "out").iterdir()) == ["clocks.csv", "report.html", "scaling.md"]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == [".twoclocks-cache", "run"]


def test_no_run_at_all_is_an_error_of_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path / "empty")])
    assert stop.value.code == 2
    assert "holds no run" in capsys.readouterr().err
    assert not list((tmp_path / "empty").glob("*.html"))


@pytest.mark.slow
def test_settings_that_tell_runs_apart_are_tested_apart(tmp_path):
    for lr in (1e-3, 2e-3):
        write_sweep(tmp_path / f"lr={lr}", sizes=(64, 256), seeds=2, lr=lr)
    shutil.copytree(next((tmp_path / "lr=0.001").iterdir()), tmp_path / "copy")
    runs = read_runs_folder(tmp_path).runs
    assert setting_fields(runs) == ["lr"]
    findings, notes = find(runs)
    assert [finding.setting for finding in findings] == ["lr = 0.001", "lr = 0.002"]
    assert [len(finding.runs) for finding in findings] == [8, 8]
    assert notes == ["Runs left out of the tests, with the configuration of another run: 1"]
    html, page = read(tc.write_report(tmp_path, tmp_path / "out"))
    assert html.count("<h3>lr = 0.001</h3>") == 3  # claims, scaling, cells
    assert page.data["settings"] == ["lr"]


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/twoclocks-was-here",)


def test_a_folder_from_a_stranger_runs_no_code_and_leaks_nothing(tmp_path):
    folder = tmp_path / "<img src=x onerror=alert(3)>"
    folder.mkdir()
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"format": 1, **GPT.to_dict(), "device": "top-secret"}))
    for seed in range(2):
        for n in (64, 256):
            config = replace(GPT, rule=EVIL, model="=cmd|' /C calc'!A0", device=EVIL, seed=seed, n_train=n)
            write_run(folder / f"javascript:alert(4)&lt;b>{seed}-{n}", config, rows=curves(config, 90.0, 4.0 * n))
    run = folder / "javascript:alert(4)&lt;b>0-64"
    result = json.loads((run / "result.json").read_text())
    result["environment"] |= {"<b>cpu</b>": "</script><script>alert(5)</script>", "torch": "[x](http://evil.example)"}
    (run / "result.json").write_text(json.dumps(result))
    write_run(folder / "<i>damaged</i>")
    (folder / "<i>damaged</i>" / "config.json").write_text(json.dumps({"format": 1, "<u>": 1}))
    write_run(folder / "linked")
    (folder / "linked" / "config.json").unlink()
    (folder / "linked" / "config.json").symlink_to(secret)
    (run / "checkpoints").mkdir()
    for name in ("checkpoints/weights.pkl", "samples.pkl", "__init__.py", "conftest.py", "config.yaml"):
        (run / name).write_bytes(pickle.dumps(Bomb()))
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("report.html", "clocks.csv", "scaling.md", ".report.html.tmp"):
        (folder / name).symlink_to(victim)

    html, page = read(tc.write_report(folder))
    assert victim.read_text() == "mine"
    assert not os.path.exists("/tmp/twoclocks-was-here")
    assert "top-secret" not in html
    assert "symbolic link" in page.text
    assert html.count("<script") == 2
    assert html.count("</script>") == 2
    assert not {tag for tag, _ in page.elements} & {"img", "i", "u", "iframe", "link", "object", "svg"}
    assert "alert(1)" in page.text  # shown, as text
    assert page.data["texts"]["rule"]["values"] == [EVIL]
    cells = pd.read_csv(folder / "clocks.csv")
    assert cells["model"].str.startswith("'=").all()
    markdown = (folder / "scaling.md").read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "](http" not in markdown


def test_seeds_beyond_the_whole_numbers_of_javascript_are_exact(tmp_path):
    seeds = [2**62, 2**62 - 1, 2**53 + 1, 7]
    for seed in seeds:
        write_run(tmp_path / "runs" / str(seed), replace(GPT, seed=seed), status="diverged", rows=[])
    html, page = read(tc.write_report(tmp_path / "runs", tmp_path / "out"))
    coded = page.data["texts"]["seed"]
    assert coded["values"] == [str(seed) for seed in reversed(seeds)]  # in the order of their size
    assert [coded["values"][k] for k in coded["codes"]] == page.data["runs"]
    assert "seed" not in page.data["numbers"]
    assert 'number("seed"' not in html
    table = pd.read_csv(tmp_path / "out" / "clocks.csv")
    assert sorted(table["seed"]) == sorted(seeds)


def test_a_folder_whose_name_is_no_text_has_a_report(tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"runs-\xe9")
    write_run(folder / "run")
    main(["report", str(folder)])
    assert capsys.readouterr().out == f"report: {tmp_path}/runs-\\udce9/report.html\n"
    assert r"runs-\udce9" in read(folder / "report.html")[1].text
    assert tc.load_runs(folder)["path"].tolist() == [str(folder / "run")]


def test_a_subfolder_that_cannot_be_read_stops_no_report(tmp_path, monkeypatch):
    write_run(tmp_path / "runs" / "run")
    for name in ("mine", "lost+found", "moved"):
        (tmp_path / "runs" / name).mkdir()
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        if str(path).endswith("moved"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return scan(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        _, page = read(tc.write_report(tmp_path / "runs", tmp_path / "out"))
        with pytest.raises(ValueError, match=r"lost\+found cannot be searched \(Permission denied\)"):
            tc.load_runs(tmp_path / "runs")
    assert "lost+found cannot be searched (Permission denied)" in page.text
    assert page.data["runs"] == ["run"]


@pytest.mark.parametrize("first", ["=", "+", "-", "@"])
def test_no_cell_of_clocks_csv_is_a_formula(tmp_path, first):
    """By what a cell holds, and not by the type that a version of pandas gives to its column."""
    write_run(tmp_path / "runs" / f"{first}cmd", replace(GPT, rule=f"{first}HYPERLINK(1)"), status="diverged", rows=[])
    tc.write_report(tmp_path / "runs")
    table = pd.read_csv(tmp_path / "runs" / "clocks.csv")
    assert table.loc[0, "rule"] == f"'{first}HYPERLINK(1)"
    assert table.loc[0, "run"] == f"'{first}cmd"


def test_an_encoding_that_was_not_asked_for_is_none(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", replace(GPT, model="dit-nano", encoding="pm1"))
    table = tc.load_runs(tmp_path)
    assert table["encoding"].tolist() == [None, "pm1"]  # as in RunConfig: pandas 3 would say NaN


def test_embedded_data_cannot_end_its_element():
    value = {"</script><!--": ["<script>", "\u2028&amp;", '"']}
    text = embed(value)
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == value


def test_natural_order():
    assert sorted(["G=12", "G=2", "G=9", "a"], key=natural) == ["G=2", "G=9", "G=12", "a"]


def test_a_few_runs_are_answered_one_by_one_in_words(tmp_path):
    write_run(tmp_path / "one", GPT, rows=curves(GPT, 100.0, 600.0))
    write_run(tmp_path / "two", replace(GPT, n_train=512), rows=curves(GPT, 100.0, 1e9))
    found = read_runs_folder(tmp_path)
    table = answer(found)
    assert list(table["n_train"]) == [GPT.n_train, 512]
    for k, (_, row) in enumerate(table.iterrows()):
        run = found.runs.iloc[k]
        assert (row["tau_rule"].lower, row["tau_rule"].upper) == (run["tau_rule_lower"], run["tau_rule_upper"])
        assert (row["tau_mem"].lower, row["tau_mem"].upper) == (run["tau_mem_lower"], run["tau_mem_upper"])
    _, page = read(tc.write_report(tmp_path))
    first, second = (in_words(row) for _, row in table.iterrows())
    assert "learned the rule between steps" in first
    assert "began to copy between steps" in first
    assert "had not begun to copy by step" in second
    assert first in page.text
    assert second in page.text
    assert page.text.index(first) < page.text.index("decide none of 5 claims")
    assert "none of 5 claims" in page.text


def test_many_runs_are_answered_by_the_median_of_each_cell(sweep):
    found = read_runs_folder(sweep)
    table = answer(found)
    ended = found.runs[found.runs["status"] != "unfinished"]
    assert table["runs"].sum() == len(ended)
    row = table.iloc[0]
    cell = ended[(ended[["model", "rule", "n_train"]] == row[["model", "rule", "n_train"]]).all(axis=1)]
    assert row["tau_rule"].upper == np.median(cell["tau_rule_upper"])


def test_two_single_runs_are_told_apart_and_their_common_settings_are_said_once(tmp_path):
    for name, rate in (("before", 2e-3), ("after", 4e-3)):
        run = replace(GPT, lr=rate)
        write_run(tmp_path / name / "gpt", run, rows=curves(run, 100.0, 600.0))
    _, page = read(tc.write_report([tmp_path / "before", tmp_path / "after"], tmp_path / "out"))
    for name in ("before", "after"):
        assert f"N = {GPT.n_train}, seed {GPT.seed}, folder {name}: learned the rule" in page.text
    assert f"all: {GPT.model}, {GPT.rule}, N {GPT.n_train}, seed {GPT.seed}" in page.text
    assert "Claims: " not in page.text.partition("When the rule")[0]  # nothing is decided


def test_two_folders_stand_side_by_side_and_are_never_pooled(tmp_path, capsys):
    for name, late in (("a", 600.0), ("b", 900.0)):
        for seed in range(3):
            run = replace(GPT, seed=seed)
            write_run(tmp_path / name / str(seed), run, rows=curves(run, 100.0, late))
    with pytest.raises(ValueError, match="say where the report of several folders goes"):
        tc.write_report([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ValueError, match="is read twice"):
        tc.write_report([tmp_path, tmp_path / "a"], tmp_path / "out")
    main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")])
    assert "report.html" in capsys.readouterr().out
    _, page = read(tmp_path / "out" / "report.html")
    assert page.data["varied"]["folder"]["values"] == ["a", "b"]
    assert page.data["runs"] == [f"{name}/{seed}" for name in "ab" for seed in range(3)]
    assert "folder = a" in page.text
    assert "folder = b" in page.text
    table = tc.read_runs_csv(tmp_path / "out" / "clocks.csv")
    assert list(table["folder"]) == ["a"] * 3 + ["b"] * 3
