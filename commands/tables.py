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
    """CSV with columns ONSET_lower, ONSET_upper (steps; upper is inf when never reached), x, by..., seed"""
    onset: str = "tau_mem"
    """which clock: the prefix of its columns"""
    x: str = "n_train"
    """the column that scales"""
    by: tuple[str, ...] = ("model", "rule")
    """columns whose groups have prefactors of their own"""
    slope: Literal["shared", "separate"] = "shared"
    """one exponent for all groups, or one each"""
    n_boot: int = 2000
    """bootstrap resamples"""
    seed: int = 0
    """of the bootstrap"""
    figure: Path | None = None
    """where to draw the fit, .png or .pdf"""

    def __call__(self) -> None:
        from ..empirics import fit_scaling, read_runs_csv

        fit = fit_scaling(
            read_runs_csv(self.table), self.onset, self.x, self.by, self.n_boot, self.seed, slope=self.slope
        )
        print(fit.summary())
        if self.figure is not None:
            from ..empirics.style import figure_style, new_figure

            with figure_style():
                figure, axes = new_figure(1, 1, 6, 4.2)
                fit.plot(axes[0][0])
                figure.savefig(self.figure)
            print(f"\nfigure: {self.figure}")
