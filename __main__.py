"""The command ``twoclocks``, and ``python -m twoclocks``."""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    """Import the command line, which takes a moment, and run it."""
    # Linear algebra here is small: where other work keeps the cores busy, numpy's threads would wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    before = signal.signal(signal.SIGINT, _quit)
    from .cli import main as run

    signal.signal(signal.SIGINT, before)
    run()


def _quit(number: int, frame: FrameType | None) -> None:
    """Ctrl-C before anything has begun: no traceback through half an import."""
    os.write(2, b"twoclocks: interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
