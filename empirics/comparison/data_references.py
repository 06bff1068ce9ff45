"""The exact denoisers that a learned one is compared with, from data alone, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...theory import Density, EmpiricalDensity, GaussianDensity, GaussianMixture, OptimalDenoiser

KNOWN = "empirical, gaussian, gaussian:RANK, gmm:COMPONENTS, gmm:COMPONENTS:RANK"


def references(
    x: Any, names: Sequence[str] = ("empirical", "gaussian"), *, scale: float = 1.0, shift: float = 0.0, seed: int = 0
) -> dict[str, OptimalDenoiser]:
    """Optimal denoisers of densities fitted to data: what a network would do that had learned just so much of them.

    Args:
        x: the data (N, ...), as of `EmpiricalDensity`.
        names: of ``empirical``, the data themselves: the optimum that memorizes; ``gaussian``, their mean and
            covariance, or ``gaussian:RANK``, along so many directions; ``gmm:COMPONENTS``, a mixture of normal
            densities, or ``gmm:COMPONENTS:RANK`` (needs the extra ``data``).
        scale, shift: what is stored stands for scale * x + shift, as of `EmpiricalDensity`.
        seed: of the first guess of mixtures.

    Returns:
        A denoiser D(y, sigma) for each name, for `compare_denoisers`.

    Raises:
        ValueError: an unknown name, or data that do not fit.
    """
    return {name: OptimalDenoiser(_density(x, name, scale, shift, seed)) for name in names}


def _density(x: Any, name: str, scale: float, shift: float, seed: int) -> Density:
    kind, *numbers = name.split(":")
    known = {"empirical": (0, 0), "gaussian": (0, 1), "gmm": (1, 2)}
    if kind not in known or not known[kind][0] <= len(numbers) <= known[kind][1] or not all(map(str.isdigit, numbers)):
        raise ValueError(f"unknown reference {name!r}; known: {KNOWN}")
    if kind == "empirical":
        return EmpiricalDensity(x, scale=scale, shift=shift)
    fitted: GaussianDensity | GaussianMixture
    if kind == "gaussian":
        fitted = GaussianDensity.fit(x, int(numbers[0]) if numbers else None)
    else:
        fitted = GaussianMixture.fit(x, int(numbers[0]), rank=int(numbers[1]) if len(numbers) > 1 else None, seed=seed)
    return fitted if (scale, shift) == (1.0, 0.0) else fitted.moved(scale, shift)
