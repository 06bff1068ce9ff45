"""Figures 3, 11, 12 and 20 on rasters and tables written by hand: what is drawn is there, verdicts follow the data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from twoclocks.empirics import Onset, StateRaster
from twoclocks.empirics.probes.phases import phase_steps
from twoclocks.empirics.probes.spectra import SIGMAS
from twoclocks.empirics.probes.states import STATES
from twoclocks.empirics.probes.summary import RunSummary, summary_table
from twoclocks.empirics.style import figure_style
from twoclocks.paper_figures import fig03, fig11, fig12, fig20
from twoclocks.paper_figures.presets import preset
from twoclocks.paper_figures.shared.rasters import (
    claimed_changes,
    novel_before_memorized,
    raster_columns,
    read_raster_columns,
    run_raster,
)
from twoclocks.paper_figures.shared.score_tables import paper_phases, phase_table, stage_steps

STEPS = (10, 20, 40, 80, 160, 320, 640)
AMBIGUOUS, VIOLATING, NOVEL, MEMORIZED = range(4)
COURSE = (AMBIGUOUS, VIOLATING, VIOLATING, NOVEL, NOVEL, NOVEL, MEMORIZED)
N = 60


def record(model: str = "dit-nano", rule: tuple[float, float] = (40, 80), mem: tuple[float, float] = (320, 640)):
    ends = {"tau_rule": rule, "tau_mem": mem}
    onsets = {name: Onset(upper, lower, upper, math.isinf(upper)) for name, (lower, upper) in ends.items()}
    return RunSummary("parity:4x6,G=3", model, 96, 0, onsets, STEPS)


def raster(course: tuple[int, ...] = COURSE) -> StateRaster:
    return StateRaster(np.tile(np.array(course, dtype=np.int8), (N, 1)), STEPS)


def drawn(module, data) -> Figure:
    with figure_style():
        figure = module.plot(data)
        figure.draw_without_rendering()
    return figure


def texts(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def states_data(course: tuple[int, ...] = COURSE, run: RunSummary | None = None) -> dict[str, pd.DataFrame]:
    return {"raster": raster_columns(raster(course)), "record": summary_table(run or record())}


def test_a_raster_survives_its_compact_table():
    states = np.random.default_rng(0).integers(0, 4, (30, 3)).astype(np.int8)
    table = raster_columns(StateRaster(states, (7, 30, 200)))
    assert table.shape == (30, 3)
    assert set(table.dtypes) == {np.dtype(np.int8)}
    back = read_raster_columns(table)
    assert back.steps == (7, 30, 200)
    np.testing.assert_array_equal(back.states, states)


def test_changes_are_counted_against_all_changes_of_the_window():
    states = raster().states
    states[:15, 3:6] = MEMORIZED  # violating to memorized in the rule's window, and no change in the last
    found = claimed_changes(StateRaster(states, STEPS), record()).set_index("window")
    assert found.index.tolist() == ["quantization", "rule learning", "memorization"]
    assert found["changed"].tolist() == [N, N, N - 15]
    assert found["claimed"].tolist() == [N, N - 15, N - 15]
    assert found.loc["rule learning", "low"] < 0.75 < found.loc["rule learning", "high"]
    assert (found.loc["rule learning", "first_step"], found.loc["rule learning", "last_step"]) == (20, 80)


def test_only_novelty_before_the_end_counts_as_the_path_to_memorization():
    states = raster().states
    states[:7, 3:6] = VIOLATING  # memorized without having been novel
    states[7:10, 6] = NOVEL  # not memorized in the end
    assert novel_before_memorized(StateRaster(states, STEPS)) == (N - 10, N - 3)


def test_the_raster_of_a_run_is_made_once(monkeypatch):
    calls = []
    monkeypatch.setattr("twoclocks.paper_figures.shared.rasters.state_raster", lambda run, n: calls.append((run, n)))
    one, other = object(), object()
    for run, n in ((one, 3), (one, 3), (other, 3), (one, 4)):
        run_raster(run, n)
    assert calls == [(one, 3), (other, 3), (one, 4)]
    run_raster.cache_clear()


def test_memorization_that_has_only_begun_is_not_judged():
    for copied, text in ((5, "only 0.08 of the samples are memorized"), (6, None)):
        states = raster().states
        states[copied:, 6] = VIOLATING  # forget the rule instead
        data = {**states_data(), "raster": raster_columns(StateRaster(states, STEPS))}
        assert fig11.measured(data).endswith("; undecided" if text else "; differ")
        assert (text or "0.10 [") in fig11.measured(data)


@pytest.mark.parametrize(
    ("course", "verdict"),
    [
        (COURSE, "agree"),
        # From violating straight to memorized: the rule's window does not show what it should.
        ((AMBIGUOUS, VIOLATING, VIOLATING, MEMORIZED, NOVEL, NOVEL, MEMORIZED), "differ"),
        # Never ambiguous: no window of quantization, so that one of three stages is unseen.
        ((VIOLATING, VIOLATING, VIOLATING, NOVEL, NOVEL, NOVEL, MEMORIZED), "undecided"),
    ],
)
def test_figure_11_judges_the_stages(course, verdict):
    assert fig11.measured(states_data(course)).endswith(f"; {verdict}")


def test_figure_11_shows_raster_and_matrices():
    shown = texts(drawn(fig11, states_data()))
    for part in ("quantization: step 10 to 20", "rule learning: step 20 to 80", "memorization: step 320 to 640"):
        assert part in shown
    assert f"{N} fixed noises" in shown
    assert "N = 96" in shown


def test_figure_11_says_that_no_clock_struck():
    run = record(rule=(640, math.inf), mem=(640, math.inf))
    data = states_data((AMBIGUOUS,) * 7, run)
    assert "no clock struck" in texts(drawn(fig11, data))
    assert fig11.measured(data).endswith("; undecided")


def dissection(held_out_gap: float = 0.2, share: float = 0.95, course: tuple[int, ...] = COURSE, end: float = math.nan):
    """Tables of Fig. 3 in which the gap opens to held_out_gap, and a draws this share of the landscape, in the end."""
    run = record(mem=(320, 640) if math.isnan(end) else (end, math.inf))
    counts = raster(course).counts
    phases = paper_phases(run, counts)
    last = max(phases.values())
    spectra, shares, planes = [], [], []
    nets = [("learned", step) for step in STEPS] + [(name, None) for name in ("rule optimum", "training-set optimum")]
    for denoiser, step in nets:
        for split in ("train", "held-out", "cube"):
            gap = held_out_gap if split == "held-out" and step == last else 0.0
            spectra += [
                {"denoiser": denoiser, "step": step, "split": split, "sigma": sigma, "loss": 0.1 + gap,
                 "loss_se": 0.01, "gap": gap, "gap_se": 0.01, "gap_p": 0.5}
                for sigma in SIGMAS
            ]  # fmt: skip
        for sigma in fig03.PLANE_SIGMAS:
            value = share if step == STEPS[-1] else 0.5
            shares.append({"denoiser": denoiser, "step": step, "sigma": sigma, "share": value, "low": value - 0.03,
                           "high": value + 0.03, "n_planes": 8})  # fmt: skip
            planes += [
                {
                    "denoiser": denoiser,
                    "step": step,
                    "sigma": sigma,
                    "u": u,
                    "v": v,
                    "score": 1.0,
                    "displacement": u - v,
                }
                for u in (-0.5, 0.5, 1.5)
                for v in (-0.5, 0.5, 1.5)
            ]
    early, mid, late = stage_steps(run).values()
    steps = {*early[-2:], mid[len(mid) // 2], late[0], late[-1], None}
    tables = {
        name: pd.DataFrame([row for row in rows if name == "spectra" or row["step"] in steps]).astype({"step": "Int64"})
        for name, rows in (("spectra", spectra), ("planes", planes), ("shares", shares))
    }
    return {
        "raster": raster_columns(raster(course)),
        "run": summary_table(run),
        "phases": phase_table(phases),
        **tables,
    }


LEAPS = (AMBIGUOUS, VIOLATING, VIOLATING, VIOLATING, VIOLATING, VIOLATING, MEMORIZED)


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (dissection(), "agree"),
        (dissection(course=LEAPS), "differ"),  # never novel
        (dissection(held_out_gap=-0.2), "differ"),
        (dissection(share=0.2), "differ"),
        (dissection(held_out_gap=0.005), "undecided"),  # within its error
        (dissection(share=0.52), "undecided"),
        (dissection(end=640), "undecided"),  # tau_mem was not seen
    ],
)
def test_figure_3_needs_path_gap_and_landscape(data, verdict):
    assert fig03.measured(data).endswith(f"n = 1 run: {verdict}")


@pytest.mark.parametrize("end", [math.nan, 640])
def test_figure_3_draws_every_part(end):
    figure = drawn(fig03, dissection(end=end))
    shown = texts(figure)
    for part in (
        "A  states",
        "B  samples",
        "C  denoising loss",
        "D  displacement",
        "training-set\noptimum",
        "to a: 50%",
    ):
        assert part in shown
    assert "to a: 95%" in shown
    assert ("memorization begins" in shown) == math.isnan(end)


def test_figure_3_asks_for_steps_before_at_within_and_after_the_window():
    assert fig03.landscape_steps(record()) == [20, 80, 320, 640]  # at 40 most generations would obey the rule
    assert fig03.landscape_steps(record(mem=(160, 320))) == [20, 80, 160, 320, 640]  # the first copies, and the end


def distances(falls: list[float], n: int = 100, mem: tuple[float, float] = (320, 640)) -> dict[str, pd.DataFrame]:
    """Runs whose valid generations come nearer by these numbers of cells between tau_rule and tau_mem."""
    runs, rows, references = [], [], []
    for number, fall in enumerate(falls):
        runs.append({"run": number, "model": "dit-nano", "rule": f"parity:4x6,G={2 + number % 2}", "shape": "4x6",
                     "G": 2 + number % 2, "n_train": 96, "seed": number // 2, "n_eval": 512, "steps": 640,
                     "tau_rule_lower": 40, "tau_rule_upper": 80, "tau_mem_lower": mem[0],
                     "tau_mem_upper": mem[1]})  # fmt: skip
        # Far off before the rule, and copies after tau_mem: neither counts.
        course = dict(zip(STEPS, (7, 7, 7, 5, 5 - fall / 2, 5 - fall, 1), strict=True))
        rows += [
            {"run": number, "step": step, "of": of, "n": n, "hamming": value, "hamming_se": 0.1}
            for step, value in course.items()
            for of in ("all", "valid", "novel")
        ]
        references += [{"run": number, "of": of, "hamming": 5.0} for of in ("rule", "rule, novel", "cube")]
    return {"runs": pd.DataFrame(runs), "distances": pd.DataFrame(rows), "references": pd.DataFrame(references)}


def test_the_approach_is_measured_inside_the_window_alone():
    data = distances([0.5, 0.25])
    np.testing.assert_allclose(fig12.approach(data["runs"], data["distances"], "novel"), [0.5, 0.25])


@pytest.mark.parametrize(
    ("falls", "verdict"),
    [([0.5, 0.4, 0.6, 0.5], "agree"), ([-0.5, -0.4, -0.6, -0.5], "differ"), ([0.5, -0.4, 0.3, -0.5], "undecided")],
)
def test_figure_12_judges_the_approach_over_runs(falls, verdict):
    assert fig12.measured(distances(falls)).endswith(f"; {verdict}")


def test_figure_12_decides_nothing_from_one_run_few_generations_or_no_window():
    for data in (distances([0.5]), distances([0.5, 0.4, 0.6], n=9), distances([0.5, 0.4, 0.6], mem=(20, 40))):
        assert fig12.measured(data).endswith("; undecided")


def test_the_interval_of_a_mean_is_student_s():
    low, high = fig12.mean_interval(np.array([1.0, 2.0, 3.0]))
    reach = 4.302652729911275 / math.sqrt(3)  # t quantile 0.975 with 2 degrees of freedom, standard deviation 1
    assert (low, high) == pytest.approx((2 - reach, 2 + reach))


def test_figure_12_has_a_panel_for_each_group_size_with_its_references():
    figure = drawn(fig12, distances([0.5, 0.4, 0.6, 0.5]))
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == ["G = 2", "G = 3"]
    for ax in panels:
        levels = {line.get_label() for line in ax.lines}
        assert {"exact sampler of the cube", "exact sampler of the rule", "valid and not memorized"} <= levels
    assert "2 seeds" in texts(figure)


def test_figure_12_of_runs_without_evaluations_is_undecided(tmp_path):
    empty = distances([0.5])
    empty["distances"] = empty["distances"].iloc[:0]
    assert fig12.measured(empty).endswith("; undecided")
    drawn(fig12, empty)


GPT_COURSE = (VIOLATING, VIOLATING, VIOLATING, NOVEL, NOVEL, NOVEL, MEMORIZED)


def gpt(end: float = 0.6, course: tuple[int, ...] = GPT_COURSE) -> dict[str, pd.DataFrame]:
    """Tables of Fig. 20 in which half a training sample is completed with this probability in the end."""
    run = record("gpt-nano")
    steps = sorted(phase_steps(run).values())
    cells = np.arange(24)
    losses = pd.concat(
        [
            pd.DataFrame({"step": step, "split": split, "position": cells, "n": 40, "loss": 0.5, "loss_se": 0.01})
            for step in steps
            for split in ("train", "held-out", "cube")
        ]
    )
    floors = pd.DataFrame({"position": cells, "rule": 0.6, "rule_se": 0.0, "training_set": 0.1})
    rows = []
    models = [("learned", step) for step in steps] + [("rule optimum", None), ("training-set optimum", None)]
    for model, step in models:
        same = {"rule optimum": 0.01, "training-set optimum": 0.7}.get(model, end if step == STEPS[-1] else 0.01)
        rows += [
            {"model": model, "step": step, "split": split, "prefix": k, "n": 40, "same": same, "same_se": 0.01,
             "any": same, "any_se": 0.01}
            for split in ("train", "held-out")
            for k in range(25)
        ]  # fmt: skip
    completions = pd.DataFrame(rows).astype({"step": "Int64"})
    tables = {"losses": losses, "floors": floors, "completions": completions}
    return {"raster": raster_columns(raster(course)), "run": summary_table(run), **tables}


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (gpt(), "agree"),
        (gpt(end=0.02), "undecided"),
        (gpt(end=-0.05), "differ"),
        (gpt(course=(VIOLATING, VIOLATING, VIOLATING, MEMORIZED, NOVEL, NOVEL, MEMORIZED)), "differ"),
    ],
)
def test_figure_20_judges_stages_and_completions(data, verdict):
    assert fig20.measured(data).endswith(f"n = 1 run: {verdict}")


def test_figure_20_draws_every_part():
    shown = texts(drawn(fig20, gpt()))
    for part in ("A  states", "rule learning: step 10 to 80", "40 held-out samples", "exact floor of the training set",
                 "exact optimum of the rule: chance", "prefixes of 40 train samples"):  # fmt: skip
        assert part in shown


def test_the_dissected_runs_and_parity_at_the_reference_n_are_asked_for():
    scale = replace(preset("smoke"), seeds=3)
    assert fig03.configs(scale) == fig11.configs(scale)
    (dit,), (gpt_run,) = fig03.configs(scale), fig20.configs(scale)
    assert (dit.model, gpt_run.model) == ("dit-nano", "gpt-nano")
    assert dit.checkpoint_ratio == gpt_run.checkpoint_ratio == 1.0
    asked = fig12.configs(scale)
    assert len(asked) == 3 * len(scale.group_sizes)
    assert {config.n_train for config in asked} == {scale.dit.reference_n}


def test_states_in_the_raster_are_those_of_the_claimed_changes():
    assert STATES == ("ambiguous", "violating", "novel_valid", "memorized")
