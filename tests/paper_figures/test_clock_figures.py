"""Figures 2, 10, 21 to 27 from synthetic runs: each draws, and each answer follows the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import curve_rows, onset_rows

from twoclocks.empirics.style import figure_style
from twoclocks.paper_figures.exhibit import figure_module
from twoclocks.paper_figures.presets import PRESETS, preset
from twoclocks.paper_figures.shared.categorical import categorical_runs
from twoclocks.paper_figures.shared.clock_statistics import clock_order, later_at_top, onset_ratio, turn
from twoclocks.paper_figures.shared.clock_tables import median_onset, middles
from twoclocks.paper_figures.shared.scaling_fits import (
    POOLED,
    equal_exponents_p,
    exponent_table,
    line_table,
    quality_table,
)
from twoclocks.theory import Encoding
from twoclocks.theory import rule as build_rule

Setting = Mapping[str, Any]
NUMBERS = (2, 10, 21, 22, 23, 24, 25, 26, 27)
SHAPE = "4x6"


def parity(model: str, group_sizes: tuple[int, ...], sizes: tuple[int, ...], seeds: int = 3) -> list[dict[str, Any]]:
    return [
        {"model": model, "rule": f"parity:{SHAPE},G={G}", "n_train": n, "seed": seed}
        for seed in range(seeds)
        for n in sizes
        for G in group_sizes
    ]


def paper_like(exponent: float = 1.0, in_g: float = 1.0, in_size: float = -0.5):
    """Clocks that scale as the paper says, or not."""

    def clocks(setting: Setting) -> dict[str, float]:
        G = int(setting["rule"].partition("G=")[2])
        size = 4.0 ** ["nano", "micro", "mini"].index(setting["model"].partition("-")[2])
        return {"tau_rule": 40 * G**in_g * size**in_size, "tau_mem": 12 * setting["n_train"] ** exponent}

    return clocks


def both_architectures(**laws: float) -> pd.DataFrame:
    settings = [
        setting
        for kind in ("dit", "gpt")
        for size in ("nano", "micro")
        for setting in parity(f"{kind}-{size}", (2, 3, 6), (16, 32, 64, 128), seeds=4)
    ]
    return onset_rows(settings, paper_like(**laws), scatter=0.05)


def scaling_data(**laws: float) -> dict[str, pd.DataFrame]:
    runs = both_architectures(**laws)
    return {"runs": runs, "exponents": exponent_table(runs), "lines": line_table(runs, n_boot=200)}


def clocks_data(**laws: float) -> dict[str, pd.DataFrame]:
    """Of Figure 2."""
    runs = both_architectures(**laws)
    three, nano = runs["rule"].str.endswith("G=3"), runs["model"].str.endswith("nano")
    panels = {"G": nano & (runs["n_train"] == 64), "N": nano & three, "size": three}
    single = runs[(runs["model"] == "dit-nano") & three].head(1).assign(n_eval=512)
    curves = curve_rows(single).assign(ambiguous=lambda table: 1 / table["step"])
    for name in ("rule_accuracy", "memorization"):
        curves = curves.assign(**{f"{name}_low": curves[name] - 0.02, f"{name}_high": curves[name] + 0.02})
    together = pd.concat([runs[mask].assign(panel=panel) for panel, mask in panels.items()], ignore_index=True)
    return {"single": single, "curves": curves, "runs": together}


def binary_data(spread: float) -> dict[str, pd.DataFrame]:
    """Of Figure 21: tau_mem of the rules spread over a factor."""
    rules = [f"parity:{SHAPE},G=2", *PRESETS["laptop"].binary_rules]
    steps = dict(zip(rules, np.geomspace(1000, 1000 * spread, len(rules)), strict=True))
    settings = [{"model": "dit-nano", "rule": rule, "n_train": 48, "seed": seed} for seed in range(4) for rule in rules]
    runs = onset_rows(settings, lambda s: {"tau_rule": 200, "tau_mem": steps[s["rule"]]}, scatter=0.05)
    return {"runs": runs.assign(support_size=1e6)}


def categorical_data(rule_step: float, mem_step: float) -> dict[str, pd.DataFrame]:
    """Of Figures 22 and 23: one-hot learns three times sooner than scalar."""
    settings = [
        {"model": "dit-nano", "rule": rule, "n_train": 48, "seed": seed, "encoding": encoding, "steps": 4000}
        for seed in range(3)
        for encoding in ("scalar", "onehot")
        for rule in ("permutation:6", "latin:6", "sudoku:2x3")
    ]

    def clocks(setting: Setting) -> dict[str, float]:
        step = rule_step * (3 if setting["encoding"] == "scalar" else 1)
        return {"tau_rule": step, "tau_novel": 0.8 * step, "tau_mem": mem_step}

    runs = onset_rows(settings, clocks).assign(alphabet=6)
    curves = curve_rows(runs, ("encoding",))
    curves = curves.assign(loss=1 - curves["rule_accuracy"] / 2, row=curves["rule_accuracy"] ** 0.2)
    return {"runs": runs, "curves": curves.assign(column=curves["row"])}


def sweep_data(field: str, values: tuple[float, ...], clocks, last_step: float = 4000) -> dict[str, pd.DataFrame]:
    settings = [
        {"model": "gpt-nano", "rule": f"parity:{SHAPE},G=3", "n_train": 64, "seed": seed, "steps": 4000, field: value}
        for seed in range(6)
        for value in values
    ]
    runs = onset_rows(settings, clocks, last_step, scatter=0.05)
    return {"runs": runs.assign(best_accuracy=1.0), "curves": curve_rows(runs, (field,))}


def rates(bottom: float | None) -> dict[str, pd.DataFrame]:
    """A learning-rate sweep with its optimum at `bottom`, or with clocks that only fall."""
    values = (1e-4, 4e-4, 1.6e-3, 6.4e-3, 2.56e-2)

    def clocks(setting: Setting) -> dict[str, float]:
        away = math.log(setting["lr"] / bottom) if bottom else math.log(values[-1] / setting["lr"])
        step = 100 * math.exp(0.2 * away**2 if bottom else 0.6 * away)
        return {"tau_rule": step, "tau_mem": 3 * step}

    return sweep_data("lr", values, clocks)


def decays(rule_factor: float, mem_factor: float) -> dict[str, pd.DataFrame]:
    """A weight-decay sweep whose largest value delays the clocks by these factors."""
    values = (0.0, 0.01, 0.1, 1.0)

    def clocks(setting: Setting) -> dict[str, float]:
        top = setting["weight_decay"] == values[-1]
        return {"tau_rule": 100 * (rule_factor if top else 1), "tau_mem": 400 * (mem_factor if top else 1)}

    return sweep_data("weight_decay", values, clocks)


AGREEING = {
    2: clocks_data,
    10: scaling_data,
    21: lambda: binary_data(1.0),
    22: lambda: categorical_data(100, 2000),
    23: lambda: categorical_data(100, 2000),
    24: lambda: rates(1.6e-3),
    25: lambda: decays(100, 1),
    26: lambda: rates(1.6e-3),
    27: lambda: decays(1, 4),
}
DIFFERING = {
    2: lambda: clocks_data(exponent=0.5),
    10: lambda: scaling_data(exponent=1.6),
    21: lambda: binary_data(8.0),
    22: lambda: categorical_data(1000, 50),
    23: lambda: categorical_data(1000, 50),
    24: lambda: rates(None),
    25: lambda: decays(1, 1),
    26: lambda: rates(None),
    27: lambda: decays(1, 1),
}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_figure_draws_and_agrees_where_the_data_follow_the_paper(number: int) -> None:
    module, data = figure_module(number), AGREEING[number]()
    answer = module.measured(data)
    assert answer.endswith("agree"), answer
    assert "\n" not in answer
    with figure_style():
        figure = module.plot(data)
        figure.canvas.draw()
    assert any(ax.lines or ax.containers for ax in figure.axes)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_answer_differs_where_the_data_contradict_the_paper(number: int) -> None:
    answer = figure_module(number).measured(DIFFERING[number]())
    assert answer.endswith("differ"), answer


@pytest.mark.parametrize("number", NUMBERS)
def test_a_single_seed_is_drawn_and_decides_nothing_it_cannot(number: int) -> None:
    data = {name: table[table["seed"] == 0] if "seed" in table else table for name, table in AGREEING[number]().items()}
    if number == 10:
        data |= {"exponents": exponent_table(data["runs"]), "lines": line_table(data["runs"])}
    module = figure_module(number)
    with figure_style():
        module.plot({name: table.reset_index(drop=True) for name, table in data.items()}).canvas.draw()
    assert module.measured(data).rpartition(" ")[2] in ("agree", "undecided")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("number", NUMBERS)
def test_configs_are_distinct_and_read_from_the_preset(number: int, name: str) -> None:
    configs = figure_module(number).configs(preset(name))
    assert len(set(configs)) == len(configs) > 0
    assert {config.rule.partition(":")[0] for config in configs} <= {
        "parity", "exact-k", "row-k", "global-k", "row-variable-k", "permutation", "latin", "sudoku"
    }  # fmt: skip


def test_the_noise_of_categorical_runs_is_that_of_binary_ones_in_units_of_the_codes_distance() -> None:
    scale = preset("laptop")
    configs = categorical_runs(scale)
    assert {config.encoding for config in configs} == {"scalar", "onehot"}
    for config in configs:
        grids = build_rule(config.rule)
        encoding = Encoding(grids.shape, grids.alphabet, config.encoding)
        binary = Encoding((2, 2), 2, "pm1")
        wanted = scale.dit.base.noise_mean + math.log(encoding.gap / binary.gap)
        assert config.noise_mean == pytest.approx(wanted, abs=0.05)


def test_a_size_that_diverges_takes_a_learning_rate_of_its_own() -> None:
    kind = preset("laptop").dit
    assert kind.config(rule="parity:4x6,G=2", model="dit-nano").lr == kind.base.lr
    assert kind.config(rule="parity:4x6,G=2", model="dit-micro").lr == kind.own_lr["dit-micro"] < kind.base.lr
    assert kind.config(rule="parity:4x6,G=2", model="dit-micro", lr=0.01).lr == 0.01


@pytest.mark.slow
def test_figure_10_agrees_on_both_architectures_or_not_at_all() -> None:
    data = AGREEING[10]()
    dit = {name: table[table["model"].str.startswith("dit")] for name, table in data.items()}
    assert "GPT undecided" in figure_module(10).measured(dit)
    assert figure_module(10).measured(dit).endswith("undecided")


def test_figure_2_counts_a_run_of_several_panels_once() -> None:
    data = AGREEING[2]()
    distinct = data["runs"].drop_duplicates(["model", "rule", "n_train", "seed"])
    n_dit = int((distinct["architecture"] == "dit").sum())
    assert n_dit < (data["runs"]["architecture"] == "dit").sum()
    assert f"DiT, {n_dit} runs:" in figure_module(2).measured(data)


@pytest.mark.parametrize("number", [23, 24])
def test_an_onset_that_no_run_tells_of_is_unknown(number: int) -> None:
    data = AGREEING[number]()
    for clock in ("tau_rule", "tau_mem"):
        data["runs"][[f"{clock}_lower", f"{clock}_upper"]] = [0.0, np.inf]
    answer = figure_module(number).measured(data)
    assert "unknown" in answer
    assert "nan" not in answer
    assert "not reached" not in answer


def test_the_exponents_of_the_data_are_found_and_rules_without_onsets_left_out() -> None:
    settings = parity("gpt-nano", (2, 3), (32, 64, 128))
    runs = onset_rows(settings, lambda s: {"tau_rule": 10, "tau_mem": 10 * s["n_train"] ** 1.1}, scatter=0.02)
    never = runs["rule"].str.endswith("G=3")
    runs.loc[never, ["tau_mem_lower", "tau_mem_upper"]] = [1e5, np.inf]
    table = exponent_table(runs)
    assert list(table["rule"]) == [f"parity:{SHAPE},G=2", POOLED]
    assert ((table["low"] < 1.1) & (table["high"] > 1.1)).all()
    lines = line_table(runs, n_boot=0)
    slope = np.polyfit(np.log(lines["n_train"]), np.log(lines["tau_mem"]), 1)[0]
    assert slope == pytest.approx(table["exponent"].iloc[0])


def test_the_quality_of_a_fit_tells_a_power_law_from_a_bend() -> None:
    settings = parity("gpt-nano", (2, 3), (16, 64, 256, 1024), seeds=6)

    def clocks(setting: Setting) -> dict[str, float]:
        n = setting["n_train"]
        return {"tau_rule": 10, "tau_mem": 10 * n if setting["rule"].endswith("2") else 10 * n + n**2 / 4}

    quality = quality_table(onset_rows(settings, clocks, last_step=1e6, scatter=0.1)).set_index("rule")
    law, bend = quality.loc[f"parity:{SHAPE},G=2"], quality.loc[f"parity:{SHAPE},G=3"]
    assert law["r2"] > 0.98
    assert law["p_value"] > 0.05
    assert bend["p_value"] < 1e-3
    with figure_style():
        shown = {text.get_text() for ax in figure_module(10).plot(AGREEING[10]()).axes for text in ax.texts}
    assert sum(text.startswith("$R^2$") for text in shown) >= 4


def test_figure_21_says_which_rules_are_not_learned_and_that_copying_came_first() -> None:
    data = AGREEING[21]()
    module = figure_module(21)
    with figure_style():
        assert not any("learned by" in text.get_text() for text in module.plot(data).axes[0].texts)
    late = (data["runs"]["rule"] == f"parity:{SHAPE},G=2") & (data["runs"]["seed"] > 0)
    data["runs"].loc[late, ["tau_rule_lower", "tau_rule_upper"]] = [4000, np.inf]
    with figure_style():
        ax = module.plot(data).axes[0]
    assert [text.get_text() for text in ax.texts] == ["learned by\n1 of 4"]
    assert "3 runs do not obey their rule" in ax.get_title(loc="left")
    assert "3 of them have begun to copy" in ax.get_title(loc="left")


def test_the_dots_on_the_curves_of_a_sweep_are_the_clocks_beside_them() -> None:
    data = AGREEING[26]()
    steps = sorted(data["curves"]["step"].unique())
    for clock in ("tau_rule", "tau_mem"):  # onsets come at evaluations
        upper = data["runs"][f"{clock}_upper"]
        data["runs"][f"{clock}_upper"] = [min(steps, key=lambda step, at=at: abs(step - at)) for at in upper]
    with figure_style():
        left, middle, _ = figure_module(26).plot(data).axes
    for ax, clock in ((left, "tau_rule"), (middle, "tau_mem")):
        dots = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "o"])
        np.testing.assert_array_equal(np.sort(dots), np.sort(data["runs"][f"{clock}_upper"]))


def test_figure_22_tells_how_many_lines_a_valid_sample_needs() -> None:
    with figure_style():
        title = figure_module(22).plot(AGREEING[22]()).get_suptitle()
    assert f"{0.85 ** (1 / 6):.3f} to {0.85 ** (1 / 18):.3f}" in title
    assert "latin" in title


def onsets(rule: list[tuple[float, float]], mem: list[tuple[float, float]]) -> pd.DataFrame:
    table = {"tau_rule_lower": [a for a, _ in rule], "tau_rule_upper": [b for _, b in rule]}
    return pd.DataFrame(table | {"tau_mem_lower": [a for a, _ in mem], "tau_mem_upper": [b for _, b in mem]})


def test_only_runs_whose_order_is_certain_count() -> None:
    table = onsets(
        [(1, 2), (2, 4), (9, np.inf), (3, np.inf), (0, np.inf)], [(2, 3), (3, 5), (4, 8), (3, np.inf), (1, 2)]
    )
    order = clock_order(table)
    assert (order.before, order.after, order.unclear) == (1, 1, 3)
    assert order.p_before == order.p_after == 0.75
    assert order.answer == "undecided"
    many = clock_order(onsets([(1, 2)] * 5, [(2, 3)] * 5))
    assert many.p_before == 1 / 32
    assert many.answer == "agree"
    assert clock_order(onsets([(9, np.inf)] * 5, [(2, 3)] * 5)).answer == "differ"


def test_medians_count_censored_runs_and_skip_those_that_say_nothing() -> None:
    table = onsets([(1, 4), (16, 25), (50, np.inf), (0, np.inf)], [(1, 2)] * 4)
    np.testing.assert_array_equal(middles(table, "tau_rule"), [2, 20, np.inf, np.inf])
    assert median_onset(table, "tau_rule") == pytest.approx(20)
    assert median_onset(table.iloc[2:], "tau_rule") == np.inf
    assert np.isnan(median_onset(table.iloc[3:], "tau_rule"))
    assert median_onset(onsets([(0, 8)], [(1, 2)]), "tau_rule") == pytest.approx(8)


def test_a_ratio_between_groups_is_found_in_its_strata() -> None:
    steps = {"a": 100.0, "b": 900.0}
    rows = [{"model": "dit-nano", "rule": rule, "n_train": 8, "seed": seed, "late": late}
            for seed in range(6) for rule in steps for late in (False, True)]  # fmt: skip
    runs = onset_rows(rows, lambda s: {"tau_rule": steps[s["rule"]] * (3 if s["late"] else 1)})
    ratio = onset_ratio(runs, "tau_rule", runs["late"].to_numpy(), runs["rule"])
    assert ratio.low < 3 < ratio.high
    assert ratio.high / ratio.low < 1.4
    runs.loc[runs["late"], ["tau_rule_lower", "tau_rule_upper"]] = [1e5, np.inf]
    with pytest.raises(ValueError, match="no uncensored runs"):
        onset_ratio(runs, "tau_rule", runs["late"].to_numpy(), runs["rule"])


def test_a_turn_falls_and_rises_with_the_slopes_between_neighbours() -> None:
    x = np.exp([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    rows = [{"model": "gpt-nano", "rule": "r", "n_train": 8, "seed": seed, "lr": lr} for seed in range(4) for lr in x]
    runs = onset_rows(rows, lambda s: {"tau_rule": 100 * math.exp(abs(math.log(s["lr"]) - 2.5))}, scatter=0.02)
    found = turn(runs, "tau_rule", "lr")
    assert found.answer == "agree"
    assert found.slopes == pytest.approx((-1, -1, 0, 1, 1), abs=0.15)
    falling = onset_rows(rows, lambda s: {"tau_rule": 100 / s["lr"] ** 0.5}, scatter=0.02)
    assert turn(falling, "tau_rule", "lr").answer == "differ"
    late = runs.assign(tau_rule_upper=runs["tau_rule_upper"].where(runs["lr"] < 100, np.inf))
    assert "not reached" in str(turn(late, "tau_rule", "lr"))
    with pytest.raises(ValueError, match="four values"):
        turn(runs[runs["lr"] < 10], "tau_rule", "lr")


def test_a_level_at_which_no_run_arrives_is_later() -> None:
    table = decays(100, 1)["runs"]
    top = later_at_top(table, "tau_rule", "weight_decay")
    assert top.answer == "agree"
    assert "not reached in 6 of 6 runs" in top.text
    assert later_at_top(table, "tau_mem", "weight_decay").answer == "differ"


@pytest.mark.parametrize(("slopes", "low", "high"), [((1.0, 1.0), 0.05, 1.0), ((0.6, 1.4), 0.0, 0.001)])
def test_equal_exponents_are_told_from_unequal_ones(slopes: tuple[float, float], low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for G, slope in zip((2, 3), slopes, strict=True):
        for n in (24, 48, 96, 192):
            for seed in range(4):
                at = 50 * (n / 24) ** slope * math.exp(0.1 * rng.normal())
                rows.append({"rule": f"parity:4x6,G={G}", "n_train": n, "seed": seed,
                             "tau_mem_lower": at / 1.1, "tau_mem_upper": at * 1.1})  # fmt: skip
    assert low <= equal_exponents_p(pd.DataFrame(rows), "n_train", "rule") <= high
