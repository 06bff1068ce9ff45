"""Every probe of a run in one call: a figure and tidy tables each, beside the run."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from ..allocator import keep_freed_memory
from ..runs.files import write_atomically, write_table
from ..runs.foreign_files import own_folder
from ..runs.run import Run
from ..statistics.claims import ClaimVerdict, claims_to_markdown
from ..style import figure_style, save_figure
from .probe import probes


def dissect(run: Run, out: str | Path | None = None, n_noises: int = 500, progress: bool = True) -> list[Path]:
    """Look into a run from every side, and write what is seen: every probe of `probes` that serves its family.

    A DiT: the comparison with the exact optima; states of fixed noises; nearest training sample; loss spectra, noise
    bands and the train / held-out gap; segments, planes and basins of the score; claims C7 and C8. A GPT: comparison,
    states, nearest training sample, loss by position, completions of forced prefixes. An MDM: comparison, states,
    nearest training sample, loss by mask rate, completions of partly masked samples. Each probe on its own has more
    options, and `register_probe` adds one of your own.

    Args:
        run: a run that has ended and kept weights.
        out: folder for the figures (PNG), tables (CSV) and, for a DiT, claims.md; by default ``dissection`` in the
            run's folder. Files of the same names are replaced.
        n_noises: fixed initial noises of the state raster.
        progress: show a bar with a step a probe.

    Returns:
        The files written, sorted.

    Raises:
        ValueError: the run has not ended, or keeps no weights.
        OSError: the folder cannot be written.
    """
    folder = run.path / "dissection" if out is None else Path(out)
    if not run.checkpoint_steps:
        raise ValueError(f"{run.path} keeps no weights, so there is nothing to look into")
    _ = run.onsets  # raises where the run has not ended
    if out is None:
        own_folder(folder, make=True)
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    asked = [probe for probe in probes().values() if probe.serves(run.family)]
    options = {"n_noises": n_noises}
    verdicts: list[ClaimVerdict] = []
    bar = tqdm(asked, unit="probe", disable=not progress, leave=False, dynamic_ncols=True)
    for probe in bar:
        bar.set_description(probe.name)
        tables = probe.measure(run, **{name: options[name] for name in probe.options})
        for name, table in tables.items():
            if not name.startswith("_"):
                write_table(folder / f"{name}.csv", table)
        with figure_style():
            for name, figure in probe.draw(tables, run).items():
                save_figure(figure, folder / f"{name}.png")
        verdicts += probe.judge(tables, run)
    if verdicts:
        write_atomically(folder / "claims.md", f"{claims_to_markdown(verdicts)}\n".encode())
    return sorted(path for path in folder.iterdir() if path.suffix in (".png", ".csv", ".md"))
