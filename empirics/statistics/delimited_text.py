"""Text in columns: what separates them, and each row's cells with its line; a row of another length is refused."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from io import StringIO

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Cells:
    """A table as it is written.

    Attributes:
        names: of the columns, stripped of blanks; a column without a name is called ``Unnamed: k``.
        columns: the cells of each column, stripped of blanks.
        lines: of the file, on which each row begins, counted from 1.
        separator: of the columns.
    """

    names: list[str]
    columns: list[list[str]]
    lines: list[int]
    separator: str


def read_delimited(text: str, known: re.Pattern[str]) -> Cells:
    """The cells of a table in text, separated by commas, semicolons, tabs or bars.

    Args:
        text: the file's, with any line ends.
        known: names of columns, by which the separator is told from a mark within a name.

    Raises:
        ValueError: no header, no separator or several that would do, two columns of one name, quotes that do not close,
            or a row whose number of cells is not the header's. The message names the line.
    """
    separator, skipped = None, 0
    while (line := re.match(r"[^\r\n]*(?:\r\n|\r|\n|\Z)", text)) and text:
        if named := re.fullmatch(r"sep=([,;\t|])", line[0].strip("\r\n ")):
            separator = named[1]
        elif line[0].strip():
            break
        text, skipped = text[line.end() :], skipped + 1
    if not text.strip():
        raise ValueError("it holds no header")
    if text.startswith("#"):
        raise ValueError(f"line {skipped + 1} begins with '#'; remove comments from the head of the table")
    separator = separator or _find_separator(text, known)
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    line_before = 0
    names: list[str] = []
    columns: list[list[str]] = []
    lines: list[int] = []
    same: dict[str, str] = {}  # one text for equal cells: a table repeats itself
    try:
        for row in reader:
            at, line_before = skipped + line_before + 1, reader.line_num
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not names:
                names = _names(cells)
                columns = [[] for _ in names]
                continue
            while len(cells) > len(names) and not cells[-1]:
                cells.pop()  # separators that end a line
            if len(cells) != len(names):
                hint = (
                    "; put a cell that holds a comma in quotes" if separator == "," and len(cells) > len(names) else ""
                )
                raise ValueError(f"line {at} has {len(cells)} cells, the header {len(names)}{hint}")
            for column, cell in zip(columns, cells, strict=True):
                column.append(same.setdefault(cell, cell))
            lines.append(at)
    except csv.Error as fault:
        raise ValueError(f"line {skipped + line_before + 1}: {fault}") from None
    keep = [k for k, name in enumerate(names) if name or any(columns[k])]
    named_columns = [names[k] or f"Unnamed: {k}" for k in keep]
    return Cells(named_columns, [columns[k] for k in keep], lines, separator)


def _names(cells: list[str]) -> list[str]:
    for k, name in enumerate(cells):
        if name and name in cells[:k]:
            raise ValueError(f"two columns are called {name!r}; rename one")
    return cells


def _find_separator(text: str, known: re.Pattern[str]) -> str:
    """The mark that splits the header into known names, or else into most."""
    headers: dict[str, list[str]] = {}
    for mark in SEPARATORS:
        try:
            cells = next(csv.reader(StringIO(text, newline=""), delimiter=mark, skipinitialspace=True, strict=True))
        except (csv.Error, StopIteration):
            continue
        if len(cells) > 1:
            headers[mark] = [cell.strip() for cell in cells]
    header = text.splitlines()[0].strip()
    if not headers:
        said = "has columns separated by blanks" if len(header.split()) > 1 else "has a single column"
        raise ValueError(f"it {said} (header: {header[:60]}); separate columns by commas, semicolons or tabs")
    sensible = [mark for mark, cells in headers.items() if any(map(known.fullmatch, cells))]
    if len(sensible) == 1:
        return sensible[0]
    most = max(len(cells) for cells in headers.values())
    best = [mark for mark, cells in headers.items() if len(cells) == most]
    if len(best) > 1:
        both = " and ".join(SEPARATORS[mark] for mark in best)
        raise ValueError(f"{both} may both separate its columns (header: {header[:60]}); use one of them")
    return best[0]
