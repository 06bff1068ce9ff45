"""Numbers as people and programs write them: decimal commas, thousands marks, infinities; nothing is guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

_INFINITE = re.compile(r"[+-]?(?:inf|infinity|∞)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?([0-9.,'\u2019 \u00a0\u2009\u202f]*[0-9][.,]?)(?:[eE][+-]?[0-9]+)?")
_GROUPS = re.compile(r"[1-9][0-9]{0,2}([.,])[0-9]{3}")  # 1,234 is 1.234 or 1234


@dataclass(frozen=True)
class Marks:
    """Which of comma and point is the decimal mark; the other one, blanks and apostrophes group thousands."""

    decimal: str = "."

    @cached_property
    def _written(self) -> re.Pattern[str]:
        thousands = "," if self.decimal == "." else "."
        point = re.escape(self.decimal)
        grouped = rf"[0-9]{{1,3}}(?:([{re.escape(thousands)}'\u2019 \u00a0\u2009\u202f])[0-9]{{3}})(?:\1[0-9]{{3}})*"
        return re.compile(
            rf"[+-]?(?:{grouped}(?:{point}[0-9]*)?|[0-9]+(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"
        )

    def number(self, text: str) -> float | None:
        """The number that a text writes, None where it writes none.

        Raises:
            ValueError: a number beyond the range of float64, such as 1e999.
        """
        text = text.strip()
        if _INFINITE.fullmatch(text):
            return -math.inf if text.startswith("-") else math.inf
        if not self._written.fullmatch(text):
            return None
        plain = re.sub(rf"[^0-9eE+\-{re.escape(self.decimal)}]", "", text).replace(",", ".")
        value = float(plain)
        if math.isinf(value) or (value == 0 and re.search("[1-9]", plain.lower().partition("e")[0])):
            raise ValueError(f"is {text}, beyond the range of numbers")
        return value


def find_marks(cells: Iterable[tuple[str, str]], wary: bool) -> Marks:
    """The marks that written numbers use, from those that leave no doubt.

    Args:
        cells: where each stands, and its text; texts that are no numbers say nothing.
        wary: doubt points too: 1.200 beside no other point may be 1200 where the decimal mark is a comma.

    Raises:
        ValueError: both marks are in use, or a number may be read in two ways.
    """
    sure: dict[str, str] = {}  # decimal mark -> where it was seen
    doubtful: dict[str, str] = {}  # the mark in doubt -> where
    for place, text in cells:
        if not (found := _NUMBER.fullmatch(text.strip())):
            continue
        body = found[1]
        commas, points = body.count(","), body.count(".")
        if commas and points:
            decimal = max(",.", key=body.rfind)
        elif commas > 1 or points > 1:
            decimal = "." if commas else ","
        elif commas + points == 0:
            continue
        elif _GROUPS.fullmatch(body):
            doubtful.setdefault("," if commas else ".", f"{place} is {text.strip()}")
            continue
        else:
            decimal = "," if commas else "."
        sure.setdefault(decimal, f"{place} is {text.strip()}")
    if len(sure) > 1:
        raise ValueError(f"comma and point both mark decimals: {sure[',']}, {sure['.']}; write one way throughout")
    if sure:
        return Marks(next(iter(sure)))
    if "," in doubtful or (wary and doubtful):
        seen = doubtful.get(",") or doubtful["."]
        raise ValueError(
            f"{seen}, which may be a decimal or a thousands mark; write a decimal point and no thousands marks"
        )
    return Marks()
