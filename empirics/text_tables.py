"""Rows of text as Markdown and LaTeX tables, and an estimate with its interval as text."""

from __future__ import annotations

from collections.abc import Sequence

_LATEX = {character: f"\\{character}" for character in "_&%#${}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "τ": r"$\tau$",
}  # fmt: skip


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A LaTeX tabular with booktabs rules, special characters escaped."""
    body = [r" & ".join(_escape(str(cell)) for cell in line) + r" \\" for line in [header, *rows]]
    top, bottom = rf"\begin{{tabular}}{{{'l' * len(header)}}}", r"\end{tabular}"
    return "\n".join([top, r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule", bottom])


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by blanks, for the terminal."""
    lines = [list(map(str, line)) for line in [header, *rows]]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def interval_text(estimate: float, low: float, high: float) -> str:
    """An estimate with its interval, as in "0.78 (0.75 to 0.81)"."""
    return f"{estimate:.2f} ({low:.2f} to {high:.2f})"


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
