"""The table of all clocks as Markdown and LaTeX."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

import twoclocks as tc
from twoclocks.empirics.text_tables import latex_table

RUNS = pd.DataFrame(
    {
        "rule": ["parity:6x6,G=3"] * 3 + ["row_k|50%"] * 2,
        "model": "gpt-nano",
        "n_train": [64] * 3 + [128] * 2,
        "seed": [0, 1, 2, 0, 1],
        "tau_rule_lower": [94, 81, 94, 10, 10],
        "tau_rule_upper": [108, 94, 124, 12, 12],
        "tau_mem_lower": [400, 400, 520, 700, 800],
        "tau_mem_upper": [520, 520, np.inf, np.inf, np.inf],
    }
)


def test_markdown() -> None:
    lines = tc.statistics.cells_to_markdown(tc.clocks_by_cell(RUNS)).splitlines()
    assert lines[0] == "| rule | model | n_train | runs | tau_rule | tau_mem |"
    assert lines[2] == (
        "| parity:6x6,G=3 | gpt-nano | 64 | 3 | (94, 108]; all in (81, 124] | "
        "(400, 520]; all > 400; 1 of 3 censored |"
    )  # fmt: skip
    assert lines[3] == (
        r"| row_k\|50% | gpt-nano | 128 | 2 | (10, 12] | > 750; all > 700; 2 of 2 censored |"
    )  # fmt: skip
    by_rule = tc.statistics.cells_to_markdown(tc.clocks_by_cell(RUNS, by=["rule"]))
    assert by_rule.startswith("| rule | runs | tau_rule | tau_mem |")


def check_latex(text: str) -> None:
    """Balanced braces and environments, as many columns in every row as the tabular declares, specials escaped."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [("begin", "tabular"), ("end", "tabular")]
    columns = len(re.search(r"\\begin\{tabular\}\{(l+)\}", text)[1])  # type: ignore[index]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) >= 2
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == columns - 1
        assert not re.search(r"(?<!\\)[_%#]", row)
        assert len(re.findall(r"(?<!\\)\$", row)) % 2 == 0
        assert not re.search(r"[<>]", re.sub(r"\$.*?\$", "", row))


def test_latex_is_balanced() -> None:
    text = tc.statistics.cells_to_latex(tc.clocks_by_cell(RUNS))
    check_latex(text)
    assert r"$>$ 750; all $>$ 700; 2 of 2 censored" in text
    seen = RUNS.assign(tau_mem_upper=1.3 * RUNS["tau_mem_lower"])
    check_latex(tc.fit_scaling(seen, onset="tau_mem", by="model", n_boot=0).to_latex())


def test_every_special_character_is_escaped() -> None:
    escaped = latex_table(["a^b~{c}\\d"], [["x"]]).splitlines()[2]
    assert escaped == r"a\textasciicircum{}b\textasciitilde{}\{c\}\textbackslash{}d \\"
