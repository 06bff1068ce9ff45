"""Ratios of generations against counts by hand, and against chance for samplers of known laws."""

import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.data import training_set
from twoclocks.empirics.evaluation import Evaluator
from twoclocks.empirics.families import Generations, family

RULE = tc.rule("parity:2x4,G=4")


def test_ratios_are_counts():
    train = torch.tensor([[0, 0, 0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]])
    x = torch.tensor(
        [
            [0, 0, 0, 0, 1, 1, 0, 0],  # memorized
            [1, 1, 1, 1, 1, 1, 0, 0],  # novel, both groups seen at their place
            [1, 1, 0, 0, 1, 1, 1, 1],  # novel, neither group seen at its place
            [1, 0, 0, 0, 1, 1, 0, 0],  # first group odd, second seen
            [1, 1, 1, 1, 0, 0, 0, 0],  # would be memorized, but is ambiguous
        ]
    )
    ambiguous = torch.tensor([False, False, False, False, True])
    metrics = Evaluator(RULE, train).metrics(Generations(x, ambiguous))
    assert metrics["rule_accuracy"] == 3 / 5
    assert metrics["group_accuracy"] == 7 / 10
    assert metrics["memorization"] == 1 / 5
    assert metrics["group_memorization"] == 5 / 10
    assert metrics["novel_valid"] == 2 / 5
    assert metrics["ambiguous"] == 1 / 5
    assert metrics["distinct"] == 1.0
    for name in ("rule_accuracy", "group_accuracy", "memorization", "group_memorization", "novel_valid"):
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]


def test_a_sampler_of_the_rule_memorizes_at_chance():
    train = training_set(RULE, 16, seed=0)
    evaluator = Evaluator(RULE, train)
    x = RULE.sample(4000, torch.Generator().manual_seed(1))
    metrics = evaluator.metrics(Generations(x, torch.zeros(4000, dtype=torch.bool)))
    assert metrics["rule_accuracy"] == 1
    assert metrics["memorization_low"] < evaluator.chance < metrics["memorization_high"]
    assert metrics["group_memorization_low"] < evaluator.group_chance < metrics["group_memorization_high"]
    assert metrics["memorization_p"] > 1e-3


def test_a_sampler_of_the_training_set_memorizes_fully():
    train = training_set(RULE, 16, seed=0)
    x = tc.EmpiricalLaw(train).sample(500, torch.Generator().manual_seed(1))
    metrics = Evaluator(RULE, train).metrics(Generations(x, torch.zeros(500, dtype=torch.bool)))
    assert metrics["memorization"] == metrics["group_memorization"] == 1
    assert metrics["memorization_p"] < 1e-100
    assert metrics["distinct"] == 16 / 500


def test_untrained_models_generate():
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    config = tc.RunConfig(sampler_steps=5)
    grids, ambiguous = family("gpt-nano").generate(tc.build_model("gpt-nano", RULE), 7, g, config, None)
    assert grids.shape == (7, 8)
    assert not ambiguous.any()
    encoding = tc.Encoding(RULE.shape, 2)
    dit, net = family("dit-nano"), tc.build_model("dit-nano", RULE)
    grids, ambiguous = dit.generate(net, 7, g, config, encoding)
    assert grids.shape == (7, 8)
    assert ambiguous.all()  # the best linear denoiser of unit data gives Gaussian images
    with pytest.raises(ValueError, match="encoding"):
        dit.generate(net, 7, g, config, None)
