"""9x9 Sudoku, whose grids nobody can list: masked models on grids that the user brings."""

import pytest
import torch
import torch.nn.functional as F

import twoclocks as tc
from twoclocks.empirics.comparison.masked_generation import complete
from twoclocks.empirics.probes.mask_rates import loss_by_mask_rate
from twoclocks.empirics.probes.unmasking import unmasking_completions

COUNT = 6_670_903_752_021_072_936_960  # Felgenhauer and Jarvis, 2006


def is_sudoku(x):
    grids = x.view(-1, 9, 9)
    boxes = grids.view(-1, 3, 3, 3, 3).transpose(2, 3).reshape(-1, 9, 9)
    units = torch.stack([grids, grids.mT, boxes])
    return (units.sort(-1).values == torch.arange(9)).all(-1).all(-1).all(0)


def shuffled(n, seed):
    """One grid with its bands, rows, stacks, columns and symbols shuffled: data that the user brings."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.arange(9)
    base = ((3 * (row % 3) + row // 3)[:, None] + row) % 9

    def lines():
        bands = torch.randperm(3, generator=generator)
        return torch.cat([3 * band + torch.randperm(3, generator=generator) for band in bands])

    return torch.stack([torch.randperm(9, generator=generator)[base[lines()][:, lines()]].flatten() for _ in range(n)])


RULE = tc.rule_from_validity(is_sudoku, (9, 9), 9, spec="sudoku-9x9")
TRAIN, CONTROL = shuffled(48, 0), shuffled(48, 1)
EMPIRICAL = tc.EmpiricalLaw(TRAIN, 9, (9, 9))


def test_validity_and_memorization_need_no_count():
    assert RULE.is_valid(TRAIN).all()
    swapped = TRAIN.clone()
    swapped[:, [0, 1]] = TRAIN[:, [1, 0]]
    assert not RULE.is_valid(swapped).any()
    copies = complete(lambda x: EMPIRICAL.unmask_probs(x).log(), torch.full((32, 81), 9), 9, torch.Generator())
    assert RULE.is_valid(copies).all()
    found = tc.Memorization(TRAIN, CONTROL, metric="exact").test(copies)
    assert (found.ratio, found.chance) == (1, 0)
    assert found.p_value < 1e-9
    assert tc.Memorization(TRAIN, CONTROL, metric="exact").test(shuffled(32, 2)).ratio == 0


def test_a_masked_model_beside_the_training_set():
    """The training set's optimum comes out at no divergence; a few steps of a network lower its loss."""
    exact = tc.compare_masked(lambda x: EMPIRICAL.unmask_probs(x).log(), {"empirical": EMPIRICAL}, TRAIN, [0.5, 0.9])
    assert exact["kl_empirical"].abs().max() < 1e-12
    assert exact["memorization_coordinate"].isna().all()  # the other end of the line is unknown
    torch.manual_seed(0)
    net = tc.build_model("mdm-nano", RULE)
    before = tc.compare_masked(net, {"empirical": EMPIRICAL}, {"train": TRAIN, "control": CONTROL}, [0.5])
    assert before["defined_empirical"].tolist()[1] == 0  # no training sample fits what is visible
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for step in range(8):
        masked = torch.rand(TRAIN.shape, generator=torch.Generator().manual_seed(step)) < 0.5
        F.cross_entropy(net(TRAIN.masked_fill(masked, 9), masked), TRAIN[masked]).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = tc.compare_masked(net, {"empirical": EMPIRICAL}, TRAIN, [0.5])
    assert after["cross_entropy"].item() < before["cross_entropy"].iloc[0] - 0.05
    assert len(loss_by_mask_rate(net, {"train": TRAIN}, 9, [0.5])) == 1


def test_completions_say_what_came_out():
    table = unmasking_completions(lambda x: EMPIRICAL.unmask_probs(x).log(), {"train": TRAIN}, TRAIN, RULE, [0.25, 1.0])
    assert table["any"].tolist() == [1, 1]
    assert table["valid"].tolist() == [1, 1]
    assert table["same"].iloc[0] == 1
    assert table["same"].iloc[1] < 0.2


def test_what_needs_the_population_says_so_in_one_line():
    with pytest.raises(ValueError, match="bring data of your own, and compare with the training set") as fault:
        tc.compare_masked(lambda x: x, {"population": RULE, "empirical": EMPIRICAL}, TRAIN, [0.5])
    assert "\n" not in str(fault.value)
    with pytest.raises(
        ValueError, match="the number of valid grids of 'sudoku-9x9' is unknown; if you know it"
    ) as fault:
        tc.Clocks(RULE, TRAIN)
    assert "\n" not in str(fault.value)


def test_with_the_count_given_the_clocks_run():
    rule = tc.rule_from_validity(is_sudoku, (9, 9), 9, support_size=COUNT, spec="sudoku-9x9")
    clocks = tc.Clocks(rule, TRAIN, stop="both")
    clocks.see(10, torch.randint(9, (64, 81), generator=torch.Generator().manual_seed(0)))
    clocks.see(20, shuffled(64, 2))
    clocks.see(30, TRAIN.repeat(2, 1))
    clocks.see(40, TRAIN.repeat(2, 1))
    assert clocks.onsets["tau_rule"].upper == 20
    assert clocks.onsets["tau_mem"].upper == 30
    assert clocks.should_stop
