"""What each stop rule of `Clocks` would have saved on the committed runs, without training.

    python -m twoclocks.paper_figures.studies.stop_rules

The runs of Figures 4, 8, 9 and 28 went on to a fixed number of steps, whatever their clocks said, and their curves are
committed: so a rule can be asked of them when it would have ended them, by the code that asks it in training. What is
lost is told by the best evaluation until then. The runs of `mixture_clocks` have a held-out loss, which the rule
patience needs; they went on until they copied. Writes stops.csv, report.md and provenance.json into results/stop_rules;
``--report-only`` makes the report again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ...empirics import Clocks
from ...empirics.data import training_set
from ...empirics.text_tables import markdown_table
from ...theory import rule as build_rule
from ..store import RESULTS as COMMITTED
from . import mixture_clocks
from .command import Measured, run_study
from .rejudged import distinct_curves

COMMAND = "python -m twoclocks.paper_figures.studies.stop_rules"
RESULTS = COMMITTED / "stop_rules"
FIGURES = ("fig04", "fig08", "fig09", "fig28")
STOPS = ("ruled", "window", "memorized", "both", "copied")
HEAD = ["runs", "stop", "ended early", "steps saved", "best seen"]


def grid_runs() -> Iterator[tuple[str, Clocks, pd.Series]]:
    """The committed runs on grids: model, clocks that saw their evaluations, and the share of new valid grids."""
    for curve in distinct_curves():
        if curve.source in FIGURES:
            built = build_rule(curve.run["rule"])
            train = training_set(built, int(curve.run["n_train"]), int(curve.run["seed"]))
            clocks = Clocks(built, train, stop="never", seen=curve.metrics.assign(n_generated=curve.n_eval))
            new = curve.metrics["rule_accuracy"] - curve.metrics["memorization"]
            yield f"{curve.run['model']}, {curve.source}", clocks, new


def mixture_runs() -> Iterator[tuple[str, Clocks, pd.Series]]:
    """The committed runs on a mixture, with the inverse of their held-out loss."""
    table = pd.read_csv(mixture_clocks.RESULTS / "evaluations.csv")
    for _, seen in table.groupby(["n_train", "seed"]):
        train, held_out = mixture_clocks.samples(int(seen["n_train"].iloc[0]), int(seen["seed"].iloc[0]))
        clocks = Clocks(train=train, control=held_out, stop="never", seen=seen)
        yield "mixture", clocks, 1 / seen["held_out_loss"]


def measure() -> Measured:
    """A row per run and rule: runs, stop; stopped_at and last_step, in steps; best_seen, of the best evaluation."""
    rows = []
    for stops, runs in ((STOPS, grid_runs()), (("patience",), mixture_runs())):
        for name, clocks, value in runs:
            steps, best = clocks.table["step"].to_numpy(), np.maximum.accumulate(value.to_numpy())
            for stop in stops:
                at = clocks.stopping_step(stop)
                seen = best[steps <= at][-1] / best[-1] if best[-1] > 0 else np.nan
                rows.append((name, stop, at, int(steps[-1]), round(float(seen), 4)))
    return [], {"stops": pd.DataFrame(rows, columns=["runs", "stop", "stopped_at", "last_step", "best_seen"])}


def saved(stops: pd.DataFrame) -> list[list[str]]:
    """The rows of the report's table, by kind of model and rule, see `HEAD`."""
    rows = []
    kinds = stops["runs"].str.partition(",")[0]
    for (kind, stop), part in stops.groupby([kinds, "stop"], sort=False):
        early = part[part["stopped_at"] < part["last_step"]]
        share = (early["last_step"] - early["stopped_at"]).sum() / part["last_step"].sum()
        best = f"{100 * early['best_seen'].median():.0f}%" if len(early) else ""
        rows.append([f"{kind}, {len(part)}", f"`{stop}`", str(len(early)), f"{100 * share:.0f}%", best])
    return rows


def write_report(folder: Path) -> None:
    """report.md from stops.csv."""
    stops = pd.read_csv(folder / "stops.csv")
    sections = [
        "# What a stop rule saves",
        f"`{COMMAND}`: the committed runs of {', '.join(f'Figure {int(name[3:])}' for name in FIGURES)}, which went on "
        "to a fixed number of steps, and of the study `mixture_clocks`, which ended when they copied. Each rule is "
        "asked at every evaluation, as in training.",
        "Runs; how many of them the rule would have ended before their last step; the steps saved, of the steps of all "
        "these runs; and, of the runs ended, the best evaluation until then over the best of the whole run (median): "
        "the largest share of generations that are valid and no copies, or for the mixture the least held-out loss:",
        markdown_table(HEAD, saved(stops)),
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")


if __name__ == "__main__":
    run_study(__doc__, RESULTS, COMMAND, measure, write_report)
