"""Rules from lists of grids and from validity functions: against enumeration, and against the same rules by name."""

import math

import numpy as np
import pytest
import torch
from automata import NoAdjacentOnes
from enumeration import SMALL_SPECS, Enumeration, all_grids, enumerate_rule, random_fields

import twoclocks as tc


def check_against(rule, reference, seed=0):
    """Everything that a rule says, in float64."""
    assert rule.support_size == len(reference.support)
    assert rule.entropy == pytest.approx(math.log(len(reference.support)), abs=1e-12)
    D, Q = rule.dim, rule.alphabet
    for scale, blocked in ((0.0, 0.0), (1.0, 0.0), (30.0, 0.1)):
        h = random_fields((5, D, Q), scale, blocked, seed)
        np.testing.assert_allclose(rule.marginals(h), reference.marginals(h.numpy()), rtol=1e-10, atol=1e-12)
        with np.errstate(divide="ignore"):
            expected = reference.log_partition(h.numpy())
        np.testing.assert_allclose(rule.log_partition(h), expected, rtol=1e-10, atol=1e-10)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(np.concatenate([reference.support[:20], rng.integers(0, Q, (20, D))]).astype(np.int64))
    np.testing.assert_allclose(rule.next_token_probs(x), reference.next_token_probs(x.numpy()), atol=1e-12)
    known = {tuple(row) for row in reference.support.tolist()}
    assert rule.is_valid(x).tolist() == [tuple(row) in known for row in x.tolist()]
    drawn = rule.sample(200, torch.Generator().manual_seed(seed))
    assert all(tuple(row) in known for row in drawn.tolist())


@pytest.mark.parametrize("spec", SMALL_SPECS)
def test_a_list_of_grids_is_the_rule(spec):
    named, reference = tc.rule(spec), enumerate_rule(spec)
    order = np.random.default_rng(0).permutation(len(reference.support))
    shuffled = np.concatenate([reference.support[order], reference.support[:3]])  # some of them twice
    rule = tc.rule_from_grids(shuffled.reshape(-1, *named.shape), named.alphabet)
    assert (rule.shape, rule.alphabet) == (named.shape, named.alphabet)
    check_against(rule, reference)


def test_grids_without_structure():
    rng = np.random.default_rng(1)
    grids = np.unique(rng.integers(0, 5, (300, 8)), axis=0)
    check_against(tc.rule_from_grids(torch.from_numpy(grids), shape=(2, 4)), Enumeration(grids, 5))
    one = np.array([[2, 0, 1, 1]])
    check_against(tc.rule_from_grids(one, 3), Enumeration(one, 3))


def test_every_grid_is_drawn_equally_often():
    grids = all_grids(4, 2)[[0, 3, 5, 9, 10, 15]]
    rule = tc.rule_from_grids(grids)
    drawn = rule.sample(6000, torch.Generator().manual_seed(0)) @ torch.tensor([8, 4, 2, 1])
    counts = np.bincount(drawn.numpy(), minlength=16)[[0, 3, 5, 9, 10, 15]]
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # chi-square of 5 degrees, p = 0.001


def test_states_are_those_of_the_smallest_automaton():
    own = NoAdjacentOnes((3, 5))
    grids = all_grids(15, 2)
    rule = tc.rule_from_grids(grids[own.is_valid(torch.from_numpy(grids)).numpy()], shape=(3, 5))
    assert rule._trellis.n_states == 30  # one at each end, two after each of 14 cells
    assert rule.support_size == own.support_size


@pytest.mark.parametrize(
    ("grids", "options", "fault"),
    [
        ([], {}, r"N >= 1, got \(0,\)"),
        (torch.zeros(0, 4, dtype=torch.int64), {}, "N >= 1"),
        ([[0.5, 1]], {}, "integer symbols, got float64"),
        ([[0, 1], [1]], {}, "the same shape"),
        ([[0, 3]], {"alphabet": 3}, r"symbols must lie in 0\.\.2, got 0\.\.3"),
        ([[0, -1]], {}, r"symbols must lie in 0\.\.1, got -1\.\.0"),
        ([[0, 1, 1]], {"shape": (2, 2)}, r"grids of 3 cells do not fit the shape \(2, 2\)"),
        ([[0, 1]], {"alphabet": 1}, "at least 2 symbols"),
        (np.zeros((1, 2, 2, 2), dtype=int), {}, r"\(N, D\) or \(N, H, W\)"),
    ],
)
def test_bad_lists_are_refused(grids, options, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        tc.rule_from_grids(grids, **options)
    assert "\n" not in str(caught.value)


def test_too_long_a_list_is_refused(monkeypatch):
    from twoclocks.theory import explicit

    monkeypatch.setattr(explicit, "MOST_SYMBOLS", 11)
    with pytest.raises(ValueError, match="a list may hold 11 symbols, got 3 grids of 4 cells"):
        tc.rule_from_grids(all_grids(4, 2)[:3])


def sudoku(x):
    """Whether 9x9 grids (n, 81) are Sudokus."""
    grid = x.reshape(-1, 9, 9)
    blocks = grid.reshape(-1, 3, 3, 3, 3).transpose(2, 3).reshape(-1, 9, 9)
    wanted = torch.arange(9)
    return torch.stack([(part.sort(-1).values == wanted).all(-1).all(-1) for part in (grid, grid.mT, blocks)]).all(0)


def sudokus(n, seed=0):
    """Different Sudokus: one, with its symbols renamed and its bands, stacks, rows and columns moved."""
    rng = np.random.default_rng(seed)
    r, c = np.mgrid[:9, :9]
    grids = []
    for _ in range(n):
        rows, columns = (np.concatenate([3 * b + rng.permutation(3) for b in rng.permutation(3)]) for _ in range(2))
        grids.append(rng.permutation(9)[(3 * r + r // 3 + c) % 9][rows][:, columns])
    return torch.from_numpy(np.array(grids).reshape(n, 81))


@pytest.mark.parametrize("spec", ["parity:2x4,G=4", "latin:3", "row-k:3x4,K=2"])
def test_a_function_on_few_grids_is_the_rule(spec):
    named = tc.rule(spec)
    rule = tc.rule_from_validity(named.is_valid, named.shape, named.alphabet, spec="mine")
    assert rule.spec == "mine"
    check_against(rule, enumerate_rule(spec))
    assert tc.rule_from_validity(lambda x: named.is_valid(x).numpy(), named.shape, named.alphabet).support_size > 1


def test_sudoku_of_unknown_number():
    """Ones own data, checked and compared with; what needs the population says why not, in one line."""
    rule = tc.rule_from_validity(sudoku, (9, 9), 9, spec="sudoku-9")
    train = sudokus(40)
    assert bool(rule.is_valid(train).all())
    broken = train.clone()
    broken[:, 0] = (broken[:, 0] + 1) % 9
    assert not bool(rule.is_valid(broken).any())
    assert rule.is_valid(train.reshape(4, 10, 81)).shape == (4, 10)
    assert rule.constraints(train[0])["rule"].shape == (1,)

    empirical = tc.EmpiricalLaw(train, 9, (9, 9))
    net = tc.OptimalDenoiser(empirical)
    table = tc.compare_denoisers(lambda y, s: net(y, s), {"empirical": net}, train[:8], [0.3])
    assert float(table["score_mse_empirical"].iloc[0]) < 1e-6
    tokens = tc.compare_next_token(
        lambda x: (empirical.next_token_probs(x) + 1e-30).log(), {"empirical": empirical}, train[:8]
    )
    assert float(tokens["kl_empirical"].iloc[0]) < 1e-6
    assert tc.chance_memorization(rule, train, sampler="cube") == 40 / 9**81
    assert tc.memorization_test(3, 100, 0.0).p_value == 0.0

    unknown = "number of valid grids of 'sudoku-9' is unknown; .*support_size"
    nothing = "valid grids of 'sudoku-9' cannot be .* bring data of your own, and compare with the training set"
    for call, fault in [
        (lambda: rule.support_size, unknown),
        (lambda: rule.entropy, unknown),
        (lambda: rule.log_prob(train), unknown),
        (lambda: tc.chance_memorization(rule, train), unknown),
        (lambda: tc.chance_memorization(rule, 40), unknown),
        (lambda: tc.theory.gpt_floors(rule, train), unknown),
        (lambda: rule.sample(2), nothing),
        (lambda: rule.next_token_probs(train), nothing),
        (lambda: rule.marginals(torch.zeros(81, 9)), nothing),
        (lambda: rule.log_partition(torch.zeros(81, 9)), nothing),
        (lambda: tc.OptimalDenoiser(rule)(torch.zeros(1, 9, 9, 9), 1.0), nothing),
        (lambda: tc.rule_gap(rule, [1.0], n_samples=4), nothing),
        (lambda: tc.condensation_sigma(rule, 40), unknown),
    ]:
        with pytest.raises(ValueError, match=fault) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_sudoku_of_known_number():
    size = 6670903752021072936960  # Felgenhauer and Jarvis, 2006
    rule = tc.rule_from_validity(sudoku, (9, 9), 9, support_size=size, spec="sudoku-9")
    train = sudokus(40)
    assert rule.support_size == size
    assert rule.entropy == math.log(size)
    assert tc.chance_memorization(rule, train) == 40 / size
    assert tc.chance_memorization(rule, 40, level="group") == pytest.approx(40 / size)
    assert tc.theory.gpt_floors(rule, train).memorization == pytest.approx(math.log(40) / 81)
    broken = train[:1].roll(1, 1)
    assert rule.log_prob(torch.cat([train[:1], broken])).tolist() == [-math.log(size), -math.inf]
    with pytest.raises(ValueError, match=r"there are about 10\^21\.8 of them"):
        rule.sample(1)


@pytest.mark.parametrize(
    ("function", "options", "fault"),
    [
        (lambda x: x.sum(-1), {}, r"must return bool \(16,\) for symbols \(16, 4\), one answer a grid; got \(16,\)"),
        (lambda x: bool(x.sum() > 3), {}, "got bool"),
        (lambda x: x == 0, {}, r"got \(16, 4\) torch.bool"),
        (lambda x: x.sum(-1) > 4, {}, "no 2x2 grid satisfies validity"),
        (lambda x: x.sum(-1) > 2, {"support_size": 6}, "support_size=6 was given, but 5 of 16 grids are valid"),
        (lambda x: x.sum(-1) > 2, {"support_size": 17}, r"support_size must lie in 1\.\.16, got 17"),
        (lambda x: x.sum(-1) > 2, {"support_size": 2.5}, "support_size must lie in"),
        ("x > 2", {}, "is_valid must be a function"),
    ],
)
def test_bad_functions_are_refused(function, options, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        tc.rule_from_validity(function, (2, 2), **options)
    assert "\n" not in str(caught.value)
