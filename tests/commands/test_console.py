"""Printing where the encoding lacks characters."""

import io

import pytest

from twoclocks.commands.console import print_anywhere


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("\N{BULLET} run", "* run"),
        ("\N{GREEK SMALL LETTER SIGMA}\N{SUPERSCRIPT TWO}", "sigma2"),
        ("Erd\N{LATIN SMALL LETTER O WITH DOUBLE ACUTE}s", "Erdos"),
        ("\N{SNOWMAN} \udcff", "? ?"),
    ],
)
def test_what_ascii_lacks_is_spelt(text, printed):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_anywhere(stream, io.StringIO())
    stream.write(text)
    stream.flush()
    assert stream.buffer.getvalue() == printed.encode()
