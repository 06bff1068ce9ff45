"""The study of the masked clocks: its runs, and the offsets that its report finds in simulated tables."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from twoclocks.empirics import RunConfig
from twoclocks.empirics.config import QUICK_MASKED
from twoclocks.paper_figures.committed import read_tables
from twoclocks.paper_figures.studies import masked_clocks as study
from twoclocks.paper_figures.studies import masked_clocks_report as report

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "masked.md"


def simulated(times, n_train=(48, 96), seeds=4):
    """Onsets on a fine grid: those of a family are `times` those of the GPT."""
    rng = np.random.default_rng(1)
    rows = []
    for kind, factor in times.items():
        for n in n_train:
            for seed in range(seeds):
                row = {"architecture": kind, "model": f"{kind}-nano", "rule": "parity:4x6,G=2", "n_train": n}
                row |= {"seed": seed, "status": "stopped", "last_step": 10**6}
                for onset, base in (("tau_rule", 50), ("tau_mem", 2 * n)):
                    at = factor * base * np.exp(0.05 * rng.normal())
                    row |= {f"{onset}_lower": at / 1.02, f"{onset}_upper": at * 1.02}
                rows.append(row)
    return pd.DataFrame(rows)


def test_runs_are_those_of_the_grid_and_the_long_ones():
    configs = study.configs()
    assert len(configs) == len(set(configs)) == len(study.CELLS) + 2
    assert {c.model for c in configs} == {"mdm-nano"}
    assert {c.batch_size for c in configs} == {128}  # as the DiT and GPT beside them
    assert {c.stop_when for c in configs if c.n_train == 24} == {"memorized"}
    assert configs[-1].n_train == 256


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_an_offset_is_found(factor):
    runs = simulated({"gpt": 1.0, "mdm": factor, "dit": 2.0})
    for onset in ("tau_rule", "tau_mem"):
        text = report.offset(runs, "gpt", onset)
        estimate = float(text[1:].split()[0])
        low, high = (float(end) for end in text[text.index("[") + 1 : text.index("]")].split(", "))
        assert low < factor < high
        assert estimate == pytest.approx(factor, rel=0.1)
        assert high < 1.3 * low


def test_no_shared_rule_leaves_it_undetermined():
    runs = simulated({"gpt": 1.0, "mdm": 2.0})
    runs.loc[runs["architecture"] == "gpt", "rule"] = "parity:4x6,G=3"
    assert report.offset(runs, "gpt", "tau_rule").startswith("undetermined")


def test_the_figures_runs_are_each_there_once():
    masked = pd.DataFrame({"rule": ["parity:4x6,G=2", "parity:4x6,G=3"]})
    runs = report.figures_runs(masked)
    assert set(runs["model"]) == {"dit-nano", "gpt-nano"}
    assert not runs.duplicated(["model", "rule", "n_train", "seed"]).any()
    assert {24, 48, 96} <= set(runs.loc[runs["model"] == "dit-nano", "n_train"])


def test_what_the_guide_says_of_the_long_run_is_committed():
    """Its options are those of the committed run, and so are its numbers."""
    text = GUIDE.read_text()
    runs, evaluations = read_tables(study.RESULTS.with_name("masked_long"))
    (run,) = (row for _, row in runs.iterrows())
    command = text.partition("$ twoclocks run --preset quick-mdm --rule")[2].partition("...")[0]
    options = dict(re.findall(r"--([a-z-]+) (\S+)", command))
    config = RunConfig(**json.loads(run["config"]))
    given = {name.replace("-", "_"): type(getattr(config, name.replace("-", "_")))(v) for name, v in options.items()}
    assert config == replace(QUICK_MASKED, rule="parity:4x6,G=3", **given)
    assert f"{report._interval(run, 'tau_rule')} > {run['tau_mem_lower']:.0f} " in text
    assert run["tau_mem_upper"] == math.inf
    counts = evaluations.set_index("step")
    copied = counts["memorized"] / config.n_eval
    for step, said in (
        (10715, "2% of the time at step 10,000"),
        (24783, "10% at step 25,000"),
        (40000, "13% at the end"),
    ):
        assert said in text
        assert f"{copied[step]:.0%}" == said.partition(" ")[0]
    assert f"where its loss is {counts.loc[40000, 'loss']:.3f}" in text


def test_the_guides_table_is_that_of_the_committed_runs():
    runs = pd.read_csv(study.RESULTS / "runs.csv")
    rows = re.findall(r"^\| (\d) \| (\d+) \| (.*) \|$", GUIDE.read_text(), flags=re.M)
    assert {int(N) for _, N, _ in rows} >= {32, 256}
    for G, N, rest in rows:
        here = (runs["rule"] == f"parity:4x6,G={G}") & (runs["n_train"] == int(N)) & (runs["seed"] == 0)
        (row,) = (row for _, row in runs[here].iterrows())
        clocks = [report._interval(row, onset) for onset in ("tau_rule", "tau_mem")]
        losses = [f"{row[name]:.3f}" for name in ("last_loss", "floor_empirical", "floor_population")]
        assert rest.split(" | ") == [*clocks, str(row["last_step"]), *losses]
