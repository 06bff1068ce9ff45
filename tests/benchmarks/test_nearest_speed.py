"""The nearest training sample by packed bits against comparing floats pair by pair, one core."""

import statistics
import time

import pytest
import torch

from twoclocks.empirics.nearest import nearest_hamming

N_TRAIN = 65536


def naive_cdist(x, train):
    return torch.cdist(x, train, p=0).min(1).values


def naive_broadcast(x, train):
    return torch.cat([(part[:, None] != train[None]).sum(-1).min(1).values for part in x.split(16)])


@pytest.mark.parametrize(("dim", "alphabet", "target"), [(36, 2, 10), (36, 6, 6)])
def test_nearest_hamming_against_pairwise_floats(benchmark, dim, alphabet, target):
    g = torch.Generator().manual_seed(0)
    train = torch.randint(alphabet, (N_TRAIN, dim), generator=g)
    x = torch.randint(alphabet, (2048, dim), generator=g)
    x[::4] = train[:512]
    floats, train_floats = x.float(), train.float()
    part = 32  # both peers take time in proportion to the queries; the slower one is timed on few
    per_query = {}
    for name, peer in (("cdist", naive_cdist), ("broadcast", naive_broadcast)):
        start = time.perf_counter()
        peer(floats[:part], train_floats)
        per_query[name] = (time.perf_counter() - start) / part
    name = min(per_query, key=per_query.get)
    peer = {"cdist": naive_cdist, "broadcast": naive_broadcast}[name]
    assert torch.equal(peer(floats, train_floats).long(), nearest_hamming(x, train).distance)
    ratios = []
    for _ in range(3):
        start = time.perf_counter()
        peer(floats, train_floats)
        middle = time.perf_counter()
        nearest_hamming(x, train)
        ratios.append((middle - start) / (time.perf_counter() - middle))
    benchmark.pedantic(lambda: nearest_hamming(x, train), rounds=5)
    benchmark.extra_info.update(
        peer=f"torch, {name} of floats, the faster of two",
        target=f"{target} times faster, same answers",
        ratio=round(statistics.median(ratios), 1),
        ratio_range=[round(min(ratios), 1), round(max(ratios), 1)],
        seconds_for_100000_queries=round(benchmark.stats.stats.median * 1e5 / len(x), 2),
    )
    assert statistics.median(ratios) >= target
