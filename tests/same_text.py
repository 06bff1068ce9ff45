"""Pages of computed numbers, made again: the last digits of a computation differ between processors."""

import re

DECIMAL = re.compile(r"\d+\.\d+")


def assert_same_text(made: str, committed: str) -> None:
    """The same words and whole numbers, and decimals that are at most one unit of their last digit apart."""
    assert DECIMAL.sub("#", made) == DECIMAL.sub("#", committed)
    for number, expected in zip(DECIMAL.findall(made), DECIMAL.findall(committed), strict=True):
        unit = 10.0 ** -len(expected.partition(".")[2])
        assert abs(float(number) - float(expected)) < 1.5 * unit, f"{number} where {expected} is committed"
