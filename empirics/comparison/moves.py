"""When the memorization coordinate moves, and at which noise level: beside the prediction of the condensation scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..onsets import detect_onset
from ..runs.run import Run
from .splits import condensation_scale

N_BOOT = 2000


def coordinate_onsets(table: pd.DataFrame, threshold: float = 0.5) -> pd.DataFrame:
    """The checkpoint at which the memorization coordinate first reaches a threshold.

    Args:
        table: from `compare_over_training`.
        threshold: 0 is the rule's optimum, 1 the training set's.

    Returns:
        One row per split and sigma (DiT) or position (GPT; missing for all together) where the coordinate is defined at
        some checkpoint: split, sigma or position, and step, lower, upper (training steps, see `Onset`), censored.

    Raises:
        ValueError: a table without the columns step and memorization_coordinate.
    """
    where = _place(table)
    rows = []
    for (split, place), curve in table.groupby(["split", where], sort=False, dropna=False):
        if curve["memorization_coordinate"].notna().any():
            onset = detect_onset(curve["step"].to_numpy(), curve["memorization_coordinate"].to_numpy(), threshold)
            found = {name: getattr(onset, name) for name in ("step", "lower", "upper", "censored")}
            rows.append({"split": split, where: place, **found})
    return pd.DataFrame(rows, columns=["split", where, "step", "lower", "upper", "censored"])


def telling(table: pd.DataFrame) -> pd.Series[bool]:
    """Which rows have a coordinate that says something: known to 0.2, from at least 5 effective samples, and with a
    signal of at least 1% of its split's largest. Elsewhere a slight error of the net is many times the signal.
    """
    loud = table["signal"] >= 0.01 * table.groupby("split")["signal"].transform("max")
    return loud & (table["effective_samples"] >= 5) & (table["memorization_coordinate_se"] <= 0.2)


@dataclass(frozen=True)
class CondensationCheck:
    """The condensation scale beside the noise levels at which a DiT has memorized; see `condensation_check`.

    Attributes:
        predicted: sigma_c(N), in data units.
        peak, peak_low, peak_high: on training samples, the sigma at which the displacement towards the empirical
            optimum, coordinate^2 * signal, is largest, with a 95% interval; NaN where no coordinate exceeds 3 standard
            errors.
        optimal_peak: the same for full memorization: where the signal itself is largest.
        crossing, crossing_low, crossing_high: on held-out samples, the sigma above which the coordinate exceeds 1/2,
            with a 95% interval; NaN where it crosses nowhere in the table.
        step: the checkpoint.
    """

    predicted: float
    peak: float
    peak_low: float
    peak_high: float
    optimal_peak: float
    crossing: float
    crossing_low: float
    crossing_high: float
    step: int

    def __str__(self) -> str:
        crossing = "nowhere in the table"
        if math.isfinite(self.crossing):
            crossing = f"at sigma {self.crossing:.2f} ({self.crossing_low:.2f} to {self.crossing_high:.2f})"
        ratio, low, high = (value / self.predicted for value in (self.peak, self.peak_low, self.peak_high))
        peak = "none beyond 3 standard errors"
        if math.isfinite(self.peak):
            peak = f"sigma {self.peak:.2f} ({self.peak_low:.2f} to {self.peak_high:.2f}), that is {ratio:.2f} "
            peak += f"({low:.2f} to {high:.2f}) sigma_c(N)"
        return (
            f"Condensation scale sigma_c(N), where memorization should show: {self.predicted:.2f}\n"
            f"Strongest pull towards the training set, train samples, step {self.step}:\n"
            f"  {peak}\n"
            f"  with full memorization: sigma {self.optimal_peak:.2f}\n"
            f"Held-out samples: the coordinate passes 1/2 {crossing}"
        )


def condensation_check(run: Run, table: pd.DataFrame, step: int | None = None) -> CondensationCheck:
    """Does `condensation_sigma` predict at which noise level a DiT memorizes?

    sigma_c(N) is where the optima of rule and training set part, so that a net that memorizes should be displaced
    most there. The coordinate itself says how far it has gone, not how much there was to go: it rises first at large
    sigma, where the optima differ only by the moments of the training set, which are learned early; and on held-out
    samples it falls to 0 at small sigma, where the training set says nothing of the image. The level at which it
    crosses 1/2 therefore sinks during training, and tells how far memorization has spread.

    Both levels are interpolated in log sigma. Their intervals are percentiles over normal draws of the coordinates
    within their standard errors, taken as independent, with a fixed seed.

    Args:
        run: of a DiT.
        table: from `compare_over_training`, with the splits train and held-out.
        step: checkpoint; by default the last of the table.

    Raises:
        ValueError: the table is not of a DiT, has no such step or splits, or fewer than 3 `telling` sigmas;
            N too small or too large for a condensation scale, see `condensation_sigma`.
    """
    if _place(table) != "sigma":
        raise ValueError("the condensation scale is a noise level: it needs the table of a DiT")
    step = int(table["step"].max()) if step is None else step
    train, held_out = (
        table[(table["step"] == step) & (table["split"] == split) & telling(table)] for split in ("train", "held-out")
    )
    if len(train) < 3 or len(held_out) < 3:
        raise ValueError(f"step {step} needs at least 3 sigmas with a telling coordinate, train and held-out")
    rng = np.random.default_rng(0)
    signal, sigma = train["signal"].to_numpy(), np.log(train["sigma"].to_numpy())
    peaks = [_peak(sigma, c.clip(0) ** 2 * signal) for c in _draws(train, rng)]
    moved = (train["memorization_coordinate"] > 3 * train["memorization_coordinate_se"]).any()
    crossings = [_crossing(np.log(held_out["sigma"].to_numpy()), c) for c in _draws(held_out, rng)]
    return CondensationCheck(
        condensation_scale(run),
        *(_with_interval(peaks) if moved else (math.nan, math.nan, math.nan)),
        math.exp(_peak(sigma, signal)),
        *_with_interval(crossings),
        step,
    )


def _place(table: pd.DataFrame) -> str:
    if missing := {"step", "split", "memorization_coordinate"} - set(table.columns):
        raise ValueError(f"the table lacks {', '.join(sorted(missing))}; take it from compare_over_training")
    return "sigma" if "sigma" in table.columns else "position"


def _draws(rows: pd.DataFrame, rng: np.random.Generator) -> list[np.ndarray]:
    """The coordinates, then N_BOOT normal draws of them."""
    c = rows["memorization_coordinate"].to_numpy()
    error = rows["memorization_coordinate_se"].fillna(0).to_numpy()
    return [c, *(c + error * rng.standard_normal((N_BOOT, len(c))))]


def _with_interval(values: list[float]) -> tuple[float, float, float]:
    """exp of the first, and of the 2.5% and 97.5% points of the others; NaN where the first or most are."""
    drawn = np.array(values[1:])
    if math.isnan(values[0]) or np.isnan(drawn).mean() > 0.5:
        return math.nan, math.nan, math.nan
    low, high = np.exp(np.nanpercentile(drawn, [2.5, 97.5]))
    return math.exp(values[0]), float(low), float(high)


def _peak(x: np.ndarray, y: np.ndarray) -> float:
    """Where the parabola through the largest value and its neighbours is highest; the end, if that is the largest."""
    k = int(y.argmax())
    if k in (0, len(y) - 1):
        return float(x[k])
    a, b, _ = np.polyfit(x[k - 1 : k + 2] - x[k], y[k - 1 : k + 2], 2)
    return float(x[k] - b / (2 * a)) if a < 0 else float(x[k])


def _crossing(x: np.ndarray, y: np.ndarray) -> float:
    """The largest x at which y rises through 1/2, by linear interpolation; NaN where it does so nowhere."""
    rising = np.flatnonzero((y[:-1] < 0.5) & (y[1:] >= 0.5))
    if len(rising) == 0:
        return math.nan
    k = rising[-1]
    return float(x[k] + (0.5 - y[k]) / (y[k + 1] - y[k]) * (x[k + 1] - x[k]))
