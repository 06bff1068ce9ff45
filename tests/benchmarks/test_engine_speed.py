"""What the engine gains beside plain code: cached sampling, and runs side by side (steps: training_speed.py)."""

import multiprocessing
import statistics
import time

import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.allocator import keep_freed_memory
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine

RULE = tc.rule("parity:6x6,G=3")


@pytest.mark.parametrize("size", ["nano", "micro", "mini"])
def test_cached_sampling_against_the_plain_loop(benchmark, size):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = tc.build_model(f"gpt-{size}", RULE)
    n = 256

    @torch.no_grad()
    def plain(generator):
        """The forward pass over the whole prefix for every cell."""
        uniform = torch.rand(36, n, 1, generator=generator)
        x = torch.zeros(n, 36, dtype=torch.long)
        for t in range(36):
            x[:, t] = (uniform[t] > model(x)[:, t].softmax(-1).cumsum(-1)[:, :-1]).sum(-1)
        return x

    ratios = []
    for seed in range(3):
        start = time.perf_counter()
        slow = plain(torch.Generator().manual_seed(seed))
        middle = time.perf_counter()
        fast = model.generate(n, torch.Generator().manual_seed(seed))
        ratios.append((middle - start) / (time.perf_counter() - middle))
        assert torch.equal(fast, slow)
    benchmark.pedantic(model.generate, args=(n, torch.Generator().manual_seed(0)), rounds=5)
    benchmark.extra_info.update(
        peer="uncached loop", ratio=round(statistics.median(ratios), 2), target="3 times faster"
    )
    assert statistics.median(ratios) >= 3


def work(pipe, steps):
    """Train on demand; answers with the seconds it took."""
    torch.set_num_threads(1)
    keep_freed_memory()
    config = tc.RunConfig(rule=RULE.spec, model="gpt-nano", batch_size=128, n_train=1024, lr=1e-3, precision="bf16")
    engine = Engine(config, RULE, training_set(RULE, 1024, 0), None)
    engine.advance()
    pipe.send(0.0)
    while pipe.recv():
        start = time.perf_counter()
        for _ in range(steps):
            engine.advance()
        pipe.send(time.perf_counter() - start)


def test_two_runs_side_by_side(benchmark):
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(2):
        here, there = context.Pipe()
        context.Process(target=work, args=(there, 60), daemon=True).start()
        pipes.append(here)
    for pipe in pipes:
        pipe.recv()

    def together(active):
        for pipe in active:
            pipe.send(True)
        return max(pipe.recv() for pipe in active)

    ratios = []
    for _ in range(5):
        alone = statistics.mean(together([pipe]) for pipe in pipes)
        ratios.append(2 * alone / together(pipes))
    benchmark.pedantic(together, args=(pipes,), rounds=1)
    for pipe in pipes:
        pipe.send(False)
    benchmark.extra_info.update(
        peer="one run alone", ratio=round(statistics.median(ratios), 2), target="1.8 times the throughput on two cores"
    )
    assert statistics.median(ratios) >= 1.8
