"""The same training steps in one process and in two at once: what this machine allows."""

from __future__ import annotations

import statistics
import subprocess
import sys
from types import TracebackType

WORKER = """
import sys, time
import torch
import twoclocks as tc
from twoclocks.empirics.allocator import keep_freed_memory
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine

torch.set_num_threads(1)
keep_freed_memory()
rule = tc.rule(sys.argv[1])
config = tc.RunConfig(rule=rule.spec, model="gpt-nano", batch_size=128, n_train=1024, lr=1e-3)
engine = Engine(config, rule, training_set(rule, 1024, 0), None)
engine.advance()
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(int(line)):
        engine.advance()
    print(time.perf_counter() - start, flush=True)
"""


class SideBySide:
    """Two processes that train GPT-nano, batch 128, on grids of a rule, one thread each, when they are told to."""

    def __init__(self, rule: str = "parity:6x6,G=3") -> None:
        self.rule = rule

    def __enter__(self) -> SideBySide:
        start = [sys.executable, "-c", WORKER, self.rule]
        self.runs = [subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in "12"]
        for run in self.runs:
            if run.stdout.readline() != "ready\n":
                raise RuntimeError("a process could not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        for run in self.runs:
            run.communicate()

    def together(self, steps: int = 60) -> float:
        """Seconds until both have made these steps."""
        return self._seconds(self.runs, steps)

    def gain(self, steps: int = 60) -> float:
        """Steps a second of both at once over those of one alone."""
        alone = statistics.mean(self._seconds([run], steps) for run in self.runs)
        return 2 * alone / self.together(steps)

    @staticmethod
    def _seconds(active: list[subprocess.Popen], steps: int) -> float:
        for run in active:
            run.stdin.write(f"{steps}\n")
            run.stdin.flush()
        return max(float(run.stdout.readline()) for run in active)
