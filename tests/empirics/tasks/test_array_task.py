"""Training on arrays of one's own: clocks against held-out samples, resumed to the bit, bound to the file's digest."""

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc
from twoclocks.commands.runs import CompareCommand
from twoclocks.empirics import training
from twoclocks.empirics.clocks_figure import clocks_table, plot_clocks
from twoclocks.empirics.data_files import read_held_out
from twoclocks.empirics.families import family
from twoclocks.empirics.pixels import Pixels
from twoclocks.empirics.runs.foreign_files import DamagedFile
from twoclocks.empirics.sweeps.cost import expected_cost, measure
from twoclocks.empirics.tasks import task_of


def points(n, dim=6, seed=0):
    """Two clusters in R^dim."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, dim)) * 0.3 + 2 * rng.integers(0, 2, (n, 1)) + 5).astype(np.float32)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("points.npz", x=points(400), labels=np.zeros(400, int))
    return tmp_path


TINY = tc.RunConfig(
    data="digits", model="dit-nano", n_train=16, steps=24, batch_size=16, lr=2e-3, warmup=4, n_eval=16, eval_first=4,
    eval_ratio=2, sampler_steps=4, patch=4,
)  # fmt: skip
POINTS = dataclasses.replace(TINY, data="points.npz", rule="data:points.npz", patch=3)


def test_a_network_learns_points_then_copies_them(home):
    config = dataclasses.replace(
        POINTS, n_train=8, patch=6, steps=4000, batch_size=64, lr=3e-3, n_eval=128, eval_first=20, eval_ratio=1.4,
        sampler_steps=12, stop_when="both", noise_mean=-1.5, noise_std=1.5,
    )  # fmt: skip
    run = tc.train(config, home / "run", progress=False)
    assert run.status == "stopped"
    best, mem = run.onsets["tau_best"], run.onsets["tau_mem"]
    assert not best.censored
    assert best.upper < mem.upper < 4000
    metrics = run.metrics
    assert metrics["memorization"].iloc[-1] > metrics["chance"].iloc[-1] + 0.01
    assert metrics["held_out_loss"].idxmin() == metrics["step"].tolist().index(best.step)
    assert run.result["control_size"] == 392
    assert metrics["chance"].iloc[-1] == run.chance == run.result["held_out_near"] / 392
    x, kept = run.samples(int(metrics["step"].iloc[-1])).symbols, run.training_data
    assert x.shape == (128, 6)
    test = tc.Memorization(kept.train, kept.held_out).test(x)  # by hand, from what the run keeps
    assert test.ratio == metrics["memorization"].iloc[-1]
    # The file is split: no row is in both parts, and together they are the file.
    rows = {row.tobytes() for row in points(400)}
    split = [{row.numpy().tobytes() for row in part} for part in (kept.train, kept.held_out)]
    assert len(split[0]) == 8
    assert split[0] | split[1] == rows
    assert not split[0] & split[1]
    # The loss of the optimum that memorizes is below what the network reaches.
    assert 0 < run.floors["empirical"] < metrics["held_out_loss"].iloc[-1]
    assert list(run.floors) == ["empirical"]


def test_what_is_made_of_a_run_on_data(home):
    run = tc.train(POINTS, home / "runs" / "a", progress=False)
    again = tc.load_run(home / "runs" / "a")
    assert again.config == POINTS == tc.RunConfig.from_dict(POINTS.to_dict())
    assert again.config.rule == "data:points.npz"
    row = clocks_table([again]).iloc[0]
    assert (row["rule"], row["held out"], row["tau_best"]) == ("data:points.npz", "384", str(run.onsets["tau_best"]))
    plot_clocks([again], home / "clocks.png")
    assert (home / "clocks.png").stat().st_size > 10_000
    net = again.model()
    y = again.pixels.encode(again.train_set)
    assert net(y, torch.ones(16)).shape == y.shape == (16, 3, 1, 2)
    table = tc.load_runs(home / "runs")
    assert np.isinf(table["tau_rule_upper"]).all()
    assert table["tau_best_lower"].item() == run.onsets["tau_best"].lower
    page = tc.write_report(home / "runs").read_text()
    assert "Runs on data, which have no" in page
    best = str(run.onsets["tau_best"]).replace(">", "&gt;")
    assert f"data:points.npz, N = 16, chance {run.chance:.2g}: &tau;<sub>best</sub> {best}" in page
    clocks = pd.read_csv(home / "runs" / "clocks.csv")
    assert clocks["tau_best_upper"].item() == run.onsets["tau_best"].upper
    for name in ("rule", "encoding"):
        with pytest.raises(ValueError, match="which has no rule"):
            getattr(again, name)
    with pytest.raises(ValueError, match="has no rule"):
        tc.probes.dissect(again)


@pytest.mark.slow
def test_a_run_is_compared_with_densities_of_its_training_set(home, capsys, monkeypatch):
    run = tc.train(POINTS, home / "run", progress=False)
    names = ["empirical", "gaussian", "gaussian:2"]
    table = tc.compare.compare_over_training(run, [0.3, 1.0], references=names, n_samples=16, n_noise=1)
    assert set(table["step"]) == set(run.checkpoint_steps)
    assert set(table["split"]) == {"train", "held-out"}
    # By hand: the same optimum, on the same samples and noise
    codes, step = run.pixels, run.checkpoint_steps[-1]
    images = codes.encode(run.train_set)
    assert images.shape == (16, 3, 1, 2)
    density = tc.EmpiricalDensity(images)
    net = tc.OptimalDenoiser(density)
    monkeypatch.setattr(type(run), "model", lambda self, step=None: net)
    optimal = tc.compare.compare_over_training(run, [0.3], [step], references=names, n_samples=16)
    assert optimal["explained_empirical"].tolist() == pytest.approx([1, 1], abs=1e-5)
    assert (optimal["explained_gaussian"] < 1).all()
    monkeypatch.undo()
    CompareCommand(run=home / "run", references=("empirical", "gaussian"), n_samples=8, device="cpu")()
    assert "each reference explains; sigma in standard deviations" in capsys.readouterr().out
    assert (home / "run" / "comparison" / "comparison.png").stat().st_size > 10_000
    assert len(pd.read_csv(home / "run" / "comparison" / "comparison.csv")) == 11 * 2 * len(run.checkpoint_steps)


def test_runs_on_a_rule_beside_runs_on_data(home):
    tc.train(POINTS, home / "runs" / "data", progress=False)
    assert "tau_best_upper" in tc.load_runs(home / "runs")
    rule = tc.RunConfig(rule="parity:2x2,G=2", model="gpt-nano", n_train=4, steps=12, batch_size=8, n_eval=8)
    tc.train(rule, home / "runs" / "rule", progress=False)
    table = tc.load_runs(home / "runs").set_index("rule")
    assert np.isnan(table.loc["parity:2x2,G=2", "tau_best_upper"])
    assert np.isnan(table.loc["data:points.npz", "group_chance"])
    shown = clocks_table([tc.load_run(path) for path in table["path"]])
    assert set(shown) >= {"|S|", "held out", "tau_rule", "tau_best"}
    assert tc.write_report(home / "runs").exists()


def test_a_killed_run_resumes_to_the_same_bits(home, monkeypatch):
    whole = tc.train(POINTS, home / "whole", progress=False)
    seen, advance = [], training.Engine.advance

    def dies(engine):
        if len(seen) == 13:
            raise KeyboardInterrupt
        seen.append(advance(engine))

    monkeypatch.setattr(training.Engine, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        tc.train(POINTS, home / "cut", progress=False)
    monkeypatch.setattr(training.Engine, "advance", advance)
    assert not tc.load_run(home / "cut").ended
    cut = tc.train(POINTS, home / "cut", resume=True, progress=False)
    assert cut.metrics.drop(columns="seconds").equals(whole.metrics.drop(columns="seconds"))
    for name in ("checkpoints/weights-0000000024.safetensors", "samples/step-0000000024.npz", "training_set.npz"):
        assert (home / "cut" / name).read_bytes() == (home / "whole" / name).read_bytes()


def test_a_file_that_has_changed_is_refused(home):
    tc.train(POINTS, home / "run", progress=False)
    x = points(400)
    x[399, 0] += 1
    np.savez("points.npz", x=x)
    with pytest.raises(ValueError, match=r"points.npz has changed since the run in .*run began"):
        tc.train(POINTS, home / "run", resume=True, progress=False)


def test_kept_data_and_generations_that_were_edited_are_refused(home):
    run = tc.train(POINTS, home / "run", progress=False)
    path = home / "run" / "training_set.npz"
    with np.load(path) as kept:
        arrays = dict(kept)
    shutil.copy(path, "kept.npz")
    np.savez(path, **{**arrays, "train": arrays["train"] + 1})
    with pytest.raises(DamagedFile, match="was edited"):
        _ = run.train_set
    np.savez(path, **{**arrays, "train": arrays["train"][:5]})
    (home / "run" / "result.json").unlink()
    with pytest.raises(DamagedFile, match="does not hold 16 samples"):
        _ = run.train_set
    shutil.copy("kept.npz", path)
    samples = home / "run" / "samples" / "step-0000000024.npz"
    with np.load(samples) as kept:
        arrays = dict(kept)
    np.savez(samples, x=arrays["x"] + 1, broken=arrays["broken"])
    with pytest.raises(DamagedFile, match="it was altered"):
        run.samples(24)
    np.savez(samples, x=arrays["x"].astype(object), broken=arrays["broken"])
    with pytest.raises(DamagedFile, match="does not hold numbers"):
        run.samples(24)


def test_held_out_samples_of_the_file_and_bytes(home):
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)
    np.savez("images.npz", images=images, held_out=images[::-1][:10])
    config = tc.RunConfig(**{**POINTS.to_dict(), "data": "images.npz", "rule": "data:images.npz", "patch": 2})
    config = dataclasses.replace(config, n_train=40)
    run = tc.train(config, home / "run", progress=False)
    assert run.train_set.dtype == run.samples(24).symbols.dtype == torch.uint8
    assert run.samples(24).symbols.shape == (16, 4, 4, 3)
    assert run.result["control_size"] == 10
    assert run.result["held_out_duplicates"] == 10  # these held-out samples are none, and the run says so
    assert run.pixels.channels == 12
    np.testing.assert_array_equal(read_held_out("images.npz"), images[::-1][:10])
    np.testing.assert_array_equal(tc.read_data("images.npz"), images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "none.npz"}, "a file .npy or .npz that exists"),
        ({"n_train": 399}, r"n_train must lie in 2..398 for points.npz, got 399; the others of its 400 samples"),
        ({"n_train": 1}, "n_train must lie in 2..398"),
        ({"model": "gpt-nano"}, "are numbers, and gpt-nano reads symbols; take a DiT"),
        ({"online": True}, "online draws fresh grids of a rule"),
        ({"encoding": "pm1"}, "encoding='pm1' is for symbols"),
        ({"stop_when": "window"}, "stop_when='window' needs a rule"),
        ({"patch": 4}, "patch must divide both sides of the samples, 1 x 6, got 4"),
    ],
)
def test_configs_that_cannot_be_trained(home, changes, message):
    fields = POINTS.to_dict() | changes
    config = tc.RunConfig(**{**fields, "rule": tc.RunConfig.rule})
    with pytest.raises(ValueError, match=message):
        tc.train(config, home / "run", progress=False)
    with pytest.raises(ValueError, match=message):
        tc.sweep([config], home / "sweep", progress=False)
    assert not (home / "run").exists()


def test_configs_that_contradict_themselves():
    with pytest.raises(ValueError, match="give a rule or data, not both"):
        tc.RunConfig(rule="latin:4", data="digits")
    with pytest.raises(ValueError, match="patch=2 is for data of your own"):
        tc.RunConfig(patch=2)
    with pytest.raises(ValueError, match="data must be the path"):
        tc.RunConfig(data="")
    with pytest.raises(ValueError, match="is for data= of your own"):
        task_of(tc.RunConfig(rule="latin:4", stop_when="patience")).check()


def test_numbers_that_are_none(home):
    x = points(400)
    x[7, 2] = np.nan
    np.save("bad.npy", x)
    config = tc.RunConfig(**{**POINTS.to_dict(), "data": "bad.npy", "rule": "data:bad.npy"})
    with pytest.raises(ValueError, match="must be finite in float32"):
        tc.train(config, home / "run", progress=False)
    np.save("bad.npy", np.ones((400, 6)))
    with pytest.raises(ValueError, match="must not all be the same number"):
        tc.train(config, home / "other", progress=False)


def test_sweeps_and_their_cost(home):
    configs = [dataclasses.replace(POINTS, seed=seed, steps=8) for seed in (0, 1)]
    with ThreadPoolExecutor(1) as executor:
        table = tc.sweep(configs, home / "sweep", executor, progress=False)
        assert set(table["status"]) == {"finished"}
        assert tc.sweep(configs, home / "sweep", executor, progress=False)["attempts"].tolist() == [0, 0]  # kept
    assert expected_cost(POINTS) > expected_cost(configs[0]) > 0
    assert measure(configs[0], seconds=0.01).step > 0


def test_patience_ends_a_run_some_evaluations_after_the_best():
    config = tc.RunConfig(**{**TINY.to_dict(), "stop_when": "patience"})
    task = task_of(config)
    data = task.data()
    clocks = task.clocks(data)
    assert clocks.stop == "patience"
    for step, loss in enumerate((3, 1, 2, 2, 2, 2, 2), start=1):
        assert not clocks.should_stop
        clocks.see(step, data.held_out[:16], held_out_loss=loss)
    assert clocks.should_stop


def test_the_held_out_loss_is_the_loss_of_training_at_other_noise():
    task = task_of(TINY)
    data = task.data()
    codes = task.codes(data)
    zero = task.mean_loss(lambda y, sigma: torch.zeros_like(y), data.train, codes)
    # Of a denoiser that says 0: E[(sigma^2 + 1) / sigma^2] E[x^2], with E[x^2] = 1 here
    log = TINY.noise_mean + TINY.noise_std * torch.randn(10**6, generator=torch.Generator().manual_seed(0))
    assert zero == pytest.approx(float(1 + (-2 * log).exp().mean()), rel=0.3)
    model = family("dit-nano").network(tc.models.SIZES["nano"], None, codes)
    assert task.mean_loss(model, data.held_out, codes) == task.mean_loss(model, data.held_out, codes)


@pytest.mark.parametrize(
    ("shape", "patch", "tokens", "channels"),
    [
        ((6,), 3, (1, 2), 3), ((4, 6), 2, (2, 3), 4), ((3, 4, 6), 2, (2, 3), 12), ((4, 6, 3), 2, (2, 3), 12),
        ((1, 8, 8), 1, (8, 8), 1), ((2, 2, 1), 1, (2, 2), 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pixels_come_back(shape, patch, tokens, channels, dtype):
    x = torch.randint(0, 256, (5, *shape), generator=torch.Generator().manual_seed(0)).to(dtype)
    codes = Pixels.of(x, patch)
    images = codes.encode(x)
    assert images.shape == (5, channels, *tokens)
    assert float(images.mean()) == pytest.approx(0, abs=0.01)  # the mean of bytes is rounded
    assert float(images.std(correction=0)) == pytest.approx(1, abs=1e-3)
    back, broken = codes.decode(images)
    assert back.dtype == dtype
    assert not broken.any()
    assert torch.allclose(back.double(), x.double(), atol=1e-4)
    images[2, 0, 0, 0] = torch.nan
    back, broken = codes.decode(images)
    assert broken.tolist() == [False, False, True, False, False]
    assert bool(back.float().isfinite().all())
    assert torch.allclose(back[3].double(), x[3].double(), atol=1e-4)


def test_neighbouring_pixels_are_one_token():
    codes = Pixels((4, 4), 2)
    x = torch.arange(16.0).reshape(1, 4, 4)
    assert codes.encode(x)[0, :, 0, 1].tolist() == [2, 3, 6, 7]
    assert Pixels((6,), 3).encode(torch.arange(6.0)[None])[0, :, 0, 1].tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="1 to 3 dimensions"):
        Pixels((2, 2, 2, 2))
