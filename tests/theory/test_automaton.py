"""Every rule against enumeration, and the automaton against closed forms and against impossible demands."""

import math

import numpy as np
import pytest
import torch
from automata import SECOND_OPINIONS, BalancedBrackets, NoAdjacentOnes, ParityAutomaton, WeightedSum, brute_force
from enumeration import SMALL_SPECS, enumerate_rule, random_fields
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

import twoclocks as tc

OWN_RULES = {
    "no-adjacent-ones": lambda: NoAdjacentOnes((3, 4)),
    "balanced-brackets": lambda: BalancedBrackets((2, 4)),
    "weighted-sum": lambda: WeightedSum((2, 3)),
}
CASES = [*SMALL_SPECS, *OWN_RULES]
_cache = {}


def case(name):
    """A rule and its enumeration, built once."""
    if name not in _cache:
        rule = OWN_RULES[name]() if name in OWN_RULES else tc.rule(name)
        _cache[name] = rule, brute_force(rule) if name in OWN_RULES else enumerate_rule(name)
    return _cache[name]


def close(value, reference, rtol=1e-10, atol=1e-13):
    np.testing.assert_allclose(value.numpy(), reference, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", CASES)
class TestAgainstEnumeration:
    def test_support(self, name):
        rule, reference = case(name)
        assert rule.support_size == len(reference.support)
        rng = np.random.default_rng(0)
        x = np.concatenate([reference.support[:500], rng.integers(0, rule.alphabet, (500, rule.dim))])
        valid = np.array([(row == reference.support).all(1).any() for row in x])
        assert rule.is_valid(torch.from_numpy(x)).tolist() == valid.tolist()
        close(rule.log_prob(torch.from_numpy(x)), np.where(valid, -math.log(len(reference.support)), -np.inf))
        assert rule.is_valid(torch.from_numpy(x[0])).shape == ()
        assert rule.is_valid(torch.from_numpy(x[:6].reshape(2, 3, -1)).int()).shape == (2, 3)

    @pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e3])
    @pytest.mark.parametrize("blocked", [0.0, 0.1, 0.4])
    def test_fields(self, name, scale, blocked):
        rule, reference = case(name)
        h = random_fields((6, rule.dim, rule.alphabet), scale, blocked, seed=1)
        close(rule.log_partition(h), reference.log_partition(h.numpy()))
        close(rule.marginals(h), reference.marginals(h.numpy()))

    def test_pairs(self, name):
        rule, reference = case(name)
        h = random_fields((2, rule.dim, rule.alphabet), 3.0, 0.05, seed=2)
        close(rule.pair_marginals(h), reference.pair_marginals(h.numpy()))

    def test_next_token(self, name):
        rule, reference = case(name)
        rng = np.random.default_rng(3)
        x = np.concatenate(
            [rng.choice(reference.support, 40), rng.integers(0, rule.alphabet, (40, rule.dim)), reference.support[:1]]
        )
        x[:20, -1] = 0
        expected = reference.next_token_probs(x)
        close(rule.next_token_probs(torch.from_numpy(x)), expected)
        close(super(tc.Rule, rule).next_token_probs(torch.from_numpy(x[::9])), expected[::9])

    @pytest.mark.parametrize("kind", ["scalar", "onehot"])
    def test_denoiser(self, name, kind):
        rule, reference = case(name)
        if rule.alphabet == 2 and kind == "scalar":
            kind = "pm1"  # the same codes
        encoding = tc.Encoding(rule.shape, rule.alphabet, kind)
        denoiser, codes = tc.OptimalDenoiser(rule, encoding), encoding.codes.numpy()
        generator = torch.Generator().manual_seed(4)
        x = torch.randint(rule.alphabet, (3, rule.dim), generator=generator)
        for sigma in (0.05, 0.6, 20.0):
            y = encoding.encode(x, torch.float64)
            y = y + sigma * torch.randn(y.shape, generator=generator, dtype=y.dtype)
            close(denoiser(y, sigma), reference.denoiser(y.numpy(), sigma, codes), atol=1e-12)
            close(denoiser.log_density(y, sigma), reference.log_density(y.numpy(), sigma, codes))
        close(denoiser.posterior_covariance(y[:1], 0.6), reference.covariance(y[:1].numpy(), 0.6, codes), atol=1e-12)

    def test_samples(self, name):
        rule, reference = case(name)
        n = 30 * len(reference.support)
        x = rule.sample(n, torch.Generator().manual_seed(5)).numpy()
        assert x.dtype == np.int64
        place = rule.alphabet ** np.arange(rule.dim)
        keys = np.sort(reference.support @ place)
        index = np.searchsorted(keys, x @ place).clip(max=len(keys) - 1)
        assert (keys[index] == x @ place).all()
        if len(keys) > 1:
            assert stats.chisquare(np.bincount(index, minlength=len(keys))).pvalue > 1e-3
        same = rule.sample(n, torch.Generator().manual_seed(5))
        assert (same.numpy() == x).all()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data(), name=st.sampled_from(CASES))
def test_drawn_fields_agree_with_enumeration(data, name):
    rule, reference = case(name)
    entries = st.one_of(st.floats(-1e3, 1e3), st.sampled_from([-math.inf, 0.0, 1e3, -1e3]), st.floats(-1, 1))
    h = data.draw(hnp.arrays(np.float64, (1, rule.dim, rule.alphabet), elements=entries))
    close(rule.log_partition(torch.from_numpy(h)), reference.log_partition(h))
    close(rule.marginals(torch.from_numpy(h)), reference.marginals(h))


@pytest.mark.parametrize("name", CASES)
def test_single_precision_follows_double(name):
    rule, _ = case(name)
    for scale in (1.0, 30.0, 1e3):
        h = random_fields((40, rule.dim, rule.alphabet), scale, 0.1, seed=6).float()
        log_z, m = rule.log_partition(h.double()), rule.marginals(h.double())
        torch.testing.assert_close(rule.marginals(h).double(), m, rtol=0, atol=3e-4 if scale > 100 else 3e-5)
        rounding = 1e-6 * rule.dim * (1 + scale)  # of a sum of D numbers of this scale
        torch.testing.assert_close(rule.log_partition(h).double(), log_z, rtol=1e-6, atol=rounding)


@pytest.mark.parametrize("name", CASES)
def test_shapes_dtypes_and_gradients(name):
    rule, _ = case(name)
    h = random_fields((2, 3, rule.dim, rule.alphabet), 1.0, 0.0, seed=7)
    assert rule.log_partition(h).shape == (2, 3)
    assert rule.marginals(h[:0]).shape == (0, 3, rule.dim, rule.alphabet)
    assert rule.marginals(h.half()).dtype == torch.float16
    torch.testing.assert_close(rule.marginals(h)[1, 2], rule.marginals(h[1, 2]), rtol=1e-13, atol=1e-15)
    leaf = h[0, 0].clone().requires_grad_()
    rule.log_partition(leaf).backward()
    torch.testing.assert_close(leaf.grad, rule.marginals(h[0, 0]))
    assert rule.sample(0).shape == (0, rule.dim)
    assert rule.next_token_probs(torch.empty(0, rule.dim, dtype=torch.int64)).shape == (0, rule.dim, rule.alphabet)


@pytest.mark.parametrize("spec", SECOND_OPINIONS)
def test_closed_form_and_automaton_agree_at_full_size(spec):
    rule, automaton = tc.rule(spec), SECOND_OPINIONS[spec]()
    assert automaton.support_size == rule.support_size
    for scale, blocked in [(0.0, 0.0), (1.0, 0.05), (30.0, 0.0), (1e3, 0.02)]:
        h = random_fields((8, rule.dim, rule.alphabet), scale, blocked, seed=8)
        close(rule.log_partition(h), automaton.log_partition(h).numpy())
        close(rule.marginals(h), automaton.marginals(h).numpy())
    x = rule.sample(50, torch.Generator().manual_seed(9))
    x[25:, 20] = x[25:, 19]
    close(rule.next_token_probs(x), automaton.next_token_probs(x).numpy())
    assert torch.equal(rule.is_valid(x), automaton.is_valid(x))
    y = automaton.sample(200, torch.Generator().manual_seed(10))
    assert rule.is_valid(y).all()


SPECS = (
    "parity:6x6,G=3",
    "parity:6x6,G=36",
    "exact-k:6x6,K=12",
    "row-k:6x6,K=3",
    "row-variable-k:6x6,K=1+3+5",
    "global-k:6x6,K=12+18",
    "permutation:6",
    "latin:5",
    "sudoku:2x2",
    *(pytest.param(spec, marks=pytest.mark.slow) for spec in ("sudoku:2x3", "latin:6")),
)


@pytest.mark.parametrize("spec", SPECS)
def test_no_nan_in_single_precision(spec):
    """y at a valid grid, at grids that contradict the rule, and far from every grid, for sigma from 1e-4 to 1e4."""
    rule = tc.rule(spec)
    generator = torch.Generator().manual_seed(11)
    denoiser = tc.OptimalDenoiser(rule)
    symbols = [rule.sample(1, generator), torch.randint(rule.alphabet, (1, rule.dim), generator=generator)]
    starts = denoiser.encoding.encode(torch.cat([*symbols, torch.zeros_like(symbols[0])]))
    starts = torch.cat([starts, 100 * torch.randn(1, *starts.shape[1:], generator=generator)])
    levels = torch.tensor([1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 1e4])
    sigma = levels.repeat(4)
    y = starts.repeat_interleave(len(levels), 0)
    y = y + sigma[:, None, None, None] * torch.randn(y.shape, generator=generator)
    mean = denoiser(y, sigma)
    assert mean.isfinite().all()
    assert mean.min() >= float(denoiser.encoding.codes.min()) - 1e-5
    assert mean.max() <= float(denoiser.encoding.codes.max()) + 1e-5
    assert denoiser.log_density(y, sigma).isfinite().all()
    torch.testing.assert_close(mean[:3], starts[:1].expand(3, -1, -1, -1))
    assert rule.marginals(torch.full((1, rule.dim, rule.alphabet), -math.inf)).sum() == 0


class TestOwnRules:
    def test_worked_example(self):
        rule = NoAdjacentOnes((6, 6))
        assert rule.support_size == 39088169
        assert rule.is_valid(rule.sample(1000, torch.Generator().manual_seed(0))).all()
        assert tc.chance_memorization(rule, 1000) == 1000 / 39088169
        assert rule.constraints(rule.sample(3))["rule"].shape == (3, 1)

    @pytest.mark.parametrize("side", [10, 40])
    def test_counts_beyond_int64_and_float64_are_exact(self, side):
        fibonacci = [1, 2]
        while len(fibonacci) <= side**2:
            fibonacci.append(fibonacci[-1] + fibonacci[-2])
        rule = NoAdjacentOnes((side, side))
        assert rule.support_size == fibonacci[side**2]
        x = rule.sample(20, torch.Generator().manual_seed(0))
        assert rule.is_valid(x).all()
        golden = (1 + math.sqrt(5)) / 2
        probs = rule.next_token_probs(torch.zeros(1, side**2, dtype=torch.int64))
        assert float(probs[0, 0, 0]) == pytest.approx(1 / golden, rel=1e-12)
        assert float(rule.log_partition(torch.zeros(side**2, 2, dtype=torch.float64))) == pytest.approx(0, abs=1e-9)

    def test_brackets_match_motzkin_numbers(self):
        motzkin = [1, 1, 2, 4, 9, 21, 51, 127, 323, 835, 2188]
        assert [BalancedBrackets((1, n)).support_size for n in range(1, 11)] == motzkin[1:]

    def test_a_rule_that_nothing_satisfies(self):
        class Impossible(NoAdjacentOnes):
            def accept(self, states):
                return states > 5

        with pytest.raises(ValueError, match=r"no \(2, 3\) grid satisfies no-adjacent-ones:2x3") as caught:
            _ = Impossible((2, 3)).support_size
        assert "\n" not in str(caught.value)

        class DeadEnd(NoAdjacentOnes):
            def step(self, states, position, symbol):
                return position < 2, states

        with pytest.raises(ValueError, match="grid satisfies"):
            DeadEnd((2, 3)).sample(1)

    def test_step_may_return_single_values(self):
        class Anything(tc.LayeredAutomaton):
            def step(self, states, position, symbol):
                return True, 0

        assert Anything((2, 2), 3).support_size == 81
        assert Anything((2, 2), 3).spec == "Anything"

    def test_step_of_wrong_type_is_refused(self):
        class Floats(tc.LayeredAutomaton):
            def step(self, states, position, symbol):
                return states >= 0, states / 2

        with pytest.raises(ValueError, match=r"Floats.step must return \(bool, integer\) arrays, got bool, float64"):
            _ = Floats((2, 2), 2).support_size

    @pytest.mark.parametrize("as_integers", [lambda x: x.astype(int), lambda x: x.astype(float)])
    def test_accept_of_wrong_type_is_refused(self, as_integers):
        class Numbers(NoAdjacentOnes):
            def accept(self, states):
                return as_integers(states == 0)

        with pytest.raises(ValueError, match=r"Numbers.accept must return a bool array, got (int|float)64"):
            _ = Numbers((2, 2)).support_size
        with pytest.raises(ValueError, match=r"Numbers.accept must return a bool array"):
            Numbers((2, 2)).is_valid(torch.zeros(1, 4, dtype=torch.int64))

    def test_results_of_wrong_shape_are_refused(self):
        class Column(NoAdjacentOnes):
            def step(self, states, position, symbol):
                return np.ones((len(states), 1), dtype=bool), states

        class Lone(NoAdjacentOnes):
            def step(self, states, position, symbol):
                return states == 0

        class Long(NoAdjacentOnes):
            def accept(self, states):
                return np.ones(len(states) + 3, dtype=bool)

        with pytest.raises(ValueError, match=r"Column.step must return arrays of shape \(1,\), or one value for all"):
            _ = Column((2, 2)).support_size
        with pytest.raises(ValueError, match=r"Lone.step must return \(allowed, next_states\)"):
            _ = Lone((2, 2)).support_size
        with pytest.raises(ValueError, match=r"Long.accept must return arrays of shape"):
            _ = Long((2, 2)).support_size

    def test_step_and_accept_are_never_called_on_nothing(self):
        class Strict(NoAdjacentOnes):
            def step(self, states, position, symbol):
                assert states.max() >= 0  # numpy has no maximum of nothing
                return (states == 0) & (position < 2), np.full_like(states, symbol)

            def accept(self, states):
                return states <= states.max()

        with pytest.raises(ValueError, match="grid satisfies"):
            _ = Strict((2, 3)).support_size
        assert not Strict((2, 3)).is_valid(torch.ones(4, 6, dtype=torch.int64)).any()
        assert Strict((1, 2)).is_valid(torch.zeros(0, 2, dtype=torch.int64)).shape == (0,)

    def test_a_batch_beyond_the_memory_budget_is_run_in_parts(self, monkeypatch):
        rule = WeightedSum((2, 3))
        h = random_fields((50, 6, 4), 5.0, 0.1, seed=12)
        expected = rule.log_partition(h), rule.marginals(h)
        monkeypatch.setattr(WeightedSum, "MEMORY", 3 * 8 * rule._trellis.n_states)
        torch.testing.assert_close((rule.log_partition(h), rule.marginals(h)), expected, rtol=1e-13, atol=1e-15)

    def test_parity_states_are_one_bit(self):
        assert ParityAutomaton((6, 6), 36)._trellis.n_states == 1 + 2 * 35 + 1

    def test_ones_that_contradict_the_rule_leave_the_nearest_grids(self):
        """Every cell says one, at any size of field: the grids with 18 ones remain, counted by enumeration."""
        rule = NoAdjacentOnes((3, 3))
        support = brute_force(rule).support
        fullest = support[support.sum(1) == 5]
        for size in (1e2, 1e4, 1e8):
            h = torch.zeros(1, 9, 2)
            h[..., 1] = size
            close(rule.marginals(h)[0, :, 1], fullest.mean(0), rtol=1e-6)


class EachSymbolOnce(tc.LayeredAutomaton):
    """All cells differ: the state is the set of symbols used, and sets are many."""

    def step(self, states, position, symbol):
        return states & (1 << symbol) == 0, states | (1 << symbol)


class TestCost:
    @pytest.mark.parametrize("spec", ["latin:3", "latin:4", "latin:5", "sudoku:2x2", "sudoku:3x2"])
    def test_known_before_the_automaton_is_built(self, spec):
        rule = tc.rule(spec)
        known = rule.cost
        assert "_trellis" not in vars(rule)
        assert known == 5 * rule._trellis.n_edges

    @pytest.mark.slow
    @pytest.mark.parametrize("spec", ["latin:6", "sudoku:2x3"])
    def test_known_of_the_largest(self, spec):
        assert tc.rule(spec).cost == 5 * tc.rule(spec)._trellis.n_edges

    def test_orders_rules_by_their_time(self):
        cheap = [tc.rule(s).cost for s in ("parity:6x6,G=3", "exact-k:6x6,K=12", "permutation:6", "latin:5")]
        assert cheap == sorted(cheap)
        assert cheap[-1] < 1e6 < tc.rule("sudoku:3x2").cost < tc.rule("sudoku:2x3").cost < tc.rule("latin:6").cost
        assert NoAdjacentOnes((3, 3)).cost == 5 * NoAdjacentOnes((3, 3))._trellis.n_edges

    def test_an_exploding_automaton_is_stopped(self):
        rule = EachSymbolOnce((4, 5), 20)
        rule.MAX_BYTES = 2**24
        with pytest.raises(
            ValueError, match=r"EachSymbolOnce has [\d,]+ edges or more and needs over 0.0 GiB"
        ) as caught:
            _ = rule.support_size
        assert "EachSymbolOnce.MAX_BYTES" in str(caught.value)
        assert "\n" not in str(caught.value)
        rule.MAX_BYTES, rule.MAX_STATES = 2**31, 10_000
        with pytest.raises(ValueError, match=r"has [\d,]+ states after 5 of 20 cells.*EachSymbolOnce.MAX_STATES"):
            _ = rule.support_size
        small = EachSymbolOnce((2, 4), 8)
        assert small.support_size == math.factorial(8)

    @pytest.mark.slow
    def test_each_symbol_once_on_6x6_is_stopped_soon(self):
        with pytest.raises(ValueError, match=r"EachSymbolOnce has [\d,]+ edges or more"):
            _ = EachSymbolOnce((6, 6), 36).support_size

    def test_what_the_machine_cannot_hold_is_refused_at_once(self, monkeypatch):
        monkeypatch.setattr("twoclocks.theory.automaton.available_memory", lambda: 2.0**20)
        rule = tc.rule("sudoku:2x3")
        monkeypatch.setattr(type(rule), "step", lambda *_: pytest.fail("it is being built"))
        with pytest.raises(ValueError, match=r"sudoku:2x3 has 2,816,232 edges or more .* Sudoku.MAX_BYTES"):
            rule.marginals(torch.zeros(36, 6))
