"""Segments of exact denoisers: two training samples part at the bisector, and rules pull invalid ends back."""

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import training_set
from twoclocks.empirics.probes import segments
from twoclocks.empirics.probes.neighbours import invalid_neighbours, nearest_training, novel_neighbours

RULE = tc.rule("parity:3x4,G=4")
TRAIN = training_set(RULE, 24, seed=0)
ENCODING = tc.Encoding((3, 4), 2)


def generator():
    return torch.Generator().manual_seed(2)


def widths(law, ends, sigmas, n_points=20, starts=TRAIN):
    table = segments.segment_profiles(tc.OptimalDenoiser(law, ENCODING), starts, ends, sigmas, ENCODING, n_points)
    found = segments.segment_widths(table)
    return found.pivot_table(index=["end", "sigma"], columns="measure", values="u")


def test_two_training_samples_switch_at_the_bisector_exactly():
    pair = TRAIN[:2]
    found = widths(tc.EmpiricalLaw(pair, 2, (3, 4)), {"other": pair.flip(0)}, [0.1, 0.5, 1.0, 3.0], starts=pair)
    assert np.allclose(found, 0.5, atol=1e-6)


@pytest.mark.parametrize("law", ["rule", "empirical"])
def test_nearest_training_samples_switch_at_the_bisector(law):
    law = RULE if law == "rule" else tc.EmpiricalLaw(TRAIN, 2, (3, 4))
    found = widths(law, {"nearest": nearest_training(TRAIN, TRAIN)}, [0.25, 0.5])
    assert np.allclose(found, 0.5, atol=1e-5)


def test_a_novel_neighbour_has_a_basin_in_the_rule_s_optimum_alone():
    ends = {"novel": novel_neighbours(RULE, TRAIN, TRAIN, generator())}
    assert np.allclose(widths(RULE, ends, [0.2, 0.5, 1.0]), 0.5, atol=1e-5)
    memory = widths(tc.EmpiricalLaw(TRAIN, 2, (3, 4)), ends, [0.2])
    assert (memory > 0.95).all(axis=None)


def test_an_invalid_neighbour_is_drawn_back_by_every_optimum_that_knows_the_rule():
    """At the invalid end each of four flips explains it equally: the flipped cell keeps 1 - 1/4 of its weight."""
    ends = {"invalid": invalid_neighbours(RULE, TRAIN, generator())}
    net = tc.OptimalDenoiser(RULE, ENCODING)
    table = segments.segment_profiles(net, TRAIN, ends, [0.2], ENCODING, n_points=11)
    last = table[table["u"] == 1]
    # three cells of the group at 1/2 of their code, the flipped one at 1/2 of the flipped code
    assert last["l2_end"].to_numpy() == pytest.approx(np.full(24, np.sqrt(4 * 0.5**2)), rel=1e-5)
    assert last["l2_start"].to_numpy() == pytest.approx(np.full(24, np.sqrt(3 * 0.5**2 + 1.5**2)), rel=1e-5)
    memory = widths(tc.EmpiricalLaw(TRAIN, 2, (3, 4)), ends, [0.2])
    assert (memory > 0.98).all(axis=None)  # two training samples may be equally near the invalid end
    cube = widths(tc.CubeLaw((3, 4)), ends, [0.2])
    assert np.allclose(cube, 0.5, atol=1e-6)  # which knows no rule


def test_profiles_of_the_identity_are_geometry():
    pair = torch.tensor([[0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]])
    encoding = tc.Encoding((2, 3), 2)
    table = segments.segment_profiles(lambda y, sigma: y, pair[:1], {"b": pair[1:]}, [0.3, 1.0], encoding, n_points=6)
    assert len(table) == 12
    one = table[table["sigma"] == 0.3]
    assert one["u"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert one["l2_start"].tolist() == pytest.approx((2 * np.sqrt(2) * one["u"]).tolist(), abs=1e-6)
    assert one["l2_end"].tolist() == pytest.approx((2 * np.sqrt(2) * (1 - one["u"])).tolist(), abs=1e-6)
    assert one["hamming_start"].tolist() == [0, 0, 0, 2, 2, 2]
    assert one["hamming_end"].tolist() == [2, 2, 2, 0, 0, 0]
    assert one["match_start"].tolist() == [True] * 3 + [False] * 3
    assert one["length"].eq(2).all()


def test_positions_by_hand():
    def profile(match_start, match_end, l2_start, l2_end, anchor):
        return pd.DataFrame(
            {"end": "b", "anchor": anchor, "sigma": 1.0, "u": [0, 0.25, 0.5, 0.75, 1.0], "match_start": match_start,
             "match_end": match_end, "l2_start": l2_start, "l2_end": l2_end}
        )  # fmt: skip

    yes, no = True, False
    stays = profile([yes] * 5, [no] * 5, [0, 0, 0, 0, 0.0], [4, 3, 2, 2, 2.0], 0)
    never = profile([no] * 5, [no] * 5, [3, 3, 3, 3, 3.0], [1, 1, 1, 1, 1.0], 1)
    turns = profile([yes, yes, no, yes, no], [no, no, yes, no, yes], [0, 1, 2, 5, 6.0], [4, 3, 3, 2, 0.0], 2)
    found = {}
    for name, table in (("stays", stays), ("never", never), ("turns", turns)):
        found[name] = segments.segment_widths(table).set_index("measure")["u"].to_dict()
    assert found["stays"] == {"leave": 1, "switch": 1, "enter": 1}
    assert found["never"] == {"leave": 0, "switch": 0, "enter": 1}
    # the L2 difference falls from 1 at 0.5 to -3 at 0.75
    assert found["turns"] == pytest.approx({"leave": 0.375, "switch": 0.5625, "enter": 0.875})
    table = segments.segment_widths(pd.concat([stays, never, turns])).set_index("measure")
    assert table.loc["leave", "u"] == pytest.approx((1 + 0 + 0.375) / 3)
    assert table["n_anchors"].eq(3).all()
    assert table.loc["leave", "low"] <= table.loc["leave", "u"] <= table.loc["leave", "high"]
    assert table.loc["leave", "low"] < 0.2


def test_intervals_cover_the_mean_over_anchors():
    """Anchors whose basins are uniform on [0, 1]: the mean is 1/2."""
    rng = np.random.default_rng(0)
    u = np.linspace(0, 1, 201)
    covered = []
    for _ in range(200):
        leave = rng.uniform(size=30)
        start = (u[None] < leave[:, None]).flatten()
        columns = {"end": "b", "anchor": np.repeat(np.arange(30), 201), "sigma": 1.0, "u": np.tile(u, 30)}
        table = pd.DataFrame(columns | {"match_start": start, "match_end": ~start, "l2_start": 1.0, "l2_end": 2.0})
        row = segments.segment_widths(table, n_boot=400).set_index("measure").loc["leave"]
        covered.append(row["low"] < 0.5 < row["high"])
    assert 0.89 < np.mean(covered) < 0.99


def test_bad_input_is_refused():
    def net(y, sigma):
        return y

    with pytest.raises(ValueError, match="at least 2 points"):
        segments.segment_profiles(net, TRAIN, {"b": TRAIN}, [1.0], ENCODING, n_points=1)
    with pytest.raises(ValueError, match="ends 'b' have shape"):
        segments.segment_profiles(net, TRAIN, {"b": TRAIN[:3]}, [1.0], ENCODING)
    with pytest.raises(ValueError, match="positive and finite"):
        segments.segment_profiles(net, TRAIN, {"b": TRAIN}, [-1.0], ENCODING)


def test_over_a_run(dit_run, tmp_path):
    table = segments.run_segments(dit_run, sigmas=(0.25, 1.0), n_anchors=6, n_points=8)
    assert len(table) == (4 + 2) * 3 * 6 * 2 * 8
    found = segments.segment_widths(table)
    exact = found[(found["denoiser"] == "training-set optimum") & (found["sigma"] == 0.25)]
    nearest = exact[exact["end"] == "nearest training sample"]
    assert nearest["u"].to_numpy() == pytest.approx(0.5)
    assert (exact[exact["end"] == "invalid neighbour"]["u"] > 0.9).all()
    segments.segments_figure(table, dit_run).savefig(tmp_path / "segments.png")
    segments.segment_widths_figure(table, dit_run).savefig(tmp_path / "widths.png")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("segments.png", "widths.png"))
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n_anchors must be at least 1 training sample, got {n}"):
            segments.run_segments(dit_run, n_anchors=n)
    with pytest.raises(ValueError, match="no sigma 3"):
        segments.segments_figure(table, dit_run, sigma=3.0).savefig(tmp_path / "none.png")
