"""Figures 1, 4, 7 to 9 and 28 on made-up runs: what is drawn is there, and the verdict follows the data both ways."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from twoclocks.empirics import Run, RunConfig, load_run, train
from twoclocks.empirics.onsets import clock_onsets
from twoclocks.empirics.style import figure_style
from twoclocks.paper_figures import fig01, fig04, fig07, fig08, fig09, fig28
from twoclocks.paper_figures.presets import Preset, preset
from twoclocks.paper_figures.shared.endings import not_copied_skill
from twoclocks.paper_figures.shared.run_tables import evaluations_table, final_table, runs_table
from twoclocks.paper_figures.shared.verdicts import clock_text, most_word, window_states
from twoclocks.paper_figures.store import read_data, results_folder
from twoclocks.theory.memorization import binomial_interval, memorization_test

Clock = Callable[[RunConfig, int], float]
LAPTOP = preset("laptop")
SHORT = replace(
    LAPTOP,
    group_sizes=(2, 3),
    large_group_sizes=(12, 24),
    dit=replace(LAPTOP.dit, n_train=(24, 48, 96), base=replace(LAPTOP.dit.base, eval_ratio=1.4)),
    gpt=replace(LAPTOP.gpt, n_train=(64, 128, 256), reference_n=96, base=replace(LAPTOP.gpt.base, eval_ratio=1.4)),
)


def group_size(config: RunConfig) -> int:
    return int(config.rule.rpartition("=")[2])


def tau_rule(config: RunConfig, seed: int) -> float:
    """Learned up to G = 6, the later the larger and the later the seed; never beyond."""
    G = group_size(config)
    return (160 if config.model.startswith("dit") else 12) * G**1.5 * 1.1**seed if G <= 6 else math.inf


def tau_mem(config: RunConfig, seed: int) -> float:
    return (30 if config.model.startswith("dit") else 2.5) * config.n_train * 1.1**seed


def tables(configs: list[RunConfig], rule: Clock = tau_rule, mem: Clock = tau_mem) -> dict[str, pd.DataFrame]:
    """The tables of runs whose accuracy and memorization rise at the given steps."""
    runs, evaluations, final = [], [], []
    for number, config in enumerate(configs):
        G, D, N, n = group_size(config), 24, config.n_train, config.n_eval
        size, blind, kinds = 2.0 ** (D - D // G), 2.0 ** (-D // G), 2.0 ** (G - 1)
        seen = 1 - (1 - 1 / kinds) ** N
        rows = []
        for step in config.eval_steps():
            learned = 1 / (1 + (rule(config, config.seed) / step) ** 6 / 9)
            copied = 1 / (1 + (mem(config, config.seed) / step) ** 4 * 20)
            valid = blind + (1 - blind) * learned
            memorized = round(n * (copied + (1 - copied) * N / size * valid))
            novel = round((n - memorized) * valid)
            held = 0.5 + 0.5 * (copied + (1 - copied) * learned)
            known = copied + (1 - copied) * held * seen
            row: dict[str, float] = {"run": number, "step": step, "loss": 0.7 / (1 + step / 500)}
            for name, count, total in (
                ("rule_accuracy", memorized + novel, n),
                ("memorization", memorized, n),
                ("novel_valid", novel, n),
                ("group_accuracy", round(held * n * D / G), n * D // G),
                ("group_memorization", round(known * n * D / G), n * D // G),
            ):
                low, high = binomial_interval(count, total)
                row |= {name: count / total, f"{name}_low": low, f"{name}_high": high}
            rows.append(row | {"memorization_p": memorization_test(memorized, n, N / size).p_value})
        metrics = pd.DataFrame(rows)
        clocks = clock_onsets(metrics, N / size)
        run = {
            "run": number, "architecture": config.model[:3], "model": config.model, "rule": config.rule,
            "shape": "4x6", "G": G, "n_train": N, "seed": config.seed, "batch_size": config.batch_size,
            "n_eval": n, "status": "finished", "steps": config.steps, "chance": N / size, "group_chance": seen,
            "cube": N / 2**D, "group_cube": seen / 2, "cube_accuracy": blind, "group_cube_accuracy": 0.5,
        }  # fmt: skip
        for name, onset in clocks.items():
            run |= {f"{name}_lower": onset.lower, f"{name}_upper": onset.upper}
        runs.append(run)
        evaluations.append(metrics)
        final.append(run | rows[-1])
    return {"runs": pd.DataFrame(runs), "evaluations": pd.concat(evaluations), "final": pd.DataFrame(final)}


def data_01(scale: Preset = SHORT, rule: Clock = tau_rule, mem: Clock = tau_mem) -> dict[str, pd.DataFrame]:
    return {"final": tables(fig01.configs(scale), rule, mem)["final"], "examples": fig01._examples(scale)}


def data_04(scale: Preset = SHORT, rule: Clock = tau_rule, mem: Clock = tau_mem) -> dict[str, pd.DataFrame]:
    made = tables(fig04.configs(scale), rule, mem)
    runs = made["runs"]
    runs["shown"], runs["large"] = runs["G"] == 3, runs["G"].isin(scale.large_group_sizes)
    floors = pd.DataFrame({"run": runs.loc[runs["shown"], "run"], "population": 0.2, "empirical": 0.1})
    return {"runs": runs, "evaluations": made["evaluations"], "floors": floors}


def data_07(scale: Preset = SHORT, rule: Clock = tau_rule, mem: Clock = tau_mem) -> dict[str, pd.DataFrame]:
    configs = fig07.configs(scale)
    shortest = min(config.steps for config in configs)
    early = tables([replace(config, steps=shortest) for config in configs], rule, mem)["final"]
    return {"final": tables(configs, rule, mem)["final"], "equal_steps": early}


def data_08(scale: Preset = SHORT, rule: Clock = tau_rule, mem: Clock = tau_mem) -> dict[str, pd.DataFrame]:
    made = tables(fig08.configs(scale), rule, mem)
    return {"runs": made["runs"], "evaluations": made["evaluations"]}


def data_09(scale: Preset = SHORT, rule: Clock = tau_rule, mem: Clock = tau_mem) -> dict[str, pd.DataFrame]:
    made = tables(fig09.configs(scale), rule, mem)
    return {"runs": made["runs"], "evaluations": made["evaluations"]}


def data_28(scale: Preset = SHORT, rule: Clock = tau_rule, mem: Clock = tau_mem) -> dict[str, pd.DataFrame]:
    made = tables(fig28.configs(scale), rule, mem)
    return {"runs": made["runs"], "evaluations": made["evaluations"]}


FIGURES = {
    1: (fig01, data_01),
    4: (fig04, data_04),
    7: (fig07, data_07),
    8: (fig08, data_08),
    9: (fig09, data_09),
    28: (fig28, data_28),
}


def drawn(number: int, data: dict[str, pd.DataFrame]) -> Figure:
    with figure_style():
        figure = FIGURES[number][0].plot(data)
        figure.canvas.draw()  # lays out, so that text too wide for its axes would warn
    return figure


def never(config: RunConfig, seed: int) -> float:
    return math.inf


def at_100(config: RunConfig, seed: int) -> float:
    return 100.0


def only_large(config: RunConfig, seed: int) -> float:
    return 100.0 if group_size(config) > 6 else math.inf


def gpt_never(config: RunConfig, seed: int) -> float:
    return 100.0 if config.model.startswith("dit") else math.inf


def sooner_with_n(config: RunConfig, seed: int) -> float:
    return 40_000 / config.n_train


def unlike_seeds(config: RunConfig, seed: int) -> float:
    return 30 * 6.0**seed


@pytest.mark.parametrize(
    ("number", "rule", "mem", "verdict"),
    [
        (1, tau_rule, tau_mem, "agree"),
        (1, only_large, never, "differ"),
        (1, never, never, "undecided"),
        (4, tau_rule, tau_mem, "agree"),
        (4, gpt_never, tau_mem, "differ"),
        (4, at_100, never, "undecided"),  # the same timescale
        (7, tau_rule, tau_mem, "agree"),
        (7, tau_rule, sooner_with_n, "differ"),
        (8, tau_rule, tau_mem, "agree"),
        (8, tau_rule, lambda config, seed: 600 * 1.1**seed, "differ"),
        (8, tau_rule, never, "undecided"),
        (9, tau_rule, tau_mem, "agree"),
        (9, at_100, tau_mem, "differ"),
        (28, tau_rule, tau_mem, "agree"),
        (28, unlike_seeds, unlike_seeds, "differ"),
        (28, never, never, "undecided"),
    ],
)
def test_the_verdict_follows_the_data(number: int, rule: Clock, mem: Clock, verdict: str) -> None:
    module, make = FIGURES[number]
    line = module.measured(make(SHORT, rule, mem))
    assert line.endswith(f"; {verdict}"), line
    assert "\n" not in line
    assert "nan" not in line


@pytest.mark.parametrize("number", FIGURES)
def test_every_figure_is_drawn_with_its_scale_and_legible_text(number: int) -> None:
    figure = drawn(number, FIGURES[number][1]())
    texts = [text for text in figure.findobj(match=lambda a: hasattr(a, "get_fontsize")) if text.get_text().strip()]  # type: ignore[attr-defined]
    assert min(text.get_fontsize() for text in texts) >= 7
    words = " ".join(text.get_text() for text in texts)
    for wanted in ("4x6 grids", "3 seeds", "-nano", "512 generations"):
        assert wanted in words


@pytest.mark.parametrize("number", FIGURES)
def test_one_seed_of_each_cell_is_enough_to_draw(number: int) -> None:
    """Figures are looked at while the runs are still under way."""
    data = FIGURES[number][1]()
    runs = data["runs" if "runs" in data else "final"]
    kept = set(runs.loc[(runs["seed"] == 0) & (runs["G"] != 2), "run"])
    partial = {name: table[table["run"].isin(kept)] if "run" in table else table for name, table in data.items()}
    drawn(number, partial)
    assert FIGURES[number][0].measured(partial).rpartition("; ")[2] in ("agree", "differ", "undecided")


def test_ending_shows_every_seed_and_the_exact_chance_lines() -> None:
    data = data_01()
    figure = drawn(1, data)
    sample, group, copies = figure.subfigs[1].axes
    final = data["final"].sort_values("G")
    for ax, chance, cube in ((sample, "chance", "cube"), (group, "group_chance", "group_cube")):
        lines = {line.get_label(): line for line in ax.get_lines()}
        for label, column in (
            ("memorization of the true law", chance),
            ("memorization of a uniform sampler of all grids", cube),
        ):
            np.testing.assert_allclose(lines[label].get_ydata(), final.groupby("G")[column].first())
    seeds = [line for line in sample.get_lines() if line.get_marker() == "o" and line.get_linestyle() == "None"]
    assert sorted(np.concatenate([line.get_ydata() for line in seeds])) == sorted(final["rule_accuracy"])
    assert copies.get_yscale() == "log"
    seeds = [line for line in copies.get_lines() if line.get_marker() == "s" and line.get_linestyle() == "None"]
    copied = final.loc[final["memorization"] > 0, "memorization"]
    assert set(copied) <= set(np.concatenate([line.get_ydata() for line in seeds]))


def test_structure_marks_the_one_odd_group() -> None:
    figure = drawn(1, data_01())
    dashed = [
        [p for p in ax.patches if isinstance(p, Rectangle) and p.get_linestyle() == "--"]
        for ax in figure.subfigs[0].axes
    ]
    assert [len(frames) for frames in dashed] == [0, 0, 1]
    texts = [ax.texts[-1].get_text() for ax in figure.subfigs[0].axes]
    assert "valid, memorized" in texts[0]
    assert "valid, not memorized" in texts[1]
    assert "violates the rule, not memorized" in texts[2]
    assert "7 of 8 even" in texts[2]


def test_example_counts_are_those_of_the_evaluator() -> None:
    """The flipped grid differs from the novel one in its last group alone, which no training sample can show."""
    _, novel, broken = (row for _, row in fig01._examples(LAPTOP).iterrows())
    assert novel["bits"][:-1] == broken["bits"][:-1]
    assert novel["bits"] != broken["bits"]
    assert broken["group_accuracy"] == 1 - novel["G"] / 24
    assert novel["group_memorization"] - broken["group_memorization"] in (0, novel["G"] / 24)
    assert (novel["memorization"], broken["rule_accuracy"]) == (0, 0)


@pytest.mark.parametrize(("rule", "shaded"), [(tau_rule, True), (never, False)])
def test_the_window_is_shaded_only_where_it_is_open(rule: Clock, shaded: bool) -> None:
    data = data_04(SHORT, rule)
    figure = drawn(4, data)
    for ax, name in zip(figure.subfigs[0].axes[:2], ("dit", "gpt"), strict=True):
        spans = [p for p in ax.patches if isinstance(p, Rectangle)]
        runs = data["runs"]
        mine = runs.loc[runs["shown"] & (runs["architecture"] == name), "run"]
        curves = data["evaluations"][data["evaluations"]["run"].isin(mine)]
        middle = curves.groupby("step")[["rule_accuracy", "memorization"]].median()
        inside = middle.index[(middle["rule_accuracy"] > 0.9) & (middle["memorization"] < 0.1)]
        assert len(spans) == len(inside)
        assert bool(spans) == shaded
        for span, step in zip(spans, inside, strict=True):
            assert span.get_x() < step < span.get_x() + span.get_width()


def test_loss_floors_are_drawn_where_they_are() -> None:
    figure = drawn(4, data_04())
    for ax in figure.subfigs[0].axes[2:4]:
        heights = {line.get_label(): line.get_ydata()[0] for line in ax.get_lines()}
        assert heights["exact optimum of the rule"] == pytest.approx(0.2)
        assert heights["exact optimum of training set"] == pytest.approx(0.1)


def test_heatmap_cells_are_the_medians() -> None:
    data = data_04()
    figure = drawn(4, data)
    ax = figure.subfigs[1].axes[0]
    runs, evaluations = data["runs"], data["evaluations"]
    for mesh, G in zip(ax.collections, sorted(runs["G"].unique()), strict=True):
        mine = runs.loc[(runs["architecture"] == "dit") & (runs["G"] == G), "run"]
        middle = evaluations[evaluations["run"].isin(mine)].groupby("step")["rule_accuracy"].median()
        np.testing.assert_allclose(np.ravel(mesh.get_array()), middle)


def test_passes_are_steps_times_batch_over_n() -> None:
    data = data_08()
    figure = drawn(8, data)
    steps, passes = figure.axes[1], figure.axes[2]
    for line, same in zip(steps.get_lines(), passes.get_lines(), strict=True):
        if line.get_label().startswith("N = "):
            n = int(line.get_label()[4:])
            np.testing.assert_allclose(same.get_xdata(), np.asarray(line.get_xdata()) * 128 / n)
    heights = {line.get_ydata()[0] for line in steps.get_lines() if len(line.get_xdata()) == 2}
    assert heights == {n / 4096 for n in (24, 48, 96)}  # exact chance at G = 2: N of 2^12 grids


def test_seeds_of_fig28_are_raw_and_smoothed() -> None:
    data = data_28()
    figure = drawn(28, data)
    ax = figure.axes[0]
    thin = [line for line in ax.get_lines() if line.get_linewidth() < 1]
    thick = [line for line in ax.get_lines() if line.get_linewidth() > 1.5]
    assert len(thin) == len(thick) == 6  # three seeds, accuracy and memorization
    assert len({line.get_color() for line in thick}) == 6
    raw, smooth = np.asarray(thin[0].get_ydata()), np.asarray(thick[0].get_ydata())
    assert smooth[0] == raw[0]
    assert smooth[1] == pytest.approx((raw[0] / 2 + raw[1]) / 1.5)  # half-life of one evaluation


def test_paper_scale_compares_at_its_own_n() -> None:
    assert {c.n_train for c in fig04.configs(preset("paper"))} == {4096}
    assert {c.n_train for c in fig04.configs(LAPTOP)} == {96}


def test_agreement_tells_a_seed_that_never_learns() -> None:
    cell = pd.DataFrame({"model": "gpt-nano", "G": 4, "n_train": 64, "tau_rule_lower": [80.0, 90.0, 400.0],
                         "tau_rule_upper": [100.0, 110.0, np.inf]})  # fmt: skip
    assert fig28.agreement(cell, "tau_rule") == (0, 1)
    assert fig28.agreement(cell[:2], "tau_rule") == (1, 1)
    assert fig28.agreement(cell[2:], "tau_rule") == (0, 0)
    assert fig28.agreement(cell.assign(tau_rule_upper=np.inf), "tau_rule") == (0, 0)


def test_window_states_need_more_than_sampling_noise() -> None:
    """With 512 generations 0.91 may well be 0.9 in truth, and 0.95 may not."""
    rows = []
    for run, accuracy, memorized in ((0, 0.95, 0.01), (1, 0.91, 0.01), (2, 0.8, 0.01), (3, 0.8, 0.01), (3, 0.99, 0.2)):
        row: dict[str, float] = {"run": run}
        for name, ratio in (("rule_accuracy", accuracy), ("memorization", memorized)):
            low, high = binomial_interval(round(512 * ratio), 512)
            row |= {name: ratio, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    states = window_states(pd.DataFrame({"run": range(5)}), pd.DataFrame(rows))
    # the third was too short for either clock, the fourth copied before it obeyed, the last was never evaluated
    assert states.tolist() == ["open", "unclear", "unclear", "shut", "unclear"]


def test_untrained_models_decide_nothing() -> None:
    """Noise that decodes to no grid at all is as far below chance as chance is high, which is no trend of its own."""
    ending = data_07(SHORT, never, never)
    for table in ending.values():
        table[["rule_accuracy", "memorization", "novel_valid"]] = 0.0
    assert fig07.measured(ending).endswith("; undecided")
    assert fig01.measured({"final": ending["final"][ending["final"]["n_train"] == 96]}).endswith("; undecided")
    assert fig09.measured(data_09(SHORT, never, never)).endswith("; undecided")
    assert fig04.measured(data_04(SHORT, never, never)).endswith("; undecided")


def test_skill_is_one_for_the_rule_and_zero_for_the_cube_whatever_is_copied() -> None:
    """D = 24, G = 12: a quarter of all grids is valid; skill must not rise by copying."""
    blind, cube = 0.25, 100 / 2**24
    valid_outside = (2**22 - 100) / (2**24 - 100)
    copied = np.array([0.0, 0.5, 0.5, 0.99])
    valid = np.array([1.0, 1.0, valid_outside, 1.0])
    final = pd.DataFrame({"memorization": copied, "novel_valid": (1 - copied) * valid, "n_eval": 512,
                          "cube_accuracy": blind, "cube": cube})  # fmt: skip
    skill = not_copied_skill(final)["skill"].to_numpy()
    np.testing.assert_allclose(skill[:3], [1, 1, 0], atol=1e-12)
    assert np.isnan(skill[3])  # five grids say nothing


def test_most_means_significantly_more_than_half() -> None:
    assert [most_word(k, 12)[0] for k in (0, 6, 9, 12)] == ["differ", "undecided", "undecided", "agree"]
    assert most_word(0, 0)[0] == "undecided"


def test_clock_text_is_the_median_interval() -> None:
    runs = pd.DataFrame({"tau_rule_lower": [10.0, 30.0, 20.0], "tau_rule_upper": [20.0, np.inf, 30.0]})
    assert clock_text(runs, "tau_rule") == "(20, 30]"
    assert clock_text(runs[:2], "tau_rule") == "> 20"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = replace(preset("smoke").gpt.config(rule="parity:2x6,G=2", n_train=8), steps=40)
    return train(config, tmp_path_factory.mktemp("tiny") / "run", progress=False)


def test_tables_of_a_real_run(tiny: Run, tmp_path: Path) -> None:
    """Against the run's own files; a run that diverged before its first evaluation stays a run without curves."""
    shutil.copytree(tiny.path, tmp_path / "diverged")
    (tmp_path / "diverged" / "metrics.jsonl").write_text("")
    result = json.loads((tmp_path / "diverged" / "result.json").read_text())
    unknown = {"step": None, "lower": 0.0, "upper": None, "censored": True}
    result |= {"status": "diverged", "steps": 1, "onsets": {"tau_rule": unknown, "tau_mem": unknown}}
    del result["digests"], result["digest"]  # as runs ended before there were any
    (tmp_path / "diverged" / "result.json").write_text(json.dumps(result))
    runs = [load_run(tmp_path / "diverged"), tiny]
    table = runs_table(runs)
    assert table["status"].tolist() == ["diverged", "finished"]
    assert table["chance"].tolist() == [8 / 64] * 2  # 2^6 valid grids
    assert table["cube"].tolist() == [8 / 2**12] * 2
    assert table["cube_accuracy"].tolist() == [2**-6] * 2
    np.testing.assert_allclose(table["group_cube"], table["group_chance"] / 2)  # half of all patterns are even
    curves = evaluations_table(runs, ("rule_accuracy", "loss"))
    assert set(curves["run"]) == {1}
    np.testing.assert_allclose(curves["loss"], tiny.metrics["loss"], rtol=1e-6)
    final = final_table(runs)
    assert final["run"].tolist() == [1]
    assert final["memorization"].iloc[0] == tiny.metrics["memorization"].iloc[-1]
    middle = int(tiny.metrics["step"].iloc[1])
    assert final_table(runs, [middle + 1] * 2)["step"].tolist() == [middle]


def test_figures_bear_runs_that_diverged(tiny: Run) -> None:
    data = data_28()
    data["evaluations"] = data["evaluations"][data["evaluations"]["run"] > 0]
    assert len(drawn(28, data).axes[0].get_lines()) == 13  # the twelve of three seeds, one of them empty, and chance


def test_a_window_still_open_at_the_end_is_marked_censored() -> None:
    never = data_04(mem=lambda config, seed: math.inf if config.model.startswith("dit") else tau_mem(config, seed))
    with figure_style():
        figures = [fig04.plot(data) for data in (data_04(), never)]
    texts = [[text.get_text() for ax in figure.axes for text in ax.texts] for figure in figures]
    assert not any("censored" in text for text in texts[0])
    last = SHORT.dit.config(rule="parity:4x6,G=3", model="dit-nano", n_train=SHORT.dit.reference_n).steps
    assert sum("censored" in text and f"step {last}" in text for text in texts[1]) == 1


def test_small_memorization_is_drawn_on_a_logarithmic_axis_that_has_zero() -> None:
    with figure_style():
        figure = fig08.plot(data_08())
    accuracy, memorization, passes = figure.axes[:3]
    assert accuracy.get_yscale() == "linear"
    for ax in (memorization, passes):
        low, one, ten, most = (ax.transData.transform((1, y))[1] for y in (0, 0.01, 0.1, 1))
        assert low < one
        assert ten - one == pytest.approx(most - ten, rel=0.01)


def test_seeds_are_named_and_keep_their_shade_from_panel_to_panel() -> None:
    data = data_28()
    with figure_style():
        figure = fig28.plot(data)
    shades = {text.get_text(): line.get_color() for text, line in
              zip(figure.legends[0].get_texts(), figure.legends[0].get_lines(), strict=True)}  # fmt: skip
    names = [f"{what}, seed {seed}" for what in ("rule accuracy", "memorization") for seed in range(3)]
    assert list(shades)[:-1] == names
    runs = data["runs"]
    for ax in figure.axes:
        drawn = {line.get_color() for line in ax.lines if line.get_linewidth() > 1.5}
        assert drawn == {shades[name] for name in names}
    kept = runs[runs["seed"] != 0]
    with figure_style():
        fewer = fig28.plot(data | {"runs": pd.concat([kept, runs[runs["seed"] == 0].head(1)])})
    colours = [{line.get_color() for line in ax.lines if line.get_linewidth() > 1.5} for ax in fewer.axes]
    assert {len(found) for found in colours} == {4, 6}
    assert all(shades["rule accuracy, seed 2"] in found for found in colours)


def test_figure_4_says_which_architecture_is_not_measured() -> None:
    figure = fig04.plot(read_data(results_folder("paper", 4)))
    said = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert said.count(["DiT not measured yet"]) == 4
    assert any(ax.get_title() == "gpt-mini" for ax in figure.axes)
    figure.draw_without_rendering()
    heat = next(ax for ax in figure.axes if ax.get_ylabel().startswith("group size"))
    assert [label.get_text() for label in heat.get_yticklabels() if label.get_visible()] == ["2", "3", "4", "6"]
