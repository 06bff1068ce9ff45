"""A figure by several criteria of copying, and its answer in one line."""

import pandas as pd
import pytest

from twoclocks.paper_figures.exhibit import FIGURES, figure_module
from twoclocks.paper_figures.shared import judging
from twoclocks.paper_figures.store import read_data, results_folder


def table(**columns):
    ends = {"tau_rule": 20.0, "tau_rule_all": 30.0, "tau_mem": 80.0, "tau_mem_10": 60.0, "tau_mem_chance": 10.0}
    rows = {f"{name}_{end}": [value / 2 if end == "lower" else value]
            for name, value in ends.items() for end in ("lower", "upper")}  # fmt: skip
    return pd.DataFrame({"null": [0.05], **rows, **columns})


def order(data):
    """A figure's line: does the rule come first?"""
    run = data["runs"].iloc[0]
    return f"something measured: {'agree' if run['tau_rule_upper'] <= run['tau_mem_lower'] else 'differ'}"


def test_a_verdict_that_depends_on_the_criterion_says_so():
    data = {"runs": table()}
    assert judging.verdicts(order, data) == {"tau_mem": "agree", "tau_mem_10": "agree", "tau_mem_chance": "differ"}
    text = judging.dependence(order, data)
    assert text.startswith("**The verdict depends on the criterion of copying:** agree as above")
    assert "differ by the former criteria" in text
    same = judging.dependence(lambda data: "nothing: agree", data)
    assert same == "The verdict is the same by memorization of 0.1 and by the former criteria."
    assert judging.dependence(order, {"curves": pd.DataFrame({"step": [1]})}) == ""


def test_the_former_criterion_goes_with_the_former_rule_clock():
    data = {"runs": table(), "other": pd.DataFrame({"x": [1]})}
    former = judging.under(data, "tau_mem_chance")["runs"].iloc[0]
    assert (former["tau_mem_upper"], former["tau_rule_upper"]) == (10.0, 30.0)
    ten = judging.under(data, "tau_mem_10")["runs"].iloc[0]
    assert (ten["tau_mem_upper"], ten["tau_rule_upper"]) == (60.0, 20.0)
    assert judging.under(data, "tau_mem")["runs"].equals(data["runs"])
    with pytest.raises(ValueError, match="criterion must be one of"):
        judging.under(data, "tau_novel")


def test_one_line_keeps_the_verdict_and_the_first_clauses_that_fit():
    long = "; ".join(" ".join([f"word{k}"] * 20) for k in range(4))
    assert judging.one_line(f"{long}; agree") == f"agree: {' '.join(['word0'] * 20)}"
    assert judging.one_line("short: differ") == "differ: short"
    assert len(judging.one_line(f"{' '.join(['w'] * 60)}: undecided").split()) <= judging.MOST_WORDS


@pytest.mark.parametrize("number", FIGURES)
def test_every_committed_answer_has_a_line_of_under_40_words(number):
    data = read_data(results_folder("laptop", number))
    measured = figure_module(number).measured(data)
    line = judging.one_line(measured)
    assert len(line.split()) < 40
    assert line.split(":")[0] == judging.last_word(measured)
