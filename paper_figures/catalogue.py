"""The runs behind the figures, by subject. Figures that ask for the same run share it: a run is found by its config."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..empirics import Run, RunConfig
from ..empirics.sweeps.executors import open_executor
from ..empirics.sweeps.sweep import ended_runs, sweep
from .presets import Architecture, Preset


def parity(
    preset: Preset,
    architecture: Architecture,
    group_sizes: Sequence[int],
    n_train: Sequence[int],
    sizes: Sequence[str] | None = None,
    seeds: int | None = None,
) -> list[RunConfig]:
    """Group parity over group sizes, N, model sizes and seeds; by default the smallest model and the preset's seeds."""
    return [
        architecture.config(rule=f"parity:{preset.shape},G={G}", model=size, n_train=n, seed=seed)
        for seed, size, n, G in itertools.product(
            range(preset.seeds if seeds is None else seeds), sizes or architecture.sizes[:1], n_train, group_sizes
        )
    ]


def scaling(preset: Preset, architecture: Architecture) -> list[RunConfig]:
    """Parity over N and sizes: the smallest model to its last step, the larger ones until both clocks are known."""
    larger = parity(
        preset,
        architecture,
        architecture.capacity_group_sizes,
        architecture.capacity_n_train,
        architecture.sizes[1:],
    )
    return [
        *parity(preset, architecture, preset.group_sizes, architecture.n_train),
        *(replace(config, stop_when="both") for config in larger),
    ]


def beyond(preset: Preset, architecture: Architecture) -> list[RunConfig]:
    """Parity at the group sizes beyond reach, over the smaller N."""
    return parity(preset, architecture, preset.large_group_sizes, architecture.capacity_n_train)


def all_group_sizes(preset: Preset) -> tuple[int, ...]:
    """Group sizes within reach and beyond, ascending."""
    return (*preset.group_sizes, *preset.large_group_sizes)


def matched(preset: Preset) -> list[RunConfig]:
    """DiT and GPT at the same N, the DiT's reference, over every group size."""
    architectures = preset.architectures.values()
    return [
        config
        for kind in architectures
        for config in parity(preset, kind, all_group_sizes(preset), [preset.dit.reference_n])
    ]


def dissected(preset: Preset, architecture: Architecture) -> list[RunConfig]:
    """The one run of an architecture that is looked into: many evaluations, weights kept at each, to its last step."""
    return [
        architecture.config(
            rule=f"parity:{preset.shape},G={architecture.group_size}",
            model=architecture.sizes[0],
            n_train=architecture.dissected_n or architecture.reference_n,
            steps=architecture.dissected_steps,
            checkpoint_ratio=1.0,
            stop_when="never",
        )
    ]


def learning_rates(preset: Preset, architecture: Architecture) -> list[RunConfig]:
    """Every learning rate, at the sweeps' group size and N."""
    return _sweep(preset, architecture, "lr", architecture.learning_rates)


def weight_decays(preset: Preset, architecture: Architecture) -> list[RunConfig]:
    """Every weight decay, at the sweeps' group size and N."""
    return _sweep(preset, architecture, "weight_decay", architecture.weight_decays)


def rules(
    preset: Preset,
    specs: Iterable[str],
    n_train: int,
    encodings: Sequence[str | None] = (None,),
    seeds: int | None = None,
) -> list[RunConfig]:
    """DiT runs on any rules at one N; by default the preset's seeds."""
    return [
        preset.dit.config(rule=spec, model=preset.dit.sizes[0], n_train=n_train, encoding=encoding, seed=seed)
        for seed, encoding, spec in itertools.product(range(preset.seeds if seeds is None else seeds), encodings, specs)
    ]


def trained(
    configs: Iterable[RunConfig], preset: Preset, progress: bool = True, per_device: int | None = None
) -> dict[RunConfig, Run]:
    """The runs of these configs, trained if they are missing from the preset's folder, each once."""
    distinct = list(dict.fromkeys(configs))
    if not distinct:
        return {}
    if per_device is None:
        table = sweep(distinct, preset.runs, progress=progress)
    else:
        with open_executor(per_device=per_device) as executor:
            table = sweep(distinct, preset.runs, executor, progress=progress)
    return dict(zip(distinct, ended_runs(table), strict=True))


def _sweep(preset: Preset, architecture: Architecture, field: str, values: Sequence[float]) -> list[RunConfig]:
    rule = f"parity:{preset.shape},G={architecture.sweep_group_size}"
    return [
        architecture.config(
            rule=rule, model=architecture.sizes[0], n_train=architecture.sweep_n, seed=seed, **{field: value}
        )
        for seed, value in itertools.product(range(preset.seeds), values)
    ]
