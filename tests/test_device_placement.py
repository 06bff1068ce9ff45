"""Everything that runs beside a model runs where the model is: checked on every machine, on a stand-in for a GPU."""

from contextlib import contextmanager
from unittest import mock

import pandas as pd
import pytest
import stand_in_gpu as stand_in
import torch
from stand_in_gpu import GPU, OnGPU, stand_in_gpu
from torch.utils._pytree import tree_leaves

import twoclocks as tc
from twoclocks.empirics.comparison.masked import compare_masked
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.families import families, family
from twoclocks.empirics.sampling import sample_images
from twoclocks.theory import rules

BINARY, COLOURED = "parity:2x4,G=4", "latin:3"
SPECS = (
    BINARY, "exact-k:2x3,K=3", "row-k:2x3,K=1", "row-variable-k:2x3,K=1+2", "global-k:2x3,K=2+4",
    "permutation:1x3", "latin:2", "sudoku:2x2", "shuffled:parity:2x4,G=4,seed=1", "random:2x3,M=20,seed=5", "grids",
    "validity", "cnf",
)  # fmt: skip


def explicit_rules():
    squares = tc.rule("latin:2").sample(20, torch.Generator().manual_seed(0))
    return {
        "grids": tc.rule_from_grids(squares, shape=(2, 2)),
        "validity": tc.rule_from_validity(lambda x: x.sum(-1) == 2, (2, 2)),
        "cnf": tc.rule_from_cnf("p cnf 4 2\n1 2 0\n-3 4 0\n", (2, 2)),
    }


def laws_of(spec):
    rule = explicit_rules()[spec] if spec in explicit_rules() else tc.rule(spec)
    if rule.dim > 9:
        return {"rule": rule}  # slow on the stand-in, and the other laws have been asked about smaller grids
    train = rule.sample(6, torch.Generator().manual_seed(0))
    cells = rule.marginals(torch.zeros(rule.dim, rule.alphabet, dtype=torch.float64))
    return {
        "rule": rule,
        "empirical": tc.EmpiricalLaw(train, rule.alphabet, rule.shape),
        "cells": tc.theory.ProductLaw(cells, rule.shape),
        "cube": tc.CubeLaw(rule.shape, rule.alphabet),
        "ngram": tc.theory.NGramLaw(rule, 1),
    }


@pytest.fixture
def gpu():
    with stand_in_gpu() as device:
        yield device


def same(ours, expected):
    assert isinstance(ours, OnGPU)
    torch.testing.assert_close(ours.cpu(), expected, rtol=1e-5, atol=1e-6)


def test_the_stand_in_refuses_what_a_gpu_refuses(gpu):
    here, there = torch.ones(3, device=gpu), torch.ones(3)
    for mixed in (
        lambda: here + there,
        lambda: there + here,
        lambda: torch.cat([here, there]),
        lambda: here.index_select(0, torch.tensor([1])),
        lambda: there[torch.zeros(1, dtype=torch.long, device=gpu)],
        lambda: here.lerp_(there, 0.5),
        lambda: torch.rand(3, device=gpu, generator=torch.Generator()),
        lambda: here.numpy(),
    ):
        with pytest.raises((RuntimeError, TypeError)):
            mixed()
    assert here.device == GPU
    assert (2 * here + torch.tensor(1.0)).tolist() == [3, 3, 3]
    assert here[torch.tensor([1, 2])].cpu().tolist() == [1, 1]  # torch takes CPU indices
    assert type(here.cpu()) is torch.Tensor
    assert isinstance(there.to(gpu), OnGPU)


@pytest.mark.parametrize("options", [{}, {"precision": "bf16", "clip_norm": 1.0, "ema_halflife": 10.0}])
@pytest.mark.parametrize(
    ("model", "spec"), [*((f"{name}-nano", BINARY) for name in families()), ("dit-nano", COLOURED)]
)
def test_training_and_generation_stay_on_the_models_device(gpu, model, spec, options):
    rule = tc.rule(spec)
    engines = {}
    generations = {}
    for device in ("cpu", str(gpu)):
        asked = {"precision": "fp32", "n_train": 6, "batch_size": 4, "sampler_steps": 3} | options
        config = tc.RunConfig(rule=spec, model=model, device=device, **asked)
        encoding = family(model).encoding(config, rule)
        engine = engines[device] = Engine(config, rule, training_set(rule, 6, 0), encoding)
        engine.advance()
        engine.load_state({name: value.cpu() for name, value in engine.state().items()})
        engine.advance()
        assert engine.finite
        draw = torch.Generator().manual_seed(0)
        generations[device] = family(model).generate(engine.generator_model, 4, draw, config, encoding)
    ours, expected = engines[str(gpu)], engines["cpu"]
    assert all(isinstance(p, OnGPU) for p in ours.generator_model.parameters())
    for name, value in ours.state().items():
        torch.testing.assert_close(value.cpu(), expected.state()[name])
    assert all(torch.equal(a, b) for a, b in zip(generations[str(gpu)], generations["cpu"], strict=True))
    assert ours.take_mean_loss() == pytest.approx(expected.take_mean_loss())


@pytest.mark.parametrize("sampler", ["heun", "euler", "churn"])
def test_images_are_sampled_where_the_noise_is(gpu, sampler):
    law = laws_of(BINARY)["empirical"]
    net = tc.build_model("dit-nano", tc.rule(BINARY)).to(gpu)
    noise = torch.randn(3, 1, 2, 4, generator=torch.Generator().manual_seed(0))
    for denoiser in (net, tc.OptimalDenoiser(law)):
        draw = torch.Generator().manual_seed(1)
        images = sample_images(denoiser, noise.to(gpu), sampler=sampler, generator=draw)
        assert isinstance(images, OnGPU)
        assert bool(images.isfinite().all())
    draw = torch.Generator().manual_seed(1)
    same(images, sample_images(tc.OptimalDenoiser(law), noise, sampler=sampler, generator=draw))


@pytest.mark.parametrize("spec", SPECS)
def test_every_law_answers_on_the_device_of_the_question(gpu, spec):
    assert {s.partition(":")[0] for s in SPECS} >= {
        name for name, entry in rules._FAMILIES.items() if isinstance(entry, rules.Family)
    }
    generator = torch.Generator().manual_seed(0)
    for name, law in laws_of(spec).items():
        x = law.sample(3, generator)
        h = torch.randn(3, law.dim, law.alphabet, generator=generator, dtype=torch.float64)
        h[0] = torch.where(torch.nn.functional.one_hot(x[0], law.alphabet).bool(), 0.0, -torch.inf)
        same(law.log_partition(h.to(gpu)), law.log_partition(h))
        same(law.marginals(h.to(gpu)), law.marginals(h))
        same(law.next_token_probs(x.to(gpu)), law.next_token_probs(x))
        same(law.log_prob(x.to(gpu)), law.log_prob(x))
        masked = torch.where(torch.rand(x.shape, generator=generator) < 0.5, law.alphabet, x)
        same(law.unmask_probs(masked.to(gpu)), law.unmask_probs(masked))
        if name == "rule":
            same(law.is_valid(x.to(gpu)), law.is_valid(x))
            for kind, held in law.constraints(x.to(gpu)).items():
                same(held, law.constraints(x)[kind])


@pytest.mark.parametrize("spec", SPECS)
def test_every_optimal_denoiser_answers_on_the_device_of_the_images(gpu, spec):
    generator = torch.Generator().manual_seed(0)
    for law in laws_of(spec).values():
        exact = tc.OptimalDenoiser(law)
        clean = exact.encoding.encode(law.sample(3, generator))
        y = clean + 0.5 * torch.randn(clean.shape, generator=generator)
        for sigma in (0.02, torch.tensor([0.1, 1.0, 40.0])):
            there = sigma.to(gpu) if isinstance(sigma, torch.Tensor) else sigma
            same(exact(y.to(gpu), there), exact(y, sigma))
            same(exact.score(y.to(gpu), there), exact.score(y, sigma))
            same(exact.log_density(y.to(gpu), there), exact.log_density(y, sigma))


def test_the_posterior_covariance_is_where_the_images_are(gpu):
    exact = tc.OptimalDenoiser(tc.rule("parity:2x2,G=2"))
    images = exact.encoding.encode(exact.law.sample(2, torch.Generator().manual_seed(0)))
    same(exact.posterior_covariance(images.to(gpu), 0.7), exact.posterior_covariance(images, 0.7))


def test_a_validity_function_is_asked_where_the_grids_are(gpu):
    rule = tc.rule_from_validity(lambda x: x.sum(-1) % 2 == 0, (5, 5), support_size=2**24)  # too many grids to list
    x = torch.randint(2, (4, 25), generator=torch.Generator().manual_seed(0))
    same(rule.is_valid(x.to(gpu)), rule.is_valid(x))
    same(rule.log_prob(x.to(gpu)), rule.log_prob(x))


@pytest.mark.parametrize("spec", [BINARY, COLOURED])
def test_a_network_on_the_gpu_compares_like_one_on_the_cpu(gpu, spec):
    rule, laws = tc.rule(spec), laws_of(spec)
    laws = {"population": laws["rule"], "empirical": laws["empirical"], "cells": laws["cells"]}
    x = rule.sample(4, torch.Generator().manual_seed(1))
    references = {name: tc.OptimalDenoiser(law) for name, law in laws.items()}
    tables = {}
    for device in ("cpu", gpu):
        torch.manual_seed(0)
        dit, gpt, mdm = (tc.build_model(f"{kind}-nano", rule).to(device) for kind in ("dit", "gpt", "mdm"))
        tables[device] = (
            tc.compare_denoisers(dit, references, x, [0.1, 1.0]),
            tc.compare_next_token(gpt, laws, x),
            compare_masked(mdm, laws, x, [0.5]),
            pd.DataFrame({"loss": tc.dsm_loss(references["population"], x.to(device), [0.1, 1.0])}),
        )
    for ours, expected in zip(tables[gpu], tables["cpu"], strict=True):
        pd.testing.assert_frame_equal(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", [f"{name}-nano" for name in families()])
def test_the_step_of_a_cuda_graph_has_all_it_needs_on_the_device(gpu, model):
    """Nothing of it is on the CPU, and no value is read back: what a capture would refuse."""
    rule = tc.rule(BINARY)
    states = {}
    for device in ("cpu", str(gpu)):
        config = tc.RunConfig(
            rule=BINARY, model=model, device=device, precision="fp32", n_train=6, batch_size=4, ema_halflife=10.0,
            clip_norm=1.0,
        )  # fmt: skip
        encoding = family(model).encoding(config, rule)
        engine = Engine(config, rule, training_set(rule, 6, 0), encoding, static=True)
        engine.advance()
        with reads_nothing_back():
            for _ in range(3):
                engine.advance()
            for look in (float, torch.Tensor.cpu) if engine.device == GPU else ():
                with pytest.raises(AssertionError):
                    look(engine.loss_sum)
        states[device] = {name: value.cpu() for name, value in engine.state().items()}
    for name, value in states[str(gpu)].items():
        torch.testing.assert_close(value, states["cpu"][name])


@contextmanager
def reads_nothing_back():
    """Within, a tensor of the stand-in that becomes a number, or is copied to the CPU, is a fault."""

    def watched(func, args, kwargs):
        here = any(isinstance(leaf, OnGPU) for leaf in tree_leaves((args, kwargs)))
        assert not (here and func.overloadpacket is torch.ops.aten._local_scalar_dense), "a value was read back"
        to = kwargs.get("device")
        assert not here or to is None or torch.device(to).type != "cpu", "a tensor was copied to the CPU"
        return run(func, args, kwargs)

    run = stand_in._run
    with mock.patch.object(stand_in, "_run", watched):
        yield
