"""``twoclocks fit``: statistics of a table that anyone may have made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from .command import Command


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitCommand(Command):
    """Fit a scaling law, onset = c * x^exponent, to anyone's table of onsets."""

    table: tyro.conf.Positional[Path]
    """CSV, TSV, JSON, JSON lines or Parquet with columns ONSET_lower, ONSET_upper (steps; upper is inf when never
    reached), x, by..., seed"""
    onset: str = "tau_mem"
    """which clock: the prefix of its columns"""
    x: str = "n_train"
    """the column that scales"""
    by: tuple[str, ...] = ("model", "rule")
    """columns whose groups have prefactors of their own; none for one group"""
    tau: str | None = None
    """in place of ONSET_lower, ONSET_upper: a column with the first evaluation that showed the onset (inf: none)"""
    grid_ratio: float | None = None
    """with --tau: ratio of the steps of successive evaluations"""
    grid_step: float | None = None
    """with --tau: steps between evaluations"""
    last_step: str | None = None
    """with --tau: last step of the runs that never showed it, a number or a column"""
    slope: Literal["shared", "separate"] = "shared"
    """one exponent for all groups, or one each"""
    n_boot: int = 2000
    """bootstrap resamples"""
    seed: int = 0
    """of the bootstrap"""
    figure: Path | None = None
    """where to draw the fit, .png or .pdf"""

    def __call__(self) -> None:
        from ..empirics import fit_scaling
        from ..empirics.statistics.runs_file import read_runs_by_line

        table = read_runs_by_line(self.table, self.tau, self.grid_ratio, self.grid_step, self.last_step)
        onset = self.tau or self.onset
        fit = fit_scaling(table, onset, self.x, self.by, self.n_boot, self.seed, slope=self.slope)
        print(fit.summary())
        if self.figure is not None:
            from ..empirics.style import figure_style, new_figure

            with figure_style():
                figure, axes = new_figure(1, 1, 6, 4.2)
                fit.plot(axes[0][0])
                figure.savefig(self.figure)
            print(f"\nfigure: {self.figure}")
