"""Does a denoiser know the codes of the images that it is shown, or others, such as pixels 0 and 1?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ...theory import Encoding
from ...theory.encodings import codes_text

MOST_SAMPLES = 64
SCALES = tuple(4.0**k for k in (*range(6), -1, -2, -3, -4))
"""The images are also shown larger and smaller, to find codes as far off as 0..255."""


def warn_of_other_codes(
    denoise: Callable[[Tensor, float], Tensor], x: Tensor, encoding: Encoding, dtype: torch.dtype
) -> None:
    """UserWarning where a denoiser, at small noise, turns the codes into others that it leaves as they are.

    A denoiser returns about what it is shown when there is little noise, if that is data of its kind. One that instead
    moves the codes by more than a quarter of their distance, to values that it then leaves, was trained on data with
    those values. A network that does neither, such as an untrained one, is passed over.

    Args:
        denoise: images and sigma to denoised images; what it raises ends the search.
        x: symbols (N, D), at most 64 of which are looked at.
        encoding: how they become images.
        dtype: of the images.
    """
    x = x[:MOST_SAMPLES].long().cpu()
    try:
        found = _other_codes(denoise, x, encoding, dtype)
    except Exception:  # it was asked for noise levels that the user did not ask for: to refuse those is no fault
        return
    if found is None:
        return
    theirs, ours = (float(codes[x].square().mean().sqrt()) for codes in (found, encoding.codes))
    now, then = codes_text(encoding.codes), codes_text(found)
    warnings.warn(
        f"at little noise the net turns the codes {now} into {then}: it seems trained on images of root mean square "
        f"{theirs:.3g}, and is shown images of {ours:.3g}, so that its place between rule and memory means nothing; "
        f"give encoding=Encoding({encoding.shape}, {encoding.alphabet}, {then}), with the codes of its training data",
        UserWarning,
        stacklevel=4,  # past compare_denoisers and its no_grad
    )


def _other_codes(
    denoise: Callable[[Tensor, float], Tensor], x: Tensor, encoding: Encoding, dtype: torch.dtype
) -> Tensor | None:
    """The codes (Q, C) float64 that the denoiser knows, or None: it knows these, or none were found."""
    if len(x.unique()) < encoding.alphabet:
        return None  # a symbol that does not occur has no code to be found
    noise = torch.randn(len(x), encoding.channels, *encoding.shape, generator=torch.Generator().manual_seed(0))
    images, noise = encoding.encode(x, dtype), noise.to(dtype)
    for scale in SCALES:
        sigma = min(1.0, scale) * encoding.gap / 8
        returned = encoding.cells(denoise(scale * images + sigma * noise, sigma).double().cpu())  # (n, D, C)
        if scale == 1:
            off = (returned - encoding.codes[x]).square().sum(-1).mean().sqrt()
            if not float(off) > encoding.gap / 4:  # true for NaN
                return None
        seen = _by_symbol(returned, x, encoding.alphabet)
        for candidate in (seen, _stretched(encoding.codes, seen)):
            if (codes := _kept(denoise, x, candidate, encoding, noise)) is not None:
                return codes
    return None


def _stretched(codes: Tensor, seen: Tensor) -> Tensor:
    """The codes (Q, C) moved and stretched, entry by entry, to the lowest and highest ones seen.

    Levels between those two may all have been seen as one, where the images shown were far too large.
    """
    low, high = codes.amin(0), codes.amax(0)
    share = (codes - low) / (high - low).clamp_min(torch.finfo(codes.dtype).tiny)
    return seen.amin(0) + share * (seen.amax(0) - seen.amin(0))


def _kept(
    denoise: Callable[[Tensor, float], Tensor], x: Tensor, codes: Tensor, encoding: Encoding, noise: Tensor
) -> Tensor | None:
    """Codes (Q, C) that the denoiser leaves as they are, all but a tenth of their distance, rounded; else None."""
    apart = torch.cdist(codes[None], codes[None])[0].fill_diagonal_(torch.inf).amin()
    if not float(apart) > 1e-3 * float(codes.abs().max()):  # the same for two symbols; true for NaN
        return None
    other = Encoding(encoding.shape, encoding.alphabet, codes)
    sigma = other.gap / 8
    returned = other.cells(denoise(other.encode(x, noise.dtype) + sigma * noise, sigma).double().cpu())
    if not float((returned - codes[x]).square().sum(-1).mean().sqrt()) < other.gap / 10:
        return None
    digits = 2 - math.floor(math.log10(other.gap))
    return (_by_symbol(returned, x, encoding.alphabet) * 10**digits).round() / 10**digits + 0.0  # no -0.0


def _by_symbol(returned: Tensor, x: Tensor, alphabet: int) -> Tensor:
    """The median of what is returned (n, D, C) where each symbol is: (Q, C)."""
    return torch.stack([returned[x == s].median(0).values for s in range(alphabet)])
