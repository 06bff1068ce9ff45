"""Figures 5 and 6, the montages of valid grids: each rule once, symbols and counts as they are."""

from __future__ import annotations

from functools import cache

import pandas as pd
import pytest

from twoclocks.empirics.style import figure_style
from twoclocks.paper_figures import fig05, fig06
from twoclocks.paper_figures.exhibit import Exhibit
from twoclocks.paper_figures.presets import preset
from twoclocks.theory import rule as build_rule


@cache
def montage(module: Exhibit) -> dict[str, pd.DataFrame]:
    return module.compute(preset("smoke"), [])


@pytest.mark.slow
def test_montages_report_a_grid_that_breaks_its_rule() -> None:
    for module in (fig05, fig06):
        data = montage(module)
        assert module.measured(data).endswith("; agree")
        symbols = data["samples"]["symbols"].to_numpy(copy=True)
        symbols[0] = ("1" if symbols[0][0] == "0" else "0") + symbols[0][1:]
        assert module.measured({"samples": data["samples"].assign(symbols=symbols)}).endswith("; differ")
        assert module.measured({"samples": data["samples"].assign(support_size="7")}).endswith("; differ")


def test_a_montage_without_all_families_does_not_agree() -> None:
    for module in (fig05, fig06):
        samples = montage(module)["samples"]
        for part in (samples.iloc[:0], samples.head(1)):
            assert module.measured({"samples": part}).endswith("; undecided")


@pytest.mark.parametrize("scale", ["smoke", pytest.param("laptop", marks=pytest.mark.slow)])
def test_montage_of_binary_rules_shows_every_variant_once(scale: str) -> None:
    data = fig05.compute(preset(scale), [])
    with figure_style():
        figure = fig05.plot(data)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert len(titles) == len(set(titles)) == data["samples"]["rule"].nunique()
    assert all(ax.title.get_fontsize() >= 7 for ax in figure.axes)


def test_montage_of_categorical_rules_numbers_each_cell_by_its_symbol() -> None:
    data = montage(fig06)
    with figure_style():
        figure = fig06.plot(data)
    for ax, (_, panel) in zip(figure.axes, data["samples"].groupby("rule", sort=False), strict=True):
        symbols = [int(symbol) + 1 for grid in panel["symbols"] for symbol in grid]
        assert [int(text.get_text()) for text in ax.texts] == symbols


def test_the_binary_montage_has_a_row_per_family_on_the_papers_grid() -> None:
    samples = fig05.compute(preset("laptop"), [])["samples"]
    specs = [spec for spec in dict.fromkeys(samples["rule"]) if ":6x6," in spec]
    assert len({spec.partition(":")[0] for spec in specs}) == 5
    assert "parity:6x6,G=36" in specs
    assert len(specs) < samples["rule"].nunique()  # and the grid of the runs
    paper = fig05.compute(preset("paper"), [])["samples"]
    assert (paper["rows"] == 6).all()


def test_packing_keeps_families_apart_and_in_order() -> None:
    packed = fig05.pack([list("abcde"), list("fg"), list("hi"), list("jkl"), ["m"]])
    assert packed == [list("abcde"), ["f", "g", "", "h", "i"], ["j", "k", "l", "", "m"]]


@pytest.mark.parametrize("spec", [*preset("laptop").binary_rules, "parity:4x6,G=8"])
def test_closed_forms_count_what_the_rules_count(spec: str) -> None:
    assert fig05.count_valid(spec) == build_rule(spec).support_size
