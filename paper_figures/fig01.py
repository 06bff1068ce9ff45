"""Figure 1: group parity, what counts as obeying and as copying, and where a diffusion model ends for each group size.

The paper draws the structure of the data (A) and shows final accuracy and memorization against G at N = 4096, for whole
samples (B) and for groups (C). Ours shows the same at the preset's grid, smallest DiT and reference N, with every seed
and the exact chance levels: of a sampler of the true law, and of a uniform sampler of all grids. Memorization of whole
samples, small at this N, stands once more on a logarithmic axis (D); Figure 7 has the other N.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..empirics import Run, RunConfig
from ..empirics.data import training_set
from ..empirics.evaluation import Evaluator
from ..empirics.families import Generations
from ..empirics.style import COLOURS
from ..theory import rule
from .catalogue import all_group_sizes, parity
from .presets import Preset
from .shared.curves import scale_text
from .shared.endings import GROUP, SAMPLE, draw_ending, draw_memorization, not_copied_skill
from .shared.run_tables import final_table
from .shared.verdicts import spread_text, trend_word
from .store import Data

PAPER = (
    "Group parity at N = 4096: where DiT ends for each group size G, in accuracy and memorization, for whole samples "
    "and for groups. The caption is cut off before a conclusion; tested is that the rule is learned less well the "
    "larger G, as tau_rule grows with G."
)
MISSING = "the paper's mini model, 6x6 grids and N = 4096; other N are in Figure 7"


def configs(preset: Preset) -> list[RunConfig]:
    return parity(preset, preset.dit, all_group_sizes(preset), [preset.dit.reference_n])


def compute(preset: Preset, runs: list[Run]) -> dict[str, pd.DataFrame]:
    return {"final": final_table(runs), "examples": _examples(preset)}


def plot(data: Data) -> Figure:
    final, examples = data["final"], data["examples"]
    figure = Figure(figsize=(11.5, 6.9))
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.0, 1.35]).flat
    _draw_structure(top.subplots(1, len(examples)), examples)
    top.suptitle(
        f"A  Group parity: each group of G = {examples['G'].iloc[0]} cells holds an even number of ones "
        f"(dark; the circled number). Trained on N = {examples['n_train'].iloc[0]} grids",
        fontsize=9, x=0.01, ha="left",
    )  # fmt: skip
    left, right, copies = bottom.subplots(1, 3, width_ratios=[1.15, 1.15, 1])
    for ax, level, title in ((left, SAMPLE, "B  whole samples"), (right, GROUP, "C  groups")):
        draw_ending(ax, final, level)
        ax.set_title(title, loc="left")
        ax.set_xlabel("group size G (cells)")
    draw_memorization(copies, final, SAMPLE)
    copies.set_title("D  memorization of whole samples, log scale", loc="left")
    copies.set_xlabel("group size G (cells)")
    left.set_ylabel("fraction of generations")
    right.set_ylabel("fraction of groups")
    bottom.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    bottom.suptitle(f"At the end of training: {scale_text(final)}", fontsize=9, x=0.01, ha="left")
    return figure


def measured(data: Data) -> str:
    skill = not_copied_skill(data["final"]).dropna(subset="skill")
    if skill.empty:
        return "no run generated enough grids that are not copies; undecided"
    verdict, p = trend_word(
        skill["skill"].to_numpy(), skill["G"].to_numpy(), np.zeros(len(skill), dtype=int), rises=False
    )
    least, most = (skill[skill["G"] == G] for G in (skill["G"].min(), skill["G"].max()))
    above = int((data["final"]["memorization_p"] < 1e-3).sum())
    return (
        f"N = {skill['n_train'].iloc[0]}, {len(skill)} runs: among generations that are not copies, rule accuracy "
        f"beyond a rule-blind sampler's (0: no better, 1: always valid) is {spread_text(least['skill'])} at "
        f"G = {least['G'].iloc[0]} and {spread_text(most['skill'])} at G = {most['G'].iloc[0]} (median [range over "
        f"seeds]; falls with G: {p}); memorization ends above exact chance (p < 0.001) in {above} of "
        f"{len(data['final'])} runs; {verdict}"
    )


def _examples(preset: Preset) -> pd.DataFrame:
    """A training sample, a valid novel grid and a violating one, each evaluated as generations are."""
    columns = int(preset.shape.split("x")[1])
    G = max(size for size in all_group_sizes(preset) if columns % size == 0)
    law, N = rule(f"parity:{preset.shape},G={G}"), preset.dit.reference_n
    train = training_set(law, N, seed=0)
    evaluator = Evaluator(law, train)
    drawn = law.sample(256, torch.Generator().manual_seed(0))
    novel = drawn[~evaluator.states(_as_generations(drawn))[1]][:1]
    broken = novel.clone()
    broken[0, -1] = 1 - broken[0, -1]
    rows = []
    for name, x in (("a training sample", train[:1]), ("a valid, novel grid", novel), ("one cell flipped", broken)):
        result = evaluator.metrics(_as_generations(x))
        ratios = {key: result[key] for key in ("rule_accuracy", "group_accuracy", "memorization", "group_memorization")}
        bits = "".join(map(str, x[0].tolist()))
        rows.append({"name": name, "bits": bits, "shape": preset.shape, "G": G, "n_train": N, **ratios})
    return pd.DataFrame(rows)


def _as_generations(x: torch.Tensor) -> Generations:
    return Generations(x, torch.zeros(len(x), dtype=torch.bool))


def _draw_structure(axes: np.ndarray, examples: pd.DataFrame) -> None:
    for ax, (_, example) in zip(axes, examples.iterrows(), strict=True):
        _draw_grid(ax, example)
        n_groups = len(example["bits"]) // int(example["G"])
        held, seen = (round(n_groups * example[key]) for key in ("group_accuracy", "group_memorization"))
        valid, copied = bool(example["rule_accuracy"]), bool(example["memorization"])
        ax.set_title(example["name"])
        ax.text(
            0.5, -0.04,
            f"sample: {'valid' if valid else 'violates the rule'}, {'memorized' if copied else 'not memorized'}\n"
            f"groups: {held} of {n_groups} even, {seen} of {n_groups} seen in training\nat the same place",
            transform=ax.transAxes, ha="center", va="top", fontsize=8,
        )  # fmt: skip


def _draw_grid(ax: Axes, example: pd.Series) -> None:
    """The cells of a grid, a frame around each group, and its number of ones beside it; dashed where it is odd."""
    rows, columns = map(int, str(example["shape"]).split("x"))
    G = int(example["G"])
    bits = np.array(list(map(int, example["bits"]))).reshape(rows, columns)
    for (row, column), bit in np.ndenumerate(bits):
        ax.add_patch(Rectangle((column, row), 1, 1, fc="#333333" if bit else "#F7F7F7", ec="#999999", lw=0.6))
    for group, cells in enumerate(bits.reshape(-1, G)):
        row, column = divmod(group * G, columns)
        odd = bool(cells.sum() % 2)
        colour = COLOURS["violating" if odd else "rule"]
        ax.add_patch(
            Rectangle((column + 0.05, row + 0.05), G - 0.1, 0.9, fc="none", ec=colour, lw=2, ls="--" if odd else "-")
        )
        beside = columns + 0.7 + 0.95 * (group % (columns // G))
        circle = {"boxstyle": "circle,pad=0.2", "fc": "white", "ec": colour, "ls": "--" if odd else "-"}
        ax.text(beside, row + 0.5, str(cells.sum()), ha="center", va="center", fontsize=8, color=colour, bbox=circle)
    ax.set(xlim=(-0.1, columns + 0.4 + columns // G), ylim=(rows + 0.1, -0.1), aspect="equal")
    ax.axis("off")
