"""The report of `masked_clocks`: both clocks of three families, from its tables and those of the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...empirics.onsets import CLOCKS
from ...empirics.statistics.claim_trends import SETTINGS
from ...empirics.statistics.claims import CLAIMS, ClaimVerdict, evaluate_claims
from ...empirics.statistics.runs_table import rule_complexity
from ...empirics.statistics.verdicts import undecided
from ...empirics.style import COLOURS, figure_style, new_figure
from ...empirics.text_tables import markdown_table
from ..shared.clock_plots import MARKERS, draw_onsets, onset_legend, plain_log_ticks, step_axis
from ..shared.clock_statistics import clock_order, onset_ratio
from ..shared.clock_tables import known, median_onset
from ..store import read_data, read_provenance, results_folder

COMMAND = "python -m twoclocks.paper_figures.studies.masked_clocks"
FAMILIES = {"gpt": "GPT", "dit": "DiT", "mdm": "MDM"}
"""Titles by the values of the column architecture, in the order of the tables."""
CONFIDENCE = 0.975
"""Of each of two clocks' ratios, so that both hold at 95%."""
_COLOURS = {"gpt": "#1b9e77", "dit": "#7570b3", "mdm": "#d95f02"}


def write_report(folder: Path) -> None:
    """report.md and clocks.png beside runs.csv, from it, evaluations.csv and the figures' tables."""
    masked = pd.read_csv(folder / "runs.csv")
    curves = pd.read_csv(folder / "evaluations.csv")
    runs = pd.concat([figures_runs(masked), masked], ignore_index=True)
    facts = read_provenance(folder)
    sections = [
        "# The clocks of masked diffusion",
        f"`{COMMAND}`: MDM-nano on group parity, 4x6 grids, {len(masked)} runs, {masked['seed'].nunique()} seeds, "
        f"{facts['training_seconds']} s of training on one thread each, while other work ran on the machine; configs "
        "and versions in `provenance.json`. DiT-nano and GPT-nano: the committed runs of Figures 4 and 10 at the same "
        "rules. A run ends once both clocks are known, but for those at N = 32, whose learning rate falls to 0 as a "
        "cosine, and at N = 256. Seconds are of the clock, and the run at N = 32 was held for nine minutes of its own. "
        "A small grid: exploratory.",
        *statements(masked, runs),
        "## Every run",
        _every_run(masked),
        "## Beside DiT and GPT",
        "Median over seeds of each clock (training steps; in brackets: number of runs):",
        _medians(runs),
        "How many times later a clock of the MDM comes, at equal rule, with log N as a covariate, over the range of N "
        f"that both families have (log-normal accelerated failure time, {CONFIDENCE:.1%} profile likelihood, so that "
        "both clocks of a pair hold at 95%). The families differ in learning rate, and the DiT averages its weights: "
        "an offset is that of the family with its settings.",
        _offsets(runs),
        "## The claims, family by family",
        "C1 to C5 as `twoclocks.evaluate_claims` judges them, on each family's runs at the study's group sizes; few "
        "runs leave most undecided.",
        _claims(runs),
        "![Both clocks against N in three families, and the long run's curves](clocks.png)",
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")
    with figure_style():
        draw(runs, masked, curves).savefig(folder / "clocks.png")


def figures_runs(masked: pd.DataFrame) -> pd.DataFrame:
    """The committed runs of DiT-nano and GPT-nano at the rules of the masked ones, each once."""
    names = ["architecture", "model", "rule", "n_train", "seed"]
    tables = [read_data(results_folder("laptop", number))["runs"] for number in (10, 4)]
    runs = pd.concat(tables, ignore_index=True)
    runs = runs[runs["model"].isin(["dit-nano", "gpt-nano"]) & runs["rule"].isin(set(masked["rule"]))]
    runs = runs.drop_duplicates(names)  # those of Figure 10 first, which have their settings beside them
    columns = [*names, *SETTINGS, "status", "last_step", *(f"{c}_{end}" for c in CLOCKS for end in ("lower", "upper"))]
    return runs.reindex(columns=columns).reset_index(drop=True)


def statements(masked: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """The study's findings, each with its numbers."""
    found = []
    order = clock_order(masked)
    found.append(f"- tau_rule precedes tau_mem in {order}.")
    for G, table in masked.groupby(masked["rule"].map(rule_complexity)):
        ruled, copied = (table[np.isfinite(table[f"{c}_upper"])] for c in CLOCKS)
        found.append(
            f"- G = {G}: {len(ruled)} of {len(table)} runs show tau_rule (median {_steps(table, 'tau_rule')}), "
            f"{len(copied)} show tau_mem (median {_steps(table, 'tau_mem')}), over N = "
            f"{table['n_train'].min()} to {table['n_train'].max()}."
        )
    for other in ("gpt", "dit"):
        parts = []
        for onset in CLOCKS:
            ratio = offset(runs, other, onset)
            parts.append(f"{onset} {ratio}")
        found.append(f"- MDM against {FAMILIES[other]}, all shared rules: {'; '.join(parts)} times as late.")
    for row in (row for _, row in masked.iterrows() if row["n_train"] in (32, 256)):
        found.append(
            f"- The run at G = {rule_complexity(row['rule']):g}, N = {row['n_train']} reached step {row['last_step']}: "
            f"training loss {row['last_loss']:.3f} nats a cell; floor of the training set "
            f"{row['floor_empirical']:.3f}, of the rule {row['floor_population']:.3f}; "
            f"tau_rule {_interval(row, 'tau_rule')}, tau_mem {_interval(row, 'tau_mem')}."
        )
    return ["\n".join(found)]


def offset(runs: pd.DataFrame, other: str, onset: str) -> str:
    """The ratio of an onset, MDM over another family, at equal rule within the range of N of both; or why not."""
    rows = known(runs[runs["architecture"].isin(["mdm", other])], onset)
    ends = [rows.loc[rows["architecture"] == kind, "n_train"] for kind in ("mdm", other)]
    low, high = max(part.min() for part in ends), min(part.max() for part in ends)
    rows = rows[rows["n_train"].between(low, high)]
    seen = rows[(rows[f"{onset}_lower"] > 0) & np.isfinite(rows[f"{onset}_upper"])]
    both = [rule for rule, table in seen.groupby("rule") if table["architecture"].nunique() == 2]
    rows = rows[rows["rule"].isin(both)].reset_index(drop=True)
    if rows.empty:
        return "undetermined (no rule and range of N in which both show it)"
    try:
        ratio = onset_ratio(
            rows, onset, (rows["architecture"] == "mdm").to_numpy(), rows["rule"],
            np.log(rows["n_train"].to_numpy(float)), CONFIDENCE,
        )  # fmt: skip
    except ValueError as fault:
        return f"undetermined ({fault})"
    ours = int((rows["architecture"] == "mdm").sum())
    return f"{ratio} ({ours} MDM, {len(rows) - ours} others, N = {low} to {high})"


def draw(runs: pd.DataFrame, masked: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Clocks against N, a panel per group size, a marker a family; and loss, accuracy and copies of the longest run."""
    sizes = sorted({rule_complexity(spec) for spec in masked["rule"]})
    figure, axes = new_figure(1, len(sizes) + 1, 3.6 * (len(sizes) + 1), 4.3)
    for ax, G in zip(axes[0], sizes, strict=False):
        _draw_clocks(ax, runs[runs["rule"].map(rule_complexity) == G])
        ax.set_title(f"parity 4x6, G = {G}")
    axes[0][0].set_ylabel("training steps")
    row = masked.sort_values("last_step").iloc[-1]
    _draw_run(axes[0][-1], row, curves)
    extra: list[tuple[Artist, str]] = [
        (Line2D([], [], color=_COLOURS[kind], marker=MARKERS[k], ls="", label=name), name)
        for k, (kind, name) in enumerate(FAMILIES.items())
    ]
    onset_legend(figure, (), ncols=3, extra=extra)
    return figure


def _draw_clocks(ax: Axes, runs: pd.DataFrame) -> None:
    """Medians joined by a line, solid for tau_rule and dashed for tau_mem, over every run's interval."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    for k, kind in enumerate(FAMILIES):
        table = runs[runs["architecture"] == kind].reset_index(drop=True)
        if table.empty:
            continue
        shift = 1.05 ** (k - 1)
        for onset, dash in (("tau_rule", "-"), ("tau_mem", "--")):
            draw_onsets(ax, table, onset, table["n_train"].to_numpy(float) * shift, (_COLOURS[kind], MARKERS[k]), 3.5)
            medians = pd.Series({n: median_onset(cell, onset) for n, cell in table.groupby("n_train")})
            finite = medians[np.isfinite(medians)]
            ax.plot(finite.index * shift, finite, color=_COLOURS[kind], ls=dash, lw=1.2)
    plain_log_ticks(ax, sorted(set(runs["n_train"]))[::2])
    step_axis(ax.yaxis)
    ax.set_xlabel("N;  solid: $\\tau_{rule}$, dashed: $\\tau_{mem}$")


def _draw_run(ax: Axes, row: pd.Series, curves: pd.DataFrame) -> None:
    keys = ["rule", "n_train", "seed"]
    mine = curves[(curves[keys] == row[keys].to_numpy()).all(axis=1)].sort_values("step")
    ax.plot(mine["step"], mine["rule_accuracy"], color=COLOURS["rule"], label="rule accuracy")
    ax.plot(mine["step"], mine["memorization"], color=COLOURS["memorization"], ls="--", label="memorization")
    ax.plot(mine["step"], mine["loss"], color=COLOURS["loss"], ls="-.", label="training loss, nats per cell")
    ax.axhline(row["floor_population"], color=COLOURS["rule"], lw=0.8, ls=":", label="floor of the rule")
    ax.axhline(row["floor_empirical"], color=COLOURS["memorization"], lw=0.8, ls=":", label="floor of the training set")
    ax.set_xscale("log")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("training step")
    ax.set_title(f"MDM-nano, {row['rule']}, N = {row['n_train']}, seed {row['seed']}", fontsize=8)
    ax.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _every_run(masked: pd.DataFrame) -> str:
    rows = []
    for _, row in masked.sort_values(["rule", "n_train", "seed"]).iterrows():
        rows.append(
            [row["rule"], str(row["n_train"]), str(row["seed"]), _interval(row, "tau_rule"), _interval(row, "tau_mem"),
             str(row["last_step"]), f"{row['last_loss']:.3f}", f"{row['floor_empirical']:.3f}",
             f"{row['floor_population']:.3f}", f"{row['null']:.2g}", f"{row['seconds']:.0f}"]
        )  # fmt: skip
    header = ["rule", "N", "seed", "tau_rule", "tau_mem", "last step", "loss", "its floor (training set)",
              "floor (rule)", "null of copying", "seconds"]  # fmt: skip
    return markdown_table(header, rows)


def _medians(runs: pd.DataFrame) -> str:
    cells = sorted({(rule_complexity(rule), int(n)) for rule, n in zip(runs["rule"], runs["n_train"], strict=True)})
    rows = []
    for G, n in cells:
        row = [str(G), str(n)]
        for onset in CLOCKS:
            for kind in FAMILIES:
                here = (runs["architecture"] == kind) & (runs["n_train"] == n)
                table = runs[here & (runs["rule"].map(rule_complexity) == G)]
                row.append(f"{_steps(table, onset)} ({len(table)})" if len(table) else "")
        rows.append(row)
    return markdown_table(["G", "N", *(f"{onset}, {FAMILIES[kind]}" for onset in CLOCKS for kind in FAMILIES)], rows)


def _offsets(runs: pd.DataFrame) -> str:
    rows = [
        [f"MDM / {FAMILIES[other]}", rule, *(offset(part, other, onset) for onset in CLOCKS)]
        for other in ("gpt", "dit")
        for rule, part in [("all", runs), *((str(rule), part) for rule, part in runs.groupby("rule"))]
    ]
    return markdown_table(["ratio", "rule", *CLOCKS], rows)


def _claims(runs: pd.DataFrame) -> str:
    rows = []
    verdicts = {kind: _judged(runs[runs["architecture"] == kind]) for kind in FAMILIES}
    for k, first in enumerate(verdicts["mdm"]):
        row = [first.claim, first.statement]
        for kind in FAMILIES:
            v = verdicts[kind][k]
            size = f": {v.estimate:.2f} [{v.ci[0]:.2f}, {v.ci[1]:.2f}]" if v.estimate is not None and v.ci else ""
            row.append(f"{v.verdict}{size} ({v.n_runs} runs)" + (f"; {v.note}" if kind == "mdm" and v.note else ""))
        rows.append(row)
    orders = [f"{clock_order(runs[(runs['architecture'] == kind) & (runs['rule'].map(rule_complexity) == 2)])}"
              for kind in FAMILIES]  # fmt: skip
    rows.append(["C6", "the same two clocks in each family, tau_rule before tau_mem at G = 2; offsets above", *orders])
    return markdown_table(["claim", "statement", *FAMILIES.values()], rows)


def _judged(runs: pd.DataFrame) -> list[ClaimVerdict]:
    """Verdicts on C1 to C5; all undecided, with the reason, where the runs cannot be judged."""
    table = known(known(runs, "tau_rule"), "tau_mem").reset_index(drop=True)
    try:
        return evaluate_claims(table)
    except ValueError as fault:
        return [undecided(name, "", len(table), str(fault)) for name in CLAIMS]


def _steps(table: pd.DataFrame, onset: str) -> str:
    median = median_onset(table, onset)
    return "unknown" if np.isnan(median) else f"{median:.0f}" if np.isfinite(median) else "not reached"


def _interval(row: pd.Series, onset: str) -> str:
    low, high = row[f"{onset}_lower"], row[f"{onset}_upper"]
    return f"({low:.0f}, {high:.0f}]" if np.isfinite(high) else f"after {low:.0f}"
