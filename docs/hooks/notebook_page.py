"""An executed notebook as a Markdown page with its pictures."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any, NamedTuple

import nbformat


class NotebookPage(NamedTuple):
    """The text of a page, and the files that it shows by name."""

    markdown: str
    pictures: dict[str, bytes]


def notebook_page(path: Path) -> NotebookPage:
    """Cells in order: text as it is, code fenced, then its outputs: text, tables and PNG pictures."""
    notebook = nbformat.read(path, as_version=4)
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data: Any = output.get("data", {})
            if output.output_type == "error":
                raise ValueError(f"{path}: a cell ended in {output.ename}; execute the notebook again")
            if "image/png" in data:
                name = f"{path.stem}_{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![Output of the cell above]({name})")
            elif "text/html" in data:
                parts.append(_table(data["text/html"]))
            else:
                text = data.get("text/plain", output.get("text", ""))
                parts.append(f"```{{.text .output}}\n{text.rstrip()}\n```")
    return NotebookPage("\n\n".join(parts) + "\n", pictures)


def _table(html: str) -> str:
    """A data frame's table alone, so that the site's own style applies; it must not break across blank lines."""
    found = re.search(r"<table.*</table>", html, flags=re.S)
    if found is None:
        raise ValueError("an output holds HTML that is not a table")
    plain = re.sub(r"<(table|tr|th)[^>]*>", r"<\1>", found[0])
    return re.sub(r"\n\s*", "", plain)
