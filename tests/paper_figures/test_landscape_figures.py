"""Figures 13 to 19: drawn from tables alone, and verdicts that follow from the numbers."""

import numpy as np
import pandas as pd
import pytest
from written_runs import write_clocks

import twoclocks as tc
from twoclocks.empirics.probes.summary import RunSummary, summary_table
from twoclocks.empirics.style import figure_style
from twoclocks.paper_figures.exhibit import figure_module
from twoclocks.paper_figures.presets import preset
from twoclocks.paper_figures.shared import score_planes, score_tables
from twoclocks.paper_figures.store import read_data, write_data

NUMBERS = tuple(range(13, 20))
STEPS = (10, 20, 40, 80, 160)
RULE, LATER = tc.Onset(20.0, 10.0, 20.0, False), tc.Onset(40.0, 20.0, 40.0, False)
MEM, NEVER = tc.Onset(80.0, 40.0, 80.0, False), tc.Onset(np.inf, 160.0, np.inf, True)


def run_table(rule=RULE, mem=MEM, steps=STEPS):
    return summary_table(
        RunSummary("parity:4x6,G=3", "dit-nano", 96, 0, {"tau_rule": rule, "tau_mem": mem}, tuple(steps))
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """All seven figures' tables of a tiny run with both clocks written in, through files."""
    folder = tmp_path_factory.mktemp("landscapes")
    config = tc.RunConfig(
        rule="parity:2x4,G=4", model="dit-nano", n_train=16, steps=160, batch_size=16, lr=3e-3, warmup=5,
        sampler_steps=4, n_eval=16, eval_first=10, eval_ratio=2.0, checkpoint_ratio=1.0,
    )  # fmt: skip
    run = tc.train(config, folder / "run", progress=False)
    assert run.checkpoint_steps == list(STEPS)
    write_clocks(run.path, tau_rule=(RULE.lower, RULE.upper), tau_mem=(MEM.lower, MEM.upper))
    made = {}
    for number in NUMBERS:
        data = figure_module(number).compute(preset("smoke"), [tc.load_run(run.path)])
        write_data(folder / str(number), data, [run], 0.0, "")
        made[number] = read_data(folder / str(number))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_every_figure_is_drawn_from_its_tables(tables, number, tmp_path):
    module = figure_module(number)
    with figure_style():
        module.plot(tables[number]).savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 20_000
    assert module.measured(tables[number]).rpartition(" ")[2] in ("agree", "differ", "undecided")
    assert module.PAPER
    assert module.configs(preset("smoke")) == figure_module(13).configs(preset("smoke"))


@pytest.mark.slow
def test_each_stage_has_its_steps_and_optima(tables):
    shown = {number: tables[number]["planes"] for number in (17, 18, 19)}
    steps = {number: sorted(set(table["step"].dropna())) for number, table in shown.items()}
    assert steps == {17: [10, 20], 18: [40], 19: [80, 160]}
    for number, optima in ((17, {"cube optimum", "rule optimum"}), (18, {"rule optimum", "training-set optimum"})):
        assert set(shown[number]["denoiser"]) == {"learned", *optima}
    for data in (tables[number] for number in (17, 18, 19)):
        keys = ["denoiser", "step", "sigma", "u", "v"]
        pd.testing.assert_frame_equal(data["single"][keys], data["planes"][keys])
        assert not np.allclose(data["single"]["score"], data["planes"]["score"])
    corners = tables[17]["corners"]
    assert score_planes.corner_ratio(corners, "cube optimum")[0] == pytest.approx(1, abs=1e-4)
    assert score_planes.corner_ratio(corners, "rule optimum")[1] > 2


def test_phases_of_the_paper():
    counts = pd.DataFrame(
        {"step": STEPS, "ambiguous": [3, 9, 0, 0, 0], "violating": [7, 1, 4, 6, 0], "novel_valid": 0, "memorized": 0}
    )
    late = RunSummary(
        "parity:4x6,G=3", "dit-nano", 96, 0, {"tau_rule": tc.Onset(160, 80, 160, False), "tau_mem": NEVER}, STEPS
    )
    assert score_tables.paper_phases(late, counts) == {
        score_tables.RAW: 20, score_tables.QUANTIZED: 80, score_tables.LEARNED_RULE: 160
    }  # fmt: skip
    both = RunSummary("parity:4x6,G=3", "dit-nano", 96, 0, {"tau_rule": RULE, "tau_mem": MEM}, STEPS)
    assert score_tables.paper_phases(both, counts) == {
        score_tables.RAW: 10, score_tables.LEARNED_RULE: 40, score_tables.COPYING: 80, score_tables.LAST: 160
    }  # fmt: skip
    assert score_tables.stage_steps(both) == {"early": [10, 20], "mid": [40], "late": [80, 160]}
    assert score_tables.stage_steps(late) == {"early": [10, 20], "mid": [40, 80], "late": [160]}
    slow = {"tau_rule": tc.Onset(80, 40, 80, False), "tau_mem": tc.Onset(640, 320, 640, False)}
    longer = RunSummary("parity:4x6,G=3", "dit-nano", 96, 0, slow, (*STEPS, 240, 320, 640, 1280))
    stages = score_tables.stage_steps(longer)
    assert stages == {"early": [10, 20, 80], "mid": [160, 240, 320], "late": [640, 1280]}
    assert score_tables.spread(range(10), 3) == [0, 4, 9]
    assert score_tables.spread([5], 3) == [5]


def cube_data(before, after):
    phases = {score_tables.QUANTIZED: 10, score_tables.LEARNED_RULE: 40}
    rows = [(step, share, share - 0.1, share + 0.1) for step, share in ((10, before), (40, after))]
    return {
        "cube": pd.DataFrame(rows, columns=["step", "share", "low", "high"]),
        "phases": score_tables.phase_table(phases),
        "spectra": pd.DataFrame({"step": pd.array([10], "Int64"), "split": "train", "gap": 0.0}),
        "run": run_table(),
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.1, 0.8, "agree"),
        (0.1, 0.2, "differ"),
        (0.7, 0.9, "differ"),
        (0.45, 0.9, "undecided"),
        (0.1, 0.5, "undecided"),
    ],
)
def test_cube_samples_must_split_off_after_the_rule(before, after, expected):
    assert figure_module(13).measured(cube_data(before, after)).endswith(f": {expected}")


def bands_data(fall, rule=LATER):
    rows = []
    for split, ratio in zip(("train", "held-out", "cube"), fall, strict=True):
        rows += [("learned", 10, split, 0.1, 0.25, 1.0, 0.02), ("learned", 20, split, 0.1, 0.25, ratio, 0.02 * ratio)]
        rows += [("learned", step, split, 1.0, 5.0, 1.0, 0.02) for step in (10, 20)]
    columns = ["denoiser", "step", "split", "band_low", "band_high", "loss", "loss_se"]
    states = pd.DataFrame({"step": STEPS, "ambiguous": [9, 0, 0, 0, 0], "violating": [0, 9, 5, 0, 0]})
    return {
        "bands": pd.DataFrame(rows, columns=columns).astype({"step": "Int64"}),
        "states": states,
        "run": run_table(rule),
    }


@pytest.mark.parametrize(
    ("fall", "expected"),
    [((0.1, 0.1, 0.1), "agree"), ((0.1, 0.1, 0.9), "differ"), ((0.1, 0.49, 0.1), "undecided")],
)
def test_low_noise_losses_must_collapse_in_every_split(fall, expected):
    text = figure_module(14).measured(bands_data(fall))
    assert text.endswith(f": {expected}")
    assert "(step 20), of that at step 10" in text


def test_a_run_without_the_rule_says_nothing_of_what_precedes_it():
    assert figure_module(14).measured(bands_data((0.1, 0.1, 0.1), NEVER)).endswith(": undecided")


def gap_data(first):
    """Gaps that open at sigma `first` in step 40 and elsewhere later; cube samples split off with the rule."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=64) * 0.1
    rows = []
    for step in STEPS:
        for sigma in (0.1, 0.5, 1.0, 4.0):
            gap = 0.1 if step >= 40 and sigma == first else 0.4 if step >= 160 else 0.0
            rows.append(("learned", step, "held-out", sigma, gap))
            rows.append(("learned", step, "cube", sigma, 1.0 if step >= 20 else 0.0))
    rows += [("rule optimum", None, "cube", sigma, 1.0) for sigma in (0.1, 0.5, 1.0, 4.0)]
    parts = [
        pd.DataFrame({"denoiser": name, "step": step, "split": split, "sigma": sigma, "sample": range(64),
                      "gap": gap * (1 + noise)}) for name, step, split, sigma, gap in rows
    ]  # fmt: skip
    gaps = pd.concat([part.astype({"step": "Int64"}) for part in parts], ignore_index=True)
    return {"gaps": gaps, "condensation": pd.DataFrame({"sigma": [0.9]}), "run": run_table()}


@pytest.mark.parametrize(("first", "expected"), [(1.0, "agree"), (4.0, "differ"), (0.1, "differ")])
def test_the_gap_must_open_first_at_intermediate_noise(first, expected):
    data = gap_data(first)
    text = figure_module(15).measured(data)
    assert text.endswith(f"(C8): {expected}")
    assert f"{first:.2f} [{first:.2f}, {first:.2f}]" in text
    assert "split off in step (10, 20], 0.5 to 2 times tau_rule (10, 20]" in text
    with figure_style():
        assert len(figure_module(15).plot(data).axes) == 4


def basin_data(train, novel):
    """Hits of 8 draws by step; tau_rule in (15, 20]."""
    courses = [("learned", step, *hits) for step, *hits in zip(STEPS, train, novel, strict=True)]
    rows = [
        (denoiser, step, kind, 0.8, k, 8, hits + (k % 2))
        for denoiser, step, *both in [*courses, ("cube optimum", None, 1, 1), ("rule optimum", None, 3, 3)]
        for kind, hits in zip(("train", "novel valid"), both, strict=True)
        for k in range(40)
    ]
    columns = ["denoiser", "step", "kind", "sigma", "anchor", "n_draws", "itself"]
    basins = pd.DataFrame(rows, columns=columns).astype({"step": "Int64"}).assign(valid=0, train=0)
    return {"basins": basins, "run": run_table(tc.Onset(20.0, 15.0, 20.0, False))}


@pytest.mark.parametrize(
    ("train", "novel", "expected"),
    [((1, 3, 3, 6, 7), (1, 3, 3, 2, 1), "agree"), ((1, 3, 3, 3, 3), (1, 3, 3, 3, 3), "differ"),
     ((1, 1, 1, 6, 7), (1, 1, 1, 1, 3), "differ"), ((1, 1, 3, 6, 7), (1, 1, 3, 2, 1), "undecided")],
)  # fmt: skip
def test_basins_must_expand_and_then_training_samples_dominate(train, novel, expected):
    assert figure_module(16).measured(basin_data(train, novel)).endswith(f"(C7): {expected}")


def corner_data(ratios, rule=RULE):
    rng = np.random.default_rng(1)
    rows = []
    for step, ratio in [*zip((10, 20), ratios, strict=True), (None, 1.0)]:
        for sigma in (0.2, 0.5, 1.0, 2.0):
            for plane in range(20):
                size = 1 + 0.1 * rng.normal()
                exact = 1.0 if step is None else 1 + 0.02 * rng.normal()
                rows.append(
                    ("cube optimum" if step is None else "learned", step, sigma, plane, size, size * ratio * exact)
                )
    columns = ["denoiser", "step", "sigma", "plane", "valid", "invalid"]
    return {"corners": pd.DataFrame(rows, columns=columns).astype({"step": "Int64"}), "run": run_table(rule)}


@pytest.mark.parametrize(
    ("ratios", "rule", "expected"),
    [
        ((1.0, 3.0), RULE, "agree"),
        ((1.0, 1.0), RULE, "differ"),
        ((2.0, 3.0), RULE, "differ"),
        ((1.0, 3.0), NEVER, "undecided"),
    ],
)
def test_valid_corners_must_dominate_from_the_rule_on(ratios, rule, expected):
    text = figure_module(17).measured(corner_data(ratios, rule))
    assert text.endswith(f": {expected}")
    assert "cube optimum 1;" in text


def share_data(course, elsewhere=0.5, steps=(40, 80, 160)):
    rng = np.random.default_rng(2)
    courses = zip(steps, course, np.broadcast_to(elsewhere, len(course)), strict=True)
    rows = [
        ("learned", step, sigma, plane, (share if sigma in (0.5, 1.0) else other) + 0.02 * rng.normal())
        for step, share, other in courses for sigma in (0.2, 0.5, 1.0, 2.0) for plane in range(20)
    ]  # fmt: skip
    columns = ["denoiser", "step", "sigma", "plane", "share"]
    return {"shares": pd.DataFrame(rows, columns=columns).astype({"step": "Int64"}), "run": run_table()}


@pytest.mark.parametrize(
    ("course", "elsewhere", "expected"),
    [((0.5, 0.55, 0.65), 0.5, "agree"), ((0.5, 0.5, 0.5), 0.5, "differ"), ((0.6, 0.9, 0.99), 0.5, "differ"),
     ((0.6,), 0.5, "undecided"), ((0.5, 0.55, 0.65), (0.5, 0.6, 0.8), "differ"),
     ((0.5, 0.55, 0.65), (0.5, 0.55, 0.65), "undecided")],
)  # fmt: skip
def test_attraction_must_strengthen_in_the_window_most_at_intermediate_noise(course, elsewhere, expected):
    data = share_data(course, elsewhere, STEPS[: len(course)])
    assert figure_module(18).measured(data).endswith(f": {expected}")


@pytest.mark.parametrize(
    ("course", "elsewhere", "expected"),
    [((0.55, 0.7, 0.8), 0.6, "agree"), ((0.8, 0.7, 0.6), 0.5, "differ"), ((0.3, 0.35, 0.4), 0.3, "differ"),
     ((0.55, 0.7, 0.8), 0.9, "differ"), ((0.55, 0.7, 0.8), 0.8, "undecided")],
)  # fmt: skip
def test_the_basin_of_a_must_expand_most_at_intermediate_noise(course, elsewhere, expected):
    assert figure_module(19).measured(share_data(course, elsewhere)).endswith(f": {expected}")
