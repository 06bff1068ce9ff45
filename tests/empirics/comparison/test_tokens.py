"""Next-token laws that are known exactly get the numbers that they must; the rest against sums written out."""

import math
import types

import numpy as np
import pandas as pd
import pytest
import torch

import twoclocks as tc

RULE = tc.rule("parity:2x3,G=3")
TRAIN = torch.tensor([[0, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 1], [1, 0, 1, 0, 1, 1]])
HELD_OUT = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 1, 1], [0, 1, 1, 1, 1, 0]])
EMPIRICAL = tc.EmpiricalLaw(TRAIN, 2, RULE.shape)
LAWS = {"population": RULE, "empirical": EMPIRICAL, "ngram_1": tc.NGramLaw(RULE, 1)}
SPLITS = {"train": TRAIN, "held-out": HELD_OUT}


def model_of(*weighted):
    """Logits of a mixture of laws, fair coins where an optimum is undefined."""

    def model(x):
        probs = sum(weight * law.next_token_probs(x) for weight, law in weighted)
        return torch.where(probs.sum(-1, keepdim=True) > 0.99, probs, 0.5).log()

    return model


def pooled(table):
    return table[table["position"].isna()]


@pytest.mark.parametrize(
    ("model", "position"),
    [
        (model_of((1, RULE)), 0),
        (model_of((1, EMPIRICAL)), 1),
        (model_of((0.5, RULE), (0.5, EMPIRICAL)), 0.5),
    ],
)
def test_exact_laws_have_their_coordinate(model, position):
    table = tc.compare_next_token(model, LAWS, SPLITS)
    assert len(table) == 2 * 7
    defined = table["memorization_coordinate"].notna()
    # the last cell of each group is settled by the rule, so that both optima agree there
    settled = table["position"].isin([2, 5])
    assert not defined[settled].any()
    assert defined[~settled & (table["split"] == "train") & (table["signal"] > 0)].all()
    assert pooled(table)["memorization_coordinate"].notna().all()
    np.testing.assert_allclose(table["memorization_coordinate"][defined], position, atol=1e-12)
    error = table["memorization_coordinate_se"]
    np.testing.assert_allclose(error[defined & error.notna()], 0, atol=1e-12)
    np.testing.assert_allclose(table["off_line_distance"][defined], 0, atol=1e-7)
    own = {0: "kl_population", 1: "kl_empirical"}.get(position)
    if own:
        np.testing.assert_allclose(table[own].dropna(), 0, atol=1e-12)


def test_fair_coins_miss_what_the_rule_settles():
    table = tc.compare_next_token(lambda x: torch.zeros(*x.shape, 2), LAWS, HELD_OUT)
    np.testing.assert_allclose(table["kl_population"], math.log(2) * np.array([1 / 3, 0, 0, 1, 0, 0, 1]), atol=1e-12)
    np.testing.assert_allclose(table["kl_ngram_1"], 0, atol=1e-12)  # G = 3: two symbols do not see the rule
    assert list(table["nearest"])[:4] == ["ngram_1", "population", "population", "ngram_1"]
    assert table["position"].dtype == "Int64"


def test_undefined_prefixes_are_counted_out():
    table = tc.compare_next_token(model_of((1, RULE)), LAWS, HELD_OUT)
    # 101101 leaves the training set after 101; 000011 after 000; 110011 after 1100; the last is a training sample
    known = [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    assert list(table["defined_empirical"]) == [int(np.sum(known)), *np.sum(known, 0)]
    assert list(table["defined_population"]) == [24, 4, 4, 4, 4, 4, 4]
    invalid = tc.compare_next_token(model_of((1, RULE)), LAWS, torch.tensor([[1, 0, 0, 0, 0, 0]]))
    assert list(invalid["defined_population"]) == [3, 1, 1, 1, 0, 0, 0]
    assert invalid["kl_population"].isna().tolist() == [False] * 4 + [True] * 3
    assert invalid["nearest"].iloc[-1] is None


def test_every_column_equals_its_sum_written_out():
    g = torch.Generator().manual_seed(0)
    weights = torch.randn(6, 2, generator=g, dtype=torch.float64)

    def model(x):
        return weights + 0.7 * torch.nn.functional.pad(x[:, :-1], (1, 0)).unsqueeze(-1) * torch.tensor([1.0, -1.0])

    x = torch.cat([TRAIN, HELD_OUT])
    table = tc.compare_next_token(model, LAWS, x, batch_size=3)
    f = model(x).softmax(-1).numpy()
    p, q = (LAWS[name].next_token_probs(x).numpy() for name in ("population", "empirical"))
    seen = q.sum(-1) > 0
    for k, cells in enumerate([slice(None), *range(6)]):
        at = np.zeros_like(seen)
        at[:, cells] = seen[:, cells]
        row = table.iloc[k]
        with np.errstate(divide="ignore", invalid="ignore"):
            kl = np.where(q > 0, q * np.log(q / f), 0).sum(-1)
        assert row["kl_empirical"] == pytest.approx(kl[at].mean(), rel=1e-10)
        per_sample, counts = (kl * at).sum(1), at.sum(1)
        residual = per_sample - row["kl_empirical"] * counts
        n = (counts > 0).sum()
        assert row["kl_empirical_se"] == pytest.approx(
            math.sqrt(n / (n - 1) * (residual**2).sum()) / counts.sum(), rel=1e-9
        )
        direction, displacement = (q - p)[at].reshape(-1), (f - p)[at].reshape(-1)
        assert row["signal"] == pytest.approx((direction**2).mean(), abs=1e-15)
        if row["signal"] > 0:
            c = direction @ displacement / (direction @ direction)
            off = displacement - c * direction
            assert row["memorization_coordinate"] == pytest.approx(c, rel=1e-10)
            assert row["off_line_distance"] == pytest.approx(
                math.sqrt(off @ off / (direction @ direction)), rel=1e-6, abs=1e-7
            )


def test_our_gpt_is_a_model():
    torch.manual_seed(0)
    net = tc.build_model("gpt-nano", RULE)
    table = tc.compare_next_token(net, LAWS, SPLITS)
    with torch.no_grad():
        learned = net(TRAIN).double().log_softmax(-1)
    p = RULE.next_token_probs(TRAIN)
    kl = (torch.special.xlogy(p, p) - torch.where(p > 0, p * learned, 0)).sum(-1)
    assert pooled(table)["kl_population"].iloc[0] == pytest.approx(float(kl.mean()), rel=1e-6)
    np.testing.assert_allclose(table["kl_population"].iloc[1:7], kl.mean(0), rtol=1e-6)


def test_one_law_alone_and_an_impossible_symbol():
    table = tc.compare_next_token(model_of((1, EMPIRICAL)), {"rule": RULE}, TRAIN)
    assert table["memorization_coordinate"].isna().all()
    assert math.isinf(pooled(table)["kl_rule"].iloc[0])  # it rules out symbols that the rule allows


class Transformer(torch.nn.Module):
    """One layer of attention over the symbols with a begin token before them, causal or not."""

    def __init__(self, causal=True, shifted=True, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.causal, self.shifted = causal, shifted
        self.symbols, self.places = torch.nn.Embedding(3, 8), torch.nn.Embedding(7, 8)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.dropout, self.head = torch.nn.Dropout(dropout), torch.nn.Linear(8, 2)

    def forward(self, x):
        if self.shifted:
            x = torch.cat([torch.full_like(x[:, :1], 2), x[:, :-1]], 1)
        h = self.symbols(x) + self.places(torch.arange(x.shape[1]))
        mask = torch.ones(x.shape[1], x.shape[1]).triu(1).bool() if self.causal else None
        h = h + self.attention(h, h, h, attn_mask=mask, need_weights=False)[0]
        return self.head(self.dropout(h))


def test_a_causal_model_is_accepted():
    net = Transformer(dropout=0.5).train()
    first, second = (tc.compare_next_token(net, LAWS, SPLITS) for _ in range(2))
    assert first.equals(second)  # dropout is off
    assert net.training


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            Transformer(shifted=False),
            r"change with x\[:, t\], here at t = 0 .* unshifted.* Shift them by one.*x\[:, :-1\]",
        ),
        (Transformer(causal=False), r"change with later cells, here with cell 1 .* not a causal language model"),
        (Transformer(causal=False, shifted=False), r"change with later cells, here with cell 1 "),
        (lambda x: torch.nn.functional.one_hot(x, 2).float(), "Shift them by one"),
        (lambda x: torch.nn.functional.one_hot(x.roll(-1, 1), 2).float(), "later cells"),
        (lambda x: x.sum(1)[:, None, None] * torch.ones(*x.shape, 2), "later cells"),
        (lambda x: 1e-3 * torch.nn.functional.one_hot(x, 2).double() + torch.ones(2), "Shift them by one"),
        (lambda x: torch.randn(*x.shape, 2), "other logits at each call"),
    ],
)
def test_models_that_see_their_target_are_refused(model, message):
    with pytest.raises(ValueError, match=message) as caught:
        tc.compare_next_token(model, LAWS, SPLITS)
    assert "\n" not in str(caught.value)


def test_a_diverged_model_is_no_leak():
    table = tc.compare_next_token(lambda x: torch.full((*x.shape, 2), math.nan), LAWS, TRAIN)
    assert table["nearest"].isna().all()
    hopeless = tc.compare_next_token(lambda x: torch.full((*x.shape, 2), -math.inf), LAWS, TRAIN)
    assert hopeless["kl_population"].isna().all()


def test_a_model_that_sees_the_last_target_alone_is_refused_too():
    """A leak at any one cell counts."""

    def leaks(x):
        logits = torch.zeros(*x.shape, 2)
        logits[:, -1, 1] = x[:, -1].float()
        return logits

    with pytest.raises(ValueError, match="here at t = 5 "):
        tc.compare_next_token(leaks, LAWS, SPLITS)


def test_the_shift_that_is_asked_for_makes_a_model_right():
    unshifted = Transformer(shifted=False)

    def shifted(x):
        return unshifted(torch.cat([torch.full_like(x[:, :1], 2), x[:, :-1]], 1))

    assert tc.compare_next_token(shifted, LAWS, SPLITS).equals(tc.compare_next_token(Transformer(), LAWS, SPLITS))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: (logits, None),
        lambda logits: (logits.mean(), logits),
        lambda logits: {"logits": logits},
        lambda logits: types.SimpleNamespace(loss=logits.mean(), logits=logits),
    ],
)
def test_answers_that_hold_the_logits(wrap):
    net = Transformer()
    assert tc.compare_next_token(lambda x: wrap(net(x)), LAWS, TRAIN).equals(tc.compare_next_token(net, LAWS, TRAIN))


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (lambda x: torch.zeros(len(x), 7, 2), r"leave out the last position, logits\[:, :-1\]"),
        (lambda x: torch.zeros(len(x), 5, 2), "the first cell needs logits too: give the model a begin token"),
        (lambda x: torch.zeros(len(x), 1, 2), "the last position alone"),
        (lambda x: torch.zeros(len(x), 2, 6), r"swap the last two dimensions"),
        (lambda x: torch.zeros(len(x), 6, 3), r"keep the logits of the symbols alone"),
    ],
)
def test_logits_of_another_shape_get_a_hint(model, hint):
    with pytest.raises(ValueError, match=rf"real logits of shape .*{hint}"):
        tc.compare_next_token(model, LAWS, TRAIN)


def test_half_precision_models_and_long_grids():
    law = tc.CubeLaw((10, 13))
    x = law.sample(3, torch.Generator().manual_seed(0))
    half = torch.nn.Embedding(2, 2).bfloat16()
    previous = lambda x: half(torch.nn.functional.pad(x[:, :-1], (1, 0)))  # noqa: E731
    assert len(tc.compare_next_token(previous, {"cube": law}, x)) == 131
    with pytest.raises(ValueError, match="Shift them by one"):
        tc.compare_next_token(lambda x: half(x), {"cube": law}, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"references": {}}, "at least one reference"),
        ({"references": {"population": RULE, "cube": tc.CubeLaw((2, 3), 3)}}, "share one alphabet"),
        ({"x": TRAIN + 1}, "symbols must lie in 0..1"),
        ({"x": TRAIN[:, :4]}, "shape"),
        ({"x": TRAIN.double()}, "integer symbols"),
        ({"model": lambda x: torch.zeros(len(x), 6, 3)}, "real logits of shape"),
    ],
)
def test_bad_input_is_refused(options, message):
    given = {"model": model_of((1, RULE)), "references": LAWS, "x": TRAIN} | options
    with pytest.raises(ValueError, match=message):
        tc.compare_next_token(**given)


def test_the_table_is_written_and_read(tmp_path):
    table = tc.compare_next_token(model_of((1, RULE)), LAWS, SPLITS)
    table.to_csv(tmp_path / "table.csv", index=False)
    again = pd.read_csv(tmp_path / "table.csv")
    assert again["position"].isna().sum() == 2
    np.testing.assert_allclose(again["kl_ngram_1"], table["kl_ngram_1"])
