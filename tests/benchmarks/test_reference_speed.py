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


def softmax_product(q, keys, block=2**12):
    """softmax(q keys^T) keys, a block of keys at a time: what one writes without this package."""
    top, total, read = torch.full((len(q),), -torch.inf), torch.zeros(len(q)), torch.zeros_like(q)
    for part in keys.split(block):
        logits = q @ part.T
        highest = torch.maximum(top, logits.amax(1))
        weights, kept = (logits - highest[:, None]).exp(), (top - highest).exp()
        total = total * kept + weights.sum(1)
        read, top = read * kept[:, None] + weights @ part, highest
    return read / total[:, None]


@pytest.mark.parametrize("n_queries", [64, 512])
@pytest.mark.parametrize("n_train", [4096, 65536])
@pytest.mark.parametrize(("kind", "Q"), [("pm1", 2), ("onehot", 2), ("onehot", 3), ("onehot", 6)])
def test_empirical_denoiser_against_a_softmax_product(benchmark, kind, Q, n_train, n_queries):
    g = torch.Generator().manual_seed(0)
    train = torch.randint(Q, (n_train, DIM), generator=g)
    encoding = tc.Encoding((6, 6), Q, kind)
    ours = tc.OptimalDenoiser(tc.EmpiricalLaw(train, Q, (6, 6)), encoding)
    images = encoding.encode(train)
    y = images[:n_queries] + 0.7 * torch.randn(n_queries, *images.shape[1:], generator=g)
    keys, queries = images.flatten(1).contiguous(), y.flatten(1) / 0.49
    torch.testing.assert_close(ours(y, 0.7).flatten(1), softmax_product(queries, keys), atol=2e-3, rtol=0)
    benchmark.extra_info.update(peer="softmax(q k) k, 4,096 keys at a time", target="1.5 times faster")
    ratio = side_by_side(benchmark, lambda: ours(y, 0.7), lambda: softmax_product(queries, keys), rounds=7)
    assert ratio >= 1.5


@pytest.mark.parametrize("G", [2, 3, 6, 36])
def test_parity_denoiser_against_one_tanh(benchmark, G):
    denoiser = tc.OptimalDenoiser(tc.rule(f"parity:6x6,G={G}"))
    y = torch.randn(4096, DIM, generator=torch.Generator().manual_seed(0))
    benchmark.extra_info.update(peer="one torch.tanh", target="at most 6 times slower: ratio 0.167")
    ratio = side_by_side(benchmark, lambda: denoiser(y, 0.5), lambda: torch.tanh(y), rounds=61)
    assert ratio >= 1 / 6


@pytest.mark.parametrize(("Q", "n_train"), [(2, 2**16), (2, 2**20), (6, 2**16), (6, 2**20)])
def test_empirical_denoiser_memory(benchmark, Q, n_train):
    """What a denoising adds to the process, beyond the training set and its words: nothing that grows with N."""
    encoding = "pm1" if Q == 2 else "onehot"
    script = (
        "import torch, twoclocks as tc; torch.set_num_threads(1)\n"
        "def now(name): return int(open('/proc/self/status').read().split(name)[1].split()[0])\n"
        f"law = tc.EmpiricalLaw(torch.randint({Q}, ({n_train}, 36), dtype=torch.uint8), {Q}, (6, 6)); law._words\n"
        f"E = tc.Encoding((6, 6), {Q}, '{encoding}'); D = tc.OptimalDenoiser(law, E); before = now('VmRSS:')\n"
        "open('/proc/self/clear_refs', 'w').write('5')  # the peak begins anew\n"
        "D(torch.randn(512, E.channels, 6, 6), 0.7); print(before, now('VmHWM:'))"
    )
    peaks = []

    def run():
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        peaks.append([int(word) / 2**20 for word in done.stdout.split()])

    benchmark.pedantic(run, rounds=1)
    before, after = peaks[0]
    benchmark.extra_info.update(added_gib=round(after - before, 3), peak_gib=round(after, 2))
    benchmark.extra_info.update(target="at most 0.1 GiB added at any N; 1.5 GB at N = 2^20, whole process")
    assert after - before < 0.1
    assert after * 2**30 < 1.5e9
