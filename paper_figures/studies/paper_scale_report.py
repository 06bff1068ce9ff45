"""The report on the paper's grid: both clocks over G, N and seeds, the claims by three criteria, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...empirics import fit_scaling
from ...empirics.onsets import CLOCKS
from ...empirics.statistics.runs_table import rule_complexity
from ...empirics.style import COLOURS, figure_style, new_figure
from ...empirics.text_tables import interval_text, markdown_table
from ..claims_table import claims_by_criterion_markdown, dependent_claims, evaluate_by_criterion
from ..shared.clock_plots import MARKERS, Colour, draw_onsets, ordered_colour, plain_log_ticks, step_axis
from ..shared.clock_statistics import clock_order
from ..shared.clock_tables import known, median_onset, steps_text
from ..shared.judging import HEADLINE
from ..shared.scaling_fits import POOLED, exponent_table

COMMAND = "python -m twoclocks.paper_figures.studies.paper_scale"
CLAIMED = ("C1", "C3", "C4", "C5")
"""Claims that one size of one architecture can decide."""


def write_report(folder: Path, planned: int) -> None:
    """report.md, claims.csv and clocks.png from runs.csv and evaluations.csv in a folder; nothing without runs.

    Args:
        folder: of the committed tables, see `committed.py`.
        planned: how many runs the grid has, for each model.
    """
    runs, evaluations = (pd.read_csv(folder / f"{name}.csv") for name in ("runs", "evaluations"))
    if runs.empty:
        return
    claims = pd.concat(
        [evaluate_by_criterion(mine).assign(model=model) for model, mine in runs.groupby("model")], ignore_index=True
    )
    claims = claims[claims["claim"].isin([f"{name} GPT" for name in CLAIMED])].reset_index(drop=True)
    claims.to_csv(folder / "claims.csv", index=False)
    sections = ["# The paper's grid", _runs_text(runs, planned)]
    for model, mine in runs.groupby("model"):
        table = claims[claims["model"] == model]
        sections += [
            f"## {model}",
            "\n".join(statements(mine)),
            "Verdicts by today's criterion of copying and by two others, with 95% intervals (C3: 90%); what each claim "
            "says and how it is tested is in `paper_figures/README.md`:",
            claims_by_criterion_markdown(table),
            f"The verdict depends on the criterion for {' and '.join(dependent_claims(table)) or 'none'}.",
            "\n".join(_notes(table)),
            "Exponents of tau_mem in N (95% profile likelihood):",
            _exponents(mine),
            "Every run, its clocks as intervals in training steps:",
            _every_run(mine),
        ]
        if (fit := _shared_fit(mine)) is not None:
            sections.append(f"The fit in full:\n\n```\n{fit}\n```")
    sections.append("![Both clocks and the window against N, and the curves of one group size](clocks.png)")
    (folder / "report.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    with figure_style():
        draw(runs, evaluations).savefig(folder / "clocks.png")


def statements(runs: pd.DataFrame) -> list[str]:
    """What the runs of one model show, a line each, with numbers."""
    sizes = sorted(set(runs["n_train"]))
    found = [f"- tau_rule comes before tau_mem in {clock_order(runs)}."]
    for G, table in runs.groupby(runs["rule"].map(rule_complexity)):
        ruled = table[np.isfinite(table["tau_rule_upper"])]
        medians = [median_onset(table[table["n_train"] == n], "tau_mem") for n in sizes]
        copied = ", ".join("not run" if np.isnan(m) else steps_text(m) for m in medians)
        ends = ruled["tau_rule_upper"]
        span = f" (by step {ends.min():.0f} to {ends.max():.0f})" if len(ruled) else ""
        found.append(
            f"- G = {G}: tau_rule in {len(ruled)} of {len(table)} runs{span}; median tau_mem {copied} at N = "
            f"{', '.join(map(str, sizes))}."
        )
    return found


def draw(runs: pd.DataFrame, evaluations: pd.DataFrame) -> Figure:
    """Clocks against N, the window against N, and curves of the largest N; a colour per group size.

    The window is tau_mem / tau_rule, from the geometric middles of both intervals.
    """
    figure, axes = new_figure(1, 4, 14.5, 3.9)
    groups = sorted({rule_complexity(spec) for spec in runs["rule"]})
    sizes = sorted(set(runs["n_train"]))
    for k, G in enumerate(groups):
        table = runs[runs["rule"].map(rule_complexity) == G].reset_index(drop=True)
        style = (ordered_colour(k, len(groups)), MARKERS[k])
        x = table["n_train"].to_numpy(float) * 1.05 ** (k - (len(groups) - 1) / 2)
        for ax, clock in zip(axes[0], CLOCKS, strict=False):
            draw_onsets(ax, table, clock, x, style)
            medians = [median_onset(table[table["n_train"] == n], clock) for n in sizes]
            seen = np.isfinite(medians)
            ax.plot(np.array(sizes)[seen], np.array(medians)[seen], color=style[0], lw=1, label=f"G = {G}")
        _draw_window(axes[0][2], table, sizes, style)
    for ax, title in zip(axes[0], (r"$\tau_{rule}$", r"$\tau_{mem}$", "innovation window"), strict=False):
        ax.set_yscale("log")
        plain_log_ticks(ax, sizes)
        ax.set_xlabel("N")
        ax.set_title(title)
    axes[0][2].axhline(1, color="0.5", lw=0.8, ls=":")
    for ax in axes[0][:2]:
        ax.set_ylabel("training steps")
    for ax in axes[0][:3]:
        step_axis(ax.yaxis)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(groups))
    _draw_curves(axes[0][3], runs, evaluations, groups)
    models, seeds = ", ".join(sorted(set(runs["model"]))), runs["seed"].nunique()
    figure.suptitle(f"{models}, parity on 6x6 grids, {len(runs)} runs, {seeds} seed{'s' * (seeds > 1)}")
    return figure


def _draw_window(ax: Axes, table: pd.DataFrame, sizes: list[int], style: tuple[Colour, str]) -> None:
    cells = [table[table["n_train"] == n] for n in sizes]
    medians = np.array([[median_onset(cell, clock) for clock in CLOCKS] for cell in cells])
    seen = np.isfinite(medians).all(1)
    ratios = medians[:, 1] / medians[:, 0]
    ax.plot(np.array(sizes)[seen], ratios[seen], color=style[0], marker=style[1], ms=4, lw=1)
    ax.set_ylabel(r"median $\tau_{mem}$ / median $\tau_{rule}$")


def _draw_curves(ax: Axes, runs: pd.DataFrame, evaluations: pd.DataFrame, groups: list[int]) -> None:
    """Rule accuracy (solid) and memorization (dashed) of the first seed at the largest N."""
    n, seed = runs["n_train"].max(), runs["seed"].min()
    for k, G in enumerate(groups):
        here = (runs["rule"].map(rule_complexity) == G) & (runs["n_train"] == n) & (runs["seed"] == seed)
        for name in runs.loc[here, "name"][:1]:
            mine = evaluations[evaluations["name"] == name]
            total = mine[["violating", "ambiguous", "novel_valid", "memorized"]].sum(axis=1)
            colour = ordered_colour(k, len(groups))
            ax.plot(mine["step"], (mine["novel_valid"] + mine["memorized"]) / total, color=colour)
            ax.plot(mine["step"], mine["memorized"] / total, color=colour, ls="--")
    ax.set_xscale("log")
    step_axis(ax.xaxis)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("training step")
    ax.set_title(f"N = {n}, seed {seed}: rule accuracy\n(solid) and memorization (dashed)", fontsize=9)
    ax.axhline(0.9, color=COLOURS["rule"], lw=0.6, ls=":")


def _runs_text(runs: pd.DataFrame, planned: int) -> str:
    counts = ", ".join(f"{len(mine)} of {planned} runs of {model}" for model, mine in runs.groupby("model"))
    versions = sorted({json.loads(text).get("torch", "") for text in runs["environment"]})
    precision = ", ".join(sorted(set(runs["precision"])))
    complete = (runs.groupby("model").size() == planned).all()
    missing = "" if complete else "What has not run is missing below, and the same command continues. "
    return (
        f"`{COMMAND}`: {counts}, on parity over 6x6 grids, the paper's own; {runs['seconds'].sum() / 3600:.1f} "
        f"core-hours of training on one thread each, in {precision}, torch {', '.join(versions)}, on a machine that "
        "others used. A run ends once it has copied in earnest, also without the rule where nearly all are copies, or "
        f"after 6000 steps. {missing}Configurations are in `runs.csv`, the counted generations of every evaluation in "
        "`evaluations.csv`."
    )


def _notes(claims: pd.DataFrame) -> list[str]:
    headline = claims[claims["criterion"] == HEADLINE].fillna({"note": ""})
    return [f"- {row['claim']}: {row['note']}" for _, row in headline.iterrows() if row["note"]]


def _exponents(runs: pd.DataFrame) -> str:
    rows = [[str(row["rule"]) if row["rule"] != POOLED else "all, one exponent",
             interval_text(row["exponent"], row["low"], row["high"]), str(row["n_runs"]), str(row["n_censored"])]
            for _, row in exponent_table(known(runs, "tau_mem")).iterrows()]  # fmt: skip
    return markdown_table(["rule", "exponent", "runs", "censored"], rows) if rows else "Too few runs for one."


def _shared_fit(runs: pd.DataFrame) -> str | None:
    """The summary of one exponent for all rules; None where the runs do not determine it."""
    try:
        return fit_scaling(known(runs, "tau_mem"), "tau_mem", "n_train", by=("rule",), n_boot=2000).summary()
    except ValueError:
        return None


def _every_run(runs: pd.DataFrame) -> str:
    rows = [
        [str(row["G"]), str(row["n_train"]), str(row["seed"]), *(_interval(row, clock) for clock in CLOCKS),
         str(row["steps"]), f"{row['null']:.2g}"]
        for _, row in runs.assign(G=runs["rule"].map(rule_complexity)).sort_values(["G", "n_train", "seed"]).iterrows()
    ]  # fmt: skip
    return markdown_table(["G", "N", "seed", *CLOCKS, "last step", "null of copying"], rows)


def _interval(row: pd.Series, clock: str) -> str:
    lower, upper = row[f"{clock}_lower"], row[f"{clock}_upper"]
    return f"({lower:.0f}, {upper:.0f}]" if np.isfinite(upper) else f"after {lower:.0f}"
