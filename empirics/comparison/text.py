"""A comparison over training as a short text for the terminal."""

from __future__ import annotations

import math
import textwrap

import numpy as np
import pandas as pd

from ..runs.run import Run
from ..text_tables import plain_table
from .moves import condensation_check, telling

_MOST_SIGMAS = 8


def comparison_text(table: pd.DataFrame, run: Run) -> str:
    """What a comparison over training says, in lines of at most 80 characters.

    Args:
        table: from `compare_over_training`.
        run: the run it is of.
    """
    head = "Memorization coordinate: 0 the optimum of the rule, 1 that of the training set"
    rows = {"sigma": _by_sigma, "position": _by_position}[run.family.place](table, run)
    return f"{head}\n\n{rows}"


def _by_sigma(table: pd.DataFrame, run: Run) -> str:
    sigmas = np.sort(table["sigma"].unique())
    chosen = sigmas[np.unique(np.linspace(0, len(sigmas) - 1, _MOST_SIGMAS).round().astype(int))]
    known = table.assign(shown=table["memorization_coordinate"].where(telling(table)))
    rows: list[list[str]] = []
    for step in sorted(table["step"].unique()):
        for split in ("train", "held-out"):
            values = known[(known["step"] == step) & (known["split"] == split)].set_index("sigma")["shown"]
            if len(values):
                cells = ["." if math.isnan(values[s]) else f"{values[s]:.2f}" for s in chosen]
                rows.append([str(step) if split == "train" else "", split, *cells, _clock(run, step)])
    lines = [plain_table(["step", "sigma:", *(f"{s:.2g}" for s in chosen), "clock"], rows)]
    lines.append("  . undefined, or known too poorly\n")
    try:
        lines.append(str(condensation_check(run, table)))
    except ValueError as fault:
        lines.append(textwrap.fill(f"No comparison with the condensation scale: {fault}.", 80))
    return "\n".join(lines)


def _by_position(table: pd.DataFrame, run: Run) -> str:
    names = [c.removeprefix("kl_") for c in table.columns if c.startswith("kl_") and not c.endswith("_se")]
    rows: list[list[str]] = []
    for row in table[table["position"].isna()].to_dict("records"):
        step, split = int(row["step"]), str(row["split"])
        c, error = row["memorization_coordinate"], row["memorization_coordinate_se"]
        position = "." if math.isnan(c) else f"{c:.2f} ± {error:.2f}"
        divergences = [f"{row[f'kl_{name}']:.2g}" for name in names]
        rows.append([str(step) if split == "train" else "", split, position, *divergences, _clock(run, step)])
    text = plain_table(["step", "prefixes", "coordinate", *names, "clock"], rows)
    return f"{text}\nColumns of laws: KL(law || learned) in nats per token, where the law is defined."


def _clock(run: Run, step: int) -> str:
    """The clocks that have struck by a step."""
    if not run.result:
        return ""
    return " ".join(name.removeprefix("tau_") for name, onset in run.onsets.items() if onset.upper <= step)
