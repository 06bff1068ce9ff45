"""Draw the paper's figures from committed data, or compute the data again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from ..empirics.allocator import keep_freed_memory
from ..empirics.hardware import resolve_device
from ..empirics.runs.files import write_json
from ..empirics.style import figure_style, save_figure
from ..empirics.time_limit import TimeOver, time_ends, time_left
from .catalogue import trained
from .exhibit import Exhibit, Name, figure_module, stem
from .presets import Preset, preset
from .store import (
    check_writable,
    drawn_folder,
    existing_runs,
    figure_folder,
    read_data,
    write_data,
    written_data,
)

OUTPUT = Path(__file__).parent / "output"
_PROGRESS = ".measured.json"


def draw(
    names: Iterable[Name],
    preset_name: str = "laptop",
    out: Path = OUTPUT,
    recompute: bool = False,
    runs: Path | None = None,
    progress: bool = True,
    data: Path | None = None,
    device: str | None = None,
    precision: str | None = None,
    per_device: int | None = None,
) -> list[Path]:
    """Draw figures as PNG and PDF.

    Args:
        names: of the figures, 1 to 28, and those that `register_exhibit` has added.
        preset_name: the scale: smoke, laptop or paper; one that a plugin registered; or a YAML file, see `read_preset`.
        out: folder for the figures.
        recompute: train what is missing and measure again, and keep the tables as the preset's data; otherwise the
            tables that are there are drawn.
        runs: folder of the training runs, shared by the figures; by default the preset's own.
        progress: show a bar.
        data: folder of the tables, read and written. By default the committed ones in a clone; elsewhere
            ``figures-data`` in the present folder.
        device: where to train with `recompute`; by default as the preset says.
        precision: of the training; by default as the preset says.
        per_device: runs that train at a time on each GPU; see `open_executor`.

    Returns:
        The PNG files.

    Raises:
        ValueError: an unknown figure, preset or device; no data of this preset; a folder that cannot be written, found
            before anything is trained.
    """
    scale = preset(preset_name).in_folder(runs).on(device, precision)
    chosen = sorted(set(names), key=lambda name: (isinstance(name, str), name))
    modules = {name: figure_module(name) for name in chosen}
    if (device or precision or per_device is not None) and not recompute:
        raise ValueError("device, precision and per-device are of training; they need --recompute")
    check_writable(out, "choose another folder for the figures (--out)")
    if recompute:
        options = [f"--preset {preset_name}"]
        options += [f"--device {device}"] if device else []
        options += [f"--precision {precision}"] if precision else []
        recompute_data(modules, scale, progress, written_data(data), " ".join(options), per_device)
    files = []
    for name in tqdm(chosen, unit="figure", disable=not progress or len(chosen) <= 1, leave=False):
        with figure_style():
            figure = modules[name].plot(read_data(drawn_folder(scale.name, stem(name), data)))
            for suffix in (".png", ".pdf"):
                save_figure(figure, out / f"{stem(name)}{suffix}", metadata=_undated(suffix))
        files.append(out / f"{stem(name)}.png")
    return files


def recompute_data(
    modules: dict[Name, Exhibit],
    scale: Preset,
    progress: bool,
    folder: Path,
    options: str,
    per_device: int | None = None,
) -> None:
    """Train every run that the figures need, each once, then compute each figure's tables and keep them in a folder.

    A `time_limit` ends it between two figures; the same call goes on with the next.
    """
    for name in modules:  # a folder that refuses the tables is found out before days of training
        check_writable(figure_folder(folder, scale.name, stem(name)), "choose another folder for the tables (--data)")
    for architecture in scale.architectures.values():
        resolve_device(architecture.base.device)
    needed = {name: module.configs(scale) for name, module in modules.items()}
    runs = trained([config for configs in needed.values() for config in configs], scale, progress, per_device)
    keep_freed_memory()
    done = _measured(scale, folder) if time_ends() is not None else []
    for name in tqdm([n for n in modules if n not in done], desc="measuring", unit="figure", disable=not progress):
        if time_left() <= 0:
            raise TimeOver(f"the time is over; {len(done)} of {len(modules)} figures are measured")
        started = time.monotonic()
        own = [runs[config] for config in needed[name]]
        data = modules[name].compute(scale, own)
        command = f"twoclocks figure {name} {options} --recompute"
        write_data(figure_folder(folder, scale.name, stem(name)), data, own, time.monotonic() - started, command)
        if time_ends() is not None:
            done.append(name)
            write_json(scale.runs / _PROGRESS, {"folder": str(folder.absolute()), "figures": done})
    (scale.runs / _PROGRESS).unlink(missing_ok=True)


def measure_existing(modules: dict[Name, Exhibit], scale: Preset, folder: Path) -> dict[Name, str]:
    """Compute each figure's tables from those of its runs that have ended in the preset's folder; nothing is trained.

    How many runs are missing is recorded with the tables. Figures for which there is too little keep no tables of this
    preset, so that what has not been run stays visibly empty.

    Args:
        modules: figures by number or name.
        scale: the preset, with its folder of runs.
        folder: of the tables.

    Returns:
        For each figure how many of its runs there are, or why it has no tables.
    """
    said = {}
    for name, module in modules.items():
        needed = list(dict.fromkeys(module.configs(scale)))
        found = existing_runs(needed, scale.runs)
        said[name] = f"{len(found)} of {len(needed)} runs"
        if not found:
            continue
        own, started = [found[config] for config in needed if config in found], time.monotonic()
        try:
            data = module.compute(scale, own)
        except (ValueError, LookupError, ZeroDivisionError) as fault:  # figures are written for all of their runs
            said[name] += f", too few ({type(fault).__name__}: {' '.join(str(fault).split())[:100]})"
            continue
        command = f"twoclocks figure {name} --preset {scale.name} --existing"
        place = figure_folder(folder, scale.name, stem(name))
        write_data(place, data, own, time.monotonic() - started, command, missing_runs=len(needed) - len(own))
    return said


def _measured(scale: Preset, folder: Path) -> list[Name]:
    """The figures whose tables an earlier call, cut short by a `time_limit`, has put into the folder."""
    if not (scale.runs / _PROGRESS).exists():
        return []
    kept = json.loads((scale.runs / _PROGRESS).read_text(encoding="utf-8"))
    return list(kept["figures"]) if kept["folder"] == str(folder.absolute()) else []


def _undated(suffix: str) -> dict[str, None]:
    """File metadata without the date, so that the same data give the same bytes."""
    return {"CreationDate": None} if suffix == ".pdf" else {}
