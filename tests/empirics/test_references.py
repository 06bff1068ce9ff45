"""References: each named once, built once a process, and open to one's own."""

import pytest
import torch
from torch.testing import assert_close

import twoclocks as tc
import twoclocks.empirics.references as module
from twoclocks.empirics.data import training_set
from twoclocks.empirics.references import LADDER, Reference, References, references_of, register_reference

RULE = tc.rule("parity:2x4,G=4")
TRAIN = training_set(RULE, 16, 0)


def test_a_rule_is_built_once_a_process():
    assert tc.rule("latin:4") is tc.rule(" latin:4 ")
    assert tc.rule("permutation:3") is not tc.rule("permutation:4")


def test_registering_a_built_rule_leaves_its_spec_to_others(monkeypatch):
    from twoclocks.theory import rules

    monkeypatch.setattr(rules, "_FAMILIES", dict(rules._FAMILIES))
    tc.register_rule("small-latin", tc.rule("latin:3"))
    assert tc.rule("latin:3").spec == "latin:3"
    assert tc.rule("small-latin").spec == "small-latin"


def test_each_reference_is_built_once_for_equal_training_sets():
    first, again = references_of(RULE, TRAIN), references_of(RULE, TRAIN.clone())
    assert again is first
    assert references_of(RULE, TRAIN[:8]) is not first
    assert all(first[name] is first[name] for name in first)
    assert first["population"] is RULE


def test_only_the_last_used_are_kept():
    sets = [training_set(RULE, 8, seed) for seed in range(module.MOST_KEPT + 1)]
    first = references_of(RULE, sets[0])
    for x in sets[1:]:
        references_of(RULE, x)
    assert references_of(RULE, sets[0]) is not first


def test_each_is_the_law_that_it_is_named_after():
    found = References(RULE, TRAIN)
    every = tc.CubeLaw(RULE.shape).sample(64, torch.Generator().manual_seed(0))
    assert found["cube"].entropy == pytest.approx(8 * torch.log(torch.tensor(2.0)).item())
    counts = torch.stack([(s == TRAIN).double().mean(0) for s in (0, 1)], -1)
    assert_close(found["cells"].marginals(torch.zeros(8, 2, dtype=torch.float64)), counts)
    assert_close(found["pairs"].log_prob(every), tc.PairwiseLaw.fit(RULE, TRAIN).log_prob(every))
    assert_close(found["empirical"].log_prob(TRAIN).exp(), torch.full((16,), 1 / 16, dtype=torch.float64))
    assert_close(found["independent"].marginals(torch.zeros(8, 2).double()), torch.full((8, 2), 0.5).double())
    assert found["ngram_2"].order == 2
    assert [name for name in LADDER if module._known[name].copies] == ["empirical"]


def test_the_ladder_climbs_to_the_training_set():
    """Cross-entropy of the training set falls from rung to rung: each knows more of it, but for the rule's."""
    ladder = References(RULE, TRAIN).ladder
    assert tuple(ladder) == LADDER
    loss = {name: -float(law.log_prob(TRAIN).mean()) for name, law in ladder.items()}
    assert loss["cube"] > loss["cells"] > loss["pairs"] > loss["empirical"]
    assert loss["cube"] > loss["population"] > loss["pairs"]


def test_what_a_rule_does_not_allow_is_left_out():
    large = tc.rule("parity:6x6,G=4")
    found = References(large, training_set(large, 4, 0))
    assert "pairs" not in found
    assert "pairs" not in list(found)
    assert "pairs" not in found.ladder
    with pytest.raises(KeyError, match=r"no reference 'pairs' of parity:6x6,G=4; there are cube, cells"):
        found["pairs"]


def test_the_name_at_the_root_is_the_function_of_densities():
    assert tc.references is module.references
    assert set(tc.references(torch.randn(20, 3), ("gaussian", "empirical"))) == {"gaussian", "empirical"}


def test_the_null_of_copying_is_the_same_from_laws_built_before():
    assert tc.null_of_copying(RULE, TRAIN, References(RULE, TRAIN)) == tc.null_of_copying(RULE, TRAIN)


def test_a_reference_of_ones_own_is_one_of_every_run(monkeypatch):
    monkeypatch.setattr(module, "_known", dict(module._known))
    register_reference("half", lambda rule, train: tc.EmpiricalLaw(train[: len(train) // 2], rule.alphabet, rule.shape))
    register_reference("never", Reference(lambda rule, train: rule, "never", serves=lambda rule: False))
    found = References(RULE, TRAIN)
    assert module.own_references() == ("half", "never")
    assert list(found.named(("never", "half"))) == ["half"]
    assert float(found["half"].log_prob(TRAIN[:8]).exp().sum()) == pytest.approx(1)
    assert module.reference_title("half") == "half"
    with pytest.raises(ValueError, match="named 'cells' exists already"):
        register_reference("cells", lambda rule, train: rule)
    with pytest.raises(ValueError, match="a word of letters"):
        register_reference("two words", lambda rule, train: rule)
