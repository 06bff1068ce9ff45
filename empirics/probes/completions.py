"""What the two probes of completions share: how they draw them, and their errors."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from ..runs.run import Run
from ..style import COLOURS, draw_measured
from .phases import LEARNED, phase_look, phase_steps
from .summary import RunSummary

_OPTIMA = {  # label and look
    "rule optimum": ("exact optimum of the rule: chance", {"color": COLOURS["chance"], "ls": "-."}),
    "training-set optimum": ("exact optimum of the training set", {"color": COLOURS["loss"], "ls": ":"}),
}


def draw_completion_shares(ax: Axes, table: pd.DataFrame, run: Run | RunSummary, given: str, outcome: str) -> None:
    """One outcome on one split by how much is given, in each phase and for the exact optima that have it (95%)."""
    lines = [
        ((table["model"] == LEARNED) & (table["step"] == step), f"{phase}: step {step}", phase_look(phase))
        for phase, step in phase_steps(run).items()
    ]
    lines += [(table["model"] == model, *drawn) for model, drawn in _OPTIMA.items()]
    for chosen, label, look in lines:
        rows = table[chosen & table[outcome].notna()]
        if len(rows):
            draw_measured(ax, rows, given, outcome, label=label, **look)


def mean_and_error(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean over samples (n, ...) and its standard error, NaN for one sample."""
    n = len(values)
    error = values.std(0) / math.sqrt(n) if n > 1 else torch.full_like(values[0], math.nan)
    return values.mean(0).numpy(), error.numpy()
