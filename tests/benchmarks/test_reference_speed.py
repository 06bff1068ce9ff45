"""The exact denoisers against their peers, one core, float32, D = 36; peer and ours take turns on the same input."""

import statistics
import subprocess
import sys
import time
from unittest.mock import MagicMock, patch

import pytest
import torch

import twoclocks as tc

DIM = 36


def side_by_side(benchmark, ours, peer, rounds):
    """Median over turns of (peer's time / our time); our times go to the benchmark's table."""
    times = {"ours": [], "peer": []}

    def turn():
        for name, function in (("peer", peer), ("ours", ours)):
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)

    turn()
    times = {"ours": [], "peer": []}
    for _ in range(rounds):
        turn()
    benchmark.pedantic(ours, rounds=rounds)
    ratios = sorted(p / o for p, o in zip(times["peer"], times["ours"], strict=True))
    benchmark.extra_info["ratio"] = round(statistics.median(ratios), 2)
    benchmark.extra_info["ratio_range"] = [round(ratios[0], 2), round(ratios[-1], 2)]
    return statistics.median(ratios)


@pytest.mark.parametrize("n_train", [4096, 65536])
def test_empirical_denoiser_against_smalldiffusion(benchmark, n_train):
    pytest.importorskip("einops")
    with patch.dict(sys.modules, {"torchvision": MagicMock()}):  # its image data sets need it, its denoiser does not
        smalldiffusion = pytest.importorskip("smalldiffusion")
    g = torch.Generator().manual_seed(0)
    train = torch.randint(2, (n_train, DIM), generator=g)
    images = 2.0 * train - 1
    y, sigma = images[:512] + 0.7 * torch.randn(512, DIM, generator=g), torch.tensor(0.7)
    peer = smalldiffusion.IdealDenoiser(images)
    ours = tc.OptimalDenoiser(tc.EmpiricalLaw(train, 2, (6, 6)))
    expected = y - sigma * peer(y, sigma)  # it predicts the noise
    torch.testing.assert_close(ours(y, 0.7), expected, atol=2e-3, rtol=0)
    benchmark.extra_info.update(peer="smalldiffusion IdealDenoiser", target="5 times faster")
    ratio = side_by_side(benchmark, lambda: ours(y, 0.7), lambda: peer(y, sigma), rounds=9)
    assert ratio >= 5


@pytest.mark.parametrize("G", [2, 3, 6, 36])
def test_parity_denoiser_against_one_tanh(benchmark, G):
    denoiser = tc.OptimalDenoiser(tc.rule(f"parity:6x6,G={G}"))
    y = torch.randn(4096, DIM, generator=torch.Generator().manual_seed(0))
    benchmark.extra_info.update(peer="one torch.tanh", target="at most 6 times slower: ratio 0.167")
    ratio = side_by_side(benchmark, lambda: denoiser(y, 0.5), lambda: torch.tanh(y), rounds=61)
    assert ratio >= 1 / 6


def test_empirical_denoiser_memory(benchmark):
    script = (
        "import torch, resource, twoclocks as tc; torch.set_num_threads(1)\n"
        "D = tc.OptimalDenoiser(tc.EmpiricalLaw(torch.randint(2, (2**20, 36), dtype=torch.uint8), 2, (6, 6)))\n"
        "D(torch.randn(512, 36), 0.7)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []

    def run():
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 2**20)

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(peak_gib=round(max(peaks), 2), target="1.5 GB at N = 2^20, whole process")
    assert max(peaks) * 2**30 < 1.5e9
