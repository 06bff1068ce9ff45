"""Does DiT's exponent of tau_mem in N exceed 1 because its smallest network is short of capacity?

    python -m twoclocks.paper_figures.studies.network_size

A network that can hardly hold N samples may need more passes for each of them the more there are: then the exponent
must fall to about 1 in a larger network. In the figures' runs it does, but the larger network trains at a learning rate
of its own, so the smallest is trained here at that rate too. Size is the reason if its exponent stays; the learning
rate, if it falls. Runs that have ended are kept. Writes runs.csv, report.md, exponents.png and provenance.json into
results/network_size; ``--report-only`` makes the report again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ...empirics import RunConfig, fit_scaling
from ...empirics.statistics.runs_table import model_capacity
from ...empirics.style import figure_style, new_figure
from ...empirics.text_tables import interval_text, markdown_table
from ..catalogue import parity, scaling, trained
from ..presets import Preset, preset
from ..shared.clock_plots import DASHES, MARKERS, draw_onsets, ordered_colour, plain_log_ticks, step_axis
from ..shared.clock_tables import median_onset, onset_table
from ..shared.judging import FORMER_STUDY
from ..shared.scaling_fits import equal_exponents_p, shared_exponent
from ..store import read_provenance
from .command import Measured, run_study

COMMAND = "python -m twoclocks.paper_figures.studies.network_size"
RESULTS = Path(__file__).parents[1] / "results" / "network_size"
MOST_STEPS = 24_000
"""Of the smallest network at the larger one's learning rate, which is lower; it stops once it has memorized."""


def configs(scale: Preset) -> list[RunConfig]:
    """The figures' DiT runs of both sizes at one rule and the same N, and the smallest at the other's learning rate."""
    kind = scale.dit
    smallest, larger = kind.sizes[:2]
    rule = f"parity:{scale.shape},G={kind.group_size}"
    figures = [c for c in scaling(scale, kind) if c.rule == rule and c.n_train in kind.capacity_n_train]
    control = [
        replace(config, lr=kind.own_lr[larger], steps=MOST_STEPS, stop_when="memorized")
        for config in parity(scale, kind, [kind.group_size], kind.capacity_n_train)
    ]
    return [*(c for c in figures if c.model in (smallest, larger)), *control]


def with_kind(runs: pd.DataFrame) -> pd.DataFrame:
    """With a column kind, the network and its learning rate; the larger network last."""
    runs = runs.assign(kind=[f"{model}, {lr:g}" for model, lr in zip(runs["model"], runs["lr"], strict=True)])
    return runs.sort_values("model", key=lambda names: names.map(model_capacity), kind="stable").reset_index(drop=True)


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Exponents of tau_mem in N with 95% profile-likelihood intervals: columns kind, exponent, low, high."""
    rows = [(kind, *shared_exponent(part)) for kind, part in table.groupby("kind", sort=False)]
    return pd.DataFrame(rows, columns=["kind", "exponent", "low", "high"])


def comparisons(table: pd.DataFrame) -> tuple[float, float]:
    """p of equal exponents in both sizes at one learning rate, and at both learning rates in the smallest."""
    larger = table["model"].iloc[-1]
    own_lr = table.loc[table["model"] == larger, "lr"].iloc[0]
    same_lr, same_size = table[table["lr"] == own_lr], table[table["model"] != larger]
    return equal_exponents_p(same_lr, "n_train", "kind"), equal_exponents_p(same_size, "n_train", "kind")


def write_report(folder: Path) -> None:
    """report.md and exponents.png beside runs.csv, from it alone."""
    table = with_kind(pd.read_csv(folder / "runs.csv"))
    facts = read_provenance(folder)
    fits = exponents(table)
    sizes = sorted(table["n_train"].unique())
    medians = {key: f"{median_onset(cell, 'tau_mem'):.0f}" for key, cell in table.groupby(["kind", "n_train"])}
    p_size, p_lr = comparisons(table)
    sections = [
        "# The size of the network",
        f"`{COMMAND}`: DiT on {table['rule'].iloc[0]}, {len(table)} runs, {table['seed'].nunique()} seeds, "
        f"{facts['training_seconds']} s of training on one thread each; configs and versions in `provenance.json`.",
        FORMER_STUDY,
        "Median tau_mem (steps), and its exponent in N (95% profile likelihood):",
        markdown_table(
            ["network, learning rate", *(f"N = {n}" for n in sizes), "exponent"],
            [
                [row["kind"], *(medians[row["kind"], n] for n in sizes),
                 interval_text(row["exponent"], row["low"], row["high"])]
                for row in fits.to_dict("records")
            ],
        ),
        f"Equal exponents in both sizes at the same learning rate: p = {p_size:.2g}; at both learning rates in "
        f"{table['model'].iloc[0]}: p = {p_lr:.2g} (likelihood ratio).",
        _conclusion(p_size, p_lr),
        "![tau_mem against N for each network and learning rate](exponents.png)",
    ]  # fmt: skip
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")
    with figure_style():
        draw(table, fits).savefig(folder / "exponents.png")


def _conclusion(p_size: float, p_lr: float) -> str:
    """What explains the exponent above 1."""
    size, lr = p_size < 0.05, p_lr < 0.05
    if size and not lr:
        return "The exponent depends on the size of the network, not noticeably on its learning rate."
    if lr and not size:
        return "The exponent depends on the learning rate; at the same one, size makes no noticeable difference."
    if size and lr:
        return "The exponent depends on the size of the network and on its learning rate."
    return (
        "Neither size at the same learning rate nor the learning rate alone makes a noticeable difference: undecided."
    )


def draw(table: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """tau_mem over N, a marker for each network and learning rate, with the fitted power laws."""
    figure, ((ax,),) = new_figure(1, 1, 5.6, 4.2)
    for k, row in enumerate(fits.to_dict("records")):
        colour, marker, dash = ordered_colour(k, len(fits)), MARKERS[k], DASHES[k]
        cell = table[table["kind"] == row["kind"]].reset_index(drop=True)
        shift = 1.04 ** (k - 1 + (cell["seed"].to_numpy() - 1) / 4)
        draw_onsets(ax, cell, "tau_mem", cell["n_train"].to_numpy(float) * shift, (colour, marker), size=4.5)
        sizes = sorted(cell["n_train"].unique())
        fit = fit_scaling(cell, "tau_mem", n_boot=0, by=())
        label = f"{row['kind']}: {interval_text(row['exponent'], row['low'], row['high'])}"
        ax.plot(sizes, fit.predict(sizes), color=colour, ls=dash, lw=1.3, marker=marker, markevery=[], label=label)
    ax.set(xscale="log", yscale="log", xlabel="training samples N", ylabel=r"$\tau_{mem}$ (training steps)")
    plain_log_ticks(ax, sorted(set(table["n_train"])))
    step_axis(ax.yaxis)
    ax.legend(title="network, learning rate: exponent (95% interval)", title_fontsize=8, fontsize=8, loc="upper left")
    ax.set_title(f"{table['rule'].iloc[0]}, {table['seed'].nunique()} seeds")
    return figure


def measure() -> Measured:
    """The runs at the laptop preset, and their onsets."""
    scale = preset("laptop")
    runs = list(trained(configs(scale), scale).values())
    return runs, {"runs": onset_table(runs, ("tau_mem",), ("lr",))}


if __name__ == "__main__":
    run_study(__doc__, RESULTS, COMMAND, measure, write_report)
