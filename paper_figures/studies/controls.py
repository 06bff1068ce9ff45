"""Controls: what becomes of the clocks without a rule, without locality, without a training set, at other settings.

    python -m twoclocks.paper_figures.studies.controls

Four populations of equally many 4x6 grids, 65,536 for GPT and 4,096 for DiT: group parity; the same with its cells
shuffled; random grids, which obey no rule; and group parity drawn afresh at every step, without a training set. Then
GPT on group parity over batch size, learning rate, averaging of the weights and N, each at two levels. At last, whether
time in units of a power of the learning rate is one time for both clocks, on the committed curves of Figures 24 and 26.
Runs that have ended are kept, and the report is made of those that there are: more can be added at any time. Writes
runs.csv, curves.csv, report.md, controls.png and provenance.json into results/controls; ``--report-only`` makes the
report again.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...empirics import Run, RunConfig, load_run
from ...empirics.statistics.aft import CensoredRegression
from ...empirics.statistics.ordered_trend import trend_test
from ...empirics.statistics.verdicts import p_phrase
from ...empirics.style import COLOURS, figure_style, new_figure
from ...empirics.sweeps.folders import run_name
from ...empirics.sweeps.sweep import ended_runs, sweep
from ...empirics.text_tables import interval_text, markdown_table
from ..presets import preset
from ..shared.clock_plots import step_axis
from ..shared.clock_tables import curve_table, median_onset, onset_table
from ..shared.judging import CRITERIA, HEADLINE, under
from ..shared.verdicts import LEVEL
from ..store import RESULTS as COMMITTED
from ..store import read_provenance, results_folder
from .command import Measured, run_study

COMMAND = "python -m twoclocks.paper_figures.studies.controls"
RESULTS = COMMITTED / "controls"
RUNS = Path("runs") / "controls"
ONLY_ENDED = "TWOCLOCKS_ONLY_ENDED"
"""Environment variable: where it is set, runs that have not ended are left for another call."""
POPULATIONS = {"rule": "the rule", "shuffled": "its cells shuffled", "random": "random grids", "online": "online"}
CONTROLS = {
    "gpt": {
        "rule": "parity:4x6,G=3",
        "shuffled": "shuffled:parity:4x6,G=3,seed=1",
        "random": "random:4x6,M=65536,seed=0",
    },
    "dit": {
        "rule": "parity:4x6,G=2",
        "shuffled": "shuffled:parity:4x6,G=2,seed=1",
        "random": "random:4x6,M=4096,seed=0",
    },
}
"""Populations of one size for each architecture, by what they are."""
N_TRAIN = {"gpt": 256, "dit": 24}
STEPS = {"gpt": 450, "dit": 2000}
FACTORS = {"n_train": (64, 256), "batch_size": (32, 128), "lr": (1e-3, 2e-3), "ema_halflife": (0.0, 50.0)}
WHOLE = 12
"""Runs of the factorial design from which on it is fitted: all at one N, and half of them at the other, tell all."""
NAMES = {"n_train": "N", "batch_size": "batch", "lr": "learning rate", "ema_halflife": "averaging, steps"}
FIELDS = ("batch_size", "lr", "ema_halflife", "online", "n_eval")
FORMER = "tau_mem_chance"
SWEEPS = {24: "DiT", 26: "GPT"}
"""Figures over the learning rate."""
COLOUR = {
    "rule": COLOURS["rule"],
    "shuffled": COLOURS["violating"],
    "random": COLOURS["cube"],
    "online": COLOURS["novel"],
}
DASH = {"rule": "-", "shuffled": "--", "random": "-.", "online": ":"}


def controls(kind: str, seed: int) -> list[RunConfig]:
    """The four populations, at the laptop preset's settings of an architecture; online is the rule's, afresh."""
    base = preset("laptop").architectures[kind]
    shared = {"n_train": N_TRAIN[kind], "steps": STEPS[kind], "seed": seed, "checkpoint_ratio": 1e6}
    made = [
        base.config(rule=spec, model=f"{kind}-nano", stop_when="copied", **shared) for spec in CONTROLS[kind].values()
    ]
    return [*made, replace(made[0], online=True, stop_when="never")]


def factorial(seed: int) -> list[RunConfig]:
    """GPT-nano on group parity, 2 x 2 x 2 x 2, each until it copies; more steps where they are small."""
    base = replace(
        preset("laptop").gpt.base, rule=CONTROLS["gpt"]["rule"], stop_when="copied", checkpoint_ratio=1e6, n_eval=256,
        eval_ratio=1.3,
    )  # fmt: skip
    return [
        replace(base, batch_size=int(batch), lr=rate, ema_halflife=average, n_train=int(n), seed=seed,
                steps=round(6 * n * (128 / batch) ** 0.5 * 1e-3 / rate) + 400)
        for n, batch, rate, average in itertools.product(*FACTORS.values())
    ]  # fmt: skip


def configs(seeds: int = 3) -> list[RunConfig]:
    """All runs, in the order in which they are worth having."""
    first = [*controls("gpt", 0), *factorial(0), *controls("gpt", 1), *controls("gpt", 2), *controls("dit", 0)]
    more = [run for seed in range(1, seeds) for run in (*controls("dit", seed), *factorial(seed))]
    return [*first, *more]


def population(run: pd.Series) -> str:
    """Which of `POPULATIONS` a row is of; empty for the factorial design."""
    if run["n_train"] != N_TRAIN[run["architecture"]] or run["n_eval"] != 512:
        return ""
    if run["online"]:
        return "online"
    return next(name for name, spec in CONTROLS[run["architecture"]].items() if spec == run["rule"])


def measure() -> Measured:
    """The runs, trained if they are missing unless `ONLY_ENDED` is set; their clocks and their curves."""
    wanted = configs()
    if os.environ.get(ONLY_ENDED):
        folders = [RUNS / run_name(config) for config in wanted]
        runs: list[Run] = [load_run(folder) for folder in folders if (folder / "result.json").exists()]
    else:
        runs = list(ended_runs(sweep(wanted, RUNS)))
    table = onset_table(runs, fields=FIELDS)
    best = [float(run.metrics["rule_accuracy"].max()) for run in runs]
    most = [float(run.metrics["memorization"].max()) for run in runs]
    table = table.assign(best_accuracy=best, most_copied=most, population=table.apply(population, axis=1))
    return runs, {"runs": table, "curves": curve_table(runs, ("rule_accuracy", "memorization", "loss"), FIELDS)}


def effects(table: pd.DataFrame, onset: str) -> pd.DataFrame:
    """Main effects on log onset of the factorial design, and what each adds to the exponent in N.

    A log-normal regression on interval-censored onsets. The exponent is that in N at the mean of the other factors; an
    interaction is the exponent at the factor's upper level less that at its lower one.

    Returns:
        term, estimate, low, high (95%, profile likelihood): ``N``, the exponent; for the others the ratio of the onset
        at the upper level to that at the lower, and ``N x factor``, the difference of exponents.
    """
    coded = {name: np.where(table[name] == levels[1], 0.5, -0.5) for name, levels in FACTORS.items()}
    log_n = np.log(table["n_train"].to_numpy(float))
    size = log_n - log_n.mean()
    names, columns = ["1", "N"], [np.ones(len(table)), size]
    for name in ("batch_size", "lr", "ema_halflife"):
        names += [name, f"N x {name}"]
        columns += [coded[name], size * coded[name]]
    with np.errstate(divide="ignore"):
        lower, upper = (np.log(table[f"{onset}_{end}"].to_numpy(float)) for end in ("lower", "upper"))
    regression = CensoredRegression(lower, upper, np.column_stack(columns))
    beta = regression.fit().beta[0]
    rows = []
    for k, name in enumerate(names[1:], 1):
        values = (float(beta[k]), *regression.profile_interval(k, 0.95))
        ratio = not name.startswith("N")
        estimate, low, high = np.exp(values) if ratio else values
        rows.append({"term": name, "estimate": float(estimate), "low": float(low), "high": float(high)})
    return pd.DataFrame(rows)


def rate_powers(number: int, criterion: str = HEADLINE) -> pd.DataFrame:
    """How each clock depends on the learning rate in a committed sweep: median onset ~ lr^-b where it is seen.

    Args:
        number: of the figure.
        criterion: of copying, one of `judging.CRITERIA`.

    If tau * lr^b were one time for both clocks, b would be one, and tau_mem / tau_rule the same at every rate.

    Returns:
        One row a learning rate at which both clocks are seen in half of the runs: lr, tau_rule, tau_mem (median steps),
        ratio; and, in ``attrs``, ``b``: for each clock its (b, low, high), 95% by profile likelihood over these runs,
        and ``trend``: the test that the ratio of a run's clocks changes with the rate, two-sided.
    """
    runs = under({"runs": pd.read_parquet(results_folder("laptop", number) / "runs.parquet")}, criterion)["runs"]
    rows = []
    for _, cell in runs.groupby("lr"):
        rule, mem = (median_onset(cell, name) for name in ("tau_rule", "tau_mem"))
        if np.isfinite(rule) and np.isfinite(mem):
            rows.append({"lr": float(cell["lr"].iloc[0]), "tau_rule": rule, "tau_mem": mem, "ratio": mem / rule})
    table = pd.DataFrame(rows, columns=["lr", "tau_rule", "tau_mem", "ratio"])
    powers = {}
    kept = runs[runs["lr"].isin(table["lr"])]
    if len(table) > 1:
        for name in ("tau_rule", "tau_mem"):
            with np.errstate(divide="ignore"):
                lower, upper = (np.log(kept[f"{name}_{end}"].to_numpy(float)) for end in ("lower", "upper"))
            design = np.column_stack([np.ones(len(kept)), -np.log(kept["lr"].to_numpy(float))])
            regression = CensoredRegression(lower, upper, design)
            powers[name] = (float(regression.fit().beta[0, 1]), *regression.profile_interval(1, 0.95))
        table.attrs["trend"] = _ratio_trend(kept)
    table.attrs["b"] = powers
    return table


def _ratio_trend(runs: pd.DataFrame) -> tuple[float, float]:
    """Two-sided p that tau_mem / tau_rule of a run changes with lr, and its floor; 1 where no two runs can be told."""
    low = (runs["tau_mem_lower"] / runs["tau_rule_upper"]).to_numpy(float)
    high = (runs["tau_mem_upper"] / runs["tau_rule_lower"].clip(lower=1)).to_numpy(float)
    rates, one = runs["lr"].to_numpy(float), np.zeros(len(runs))
    try:
        tests = [trend_test(low, high, sign * rates, one) for sign in (1.0, -1.0)]
    except ValueError:  # all intervals overlap
        return 1.0, 0.0
    best = min(tests, key=lambda test: test.p_value)
    return min(1.0, 2 * best.p_value), 2 * best.p_floor


def write_report(folder: Path) -> None:
    """report.md and controls.png from the tables beside it, and from those of Figures 24 and 26."""
    table = pd.read_csv(folder / "runs.csv", keep_default_na=False)
    curves = pd.read_csv(folder / "curves.csv")
    facts = read_provenance(folder)
    design = table[table["population"] == ""]
    sections = [
        "# Controls",
        f"`{COMMAND}`: {len(table)} runs of {len(configs())} planned, {facts['training_seconds']} s of training on one "
        "thread each, on cores that were busy with other work; configs and versions in `provenance.json`. The design "
        "was fixed before the runs; with one seed in most cells it describes, and tests only what the intervals say.",
        "## Without a rule, without locality, without a training set",
        "Median clocks in steps, seeds, best rule accuracy and largest memorization. A population of random grids has "
        "as many grids and no rule; shuffled is the same rule with its cells in other places; online runs draw fresh "
        "samples at every step, and are held against a training set that they never see as such:",
        _populations(table),
        _populations_say(table),
        "![Rule accuracy and memorization over training for the four populations](controls.png)",
        "## Batch, learning rate and averaging, apart",
        f"{len(design)} runs of GPT-nano on {CONTROLS['gpt']['rule']}: N {_levels('n_train')}, batch "
        f"{_levels('batch_size')}, learning rate {_levels('lr')}, averaging {_levels('ema_halflife')} steps. Ratios of "
        "the upper to the lower level; for N the exponent, and how much it differs between the levels (95%):",
        _effects(design) if len(design) >= WHOLE else f"To be fitted from {WHOLE} runs on; {len(design)} have ended.",
        "## Is lr-rescaled time one time for both clocks?",
        "Where both clocks are seen in half of the runs of a committed sweep: median steps and their ratio. With time "
        "in units of lr^-b the ratio would not depend on the learning rate:",
        *(
            text
            for number, name in SWEEPS.items()
            for which in (HEADLINE, FORMER)
            for text in _rates(number, name, which)
        ),
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")
    with figure_style():
        draw(table, curves).savefig(folder / "controls.png")


def _populations(table: pd.DataFrame) -> str:
    rows = []
    for (kind, name), cell in table[table["population"] != ""].groupby(["model", "population"], sort=False):
        rule, mem = (median_onset(cell, clock) for clock in ("tau_rule", "tau_mem"))
        rows.append([str(kind), POPULATIONS[str(name)], str(len(cell)), _steps(rule), _steps(mem),
                     f"{cell['best_accuracy'].max():.2f}", f"{cell['most_copied'].max():.2f}",
                     f"{cell['null'].median():.3f}"])  # fmt: skip
    header = ["model", "population", "seeds", "tau_rule", "tau_mem", "best accuracy", "most copied", "null"]
    return markdown_table(header, rows)


def _populations_say(table: pd.DataFrame) -> str:
    """What the populations show, in counts."""
    texts = []
    for model, part in table[table["population"] != ""].groupby("model", sort=False):
        seen = {}
        for name, cell in part.groupby("population", sort=False):
            counts = [int(np.isfinite(cell[f"{clock}_upper"]).sum()) for clock in ("tau_rule", "tau_mem")]
            seen[str(name)] = (*counts, len(cell))
        told = [f"{POPULATIONS[name]}: tau_rule in {rule} of {n} runs, tau_mem in {mem}"
                for name, (rule, mem, n) in seen.items()]  # fmt: skip
        texts.append(f"{model}: {'; '.join(told)}.")
    return " ".join(texts)


def _levels(name: str) -> str:
    return " and ".join(f"{level:g}" for level in FACTORS[name])


def _effects(design: pd.DataFrame) -> str:
    found = {clock: effects(design, clock).set_index("term") for clock in ("tau_rule", "tau_mem")}
    rows = []
    for term in found["tau_mem"].index:
        words = term
        for name, text in NAMES.items():
            words = words.replace(name, text)
        what = "exponent in N" if term == "N" else f"exponent: {words}" if term.startswith("N x") else f"ratio: {words}"
        rows.append([what, *(interval_text(*map(float, found[clock].loc[term, ["estimate", "low", "high"]]))
                             for clock in found)])  # fmt: skip
    told = [
        f"{clock} by {NAMES[term.removeprefix('N x ')]} ({interval_text(*row)})"
        for clock, table in found.items()
        for term, row in zip(table.index, table.to_numpy(float), strict=True)
        if term.startswith("N x") and not row[1] <= 0 <= row[2]
    ]
    text = (
        f"Exponents that differ between levels: {'; '.join(told) or 'none'}; three for each clock are looked at, "
        "without a correction. Two N cannot tell a power law from a start-up."
    )
    return f"{markdown_table(['', *found], rows)}\n\n{text}"


def _rates(number: int, name: str, criterion: str) -> list[str]:
    table = rate_powers(number, criterion)
    where = f"{name} (Figure {number}), clocks by {CRITERIA[criterion]}"
    if len(table) < 2:
        return [f"{where}: both clocks are seen at {len(table)} learning rate; it cannot be told."]
    rows = [[f"{r.lr:g}", f"{r.tau_rule:.0f}", f"{r.tau_mem:.0f}", f"{r.ratio:.1f}"] for r in table.itertuples()]
    b = {clock: interval_text(*found) for clock, found in table.attrs["b"].items()}
    p_value, floor = table.attrs["trend"]
    return [
        f"{where}:",
        markdown_table(["learning rate", "tau_rule", "tau_mem", "ratio"], rows),
        f"tau_rule ~ lr^-b with b = {b['tau_rule']}, tau_mem with b = {b['tau_mem']}; the ratio of a run's clocks "
        f"changes with the rate: {p_phrase(p_value, floor)} (permutation test of trend, two-sided). "
        + ("No single b serves both clocks." if p_value < LEVEL else "One b may serve both clocks."),
    ]


def _steps(step: float) -> str:
    return f"{step:.0f}" if np.isfinite(step) else "not seen"


def draw(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Accuracy and memorization over training of the populations, a row per architecture that has runs."""
    kinds = [kind for kind in CONTROLS if (table.loc[table["population"] != "", "architecture"] == kind).any()]
    figure, axes = new_figure(len(kinds), 2, 8.6, 3.1 * len(kinds) + 0.5)
    keys = ["model", "rule", "n_train", "seed", *FIELDS]
    for row, kind in zip(axes, kinds, strict=True):
        mine = table[(table["architecture"] == kind) & (table["population"] != "")]
        merged = curves.merge(mine[[*keys, "population"]], on=keys)
        for ax, metric in zip(row, ("rule_accuracy", "memorization"), strict=True):
            _draw(ax, merged, metric)
            ax.set_title(f"{mine['model'].iloc[0]}, N = {N_TRAIN[kind]}")
        row[0].axhline(0.9, color=COLOURS["chance"], lw=0.8, ls=(0, (1, 3)))
    axes[0][1].legend(loc="upper left")
    figure.suptitle("4x6 grids; a line per run", fontsize=9)
    return figure


def _draw(ax: Axes, curves: pd.DataFrame, metric: str) -> None:
    for name in POPULATIONS:
        for k, (_, curve) in enumerate(curves[curves["population"] == name].groupby("seed")):
            label = POPULATIONS[name] if k == 0 else None
            ax.plot(curve["step"], curve[metric], DASH[name], color=COLOUR[name], lw=1.3, label=label)
    ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel="training step", ylabel=metric.replace("_", " "))
    step_axis(ax.xaxis)


if __name__ == "__main__":
    run_study(__doc__, RESULTS, COMMAND, measure, write_report)
