"""At which scale the figures are computed: the paper's own, one for two cores, and one that only exercises the code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..empirics import RunConfig
from ..empirics.config import QUICK


@dataclass(frozen=True)
class Architecture:
    """What the runs of one architecture share, and what the figures vary."""

    base: RunConfig
    """every field that a figure does not vary"""
    sizes: tuple[str, ...]
    """from small to large; the first is the one used where the paper shows one size"""
    n_train: tuple[int, ...]
    """training-set sizes of the scaling figures"""
    capacity_n_train: tuple[int, ...]
    """of them, those at which the larger sizes and the group sizes beyond reach are trained too"""
    capacity_group_sizes: tuple[int, ...]
    """group sizes at which they are"""
    reference_n: int
    """in place of the paper's N = 4096"""
    frontier_group_sizes: tuple[int, int]
    """group sizes of Fig. 28: the largest that most runs learn, and the next"""
    group_size: int
    """group size of the run that is dissected (the paper: 3)"""
    dissected_steps: int
    """steps of that run, enough to copy in earnest"""
    sweep_group_size: int
    """group size of the learning-rate and weight-decay sweeps (the paper: 6)"""
    sweep_n: int
    """N of the learning-rate and weight-decay sweeps and of Figure 21 (the paper: 4096)"""
    steps_per_sample: float
    """training steps for each training sample; a run is at least `min_steps` long"""
    min_steps: int
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    dissected_n: int | None = None
    """N of the run that is dissected; by default `reference_n`"""
    own_lr: Mapping[str, float] = field(default_factory=dict)
    """learning rates of sizes that diverge at that of `base`: less in proportion to their width (Yang et al., 2022)"""

    def config(self, **fields: object) -> RunConfig:
        """A run of this architecture: `base` with these fields; unless given, the size's lr and steps as N asks."""
        config = replace(self.base, **fields)  # type: ignore[arg-type]
        if "lr" not in fields:
            config = replace(config, lr=self.own_lr.get(config.model, config.lr))
        if "steps" in fields:
            return config
        return replace(config, steps=max(self.min_steps, round(self.steps_per_sample * config.n_train)))


@dataclass(frozen=True)
class Preset:
    """One scale for all figures."""

    name: str
    shape: str
    """of the binary grids, rows x columns"""
    group_sizes: tuple[int, ...]
    """group sizes that a model learns within reach (the paper: 2, 3, 4, 6)"""
    large_group_sizes: tuple[int, ...]
    """group sizes beyond (the paper: 9, 12, 18, 36)"""
    seeds: int
    """runs of each cell where the paper compares"""
    dit: Architecture
    gpt: Architecture
    binary_rules: tuple[str, ...]
    """rules of Fig. 21"""
    categorical_rules: tuple[str, ...]
    """rules of Fig. 22 and 23"""
    categorical_noise: Mapping[str, float]
    """mean of log sigma in training by encoding of these, where it is not that of the DiT's `base`"""
    n_probe: int
    """fixed initial noises of the state rasters (the paper: 2000)"""
    runs: Path = Path("runs")
    """folder of the runs that figures share"""

    @property
    def architectures(self) -> dict[str, Architecture]:
        return {"dit": self.dit, "gpt": self.gpt}

    def in_folder(self, runs: Path | None) -> Preset:
        """The preset with its runs elsewhere."""
        return self if runs is None else dataclasses.replace(self, runs=runs)

    def on(self, device: str | None, precision: str | None) -> Preset:
        """The preset with all its runs trained on another device or in another precision; None leaves them."""
        asked: dict[str, Any] = {name: value for name, value in (("device", device), ("precision", precision)) if value}
        if not asked:
            return self
        dit, gpt = (replace(kind, base=replace(kind.base, **asked)) for kind in (self.dit, self.gpt))
        return replace(self, dit=dit, gpt=gpt)


def preset(name: str) -> Preset:
    """A preset by name, such as smoke, laptop or paper, or from a YAML file.

    Raises:
        ValueError: another name, or a file that `read_preset` refuses.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name.endswith((".yaml", ".yml")):
        from .preset_file import read_preset

        return read_preset(Path(name))
    raise ValueError(f"unknown preset {name!r}; presets: {', '.join(PRESETS)}, or a file PRESET.yaml")


def register_figure_preset(own: Preset) -> None:
    """Let `preset` and ``twoclocks figure --preset`` know a preset of one's own by its name.

    Raises:
        ValueError: the name is taken.
    """
    if own.name in PRESETS:
        raise ValueError(f"a preset named {own.name!r} exists already")
    PRESETS[own.name] = own


def _paper() -> Preset:
    """The paper's grid and sizes, cut down to what answers its claims: runs end once they have copied in earnest.

    Of the GPT 6,000 steps are enough for both clocks at N = 4096, of the DiT 100 a training sample are expected to be.
    `queue.py` has the order in which the runs are trained.
    """
    dit = Architecture(
        base=RunConfig(
            lr=3e-4,
            ema_halflife=1000,
            n_eval=1024,
            eval_first=100,
            eval_ratio=1.2,
            checkpoint_ratio=1e6,
            stop_when="copied",
        ),
        sizes=("dit-mini", "dit-nano", "dit-micro", "dit-small"),
        n_train=(512, 1024, 2048, 4096),
        capacity_n_train=(512, 1024),
        capacity_group_sizes=(3,),
        reference_n=4096,
        frontier_group_sizes=(4, 6),
        group_size=3,
        dissected_n=1024,
        dissected_steps=100_000,
        sweep_group_size=6,
        sweep_n=4096,
        steps_per_sample=100,
        min_steps=50_000,
        learning_rates=(1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
        weight_decays=(0.0, 1e-5, 1e-4, 1e-3, 1e-2),
    )
    gpt = replace(
        dit,
        base=replace(
            dit.base,
            model="gpt-mini",
            batch_size=128,
            precision="bf16",
            ema_halflife=0.0,
            eval_first=20,
            eval_ratio=1.15,
        ),
        sizes=("gpt-mini", "gpt-nano", "gpt-micro", "gpt-small"),
        capacity_n_train=(512, 1024, 2048, 4096),
        dissected_n=None,
        dissected_steps=6000,
        steps_per_sample=0,
        min_steps=6000,
        weight_decays=(0.0, 1e-3, 1e-2, 1e-1, 1.0),
    )
    return Preset(
        name="paper",
        shape="6x6",
        group_sizes=(2, 3, 4, 6),
        large_group_sizes=(9, 12, 18, 36),
        seeds=3,
        dit=dit,
        gpt=gpt,
        binary_rules=_binary_rules(6, 6),
        categorical_rules=("permutation:6", "latin:6", "sudoku:2x3"),
        categorical_noise={},
        n_probe=2000,
        runs=Path("runs/figures-paper"),
    )


def _binary_rules(rows: int, columns: int) -> tuple[str, ...]:
    """Rules of Fig. 21 over K: exact-K, row-K, global-K and row-variable-K."""
    cells, shape = rows * columns, f"{rows}x{columns}"
    quarter, half = cells // 4, cells // 2
    return (
        *(f"exact-k:{shape},K={k}" for k in (cells // 6, cells // 3, half)),
        *(f"row-k:{shape},K={k}" for k in range(1, columns // 2 + 1)),
        *(f"global-k:{shape},K={k}" for k in (f"{quarter}+{half}", f"{cells // 3}+{half}+{2 * cells // 3}")),
        *(f"row-variable-k:{shape},K={k}" for k in ("1+2", "1+3", "2+4")),
    )


def _laptop() -> Preset:
    """Two cores: 4x6 grids, the two smallest models, N in place of the paper's divided by 64."""
    dit = Architecture(
        base=replace(QUICK["dit"], n_eval=512, eval_ratio=1.2, ema_halflife=200),
        sizes=("dit-nano", "dit-micro"),
        n_train=(24, 48, 96, 192),
        capacity_n_train=(24, 48, 96),
        capacity_group_sizes=(3,),
        reference_n=96,
        frontier_group_sizes=(3, 4),
        group_size=3,
        dissected_steps=16_000,
        sweep_group_size=2,
        sweep_n=48,
        steps_per_sample=80,
        min_steps=1000,
        learning_rates=(1e-4, 4e-4, 1e-3, 4e-3, 1.6e-2, 6e-2),
        weight_decays=(0.0, 1e-3, 1e-2, 1e-1, 1.0),
        own_lr={"dit-micro": 1.5e-3},
    )
    gpt = replace(
        dit,
        base=replace(QUICK["gpt"], n_eval=512, eval_ratio=1.15),
        sizes=("gpt-nano", "gpt-micro"),
        n_train=(64, 128, 256, 512, 1024, 2048),
        capacity_n_train=(64, 128, 256, 512, 1024),
        capacity_group_sizes=(2, 3),
        reference_n=256,
        frontier_group_sizes=(4, 6),
        group_size=3,
        dissected_steps=1000,
        sweep_group_size=3,
        sweep_n=256,
        steps_per_sample=2,
        min_steps=400,
        learning_rates=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
        weight_decays=(0.0, 1e-2, 1e-1, 1.0, 3.0),
        own_lr={},
    )
    return Preset(
        name="laptop",
        shape="4x6",
        group_sizes=(2, 3, 4, 6),
        large_group_sizes=(8, 12, 24),
        seeds=3,
        dit=dit,
        gpt=gpt,
        binary_rules=_binary_rules(4, 6),
        categorical_rules=("permutation:6", "latin:6", "sudoku:2x3"),
        categorical_noise={"scalar": -1.6, "onehot": -0.35},  # as for -1/+1 in units of the distance between codes
        n_probe=1000,
        runs=Path("runs/figures-laptop"),
    )


def _smoke() -> Preset:
    """Every path of every figure within minutes; the figures mean nothing."""
    laptop = _laptop()

    def small(architecture: Architecture) -> Architecture:
        return replace(
            architecture,
            base=replace(architecture.base, batch_size=32, n_eval=32, eval_first=8, eval_ratio=2.0, sampler_steps=4),
            sizes=architecture.sizes[:2],
            n_train=(8, 16),
            capacity_n_train=(8, 16),
            capacity_group_sizes=(2,),
            reference_n=8,
            frontier_group_sizes=(2, 3),
            dissected_steps=40,
            sweep_n=8,
            steps_per_sample=2,
            min_steps=30,
            learning_rates=architecture.learning_rates[2:4],
            weight_decays=architecture.weight_decays[:2],
        )

    return replace(
        laptop,
        name="smoke",
        shape="2x6",
        group_sizes=(2, 3),
        large_group_sizes=(4, 6),
        seeds=2,
        dit=small(laptop.dit),
        gpt=small(laptop.gpt),
        binary_rules=_binary_rules(2, 6),
        categorical_rules=("permutation:3", "latin:3", "sudoku:2x2"),
        n_probe=64,
        runs=Path("runs/figures-smoke"),
    )


PRESETS: dict[str, Preset] = {scale.name: scale for scale in (_smoke(), _laptop(), _paper())}
