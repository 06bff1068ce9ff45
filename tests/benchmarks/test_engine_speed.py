"""What the engine gains beside plain code: cached sampling, and runs side by side (steps: training_speed.py)."""

import statistics
import time

import pytest
import torch
from side_by_side import SideBySide

import twoclocks as tc

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


def test_two_runs_side_by_side(benchmark):
    with SideBySide() as pair:
        ratios = [pair.gain() for _ in range(7)]
        benchmark.pedantic(pair.together, rounds=3)
    benchmark.extra_info.update(
        peer="one run alone", ratio=round(statistics.median(ratios), 2), target="1.8 times the throughput on two cores"
    )
    benchmark.extra_info["ratio_range"] = [round(min(ratios), 2), round(max(ratios), 2)]
    assert statistics.median(ratios) >= 1.8
