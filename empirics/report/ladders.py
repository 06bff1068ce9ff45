"""The ladder in a report: what training loss each rung has, and when the runs of one seed passed below it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import numpy as np
import pandas as pd

from ...theory import rule as build_rule
from ..comparison.rung_losses import passed, rung_losses
from ..config import RunConfig
from ..data import training_set
from ..families import family
from ..references import LADDER, SLOW, reference_title
from ..runs.folder import RunsFolder
from ..runs.reading import UNFINISHED, config_kinds
from .findings import FOLDER

MOST = 12
"""Runs whose ladder a report shows; each takes up to a few seconds."""
FEW = 2**16
"""The most valid grids of a rule whose ladder a report shows for denoisers, whose rungs are sums over them."""
LARGEST = 2**14
"""The most training samples of such a run."""
Table = Callable[..., str]


def ladders(found: RunsFolder, table: Table) -> str:
    """A section of the page, HTML, or nothing where no run has a ladder.

    Shown is the first seed of each model, rule, N and folder, while there are at most `MOST` of them.

    Args:
        found: the runs.
        table: (header, rows of HTML, columns of numbers, columns to sort by) -> an HTML table.
    """
    rows: list[list[str]] = []
    starts = found.runs["evaluations"].to_numpy().cumsum() - found.runs["evaluations"].to_numpy()
    measured = (found.runs["status"] != UNFINISHED) & (found.runs["evaluations"] > 0)
    ended = found.runs[measured].assign(start=starts[measured])
    folder = [FOLDER] if FOLDER in ended else []
    for (model, rule, n, *place), cell in ended.groupby(["model", "rule", "n_train", *folder], sort=True):
        if len(rows) == MOST:
            break
        run = cell.sort_values("seed").iloc[0]
        if (losses := _losses(run)) is None:
            continue
        mine = slice(int(run["start"]), int(run["start"] + run["evaluations"]))
        steps = passed(found.evaluations["step"][mine], found.evaluations["loss"][mine], losses)
        cells = [_rung(losses[name], steps[name]) if name in losses else "" for name in LADDER]
        rows.append(
            [
                escape(str(model)),
                escape(str(rule)),
                f"{n:,}",
                *(escape(str(name)) for name in place),
                str(run["seed"]),
                *cells,
            ]
        )
    if not rows:
        return ""
    header = [
        "Model",
        "Rule",
        "N",
        *(["Folder"] if folder else []),
        "Seed",
        *(escape(reference_title(name)) for name in LADDER),
    ]
    note = (
        '<p class="note">The ladder: the training loss of a model that knew every grid alike, then the frequency of '
        "each cell's symbols, then the rule with the training set's pair statistics, the rule alone, and the training "
        "set; in brackets the first evaluation whose training loss is at most that. On the training set, pairs cost "
        "less than the rule alone: they know it too, and something of the samples.</p>"
    )
    shown = table(header, rows, (2, *range(3 + len(folder), len(header))), (0, 1, 2))
    return (
        '<section id="ladder" aria-labelledby="ladder-title"><h2 id="ladder-title">What was learned when</h2>'
        f"{note}{shown}</section>"
    )


def _losses(run: pd.Series) -> dict[str, float] | None:
    """The training loss of each rung; None where it cannot be found in seconds, or the run cannot be understood."""
    try:
        values = {
            name: None if optional and pd.isna(run[name]) else kind(run[name])
            for name, (kind, optional) in config_kinds().items()
        }
        if values.get("data") is not None:  # data of one's own obey no rule
            return None
        config = RunConfig.from_dict(values)
        rule = build_rule(config.rule)
        gaussian = family(config.model).channel == "gaussian"
        if rule.cost > SLOW or config.online or config.n_train > LARGEST or (gaussian and rule.support_size > FEW):
            return None
        return rung_losses(config, rule, training_set(rule, config.n_train, config.seed))
    except (ValueError, TypeError):  # a folder from elsewhere: a rule or a model that nobody here knows
        return None


def _rung(loss: float, step: float) -> str:
    return f"{loss:.3f} ({step:,.0f})" if np.isfinite(step) else f"{loss:.3f} (not)"
