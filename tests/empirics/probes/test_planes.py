"""Planes of exact denoisers: even-handed under the rule, one-sided under the training set, geometry by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import training_set
from twoclocks.empirics.probes import planes, planes_figure
from twoclocks.empirics.probes.neighbours import hamming
from twoclocks.empirics.style import new_figure

RULE = tc.rule("parity:3x4,G=4")
TRAIN = training_set(RULE, 24, seed=0)
ENCODING = tc.Encoding((3, 4), 2)


def generator():
    return torch.Generator().manual_seed(4)


def table_of(law, sigmas, n_planes=4, n_points=9):
    corners = planes.plane_corners(RULE, TRAIN, n_planes, generator())
    return planes.score_planes(tc.OptimalDenoiser(law, ENCODING), corners, sigmas, ENCODING, n_points)


def at(table, u, v):
    return table[np.isclose(table["u"], u) & np.isclose(table["v"], v)]


@pytest.mark.parametrize(
    "spec", ["parity:3x4,G=4", "exact-k:3x4,K=5", "row-variable-k:3x4,K=1+3", "permutation:3", "latin:4"]
)
def test_corners_are_a_parallelogram_of_the_right_kinds(spec):
    rule = tc.rule(spec)
    train = training_set(rule, 20, seed=0) if rule.support_size > 40 else rule.sample(1, generator())
    corners = planes.plane_corners(rule, train, 5, generator())
    assert len(corners.a) == min(5, len(train))
    encoding = tc.Encoding(rule.shape, rule.alphabet, "pm1" if rule.alphabet == 2 else "onehot")
    a, b, c, d = (encoding.encode(x) for x in corners)
    assert torch.equal(a + b, c + d)
    train_rows = {tuple(x) for x in train.tolist()}
    assert {tuple(x) for x in corners.a.tolist()} <= train_rows
    assert not {tuple(x) for x in corners.b.tolist()} & train_rows
    assert rule.is_valid(corners.b).all()
    assert not rule.is_valid(torch.cat([corners.c, corners.d])).any()
    if rule.alphabet == 2:
        assert hamming(corners.a, corners.c).eq(1).all()
        assert hamming(corners.a, corners.d).eq(1).all()


def test_no_planes_are_refused():
    with pytest.raises(ValueError, match="n_planes must be at least 1, got 0"):
        planes.plane_corners(RULE, TRAIN, 0, generator())


def test_the_rule_s_optimum_is_even_handed():
    """Exchanging a and b maps (u, v) to (1 - v, 1 - u) or (1 - u, 1 - v) and leaves the rule as it is."""
    table = table_of(RULE, [0.5, 1.0])
    for _, part in table.groupby(["plane", "sigma"]):
        grid = part.pivot(index="u", columns="v", values="displacement").to_numpy()
        assert np.allclose(grid, -grid[::-1, ::-1], atol=2e-6)
        assert np.allclose(grid, grid.T, atol=2e-6)  # c and d are alike
        score = part.pivot(index="u", columns="v", values="score").to_numpy()
        assert np.allclose(score, score[::-1, ::-1], rtol=1e-4, atol=1e-4)
    assert planes.training_share(table)["share"].tolist() == pytest.approx([0.5, 0.5])


def test_the_training_set_s_optimum_draws_all_to_the_training_sample():
    table = table_of(tc.EmpiricalLaw(TRAIN, 2, (3, 4)), [0.2])
    assert at(table, 0, 0)["displacement"].to_numpy() == pytest.approx(0, abs=1e-5)
    assert at(table, 0, 0)["score"].to_numpy() == pytest.approx(0, abs=1e-3)
    lone = [
        k
        for k, b in enumerate(planes.plane_corners(RULE, TRAIN, 4, generator()).b)
        if hamming(TRAIN, b).eq(2).sum() == 1
    ]
    assert lone  # planes whose corner b has no second training sample as near as a
    end = at(table, 1, 1).set_index("plane").loc[lone]
    assert end["displacement"].to_numpy() == pytest.approx(1, abs=1e-5)
    assert end["score"].to_numpy() == pytest.approx(np.sqrt(8) / 0.04, rel=1e-5)
    half = at(table, 1, 0).set_index("plane").loc[lone]
    assert half["displacement"].to_numpy() == pytest.approx(0.5, abs=1e-2)
    shares = planes.training_share(table[table["plane"].isin(lone)])
    assert shares["share"].iloc[0] > 0.97  # all but the corner a itself


def test_nets_of_known_fields():
    corners = planes.plane_corners(RULE, TRAIN, 3, generator())
    still = planes.score_planes(lambda y, sigma: y, corners, [0.5], ENCODING, n_points=5)
    assert (still[["score", "displacement"]] == 0).all(axis=None)
    assert planes.training_share(still)["share"].iloc[0] == 0.5
    assert sorted(set(still["u"])) == [-0.5, 0, 0.5, 1, 1.5]
    to_zero = planes.score_planes(lambda y, sigma: 0 * y, corners, [2.0], ENCODING, n_points=5)
    a, b, c, d = (ENCODING.encode(x).flatten(1) for x in corners)
    for row in to_zero.itertuples():
        k = row.plane
        y = a[k] + row.u * (c[k] - a[k]) + row.v * (d[k] - a[k])
        assert row.score == pytest.approx(float(y.norm()) / 4, rel=1e-5)
        towards = a[k] - b[k]
        assert row.displacement == pytest.approx(float(-y @ towards / towards.square().sum()), abs=1e-6)


def test_shares_have_intervals_over_planes():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        share = rng.uniform(size=20)
        u = np.linspace(0, 1, 51)
        shift = (u[None] < share[:, None]).astype(float) - 0.5
        table = pd.DataFrame({"plane": np.repeat(np.arange(20), 51), "sigma": 1.0, "u": np.tile(u, 20), "v": 0.5,
                              "displacement": shift.flatten()})  # fmt: skip
        row = planes.training_share(table, n_boot=400).iloc[0]
        covered.append(row["low"] < 0.5 < row["high"])
    assert 0.88 < np.mean(covered) < 0.99


def test_bad_input_is_refused():
    corners = planes.plane_corners(RULE, TRAIN, 2, generator())
    with pytest.raises(ValueError, match="at least 2 points"):
        planes.score_planes(lambda y, sigma: y, corners, [1.0], ENCODING, n_points=1)
    loose = tc.rule("global-k:1x3,K=0+1+2")  # half way to any neighbour lies a valid grid
    with pytest.raises(ValueError, match="no plane"):
        planes.plane_corners(loose, torch.zeros(1, 3, dtype=torch.int64), 1, generator())


def test_over_a_run(dit_run, tmp_path):
    table = planes.run_planes(dit_run, sigmas=(0.5, 1.0), n_planes=2, n_points=8)
    assert table["step"].dropna().unique().tolist() == [10, 40, 80]
    assert len(table) == (3 + 2) * 2 * 2 * 64
    shares = planes.training_share(table)
    assert shares[shares["denoiser"] == "rule optimum"]["share"].to_numpy() == pytest.approx(0.5, abs=1e-6)
    planes_figure.planes_figure(table, dit_run).savefig(tmp_path / "displacement.png")
    planes_figure.planes_figure(table[table["sigma"] == 1.0], dit_run, "score").savefig(tmp_path / "score.png")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("displacement.png", "score.png"))


def test_colours_span_what_the_learned_show_within_the_square():
    side = [-0.5, 0.0, 0.5, 1.0, 1.5]
    rows = [
        {"denoiser": denoiser, "step": step, "sigma": 0.2, "u": u, "v": v,
         "score": scale * (1 + u**2 + v**2), "displacement": scale * (1 - u - v)}
        for denoiser, step, scale in (("learned", 10, 1.0), ("learned", 20, 2.0), ("training-set optimum", None, 50.0))
        for u in side for v in side
    ]  # fmt: skip
    means = pd.DataFrame(rows).astype({"step": "Int64"})
    for quantity, ends in (("score", (1.0, 6.0)), ("displacement", (-2.0, 2.0))):
        figure, axes = new_figure(3, 1, 3, 6)
        planes_figure.draw_planes(figure, axes, means, quantity)
        assert [ax.collections[0].get_clim() for row in axes for ax in row] == [ends] * 3
