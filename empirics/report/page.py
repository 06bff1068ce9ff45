"""The page of a report: everything from the runs is escaped, and a Content-Security-Policy forbids all the rest.

The policy allows the page's own script and style by their hashes, and nothing else: no network, no inline handlers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from html import escape
from importlib.metadata import version
from importlib.resources import files

import numpy as np
import pandas as pd

from ..onsets import CLOCKS
from ..runs.folder import RunsFolder
from ..runs.reading import UNFINISHED
from ..statistics.claims import STATEMENTS, ClaimVerdict
from ..style import COLOURS
from .answer import MOST_RUNS, answer, cells_of, header, in_words, shared, span, strip, telling
from .data import differing_fields, embed, natural, payload, setting_text, shared_settings
from .findings import NOT_TESTED, Findings, Scaling, tally, x_values
from .ladders import ladders

_MOST_LISTED = 200
_X_NAMES = {"n_train": "N", "G": "G"}


def page(found: RunsFolder, findings: Sequence[Findings], notes: Sequence[str]) -> str:
    """The report as one HTML document without outside references.

    Args:
        found: the runs, index 0, 1, ..
        findings, notes: from `find`.
    """
    runs = found.runs
    style = _asset("report.css").replace("/*{{colours}}*/", " ".join(f"--{k}: {v};" for k, v in COLOURS.items()))
    script = _asset("charts.js") + _asset("report.js")
    parts = {
        "title": escape(found.name),
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "lead": _lead(found, findings),
        "facts": _facts(runs),
        "answer": _answer(found),
        "claims": _notes(notes) + _each(findings, _claims) + _not_tested(findings),
        "scalings": _scalings(findings),
        "legend": "Intervals are (lower, upper] in training steps. <b>&gt;</b>: training ended before. "
        "<b>&le;</b>: before the first evaluation. Window: &tau;<sub>mem</sub> over &tau;<sub>rule</sub>, "
        "the range that both intervals allow; none where memorization comes first.",
        "cells": _each(findings, _cells),
        "ladder": ladders(found, _table),
        "problems": _problems(found),
        "settings": _settings(runs),
        "footer": f"Made by twoclocks {escape(version('twoclocks'))}. Beside this page: clocks.csv, one row per "
        "run, which <code>twoclocks fit</code> reads, and scaling.md.",
        "data": embed(payload(found, findings)),
    }
    # One pass: what is put in is never searched for places to put things.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _asset("report.html"))


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _text(value: object) -> str:
    """Escaped, with the clocks as symbols."""
    symbols = re.sub(r"\btau_(rule|mem|best)(?![\w=])", r"&tau;<sub>\1</sub>", escape(str(value)))
    return symbols.replace(" +- ", " &plusmn; ")


def _statement(words: str) -> str:
    return _text(words).replace("^alpha", "<sup>\u03b1</sup>").replace("alpha", "\u03b1").replace("&gt;=", "&ge;")


def _p_text(p_value: float) -> str:
    mantissa, _, exponent = f"{p_value:.1e}".partition("e")
    if p_value >= 1e-3 or p_value == 0:
        return f"p = {p_value:.2g}" if p_value else "p &lt; 10<sup>&minus;300</sup>"
    return f"p&nbsp;=&nbsp;{mantissa}&times;10<sup>&minus;{-int(exponent)}</sup>"


def _notes(notes: Sequence[str]) -> str:
    return "".join(f'<p class="note">{_text(note)}.</p>' for note in notes)


def _each(findings: Sequence[Findings], show: Callable[[Findings], str]) -> str:
    """A part for each setting, headed by the setting where there are several."""
    if not findings:
        return '<p class="note">No run has ended without diverging, so there is nothing to test yet.</p>'
    return "".join((f"<h3>{escape(f.setting)}</h3>" if f.setting else "") + show(f) for f in findings)


def _lead(found: RunsFolder, findings: Sequence[Findings]) -> str:
    status = found.runs["status"].value_counts()
    ended = int(status.drop(UNFINISHED, errors="ignore").sum())
    parts = [f"{ended:,} {'run' if ended == 1 else 'runs'} ended"]
    parts += [f"{count:,} {name}" for name in ("diverged", UNFINISHED) if (count := int(status.get(name, 0)))]
    if found.damaged:
        parts.append(f"{len(found.damaged):,} damaged")
    claims = [claim for finding in findings for claim in finding.claims]
    decided = any(claim.verdict != "undecided" for claim in claims)
    verdicts = f" Claims: {tally(claims)}." if decided else ""
    return f"{', '.join(parts)}; {int(found.runs['evaluations'].sum()):,} evaluations.{verdicts}"


def _facts(runs: pd.DataFrame) -> str:
    environments = [json.loads(text) for text in runs["environment"].dropna().unique()]

    def values(name: str) -> str:
        return ", ".join(sorted({str(e[name]) for e in environments if name in e}, key=natural)) or "unknown"

    dates = sorted({str(e["date"]) for e in environments if "date" in e})
    seconds = float(runs["seconds"].sum())
    facts = [
        ("Trained", (dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}") if dates else "unknown"),
        ("Report made", time.strftime("%Y-%m-%d", time.gmtime())),
        ("Models", ", ".join(sorted(runs["model"].unique(), key=natural)[:12])),
        ("Rules", f"{runs['rule'].nunique()}: " + "; ".join(sorted(runs["rule"].unique(), key=natural)[:12])),
        ("N", ", ".join(f"{n:,}" for n in sorted(runs["n_train"].unique())[:16])),
        ("Seeds", f"{runs['seed'].nunique():,}"),
        ("Training time", f"{seconds / 3600:,.1f} h in all" if seconds >= 5400 else f"{seconds / 60:,.1f} min in all"),
        ("Versions", "; ".join(f"{name} {values(name)}" for name in ("twoclocks", "torch", "numpy", "python"))),
    ]
    return "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)


def _answer(found: RunsFolder) -> str:
    """Both clocks and the window of each run or cell: a table, and of up to three runs a sentence each."""
    table = answer(found)
    if table.empty:
        return '<p class="note">No run has ended with evaluations, so no clock is known yet.</p>'
    each = "seed" in table
    words = "".join(f'<p class="statement">{escape(in_words(row))}</p>' for _, row in table.iterrows())
    first, last = span(table)
    names, counted = telling(table), table["runs"].nunique() > 1
    rows = [
        [
            *cells_of(row, names),
            *([f"{row['runs']:,}"] if counted else []),
            *(_interval(row[clock].lower, row[clock].upper) for clock in CLOCKS),
            escape(str(row["window"]).replace("x", "\u00d7")),
            strip(row["tau_rule"], row["tau_mem"], first, last),
        ]
        for _, row in table.iterrows()
    ]
    titles = [*header(names), *(["Runs"] if counted else [])]
    titles += [*(f'{_text(clock)}<span class="unit">steps</span>' for clock in CLOCKS), "Window"]
    titles.append(f'Clocks<span class="unit">{first:,.0f} to {last:,.0f} steps, log</span>')
    numbers = range(len(names), len(titles) - 1)
    shown = _table([*map(str, titles)], rows, numbers)
    about = (
        "Each run"
        if each
        else f"More than {MOST_RUNS} runs: the median of each cell of equal model, rule, N and setting"
    )
    if not each and not counted:
        about += f", of {table['runs'].iloc[0]:,} runs each"
    if common := shared(table):
        about += f"; all: {common}"
    left_out = table.attrs["left_out"]
    more = f" The first {len(table)} of {len(table) + left_out} cells; all of them are below." if left_out else ""
    legend = (
        "&tau;<sub>rule</sub>: generations keep the rule, copies left out. &tau;<sub>mem</sub>: they repeat training "
        "samples more than a model that copies nothing would. Window: &tau;<sub>mem</sub> over "
        "&tau;<sub>rule</sub>, the ratios that both intervals allow."
    )
    return f'{words if len(table) <= 3 and each else ""}{shown}<p class="note">{about}.{more} {legend}</p>'


def _claims(finding: Findings) -> str:
    rows = "".join(map(_claim, finding.claims))
    if any(claim.verdict != "undecided" for claim in finding.claims):
        return rows
    n = len(finding.runs)
    said = f"{n:,} {'run decides' if n == 1 else 'runs decide'} none of {len(finding.claims)} claims: a claim needs "
    said += "several rules, N and seeds."
    return f'<p class="note">{said}</p><details><summary>What each claim lacks</summary>{rows}</details>'


def _claim(claim: ClaimVerdict) -> str:
    numbers = []
    if claim.estimate is not None and claim.ci is not None:
        level = 90 if claim.claim == "C3" else 95
        numbers.append(f"{claim.estimate:.3g} [{claim.ci[0]:.3g}, {claim.ci[1]:.3g}], {level}% interval")
    if claim.p_value is not None:
        at_most = claim.p_value <= claim.p_floor
        numbers.append(_p_text(claim.p_value).replace("=", "&le;") if at_most else _p_text(claim.p_value))
    numbers.append(f"{claim.n_runs:,} {'run' if claim.n_runs == 1 else 'runs'}")
    body = f'<p class="statement">{_statement(claim.statement)}</p><p class="numbers">{"; ".join(numbers)}</p>'
    body += "".join(f'<p class="note">{_text(text)}</p>' for text in (claim.note, claim.test) if text)
    return _claim_row(claim.claim, claim.verdict, body)


def _not_tested(findings: Sequence[Findings]) -> str:
    tested = {claim.claim for finding in findings for claim in finding.claims}
    rows = "".join(
        _claim_row(
            name,
            "not tested",
            f'<p class="statement">{_statement(STATEMENTS[name])}</p><p class="note">{_text(why)}</p>',
        )
        for name, why in NOT_TESTED.items()
        if name not in tested
    )
    return f"<details><summary>Claims that a table of runs cannot decide</summary>{rows}</details>" if rows else ""


def _claim_row(name: str, verdict: str, body: str) -> str:
    mark = f'<span class="verdict {verdict.replace(" ", "-")}">{verdict}</span>'
    return f'<div class="claim"><span class="name">{escape(name)}</span>{mark}<div class="body">{body}</div></div>'


def _scalings(findings: Sequence[Findings]) -> str:
    count = 0

    def show(finding: Findings) -> str:
        nonlocal count
        shown = []
        for scaling in finding.scalings:
            wide = ' class="wide"' if finding.runs["model"].nunique() > 1 else ""
            if x_values(finding.runs, scaling.x).nunique() > 1:
                shown.append(f'<figure data-figure="{count}"{wide}>{_scaling(scaling)}</figure>')
            count += 1
        if not shown:
            return '<p class="note">A scaling law needs runs at two values of N or G at least.</p>'
        return f'<div class="figures">{"".join(shown)}</div>'

    return _each(findings, show)


def _scaling(scaling: Scaling) -> str:
    fit, x = scaling.fit, _X_NAMES[scaling.x]
    title = f"<strong>{_text(scaling.onset)} against {x}.</strong>"
    if fit is not None:
        low, high = fit.ci if isinstance(fit.ci, tuple) else (np.nan, np.nan)
        groups = f"shared by {len(fit.groups)} groups of {', '.join(scaling.by)}" if len(fit.groups) > 1 else ""
        title += (
            f" Proportional to {x}<sup>a</sup> with a = {_fixed(fit.exponent)} [{_fixed(low)}, {_fixed(high)}] "
            f"{escape(groups)}; {fit.n_runs:,} runs, {fit.n_censored:,} censored."
        )
        slopes = fit.tests.get("equal_slopes")
        if slopes is not None and slopes.p_value is not None and slopes.p_value < 0.05:
            title += f" The exponents of the groups differ ({_p_text(slopes.p_value)}): see each group fitted alone."
    note = f'<p class="note">{_text(scaling.note)}</p>' if scaling.note else ""
    tests = "".join(f"<li>{escape(str(test))}</li>" for test in fit.tests.values()) if fit else ""
    tests = f"<details><summary>Tests of the fit</summary><ul>{tests}</ul></details>" if tests else ""
    rows = []
    for _, row in scaling.groups.iterrows():
        fitted = isinstance(row.get("exponent"), float) and np.isfinite(row["exponent"])
        rows.append(
            [
                *(escape(str(row[name])) for name in scaling.by),
                f"{row['n_runs']:,}",
                f"{row['n_censored']:,}",
                _with_interval(row, "exponent", ".2f") if fitted else "undecided",
                _with_interval(row, "prefactor", ".3g") if fitted else "",
                _text(row["note"]),
            ]
        )
    header = [*map(escape, scaling.by), "Runs", "Censored", "Exponent [95%]", "Prefactor, steps [95%]", "Note"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    n_names = len(scaling.by)
    table = _table(header, rows, numbers=range(n_names, n_names + 4), by=range(n_names))
    groups = f"<details><summary>Each group fitted alone</summary>{table}</details>"
    return f"<figcaption>{title}</figcaption>{note}{tests}{groups}"


def _with_interval(row: pd.Series, name: str, form: str) -> str:
    value, low, high = (_fixed(row[f"{name}{end}"], form) for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"


def _fixed(value: object, form: str = ".2f") -> str:
    """A number without the sign of a zero."""
    text = format(value, form)
    return text.removeprefix("-") if not text.strip("-0.") else text


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int], by: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already, sorted naturally by some columns; numbers are set right."""
    rows = sorted(rows, key=lambda row: [natural(row[k].replace(",", "")) for k in by])
    kind = [' class="number"' if k in numbers else "" for k in range(len(header))]
    if header and header[-1] == "Note":
        kind[-1] = ' class="wrap"'
    head = "".join(f'<th scope="col"{c}>{cell}</th>' for c, cell in zip(kind, header, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{c}>{cell}</td>" for c, cell in zip(kind, row, strict=True)) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{table}</div>'


def _cells(finding: Findings) -> str:
    cells = finding.cells
    if cells is None:
        return '<p class="note">Undecided: variability across runs needs at least two seeds.</p>'
    rows = []
    for (model, rule, n), cell in cells.groupby(["model", "rule", "n_train"], sort=False):
        row = [escape(str(model)), escape(str(rule)), f"{n:,}", f"{cell['n_runs'].max():,}"]
        for clock in CLOCKS:
            mine = cell[cell["onset"] == clock].iloc[0]
            row += [
                _interval(mine["median_lower"], mine["median_upper"]),
                _interval(mine["lowest"], mine["highest"]),
                f"{mine['n_censored']:,}",
            ]
        rows.append(row)
    header = ["Model", "Rule", "N", "Runs"]
    for clock in CLOCKS:
        header += [f"{_text(clock)}, steps", "all within", "censored"]
    table = _table(header, rows, numbers=range(2, len(header)), by=(0, 1, 2))
    about = f"{len(rows):,} cells of model, rule and N: the median onset, the range of all runs, and how many censored"
    return f"<details{' open' * (len(rows) <= 40)}><summary>{about}</summary>{table}</details>"


def _interval(lower: float, upper: float) -> str:
    if np.isinf(upper):
        return f"&gt; {lower:,.0f}"
    return f"{lower:,.0f}&ndash;{upper:,.0f}" if lower > 0 else f"&le; {upper:,.0f}"


def _problems(found: RunsFolder) -> str:
    runs = found.runs
    sections = []
    for status, title in ((UNFINISHED, "unfinished"), ("diverged", "diverged")):
        part = runs[runs["status"] == status]
        rows = [
            [
                *(escape(str(row[name])) for name in ("run", "model", "rule")),
                *(f"{row[name]:,}" for name in ("n_train", "seed", "evaluations", "steps")),
            ]
            for _, row in part.head(_MOST_LISTED).iterrows()
        ]
        if rows:
            more = f", the first {_MOST_LISTED} of them" if len(part) > _MOST_LISTED else ""
            table = _table(["Folder", "Model", "Rule", "N", "Seed", "Evaluations", "Steps asked"], rows, range(3, 7))
            sections.append(f"<h3>{len(part):,} {title}{more}</h3>{table}")
    if found.damaged:
        rows = [[escape(run), escape(fault)] for run, fault in list(found.damaged.items())[:_MOST_LISTED]]
        sections.append(f"<h3>{len(found.damaged):,} damaged</h3>{_table(['Folder', 'Note'], rows, ())}")
    if not sections:
        return ""
    title = '<h2 id="problems-title">Runs that did not end well</h2>'
    note = '<p class="note">Their curves, where they have any, are in the table of runs. The tests leave them out.</p>'
    return f'<section id="problems" aria-labelledby="problems-title">{title}{note}{"".join(sections)}</section>'


def _settings(runs: pd.DataFrame) -> str:
    varied = [
        [escape(name), escape(", ".join(sorted({setting_text(v) for v in runs[name].unique()}, key=natural)[:20]))]
        for name in differing_fields(runs)
    ]
    shared = [[escape(name), escape(value)] for name, value in shared_settings(runs).items()]
    parts = []
    if varied:
        parts.append(f"<h3>Settings that differ</h3>{_table(['Setting', 'Values'], varied, ())}")
    table = _table(["Setting", "Value"], shared, ())
    parts.append(f"<details><summary>{len(shared)} settings that all runs share</summary>{table}</details>")
    environments = runs["environment"].dropna().value_counts()
    rows = [
        [f"{count:,}", escape("; ".join(f"{name} {value}" for name, value in json.loads(str(text)).items()))]
        for text, count in environments.head(_MOST_LISTED).items()
    ]
    parts.append(f"<h3>Environments</h3>{_table(['Runs', 'Note'], rows, (0,))}" if rows else "")
    return "".join(parts)
