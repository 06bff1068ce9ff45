"""Does tau_mem depend on the rule more than in the paper because our grids are small?

    python -m twoclocks.paper_figures.studies.grid_size

Claim C3 says that tau_mem is about the same for all rules. On 4x6 grids it is not: a DiT begins to copy earlier under
G = 2, the one rule that it learns well before. But there G = 2 has only 4096 valid grids. If that is why, the rules
must draw together on larger grids. So the smallest DiT is trained on 6x6 grids, the paper's, at the same N; GPT's runs
on both are compared too, from the figures and from the study `gpt_claims`. Runs that have ended are kept. Writes
runs.csv, report.md, grids.png and provenance.json into results/grid_size; ``--report-only`` makes the report again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...empirics import RunConfig
from ...empirics.statistics.claims import ClaimVerdict, claim_rule_invariance
from ...empirics.statistics.runs_table import rule_complexity
from ...empirics.style import figure_style, new_figure
from ...empirics.text_tables import interval_text, markdown_table
from ...theory import rule as build_rule
from ..catalogue import parity, trained
from ..presets import Preset, preset
from ..shared.clock_plots import DASHES, MARKERS, draw_onsets, ordered_colour, plain_log_ticks, step_axis
from ..shared.clock_tables import median_onset, onset_table, rule_shape, steps_text
from ..shared.judging import FORMER_STUDY
from ..store import RESULTS as COMMITTED
from ..store import read_data, read_provenance, results_folder
from .command import Measured, run_study

COMMAND = "python -m twoclocks.paper_figures.studies.grid_size"
RESULTS = COMMITTED / "grid_size"
SHAPE = "6x6"
MOST_STEPS = 8000
"""On the larger grids; a run stops once it has memorized."""


def configs(scale: Preset) -> list[RunConfig]:
    """The smallest DiT at the smallest two N on the preset's grids, the figures' runs, and on larger ones."""
    kind, sizes = scale.dit, scale.dit.n_train[:2]
    larger = parity(replace(scale, shape=SHAPE), kind, scale.group_sizes, sizes)
    return [
        *parity(scale, kind, scale.group_sizes, sizes),
        *(replace(config, stop_when="memorized", steps=MOST_STEPS) for config in larger),
    ]


def gpt_runs() -> pd.DataFrame:
    """GPT-nano on both grids at the N that both have: the committed runs of Figure 10 and of `gpt_claims`."""
    small = read_data(results_folder("laptop", 10))["runs"]
    large = pd.read_csv(COMMITTED / "gpt_claims" / "runs.csv")
    both = sorted(set(small["n_train"]) & set(large["n_train"]))
    columns = ["model", "rule", "n_train", "seed", "tau_mem_lower", "tau_mem_upper"]
    table = pd.concat([small[columns], large[columns]], ignore_index=True)
    return table[(table["model"] == "gpt-nano") & table["n_train"].isin(both)].reset_index(drop=True)


def verdicts(table: pd.DataFrame) -> dict[tuple[str, str], ClaimVerdict]:
    """C3 by model and shape of the grids."""
    shapes = table["rule"].map(rule_shape)
    return {
        (str(model), str(shape)): claim_rule_invariance(part.reset_index(drop=True))
        for (model, shape), part in table.groupby([table["model"], shapes], sort=False)
    }


def write_report(folder: Path) -> None:
    """report.md and grids.png from runs.csv and the committed runs of GPT."""
    runs, facts = pd.read_csv(folder / "runs.csv"), read_provenance(folder)
    table = pd.concat([runs, gpt_runs()], ignore_index=True)
    found = verdicts(table)
    rules = list(dict.fromkeys(runs["rule"]))
    sizes = sorted(runs["n_train"].unique())
    medians = [
        [spec, f"{build_rule(spec).support_size:,}",
         *(steps_text(median_onset(runs[(runs["rule"] == spec) & (runs["n_train"] == n)], "tau_mem")) for n in sizes)]
        for spec in rules
    ]  # fmt: skip
    sections = [
        "# The size of the grids",
        f"`{COMMAND}`: {runs['model'].iloc[0]}, {len(runs)} runs, {runs['seed'].nunique()} seeds, "
        f"{facts['training_seconds']} s of training on one thread each; configs and versions in `provenance.json`. "
        "GPT's runs are those of Figure 10 and of the study `gpt_claims`, at the N that both have.",
        FORMER_STUDY,
        "Median tau_mem (steps) of DiT:",
        markdown_table(["rule", "valid grids", *(f"N = {n}" for n in sizes)], medians),
        "C3, the largest ratio of tau_mem between two of the rules (90%), wanted within 1.5:",
        markdown_table(
            ["model", "grids", "ratio", "verdict", "runs", "note"],
            [[model, shape, _ratio(v), v.verdict, str(v.n_runs), v.note] for (model, shape), v in found.items()],
        ),
        _conclusion(found),
        "![tau_mem against N by group size, on both grids](grids.png)",
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")
    with figure_style():
        draw(table).savefig(folder / "grids.png")


def _conclusion(found: dict[tuple[str, str], ClaimVerdict]) -> str:
    """For each model, whether the rules are closer on the larger grids, as far as the intervals tell."""
    parts = []
    for model in dict.fromkeys(model for model, _ in found):
        (small, one), (large, other) = [(shape, v) for (name, shape), v in found.items() if name == model]
        assert one.ci is not None
        assert other.ci is not None
        apart = other.ci[1] < one.ci[0] or one.ci[1] < other.ci[0]
        closer = (other.estimate or 0) < (one.estimate or 0)
        word = "closer together" if closer else "further apart"
        parts.append(
            f"in {model} the rules are {word} on {large} grids than on {small} ({_ratio(other)}, {_ratio(one)}"
            f"{'' if apart else ', though the intervals overlap'})"
        )
    return "Between the grids: " + "; ".join(parts) + "."


def draw(table: pd.DataFrame) -> Figure:
    """A panel for each model and shape: tau_mem against N, a marker for each group size, medians joined."""
    models = list(dict.fromkeys(table["model"]))
    shapes = table["rule"].map(rule_shape)
    columns = list(dict.fromkeys(shapes))
    figure, axes = new_figure(
        len(models), len(columns), 3.4 * len(columns) + 1.4, 2.9 * len(models) + 0.5, sharey="row"
    )
    sizes = sorted({rule_complexity(spec) for spec in table["rule"]})
    for row, model in zip(axes, models, strict=True):
        for ax, shape in zip(row, columns, strict=True):
            cell = table[(table["model"] == model) & (shapes == shape)]
            for k, G in enumerate(sizes):
                mine = cell[cell["rule"].map(rule_complexity) == G].reset_index(drop=True)
                at = mine["n_train"].to_numpy(float) * 1.05 ** (k - len(sizes) / 2 + mine["seed"].to_numpy() / 4)
                draw_onsets(ax, mine, "tau_mem", at, (ordered_colour(k, len(sizes)), MARKERS[k]), size=4)
                medians = mine.groupby("n_train").apply(median_onset, "tau_mem", include_groups=False)
                medians = medians.where(np.isfinite(medians))
                ax.plot(medians.index, medians, color=ordered_colour(k, len(sizes)), ls=DASHES[k], lw=1.2,
                        marker=MARKERS[k], markevery=[], label=f"G = {G}")  # fmt: skip
            ax.set(yscale="log", title=f"{model}, {shape}")
            plain_log_ticks(ax, sorted(set(cell["n_train"])))
            step_axis(ax.yaxis)
        row[0].set_ylabel(r"$\tau_{mem}$ (training steps)")
    for ax in axes[-1]:
        ax.set_xlabel("training samples N")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right center")
    return figure


def _ratio(verdict: ClaimVerdict) -> str:
    if verdict.estimate is None or verdict.ci is None:
        return "undecided"
    return interval_text(verdict.estimate, *verdict.ci)


def measure() -> Measured:
    """The runs at the laptop preset and on larger grids, and their onsets."""
    scale = preset("laptop")
    runs = list(trained(configs(scale), scale).values())
    return runs, {"runs": onset_table(runs, ("tau_mem",))}


if __name__ == "__main__":
    run_study(__doc__, RESULTS, COMMAND, measure, write_report)
