"""The comparison of a run with the exact optima, as a probe among others."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..comparison.figure import comparison_figure
from ..comparison.over_training import compare_over_training
from ..references import SLOW
from ..runs.run import Run
from .probe import Probe, Tables


def _measure(run: Run) -> Tables:
    costly = run.family.channel == "gaussian" and run.rule.cost > SLOW
    return {"comparison": compare_over_training(run, n_samples=8 if costly else 128)}


def _draw(tables: Tables, run: Run) -> dict[str, Figure]:
    return {"comparison": comparison_figure(tables["comparison"], run)}


PROBES = (Probe("comparison", "What was learned against the exact optima", _measure, _draw),)
