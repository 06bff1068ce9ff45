"""The training sample nearest to each grid, in Hamming distance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray

# Queries and training samples that are compared at once: their 2^17 words of 8 bytes stay near a 1 MB cache.
_QUERIES, _KEYS = 16, 8192


class Nearest(NamedTuple):
    """The training sample nearest to each grid."""

    distance: Tensor  # int64 (n,): cells in which the symbols differ
    row: Tensor  # int64 (n,): its row in the training set, the first of the nearest


def nearest_hamming(x: Tensor, train: Tensor) -> Nearest:
    """The Hamming distance of each grid to the nearest training sample, exact.

    Symbols are packed into bit planes, one bit a cell, so that a pair costs one XOR a plane, an OR of the planes and
    one population count for every 64 cells; memory does not grow with n times N.

    Args:
        x: symbols (n, D), any integer dtype.
        train: training symbols (N, D), N at least 1.

    Raises:
        ValueError: shapes that do not fit, negative symbols, no integers, or no training samples.
    """
    for name, symbols in (("x", x), ("train", train)):
        if symbols.ndim != 2 or symbols.dtype.is_floating_point or symbols.dtype.is_complex:
            raise ValueError(f"{name} must hold integer symbols (n, D), got {tuple(symbols.shape)} {symbols.dtype}")
        if symbols.numel() and int(symbols.min()) < 0:
            raise ValueError(f"symbols must be at least 0, got {int(symbols.min())} in {name}")
    if not len(train) or not train.shape[1] or x.shape[1] != train.shape[1]:
        raise ValueError(f"train must be (N, {x.shape[1]}) with N and D at least 1, got {tuple(train.shape)}")
    most = max(int(train.max()), int(x.max()) if len(x) else 0)
    queries, keys = (_pack(symbols, max(1, most.bit_length())) for symbols in (x, train))
    distance = np.full(len(x), x.shape[1] + 1, dtype=np.uint8 if x.shape[1] < 255 else np.int64)
    row = np.zeros(len(x), dtype=np.int64)
    for key in range(0, len(train), _KEYS):
        for query in range(0, len(x), _QUERIES):
            here = slice(query, query + _QUERIES)
            # A product of -1/+1 codes in bfloat16 is as fast, but only on a CPU with bfloat16 instructions.
            counts = _differences(queries[..., here, None], keys[..., None, key : key + _KEYS], distance.dtype)
            best = counts.argmin(1)
            least = counts[np.arange(len(best)), best]
            closer = least < distance[here]
            distance[here] = np.where(closer, least, distance[here])
            row[here] = np.where(closer, key + best, row[here])
    return Nearest(torch.from_numpy(distance.astype(np.int64)), torch.from_numpy(row))


def _pack(symbols: Tensor, planes: int) -> Array:
    """Bit p of the symbol of cell i as bit i of plane p: unsigned words (D / word size, planes, n)."""
    word = np.uint32 if symbols.shape[1] <= 32 else np.uint64
    size = 8 * np.dtype(word).itemsize
    x = symbols.cpu().numpy().astype(np.min_scalar_type(2**planes - 1))
    bits = np.zeros((planes, len(x), -(-x.shape[1] // size) * size), dtype=np.uint8)
    for plane in range(planes):
        bits[plane, :, : x.shape[1]] = x >> plane & 1
    return np.ascontiguousarray(np.packbits(bits, axis=-1).view(word).transpose(2, 0, 1))


def _differences(queries: Array, keys: Array, dtype: np.dtype) -> Array:
    """The number of cells that differ, for packed symbols that broadcast against each other after (words, planes)."""
    counts: Array | None = None
    for query, key in zip(queries, keys, strict=True):
        differ = query[0] ^ key[0]
        for plane in range(1, len(query)):
            differ |= query[plane] ^ key[plane]
        here = _popcount(differ)
        counts = here.astype(dtype, copy=False) if counts is None else counts + here
    assert counts is not None
    return counts


def _popcount(words: Array) -> Array:
    """The number of ones in each unsigned word: uint8."""
    if hasattr(np, "bitwise_count"):  # numpy 2 on
        return np.bitwise_count(words)
    return _popcount_by_halves(words)


def _popcount_by_halves(words: Array) -> Array:
    """`_popcount` for numpy 1: sums of neighbouring bits, pairs and nibbles, then of all bytes by a product."""
    kind = words.dtype.type
    full = np.iinfo(words.dtype).max
    pairs, nibbles, byte, ones = (kind(full // d) for d in (3, 5, 17, 255))  # 0x55.., 0x33.., 0x0f.., 0x01..
    words = words - (words >> kind(1) & pairs)
    words = (words & nibbles) + (words >> kind(2) & nibbles)
    words = (words + (words >> kind(4))) & byte
    return (words * ones >> kind(8 * words.itemsize - 8)).astype(np.uint8)
