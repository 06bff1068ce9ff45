"""C1 to C8 from figures' tables: each verdict follows its data, and missing tables are said to be missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import onset_rows

import twoclocks as tc
from twoclocks.empirics.probes.summary import RunSummary, summary_table
from twoclocks.paper_figures import claims_table, store
from twoclocks.paper_figures.shared.claim_architectures import claim_architectures

RUN = summary_table(
    RunSummary(
        "parity:4x6,G=2",
        "dit-nano",
        64,
        0,
        {"tau_rule": tc.Onset(20, 10, 20, False), "tau_mem": tc.Onset(80, 40, 80, False)},
        (10, 20, 40, 80, 160),
    )
)


def runs(offset: float = 3.0, window: float = 0.5, dit_n: tuple[int, ...] = (64, 128)) -> pd.DataFrame:
    """Both architectures: tau_rule grows with G and falls with size, tau_mem with N; DiT is later by an offset."""
    settings = [
        {"model": f"{kind}-{size}", "rule": f"parity:4x6,G={G}", "n_train": n, "seed": seed}
        for kind, sizes in (("dit", dit_n), ("gpt", (32, 64, 128, 256)))
        for size in ("nano", "micro")
        for n in sizes
        for G in (2, 3, 4)
        for seed in range(4)
    ]

    def clocks(setting):
        G, size = int(setting["rule"][-1]), setting["model"].partition("-")[2]
        slow = offset if setting["model"].startswith("dit") else 1
        rule = slow * 20 * G / (2 if size == "micro" else 1)
        return {"tau_rule": rule, "tau_mem": slow * 20 * setting["n_train"] * window}

    return onset_rows(settings, clocks, scatter=0.05)


def basins(late: float) -> pd.DataFrame:
    """Returns to 40 anchors of each kind; novel grids return from tau_rule on, training samples more so late."""
    levels = {10: (0.1, 0.1), 20: (0.5, 0.5), 40: (0.5, 0.5), 80: (late, 0.2), 160: (late, 0.2)}
    optima = [("cube optimum", None, (0.1, 0.1)), ("rule optimum", None, (0.5, 0.5))]
    courses = [*(("learned", step, pair) for step, pair in levels.items()), *optima]
    rng = np.random.default_rng(0)
    return pd.concat(
        pd.DataFrame(
            {"denoiser": name, "step": pd.array([step] * 40, dtype="Int64"), "kind": kind, "sigma": 1.0,
             "anchor": range(40), "n_draws": 6, "itself": rng.binomial(6, level, 40)}
        )
        for name, step, pair in courses
        for kind, level in zip(("train", "novel valid"), pair, strict=True)
    )  # fmt: skip


def gaps(first: float) -> pd.DataFrame:
    """Gaps of 64 samples that open at one sigma at step 40 and everywhere at 80; cube samples split off at step 20."""
    rng = np.random.default_rng(0)
    tables = []
    for step in (10, 20, 40, 80, 160):
        for sigma in (0.1, 0.5, 1.0, 4.0):
            opened = step >= 80 or (step >= 40 and sigma == first)
            for split, mean in (("held-out", float(opened)), ("cube", float(step >= 20))):
                gap = mean + 0.01 * rng.standard_normal(64)
                tables.append(("learned", step, split, sigma, gap))
    tables += [("rule optimum", None, "cube", sigma, np.ones(64)) for sigma in (0.1, 0.5, 1.0, 4.0)]
    return pd.concat(
        pd.DataFrame(
            {"denoiser": name, "step": pd.array([step] * 64, dtype="Int64"), "split": split, "sigma": sigma,
             "sample": range(64), "gap": gap}
        )
        for name, step, split, sigma, gap in tables
    )  # fmt: skip


def by_name(tables: claims_table.Tables) -> dict[str, tc.statistics.ClaimVerdict]:
    return {verdict.claim: verdict for verdict in claims_table.evaluate(tables)}


def test_all_claims_are_supported_by_data_that_follow_them() -> None:
    tables = {
        10: {"runs": runs()},
        15: {"gaps": gaps(0.5), "run": RUN},
        16: {"basins": basins(0.9), "run": RUN},
    }
    found = by_name(tables)
    assert list(found) == [
        *(f"C{k} {kind}" for k in range(1, 6) for kind in ("DiT", "GPT")),
        "C6",
        "C7",
        "C8",
    ]  # fmt: skip
    verdicts = {name: verdict.verdict for name, verdict in found.items()}
    assert set(verdicts.values()) == {"supported"}, verdicts
    assert all(verdict.estimate is not None and verdict.n_runs for verdict in found.values())


def test_claims_are_refuted_by_data_that_contradict_them() -> None:
    tables = {
        10: {"runs": runs(window=0.01)},
        15: {"gaps": gaps(4.0), "run": RUN},
        16: {"basins": basins(0.1), "run": RUN},
    }
    found = by_name(tables)
    assert {found[name].verdict for name in ("C6", "C7", "C8")} == {"not supported"}


def test_missing_tables_are_said_to_be_missing() -> None:
    nothing = claims_table.evaluate({})
    assert [verdict.claim for verdict in nothing] == [f"C{k}" for k in range(1, 9)]
    assert all(v.verdict == "undecided" and v.note == claims_table.NOT_MEASURED for v in nothing)
    gpt = runs()
    gpt = gpt[gpt["architecture"] == "gpt"].reset_index(drop=True)
    some = by_name({10: {"runs": gpt}})
    assert some["C1 GPT"].verdict == "supported"
    assert {some[name].note for name in ("C1 DiT", "C6", "C7", "C8")} == {claims_table.NOT_MEASURED}


def test_tables_without_a_needed_optimum_say_so() -> None:
    without = gaps(0.5)
    without = without[without["denoiser"] == "learned"]
    verdict = by_name({15: {"gaps": without, "run": RUN}})["C8"]
    assert verdict.verdict == "undecided"
    assert "rule optimum" in verdict.note


def test_the_markdown_has_a_row_a_claim(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(claims_table, "results_folder", lambda preset, number: tmp_path / preset / f"fig{number:02d}")
    store.write_data(tmp_path / "some" / "fig10", {"runs": runs()}, [], 0.0, "")
    lines = claims_table.claims_markdown("some").splitlines()
    assert len(lines) == 2 + 13
    assert sum("supported" in line for line in lines) == 11
    assert len(claims_table.claims_markdown("none").splitlines()) == 2 + 8


def test_the_offset_of_dit_is_found_at_equal_rule_size_and_n() -> None:
    found = claim_architectures(runs())
    assert found.verdict == "supported"
    assert found.ci is not None
    assert found.ci[0] < 3 < found.ci[1]
    assert found.ci[1] / found.ci[0] < 1.3
    assert "at N = 64 to 128" in found.note
    assert "tau_mem x3" in found.note.replace("x2.9", "x3").replace("x3.0", "x3")


def test_the_order_is_judged_at_the_simplest_rule() -> None:
    table = runs()
    complex_rule = ~table["rule"].str.endswith("G=2")
    table.loc[complex_rule, ["tau_rule_lower", "tau_rule_upper"]] = [1e6, np.inf]  # copied before it is learned
    found = claim_architectures(table)
    assert found.verdict == "supported"
    assert "tau_rule before tau_mem in DiT: at G = 2 16 of 16 runs" in found.note
    assert "at every G 16 (reversed in 32) of 48" in found.note
    table.loc[~complex_rule, ["tau_rule_lower", "tau_rule_upper"]] = [1e6, np.inf]
    assert claim_architectures(table).verdict != "supported"


def test_an_offset_at_other_settings_is_not_the_architectures() -> None:
    dit = runs()["architecture"] == "dit"
    apart = runs().assign(lr=np.where(dit, 4e-3, 2e-3), ema_halflife=np.where(dit, 200.0, 0.0), batch_size=128)
    found = claim_architectures(apart)
    assert found.verdict == "undecided"
    assert found.estimate == claim_architectures(runs()).estimate
    assert (
        "differ in learning rate (0.004 in DiT and 0.002 in GPT) and in averaging (200 in DiT and 0 in GPT)"
        in found.note
    )
    equal = claim_architectures(runs().assign(lr=2e-3, ema_halflife=0.0, batch_size=128))
    assert equal.verdict == "supported"
    assert "at equal learning rate, averaging, batch" in equal.note


def test_equal_architectures_refute_the_offset() -> None:
    assert claim_architectures(runs(offset=1.0)).verdict == "not supported"


def test_no_common_n_leaves_the_offset_undecided() -> None:
    found = claim_architectures(runs(dit_n=(4, 8)))
    assert found.verdict == "undecided"
    assert "no rule, size and range of N" in found.note


@pytest.mark.parametrize("column", ["tau_rule", "tau_mem"])
def test_a_clock_that_one_architecture_never_shows_leaves_it_undecided(column: str) -> None:
    table = runs()
    dit = table["architecture"] == "dit"
    table.loc[dit, [f"{column}_lower", f"{column}_upper"]] = [1e5, np.inf]
    assert f"in which both architectures show {column}" in claim_architectures(table).note
