"""Masked diffusion: the objective's floor, generation from exact conditionals, and a tiny run."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import twoclocks as tc
from twoclocks.empirics.config import QUICK_MASKED, RunConfig
from twoclocks.empirics.families import Batches, family
from twoclocks.empirics.families.masked import FAMILY, count_chances, mask_rate
from twoclocks.empirics.runs.writing import RunWriter

RULE = tc.rule("parity:2x3,G=3")
TRAIN = torch.tensor([[0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 1, 1], [1, 0, 1, 0, 0, 0]])
GRIDS = torch.cartesian_prod(*[torch.arange(2)] * 6)
SUPPORT = GRIDS[RULE.is_valid(GRIDS)]
CONFIG = RunConfig(rule=RULE.spec, model="mdm-nano", n_train=3, batch_size=64, n_eval=32)


class Exact(nn.Module):
    """The exact optimum of a law in place of a network."""

    def __init__(self, law):
        super().__init__()
        self.law, self.dim, self.alphabet = law, law.dim, law.alphabet
        self.position = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.law.unmask_probs(x).log()


def test_the_network_sees_both_sides_and_the_mask():
    torch.manual_seed(0)
    net = tc.build_model("mdm-nano", RULE)
    x = torch.tensor([[0, 2, 1, 0, 1, 2]])
    logits = net(x)
    assert logits.shape == (1, 6, 2)
    for cell in range(6):
        changed = x.clone()
        changed[0, cell] = (x[0, cell] + 1) % 3
        assert not torch.allclose(net(changed)[0, 1], logits[0, 1])
    with pytest.raises(ValueError, match="an MDM reads symbols"):
        tc.build_model("mdm-nano", RULE, tc.Encoding((2, 3), 2))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_how_many_cells_a_schedule_masks(schedule):
    """Against draws of a time and of each cell: how often k of 5 cells are masked, of the draws that mask any."""
    generator = torch.Generator().manual_seed(0)
    time = torch.rand(200_000, 1, generator=generator)
    k = (torch.rand(200_000, 5, generator=generator) < mask_rate(time, schedule)).sum(1)
    found = torch.bincount(k, minlength=6)[1:].double()
    expected = count_chances(5, schedule) * found.sum()
    assert float(((found - expected) ** 2 / expected).sum()) < 18.5  # 4 degrees of freedom, p = 0.001
    if schedule == "linear":
        torch.testing.assert_close(count_chances(5, schedule), torch.full((5,), 0.2, dtype=torch.float64))


@pytest.mark.parametrize("schedule", ["root", "linear", "cosine"])
def test_batches_mask_as_often_as_their_weights_say(schedule):
    """Weight x mean number of draws with k masked cells is 1 / k for every k, and every cell is masked alike."""
    config = replace(CONFIG, mask_schedule=schedule, batch_size=60)
    batches = Batches(FAMILY, config, TRAIN, None, torch.device("cpu"))
    drawn = [batches[step] for step in range(640)]
    k = torch.stack([batch.masked.sum(1) for batch in drawn])
    weight = torch.stack([batch.weight for batch in drawn])
    for count in range(1, 7):
        assert (weight * (k == count)).mean() == pytest.approx(1 / count, rel=0.02)
    of_cell = torch.stack([batch.masked for batch in drawn]).float().mean((0, 1))
    assert (of_cell / of_cell.mean() - 1).abs().max() < 0.02
    in_first_batch = torch.bincount(k[0], minlength=7)[1:]  # stratified: no count is drawn by luck alone
    assert (in_first_batch - 60 * count_chances(6, schedule)).abs().max() < 2


@pytest.mark.parametrize("schedule", ["linear", "cosine", "root"])
def test_the_root_draws_have_the_least_noise(schedule):
    """Sum over k of chance k (1 / (k chance))^2, the variance of independent cells."""
    k = torch.arange(1, 25)
    noise = {name: float((1 / (k * count_chances(24, name))).sum()) for name in ("root", schedule)}
    assert noise["root"] <= noise[schedule]


@pytest.mark.parametrize("schedule", ["root", "linear", "cosine"])
@pytest.mark.parametrize("law", [tc.EmpiricalLaw(TRAIN, 2, (2, 3)), RULE], ids=["training set", "rule"])
def test_the_loss_of_an_optimum_is_its_entropy(schedule, law):
    """The chain rule in every order: on its own data the exact law's loss is the entropy, in nats per cell."""
    data = law.sample(4000, torch.Generator().manual_seed(3))
    batches = Batches(FAMILY, replace(CONFIG, mask_schedule=schedule), data, None, torch.device("cpu"))
    losses = torch.stack([FAMILY.loss(Exact(law), batches[step], None) for step in range(320)])
    error = 4 * float(losses.std()) / math.sqrt(len(losses))
    assert abs(float(losses.mean()) - law.entropy / law.dim) < error
    assert error < 0.06 * law.entropy / law.dim


@pytest.mark.parametrize(
    ("unmasking", "steps"), [("one", 18), ("ancestral", 800), ("confidence", 18)], ids=["one", "many steps", "surest"]
)
def test_generation_from_the_exact_law_draws_the_law(unmasking, steps):
    """Chi-square over the 16 valid grids, where cells are unmasked one at a time or nearly so."""
    config = replace(CONFIG, unmasking=unmasking, sampler_steps=steps)
    n = 4000
    x, ambiguous = FAMILY.generate(Exact(RULE), n, torch.Generator().manual_seed(5), config, None)
    assert not ambiguous.any()
    assert RULE.is_valid(x).double().mean() > (0.98 if unmasking == "ancestral" else 0.9999)
    codes = (x[RULE.is_valid(x)] * 2 ** torch.arange(6)).sum(1)
    counts = torch.bincount(codes, minlength=64)[SUPPORT.mul(2 ** torch.arange(6)).sum(1)].double()
    expected = counts.sum() / 16
    assert float(((counts - expected) ** 2 / expected).sum()) < 37.7  # 15 degrees of freedom, p = 0.001


def test_few_ancestral_steps_break_the_rule_that_the_network_knows():
    """In two steps a group of 3 is surely even only if just one of its cells comes last: else a coin is tossed."""
    config = replace(CONFIG, unmasking="ancestral", sampler_steps=2)
    x, _ = FAMILY.generate(Exact(RULE), 4000, torch.Generator().manual_seed(5), config, None)
    expected = (3 / 8 + 5 / 8 / 2) ** 2
    assert RULE.is_valid(x).double().mean() == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 4000))


def test_asked_for_some_cells_the_network_says_the_same():
    torch.manual_seed(0)
    net = tc.build_model("mdm-nano", RULE)
    x = torch.randint(3, (20, 6), generator=torch.Generator().manual_seed(1))
    cells = torch.rand(20, 6, generator=torch.Generator().manual_seed(2)).argsort(1)[:, :2]
    everywhere = net(x).gather(1, cells[..., None].expand(-1, -1, 2))
    torch.testing.assert_close(net(x, cells), everywhere, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 64, 65, 120])
def test_asked_for_cells_by_bool_the_network_says_and_learns_the_same(count):
    """Whatever rows fill the product up to its size, they are neither seen nor learned from."""
    torch.manual_seed(0)
    net = tc.build_model("mdm-nano", RULE).double()
    x = torch.randint(3, (20, 6), generator=torch.Generator().manual_seed(1))
    cells = torch.rand(120, generator=torch.Generator().manual_seed(2)).argsort().view(20, 6) < count
    some, everywhere = net(x, cells), net(x)[cells]
    torch.testing.assert_close(some, everywhere, rtol=1e-5, atol=1e-6)
    assert some.shape == (count, 2)
    gradients = [torch.autograd.grad(logits.exp().sum(), list(net.parameters())) for logits in (some, everywhere)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_generation_repeats_from_its_random_numbers():
    torch.manual_seed(0)
    net = tc.build_model("mdm-nano", RULE)
    for unmasking in ("one", "ancestral", "confidence"):
        config = replace(CONFIG, unmasking=unmasking, sampler_steps=5)
        grids = [FAMILY.generate(net, 50, torch.Generator().manual_seed(k), config, None).symbols for k in (1, 1, 2)]
        assert torch.equal(grids[0], grids[1])
        assert not torch.equal(grids[0], grids[2])
        assert set(grids[0].unique().tolist()) <= {0, 1}


def test_both_optima_lie_at_the_ends_of_the_coordinate():
    laws = {"population": RULE, "empirical": tc.EmpiricalLaw(TRAIN, 2, (2, 3))}
    for name, place in (("population", 0.0), ("empirical", 1.0)):
        table = tc.compare_masked(Exact(laws[name]), laws, {"train": TRAIN, "held-out": RULE.sample(20)}, [0.3, 0.6, 1])
        known = table["memorization_coordinate"].notna()
        assert known.sum() >= 3
        assert (table["memorization_coordinate"][known] - place).abs().max() < 1e-10
        assert table[f"kl_{name}"].abs().max() < 1e-12


def test_a_comparison_is_that_by_enumeration():
    """Cross-entropy and divergences of a network, cell by cell, from sums over the supports."""
    torch.manual_seed(1)
    net = tc.build_model("mdm-nano", RULE).double()
    empirical = tc.EmpiricalLaw(TRAIN, 2, (2, 3))
    laws = {"population": RULE, "empirical": empirical}
    row = tc.compare_masked(net, laws, TRAIN, [0.5], torch.Generator().manual_seed(2)).iloc[0]
    uniform = torch.rand(TRAIN.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    given = TRAIN.masked_fill(uniform < 0.5, 2)
    with torch.no_grad():
        learned = net(given).double().softmax(-1)
    surprise, divergence, cells = 0.0, 0.0, 0
    for n, grid in enumerate(given):
        seen = grid < 2
        agree = SUPPORT[(SUPPORT[:, seen] == grid[seen]).all(1)]
        for i in torch.nonzero(~seen)[:, 0].tolist():
            exact = torch.bincount(agree[:, i], minlength=2).double() / len(agree)
            q = learned[n, i]
            surprise -= float(q[TRAIN[n, i]].log())
            divergence += float(sum(p * (p / r).log() for p, r in zip(exact, q, strict=True) if p > 0))
            cells += 1
    assert row["cross_entropy"] == pytest.approx(surprise / cells, rel=1e-10)
    assert row["kl_population"] == pytest.approx(divergence / cells, rel=1e-10)
    assert row["defined_population"] == cells


@pytest.mark.parametrize("rates", [[0.0], [1.2], [], [math.nan]])
def test_mask_rates_must_be_rates(rates):
    with pytest.raises(ValueError, match=r"mask rates must lie in \(0, 1\]"):
        tc.compare_masked(Exact(RULE), {"population": RULE}, TRAIN, rates)


def test_a_tiny_run_learns_and_resumes_to_the_same_bits(tmp_path, monkeypatch):
    config = replace(CONFIG, steps=60, lr=3e-3, warmup=5, eval_first=20, eval_ratio=1.5)
    run = tc.train(config, tmp_path / "run", progress=False)
    assert run.metrics["loss"].iloc[-1] < run.metrics["loss"].iloc[0]
    assert run.floors == pytest.approx({"population": math.log(16) / 6, "empirical": math.log(3) / 6})
    killed = RunWriter.record

    def record(self, metrics, generations):
        killed(self, metrics, generations)
        if metrics["step"] == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunWriter, "record", record)
    with pytest.raises(KeyboardInterrupt):
        tc.train(config, tmp_path / "again", progress=False)
    monkeypatch.setattr(RunWriter, "record", killed)
    again = tc.train(config, tmp_path / "again", resume=True, progress=False)
    columns = [name for name in run.metrics if name != "seconds"]
    assert run.metrics[columns].equals(again.metrics[columns])
    table = tc.compare.compare_over_training(run, n_samples=3)
    assert set(table["mask_rate"]) == {k / 10 for k in range(1, 10)}
    with pytest.raises(ValueError, match="sigmas are for a DiT"):
        tc.compare.compare_over_training(run, sigmas=[1.0])


@pytest.mark.slow
def test_a_run_learns_the_rule_then_copies_until_its_loss_nears_its_floor(tmp_path):
    """The guide's example: six minutes of a busy core, three of an idle one."""
    config = replace(QUICK_MASKED, steps=6000, schedule="cosine", eval_ratio=1.2)
    run = tc.train(config, tmp_path / "run", progress=False)
    rule, memory = run.onsets["tau_rule"], run.onsets["tau_mem"]
    assert 0 < rule.upper <= memory.lower < memory.upper < 1500
    floor = run.floors["empirical"]
    assert floor == pytest.approx(math.log(32) / 24)
    assert floor < run.metrics["loss"].iloc[-1] < floor + 0.025  # the rule alone: floor + 0.202
    assert run.metrics["memorization"].iloc[-1] > 0.7


def test_an_encoding_is_for_images():
    with pytest.raises(ValueError, match="mdm-nano reads symbols"):
        family("mdm-nano").encoding(replace(CONFIG, encoding="pm1"), RULE)
