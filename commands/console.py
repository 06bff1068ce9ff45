"""Printing on any terminal: what its encoding lacks is spelt in ASCII instead of ending the command."""

from __future__ import annotations

import codecs
import io
import unicodedata
from typing import IO

_SPELLINGS = {
    "\N{BULLET}": "*",
    "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-",
    "\N{BOX DRAWINGS LIGHT VERTICAL}": "|",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
}
_HANDLER = "twoclocks.spelt"


def print_anywhere(*streams: IO[str]) -> None:
    """Let streams print text that their encoding cannot hold, such as bullets or Greek letters under LC_ALL=C."""
    codecs.register_error(_HANDLER, _spell)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _spell(fault: UnicodeError) -> tuple[str, int]:
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    return "".join(map(_ascii, fault.object[fault.start : fault.end])), fault.end


def _ascii(character: str) -> str:
    """A bullet as *, an accented letter without its accent, a Greek letter by its name; else a question mark."""
    if character in _SPELLINGS:
        return _SPELLINGS[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK ") and " LETTER " in name:
        return name.rpartition(" LETTER ")[2].split()[0].lower()
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
