"""Time left of a run, its training steps and its evaluations each at their own price."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from .config import RunConfig


class TimedBar(tqdm):
    """A progress bar that is told the time left, as `seconds_left`: geometric evaluations make its own guess wrong."""

    seconds_left = math.nan

    @property
    def format_dict(self) -> dict:
        """As tqdm's, with `left`: the time left as text, ? as long as it is not known."""
        known = math.isfinite(self.seconds_left)
        return {**super().format_dict, "left": self.format_interval(self.seconds_left) if known else "?"}


def seconds_left(config: RunConfig, step: int, per_step: float, per_evaluation: float) -> float:
    """Seconds from a step, its evaluation done, to the end of a run that no `stop_when` ends sooner."""
    evaluations = sum(at > step for at in config.eval_steps())
    return (config.steps - step) * per_step + evaluations * per_evaluation


def split_seconds(steps: Sequence[float], seconds: Sequence[float], cost_ratio: float) -> tuple[float, float]:
    """What a step and an evaluation have cost so far: seconds each.

    By least squares over the evaluations. The first few, or times that contradict this, are shared by `cost_ratio`.

    Args:
        steps: of the evaluations so far, at least one.
        seconds: of training up to and with each.
        cost_ratio: expected cost of an evaluation over that of a step.
    """
    at, spent = np.asarray(steps, float), np.asarray(seconds, float)
    done = np.arange(1.0, len(at) + 1)
    if len(at) >= 4:
        per_step, per_evaluation = np.linalg.lstsq(np.stack([at, done], 1), spent)[0]
        if per_step > 0 and per_evaluation >= 0:
            return float(per_step), float(per_evaluation)
    per_step = spent[-1] / (at[-1] + cost_ratio * done[-1])
    return float(per_step), float(cost_ratio * per_step)
