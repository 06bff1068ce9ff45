"""One lock for whoever trains a run, by `train`, a resume or a sweep: it ends with the process that holds it."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .foreign_files import DamagedFile, brief, load_json, printable, read_regular

try:
    import fcntl
except ImportError:  # Windows keeps no such locks: there nothing guards a folder
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""The file in a run's folder that whoever trains the run holds; removed when it ends well."""

_TRIES, _PAUSE = 4, 0.05  # a look at a lock by `is_held` takes it for a moment


class FolderInUse(ValueError):
    """Another process trains the run of a folder now."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock a run's folder, made if missing, while it is written.

    The lock is the system's (flock), so it ends with the process that holds it, however that dies, and none is ever
    stale. It is in the folder itself: two names of one folder, and containers that share it, meet the same lock. NFS
    keeps it too (version 4, or 3 with its lock service), across machines.

    Raises:
        FolderInUse: another process holds it; the message names the process, its machine, and since when.
        DamagedFile: something else is at its place.
        OSError: the file system keeps no locks, or cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    handle = _acquire(path)
    holder = os.getpid()
    _HANDLES.add(handle)
    try:
        yield
    finally:
        if os.getpid() == holder:  # and not a child that a fork left inside this block
            with suppress(OSError):
                if _is_at(handle, path):
                    os.unlink(path)  # while it is held: whoever has it open sees that it is gone, and takes a new one
            _HANDLES.discard(handle)
            os.close(handle)


def is_held(folder: Path) -> bool:
    """Whether some process, on whatever machine, holds the lock of a run's folder."""
    try:
        handle = _open(folder / LOCK, 0)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not _lock(handle, folder / LOCK)
    finally:
        os.close(handle)


_HANDLES: set[int] = set()


def _let_go() -> None:
    """In a child of a fork: the lock shall end with the process that took it, not with its last child."""
    while _HANDLES:
        os.close(_HANDLES.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _acquire(path: Path) -> int:
    for attempt in range(1, 100):
        handle = _open(path, os.O_CREAT)
        try:
            if not _lock(handle, path):
                if attempt < _TRIES:
                    time.sleep(_PAUSE)
                    os.close(handle)
                    continue
                raise FolderInUse(f"{printable(path.parent)} is in use: {_holder(path)}; wait for it to end, or end it")
            if _is_at(handle, path):
                facts = {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": time.strftime(_SINCE, time.gmtime()),
                }
                os.ftruncate(handle, 0)
                os.write(handle, json.dumps(facts).encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder has just removed it: what was locked is no lock any more
    raise FolderInUse(f"{printable(path.parent)} is in use: its lock changes hands without end")


_SINCE = "%Y-%m-%d %H:%M:%S UTC"


def _open(path: Path, create: int) -> int:
    flags = os.O_RDWR | create | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as fault:
        if fault.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise DamagedFile(f"{printable(path)} is a link, a folder or a device; remove it") from None
        raise
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(handle)
        raise DamagedFile(f"{printable(path)} is not a regular file of its own; remove it")
    return handle


def _lock(handle: int, path: Path) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as fault:
        message = f"cannot lock {path} ({fault.strerror}): choose an --out on a file system that keeps locks"
        raise OSError(fault.errno, message) from None


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at its path."""
    try:
        here, there = os.fstat(handle), os.lstat(path)
    except FileNotFoundError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _holder(path: Path) -> str:
    try:
        facts = load_json(read_regular(path, 4096))
        pid, host, since = (brief(facts[name]) for name in ("pid", "host", "since"))
        return f"process {pid} on {host} has trained there since {since}"
    except (ValueError, LookupError, TypeError, OSError):
        return "another process trains there"
