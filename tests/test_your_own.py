"""A toy of each kind, added in a folder of one's own without touching the package, as CONTRIBUTING.md tells."""

import sys

import pandas as pd
import pytest

import twoclocks as tc
from twoclocks.cli import main
from twoclocks.empirics import families, plugins
from twoclocks.empirics.probes import probe
from twoclocks.paper_figures import exhibit
from twoclocks.theory import rules

NETWORK = '''
"""A network that knows how often each symbol stands in each cell, and nothing else."""

import torch
from torch import nn


class Cells(nn.Module):
    def __init__(self, dim, alphabet):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(dim, alphabet))

    def forward(self, x):
        return self.logits.expand(len(x), -1, -1)

    def generate(self, n, generator):
        return torch.multinomial(self.logits.softmax(-1), n, True, generator=generator).T
'''
OWN = '''
from dataclasses import replace

import numpy as np
import pandas as pd
from toy_network import Cells

import twoclocks as tc
from twoclocks.empirics.families import families, register_family
from twoclocks.empirics.probes.probe import Probe, register_probe
from twoclocks.empirics.references import register_reference
from twoclocks.empirics.style import new_figure
from twoclocks.paper_figures.exhibit import register_exhibit
from twoclocks.theory.rules import Family, parse_grid


class NoTwo(tc.LayeredAutomaton):
    """No two adjacent ones in raster order."""

    def __init__(self, shape):
        super().__init__(shape, alphabet=2)
        self.spec = f"no-two:{shape[0]}x{shape[1]}"

    def step(self, states, position, symbol):
        return (states == 0) | (symbol == 0), np.full_like(states, symbol)


tc.register_rule("no-two", Family(lambda grid, options: NoTwo(parse_grid(grid)), "no-two:2x4"))
register_family(
    replace(
        families()["gpt"],
        name="toy",
        title="Toy",
        network=lambda size, rule, encoding: Cells(rule.dim, rule.alphabet),
    )
)
register_reference("half", lambda rule, train: tc.EmpiricalLaw(train[: len(train) // 2], rule.alphabet, rule.shape))


def ones(run):
    shares = {step: float(run.samples(step).symbols.double().mean()) for step in run.checkpoint_steps}
    return {"ones": pd.DataFrame({"step": shares.keys(), "ones": shares.values()})}


def draw(tables, run):
    figure, [[ax]] = new_figure(1, 1, 3, 3)
    ax.plot(tables["ones"]["step"], tables["ones"]["ones"])
    return {"ones": figure}


register_probe(Probe("ones", "How many ones are generated", ones, draw, channels=("prefix",)))


class Ones:
    """The share of ones in the training set of one run."""

    PAPER = "none"
    MISSING = ""

    def configs(self, preset):
        tiny = {"n_train": 8, "steps": 4, "batch_size": 4, "n_eval": 4, "eval_first": 4}
        return [tc.RunConfig(rule="no-two:2x4", model="toy-nano", **tiny)]

    def compute(self, preset, runs):
        return {"share": pd.DataFrame({"ones": [float(runs[0].train_set.double().mean())]})}

    def plot(self, data):
        figure, [[ax]] = new_figure(1, 1, 3, 3)
        ax.bar([0], data["share"]["ones"])
        return figure


register_exhibit("ones", Ones())
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The two files of one's own; what they register is forgotten afterwards."""
    import twoclocks.empirics.references as references

    for module, name in (
        (rules, "_FAMILIES"),
        (references, "_known"),
        (families, "_registered"),
        (probe, "_registered"),
        (exhibit, "_registered"),
        (plugins, "_loaded"),
    ):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "toy_network", raising=False)
    (tmp_path / "toy_network.py").write_text(NETWORK)
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_toy_of_each_kind_reaches_the_commands_from_two_files(own, capsys):
    tiny = ["--n-train", "8", "--steps", "12", "--batch-size", "8", "--n-eval", "8", "--eval-first", "6"]
    main(["run", "--rule", "no-two:2x4", "--model", "toy-nano", *tiny, "--out", "runs", "--plugin", "own.py"])
    (config,) = own.glob("runs/**/config.json")
    run = tc.load_run(config.parent)
    assert run.rule.support_size == 55  # the tenth Fibonacci number
    assert run.family.title == "Toy"
    assert run.model().logits.shape == (8, 2)
    main(["compare", str(run.path), "--plugin", "own.py"])
    table = pd.read_csv(run.path / "comparison" / "comparison.csv")
    assert {"kl_half", "kl_population"} <= set(table)
    main(["dissect", str(run.path), "--n-noises", "4", "--plugin", "own.py"])
    assert pd.read_csv(run.path / "dissection" / "ones.csv")["ones"].between(0, 1).all()
    assert (run.path / "dissection" / "ones.png").exists()
    main(["figure", "ones", "--preset", "smoke", "--recompute", "--data", "tables", "--plugin", "own.py"])
    assert (own / "figures" / "ones.png").exists()
    assert 0 < pd.read_parquet(own / "tables" / "smoke" / "ones" / "share.parquet")["ones"][0] < 0.5
    capsys.readouterr()
