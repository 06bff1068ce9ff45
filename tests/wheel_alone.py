"""The wheel in an empty environment, outside the clone: what a newcomer does first. `make release` runs this.

python tests/wheel_alone.py dist/twoclocks-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

TINY = "--model gpt-nano --rule parity:2x6,G=2 --n-train 16 --steps 30 --batch-size 8 --n-eval 16 --out runs/tiny"
DIGITS = "--data digits --model dit-nano --n-train 32 --patch 4 --steps 4 --batch-size 8 --n-eval 16 --out runs/digits"
WALK = {  # a command, and what its output must hold
    "--version": "twoclocks",
    "doctor --no-speed": "precision auto",
    "baseline latin:6": "812,851,200",
    f"run {TINY}": "tau_rule",
    f"run {DIGITS}": "tau_best",
    "compare runs/digits --n-samples 16 --sigmas 0.5 1": "comparison.csv",
    "report runs/tiny": "report.html",
}


def walk(twoclocks: Sequence[str], folder: Path) -> None:
    """Run each command of `WALK` in a folder.

    Args:
        twoclocks: how the command is started.
        folder: a new one, outside the clone.

    Raises:
        AssertionError: a command failed, or printed something else.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for line, expected in WALK.items():
        started = time.monotonic()
        done = subprocess.run([*twoclocks, *line.split()], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"twoclocks {line}: {done.stderr}"
        assert expected in done.stdout, f"twoclocks {line} printed no {expected!r}: {done.stdout}"
        print(f"{time.monotonic() - started:5.1f} s  twoclocks {line}", flush=True)


def main(wheel: Path) -> None:
    """Make an environment, install the wheel and what it needs, and walk."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        venv.create(folder / "environment", with_pip=True)
        scripts = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
        started = time.monotonic()
        constraints = Path(__file__).parents[1] / "constraints.txt"
        command = [scripts / "pip", "install", "--quiet", "-c", constraints, f"{wheel.resolve()}[data]"]
        subprocess.run(command, check=True)
        print(f"{time.monotonic() - started:5.1f} s  pip install {wheel.name}[data]", flush=True)
        (folder / "work").mkdir()
        walk([str(scripts / "twoclocks")], folder / "work")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
