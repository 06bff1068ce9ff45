"""Training on a GPU: close to the CPU, the same with and without graphs, and resumed to the same bits."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.cuda_graphs import GraphedNetwork
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.families import families, family
from twoclocks.empirics.static_step import StaticStep
from twoclocks.empirics.sweeps.side_by_side import SideBySide, gpus, new_stream, on_stream

SPEC = "parity:6x6,G=3"
MODELS = [f"{name}-nano" for name in families()]
OPTIONS = [{"precision": "fp32"}, {"precision": "bf16", "ema_halflife": 20.0, "clip_norm": 1.0}]


def engine(model, device="cuda", static=None, **options):
    config = tc.RunConfig(
        rule=SPEC, model=model, **{"n_train": 256, "batch_size": 64, "lr": 1e-3, "device": device, **options}
    )
    rule = tc.rule(SPEC)
    return Engine(config, rule, training_set(rule, 256, 0), family(model).encoding(config, rule), static=static)


def losses(trained, steps):
    found = []
    for _ in range(steps):
        trained.advance()
        found.append(trained.take_mean_loss())
    return torch.tensor(found)


def same_bits(ours, other):
    for name, value in ours.items():
        assert torch.equal(value.cpu(), other[name].cpu()), name


@pytest.fixture(autouse=True)
def no_fallback():
    """A capture that fails is a fault here, though training would go on without it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no CUDA graph here")
        yield


@pytest.mark.parametrize("model", [*MODELS, "dit-mini", "gpt-mini"])
def test_losses_of_20_steps_are_those_of_the_cpu(model):
    there = losses(engine(model, precision="fp32"), 20)
    here = losses(engine(model, "cpu", precision="fp32"), 20)
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("model", MODELS)
def test_graphs_give_the_bits_of_the_same_step_run_eagerly(model, options):
    graphed, eager = engine(model, **options), engine(model, **options)
    eager._static = StaticStep(eager, capture=False)
    for _ in range(70):  # over the end of a block
        graphed.advance()
        eager.advance()
    same_bits(graphed.state(), eager.state())


@pytest.mark.parametrize("model", MODELS)
def test_the_static_step_is_close_to_the_plain_one(model):
    options = {"precision": "fp32", "ema_halflife": 20.0}
    static, plain = engine(model, **options), engine(model, static=False, **options)
    torch.testing.assert_close(losses(static, 30), losses(plain, 30), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("model", MODELS)
def test_a_run_resumes_to_the_same_bits(model, options):
    whole, cut = engine(model, **options), engine(model, **options)
    for _ in range(100):
        whole.advance()
    for _ in range(37):
        cut.advance()
    resumed = engine(model, **options)
    resumed.load_state({name: value.cpu().clone() for name, value in cut.state().items()})
    for _ in range(63):
        resumed.advance()
    same_bits(resumed.state(), whole.state())


@pytest.mark.parametrize("model", MODELS)
def test_graphed_generation_is_that_of_the_network(model):
    trained = engine(model, precision="fp32", sampler_steps=6)
    assert isinstance(trained.generator, GraphedNetwork)
    config, encoding = trained.config, trained.batches.encoding
    for _ in range(2):
        for _ in range(30):
            trained.advance()
        graphed, plain = (
            trained.family.generate(net, 128, torch.Generator().manual_seed(1), config, encoding)
            for net in (trained.generator, trained.generator_model)
        )
        assert torch.equal(graphed.symbols, plain.symbols)


def test_runs_side_by_side_give_the_bits_of_runs_alone():
    def work(seed):
        mine = engine("gpt-nano", precision="bf16", seed=seed)
        for _ in range(200):
            mine.advance()
        return {name: value.cpu() for name, value in mine.state().items()}

    with on_stream("cuda:0", new_stream("cuda:0")):
        alone = [work(seed) for seed in range(4)]
    with SideBySide(gpus()[:1], 4) as executor:
        together = list(executor.map(work, range(4)))
    for ours, other in zip(together, alone, strict=True):
        same_bits(ours, other)


def test_calls_at_once_never_share_a_stream():
    meeting = threading.Barrier(4)

    def work(_):
        meeting.wait(20)  # four at once
        return torch.cuda.current_stream().cuda_stream

    with SideBySide(gpus()[:1], 4) as executor:
        used = list(executor.map(work, range(80)))  # more than torch has streams
    assert len(set(used)) == 4
    assert torch.cuda.default_stream().cuda_stream not in used


def test_a_whole_run_that_is_cut_short_ends_as_one_that_is_not(tmp_path):
    config = tc.RunConfig(
        rule="parity:4x6,G=3", model="gpt-nano", n_train=64, steps=300, batch_size=64, n_eval=128, device="cuda"
    )
    whole = tc.train(config, tmp_path / "whole", progress=False)
    from twoclocks.empirics.time_limit import time_limit

    with time_limit(0.001):
        assert not tc.train(config, tmp_path / "cut", progress=False).ended
    cut = tc.train(config, tmp_path / "cut", resume=True, progress=False)
    assert cut.metrics.drop(columns="seconds").equals(whole.metrics.drop(columns="seconds"))
    assert whole.hardware["device"] == "cuda"


def test_a_sweep_on_streams_gives_the_table_of_one_run_at_a_time(tmp_path):
    configs = [
        tc.RunConfig(rule="parity:4x6,G=3", model="gpt-nano", n_train=64, steps=200, batch_size=64, n_eval=64, seed=k)
        for k in range(6)
    ]
    with SideBySide(gpus(), 3) as executor:
        tc.empirics.ended_runs(tc.sweep(configs, tmp_path / "streams", executor, progress=False))
    with ThreadPoolExecutor(1) as executor:
        tc.empirics.ended_runs(tc.sweep(configs, tmp_path / "one", executor, progress=False))
    tables = [tc.load_metrics(tmp_path / name).drop(columns=["seconds", "path"], errors="ignore")
              for name in ("streams", "one")]  # fmt: skip
    assert (
        tables[0]
        .sort_values(["run", "step"], ignore_index=True)
        .equals(tables[1].sort_values(["run", "step"], ignore_index=True))
    )
