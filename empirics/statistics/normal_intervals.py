"""The log-probability of an interval under the normal law, and its derivatives in both ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

Array = np.ndarray

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Ends:
    """log P(lower < Normal <= upper) and its derivatives in the two ends, each (B, n)."""

    value: Array
    g_lower: Array
    g_upper: Array
    c_lower: Array
    c_upper: Array
    c_mixed: Array


def interval_terms(lower: Array, upper: Array) -> Ends:
    """log P(lower < Normal <= upper), for lower < upper in units of sigma, and its derivatives."""
    value = log_normal_mass(lower, upper)
    a = np.where(np.isfinite(lower), lower, 0.0)
    b = np.where(np.isfinite(upper), upper, 0.0)
    r_a = np.exp(-lower * lower / 2 - LOG_SQRT_2PI - value)  # density at the ends over the mass between
    r_b = np.exp(-upper * upper / 2 - LOG_SQRT_2PI - value)
    return Ends(value, -r_a, r_b, r_a * (a - r_a), -r_b * (b + r_b), r_a * r_b)


def log_normal_mass(lower: Array, upper: Array) -> Array:
    """log(Phi(upper) - Phi(lower)) for lower < upper, infinite ends allowed, accurate in both tails and when narrow."""
    flip = lower + upper > 0  # work in the left tail, where log Phi keeps its digits
    low = np.where(flip, -upper, lower)
    high = np.where(flip, -lower, upper)
    width = high - low
    narrow = width * (1 + np.abs(high)) < 1e-3
    log_high = special.log_ndtr(high)
    value = log_high + np.log(-np.expm1(special.log_ndtr(np.where(narrow, -np.inf, low)) - log_high))
    if narrow.any():  # mid-point rule, next term of relative size (width * z)^4 / 1920
        m, w = high[narrow] - width[narrow] / 2, width[narrow]
        value[narrow] = np.log(w) - m * m / 2 - LOG_SQRT_2PI + np.log1p((m * m - 1) * w * w / 24)
    return value
