"""The runs on categorical rules behind Figures 22 and 23: rows as permutations, Latin squares, Sudoku."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from ...empirics import RunConfig
from ..catalogue import rules
from ..presets import Preset
from .clock_tables import rule_shape

ENCODINGS = {"scalar": "scalar encoding", "onehot": "one-hot encoding"}


def categorical_runs(preset: Preset) -> list[RunConfig]:
    """The preset's categorical rules in both encodings, each with its training noise."""
    return [
        replace(config, noise_mean=preset.categorical_noise.get(str(config.encoding), config.noise_mean))
        for config in rules(preset, preset.categorical_rules, preset.dit.reference_n, tuple(ENCODINGS))
    ]


def family_name(spec: str) -> str:
    """A categorical rule in words."""
    name, _, parameter = spec.partition(":")
    words = {"permutation": "rows are permutations", "latin": "Latin square", "sudoku": "Sudoku"}
    return words.get(name, name) + (f" {parameter}" if name == "sudoku" else f", n = {parameter}")


def scale(runs: pd.DataFrame) -> str:
    """Model, grids, N and seeds of the runs."""
    first = runs.iloc[0]
    shapes = ", ".join(dict.fromkeys(map(rule_shape, runs["rule"])))
    return f"{first['model']} on {shapes} grids, N = {first['n_train']}; {runs['seed'].nunique()} seeds"
