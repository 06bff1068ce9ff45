"""Reading a folder that a stranger may have made: no link is followed, no size is trusted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .files import DamagedFile


def read_regular(path: str | Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        DamagedFile: a link, a pipe or a device, or larger than the limit.
        OSError: no such file, or one that cannot be read.
    """
    # O_NONBLOCK: opening a pipe would wait for a writer that never comes
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if os.path.islink(path):
        raise DamagedFile(f"{printable(path)} is a symbolic link; put the file itself there")
    with open(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DamagedFile(f"{printable(path)} is not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise DamagedFile(f"{printable(path)} is larger than {limit:,} bytes, more than a run can have written")
    return content


def printable(text: object) -> str:
    """A name fit for a message: what could steer a terminal is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(text))
