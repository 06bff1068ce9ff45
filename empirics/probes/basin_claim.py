"""Claim C7 in numbers: valid basins expand around tau_rule, those of training samples dominate from tau_mem on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from ..onsets import Onset, detect_onset
from ..runs.run import Run
from ..statistics.claims import LEVEL, NEGLIGIBLE_RATIO, STATEMENTS, ClaimVerdict, Verdict
from ..statistics.resampling import percentile_interval, stratified_weights
from ..style import COLOURS, new_figure
from .basins import KIND_STYLES, OPTIMUM_STYLES, anchor_counts, basins_figure, return_fractions, run_basins
from .claim_parts import bootstrap_weights, compared_text, onset_of_draws, same_time, together
from .phases import LEARNED, affordable, by_denoiser, mark_clocks, outer_legend, run_title
from .probe import Probe, Tables
from .summary import RULE_HALF, RunSummary, run_summary

TEST = (
    "smallest ratio of returns, train over novel valid, from tau_mem on (bootstrap over anchors; p: t-test); over "
    "tau_rule, the step at which returns of novel valid grids are half way from the cube's to the rule's optimum"
)


def basin_ratios(table: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How much larger the basins of training samples are than those of novel valid grids, pooled over sigmas.

    The ratio is of the fractions that return to the anchor itself, (k + 1/2) / (n + 1) each, so that it stays finite.

    Args:
        table: from `run_basins`.
        n_boot: bootstrap draws of anchors.
        seed: of the bootstrap.

    Returns:
        One row a denoiser and step: train, novel_valid (fractions), ratio, its 95% bootstrap interval over anchors
        (low, high), and p_value, one-sided that train exceeds novel valid (Welch's t-test over anchors).
    """
    rows = []
    for denoiser, step, group in by_denoiser(table):
        train, novel = _returns(group, "train"), _returns(group, "novel valid")
        a, b = train["fraction"].var() / len(train), novel["fraction"].var() / len(novel)
        freedom = (a + b) ** 2 / (a**2 / (len(train) - 1) + b**2 / (len(novel) - 1)) if a + b else 1.0
        means = float(train["fraction"].mean()), float(novel["fraction"].mean())
        p_value = _p_above(means[0] - means[1], a + b, freedom)
        rows.append((denoiser, step, *means, *_ratio(train, novel, n_boot, seed), p_value))
    columns = ["denoiser", "step", "train", "novel_valid", "ratio", "low", "high", "p_value"]
    return pd.DataFrame(rows, columns=columns).astype({"step": "Int64"})


def claim_basins(table: pd.DataFrame, onsets: Mapping[str, Onset], n_boot: int = 2000, seed: int = 0) -> ClaimVerdict:
    """C7: basins of rule-valid samples expand around tau_rule; basins of training samples dominate from tau_mem on.

    Expansion: the ratio of `expansion_onset` to tau_rule lies within a factor `SAME_TIME` of 1 wherever in their
    intervals the two onsets are; it is refuted when it lies beyond wherever they are. Dominance: the ratio of
    `basin_ratios` at every kept step from tau_mem on, where the weakest counts, is significantly above 1; it is refuted
    when its whole interval lies below `NEGLIGIBLE_RATIO` and it is not. Both must hold.

    Args:
        table: from `run_basins`, with the cube and the rule optimum.
        onsets: the run's clocks, ``run.onsets``; with those of `RunSummary` the note compares with half accuracy too.
        n_boot: bootstrap draws of anchors.
        seed: of the bootstrap.

    Returns:
        The verdict on this one run; its intervals are over anchors and noise, not over training seeds. The estimate is
        the ratio of dominance; the note has the expansion, when dominance sets in, and the exact optima's values.
    """
    learned = table[table["denoiser"] == LEARNED]
    steps = np.array(sorted(set(learned["step"])), dtype=float)
    rule, mem = onsets["tau_rule"], onsets["tau_mem"]
    late = steps[steps >= mem.upper]
    needed = {"before tau_rule": steps[steps <= rule.lower], "from tau_mem on": late}
    reasons = [f"no weights kept {name}" for name, found in needed.items() if not len(found)]
    reasons += [f"no {name}" for name in _LEVELS if name not in set(table["denoiser"])]
    if reasons:
        return ClaimVerdict("C7", STATEMENTS["C7"], None, None, TEST, None, "undecided", 1, "; ".join(reasons))

    expansion = expansion_onset(table, n_boot, seed)
    ratios = basin_ratios(table, n_boot, seed)
    by_step = ratios[ratios["denoiser"] == LEARNED].sort_values("step")
    from_mem = by_step[by_step["step"] >= late[0]]
    weakest = from_mem.loc[from_mem["ratio"].idxmin()]
    dominance = float(weakest["ratio"]), float(weakest["low"]), float(weakest["high"])
    p_value = float(from_mem["p_value"].max())
    begins = detect_onset(steps, (by_step["p_value"] < LEVEL).to_numpy().astype(float), 1.0, patience=2)

    notes = [compared_text("valid basins expand", expansion, rule, "tau_rule")]
    if RULE_HALF in onsets:
        notes.append(compared_text("that is", expansion, onsets[RULE_HALF], "half rule accuracy"))
    notes += [
        f"smallest ratio at step {int(weakest['step'])}; above 1 (p < {LEVEL:g}) from step {begins}, tau_mem {mem}",
        *(
            f"{row['denoiser']}: novel valid {row['novel_valid']:.2f}, ratio {row['ratio']:.3g}"
            for _, row in ratios[ratios["denoiser"] != LEARNED].iterrows()
        ),
        "one run: intervals over anchors and noise",
    ]
    verdict = together([same_time(expansion, rule), _decide(dominance, p_value)])
    return ClaimVerdict(
        "C7", STATEMENTS["C7"], dominance[0], dominance[1:], TEST, p_value, verdict, 1, "; ".join(notes)
    )


def expansion_onset(table: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> Onset:
    """When basins of valid grids expand: their returns are half way from the cube optimum's to the rule optimum's.

    Args:
        table: from `run_basins`, with both optima.
        n_boot: bootstrap draws of anchors, shared by all denoisers, whose noise is the same.
        seed: of the bootstrap.

    Returns:
        The onset among the kept steps, as an interval that covers the evaluations and 95% of bootstrap draws.
    """
    novel = table[table["kind"] == "novel valid"]
    hits = novel.groupby(["denoiser", "step", "anchor"], dropna=False)["itself"].sum().unstack()
    learned = hits.loc[LEARNED].sort_index()
    weights = bootstrap_weights(learned.shape[1], n_boot, seed)
    level = sum(weights @ hits.loc[name].to_numpy(float).ravel() for name in _LEVELS) / len(_LEVELS)
    return onset_of_draws(learned.index.to_numpy(float), weights @ learned.to_numpy(float).T >= level[:, None])


def basin_ratio_figure(table: pd.DataFrame, run: Run) -> Figure:
    """`draw_basin_ratio` of a table from `run_basins`."""
    figure, (axes,) = new_figure(1, 2, 9.0, 3.9)
    title = draw_basin_ratio(axes, table, run_summary(run))
    outer_legend(figure, axes[:1], ncols=5)
    axes[0].set_title(" ", pad=15)  # room for the names of the clocks
    figure.suptitle(f"{run_title(run)}; {title}", fontsize=9)
    return figure


def draw_basin_ratio(axes: Sequence[Axes], table: pd.DataFrame, run: RunSummary) -> str:
    """Claim C7 in two panels: returns to the anchor pooled over sigmas, and their ratio, over training.

    Args:
        axes: two.
        table: from `run_basins`.
        run: gives the clocks.

    Returns:
        What a title must say: how many anchors and noises.
    """
    ax, right = axes
    ratios = basin_ratios(table)
    rows = ratios[ratios["denoiser"] == LEARNED].sort_values("step")
    steps = rows["step"].to_numpy(dtype=float)
    for kind, column in (("train", "train"), ("novel valid", "novel_valid")):
        colour, marker = KIND_STYLES[kind]
        ax.plot(steps, rows[column], color=COLOURS[colour], marker=marker, markersize=4, label=f"from {kind} grids")
        for optimum, style in OPTIMUM_STYLES.items():
            for level in ratios[ratios["denoiser"] == optimum][column]:
                ax.axhline(level, color=COLOURS[colour], ls=style, lw=1)
    for optimum, style in OPTIMUM_STYLES.items():
        ax.plot([], [], color="k", ls=style, lw=1, label=optimum)
    radii = ", ".join(f"{s:g}" for s in sorted(set(table["sigma"])))
    ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel="training step")
    ax.set_ylabel(f"returns to the anchor,\nmean over $\\sigma$ = {radii}")
    reach = np.stack([rows["ratio"] - rows["low"], rows["high"] - rows["ratio"]])
    right.errorbar(steps, rows["ratio"], reach, color="k", marker="o", markersize=4, elinewidth=1)
    right.axhline(1, color=COLOURS["rule"], ls="-.", lw=1.2)
    right.set(xscale="log", yscale="log", xlabel="training step")
    right.set_ylabel("ratio, training over novel valid\n(95% interval over anchors)")
    low, high = right.get_ylim()
    ticks = [t for t in (0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100, 300, 1000) if low <= t <= high]
    right.set_yticks(ticks, [f"{t:g}" for t in ticks])
    right.minorticks_off()
    for panel in (ax, right):
        mark_clocks(panel, run)
    return anchor_counts(return_fractions(table))


_LEVELS = ("cube optimum", "rule optimum")


def _returns(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """hits, draws and fraction of each anchor of a kind that return to it, over all sigmas, by anchor."""
    part = table[table["kind"] == kind].groupby("anchor")[["itself", "n_draws"]].sum()
    return pd.DataFrame(
        {"hits": part["itself"], "draws": part["n_draws"], "fraction": part["itself"] / part["n_draws"]}
    )


def _ratio(over: pd.DataFrame, under: pd.DataFrame, n_boot: int, seed: int) -> tuple[float, float, float]:
    """Ratio of fractions, each (k + 1/2) / (n + 1), with its 95% bootstrap interval over anchors."""
    rng = np.random.default_rng(seed)
    weights, others = (stratified_weights(np.zeros(len(part)), n_boot, rng) for part in (over, under))

    def level(returns: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
        return (weights @ returns["hits"].to_numpy() + 0.5) / (weights @ returns["draws"].to_numpy() + 1)

    estimate = level(over, np.ones((1, len(over)))) / level(under, np.ones((1, len(under))))
    return float(estimate[0]), *percentile_interval(level(over, weights) / level(under, others))


def _p_above(difference: float, variance: float, freedom: float) -> float:
    """One-sided p-value of a t-test that a mean difference is not positive; settled where nothing varies."""
    if variance == 0:
        return 0.0 if difference > 0 else 1.0
    return float(stats.t.sf(difference / math.sqrt(variance), freedom))


def _decide(ratio: tuple[float, float, float], p_value: float) -> Verdict:
    """From a ratio with its interval and the one-sided p-value of its excess over 1."""
    if p_value < LEVEL and ratio[1] > 1:
        return "supported"
    return "not supported" if ratio[2] < NEGLIGIBLE_RATIO else "undecided"


def _measure(run: Run) -> Tables:
    table = run_basins(run, optima=affordable(run, "cube optimum", "rule optimum", "training-set optimum"))
    return {"basins": table, "basin_ratios": basin_ratios(table)}


def _draw(tables: Tables, run: Run) -> dict[str, Figure]:
    table = tables["basins"]
    return {"basins": basins_figure(table, run), "basin_ratio": basin_ratio_figure(table, run)}


PROBES = (
    Probe("basins", "How far noise may carry a grid and be brought back to it", _measure, _draw, ("gaussian",),
          judge=lambda tables, run: [claim_basins(tables["basins"], run.onsets)]),
)  # fmt: skip
