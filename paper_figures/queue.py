"""The runs that decide most about the paper's claims, in the order in which time is given to them.

    twoclocks sweep queue:paper --out runs/figures-paper --dry-run

What decides most for each training step comes first. The runs are those that the figures ask for at the same preset, in
the same folders, so that a figure finds whatever of the queue has been trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..empirics import RunConfig
from .catalogue import dissected, parity, scaling
from .presets import PRESETS, Architecture, Preset, preset


@dataclass(frozen=True)
class Stage:
    """Some runs of the queue, and what they are for."""

    title: str
    answers: str
    """claims and figures"""
    configs: tuple[RunConfig, ...]


def stages(scale: Preset) -> list[Stage]:
    """The queue of a preset; no run occurs twice."""
    dit, gpt = scale.dit, scale.gpt
    larger = [config for kind in (gpt, dit) for config in scaling(scale, kind) if config.model != kind.sizes[0]]
    planned = [
        ("GPT over N and G", "C1, C3, C4, C5", parity(scale, gpt, scale.group_sizes, gpt.n_train)),
        ("DiT over N", "C4, C5, C6", parity(scale, dit, [dit.group_size], dit.n_train, seeds=1)),
        (
            "a DiT and a GPT, dissected",
            "C7, C8; Fig. 3, 11, 13 to 20",
            [*dissected(scale, dit), *dissected(scale, gpt)],
        ),
        ("online control", "C4: no copying without repetition", [_online(scale, gpt), _online(scale, dit)]),
        ("DiT over N at a large G", "C1, C3, C5", parity(scale, dit, [dit.sweep_group_size], dit.n_train, seeds=1)),
        ("sizes", "C2", [config for config in larger if config.seed == 0]),
        ("more seeds of the DiT", "C4, C5, C6", parity(scale, dit, [dit.group_size], dit.n_train)),
    ]
    known: set[RunConfig] = set()
    queue = []
    for title, answers, configs in planned:
        fresh = tuple(config for config in dict.fromkeys(configs) if config not in known)
        known.update(fresh)
        queue.append(Stage(title, answers, fresh))
    return queue


def queue(scale: Preset) -> list[RunConfig]:
    """Every run of the queue, in its order."""
    return [config for stage in stages(scale) for config in stage.configs]


def stages_named(name: str) -> dict[str, tuple[RunConfig, ...]]:
    """The stages of the queue that ``queue:PRESET`` names, by title; none for another text.

    Raises:
        ValueError: an unknown preset.
    """
    kind, colon, scale = name.partition(":")
    if kind != "queue" or not colon:
        return {}
    if scale not in PRESETS:
        raise ValueError(f"no queue {name!r}; queues: {', '.join(f'queue:{known}' for known in PRESETS)}")
    return {f"{stage.title} ({stage.answers})": stage.configs for stage in stages(preset(scale))}


def queue_named(name: str) -> list[RunConfig] | None:
    """All runs of the queue that ``queue:PRESET`` names, in order; None for another text. Raises as `stages_named`."""
    named = stages_named(name)
    return [config for configs in named.values() for config in configs] or None


def _online(scale: Preset, kind: Architecture) -> RunConfig:
    """Fresh samples at every step, which cannot be copied, to its last step; the training set is only compared with."""
    spec = f"parity:{scale.shape},G={kind.group_size}"
    config = kind.config(rule=spec, model=kind.sizes[0], n_train=min(kind.n_train), steps=kind.min_steps)
    return replace(config, online=True, stop_when="never")
