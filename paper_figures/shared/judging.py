"""By which criteria a figure's clocks are, and what it would answer by others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

import pandas as pd

from .verdicts import Word

Data = Mapping[str, pd.DataFrame]
MOST_WORDS = 39
"""Of an answer in one line."""
HEADLINE = "tau_mem"
CRITERIA = {
    HEADLINE: "copying beyond the null",
    "tau_mem_10": "a memorization of 0.1",
    "tau_mem_chance": "the former criteria",
}
"""Criteria of copying by which a figure is judged, in words; the last goes with a tau_rule that counts copies."""


def has_clocks(data: Data) -> bool:
    """Whether some table holds the clock of copying."""
    return any("tau_mem_lower" in table for table in data.values())


def under(data: Data, criterion: str) -> dict[str, pd.DataFrame]:
    """The tables with another criterion of copying in place of tau_mem; the former one also replaces tau_rule.

    Raises:
        ValueError: a criterion that is not one of `CRITERIA`.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")
    replaced = {"tau_mem": criterion}
    if criterion == "tau_mem_chance":
        replaced["tau_rule"] = "tau_rule_all"
    tables = {}
    for name, table in data.items():
        if "null" in table and criterion != HEADLINE:
            ends = {f"{clock}_{end}": table[f"{other}_{end}"] for clock, other in replaced.items()
                    for end in ("lower", "upper") if f"{other}_{end}" in table}  # fmt: skip
            table = table.assign(**ends)
        tables[name] = table
    return tables


def verdicts(measured: Callable[[Data], str], data: Data) -> dict[str, str]:
    """The word that ends a figure's line by each criterion of `CRITERIA`; only the headline's without clocks."""
    chosen = CRITERIA if has_clocks(data) else {HEADLINE: ""}
    return {name: last_word(measured(under(data, name))) for name in chosen}


def one_line(measured: str) -> str:
    """The answer of a figure in at most `MOST_WORDS` words: its verdict, then the first clauses that fit.

    Args:
        measured: a figure's line, clauses apart by "; ", of which the last word is the verdict.
    """
    verdict = last_word(measured)
    text = measured.removesuffix(verdict).rstrip(" ;:,")
    chosen = ""
    ends = [k for k in range(len(text)) if text.startswith("; ", k) and _outside_brackets(text[:k])]
    for low, high in zip([0, *(k + 2 for k in ends)], [*ends, len(text)], strict=True):
        clause = text[low:high]
        longer = f"{chosen}; {clause}" if chosen else clause
        if len(longer.split()) > MOST_WORDS - 1:
            break
        chosen = longer
    return f"{verdict}: {chosen or _cut(text)}"


def _cut(text: str) -> str:
    """The beginning of a long clause, up to a comma or "and" outside brackets where its later half has one."""
    short = " ".join(text.split()[: MOST_WORDS - 2])
    places = [
        k for k in range(len(short) // 2, len(short))
        if short.startswith((", ", " and "), k) and _outside_brackets(short[:k])
    ]  # fmt: skip
    return f"{short[: places[-1]] if places else short.rstrip(',;(')} …"


def _outside_brackets(text: str) -> bool:
    """Whether every bracket of a text is closed; half-open intervals (a, b] close with the other kind."""
    return sum(map(text.count, "([")) == sum(map(text.count, ")]"))


def dependence(measured: Callable[[Data], str], data: Data) -> str:
    """Whether a figure's verdict depends on the criterion of copying, in a sentence; empty without clocks."""
    if not has_clocks(data):
        return ""
    words = verdicts(measured, data)
    if len(set(words.values())) == 1:
        return "The verdict is the same by memorization of 0.1 and by the former criteria."
    each = ", ".join(f"{word} by {CRITERIA[name]}" for name, word in words.items() if name != HEADLINE)
    return f"**The verdict depends on the criterion of copying:** {words[HEADLINE]} as above, {each}."


def last_word(measured: str) -> str:
    """The verdict that ends a figure's line.

    Raises:
        ValueError: it ends in another word.
    """
    word = measured.rpartition(" ")[2]
    if word not in (words := get_args(Word)):
        raise ValueError(f"a figure's line must end in one of {', '.join(words)}, got {word!r}")
    return word
