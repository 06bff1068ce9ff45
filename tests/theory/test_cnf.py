"""Rules from CNF formulas: against all assignments, one by one."""

import itertools

import numpy as np
import pytest
import torch
from enumeration import Enumeration, all_grids, enumerate_rule
from test_explicit import check_against

import twoclocks as tc


def dimacs(n_variables, clauses):
    body = "".join(" ".join(map(str, clause)) + " 0\n" for clause in clauses)
    return f"c made by a test\np cnf {n_variables} {len(clauses)}\n{body}"


def models(n_variables, clauses):
    """All assignments (n, V) of 0 and 1 that satisfy the clauses."""
    x = all_grids(n_variables, 2)
    holds = [np.any([x[:, abs(v) - 1] == (v > 0) for v in clause], axis=0) for clause in clauses]
    return x[np.all(holds, axis=0)] if holds else x


def random_clauses(n_variables, n_clauses, seed, sizes=(1, 2, 3, 4)):
    rng = np.random.default_rng(seed)
    return [
        [int(v) * int(rng.choice([-1, 1])) for v in rng.choice(n_variables, rng.choice(sizes), replace=False) + 1]
        for _ in range(n_clauses)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_random_formulas(seed):
    clauses = random_clauses(9, 6 + seed, seed, (2, 3, 4))
    support = models(9, clauses)
    rule = tc.rule_from_cnf(dimacs(9, clauses), (3, 3))
    check_against(rule, Enumeration(support, 2), seed)


def latin(n):
    """Latin squares, one variable for each cell and symbol: exactly one symbol in a cell is left to the reader."""
    clauses = []
    for symbol, line, a, b in itertools.product(range(n), range(n), range(n), range(n)):
        if a < b:
            clauses.append([-((line * n + a) * n + symbol + 1), -((line * n + b) * n + symbol + 1)])
            clauses.append([-((a * n + line) * n + symbol + 1), -((b * n + line) * n + symbol + 1)])
    return n**3, clauses


@pytest.mark.parametrize("n", [3, 4])
def test_latin_squares(n):
    rule = tc.rule_from_cnf(dimacs(*latin(n)), (n, n), n)
    check_against(rule, enumerate_rule(f"latin:{n}"))
    assert rule._trellis.n_states == tc.rule(f"latin:{n}")._trellis.n_states


@pytest.mark.parametrize("seed", range(6))
def test_random_formulas_over_several_symbols(seed):
    """Positive and negative literals of the same cells mixed, against the one-hot assignments."""
    clauses = random_clauses(12, 8, seed)
    grids = all_grids(4, 3)
    onehot = np.eye(3, dtype=int)[grids].reshape(len(grids), 12)
    holds = np.all([np.any([onehot[:, abs(v) - 1] == (v > 0) for v in c], axis=0) for c in clauses], axis=0)
    if not holds.any():
        with pytest.raises(ValueError, match="no 2x2 grid satisfies cnf"):
            tc.rule_from_cnf(dimacs(12, clauses), (2, 2), 3)
        return
    exactly_one = [c for cell in range(4) for c in _exactly_one([3 * cell + s + 1 for s in range(3)])]
    for said in (clauses, clauses + exactly_one):
        check_against(tc.rule_from_cnf(dimacs(12, said), (2, 2), 3), Enumeration(grids[holds], 3), seed)


def _exactly_one(variables):
    return [variables, *([-a, -b] for a, b in itertools.combinations(variables, 2))]


@pytest.mark.parametrize("seed", range(8))
def test_auxiliary_variables_are_taken_out(seed):
    clauses = random_clauses(10, 14, seed, (2, 3))
    support = np.unique(models(10, clauses)[:, :6], axis=0)
    assert len(support)
    check_against(tc.rule_from_cnf(dimacs(10, clauses), (2, 3)), Enumeration(support, 2), seed)


def test_parity_by_way_of_auxiliary_variables():
    """Tseitin's encoding of x1 + x2 + x3 even, twice, with two helpers in each group."""

    def xor(a, b, c):  # c = a xor b
        return [[-a, -b, -c], [a, b, -c], [a, -b, c], [-a, b, c]]

    clauses = [*xor(1, 2, 7), *xor(7, 3, 8), [-8], *xor(4, 5, 9), *xor(9, 6, 10), [-10]]
    check_against(tc.rule_from_cnf(dimacs(10, clauses), (2, 3)), enumerate_rule("parity:2x3,G=3"))


def test_large_counts_and_free_cells():
    rule = tc.rule_from_cnf(dimacs(100, [[1, 2], [-99, 100]]), (10, 10))
    assert rule.support_size == 9 * 2**96
    free = tc.rule_from_cnf("p cnf 6 0\n", (2, 3))
    assert free.support_size == 64
    valid = rule.sample(50, torch.Generator().manual_seed(0))
    assert bool(((valid[:, 0] | valid[:, 1]) & (1 - valid[:, 98] | valid[:, 99])).all())


def test_files_and_the_layout_of_solvers(tmp_path):
    text = "c a comment\n\np  cnf 4  3 \n1 -2\n 0 3\n4 0 -1\n-4 0\n%\n0\n\n"  # as SATLIB ends its files
    path = tmp_path / "some formula.cnf"
    path.write_text(text)
    support = models(4, [[1, -2], [3, 4], [-1, -4]])
    for source in (text, text.replace("\n", "\r\n"), path, str(path)):
        check_against(tc.rule_from_cnf(source, (2, 2)), Enumeration(support, 2))


def test_repeated_and_opposite_literals():
    clauses = [[1, 1, 2], [3, -3, 4], [-2, -2]]
    check_against(tc.rule_from_cnf(dimacs(4, clauses), (2, 2)), Enumeration(models(4, clauses), 2))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("p cnf 4 1\n1 2 0\n-1 0\n", "promises 1 clauses, it has 2"),
        ("p cnf 4 2\n1 2 0\n-1\n", "ends within a clause"),
        ("p cnf 4 1\n1 5 0\n", "line 2 of the formula: variable 5 of 4"),
        ("p cnf 4 1\n1 x 0\n", "line 2 of the formula: 'x' is no literal"),
        ("p cnf 4 1\n1 " + "9" * 5000 + " 0\n", "is no literal"),
        ("1 2 0\np cnf 4 1\n", "line 1 .* must come before the clauses"),
        ("p dnf 4 1\n1 2 0\n", "line 1 .* expected one header"),
        ("p cnf 4 1\np cnf 4 1\n1 2 0\n", "line 2 .* expected one header"),
        ("\n", "no header"),
        ("p cnf 3 1\n1 2 0\n", r"a 2x2 grid of 2 symbols needs 4 variables, one for each cell; the formula has 3"),
        ("p cnf 4 2\n1 0\n-1 0\n", "no 2x2 grid satisfies cnf"),
        ("p cnf 4 1\n0\n", "no 2x2 grid satisfies cnf"),
        ("p cnf 5 2\n1 5 0\n-5 0\n1 2 3 0\n", "promises 2"),
        ("p cnf 5 3\n5 0\n-5 0\n1 0\n", "no 2x2 grid satisfies cnf"),  # no value of the auxiliary variable
    ],
)
def test_bad_formulas_name_the_line_and_the_fault(text, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        tc.rule_from_cnf(text, (2, 2))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no file 'nowhere\.cnf'; a formula's text itself has line breaks"):
        tc.rule_from_cnf("nowhere.cnf", (2, 2))


def test_formulas_beyond_the_bounds_are_refused_at_once(monkeypatch):
    from twoclocks.theory import cnf

    monkeypatch.setattr(cnf, "MOST_BYTES", 2**16)
    far = [[i + 1, i + 37] for i in range(36)]  # every cell and the one half a grid away
    with pytest.raises(
        ValueError, match=r"after cell \d+: order the cells so that those of a clause are close"
    ) as caught:
        tc.rule_from_cnf(dimacs(72, far), (6, 12))
    assert "\n" not in str(caught.value)
    near = [[2 * i + 1, 2 * i + 2] for i in range(36)]
    assert tc.rule_from_cnf(dimacs(72, near), (6, 12)).support_size == 3**36
    monkeypatch.setattr(cnf, "MOST_LITERALS", 50)
    with pytest.raises(ValueError, match=r"taking out auxiliary variable .* leaves more than 50 literals"):
        tc.rule_from_cnf(dimacs(40, [[i, 40] for i in range(1, 37)] + [[-i, -40] for i in range(1, 37)]), (6, 6))
    monkeypatch.setattr(cnf, "MOST_TEXT", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        tc.rule_from_cnf("p cnf 4 1\n1 2 0\n", (2, 2))
