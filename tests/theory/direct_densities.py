"""Posteriors written out in long double (64 bits of mantissa), to test the streamed ones against."""

import numpy as np


def direct_posterior(x, y, sigma, log_weights=None):
    """log p_sigma(y) (B,) and E[x | y] (B, n) for equal masses on the rows of x, or with these log-weights."""
    x, y = np.asarray(x, dtype=np.longdouble), np.asarray(y, dtype=np.longdouble)
    s = np.broadcast_to(np.asarray(sigma, dtype=np.longdouble), (len(y),))[:, None]
    squared = np.stack([((x - row) ** 2).sum(1) for row in y])
    logs = -squared / (2 * s**2) - np.log(np.longdouble(len(x))) if log_weights is None else log_weights
    top = logs.max(1, keepdims=True)
    weights = np.exp(logs - top)
    total = weights.sum(1, keepdims=True)
    normaliser = x.shape[1] * (np.log(s) + np.log(2 * np.longdouble(np.pi)) / 2)
    return (top + np.log(total) - normaliser)[:, 0], weights / total @ x
