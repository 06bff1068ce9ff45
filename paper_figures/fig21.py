"""Figure 21: both clocks for binary rules beyond parity.

The paper trains DiT-mini on 6x6 samples with N = 4096 under parity, exact-K, row-K, row-variable-K and global-K rules:
A all rules' tau_rule (accuracy >= 0.9) and tau_mem (memorization above baseline); B to E each family against K. Ours
does so with the preset's grid and smallest DiT, one interval per run; beyond parity, until both clocks are known. N is
that of the sweeps: at the reference N few runs copy before they end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..empirics import Run, RunConfig
from ..empirics.onsets import CLOCKS
from ..empirics.statistics.claims import claim_rule_invariance
from ..empirics.style import COLOURS
from .catalogue import parity, rules
from .presets import Preset
from .shared.clock_plots import draw_clocks, onset_legend
from .shared.clock_statistics import answer_of, clock_order, tested
from .shared.clock_tables import onset_table, rule_shape
from .store import Data

PAPER = (
    "Both clocks of every binary rule against K. The caption's conclusion is cut off; tested is what the paper says of "
    "rules elsewhere, that tau_mem is about the same for all (C3)."
)
MISSING = (
    "the paper's mini model, 6x6 grids and N = 4096; a third seed of rules beyond parity; a larger N, at which more "
    "rules are learned before copying: at N = 96 few runs copy within 7680 steps"
)
SEEDS = 2
"""Of each rule beyond parity."""
FAMILIES = {
    "parity": "group size G",
    "exact-k": "ones in the grid, K",
    "row-k": "ones in each row, K",
    "global-k": "allowed ones in the grid, K list",
    "row-variable-k": "allowed ones in each row, K list",
}


def configs(preset: Preset) -> list[RunConfig]:
    n_train = preset.dit.sweep_n
    beyond = rules(preset, preset.binary_rules, n_train, seeds=min(SEEDS, preset.seeds))
    return [
        *parity(preset, preset.dit, preset.group_sizes, [n_train]),
        *(replace(config, stop_when="both") for config in beyond),
    ]


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    support = [float(run.rule.support_size) for run in runs]
    return {"runs": onset_table(runs).assign(support_size=support)}


def plot(data: Data) -> Figure:
    runs = _with_family(data["runs"])
    present = [name for name in FAMILIES if (runs["family"] == name).any()]
    figure = Figure(figsize=(11, 6.6))
    others = [name for name in present if name != "parity"] or present
    layout: list[Any] = [["all"] * len(others), others]
    axes = figure.subplot_mosaic(layout, sharey=True)
    everything = list(dict.fromkeys(runs.sort_values("order", kind="stable")["rule"]))
    labels = [f"{_family(rule)}\n{_parameter(rule)}".replace("row-variable", "row-var.") for rule in everything]
    draw_clocks(axes["all"], runs, "rule", everything, labels, CLOCKS, joined=False)
    axes["all"].tick_params(axis="x", labelsize=6.5)
    _say_not_learned(axes["all"], runs, everything)
    axes["all"].set_title(f"A. all rules{_why_not_learned(runs)}", loc="left", pad=20)
    axes["all"].set_ylabel("training step")
    for letter, family in zip("BCDE", others, strict=False):
        _draw_family(axes[family], runs[runs["family"] == family].reset_index(drop=True), letter)
    axes[others[0]].set_ylabel("training step")
    onset_legend(figure, CLOCKS)
    first, seeds = runs.iloc[0], sorted(set(runs.groupby("rule")["seed"].nunique()))
    figure.suptitle(
        f"{first['model']} on {rule_shape(first['rule'])} binary grids, N = {first['n_train']}; "
        f"{' or '.join(map(str, seeds))} seeds per rule",
        fontsize=10,
    )
    return figure


def measured(data: Data) -> str:
    runs = data["runs"]
    seen = (runs["tau_mem_lower"] > 0) & np.isfinite(runs["tau_mem_upper"])
    copied = runs[runs["rule"].isin(runs["rule"][seen])]
    learned = runs.loc[np.isfinite(runs["tau_rule_upper"]), "rule"].nunique()
    order = clock_order(runs)
    total = runs["rule"].nunique()
    text = f"{total} rules, {len(runs)} runs: tau_rule seen for {learned} rules, and before tau_mem in {order}"
    invariance = tested(claim_rule_invariance, copied)
    if invariance.estimate is None or invariance.ci is None:
        return f"{text}; tau_mem seen for {copied['rule'].nunique()} rules ({invariance.note}); undecided"
    size = f"x{invariance.estimate:.2f} [{invariance.ci[0]:.2f}, {invariance.ci[1]:.2f}]"
    return (
        f"{text}; largest ratio of tau_mem between two of {copied['rule'].nunique()} rules {size} (90% CI; "
        f"{invariance.note}), within x1.5 everywhere: {answer_of([invariance])}"
    )


def _say_not_learned(ax: Axes, runs: pd.DataFrame, everything: list[str]) -> None:
    """Above each rule that not all seeds learn, how many do."""
    for k, rule in enumerate(everything):
        seen = np.isfinite(runs.loc[runs["rule"] == rule, "tau_rule_upper"])
        if not seen.all():
            text = f"learned by\n{seen.sum()} of {len(seen)}"
            ax.annotate(text, (k, 1.01), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=6.5,
                        color=COLOURS["rule"])  # fmt: skip


def _why_not_learned(runs: pd.DataFrame) -> str:
    """Of the runs without tau_rule, how long they were and how many have begun to copy: for a title."""
    unlearned = runs[np.isinf(runs["tau_rule_upper"])]
    if unlearned.empty:
        return ""
    copied = int(np.isfinite(unlearned["tau_mem_upper"]).sum())
    return (
        rf"; blue arrows: {len(unlearned)} runs do not obey their rule in {int(unlearned['last_step'].max())} steps; "
        rf"{copied} of them have begun to copy by then ($\tau_{{mem}}$)"
    )


def _draw_family(ax: Axes, table: pd.DataFrame, letter: str) -> None:
    family = table["family"].iloc[0]
    values = list(dict.fromkeys(table.sort_values("order", kind="stable")["rule"]))
    draw_clocks(ax, table, "rule", values, [_parameter(rule).partition("=")[2] for rule in values], CLOCKS)
    ax.set_xlabel(FAMILIES[family])
    ax.set_title(f"{letter}. {family}", loc="left")


def _with_family(runs: pd.DataFrame) -> pd.DataFrame:
    """With columns family and order: by family, then as listed (parity by G, K ascending, lists as the preset's)."""
    family = runs["rule"].map(_family)
    listed = {rule: k for k, rule in enumerate(dict.fromkeys(runs["rule"]))}
    order = family.map({name: 1000 * k for k, name in enumerate(FAMILIES)}) + runs["rule"].map(listed)
    return runs.assign(family=family, order=order)


def _family(spec: str) -> str:
    return spec.partition(":")[0]


def _parameter(spec: str) -> str:
    """Such as K=1,3 of row-variable-k:4x6,K=1+3."""
    return spec.partition(":")[2].partition(",")[2].replace("+", ",")
