"""A known population of numbers: does copying begin later with more data, and learning no later?

    python -m twoclocks.paper_figures.studies.mixture_clocks --runs runs/mixture-clocks

The setting of Bonnaire et al. (2025): points drawn from a mixture of normal densities, N of them from 64 to 4096, and
a small network with EDM's preconditioning that denoises them, at batch size, learning rate and noise that are the same
for every N. Each evaluation measures the network against the exact denoiser of the mixture, on held-out points, and
1024 generations by `Memorization` against 4096 held-out points. tau_gen is the first of two evaluations in a row with
an error of at most 0.05, tau_gen_strict of at most 0.03; tau_best has the least held-out loss; tau_mem is that of
`Clocks`. In the pilot, seed 0, which is not among the seeds here, 0.03 was chosen. The smaller N never reach it, so
0.05 was added after the runs were seen: what tau_gen says is exploratory.

Some twenty minutes on one core. The command may be stopped and called again: a run that has ended is kept in the folder
of the runs, and ``--most 0`` reports those that have. Writes evaluations.csv, runs.csv, provenance.json, report.md and
clocks.png into results/mixture_clocks; ``--report-only`` makes the report again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ...empirics import Clocks, Onset, detect_onset, fit_scaling
from ...empirics.data import random_stream
from ...empirics.runs.files import write_table
from ...empirics.runs.run import environment
from ...empirics.sampling import sample_images, sigma_schedule
from ...empirics.style import COLOURS, figure_style, new_figure
from ...empirics.text_tables import interval_text, markdown_table
from ...empirics.unruled import data_onsets
from ...models.edm import loss_weight
from ...theory import GaussianMixture, OptimalDenoiser
from ..shared.clock_plots import draw_onsets, plain_log_ticks, step_axis
from ..shared.clock_tables import median_text
from ..store import RESULTS as COMMITTED
from ..store import read_provenance

COMMAND = "python -m twoclocks.paper_figures.studies.mixture_clocks"
RESULTS = COMMITTED / "mixture_clocks"
N_TRAIN = (64, 128, 256, 512, 1024, 2048, 4096)
SEEDS = (1, 2, 3)
SETTINGS = {
    "dim": 8, "components": 4, "distance": 2.0, "spread": 0.5, "held_out": 4096, "width": 256, "batch_size": 256,
    "lr": 1e-3, "noise_mean": -1.2, "noise_std": 1.2, "n_eval": 1024, "steps": 80_000, "eval_first": 4,
    "eval_ratio": 1.15, "learned": 0.05, "learned_strictly": 0.03,
}  # fmt: skip
CLOCKS = {
    "tau_gen": ("rule", "s", r"$\tau_{gen}$: score error at most 0.05"),
    "tau_gen_strict": ("local", "D", r"$\tau_{gen}$, strict: at most 0.03"),
    "tau_best": ("loss", "^", r"$\tau_{best}$: least held-out loss"),
    "tau_mem": ("memorization", "o", r"$\tau_{mem}$: copies beyond held-out chance"),
}


def population() -> GaussianMixture:
    """The mixture: equal weights, means at a distance from 0 in random directions, the same spread in all."""
    K, dim = int(SETTINGS["components"]), int(SETTINGS["dim"])
    means = torch.randn(K, dim, generator=random_stream(0, "mixture means"), dtype=torch.float64)
    means = SETTINGS["distance"] * means / means.norm(dim=1, keepdim=True)
    covariance = SETTINGS["spread"] ** 2 * torch.eye(dim, dtype=torch.float64)
    return GaussianMixture(torch.full((K,), 1 / K), means, covariance.expand(K, dim, dim))


class Network(nn.Module):
    """A denoiser of rows: three hidden layers in EDM's preconditioning, called net(y, sigma)."""

    def __init__(self, dim: int, width: int, sigma_data: float) -> None:
        super().__init__()
        self.sigma_data = sigma_data
        sizes = (dim + 1, width, width, width)
        hidden = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.SiLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, dim))

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        """(B, dim) and (B,) -> (B, dim)."""
        s = sigma.reshape(-1, 1)
        total = (s**2 + self.sigma_data**2).sqrt()
        inner = self.layers(torch.cat([y / total, s.log() / 4], 1))
        return (self.sigma_data / total) ** 2 * y + s * self.sigma_data / total * inner


def noisy(x: Tensor, sigma_data: float, stream: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x + sigma noise, sigma (n,), and EDM's weight (n, 1), at the noise levels of training."""
    log_sigma = SETTINGS["noise_mean"] + SETTINGS["noise_std"] * torch.randn(len(x), generator=stream)
    sigma = sigma_data * log_sigma.exp()
    noise = torch.randn(x.shape, generator=stream)
    return x + sigma[:, None] * noise, sigma, loss_weight(sigma, sigma_data)[:, None]


def samples(n_train: int, seed: int) -> tuple[Tensor, Tensor]:
    """The training set and the held-out samples of a run: (n, dim) each."""
    n_held = int(SETTINGS["held_out"])
    x = population().sample(n_train + n_held, random_stream(seed, "samples", n_train)).float()
    return x[:n_train], x[n_train:]


def evaluations(n_train: int, seed: int) -> pd.DataFrame:
    """One run, until tau_mem is known: a row for each evaluation."""
    mixture, dim = population(), int(SETTINGS["dim"])
    train, held_out = samples(n_train, seed)
    sigma_data = math.sqrt(SETTINGS["distance"] ** 2 / dim + SETTINGS["spread"] ** 2)  # the population's
    torch.manual_seed(random_stream(seed, "initial weights").initial_seed())
    net = Network(dim, int(SETTINGS["width"]), sigma_data)
    optimizer = torch.optim.Adam(net.parameters(), lr=SETTINGS["lr"], fused=True)
    y, sigma, weight = noisy(held_out, sigma_data, random_stream(0, "held-out noise"))
    optimum = OptimalDenoiser(mixture)(y, sigma)
    start = torch.randn(int(SETTINGS["n_eval"]), dim, generator=random_stream(0, "generations"))
    levels = sigma_schedule(18, 0.02 * sigma_data, 20 * sigma_data)
    clocks = Clocks(train=train, control=held_out, stop="memorized")
    stream, began, losses = random_stream(seed, "batches", n_train), time.process_time(), []
    due = set(eval_steps())
    rows = []
    for step in range(1, int(SETTINGS["steps"]) + 1):
        clean = train[torch.randint(n_train, (int(SETTINGS["batch_size"]),), generator=stream)]
        seen, levels_of, weights = noisy(clean, sigma_data, stream)
        loss = (weights * (net(seen, levels_of) - clean) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step in due:
            with torch.no_grad():
                denoised = net(y, sigma)
            error, held = ((weight * (denoised - to).square()).mean() for to in (optimum, held_out))
            ratios = clocks.see(step, sample_images(net, start, levels), held_out_loss=float(held))
            seconds = round(time.process_time() - began, 2)
            rows.append(
                {"n_train": n_train, "seed": seed, "step": step, "loss": float(torch.stack(losses).mean()),
                 "held_out_loss": float(held), "score_error": float(error), **ratios, "processor_seconds": seconds}
            )  # fmt: skip
            losses = []
            if clocks.should_stop:
                break
    return pd.DataFrame(rows)


def eval_steps() -> Iterator[int]:
    """Geometric, all different."""
    step, last = float(SETTINGS["eval_first"]), 0
    while step <= SETTINGS["steps"]:
        if round(step) > last:
            last = round(step)
            yield last
        step *= SETTINGS["eval_ratio"]


def onsets(table: pd.DataFrame) -> dict[str, object]:
    """The row of a run: its clocks, from its evaluations."""

    def reached(error: float) -> Onset:
        return detect_onset(table["step"].to_numpy(), (table["score_error"] <= error).to_numpy(float), 1.0, patience=2)

    found = {
        "tau_gen": reached(SETTINGS["learned"]),
        "tau_gen_strict": reached(SETTINGS["learned_strictly"]),
        **data_onsets(table),
    }
    ends = {f"{name}_{end}": getattr(onset, end) for name, onset in found.items() for end in ("lower", "upper")}
    return {"n_train": table["n_train"].iloc[0], "seed": table["seed"].iloc[0], **ends}


def exponents(runs: pd.DataFrame) -> pd.DataFrame:
    """Exponents of each clock in N with 95% profile-likelihood intervals: columns clock, exponent, low, high, and
    law_p, the p of the power law. NaN where the runs do not determine the fit.
    """
    rows = []
    for clock in CLOCKS:
        try:
            fit = fit_scaling(fitted(runs, clock), clock, n_boot=0, by=())
        except ValueError:  # too few runs
            rows.append((clock, math.nan, math.nan, math.nan, math.nan))
            continue
        assert isinstance(fit.exponent, float)
        assert isinstance(fit.ci, tuple)
        p = fit.tests["log_linear"].p_value
        rows.append((clock, fit.exponent, *fit.ci, math.nan if p is None else p))
    return pd.DataFrame(rows, columns=["clock", "exponent", "low", "high", "law_p"])


def exponent_text(fit: Mapping[Any, Any]) -> str:
    """With its interval, in words where there is none; an average where one power law is rejected."""
    if not math.isfinite(fit["exponent"]):
        return "too few runs"
    average = f", an average: a power law is rejected, p = {fit['law_p']:.1g}" if fit["law_p"] < 0.05 else ""
    return f"{interval_text(fit['exponent'], fit['low'], fit['high'])}{average}"


def fitted(runs: pd.DataFrame, clock: str) -> pd.DataFrame:
    """The runs that say when a clock strikes: for tau_mem all, those that have not copied by their last step too; for
    the others those of the N of which every run has shown it, for a run that copies will not learn any more."""
    if clock == "tau_mem":
        return runs
    shown = runs.groupby("n_train")[f"{clock}_upper"].transform("max") < math.inf
    return runs[shown].reset_index(drop=True)


def write_report(folder: Path) -> None:
    """report.md and clocks.png beside the tables, from them alone."""
    runs, table = pd.read_csv(folder / "runs.csv"), pd.read_csv(folder / "evaluations.csv")
    facts = read_provenance(folder)
    fits = exponents(runs)
    sizes = sorted(runs["n_train"].unique())
    best = table.groupby("n_train")["score_error"].min()
    medians = {
        name: [median_text(runs[runs["n_train"] == n], name) for n in sizes] for name in CLOCKS
    }  # fmt: skip
    rows = [
        [name, *medians[name], exponent_text(fit)] for name, fit in zip(CLOCKS, fits.to_dict("records"), strict=True)
    ]
    rows.append(["least error", *(f"{best[n]:.3f}" for n in sizes), ""])
    counts = runs.groupby("n_train").size()
    rows.append(["runs", *(str(counts[n]) for n in sizes), ""])
    gen, mem = (fits[fits["clock"] == name].iloc[0] for name in ("tau_gen", "tau_mem"))
    chance = table.groupby(["n_train", "seed"])["chance"].first()
    sections = [
        "# Learning and copying a mixture of normal densities",
        f"`{COMMAND}`: {len(runs)} of the {len(SEEDS) * len(N_TRAIN)} runs planned, N up to {sizes[-1]}, "
        f"{facts['processor_seconds']:.0f} s of processor time on one thread each, on a machine that others used; "
        "settings and versions in `provenance.json`. The setting of Bonnaire et al. (2025).",
        f"The population is a mixture of {SETTINGS['components']} normal densities in {SETTINGS['dim']} dimensions; "
        f"the network has three hidden layers of {SETTINGS['width']}. The error is EDM's weighted squared distance "
        "from the population's exact denoiser, on held-out points. tau_gen: the first of two evaluations in a row with "
        f"an error of at most {SETTINGS['learned']:g}, chosen after the runs were seen, so exploratory; "
        f"tau_gen_strict: of at most {SETTINGS['learned_strictly']:g}, chosen in a pilot of another seed. "
        "tau_best: the least held-out loss. "
        "tau_mem: copies (nearest below a third of the second nearest distance) exceed those among "
        f"{SETTINGS['held_out']} held-out points, of which {100 * chance.mean():.3f}% on average seem to be copies.",
        "Medians in training steps, and exponents in N (95% profile likelihood):",
        markdown_table(["clock", *(f"N = {n}" for n in sizes), "exponent in N"], rows),
        _conclusion(gen, mem),
        _late(runs),
        "![The three clocks against N, and the curves of one seed](clocks.png)",
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")
    with figure_style():
        draw(runs, table, fits).savefig(folder / "clocks.png")


def _late(runs: pd.DataFrame) -> str:
    """Which N outlast their runs, and when the law of the others would have had them copy."""
    seen = runs.groupby("n_train")["tau_mem_upper"].transform("max") < math.inf
    late = runs[~seen]
    if late.empty or runs[seen]["n_train"].nunique() < 2:
        return "Every run has copied."
    law = fit_scaling(runs[seen].reset_index(drop=True), "tau_mem", n_boot=0, by=())
    assert isinstance(law.exponent, float)
    assert isinstance(law.ci, tuple)
    predicted = law.predict(sorted(set(late["n_train"])))
    parts = [
        f"at N = {n} {int((mine['tau_mem_upper'] == math.inf).sum())} of {len(mine)} runs had not copied by step "
        f"{mine['tau_mem_lower'].max():.0f}, where the others' law says {predicted[k]:.0f}"
        for k, (n, mine) in enumerate(late.groupby("n_train"))
    ]
    return (
        f"The N of which every run has copied follow N^{interval_text(law.exponent, *law.ci)}; {'; '.join(parts)}. "
        "Whether a network of this width can store so many samples is not told by these runs."
    )


def _conclusion(gen: pd.Series, mem: pd.Series) -> str:
    if not math.isfinite(gen["exponent"]) or not math.isfinite(mem["exponent"]):
        return "Undecided: too few runs have ended."
    grows = mem["low"] > 0
    still = gen["low"] <= 0 <= gen["high"]
    falls = gen["high"] < 0
    first = (
        f"tau_mem grows with N, as N^{mem['exponent']:.2f} ({mem['low']:.2f} to {mem['high']:.2f})."
        if grows else "That tau_mem grows with N is not shown."
    )  # fmt: skip
    if grows and mem["law_p"] < 0.05:
        first = first[:-1] + f" on average: it is no power law (p = {mem['law_p']:.1g})."
    if still:
        second = "No growth of tau_gen is seen: 0 lies within the interval of its exponent, over the N that reach it."
    elif falls:
        second = "tau_gen does not grow; it falls a little."
    else:
        second = "tau_gen grows too."
    return f"{first} {second}"


def draw(runs: pd.DataFrame, table: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """Left: clocks over N with fitted power laws. Right: score error and memorization over steps, a line for each N."""
    figure, (axes,) = new_figure(1, 2, 10, 4.4)
    ax, curves = axes
    sizes = sorted(runs["n_train"].unique())
    for (name, (colour, marker, label)), fit in zip(CLOCKS.items(), fits.to_dict("records"), strict=True):
        shift = 1.04 ** (runs["seed"].to_numpy(float) - 2)
        draw_onsets(ax, runs, name, runs["n_train"].to_numpy(float) * shift, (COLOURS[colour], marker), size=4.5)
        exponent = exponent_text(fit).replace(": ", "\n")
        text = f"{label}\nexponent {exponent}"
        known = fitted(runs, name)
        at = sorted(known["n_train"].unique()) if math.isfinite(fit["exponent"]) else []
        curve = fit_scaling(known, name, n_boot=0, by=()).predict(at).tolist() if at else []
        ax.plot(at, curve, color=COLOURS[colour], lw=1.2, marker=marker, markevery=[], label=text)
    ax.set(xscale="log", yscale="log", xlabel="training samples N", ylabel="training steps")
    plain_log_ticks(ax, sizes)
    step_axis(ax.yaxis)
    ax.set_ylim(bottom=0.7)  # room for the legend
    ax.legend(fontsize=7, loc="lower right")
    seed = runs["seed"].min()
    for n in sizes[:: 2 if len(sizes) > 5 else 1]:
        part = table[(table["n_train"] == n) & (table["seed"] == seed)]
        weight = 0.8 + 0.5 * sizes.index(n) / 2
        curves.plot(part["step"], part["score_error"], color=COLOURS["rule"], lw=weight, label=f"error, N = {n}")
        curves.plot(part["step"], part["memorization"], "--", color=COLOURS["memorization"], lw=weight)
        end = part.iloc[-1]
        curves.annotate(f"N = {n}", (end["step"], end["memorization"]), fontsize=7, ha="right", va="bottom")
    curves.axhline(SETTINGS["learned"], color=COLOURS["chance"], ls=":", lw=1)
    curves.set(xscale="log", xlabel="training step", ylim=(-0.01, 0.4))
    curves.set_ylabel("score error (solid), memorization (dashed)")
    curves.set_title(f"seed {seed}; thicker lines have more samples")
    ax.set_title(f"{SETTINGS['dim']} dimensions, {runs['seed'].nunique()} seeds")
    return figure


def main() -> None:
    """Train what is missing, a run at a time, and write tables and report after each."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--runs", type=Path, default=Path("runs/mixture-clocks"), help="where ended runs are kept")
    options.add_argument("--most", type=int, default=len(SEEDS) * len(N_TRAIN), help="runs to train in this call")
    options.add_argument("--report-only", action="store_true", help="only make the report again, from committed data")
    asked = options.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not asked.report_only:
        torch.set_num_threads(1)
        asked.runs.mkdir(parents=True, exist_ok=True)
        paths = {(seed, n): asked.runs / f"N={n}-seed={seed}.csv" for seed, n in itertools.product(SEEDS, N_TRAIN)}
        missing = [key for key, path in paths.items() if not path.exists()]
        for seed, n_train in missing[: asked.most]:
            write_table(paths[seed, n_train], evaluations(n_train, seed))
            print(paths[seed, n_train], flush=True)
        write_tables([pd.read_csv(path) for path in paths.values() if path.exists()])
    write_report(RESULTS)


def write_tables(ended: list[pd.DataFrame]) -> None:
    """evaluations.csv, runs.csv and provenance.json of the runs that have ended."""
    table = pd.concat(ended, ignore_index=True).sort_values(["n_train", "seed", "step"], ignore_index=True)
    write_table(RESULTS / "evaluations.csv", table)
    write_table(RESULTS / "runs.csv", pd.DataFrame([onsets(part) for part in ended]))
    spent = sum(float(part["processor_seconds"].iloc[-1]) for part in ended)
    facts = {"command": COMMAND, "processor_seconds": round(spent, 1), **environment(), "settings": SETTINGS}
    (RESULTS / "provenance.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
