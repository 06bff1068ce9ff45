"""Reading and writing in a folder that a stranger may have made: no link is followed, no size is trusted."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
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


def replace_file(path: str | Path, content: bytes) -> None:
    """Write a file as a whole; a link at its place is replaced, not followed.

    Raises:
        OSError: not writable; what was there before is intact.
    """
    folder, name = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=folder or ".")  # new by construction: no planted link
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def printable(text: object) -> str:
    """A name fit for a message: what could steer a terminal is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(text))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
