"""The gallery, paper_figures/README.md: for each figure what the paper claims, what we measured, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .claims_table import claims_markdown
from .exhibit import FIGURES, figure_module
from .figures import OUTPUT
from .presets import Architecture, preset
from .store import read_data, read_provenance, results_folder
from .studies.other_seeds import FIGURES_SEED
from .studies.other_seeds import RESULTS as OTHER_SEEDS

README = Path(__file__).parent / "README.md"


def write_gallery(preset_name: str = "laptop", path: Path = README, numbers: Sequence[int] = FIGURES) -> None:
    """Write the gallery of a preset's committed data; a figure without data says so.

    Args:
        preset_name: the scale.
        path: the Markdown file; the images are looked for in `output/` beside it.
        numbers: which figures.
    """
    scale = preset(preset_name)
    sizes = {name: ", ".join(_size(kind, size) for size in kind.sizes) for name, kind in scale.architectures.items()}
    counts = {name: ", ".join(map(str, kind.n_train)) for name, kind in scale.architectures.items()}
    parts = [
        "# The figures of arXiv:2605.10019, measured again",
        f"Preset `{scale.name}`: {scale.shape} grids; DiT ({sizes['dit']}) at N = {counts['dit']}; "
        f"GPT ({sizes['gpt']}) at N = {counts['gpt']}; {scale.seeds} seeds where the paper compares. The "
        "paper trains mini models on 6x6 grids at N = 4096: where we differ, scale may be why, and each figure "
        "says its own. Costs are wall times on a machine that was often busy with other work: upper bounds.",
        "`twoclocks figure all` draws everything from the committed tables in `results/`; `twoclocks figure 10 "
        f"--preset {scale.name} --recompute` trains and measures again. This page: `python -m "
        "twoclocks.paper_figures.gallery`.",
        "## The claims",
        claims_markdown(scale.name),
        "Verdicts given here before are withdrawn: C1 and C6 in DiT (two group sizes are one contrast; other learning "
        "rates and averaging than GPT's) and C4 in GPT (one power law is rejected).",
        "Where C4 falls short of 1, `results/memorization_exponent/report.md` tries to find out why: smaller batches, "
        "larger N alone, and a start-up that does not depend on N. Where it exceeds 1, "
        "`results/gain_of_copying/report.md` tests whether more samples leave less to gain from copying them, and "
        "`results/network_size/report.md` whether the network is too small for them, at equal learning rates.",
        "Where C3 fails, `results/grid_size/report.md` asks whether our grids are too small: on 6x6 grids the rules "
        "are closer together in DiT, and in GPT as far as overlapping intervals tell; and Figure 21, whether tau_mem "
        "follows the number of valid grids (a test chosen once the figure had been seen).",
        "The order of the clocks in C6 is judged at the simplest rule, for C5 lets the window vanish at complex ones; "
        "that was settled once the counts over all runs had been seen, and they stand in the note.",
        "How C7 and C8 are tested, and Figures 11 and 17, was settled while looking at this run and two earlier ones. "
        f"On runs of other seeds, judged by the same code once it was settled, {_other_seeds()} "
        "(`results/other_seeds/report.md`).",
        "## The figures",
    ]
    parts += [_entry(number, scale.name) for number in numbers]
    path.write_text("\n\n".join(parts) + "\n")


def _other_seeds() -> str:
    """In how many runs beside the figures' own, of `FIGURES_SEED`, each landscape claim is supported."""
    claims = pd.read_csv(OTHER_SEEDS / "claims.csv")
    supported = claims["verdict"].eq("supported")[claims["seed"] != FIGURES_SEED].groupby(claims["claim"])
    return ", ".join(f"{name} is supported in {hits.sum()} of {len(hits)}" for name, hits in supported)


def _size(kind: Architecture, size: str) -> str:
    lr = kind.own_lr.get(size)
    return f"{size} at learning rate {lr:g} in place of {kind.base.lr:g}" if lr else size


def _entry(number: int, preset_name: str) -> str:
    module, folder = figure_module(number), results_folder(preset_name, number)
    lines = [f"### Figure {number}", f"**The paper:** {module.PAPER}"]
    if not folder.exists():
        return "\n\n".join([*lines, "**We measured:** not measured yet at this scale."])
    facts = read_provenance(folder)
    runs = ""
    if count := facts["runs"]:
        training = _duration(facts["training_seconds"])
        runs = f"{count} run{'s' * (count > 1)}, {training} of training (one thread each), "
    cost = f"{runs}{_duration(facts['seconds'])} of measurement"
    image = f"![Figure {number}]({OUTPUT.name}/fig{number:02d}.png)"
    return "\n\n".join([*lines, f"**We measured:** {module.measured(read_data(folder))}", f"Cost: {cost}.", image])


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    write_gallery()
