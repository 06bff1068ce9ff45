"""HuggingFace masked language models on grids: against calls of one grid at a time, and in `compare_masked`."""

import importlib

import pytest
import torch
from torch import nn

import twoclocks as tc
from twoclocks.empirics import huggingface_masked
from twoclocks.empirics.comparison import huggingface as module_of_adapter

VOCABULARY = 11
SYMBOLS, MASK, CLS, SEP = [5, 2, 6], 4, 9, 10


def transformers(name: str):
    """A class of transformers, imported at its first use: it takes seconds, for the process with these tests to pay."""
    return getattr(importlib.import_module("transformers"), name)


def bert(name: str = "Bert", **options) -> nn.Module:
    torch.manual_seed(0)
    options = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2} | options
    options = {"intermediate_size": 32, "max_position_embeddings": 16, "initializer_range": 0.3} | options
    return transformers(f"{name}ForMaskedLM")(transformers(f"{name}Config")(**options))


def masked_grids(n: int = 5, dim: int = 6) -> torch.Tensor:
    return torch.randint(4, (n, dim), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", ["Bert", "Roberta"])
@pytest.mark.parametrize("ends", [((), ()), ((CLS,), (SEP,))], ids=["bare", "between ends"])
@torch.no_grad()
def test_equals_one_grid_at_a_time(name, ends):
    model = bert(name).train()
    adapted = huggingface_masked(model, SYMBOLS, MASK, *ends)
    x = masked_grids()
    logits, outside = adapted(x), adapted.outside_mass(x)
    assert logits.shape == (5, 6, 3)
    assert all(module.training for module in model.modules())
    model.eval()
    tokens = [*SYMBOLS, MASK]
    for b, row in enumerate(x.tolist()):
        line = torch.tensor([[*ends[0], *(tokens[s] for s in row), *ends[1]]])
        everything = model(line, attention_mask=torch.ones_like(line)).logits[0]
        cells = everything[len(ends[0]) : len(ends[0]) + 6]
        torch.testing.assert_close(logits[b], cells[:, SYMBOLS], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outside[b], 1 - cells.softmax(-1)[:, SYMBOLS].sum(-1), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_large_vocabularies_run_in_parts(monkeypatch):
    adapted, x = huggingface_masked(bert(), SYMBOLS, MASK), masked_grids(9)
    whole = adapted(x)
    monkeypatch.setattr(module_of_adapter, "CHUNK", 2 * 6 * VOCABULARY)
    sizes = []
    adapted.model.register_forward_pre_hook(lambda m, a, k: sizes.append(len(k["input_ids"])), with_kwargs=True)
    torch.testing.assert_close(adapted(x), whole)
    assert sizes == [2, 2, 2, 2, 1]


@pytest.mark.slow
def test_a_bert_and_a_plain_module_beside_the_exact_laws():
    """A BERT trained on a rule comes nearer to it than at first; a module with tokens of its own is called directly."""
    rule = tc.rule("exact-k:2x2,K=1")
    laws = {"population": rule, "cube": tc.CubeLaw((2, 2), 2)}
    model = bert(initializer_range=0.1)
    adapted = huggingface_masked(model, [5, 2], MASK, (CLS,), (SEP,))
    x = rule.sample(64, torch.Generator().manual_seed(0))
    before = tc.compare_masked(adapted, laws, x, [0.5])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(300):
        given = x.masked_fill(torch.rand(x.shape, generator=torch.Generator().manual_seed(step)) < 0.5, 2)
        surprise = nn.functional.cross_entropy(adapted(given).flatten(0, 1), x.flatten(), reduction="none")
        (surprise * (given == 2).flatten()).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = tc.compare_masked(adapted, laws, x, [0.5])
    assert after["kl_population"].item() < 0.2 * before["kl_population"].item()
    assert after["nearest"].item() == "population"

    class Plain(nn.Module):
        """Another alphabet's order, and the mask as token 0: a module that anyone may bring."""

        def forward(self, tokens):
            return rule.unmask_probs(torch.tensor([2, 1, 0])[tokens]).log()[..., [1, 0]]

    plain = Plain()
    table = tc.compare_masked(lambda x: plain(torch.tensor([2, 1, 0])[x])[..., [1, 0]], laws, x, [0.5])
    assert table["kl_population"].item() < 1e-12


def test_refusals():
    model = bert()
    with pytest.raises(ValueError, match=r"token 11 lies outside the model's vocabulary, 0\.\.10"):
        huggingface_masked(model, SYMBOLS, 11)
    with pytest.raises(ValueError, match="token -1 lies outside"):
        huggingface_masked(model, SYMBOLS, MASK, before=[-1])
    with pytest.raises(ValueError, match="the mask's token 5 is that of a symbol too"):
        huggingface_masked(model, SYMBOLS, 5)
    with pytest.raises(ValueError, match="at least 2 different integers"):
        huggingface_masked(model, [1, 1], MASK)
    adapted = huggingface_masked(model, SYMBOLS, MASK, (CLS,), (SEP,))
    with pytest.raises(ValueError, match="15 cells, 17 tokens in all, do not fit the model's context of 16"):
        adapted(masked_grids(2, 15))
    with pytest.raises(ValueError, match=r"symbols must lie in 0\.\.3, the last for a masked cell, got 0\.\.4"):
        adapted(torch.tensor([[0, 4]]))
    with pytest.raises(ValueError, match=r"integer symbols \(B, D\)"):
        adapted(torch.zeros(2, 3))


def test_a_causal_language_model_is_refused():
    options = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    causal = transformers("GPT2LMHeadModel")(transformers("GPT2Config")(**options))
    with pytest.raises(ValueError, match="it is a causal language model, see huggingface_next_token"):
        huggingface_masked(causal, SYMBOLS, MASK)
