"""Specs: every family is built from its text and written back, and faults are refused with one clear line."""

import math

import pytest
import torch

import twoclocks as tc

CANONICAL = [
    "parity:6x6,G=3",
    "parity:4x6,G=24",
    "exact-k:6x6,K=12",
    "exact-k:3x5,K=0",
    "row-k:6x6,K=3",
    "row-k:1x6,K=3",
    "row-variable-k:6x6,K=1+3+5",
    "row-variable-k:6x6,K=2",
    "global-k:6x6,K=12+18",
    "global-k:6x6,K=18",
    "permutation:6",
    "permutation:3x4",
    "permutation:1x2",
    "latin:2",
    "latin:5",
    "sudoku:2x3",
    "sudoku:3x2",
]


@pytest.mark.parametrize("spec", CANONICAL)
def test_spec_round_trip(spec):
    rule = tc.rule(spec)
    assert rule.spec == spec
    assert tc.rule(rule.spec).spec == spec
    assert repr(rule) == f"rule({spec!r})"


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("row-variable-k:6x6,K=5+1+3+1", "row-variable-k:6x6,K=1+3+5"),
        ("global-k:6x6,K=18+12", "global-k:6x6,K=12+18"),
        ("permutation:6x6", "permutation:6"),
        (" parity:6x6,G=3 ", "parity:6x6,G=3"),
        ("exact-k:06x6,K=012", "exact-k:6x6,K=12"),
    ],
)
def test_specs_are_made_canonical(spec, canonical):
    assert tc.rule(spec).spec == canonical


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ("parity:6x6,G=3", 2**24),
        ("latin:4", 576),
        ("latin:5", 161280),
        ("sudoku:2x2", 288),
        ("sudoku:2x3", 28200960),
        ("sudoku:3x2", 28200960),
        ("permutation:6", 720**6),
        ("exact-k:6x6,K=18", 9075135300),
    ],
)
def test_support_size(spec, size):
    rule = tc.rule(spec)
    assert rule.support_size == size
    assert isinstance(rule.support_size, int)
    assert rule.entropy == pytest.approx(math.log(size), rel=1e-14)


@pytest.mark.parametrize(
    ("spec", "group_shape"),
    [
        ("parity:6x6,G=9", (4, 9)),
        ("exact-k:4x6,K=3", (1, 24)),
        ("global-k:4x6,K=3+4", (1, 24)),
        ("row-k:4x6,K=3", (4, 6)),
        ("row-variable-k:4x6,K=1+3", (4, 6)),
        ("permutation:3x4", (3, 4)),
        ("latin:5", (5, 5)),
        ("sudoku:2x3", (6, 6)),
    ],
)
def test_groups_cut_the_grid_in_raster_order(spec, group_shape):
    rule = tc.rule(spec)
    assert rule.groups.dtype == torch.int64
    assert torch.equal(rule.groups, torch.arange(rule.dim).reshape(group_shape))
    assert rule.dim == rule.shape[0] * rule.shape[1]


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("hexagon:6", "unknown rule 'hexagon'.*parity:6x6,G=3.*sudoku:2x3"),
        ("", "unknown rule ''"),
        ("parity:6x6", "option 'G' is missing"),
        ("parity:6x6,G=5", r"G=5 must divide the 36 cells .*use one of \[2, 3, 4, 6"),
        ("parity:6x6,G=3,K=2", "unknown option 'K'; it takes G"),
        ("parity:6x6,G=3,G=3", "'G=3' is not a single KEY=VALUE"),
        ("parity:6,G=3", "HEIGHTxWIDTH, such as 6x6, got '6'"),
        ("parity:0x6,G=3", "HEIGHTxWIDTH"),
        ("exact-k:6x6,K=37", r"K=37 must be among 0\.\.36"),
        ("exact-k:6x6,K=1+2", "K must be one number, got '1[+]2'; global-k takes several"),
        ("exact-k:6x6,K=-1", "K must be a non-negative integer, got '-1'"),
        ("exact-k:6x6,K=3.5", "K must be a non-negative integer, got '3.5'"),
        ("exact-k:40x40,K=3", "at most 900"),
        ("row-k:6x6,K=7", r"K=7 must be among 0\.\.6"),
        ("row-k:6x6,K=1+2", "row-variable-k takes several"),
        ("row-variable-k:6x6,K=1+7", r"K=7 must be among 0\.\.6"),
        ("row-variable-k:6x6,K=1+", "K must be a non-negative integer, got ''"),
        ("global-k:6x6,K=", "'K=' is not a single KEY=VALUE"),
        ("permutation:17", "2 to 16 symbols"),
        ("permutation:1", "2 to 16 symbols"),
        ("permutation:seven", "the side must be an integer, such as 6, got 'seven'"),
        ("permutation:6,K=2", "unknown option 'K'; it takes none"),
        ("latin:7", "side 2 to 6"),
        ("latin:6x6", "the side must be an integer"),
        ("sudoku:6", "HEIGHTxWIDTH"),
        ("sudoku:3x3", "2x2, 2x3 or 3x2"),
        ("sudoku:1x6", "2x2, 2x3 or 3x2"),
        ("parity:100000x100000,G=3", "at most 1,048,576 cells, got 100000 x 100000 = 10,000,000,000"),
        ("row-k:99999999999x2,K=1", "a side of the grid must be at most 1,048,576, got 99999999999"),
        ("exact-k:2x99999999999,K=1", "a side of the grid must be at most 1,048,576"),
        ("sudoku:999999x999999", "at most 1,048,576 cells"),
        ("permutation:99999999x9", "a side of the grid must be at most 1,048,576"),
        ("permutation:99999999999999999999", "the side must be at most 1,048,576"),
        ("latin:99999999999999999999", "the side must be at most 1,048,576"),
        ("exact-k:6x6,K=99999999999999999999", "K must be at most 1,048,576"),
        ("parity:6x6,G=99999999999999999999", "G must be at most 1,048,576"),
        ("parity:00x6,G=3", "HEIGHTxWIDTH"),
    ],
)
def test_faulty_specs_name_the_fault(spec, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        tc.rule(spec)
    assert "\n" not in str(caught.value)
    assert repr(spec) in str(caught.value)


def test_a_registered_family_is_known(monkeypatch):
    from twoclocks.theory import rules

    monkeypatch.setattr(rules, "_FAMILIES", dict(rules._FAMILIES))
    tc.register_rule(
        "all-equal", tc.theory.Family(lambda grid, options: tc.rule(f"global-k:{grid},K=0+4"), "all-equal:2x2")
    )
    assert tc.rule("all-equal:2x2").support_size == 2
    with pytest.raises(ValueError, match="all-equal:2x2"):
        tc.rule("nothing:2x2")
    with pytest.raises(ValueError, match="a rule named 'latin' exists already"):
        tc.register_rule("latin", tc.theory.Family(lambda grid, options: tc.rule("latin:3"), "latin:3"))


@pytest.mark.parametrize("spec", [None, 6, b"latin:3", ["latin:3"], tc.CubeLaw((2, 2))])
def test_a_spec_is_a_text(spec):
    with pytest.raises(ValueError, match=f"'parity:6x6,G=3', got {type(spec).__name__}$"):
        tc.rule(spec)


@pytest.mark.parametrize("hostile", ["parity:6x6,G=" + "9" * 9000, "x" * 9000, "latin:" + "9" * 5000, "x" * 10**6])
def test_hostile_specs_are_refused_in_a_short_line(hostile):
    with pytest.raises(ValueError, match=r"\.\.\.") as caught:
        tc.rule(hostile)
    assert len(str(caught.value)) < 1000


def test_the_largest_grids_are_built():
    rule = tc.rule("parity:1024x1024,G=2")
    assert rule.support_size == 2 ** (2**19)
    assert tc.rule("row-k:200x200,K=7").dim == 40_000


def test_rules_of_ones_own_are_registered_by_name(monkeypatch):
    from twoclocks.theory import rules

    monkeypatch.setattr(rules, "_FAMILIES", dict(rules._FAMILIES))
    with pytest.raises(ValueError, match=r"known rules: .*call tc\.register_rule\(name, rule\), .*tc\.rule_from_cnf"):
        tc.rule("two-grids")
    own = tc.rule_from_grids([[0, 1, 1], [1, 0, 0]])
    tc.register_rule("two-grids", own)
    assert tc.rule("two-grids") is own
    assert tc.rule(own.spec) is own
    assert repr(own) == "rule('two-grids')"
    assert tc.RunConfig(rule="two-grids", model="gpt-nano", n_train=2).rule == "two-grids"
    with pytest.raises(ValueError, match=r"known rules: .*two-grids"):
        tc.rule("nothing")
    with pytest.raises(ValueError, match=r"'two-grids' is one rule, of one grid; leave out ':1x3'"):
        tc.rule("two-grids:1x3")
    for name in ("", "a:b", "a,b", "a b", "a\n", None, "x" * 101):
        with pytest.raises(ValueError, match="a word without blanks"):
            tc.register_rule(name, own)
    with pytest.raises(ValueError, match="takes a Family or a Rule, got function"):
        tc.register_rule("mine", lambda grid, options: own)


def test_families_of_ones_own_are_bounded_too(monkeypatch):
    from twoclocks.theory import rules

    monkeypatch.setattr(rules, "_FAMILIES", dict(rules._FAMILIES))
    asked = []
    tc.register_rule("own", tc.theory.Family(lambda grid, options: asked.append(grid) or tc.rule("latin:3"), "own:2x2"))
    with pytest.raises(ValueError, match=r"at most 1,048,576 cells.*example: own:2x2"):
        tc.rule("own:100000x100000")
    assert not asked
    tc.rule("own:puzzle-17")  # grids written in another way are its own business
    assert asked == ["puzzle-17"]


@pytest.mark.parametrize("spec", ["exact-k:2x3,K=2", "row-k:2x3,K=1", "permutation:2x3", "latin:3", "sudoku:2x2"])
class TestBadTensors:
    def test_symbols(self, spec):
        rule = tc.rule(spec)
        good = rule.sample(2, torch.Generator().manual_seed(0))
        calls = [rule.is_valid, rule.next_token_probs, rule.log_prob]
        for call in calls:
            for bad, fault in [
                (good.float(), "integer tensor, got torch.float32"),
                (good.numpy(), "integer tensor, got ndarray"),
                (good[:, 1:], rf"shape .* for a \({rule.shape[0]}, {rule.shape[1]}\) grid"),
                (good - rule.alphabet, f"must lie in 0..{rule.alphabet - 1}"),
                (good + rule.alphabet, f"must lie in 0..{rule.alphabet - 1}"),
            ]:
                with pytest.raises(ValueError, match=fault) as caught:
                    call(bad)
                assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=r"shape \(B, "):
            rule.next_token_probs(good[0])

    def test_fields(self, spec):
        rule = tc.rule(spec)
        good = torch.zeros(2, rule.dim, rule.alphabet)
        nan, infinite = good.clone(), good.clone()
        nan[0, 0, 0], infinite[1, 0, 0] = math.nan, math.inf
        for call in (rule.log_partition, rule.marginals, rule.pair_marginals):
            for bad, fault in [
                (good.long(), "floating-point tensor, got torch.int64"),
                (good[:, :-1], "fields must have shape"),
                (good[..., :-1], "fields must have shape"),
                (nan, "found NaN or"),
                (infinite, "found NaN or"),
            ]:
                with pytest.raises(ValueError, match=fault) as caught:
                    call(bad)
                assert "\n" not in str(caught.value)
