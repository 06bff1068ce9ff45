"""What the snippets of a page print, and whether the page shows it.

A Python fence prints as a session does: whatever it prints, and the value of each line that is an expression. A fence
``text`` after it shows that. Numbers agree to one part in a hundred. After ``<!-- varies -->``, as where networks are
trained, the words of the first line alone agree, such as the names of columns. To write what is printed into a page,
from a folder where the runs are that it reads (with --slow also after the snippets that take long):

    python tests/shown_output.py docs/guides/your-rule.md
"""

from __future__ import annotations

import ast
import io
import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from math import isclose
from pathlib import Path

FENCE = re.compile(
    r"(?P<slow>^<!-- slow -->\n)?^```python\n(?P<code>.*?)^```$"
    r"(?:\n\n(?P<varies><!-- varies -->\n)?```text\n(?P<shown>.*?)^```$)?",
    re.M | re.S,
)
_NUMBER = re.compile(r"(?<![\w.])[+-]?(?:\d[\d,]*(?:\.\d*)?(?:e[+-]?\d+)?|inf|nan)(?!\w)")


@dataclass(frozen=True)
class Snippet:
    """A Python fence, and the output that the page shows after it."""

    code: str
    shown: str
    slow: bool
    varies: bool


def snippets(page: Path) -> list[Snippet]:
    """The Python fences of a page, in order."""
    return [
        Snippet(found["code"], found["shown"] or "", bool(found["slow"]), bool(found["varies"]))
        for found in FENCE.finditer(page.read_text())
    ]


def printed(code: str, names: dict, where: str) -> str:
    """Run a snippet in a namespace; what a session would print."""
    out = io.StringIO()
    with redirect_stdout(out):
        for node in ast.parse(code).body:
            if isinstance(node, ast.Expr):
                value = eval(compile(ast.Expression(node.value), where, "eval"), names)
                if value is not None and " object at 0x" not in repr(value):
                    print(repr(value))
            else:
                exec(compile(ast.Module([node], []), where, "exec"), names)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def check(snippet: Snippet, got: str, where: str) -> None:
    """AssertionError, unless the page shows what was printed."""
    same = _same_first_words if snippet.varies else agree
    assert same(snippet.shown, got), f"{where}: after\n\n{snippet.code}\nis shown\n\n{snippet.shown}\nnot\n\n{got}"


def agree(shown: str, got: str) -> bool:
    """Whether two texts have the same words, and the same numbers to one part in a hundred."""
    if [part.split() for part in _NUMBER.split(shown)] != [part.split() for part in _NUMBER.split(got)]:
        return False
    pairs = zip(_NUMBER.findall(shown), _NUMBER.findall(got), strict=True)
    return all(a == b or isclose(_value(a), _value(b), rel_tol=1e-2, abs_tol=1e-9) for a, b in pairs)


def agree_in_part(shown: str, got: str) -> bool:
    """As `agree`, where a line ``...`` stands for lines that are not shown."""
    lines, at = got.splitlines(), 0
    for part in re.split(r"^\.\.\.\n", shown, flags=re.M):
        n = len(part.splitlines())
        starts = [k for k in range(at, len(lines) - n + 1) if agree(part, "\n".join(lines[k : k + n]))]
        if not starts:
            return False
        at = starts[0] + n
    return True


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _same_first_words(shown: str, got: str) -> bool:
    first, other = (re.findall(r"[a-z_]{4,}", text.partition("\n")[0]) for text in (shown, got))
    return first == other and bool(shown) == bool(got)


def write(page: Path, slow: bool) -> None:
    """Run a page, and put after each fence what it printed."""
    names: dict = {"__name__": "__main__"}

    def filled(found: re.Match) -> str:
        if found["slow"] and not slow:
            return found[0]
        got = printed(found["code"], names, str(page))
        fence = f"{found['slow'] or ''}```python\n{found['code']}```"
        return f"{fence}\n\n{found['varies'] or ''}```text\n{got}```" if got else fence

    page.write_text(FENCE.sub(filled, page.read_text()))


if __name__ == "__main__":
    pages = [argument for argument in sys.argv[1:] if argument != "--slow"]
    for given in pages:
        write(Path(given), slow="--slow" in sys.argv)
