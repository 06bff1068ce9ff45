"""The step that a CUDA graph repeats, run on the CPU: bit for bit the plain step; and what surrounds a graph."""

import threading

import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.cuda_graphs import GraphedNetwork
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.families import families, family
from twoclocks.empirics.static_step import StaticStep, average, average_at_once, unchanged

SPEC = "parity:2x4,G=4"
OPTIONS = [
    {},
    {"ema_halflife": 10.0, "clip_norm": 0.5, "weight_decay": 0.1},
    {"schedule": "cosine", "steps": 200, "warmup": 7, "precision": "bf16"},
]


def engine(model, static, **options):
    asked = {"precision": "fp32", "n_train": 8, "batch_size": 4, "lr": 3e-3, "device": "cpu"} | options
    config = tc.RunConfig(rule=SPEC, model=model, **asked)
    rule = tc.rule(SPEC)
    return Engine(config, rule, training_set(rule, 8, 0), family(model).encoding(config, rule), static=static)


def same_bits(ours, other):
    assert ours.keys() == other.keys()
    for name, value in ours.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("model", [f"{name}-nano" for name in families()])
def test_the_static_step_gives_the_bits_of_the_plain_step(model, options):
    plain, static = engine(model, False, **options), engine(model, True, **options)
    for step in range(70):  # over the end of a block of 64
        plain.advance()
        static.advance()
        if step in (0, 63, 69):
            same_bits(static.state(), plain.state())
    assert static.take_mean_loss() == plain.take_mean_loss() > 0


@pytest.mark.parametrize("static", [False, True])
def test_the_average_keeps_no_history(static):
    trained = engine("gpt-nano", static, ema_halflife=5.0)
    for _ in range(3):
        trained.advance()
    assert not any(p.requires_grad or p.grad_fn for p in trained.average.parameters())


def test_a_static_step_resumes_within_a_block():
    whole, cut = engine("gpt-nano", True), engine("gpt-nano", True)
    for _ in range(80):
        whole.advance()
    for _ in range(30):
        cut.advance()
    resumed = engine("gpt-nano", True)
    resumed.load_state({name: value.clone() for name, value in cut.state().items()})
    for _ in range(50):
        resumed.advance()
    same_bits(resumed.state(), whole.state())
    again = engine("gpt-nano", True)
    again.advance()
    again.load_state({name: value.clone() for name, value in cut.state().items()})  # over a step that was prepared
    for _ in range(50):
        again.advance()
    same_bits(again.state(), whole.state())


@pytest.mark.parametrize("begun", [0, 3])
def test_the_warm_up_of_a_capture_leaves_no_trace(begun):
    ours, other = (engine("dit-nano", True, ema_halflife=5.0) for _ in range(2))
    for _ in range(begun):
        ours.advance()
        other.advance()
    step = ours._static = StaticStep(ours, capture=False)
    step._upload(0)
    addresses = [x.data_ptr() for x in ours.tensors()]
    with unchanged(ours, step.index):
        for _ in range(3):
            step.compute()
    assert [x.data_ptr() for x in ours.tensors()] == addresses
    assert int(step.index) == begun
    for _ in range(5):
        ours.advance()
        other.advance()
    same_bits(ours.state(), other.state())


def test_the_average_at_once_is_that_tensor_by_tensor():
    torch.manual_seed(0)
    model, one, other = (torch.nn.Linear(30, 20) for _ in range(3))
    other.load_state_dict(one.state_dict())
    average(one.requires_grad_(False), model, torch.tensor(0.03))
    there = list(other.requires_grad_(False).parameters())
    average_at_once(there, list(model.parameters()), torch.tensor(0.03))
    for a, b in zip(one.parameters(), there, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
        assert not b.requires_grad


class Recorder:
    """In place of a capture: runs the work, and counts how often it was captured and repeated."""

    def __init__(self):
        self.captures = self.calls = 0

    def __call__(self, work):
        self.captures += 1
        for _ in range(3):
            work()

        def repeat():
            self.calls += 1
            return work()

        return repeat


@pytest.mark.parametrize("model", [f"{name}-nano" for name in families()])
def test_a_graphed_network_generates_the_same_grids(model):
    trained = engine(model, False, sampler_steps=3)
    recorder = Recorder()
    graphed = GraphedNetwork(trained.generator_model, recorder)
    kind, config, encoding = trained.family, trained.config, trained.batches.encoding
    for _ in range(2):
        for _ in range(5):
            trained.advance()  # its weights change in place
        expected, ours = (
            kind.generate(net, 16, torch.Generator().manual_seed(1), config, encoding)
            for net in (trained.generator_model, graphed)
        )
        assert torch.equal(ours.symbols, expected.symbols)
        assert torch.equal(ours.ambiguous, expected.ambiguous)
    assert recorder.captures == 1  # one kind of input
    assert recorder.calls >= 2
    small = kind.generate(graphed, 4, torch.Generator().manual_seed(1), config, encoding)
    assert len(small.symbols) == 4
    assert recorder.captures == 2


def test_engines_built_and_trained_side_by_side_give_their_own_bits():
    alone = [engine("gpt-nano", True, seed=seed) for seed in range(3)]
    for one in alone:
        for _ in range(40):
            one.advance()
    together = {}

    def work(seed):
        mine = engine("gpt-nano", True, seed=seed)
        for _ in range(40):
            mine.advance()
        together[seed] = mine.state()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, one in enumerate(alone):
        same_bits(together[seed], one.state())
