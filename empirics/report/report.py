"""A folder of runs as a page that a colleague can open: report.html, with clocks.csv and scaling.md beside it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from ..criteria import CRITERIA
from ..runs.files import write_atomically
from ..runs.folder import read_runs_folders
from ..runs.foreign_files import printable
from ..runs.reading import UNFINISHED, config_kinds
from ..statistics.cells_text import cells_to_markdown
from ..statistics.claims import claims_to_markdown
from ..text_tables import markdown_table
from .findings import FOLDER, Findings, Scaling, find
from .page import page


def write_report(path: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write report.html, clocks.csv and scaling.md on the runs under a folder, or under several to compare them.

    The page holds everything within itself: the clocks of every run, the claims with verdicts, scaling figures, every
    run's curve, settings and environments. Runs of different folders stand beside each other and are tested apart. It
    opens without a network, and nothing in the folders can make it run code.
    With thousands of runs in dozens of groups the tests take a minute or two.

    Args:
        path: searched for runs as in `load_runs`; one folder or several. Unfinished, diverged and damaged runs are
            listed on the page.
        out: folder for the three files, made if missing; by default `path`, if that is one folder.

    Returns:
        The path of report.html.

    Raises:
        ValueError: no such folder, or no run in it; several folders without `out`.
        OSError: the files cannot be written.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if out is None and len(paths) > 1:
        raise ValueError("say where the report of several folders goes, with out (--out FOLDER)")
    found = read_runs_folders(paths)
    if found.runs.empty:
        faults = "".join(f"; damaged: {fault}" for fault in list(found.damaged.values())[:1])
        raise ValueError(f"{' and '.join(map(printable, paths))} holds no run{faults}")
    findings, notes = find(found.runs)
    folder = Path(paths[0] if out is None else out)
    folder.mkdir(parents=True, exist_ok=True)  # its files are replaced, never written through
    write_atomically(folder / "clocks.csv", _bytes(_clocks_csv(found.runs)))
    write_atomically(folder / "scaling.md", _bytes(_markdown(findings, notes)))
    write_atomically(folder / "report.html", _bytes(page(found, findings, notes)))
    return folder / "report.html"


def _bytes(text: str) -> bytes:
    """UTF-8, with an escape for what a name of a folder holds that is no text."""
    return text.encode(errors="backslashreplace")


def _clocks_csv(runs: pd.DataFrame) -> str:
    """One row an ended run, as `read_runs_csv` takes it."""
    ends = [f"{name}_{end}" for name in CRITERIA for end in ("lower", "upper")]
    several = [FOLDER] if FOLDER in runs else []
    table = runs.loc[
        runs["status"] != UNFINISHED, [*several, *config_kinds(), "status", "chance", "group_chance", "seconds"]
    ]
    onsets = runs.loc[table.index, ends].dropna(axis=1)  # an onset that some runs did not measure has no place here
    whole = [name for name in CRITERIA if {f"{name}_lower", f"{name}_upper"} <= set(onsets)]
    kept = onsets[[f"{name}_{end}" for name in whole for end in ("lower", "upper")]]
    if table["data"].notna().any():
        kept = kept.join(runs.loc[table.index, ["tau_best_lower", "tau_best_upper"]])
    table = pd.concat([table, kept, runs.loc[table.index, ["run"]]], axis=1)
    for name in table:  # whatever type pandas gives to text, which changes from version to version
        table[name] = table[name].map(_not_a_formula)
    buffer = io.StringIO()
    table.to_csv(buffer, index=False)
    return buffer.getvalue()


def _not_a_formula(value: object) -> object:
    """A spreadsheet would compute a text that begins like this."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def _markdown(findings: Sequence[Findings], notes: Sequence[str]) -> str:
    sections = ["# Claims and scaling laws", *(f"{_plain(note)}." for note in notes)]
    if not findings:
        sections.append("No run has ended without diverging, so there is nothing to test yet.")
    for finding in findings:
        if finding.setting:
            sections.append(f"## {_plain(finding.setting)}")
        claims = [replace(claim, note=_plain(claim.note)) for claim in finding.claims]
        sections += ["## Claims", claims_to_markdown(claims)]
        for scaling in finding.scalings:
            sections += _scaling(scaling)
        if finding.cells is not None:
            sections += ["## Clocks by model, rule and N", cells_to_markdown(finding.cells)]
    return "\n\n".join(sections) + "\n"


def _scaling(scaling: Scaling) -> list[str]:
    fit, x = scaling.fit, {"n_train": "N"}.get(scaling.x, scaling.x)
    lines = [f"## {scaling.onset} against {x}"]
    if fit is not None:
        intervals = []
        for method in ("profile", "percentile"):
            try:
                low, high = fit.interval(method)
                intervals.append(f"{method} [{low:.3f}, {high:.3f}]")
            except ValueError as fault:
                intervals.append(f"{method}: {_plain(str(fault))}")
        lines.append(
            f"{scaling.onset} proportional to {x}^{fit.exponent:.3f}, one exponent for {len(fit.groups)} groups by "
            f"{', '.join(scaling.by)}; 95% intervals: {', '.join(intervals)}. {fit.n_runs} runs, {fit.n_censored} "
            f"censored; log-normal scatter, sigma {fit.sigma:.3f}; McKelvey-Zavoina R2 {fit.pseudo_r2:.3f}."
        )
        lines.append("\n".join(f"- {test}" for test in fit.tests.values()))
    if scaling.note:
        lines.append(_plain(scaling.note))
    rows = []
    for _, row in scaling.groups.iterrows():
        values = ["undecided", "", ""]
        if np.isfinite(row.get("exponent", np.nan)):
            values = [
                f"{row['exponent']:.3f} [{row['exponent_low']:.3f}, {row['exponent_high']:.3f}]",
                f"{row['prefactor']:.3g} [{row['prefactor_low']:.3g}, {row['prefactor_high']:.3g}]",
                f"{row['sigma']:.3f}",
            ]
        counts = [str(row["n_runs"]), str(row["n_censored"])]
        rows.append([*(_plain(str(row[name])) for name in scaling.by), *counts, *values, _plain(str(row["note"]))])
    header = [*scaling.by, "runs", "censored", "exponent [95% CI]", "prefactor, steps [95% CI]", "sigma", "note"]
    return [*lines, "Each group fitted alone:", markdown_table(header, rows)]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: no HTML, links, images or code."""
    return re.sub(r"([\\`*\[\]!|])", r"\\\1", escape(text, quote=False)).replace("\\|", "|")
