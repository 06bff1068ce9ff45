"""The report on the sweep of `gpt_claims`, from its committed data alone.

Writes report.md and scaling.png, and the tables clocks.csv, clocks.tex (all clocks by cell), scaling.tex (the fit to
tau_mem), ngram.csv (the n-gram control, a row per run and order) and sampling.csv (bootstrapped onsets, a row per run).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...empirics import (
    CRITERIA,
    cells_to_latex,
    cells_to_markdown,
    claims_to_markdown,
    clocks_by_cell,
    evaluate_claims,
    fit_scaling,
    ngram_control,
    onset_bootstrap,
    permutation_control,
)
from ...empirics.criteria import FORMER
from ...empirics.data import training_set
from ...empirics.onsets import CLOCKS
from ...empirics.state_counts import STATES
from ...empirics.statistics.runs_table import onset_names
from ...empirics.statistics.verdicts import p_phrase
from ...empirics.style import figure_style, new_figure
from ...empirics.text_tables import markdown_table
from ...theory import rule as build_rule
from ..shared.scaling_fits import shared_exponent

RUN = ["rule", "model", "n_train", "seed"]


class Data(NamedTuple):
    """The committed tables of the sweep."""

    runs: pd.DataFrame
    evaluations: pd.DataFrame
    diversity: pd.DataFrame


JUDGED_AGAIN = (
    "These clocks are by the former criteria (tau_mem: memorization significantly above chance; tau_rule: copies "
    "counted). The runs stopped once both had struck; their curves are judged again, as far as they go, in "
    "`results/rejudged/report.md`."
)
"""What the report says of its clocks."""


def write_report(results: Path) -> None:
    """Make the report of the data in a folder, beside them."""
    data = Data(*(pd.read_csv(results / f"{name}.csv") for name in Data._fields))
    facts = json.loads((results / "provenance.json").read_text())
    runs = data.runs
    fit = fit_scaling(runs, onset="tau_mem", x="n_train", by=("model", "rule"))
    separate = fit_scaling(runs, onset="tau_mem", x="n_train", by=("model", "rule"), slope="separate")
    cells = clocks_by_cell(runs)
    ngram, sampling = ngram_table(data), sampling_table(data)
    cells.to_csv(results / "clocks.csv", index=False)
    ngram.to_csv(results / "ngram.csv", index=False)
    sampling.to_csv(results / "sampling.csv", index=False)
    (results / "clocks.tex").write_text(cells_to_latex(cells) + "\n")
    (results / "scaling.tex").write_text(fit.to_latex() + "\n")
    sections = [
        "# Both clocks of GPT-nano on group parity",
        f"`python -m twoclocks.paper_figures.studies.gpt_claims`: {facts['runs']} runs, "
        f"{facts['training_seconds']} s of training on one thread each; every config in `runs.csv`; versions "
        f"`{json.dumps(facts)}`.",
        JUDGED_AGAIN,
        f"## Claims\n\n{claims_to_markdown(evaluate_claims(runs))}",
        "## tau_mem against N",
        f"{fit.to_markdown()}\n\n```\n{fit.summary()}\n```\n\n![tau_mem against N](scaling.png)",
        f"One exponent for each rule:\n\n{separate.to_markdown()}",
        f"## Clocks by cell\n\n{_clocks_section(data, cells)}",
        f"## Sampling uncertainty of the clocks\n\n{_sampling_section(runs, sampling)}",
        f"## Control: local statistics\n\n{_ngram_section(runs, ngram, data.evaluations)}",
        f"## Control: diversity of the novel valid samples\n\n{_diversity_section(data.diversity)}",
        f"## Control: shuffled labels\n\n{_permutation_section(runs)}",
    ]
    (results / "report.md").write_text("\n\n".join(sections) + "\n")
    with figure_style():
        figure, axes = new_figure(1, 1, 6.4, 4.6)
        fit.plot(axes[0][0])
        flags = "".join(f"\n{failure}" for failure in fit.failures if "law" in failure or "exponents" in failure)
        axes[0][0].set_title(f"gpt-nano, parity on 6x6 grids, 3 seeds a point{flags}")
        figure.savefig(results / "scaling.png")


def ngram_table(data: Data) -> pd.DataFrame:
    """The n-gram control of every run, with all orders below G."""
    tables = []
    for _, run in data.runs.iterrows():
        rule = build_rule(run["rule"])
        train = training_set(rule, run["n_train"], run["seed"])
        table = ngram_control(rule, train, _evaluations_of(run, data), range(rule.groups.shape[1]))
        tables.append(pd.concat([pd.DataFrame([run[RUN]] * len(table)).reset_index(drop=True), table], axis=1))
    return pd.concat(tables, ignore_index=True)


def criterion_of(runs: pd.DataFrame, onset: str) -> str:
    """The criterion of an onset of a runs table: clocks measured before there was a null of copying are `FORMER`."""
    return onset if "null" in runs else FORMER.get(onset, onset)


def sampling_table(data: Data) -> pd.DataFrame:
    """Bootstrapped clocks of every run: a runs table with the widened intervals, and the share of censored draws."""
    rows = []
    for _, run in data.runs.iterrows():
        row = run[RUN].to_dict()
        for name in CLOCKS:
            criterion = criterion_of(data.runs, name)
            drawn = onset_bootstrap(_evaluations_of(run, data), criterion, run["chance"], null=run.get("null"))
            row |= {f"{name}_lower": drawn.lower, f"{name}_upper": drawn.upper}
            row[f"{name}_censored_fraction"] = drawn.censored_fraction
        rows.append(row)
    return pd.DataFrame(rows)


def _cells(table: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    for (rule, n_train), cell in table.groupby(["rule", "n_train"]):
        yield str(rule), int(str(n_train)), cell


def _evaluations_of(run: pd.Series, data: Data) -> pd.DataFrame:
    table = data.evaluations
    return table[(table[RUN] == run[RUN]).all(axis=1)].reset_index(drop=True)


def _evaluations_at(runs: pd.DataFrame, onset: str, evaluations: pd.DataFrame) -> pd.DataFrame:
    """The evaluation of each run at which an onset came, where it did."""
    at = runs[[*RUN, f"{onset}_upper"]].rename(columns={f"{onset}_upper": "step"})
    return evaluations.astype({"step": float}).merge(at, on=[*RUN, "step"])


def _clocks_section(data: Data, cells: pd.DataFrame) -> str:
    runs, rows = data.runs, []
    for name in onset_names(runs):
        late = np.isinf(runs[f"{name}_upper"])
        described = CRITERIA[criterion_of(runs, name)].describe
        rows.append([name, described, str(int((~late).sum())), str(int(late.sum()))])
    summary = markdown_table(["onset", "criterion", "seen in runs", "censored"], rows)
    closing = _evaluations_at(runs, "window_closes", data.evaluations)
    by_copying = int((closing["memorized"] >= 0.1 * closing[list(STATES)].sum(axis=1)).sum())
    return (
        f"{summary}\n\n"
        "The runs ended once tau_rule and tau_mem were known, or at step 3000. For these two, censoring is by the "
        "step limit alone. The others are often cut off by the stop itself, which depends on tau_mem: such censoring "
        "is informative, so no law is fitted to them. A run that copies before it obeys has no window at all; its "
        f"window edges are listed as censored, but would never come. Of the {len(closing)} windows that closed in "
        f"sight, {by_copying} closed by memorization, the others because accuracy fell to 0.9 again.\n\n"
        "Median over 3 seeds, then the range of all where it is wider, in steps:\n\n"
        f"{cells_to_markdown(cells)}"
    )


def _sampling_section(runs: pd.DataFrame, sampling: pd.DataFrame) -> str:
    rows = []
    for name in CLOCKS:
        seen = np.isfinite(runs[f"{name}_upper"]) & (runs[f"{name}_lower"] > 0)
        grid = np.log(runs[f"{name}_upper"] / runs[f"{name}_lower"])[seen]
        wide = np.log(sampling[f"{name}_upper"] / sampling[f"{name}_lower"])[seen]
        ratio = wide / grid
        open_ended = np.isinf(wide)
        rows.append(
            [
                name,
                str(int(seen.sum())),
                f"{np.median(ratio):.2f}",
                str(int((ratio < 1.001).sum())),
                str(int(open_ended.sum())),
                f"{np.median(ratio[~open_ended]):.2f}",
            ]
        )
    header = ["onset", "runs that saw it", "median width ratio", "not widened", "open upwards", "median of the others"]
    exponent, low, high = shared_exponent(sampling, by=("model", "rule"))
    return (
        "Each evaluation generated 512 samples. 2000 resamples of them move an onset; the widened interval holds the "
        "one between evaluations and the central 95% of the resamples'. Its width in log steps, relative to that of "
        f"the evaluation grid alone:\n\n{markdown_table(header, rows)}\n\n"
        "An interval is open upwards when more than 2.5% of the resamples miss the onset before the run ends: the runs "
        "ended at the evaluation that confirmed their clocks, so a resample that misses it has no later one to catch. "
        "A longer run would close most of these. "
        f"With the widened intervals in place of the grid's, the exponent of tau_mem is {exponent:.3f} "
        f"[{low:.3f}, {high:.3f}]."
    )


def _ngram_section(runs: pd.DataFrame, ngram: pd.DataFrame, evaluations: pd.DataFrame) -> str:
    local = ngram[ngram["order"] < ngram["rule"].str.extract(r"G=(\d+)")[0].astype(int) - 1]
    strongest = local.loc[local.groupby(RUN)["beaten_upper"].idxmax()]  # of a run, the local model it beat last
    table = strongest.merge(runs[[*RUN, "tau_rule_upper"]], on=RUN)
    at_rule = _evaluations_at(runs, "tau_rule", evaluations)
    novel = at_rule[["novel_valid", "violating", "ambiguous"]].sum(axis=1)
    at_rule = at_rule.assign(novel_accuracy=at_rule["novel_valid"] / novel.where(novel > 0))
    rows = []
    for rule, n_train, cell in _cells(table):
        seen = np.sort(cell["beaten_upper"])
        these = at_rule[(at_rule["rule"] == rule) & (at_rule["n_train"] == n_train)]["novel_accuracy"]
        rows.append(
            [
                rule,
                str(n_train),
                f"{cell['law'].iloc[0]:.2g}",
                f"{local[(local['rule'] == rule) & (local['n_train'] == n_train)]['train'].max():.2g}",
                f"{int(np.isfinite(seen).sum())} of {len(seen)}",
                f"{np.median(seen):g}",
                f"{np.median(cell['tau_rule_upper']):g}",
                f"{these.median():.3f} ({len(these)})" if len(these) else "",
            ]
        )
    header = ["rule", "N", "law, k < G-1", "training set, k < G-1", "runs that beat both", "by step",
              "tau_rule, by step", "P(valid, if novel) at tau_rule (runs)"]  # fmt: skip
    return (
        "The best Markov models of order k, of the rule's law and of the training set, against the runs; accuracy is "
        "among the generations that are not in the training set, for a model that copies obeys too. Below k = G - 1 "
        "a window of the law is fair coins, and its model obeys with probability 2^(-36/G), exactly; that of the "
        "training set is exact too, and the largest of its orders and seeds is shown. From k = G - 1 on both obey "
        "always. A run beats them when it exceeds every order below G - 1 with p < 1e-3 at two evaluations in a row; "
        f"steps are medians over seeds, and inf is never.\n\n{markdown_table(header, rows)}\n\n"
        "Where the last column is far below 0.9, the run reached tau_rule by copying: most of its generations are "
        "training samples, and the novel ones mostly break the rule. All orders of all runs are in `ngram.csv`."
    )


def _diversity_section(diversity: pd.DataFrame) -> str:
    rows = []
    for rule, n_train, cell in _cells(diversity):
        rows.append(
            [
                rule,
                str(n_train),
                f"{cell['n_novel_valid'].median():g}",
                f"{cell['distinct_fraction'].median():.3f}",
                f"{cell['distinct_expected'].median():.3f}",
                str(int((cell["distinct_p_value"] < 0.01).sum())),
                f"{cell['hamming'].median():.2f}",
                f"{cell['hamming_expected'].median():.2f}",
                f"{np.median([_marginal_distance(rule, n_train, seed) for seed in cell['seed']]):.2f}",
                str(int((cell["hamming_p_value"] < 0.01).sum())),
            ]
        )
    header = ["rule", "N", "novel valid", "distinct", "expected", "runs p < 0.01", "Hamming distance", "expected",
              "by training marginals", "runs p < 0.01"]  # fmt: skip
    return (
        "At the evaluation of each run with the most novel valid samples among its 512: the share of distinct ones, "
        "and the mean number of cells in which two of them differ, beside the exact expectations for independent draws "
        "from the rule's law outside the training set; medians over 3 seeds. The p-values are one-sided, for more "
        "repetition, and for less distance, than such draws show. A model whose cells have the marginals of its "
        "training set, and which errs in nothing else, would come to the distance by training marginals.\n\n"
        f"{markdown_table(header, rows)}"
    )


def _marginal_distance(spec: str, n_train: int, seed: int) -> float:
    """Mean Hamming distance of independent draws that share the training set's single-cell marginals."""
    ones = training_set(build_rule(spec), n_train, seed).double().mean(0)
    return float((2 * ones * (1 - ones)).sum())


def _permutation_section(runs: pd.DataFrame) -> str:
    control = permutation_control(runs, onset="tau_mem", x="n_train", by=("model", "rule"))
    low, high = control.shuffled_interval
    return (
        f"With N shuffled among the runs of each rule, {control.n_permutations} times, the exponent of tau_mem has "
        f"mean {control.shuffled_mean:.3f} and 95% of them lie in [{low:.3f}, {high:.3f}]; as it is, it is "
        f"{control.exponent:.3f}, {p_phrase(control.p_value, 1 / (control.n_permutations + 1))}."
    )
