"""Docstrings as Markdown: literal blocks and tables of reStructuredText, angle brackets, links to public names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import griffe

ROOT = "twoclocks"
SPACES = ("compare", "probes", "statistics", "theory", "empirics")


class MarkdownDocstrings(griffe.Extension):
    """Rewrites every docstring of the package once it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        homes: dict[str, str] = {}
        public = {name: member for name, member in pkg.members.items() if _is_public(member)}

        for space in SPACES:  # names that the root leaves to a namespace
            for name, member in pkg[space].members.items():
                if name not in public and _is_public(member):
                    public[name] = member
                    homes[name] = f"{ROOT}.{space}"

        def link(name: str) -> str | None:
            """The target of a name in backticks; None when it has no entry in the reference."""
            first, *rest = name.split(".")
            if first not in public:
                return None
            found: Any = public[first]
            for part in rest:
                found = found.members.get(part)
                if found is None or not found.has_docstring:
                    return None
            return f"{homes.get(first, ROOT)}.{name}"

        for item in _walk(pkg):
            if item.docstring is not None:
                item.docstring.value = to_markdown(item.docstring.value, link)


def _is_public(member: Any) -> bool:
    """Whether a member of a package is a name of ours that its stub exports, and no module."""
    try:
        return bool(member.is_alias and member.target_path.startswith(f"{ROOT}.") and not member.is_module)
    except griffe.AliasResolutionError:  # of another package
        return False


def to_markdown(text: str, link: Any = lambda name: None) -> str:
    """A docstring whose literal blocks are fenced, whose tables are Markdown's, and whose names are links.

    Args:
        text: a docstring without the indentation of its code.
        link: the identifier of a name in backticks, or None.
    """
    lines = _one_name_an_entry(text.split("\n"))
    done: list[str] = []
    k = 0
    while k < len(lines):
        line = lines[k]
        if _BORDER.fullmatch(line):
            size = _table_size(lines[k:])
            done += _table(lines[k : k + size], link)
            k += size
        elif line.rstrip().endswith("::"):
            done.append(_prose(line.rstrip()[:-1], link))
            size = _block_size(lines[k + 1 :], _indent(line))
            done += _fenced(lines[k + 1 : k + 1 + size], nested=_indent(line) > 0)
            k += 1 + size
        else:
            done.append(_prose(line, link))
            k += 1
    return "\n".join(done)


_SEVERAL = re.compile(r"(    )(\w+(?:, \w+)+)(: .*)")
_BORDER = re.compile(r"\s*=+( +=+)+\s*")
_NAME = re.compile(r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)*)`(?!`)")
_CODE = re.compile(r"(``.+?``|`[^`]+`)")


def _walk(item: griffe.Object) -> Iterator[griffe.Object]:
    yield item
    for member in item.members.values():
        if not member.is_alias:
            yield from _walk(member)  # type: ignore[arg-type]


def _one_name_an_entry(lines: list[str]) -> list[str]:
    """The lines with each entry ``a, b: text`` of arguments and attributes as two."""
    done: list[str] = []
    section = ""
    k = 0
    while k < len(lines):
        line = lines[k]
        if line.strip() and not _indent(line):
            section = line.strip()
        found = _SEVERAL.fullmatch(line)
        size = 1
        if found and section in ("Args:", "Attributes:"):
            size += _block_size(lines[k + 1 :], len(found[1]))
            more = lines[k + 1 : k + size]
            while more and not more[-1].strip():
                more.pop()
            for name in found[2].split(", "):
                done += [f"{found[1]}{name}{found[3]}", *more]
            done += lines[k + 1 + len(more) : k + size]
        else:
            done.append(line)
        k += size
    return done


def _prose(line: str, link: Any) -> str:
    """Angle brackets escaped outside code: ``<f - p, q - p>`` is no tag. Names become links."""
    parts = _CODE.split(line)
    for k, part in enumerate(parts):
        if k % 2 == 0:
            parts[k] = part.replace("<", "&lt;")
        elif (found := _NAME.fullmatch(part)) and (target := link(found[1])):
            parts[k] = f"[{part}][{target}]"
    return "".join(parts)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block_size(lines: list[str], indent: int) -> int:
    """How many of the lines are blank or indented further."""
    return sum(1 for _ in takewhile(lambda line: not line.strip() or _indent(line) > indent, lines))


def _fenced(lines: list[str], nested: bool) -> list[str]:
    """A fence: as far in as the block within an entry, at the margin elsewhere, where indented it would be text."""
    body = "\n".join(lines).strip("\n").split("\n")
    margin = " " * min(_indent(line) for line in body if line.strip())
    if not nested:
        body, margin = [line.removeprefix(margin) for line in body], ""
    language = "python" if any(line.strip().startswith(("class ", "def ")) for line in body) else "yaml"
    return ["", f"{margin}```{language}", *body, f"{margin}```", ""]


def _table_size(lines: list[str]) -> int:
    """Lines up to the third border."""
    borders = [k for k, line in enumerate(lines) if _BORDER.fullmatch(line)]
    return borders[2] + 1


def _table(lines: list[str], link: Any) -> list[str]:
    margin = " " * _indent(lines[0])
    edges = [found.span() for found in re.finditer("=+", lines[0])]
    columns = [(start, end if k + 1 < len(edges) else None) for k, (start, end) in enumerate(edges)]
    rows: list[list[str]] = []
    for line in lines[1:-1]:
        if _BORDER.fullmatch(line):
            continue
        cells = [line[start:end].strip() for start, end in columns]
        if all(cells) or not rows:
            rows.append(cells)
        else:  # a row with an empty cell goes on with the one above
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    text = [[_prose(cell, link).replace("|", r"\|") for cell in row] for row in rows]
    rule = ["---"] * len(columns)
    return ["", *(f"{margin}| {' | '.join(row)} |" for row in [text[0], rule, *text[1:]]), ""]
