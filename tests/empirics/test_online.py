"""Online runs: fresh samples at every step, the same for the same seed, and none of them a training set."""

from dataclasses import replace

import pytest
import torch

import twoclocks as tc
from twoclocks.empirics.families import Batches, families
from twoclocks.empirics.families.family import BLOCK

CONFIG = tc.RunConfig(rule="parity:4x6,G=3", model="gpt-nano", n_train=4, steps=6, batch_size=8, n_eval=64, online=True)


@pytest.mark.parametrize("name", ["gpt", "dit", "mdm"])
def test_each_sample_is_fresh_and_valid(name):
    kind, rule = families()[name], tc.rule(CONFIG.rule)
    config = replace(CONFIG, model=f"{name}-nano")
    train = rule.sample(4, torch.Generator().manual_seed(0))
    encoding = kind.encoding(config, rule)
    batches = Batches(kind, config, train, encoding, torch.device("cpu"), rule)

    def symbols(step):
        batch = batches[step]
        clean = batch if name == "gpt" else batch.clean
        return clean if encoding is None else encoding.decode(clean)[0]

    seen = torch.cat([symbols(step) for step in (*range(BLOCK), BLOCK, BLOCK + 1)])
    assert bool(rule.is_valid(seen).all())
    assert len(seen.unique(dim=0)) > 0.98 * len(seen)  # of 65,536 grids, drawn 528 times
    again = Batches(kind, config, train, encoding, torch.device("cpu"), rule)
    first = again[BLOCK] if name == "gpt" else again[BLOCK].clean
    held = batches[BLOCK] if name == "gpt" else batches[BLOCK].clean
    assert torch.equal(first, held)


def test_an_online_run_trains_and_resumes_to_the_same_bits(tmp_path):
    whole = tc.train(CONFIG, tmp_path / "whole", progress=False)
    usual = tc.train(replace(CONFIG, online=False), tmp_path / "usual", progress=False)
    assert whole.metrics["loss"].tolist() != usual.metrics["loss"].tolist()
    assert tc.load_run(tmp_path / "whole").config.online
    assert torch.equal(whole.train_set, usual.train_set)  # what generations are held against
    with pytest.raises(ValueError, match="online must be one of"):
        replace(CONFIG, online=1.5)
