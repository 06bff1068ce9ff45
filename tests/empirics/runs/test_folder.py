"""Many runs as tables: the same values as each run alone, from a cache that is never wrong and never trusted."""

import json
import os
import pickle
import shutil
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_runs import GPT, curves, result, write_many, write_run, write_sweep

import twoclocks as tc
from twoclocks.empirics.criteria import CRITERIA, FORMER
from twoclocks.empirics.data import training_set
from twoclocks.empirics.null_again import null_again
from twoclocks.empirics.onsets import find_onsets, onset_as_json
from twoclocks.empirics.runs import cache as runs_cache
from twoclocks.empirics.runs import folder as runs_folder
from twoclocks.empirics.runs.folder import read_runs_folder


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    write_sweep(folder, sizes=(64, 256), seeds=2)
    return folder


@pytest.fixture
def sweep(template, tmp_path):
    return shutil.copytree(template, tmp_path / "runs")


@pytest.fixture
def reads(monkeypatch):
    """Names of the runs that were read from their own files."""
    names = []
    plain = runs_folder.read_record
    monkeypatch.setattr(runs_folder, "read_record", lambda folder: names.append(folder.name) or plain(folder))
    return names


def cache_file(folder):
    return folder / ".twoclocks-cache" / "runs.parquet"


def test_tables_hold_what_each_run_holds(sweep):
    table, metrics = tc.load_runs(sweep), tc.load_metrics(sweep)
    assert len(table) == 8
    assert table["run"].is_monotonic_increasing
    assert metrics["run"].cat.categories.tolist() == table["run"].tolist()
    for _, row in table.iterrows():
        run = tc.load_run(row["path"])
        assert os.path.isabs(row["path"])
        assert row["run"] == run.path.name
        assert {name: row[name] for name in run.config.to_dict()} == run.config.to_dict()
        assert row["status"] == "finished"
        for name in ("chance", "group_chance", "seconds"):
            assert row[name] == run.result[name]
        assert row["null"] == run.null
        for name, onset in run.onsets.items():
            for part in ("step", "lower", "upper", "censored"):
                assert row[f"{name}_{part}"] == getattr(onset, part)
        for name, onset in find_onsets(run.metrics, row["chance"]).items():
            assert (row[f"{name}_lower"], row[f"{name}_upper"]) == (onset.lower, onset.upper), name
        mine = metrics[metrics["run"] == row["run"]].drop(columns="run").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, run.metrics, check_exact=True)
    assert {f"{name}_lower" for name in CRITERIA} <= set(table.columns)


def test_the_cache_gives_the_same_tables_and_reads_only_what_changed(sweep, reads):
    first = tc.load_runs(sweep), tc.load_metrics(sweep)
    assert len(reads) == 8
    again = tc.load_runs(sweep), tc.load_metrics(sweep)
    assert len(reads) == 8
    for before, after in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(before, after, check_exact=True)

    changed = sorted(sweep.iterdir())[3]
    config = tc.load_run(changed).config
    rows = curves(config, 50.0, 300.0)
    (changed / "metrics.jsonl").write_text("".join(json.dumps({**row, "extra": 1.5}) + "\n" for row in rows))
    (changed / "result.json").write_text(json.dumps(result(config, rows, "stopped")))
    shutil.rmtree(sorted(sweep.iterdir())[6])
    write_run(sweep / "a" / "new", replace(GPT, seed=9))
    reads.clear()
    table, metrics = tc.load_runs(sweep), tc.load_metrics(sweep)
    assert sorted(reads) == sorted([changed.name, "new"])
    assert len(table) == 8
    assert table.set_index("run").loc[changed.name, "status"] == "stopped"
    assert metrics.loc[metrics["run"] == changed.name, "extra"].eq(1.5).all()
    assert metrics.loc[metrics["run"] != changed.name, "extra"].isna().all()
    reads.clear()
    shutil.rmtree(cache_file(sweep).parent)
    pd.testing.assert_frame_equal(tc.load_runs(sweep), table, check_exact=True)
    pd.testing.assert_frame_equal(tc.load_metrics(sweep)[list(metrics)], metrics, check_exact=True)
    assert len(reads) == 8


def test_a_change_that_keeps_size_and_modification_time_is_seen(sweep):
    run = sorted(sweep.iterdir())[0]
    tc.load_runs(sweep)
    config = run / "config.json"
    before = config.stat()
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 7'))
    os.utime(config, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert config.stat().st_mtime_ns == before.st_mtime_ns
    assert config.stat().st_size == before.st_size
    assert tc.load_runs(sweep).loc[0, "seed"] == 7


@pytest.mark.parametrize("damage", ["garbage", "cut", "empty", "version", "schema", "lengths", "folder"])
def test_a_damaged_cache_is_made_anew(sweep, reads, damage):
    table = tc.load_runs(sweep)
    file = cache_file(sweep)
    content = file.read_bytes()
    stored = pq.read_table(file)
    if damage == "garbage":
        file.write_bytes(os.urandom(5000))
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "version":
        pq.write_table(stored.replace_schema_metadata({b"twoclocks": b"0 0.0.1"}), file)
    elif damage == "schema":
        pq.write_table(stored.set_column(stored.column_names.index("lr"), "lr", pa.array(["x"] * 8)), file)
    elif damage == "lengths":
        at = stored.column_names.index("evaluations")
        pq.write_table(stored.set_column(at, "evaluations", pa.array([3] * 8)), file)
    else:
        file.unlink()
        file.mkdir()
    reads.clear()
    metrics = tc.load_metrics(sweep)
    assert len(metrics) == sum(len(tc.load_run(path).metrics) for path in table["path"])
    assert len(reads) == 8
    pd.testing.assert_frame_equal(tc.load_runs(sweep), table)


def test_a_folder_that_cannot_be_written_is_read_all_the_same(sweep, monkeypatch):
    def refuse(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(runs_cache, "write_atomically", refuse)
    assert len(tc.load_runs(sweep)) == 8
    assert not cache_file(sweep).exists()
    shutil.rmtree(cache_file(sweep).parent)
    cache_file(sweep).parent.write_text("not a folder")
    assert len(tc.load_runs(sweep)) == 8


def test_unfinished_runs_are_counted_and_shown_when_asked_for(sweep):
    write_run(sweep / "zz-running", replace(GPT, seed=8), status="unfinished")
    write_run(sweep / "zz-started", replace(GPT, seed=9), status="unfinished", rows=[])
    (sweep / "zz-started" / "metrics.jsonl").unlink()
    table = tc.load_runs(sweep)
    assert len(table) == 8
    assert table.attrs["unfinished"] == 2
    assert set(tc.load_metrics(sweep)["run"]) == set(table["run"])
    everything = tc.load_runs(sweep, unfinished=True)
    assert everything["status"].value_counts().to_dict() == {"finished": 8, "unfinished": 2}
    assert everything["tau_mem_lower"].isna().sum() == 2
    assert "zz-running" in set(tc.load_metrics(sweep, unfinished=True)["run"])
    shutil.copytree(sweep / "zz-running", sweep.parent / "other" / "zz-running")
    with pytest.raises(ValueError, match=r"holds no run that has ended \(1 unfinished\)"):
        tc.load_runs(sweep.parent / "other")
    with pytest.raises(ValueError, match="is not a folder"):
        tc.load_runs(sweep / "absent")


def test_a_run_that_diverged_at_once_knows_nothing(tmp_path):
    write_run(tmp_path / "run", status="diverged", rows=[])
    (row,) = tc.load_runs(tmp_path).to_dict("records")
    assert row["status"] == "diverged"
    assert (row["tau_mem_lower"], row["tau_mem_upper"]) == (0.0, np.inf)
    assert (row["tau_novel_lower"], row["tau_novel_upper"]) == (0.0, np.inf)
    assert tc.load_metrics(tmp_path).empty


def test_a_run_folder_itself_is_a_folder_of_one_run(sweep):
    run = sorted(sweep.iterdir())[0]
    table = tc.load_runs(run)
    assert table["run"].tolist() == ["."]
    assert table["path"].tolist() == [str(run)]


def test_set_aside_hidden_and_linked_folders_are_left_out(sweep, tmp_path):
    write_run(sweep / "quarantine" / "bad")
    write_run(sweep / ".trash" / "old")
    write_run(tmp_path / "elsewhere" / "run")
    (sweep / "link").symlink_to(tmp_path / "elsewhere")
    (sweep / "loop").symlink_to(sweep)
    assert len(tc.load_runs(sweep)) == 8


def test_a_metric_that_a_newer_version_added_in_mid_run(tmp_path):
    rows = curves(GPT, 50.0, 300.0)
    rows = [row if k < 5 else {**row, "novelty": 0.25} for k, row in enumerate(rows)]
    write_run(tmp_path / "run", rows=rows)
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 999')  # cut short by a crash
    metrics = tc.load_metrics(tmp_path)
    assert len(metrics) == len(rows)
    assert metrics["novelty"].isna().tolist() == [k < 5 for k in range(len(rows))]


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/twoclocks-was-here",)


def deep(n):
    return "[" * n + "]" * n


CONFIG = {"format": 1, **GPT.to_dict()}
FAULTS = {
    "pickle": ("config.json", pickle.dumps(Bomb()), "not valid JSON"),
    "deep config": ("config.json", deep(200_000), "nested too deeply"),
    "deep metrics": ("metrics.jsonl", f'{{"step": {deep(100_000)}}}\n', "nested too deeply"),
    "huge config": ("config.json", json.dumps({**CONFIG, "device": "x" * 2**21}), "larger than 1,048,576 bytes"),
    "long text": ("config.json", json.dumps({**CONFIG, "rule": "x" * 1000}), "rule must be a short text"),
    "terminal": ("config.json", json.dumps({**CONFIG, "model": "\x1b]0;x\x07"}), "model must be a short text"),
    "surrogate": ("config.json", json.dumps({**CONFIG, "model": "\ud800"}), "model must be a short text"),
    "type of rule": ("config.json", json.dumps({**CONFIG, "rule": {"a": 1}}), "rule must be a short text, got a dict"),
    "type of N": ("config.json", json.dumps({**CONFIG, "n_train": "64"}), "n_train must be a whole number, got 64"),
    "NaN": ("config.json", json.dumps({**CONFIG, "lr": float("nan")}), "lr must be a finite number"),
    "infinity": ("config.json", json.dumps({**CONFIG, "steps": float("inf")}), "steps must be a whole number"),
    "huge number": ("config.json", json.dumps({**CONFIG, "steps": 10**400}), "steps must be a whole number"),
    "unknown field": ("config.json", json.dumps({**CONFIG, "__class__": 1}), "unknown config fields: __class__"),
    "format": ("config.json", json.dumps({**CONFIG, "format": 99}), "not of format 1"),
    "list": ("config.json", "[]", "not a JSON object"),
    "status": ("result.json", json.dumps({"status": "<b>done</b>"}), "status must be one of finished"),
    "onsets": ("result.json", {"onsets": {"tau_rule": 5}}, "has no onset tau_rule"),
    "reversed": (
        "result.json",
        {"onsets": {c: {"step": 1, "lower": 9, "upper": 1, "censored": False} for c in ("tau_rule", "tau_mem")}},
        "0 <= lower <= upper",
    ),
    "chance": ("result.json", {"chance": float("nan")}, "chance must be a finite number"),
    "environment": ("result.json", {"environment": {"cpu": [1]}}, "cpu must be a short text"),
    "text metric": ("metrics.jsonl", '{"step": 1, "loss": "0.5"}\n', "not a number"),
    "no step": ("metrics.jsonl", '{"loss": 0.5}\n', "step must be there"),
    "steps back": ("metrics.jsonl", '{"step": 2}\n{"step": 1}\n', "increasing"),
    "NaN step": ("metrics.jsonl", '{"step": NaN}\n', "step must be there"),
    "huge metric": ("metrics.jsonl", '{"step": 1, "loss": 1' + "0" * 400 + "}\n", "too large"),
    "huge literal": ("metrics.jsonl", '{"step": 1, "loss": 1' + "0" * 5000 + "}\n", "line 1"),
    "two in a line": ("metrics.jsonl", '{"step": 1},{"step": 2}\n', "line 1"),
    "name": ("metrics.jsonl", '{"step": 1, "<script>": 2}\n', "plain names"),
    "line": ("metrics.jsonl", '{"step": 1}\nnonsense\n{"step": 3}\n', "line 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_run_is_named_with_its_fault(sweep, fault):
    tc.load_runs(sweep)
    name, content, message = FAULTS[fault]
    run = sorted(sweep.iterdir())[2]
    if isinstance(content, dict):
        content = json.dumps({**tc.load_run(run).result, **content})
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        tc.load_runs(sweep)
    assert str(run / name) in str(caught.value)
    assert "quarantine" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()
    found = read_runs_folder(sweep)
    assert list(found.damaged) == [run.name]
    assert len(found.runs) == 7
    assert not os.path.exists("/tmp/twoclocks-was-here")


def test_not_a_number_in_a_metric_is_a_missing_value(tmp_path):
    rows = curves(GPT, 50.0, 300.0)
    rows[3]["loss"] = float("nan")
    rows[4]["loss"] = float("inf")
    rows[5]["loss"] = None
    write_run(tmp_path / "run", rows=rows)
    loss = tc.load_metrics(tmp_path)["loss"]
    assert loss.isna().to_numpy().nonzero()[0].tolist() == [3, 5]
    assert loss[4] == np.inf


def test_links_pipes_and_odd_names_are_not_opened(sweep, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({**CONFIG, "device": "secret"}))
    linked, piped, odd = sweep / "linked", sweep / "piped", sweep / "odd\n\x1b[2J"
    for folder in (linked, piped, odd):
        write_run(folder)
    (linked / "config.json").unlink()
    (linked / "config.json").symlink_to(secret)
    (piped / "metrics.jsonl").unlink()
    os.mkfifo(piped / "metrics.jsonl")
    (sweep / os.fsdecode(b"latin-\xe9")).mkdir()
    shutil.copy(secret, sweep / os.fsdecode(b"latin-\xe9") / "config.json")
    found = read_runs_folder(sweep)
    assert len(found.runs) == 8
    assert len(found.damaged) == 4
    assert "symbolic link" in found.damaged["linked"]
    assert "not a regular file" in found.damaged["piped"]
    assert all(text.isprintable() for item in found.damaged.items() for text in item)
    assert "secret" not in set(found.runs["device"])


def test_a_cache_that_came_with_a_copied_folder_is_not_believed(sweep, tmp_path, reads):
    truth = tc.load_runs(sweep).drop(columns="path")
    stored = pq.read_table(cache_file(sweep))
    forged = stored.set_column(stored.column_names.index("model"), "model", pa.array(["forged"] * 8))
    pq.write_table(forged, cache_file(sweep))
    copy = tmp_path / "copy"
    shutil.copytree(sweep, copy)  # keeps modification times
    reads.clear()
    pd.testing.assert_frame_equal(tc.load_runs(copy).drop(columns="path"), truth)
    assert len(reads) == 8


def test_paths_in_a_cache_lead_nowhere_outside(sweep, tmp_path, reads):
    tc.load_runs(sweep)
    outside = write_run(tmp_path / "outside", replace(GPT, seed=99))
    stored = pq.read_table(cache_file(sweep))
    runs = stored.column("run").to_pylist()
    forged = stored.set_column(
        stored.column_names.index("run"), "run", pa.array(["../outside", str(outside), *runs[2:]])
    )
    pq.write_table(forged, cache_file(sweep))
    reads.clear()
    table = tc.load_runs(sweep)
    assert table["run"].tolist() == runs
    assert 99 not in set(table["seed"])
    assert sorted(reads) == sorted(runs[:2])


@pytest.mark.parametrize("planted", ["folder", "file", "temporary"])
def test_a_planted_link_is_not_written_through(sweep, tmp_path, planted):
    victim = tmp_path / "victim"
    cache = cache_file(sweep)
    if planted == "folder":
        victim.mkdir()
        cache.parent.symlink_to(victim)
    else:
        victim.write_text("mine")
        cache.parent.mkdir()
        place = cache if planted == "file" else cache.with_name(f".{cache.name}.tmp")
        place.symlink_to(victim)
    assert len(tc.load_runs(sweep)) == 8
    assert list(victim.iterdir()) == [] if planted == "folder" else victim.read_text() == "mine"


@pytest.mark.slow
def test_two_thousand_runs_in_seconds_and_from_the_cache_at_once(tmp_path):
    write_many(tmp_path, 2000, 60)
    started = time.process_time()
    cold = tc.load_runs(tmp_path)
    reading = time.process_time() - started
    seconds = []
    for _ in range(3):
        started = time.process_time()
        cached = tc.load_runs(tmp_path)
        seconds.append(time.process_time() - started)
    started = time.process_time()
    metrics = tc.load_metrics(tmp_path)
    assert time.process_time() - started < 2
    assert len(metrics) == 120_000
    pd.testing.assert_frame_equal(cold, cached)
    assert reading < 10  # about 2 s on one core at rest
    assert min(seconds) < 0.5


def test_an_old_result_is_judged_again_with_the_null_of_its_training_set(tmp_path):
    """Before there was a null of copying, tau_rule counted copies and tau_mem asked for a little over chance."""
    config = replace(GPT, rule="parity:4x6,G=3", n_train=96, n_eval=512)
    rows = curves(config, 60.0, 400.0)
    folder = write_run(tmp_path / "old", config, rows=rows)
    stored = json.loads((folder / "result.json").read_text())
    del stored["null"]
    chance = 96 / 2**16
    former = find_onsets(pd.DataFrame(rows), chance, criteria=["tau_rule_all", "tau_mem_chance"])
    stored |= {"chance": chance, "support_size": str(2**16)}
    stored["onsets"] = {name: onset_as_json(former[FORMER[name]]) for name in ("tau_rule", "tau_mem")}
    (folder / "result.json").write_text(json.dumps(stored))
    run = tc.load_run(folder)
    rule = tc.rule(config.rule)
    null = tc.null_of_copying(rule, training_set(rule, 96, config.seed)).memorization
    assert run.null == null > 5 * chance
    expected = find_onsets(run.metrics, chance, null=null, n_generated=512)
    assert run.onsets == {name: expected[name] for name in ("tau_rule", "tau_mem")}
    assert run.onsets["tau_mem"].lower > former["tau_mem_chance"].upper
    row = tc.load_runs(tmp_path).iloc[0]
    assert row["null"] == null
    for name, onset in expected.items():
        assert (row[f"{name}_lower"], row[f"{name}_upper"]) == (onset.lower, onset.upper)
    assert row["tau_mem_step"] == expected["tau_mem"].step
    assert row["tau_mem_censored"] == expected["tau_mem"].censored


def test_the_null_of_a_large_rule_is_not_found_again():
    assert null_again("parity:6x6,G=3", 64, 0) == 64 / 2**24


def test_a_notebook_shows_a_run_with_its_clocks(tmp_path):
    write_run(tmp_path / "a&b", GPT, rows=curves(GPT, 100.0, 600.0))
    run = tc.load_run(tmp_path / "a&b")
    shown = run._repr_html_()
    assert f"{run.onsets['tau_mem']} steps" in shown
    assert "a&amp;b" in shown
    (tmp_path / "a&b" / "result.json").write_text("{")
    assert "damaged" in run._repr_html_()
