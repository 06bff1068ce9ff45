"""Chance memorization at group level, against averages over all training sets of small rules."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from automata import NoAdjacentOnes, WeightedSum, brute_force
from enumeration import enumerate_rule

import twoclocks as tc
from twoclocks.theory.memorization import _chance_seen, _possible_patterns

FAMILIES = {
    "parity:1x4,G=2": 2,
    "row-k:2x3,K=1": 3,
    "row-variable-k:2x2,K=0+1": 2,
    "exact-k:2x2,K=2": 3,
    "global-k:2x2,K=0+3": 4,
    "permutation:2": 2,
    "permutation:2x3": 2,
    "latin:3": 2,
}


def group_chance(generated, probs, groups, train):
    """Mean over groups of the chance that a generated pattern was seen there, from the definition."""
    seen = [
        sum(p for x, p in zip(generated, probs, strict=True) if tuple(x[cells]) in {tuple(row[cells]) for row in train})
        for cells in groups
    ]
    return sum(seen) / len(seen)


def cube(rule):
    """All grids and their equal chance."""
    grids = np.array(list(itertools.product(range(rule.alphabet), repeat=rule.dim)))
    return grids, np.full(len(grids), 1 / len(grids))


def check(rule, support, n):
    populations = {"population": (support, np.full(len(support), 1 / len(support)))}
    if rule.alphabet**rule.dim <= 256:
        populations["cube"] = cube(rule)
    for sampler, (generated, probs) in populations.items():
        values = []
        for chosen in itertools.combinations(range(len(support)), n):
            train = support[list(chosen)]
            values.append(group_chance(generated, probs, rule.groups.numpy(), train))
            if len(values) <= 5:
                exact = tc.chance_memorization(rule, torch.from_numpy(train), "group", sampler)
                assert exact == pytest.approx(values[-1], rel=1e-12)
        expected = tc.chance_memorization(rule, n, "group", sampler)
        assert expected == pytest.approx(np.mean(values), rel=1e-10)


@pytest.mark.parametrize(("spec", "n"), FAMILIES.items())
def test_every_family(spec, n):
    check(tc.rule(spec), enumerate_rule(spec).support, n)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [NoAdjacentOnes((2, 2)), WeightedSum((2, 2))], ids=["whole-grid", "rows"])
def test_own_rules(rule):
    check(rule, brute_force(rule).support, 2)


def test_rows_of_own_rule_without_equal_patterns():
    rule = NoAdjacentOnes((2, 2))
    rule.groups = torch.arange(4).reshape(2, 2)
    assert rule.group_patterns is None
    check(rule, brute_force(rule).support, 3)


@pytest.mark.parametrize("spec", ["latin:4", "sudoku:2x2", "permutation:2x4", "row-variable-k:2x4,K=1+3"])
def test_group_patterns_are_equally_likely(spec):
    rule, support = tc.rule(spec), enumerate_rule(spec).support
    for cells in rule.groups.numpy():
        counts = np.unique(support[:, cells] @ rule.alphabet ** np.arange(len(cells)), return_counts=True)[1]
        assert len(counts) == rule.group_patterns
        assert (counts == counts[0]).all()


def test_training_sets_off_the_support_count_what_the_rule_shows():
    rule = tc.rule("row-k:2x3,K=1")
    train = torch.tensor([[1, 0, 0, 1, 1, 1], [0, 1, 1, 0, 1, 0]])  # one valid pattern in each row
    assert tc.chance_memorization(rule, train, "group") == pytest.approx(1 / 3)
    assert tc.chance_memorization(rule, train, "group", "cube") == pytest.approx(2 / 8)


@pytest.mark.parametrize("spec", ["exact-k:6x6,K=12", "global-k:6x6,K=12+18", "parity:6x6,G=36"])
@pytest.mark.parametrize("sampler", ["population", "cube"])
def test_a_group_of_the_whole_grid_has_the_sample_level(spec, sampler):
    rule = tc.rule(spec)
    train = rule.sample(500, torch.Generator().manual_seed(0))
    for given in (train, 4096):
        sample = tc.chance_memorization(rule, given, "sample", sampler)
        assert tc.chance_memorization(rule, given, "group", sampler) == pytest.approx(sample, rel=1e-12)


@pytest.mark.slow
def test_large_groups_and_large_n_at_once():
    """Figures of the paper's size, against the logarithm of the hypergeometric chance in high precision."""
    import mpmath

    for spec, n in [
        ("latin:6", 4096),
        ("permutation:6", 65536),
        ("parity:6x6,G=18", 10**5),
        ("exact-k:6x6,K=18", 10**7),
    ]:
        rule = tc.rule(spec)
        size, patterns = rule.support_size, rule.group_patterns
        with mpmath.workdps(60):
            part = size // patterns
            missed = mpmath.binomial(size - part, n) / mpmath.binomial(size, n)
            expected = float(1 - missed)
        assert tc.chance_memorization(rule, n, "group") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("population", "part", "n"), [(10**14, 3 * 10**7, 4 * 10**6), (10**12, 2 * 10**6, 5 * 10**6)])
def test_long_sums_are_exact(population, part, n):
    with mpmath.workdps(80):
        missed = mpmath.binomial(population - part, n) / mpmath.binomial(population, n)
        expected = float(1 - missed)
    assert _chance_seen(population, part, n) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("population", "part", "n"), [(20, 3, 0), (20, 3, 17), (20, 3, 18), (20, 1, 7), (2**40, 2**39, 9000)]
)
def test_edges_of_the_hypergeometric_chance(population, part, n):
    missed = math.comb(population - part, n) / math.comb(population, n) if n < 9000 else 0.0
    assert _chance_seen(population, part, n) == pytest.approx(1 - missed, rel=1e-12)


def test_too_many_patterns_are_refused():
    rule = NoAdjacentOnes((2, 3))
    cells = torch.tensor([4, 0, 1, 2])
    assert len(_possible_patterns(rule, cells, most=10)) == 10
    with pytest.raises(ValueError, match="shows more than 9 patterns; give the training set") as caught:
        _possible_patterns(rule, cells, most=9)
    assert "\n" not in str(caught.value)


def test_the_chance_is_1_where_missing_the_part_is_beyond_reach():
    assert _chance_seen(2**80, 2**79, 9000) == 1.0
    assert _chance_seen(2**2000, 2, 3) == 0.0


@pytest.mark.parametrize("spec", ["latin:3", "sudoku:2x2", "permutation:2x3", "parity:1x4,G=2", "exact-k:2x2,K=2"])
def test_possible_groups_by_enumeration(spec):
    rule = tc.rule(spec)
    support = enumerate_rule(spec).support
    rng = np.random.default_rng(0)
    x = np.concatenate([support[:20], rng.integers(0, rule.alphabet, (60, rule.dim))])
    x[20:40, : rule.dim // 2] = support[rng.integers(len(support), size=20), : rule.dim // 2]
    expected = np.stack(
        [[tuple(row[cells]) in set(map(tuple, support[:, cells])) for row in x] for cells in rule.groups.numpy()], 1
    )
    assert (rule.possible_groups(torch.from_numpy(x)).numpy() == expected).all()
    rule.group_constraint = None  # as a rule of one's own: by its log-partition
    assert (rule.possible_groups(torch.from_numpy(x)).numpy() == expected).all()


def test_one_invalid_row_asks_nothing_of_the_automaton():
    """The patterns of 6x6 Latin squares are judged row by row: the automaton of 3e6 edges is never built."""
    rule = tc.rule("latin:6")
    cyclic = (torch.arange(6)[:, None] + torch.arange(6)) % 6
    train = torch.stack([cyclic, cyclic.flip(0), (cyclic + 1) % 6]).flatten(1)
    train[0, 0] = train[0, 1]
    rows = [len({tuple(r) for r in train[:, 6 * g : 6 * g + 6].tolist() if len(set(r)) == 6}) for g in range(6)]
    assert tc.chance_memorization(rule, train, "group") == pytest.approx(sum(rows) / (6 * 720), rel=1e-12)
    assert "_trellis" not in vars(rule)
