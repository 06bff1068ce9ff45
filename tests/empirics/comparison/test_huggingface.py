"""HuggingFace causal language models as next-symbol models: against a loop over prefixes, and the exact optima."""

import importlib

import pandas as pd
import pytest
import torch
from torch import nn

import twoclocks as tc
from twoclocks.empirics.comparison import huggingface

VOCABULARY = 7
SYMBOLS = [5, 2, 6]  # tokens of symbols 0, 1, 2
BEGIN = 3


def transformers(name: str):
    """A class of transformers, imported at its first use: it takes seconds, for the process with these tests to pay."""
    return getattr(importlib.import_module("transformers"), name)


def gpt2(**options) -> nn.Module:
    torch.manual_seed(0)
    options = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2} | options
    options = {"bos_token_id": BEGIN, "eos_token_id": BEGIN, "initializer_range": 0.3} | options
    return transformers("GPT2LMHeadModel")(transformers("GPT2Config")(**options))


def llama() -> nn.Module:
    torch.manual_seed(0)
    config = transformers("LlamaConfig")(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, bos_token_id=BEGIN, eos_token_id=BEGIN, pad_token_id=5, initializer_range=0.3,
    )  # fmt: skip
    return transformers("LlamaForCausalLM")(config)


def grids(n: int = 5, dim: int = 6) -> torch.Tensor:
    return torch.randint(3, (n, dim), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("make", [gpt2, llama])
@torch.no_grad()
def test_equals_a_loop_over_prefixes(make):
    model = make().eval()
    x = grids()
    adapted = tc.huggingface_next_token(model, SYMBOLS)
    logits, outside = adapted(x), adapted.outside_mass(x)
    assert logits.shape == (5, 6, 3)
    for b, row in enumerate(x.tolist()):
        for t in range(6):
            tokens = torch.tensor([[BEGIN, *(SYMBOLS[s] for s in row[:t])]])
            everything = model(tokens, attention_mask=torch.ones_like(tokens)).logits[0, -1]
            torch.testing.assert_close(logits[b, t], everything[SYMBOLS], rtol=1e-4, atol=1e-5)
            mass = 1 - everything.softmax(-1)[SYMBOLS].sum()
            torch.testing.assert_close(outside[b, t], mass, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [gpt2, llama])
@torch.no_grad()
def test_causal(make):
    adapted = tc.huggingface_next_token(make(), SYMBOLS)
    x = grids()
    for t in range(6):
        other = x.clone()
        other[:, t:] = (other[:, t:] + 1) % 3
        changed = (adapted(other) - adapted(x)).abs().amax((0, 2))
        assert bool((changed[: t + 1] < 1e-5).all())
        assert bool((changed[t + 1 :] > 1e-3).all())


@torch.no_grad()
def test_large_vocabularies_run_in_parts(monkeypatch):
    model = gpt2()
    x = grids(9)
    whole = tc.huggingface_next_token(model, SYMBOLS)
    logits, outside = whole(x), whole.outside_mass(x)
    monkeypatch.setattr(huggingface, "CHUNK", 2 * 6 * VOCABULARY)
    sizes = []
    model.register_forward_pre_hook(lambda m, a, k: sizes.append(len(k["input_ids"])), with_kwargs=True)
    torch.testing.assert_close(whole(x), logits)
    torch.testing.assert_close(whole.outside_mass(x), outside)
    assert sizes == [2, 2, 2, 2, 1] * 2


@torch.no_grad()
def test_begin_token_and_training_mode():
    model = gpt2(resid_pdrop=0.5).train()
    other = tc.huggingface_next_token(model, SYMBOLS, bos_token_id=0)
    default = tc.huggingface_next_token(model, SYMBOLS)
    assert torch.equal(default(grids()), default(grids()))  # no dropout
    assert not torch.allclose(default(grids()), other(grids()), atol=1e-3)
    assert all(module.training for module in model.modules())
    assert tc.huggingface_next_token(gpt2().double(), SYMBOLS)(grids()).dtype == torch.float64


def test_refusals():
    model = gpt2()
    with pytest.raises(ValueError, match=r"token 7 lies outside the model's vocabulary, 0\.\.6"):
        tc.huggingface_next_token(model, [0, 7])
    with pytest.raises(ValueError, match="token -1 lies outside"):
        tc.huggingface_next_token(model, SYMBOLS, bos_token_id=-1)
    for tokens in ([1, 1], [1], [0.5, 1.5], [[1, 2]]):
        with pytest.raises(ValueError, match="at least 2 different integers"):
            tc.huggingface_next_token(model, tokens)
    with pytest.raises(ValueError, match="give bos_token_id"):
        tc.huggingface_next_token(gpt2(bos_token_id=None), SYMBOLS)
    adapted = tc.huggingface_next_token(model, SYMBOLS)
    with pytest.raises(ValueError, match="17 cells do not fit the model's context of 16"):
        adapted(grids(2, 17))
    with pytest.raises(ValueError, match=r"symbols must lie in 0\.\.2, got 0\.\.3"):
        adapted(torch.tensor([[0, 3]]))
    with pytest.raises(ValueError, match=r"integer symbols \(B, D\)"):
        adapted(torch.zeros(2, 3))


def test_a_masked_language_model_is_refused():
    torch.manual_seed(0)
    options = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    options |= {"intermediate_size": 32, "max_position_embeddings": 16, "bos_token_id": BEGIN}
    config = transformers("BertConfig")(**options)
    with pytest.raises(ValueError, match="not a causal language model"):
        tc.huggingface_next_token(transformers("BertLMHeadModel")(config), SYMBOLS)
    causal = transformers("BertConfig")(**options, is_decoder=True)
    assert tc.huggingface_next_token(transformers("BertLMHeadModel")(causal), SYMBOLS)(grids()).shape == (5, 6, 3)


@pytest.mark.parametrize("goal", ["population", "empirical"])
def test_trained_end_to_end(goal):
    """A tiny GPT-2 on fresh samples of a rule nears the population optimum; on 12 fixed grids, the empirical one."""
    rule = tc.rule("parity:2x3,G=3")
    generator = torch.Generator().manual_seed(0)
    train = rule.sample(12, generator)
    model = gpt2(vocab_size=3, n_embd=32, bos_token_id=2, eos_token_id=2, initializer_range=0.2)
    adapted = tc.huggingface_next_token(model, [0, 1])
    references = {"population": rule, "empirical": tc.EmpiricalLaw(train, 2, rule.shape)}

    def compare() -> pd.Series:
        return tc.compare_next_token(adapted, references, train).iloc[0]

    before = compare()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        batch = train if goal == "empirical" else rule.sample(64, generator)
        tokens = torch.cat([torch.full((len(batch), 1), 2), batch], 1)
        optimiser.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()  # the library's own shift and loss
        optimiser.step()
    after = compare()
    assert after[f"kl_{goal}"] < 0.1 * before[f"kl_{goal}"]
    assert after.nearest == goal
    assert after.memorization_coordinate == pytest.approx(float(goal == "empirical"), abs=0.15)
