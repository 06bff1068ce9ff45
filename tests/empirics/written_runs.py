"""Run folders with known clocks, written without training: config.json, metrics.jsonl, result.json.

They are as runs were before there were digests, and such runs must still be read.
"""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from twoclocks.empirics import RunConfig
from twoclocks.empirics.config import QUICK
from twoclocks.empirics.onsets import clock_onsets, onset_as_json
from twoclocks.empirics.runs.reading import FORMAT, result_digest
from twoclocks.empirics.runs.run import environment
from twoclocks.theory.memorization import binomial_interval, memorization_test

GPT = replace(QUICK["gpt"], rule="parity:6x6,G=3", steps=20000)


def curves(config, tau_rule, tau_mem):
    """Rows of metrics whose accuracy and memorization rise at the given steps."""
    rows = []
    for step in config.eval_steps():
        n = config.n_eval
        valid = round(n / (1 + (tau_rule / step) ** 6 / 9))
        memorized = round(valid / (1 + (tau_mem / step) ** 4 * 20))
        row = {"step": int(step), "loss": 0.7 / (1 + step / tau_rule)}
        for name, count in (("rule_accuracy", valid), ("memorization", memorized), ("novel_valid", valid - memorized)):
            low, high = binomial_interval(count, n)
            row |= {name: count / n, f"{name}_low": low, f"{name}_high": high}
        row["memorization_p"] = memorization_test(memorized, n, config.n_train / 2**24).p_value
        rows.append({**row, "ambiguous": 0.0, "seconds": round(0.01 * step, 3)})
    return rows


def write_run(folder, config=GPT, tau_rule=100.0, tau_mem=600.0, status="finished", rows=None):
    """Write a run; `status` "unfinished" leaves result.json out."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    rows = curves(config, tau_rule, tau_mem) if rows is None else rows
    (folder / "config.json").write_text(json.dumps({"format": FORMAT, **config.to_dict()}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if status != "unfinished":
        (folder / "result.json").write_text(json.dumps(result(config, rows, status)))
    return folder


def result(config, rows, status):
    chance = config.n_train / 2**24
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}
    if rows:
        import pandas as pd

        found = clock_onsets(pd.DataFrame(table), chance, null=chance, n_generated=config.n_eval)
        onsets = {name: onset_as_json(onset) for name, onset in found.items()}
    else:
        unknown = {"step": None, "lower": 0.0, "upper": None, "censored": True}
        onsets = {"tau_rule": unknown, "tau_mem": unknown}
    return {
        "status": status,
        "steps": (rows[-1]["step"] if rows else 0) + (status == "diverged"),
        "onsets": onsets,
        "chance": chance,
        "null": {"memorization": chance, "rung": "chance", "standard_error": 0.0, "rungs": {"chance": chance}},
        "group_chance": 1.0,
        "support_size": str(2**24),
        "seconds": rows[-1]["seconds"] if rows else 0.0,
        "environment": environment(),
    }


def write_sweep(
    folder,
    rules=("parity:6x6,G=2", "parity:6x6,G=3"),
    models=("gpt-nano",),
    sizes=(64, 256, 1024),
    seeds=3,
    **options,
):
    """A grid of runs with tau_mem about 4 N and tau_rule about 60 G; every curve differs by seed."""
    folders = []
    for rule, model, n_train, seed in itertools.product(rules, models, sizes, range(seeds)):
        config = RunConfig(
            **{**GPT.to_dict(), "rule": rule, "model": model, "n_train": n_train, "seed": seed, **options}
        )
        shift = math.exp(0.15 * math.sin(12.9898 * (seed + 1) + n_train + len(rule)))
        group = int(rule.rpartition("=")[2]) if "G=" in rule else 3
        tau_rule, tau_mem = 60 * group * shift, 4 * n_train * shift
        name = f"{model}-{rule.replace(':', '-').replace(',', '-')}-N={n_train}-seed={seed}"
        folders.append(write_run(Path(folder) / name, config, rows=curves(config, tau_rule, tau_mem)))
    return folders


def write_clocks(folder, **clocks):
    """Write other clocks (lower, upper or None) into the result of a run, as if they had been measured."""
    path = Path(folder) / "result.json"
    stored = json.loads(path.read_text())
    for name, (lower, upper) in clocks.items():
        stored["onsets"][name] = {"step": upper, "lower": lower, "upper": upper, "censored": upper is None}
    path.write_text(json.dumps({**stored, "digest": result_digest(stored)}))


def write_many(folder, n_runs, n_evaluations):
    """Many runs that repeat a few curves, quickly: for timing."""
    patterns = []
    for k in range(8):
        ratio = (GPT.steps / GPT.eval_first) ** (1 / (n_evaluations - 1))
        config = RunConfig(**{**GPT.to_dict(), "n_train": 64 * 2**k, "eval_ratio": ratio})
        rows = [{**row, "group_accuracy": 0.5, "group_accuracy_low": 0.4, "group_accuracy_high": 0.6,
                 "group_memorization": 0.5, "group_memorization_low": 0.4, "group_memorization_high": 0.6,
                 "distinct": 1.0} for row in curves(config, 60.0 + 9 * k, 4.0 * config.n_train)]  # fmt: skip
        assert len(rows) == n_evaluations
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        patterns.append((config, lines, result(config, rows, "finished")))
    for k in range(n_runs):
        config, lines, ended = patterns[k % 8]
        path = Path(folder) / f"G={k % 40}" / f"run-{k:05d}"
        path.mkdir(parents=True)
        seeded = {**config.to_dict(), "seed": k // 8}
        (path / "config.json").write_text(json.dumps({"format": FORMAT, **seeded}))
        (path / "metrics.jsonl").write_text(lines)
        (path / "result.json").write_text(json.dumps(ended))
