"""From arguments to a command, or to one line that says what is wrong with them."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import itertools
from collections.abc import Iterable

import tyro

from ..empirics.config import RunConfig
from . import COMMANDS
from .command import Command

DESCRIPTION = """When does a model learn the rule, and when does it copy its training set?

-v before a command shows the traceback of an error; --version the version.

Shell completion: twoclocks --tyro-print-completion bash (or zsh, tcsh).

Exit status: 0 done, or out of --max-time; 1 some runs failed or diverged;
2 bad input (one line); 130 interrupted; 143 terminated."""


def parse(arguments: list[str]) -> Command:
    """The command that the arguments ask for.

    Raises:
        ValueError: they ask for none; one line that names the fault.
        SystemExit: they asked for help, which has been printed.
    """
    name, *options = arguments or [""]
    if name and name not in COMMANDS and not name.startswith("-"):
        raise ValueError(f"unknown command {name!r}{_meant(name, COMMANDS)}; see twoclocks --help")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            if name not in COMMANDS:  # help, shell completion, or nothing
                return tyro.extras.subcommand_cli_from_dict(
                    {**COMMANDS}, args=arguments, prog="twoclocks", description=DESCRIPTION
                )
            prog = f"twoclocks {name}"
            command, left = tyro.cli(COMMANDS[name], args=options, prog=prog, return_unknown_args=True)
    except SystemExit as ended:
        if not ended.code:
            raise  # --help
        if name in COMMANDS:
            _refuse_unknown(name, options)
        where = f"twoclocks {name}" if name in COMMANDS else "twoclocks"
        raise ValueError(f"{_fault(said.getvalue())}; see {where} --help") from None
    _refuse_unknown(name, left)
    if left:
        raise ValueError(f"{left[0]!r} is one argument too many; see twoclocks {name} --help")
    return command


def option_names(command: type[Command]) -> list[str]:
    """The options of a command, such as --n-train; switches also with --no-."""
    names = ["--help"]
    for field in dataclasses.fields(command):
        if "Positional" in str(field.type):
            continue
        for part in dataclasses.fields(RunConfig) if field.name == "config" else (field,):
            option = part.name.replace("_", "-")
            names += [f"--{option}", f"--no-{option}"] if str(part.type) == "bool" else [f"--{option}"]
    return names


def _refuse_unknown(name: str, arguments: Iterable[str]) -> None:
    """ValueError for the first option that the command does not have."""
    known = option_names(COMMANDS[name])
    for argument in arguments:
        option = argument.partition("=")[0]
        if option.startswith("--") and len(option) > 2 and option.replace("_", "-") not in known:
            near = _meant(option, known)
            raise ValueError(f"unknown option {option} of twoclocks {name}{near}; see twoclocks {name} --help")


def _meant(text: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(text, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _fault(said: str) -> str:
    """The first sentence of tyro's box, in one line."""
    _, *lines = [line.strip(" │╭╮╰╯─-") for line in said.splitlines()] or [""]  # without the box's title
    started = itertools.dropwhile(lambda line: not line, lines)
    return " ".join(itertools.takewhile(bool, started)).rstrip(".")  # up to the next rule
