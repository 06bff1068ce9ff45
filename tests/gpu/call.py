"""`make gpu`: the tests of the GPU, the table of speeds, then the queue of runs, until the time given is over.

    python3 tests/gpu/call.py --max-time 8m --out gpu-results

For a fresh machine with torch, little else and no network. Wheels of what it lacks are taken from the folder wheels/;
`make gpu-wheels`, where there is a network, fills it. A second call continues from the files in --out alone; Ctrl-C and
SIGTERM end a call earlier, with the same files.
"""

import argparse
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("lazy_loader", "matplotlib", "numpy", "pandas", "pyarrow", "safetensors", "scipy", "sympy", "torch", "tqdm")
"""Modules that training and measuring need."""
OPTIONAL = {"pytest": "the tests", "smalldiffusion": "the comparison of speeds with its DiT"}
LEAST = 20.0
"""Seconds without which no tests and no table of speeds are begun."""


def seconds_of(text):
    """As `twoclocks run --max-time`; written again, for the package may not be importable yet."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not text.strip() or not parts:
        raise argparse.ArgumentTypeError(f"a time is seconds, or such as 8m, 1h30m; got {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return 3600 * hours + 60 * minutes + seconds


def environment(build, wheels):
    """Where Python finds this package, under its name, and the wheels."""
    site, path = build / "gpu-site", build / "gpu-path"
    path.mkdir(parents=True, exist_ok=True)
    link = path / "twoclocks"
    if not link.exists():
        link.symlink_to(ROOT, target_is_directory=True)
    files = sorted(map(str, wheels.glob("*.whl")))
    if files and not site.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(site)]
        subprocess.run([*pip, *files], check=True)
    places = [str(path), *([str(site)] if site.exists() else []), os.environ.get("PYTHONPATH", "")]
    sys.path[:0] = places[:-1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), "OMP_NUM_THREADS": "1"}


def main():
    started = time.monotonic()
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--max-time", type=seconds_of, default=480.0, help="such as 8m; by default 8 minutes")
    options.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of at most 8 files of 16 MB")
    options.add_argument("--preset", default="paper", help="whose queue: paper, laptop or smoke")
    options.add_argument("--device", default="auto", help="auto, cuda or cpu")
    options.add_argument("--per-device", type=int, default=4, help="runs at a time on the GPU")
    options.add_argument("--workers", type=int, help="runs at a time on CPUs")
    options.add_argument("--runs", help="folder of the runs while they are trained; by default runs/figures-PRESET")
    options.add_argument("--wheels", type=Path, default=ROOT / "wheels")
    options.add_argument("--no-tests", action="store_true", help="leave the tests out, and the table of speeds")
    asked = options.parse_args()

    def left():
        return asked.max_time - (time.monotonic() - started)

    asked.out.mkdir(parents=True, exist_ok=True)
    found = environment(ROOT / "build", asked.wheels)
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise SystemExit(f"missing here: {', '.join(missing)}; bring their wheels in {asked.wheels} (make gpu-wheels)")
    for name, what in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not here: without {what}")

    def step(title, command, share, record=None):
        """Run a command for a share of the time left at most; its status is no reason to stop."""
        limit = share * left()
        if limit < LEAST:
            print(f"{title}: no time left")
            return
        print(f"{title} ..", flush=True)
        began = time.monotonic()
        try:
            done = subprocess.run(
                command, env=found, cwd=ROOT, timeout=limit, check=False, text=True,
                stdout=subprocess.PIPE if record else None, stderr=subprocess.STDOUT if record else None,
            )  # fmt: skip
            text, status = done.stdout, done.returncode
        except subprocess.TimeoutExpired as over:
            text, status = (over.stdout or b"").decode(errors="replace"), "none: out of time"
        if record and text is not None:
            record.write_text(text[-1_000_000:])
            print("\n".join(text.rstrip().splitlines()[-12:]))
        print(f"{title}: {time.monotonic() - began:.0f} s, status {status}", flush=True)

    out, python = asked.out.absolute(), sys.executable
    first = not (out / "tests.txt").exists()
    if first and not asked.no_tests and asked.device != "cpu":
        if importlib.util.find_spec("pytest") is not None:
            pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/gpu"]
            step("tests", pytest, 0.3, out / "tests.txt")
        step("speed", [python, "tests/gpu/speed.py", "--out", str(out / "speed.json")], 0.3)
    if left() > 0:
        queue = [python, "-W", "ignore", "-m", "twoclocks.paper_figures.call", "--preset", asked.preset]
        queue += ["--out", str(out), "--device", asked.device, "--per-device", str(asked.per_device)]
        queue += ["--workers", str(asked.workers)] if asked.workers else []
        queue += ["--runs", str(Path(asked.runs).absolute())] if asked.runs else []
        queue += ["--until", f"{time.time() + left():.0f}"]  # the imports count too
        status = ended_by_signals(queue, found)
        print(f"{time.monotonic() - started:.0f} s in all")
        raise SystemExit(status)


def ended_by_signals(command, env):
    """Run a command to its end, and leave it to the command how Ctrl-C and SIGTERM end it.

    A scheduler tells every process of a group, and make tells its children too; the command, in a session of its own,
    hears of SIGTERM once.
    """
    heard = set()

    def forward(number, frame):
        if number == signal.SIGINT or number not in heard:
            child.send_signal(number)
        heard.add(number)

    with subprocess.Popen(command, env=env, cwd=ROOT, start_new_session=True) as child:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, forward)
        return child.wait()


if __name__ == "__main__":
    main()
