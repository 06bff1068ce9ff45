"""The entry point of the command ``twoclocks``."""

from __future__ import annotations

import os
import sys
import traceback

from .empirics.interrupts import Terminated, terminable
from .empirics.time_limit import TimeOver


def main(arguments: list[str] | None = None) -> None:
    """Run a command; `commands.parsing.DESCRIPTION` lists the exit statuses."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verbose = arguments[:1] == ["-v"]
    try:
        with terminable():
            _run(arguments[verbose:])
    except BrokenPipeError:  # the reader, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except (ValueError, OSError) as fault:
        if verbose:
            traceback.print_exc()
        else:
            print(f"twoclocks: {' '.join(str(fault).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except TimeOver as over:  # as was asked for: no failure
        print("; ".join(["twoclocks: " + str(over), *getattr(over, "__notes__", [])]))
    except (KeyboardInterrupt, Terminated) as stop:
        word, status = ("terminated", 143) if isinstance(stop, Terminated) else ("interrupted", 130)
        told = [f"twoclocks: {word}", str(stop), *getattr(stop, "__notes__", [])]
        print("; ".join(filter(None, told)), file=sys.stderr)
        raise SystemExit(status) from None


def _run(arguments: list[str]) -> None:
    # Imported only here, so that an interruption of the imports, which take seconds, ends in a line too.
    from .commands.console import print_anywhere

    print_anywhere(sys.stdout, sys.stderr)
    os.environ["MPLBACKEND"] = "agg"  # every figure is a file: what a display would need is of no concern
    if arguments == ["--version"]:
        from .empirics.versions import own_version

        print(f"twoclocks {own_version()}")
        return
    from .commands.parsing import parse
    from .empirics.plugins import load_installed_plugins, load_plugins

    command = parse(arguments)
    load_installed_plugins()
    load_plugins(command.plugin)
    command()
