"""Speed and memory of the exact references, on one core: ``pytest tests/benchmarks --benchmark-only -p no:xdist``.

The peer of the closed forms is the sum over the support that they replace. At 2^24 valid grids it is timed on a chunk
of 2^17 grids and scaled by 128: its cost is linear in the support, and the codes of all grids would take 2.4 GB.
"""

import json
import statistics
import subprocess
import sys
import time

import pytest
import torch

import twoclocks as tc

SUPPORT, CHUNK, DIM = 2**24, 2**17, 36


def fields(rule, batch):
    return torch.randn(batch, rule.dim, rule.alphabet, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def support_sum():
    """The posterior mean of 256 queries as a softmax over 2^17 grids, in float32: a part of the sum over 2^24."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(2, (CHUNK, DIM), generator=generator).float() * 2 - 1
    y = torch.randn(256, DIM, generator=generator)

    def run():
        scores = y @ codes.T
        weights = scores.sub_(scores.amax(1, keepdim=True)).exp_()
        return (weights @ codes) / weights.sum(1, keepdim=True)

    return run


def seconds(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


@pytest.mark.parametrize(
    "spec",
    ["parity:6x6,G=3", "exact-k:6x6,K=12", "row-k:6x6,K=3", "row-variable-k:6x6,K=1+3+5", "global-k:6x6,K=12+18"],
)
def test_closed_form_against_the_sum_over_the_support(benchmark, support_sum, spec):
    denoiser = tc.OptimalDenoiser(tc.rule(spec))
    y = torch.randn(4096, DIM, generator=torch.Generator().manual_seed(2))
    benchmark.pedantic(denoiser, args=(y, 0.5), rounds=15, iterations=2, warmup_rounds=2)
    ratios = []
    for _ in range(9):  # side by side, so that both see the same load
        peer = seconds(support_sum) / 256 * (SUPPORT / CHUNK)
        ratios.append(peer / (seconds(denoiser, y, 0.5) / len(y)))
    ratio = statistics.median(ratios)
    benchmark.extra_info.update(
        peer="softmax over 2^24 grids, a chunk timed and scaled",
        times_faster=round(ratio),
        times_faster_range=[round(min(ratios)), round(max(ratios))],
    )
    assert ratio >= 3e4


@pytest.mark.parametrize(("spec", "batch", "seconds"), [("latin:5", 100, 2), ("sudoku:2x3", 32, 10), ("latin:6", 8, 4)])
def test_automaton_marginals(benchmark, spec, batch, seconds):
    rule = tc.rule(spec)
    assert rule.support_size > 0  # builds the automaton
    h = fields(rule, batch)
    marginals = benchmark.pedantic(rule.marginals, args=(h,), rounds=3, warmup_rounds=1)
    assert (marginals.sum((1, 2)) - rule.dim).abs().max() < 1e-3
    assert benchmark.stats.stats.median < seconds


@pytest.mark.parametrize(("spec", "seconds"), [("latin:5", 1), ("sudoku:2x3", 2), ("latin:6", 5)])
def test_automaton_construction(benchmark, spec, seconds):
    benchmark.pedantic(lambda: tc.rule(spec).support_size, rounds=3)
    assert benchmark.stats.stats.median < seconds


MEASURE = """
import json, resource, time, torch, twoclocks as tc
torch.set_num_threads(1)
rule = tc.rule("latin:6")
start = time.perf_counter()
size = rule.support_size
built = time.perf_counter()
rule.marginals(torch.randn(8, 36, 6, dtype=torch.{dtype}))
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(dict(size=size, construction=built - start, marginals=done - built, peak_gb=peak / 1e9)))
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_latin_square_memory(benchmark, dtype):
    """Peak resident memory of a process that builds the 6 x 6 Latin squares and evaluates 8 fields."""

    def measure():
        command = [sys.executable, "-c", MEASURE.format(dtype=dtype)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    result = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info.update(result)
    assert result["size"] == 812851200
    assert result["peak_gb"] < 3
    assert result["construction"] < 5


def test_next_token_law_of_a_large_automaton(benchmark):
    """One walk for the batch, beside one query a position through the clamped prefix, timed on one position."""
    rule = tc.rule("sudoku:2x3")
    x = rule.sample(256, torch.Generator().manual_seed(3))
    probs = benchmark.pedantic(rule.next_token_probs, args=(x,), rounds=3, warmup_rounds=1)
    assert torch.allclose(probs.sum(-1), torch.ones(256, 36, dtype=torch.float64))
    h = torch.zeros(16, 36, 6, dtype=torch.float64)
    start = time.perf_counter()
    rule.marginals(h)
    peer = (time.perf_counter() - start) / 16 * rule.dim
    ratio = peer / (benchmark.stats.stats.median / len(x))
    benchmark.extra_info.update(
        peer="36 clamped marginals a row, one position timed and scaled", times_faster=round(ratio)
    )
    assert ratio > 100
