"""The subcommands of ``twoclocks``: each is a thin call of the Python API."""

from .command import Command
from .doctor import DoctorCommand
from .figure import FigureCommand
from .merge import MergeCommand
from .run import RunCommand
from .runs import CompareCommand, DissectCommand, ReportCommand
from .sweep import SweepCommand
from .tables import FitCommand
from .theory import BaselineCommand, DeriveCommand

COMMANDS: dict[str, type[Command]] = {
    "run": RunCommand,
    "sweep": SweepCommand,
    "report": ReportCommand,
    "baseline": BaselineCommand,
    "derive": DeriveCommand,
    "fit": FitCommand,
    "compare": CompareCommand,
    "dissect": DissectCommand,
    "figure": FigureCommand,
    "merge": MergeCommand,
    "doctor": DoctorCommand,
}
