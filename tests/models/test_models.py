"""Shapes, causality, preconditioning and sampling of the networks."""

import math

import pytest
import torch
import torch.nn.functional as F

import twoclocks as tc
from twoclocks.empirics.families import model_names
from twoclocks.models import EDM, GPT, Size, layers
from twoclocks.models.dit import grid_positions
from twoclocks.models.edm import loss_weight
from twoclocks.models.layers import attend, set_precision

RULE = tc.rule("parity:2x4,G=4")


def seeded(name, rule=RULE, encoding=None):
    torch.manual_seed(0)
    return tc.build_model(name, rule, encoding)


@pytest.mark.parametrize("name", model_names())
def test_every_model_runs_on_the_6x6_grid(name):
    model = seeded(name, tc.rule("parity:6x6,G=3"))
    if not name.startswith("dit"):
        assert model(torch.zeros(2, 36, dtype=torch.long)).shape == (2, 36, 2)
    else:
        y = torch.randn(2, 1, 6, 6)
        assert model(y, 0.5).shape == y.shape
        assert model(y, torch.tensor([0.1, 3.0])).shape == y.shape


def test_sizes_are_those_of_the_paper_assumptions():
    assert tc.models.SIZES == {"nano": (3, 3, 48), "micro": (4, 4, 128), "mini": (6, 6, 192), "small": (12, 6, 384)}


def test_gpt_sees_only_the_past():
    model = seeded("gpt-nano")
    x = torch.randint(2, (4, 8), generator=torch.Generator().manual_seed(0))
    logits = model(x)
    for t in range(8):
        changed = x.clone()
        changed[:, t:] = 1 - changed[:, t:]
        torch.testing.assert_close(model(changed)[:, : t + 1], logits[:, : t + 1])
        if t < 7:
            assert not torch.allclose(model(changed)[:, t + 1], logits[:, t + 1])


def test_cached_generation_equals_the_plain_loop():
    model = seeded("gpt-nano")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)  # sharper, so that a wrong cache shows
    fast = model.generate(200, torch.Generator().manual_seed(1))
    uniform = torch.rand(8, 200, 1, generator=torch.Generator().manual_seed(1))
    slow = torch.zeros(200, 8, dtype=torch.long)
    with torch.no_grad():
        for t in range(8):
            slow[:, t] = (uniform[t] > model(slow)[:, t].softmax(-1).cumsum(-1)[:, :-1]).sum(-1)
    assert torch.equal(fast, slow)
    assert fast.double().mean() not in (0.0, 1.0)


def test_gpt_generates_its_own_law():
    rule = tc.rule("permutation:1x3")
    model = seeded("gpt-nano", rule)
    n = 20000
    x = model.generate(n, torch.Generator().manual_seed(0))
    everything = torch.cartesian_prod(*[torch.arange(3)] * 3)
    with torch.no_grad():
        log_p = model(everything).log_softmax(-1).gather(-1, everything[..., None]).sum((1, 2))
    assert log_p.exp().sum() == pytest.approx(1, abs=1e-5)
    counts = (x[:, None] == everything).all(-1).sum(0)
    expected = n * log_p.exp()
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi2 - 26) < 4 * math.sqrt(52)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradient_equal_torch(causal):
    g = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, 5, 3 * 4 * 8, generator=g, requires_grad=True)
    weight = torch.randn(2, 5, 4 * 8, generator=g)
    mask = torch.full((5, 5), -torch.inf).triu(1) if causal else None
    q, k, v = qkv.view(2, 5, 3, 4, 8).permute(2, 0, 3, 1, 4)
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)
    (expected,) = torch.autograd.grad((theirs * weight).sum(), qkv)
    ours = attend(qkv, 4, mask)
    (gradient,) = torch.autograd.grad((ours * weight).sum(), qkv)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, expected)
    half = qkv.detach().bfloat16().requires_grad_()
    (rounded,) = torch.autograd.grad((attend(half, 4, mask) * weight.bfloat16()).sum(), half)
    torch.testing.assert_close(rounded.float(), expected, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("tokens", [24, 36])
def test_short_rows_differ_from_bf16s_own_gradient_in_rounding_alone(monkeypatch, tokens):
    g = torch.Generator().manual_seed(0)
    qkv = torch.randn(32, tokens, 3 * 48, generator=g).bfloat16().requires_grad_()
    weight = torch.randn(32, tokens, 48, generator=g).bfloat16()
    (ours,) = torch.autograd.grad((attend(qkv, 3) * weight).sum(), qkv)
    monkeypatch.setattr(layers, "_BF16_ROW", 0)
    (plain,) = torch.autograd.grad((attend(qkv, 3) * weight).sum(), qkv)
    assert (ours != plain).float().mean() < (1e-3 if tokens < 32 else 1e-12)
    torch.testing.assert_close(ours, plain, rtol=2**-7, atol=2**-12)


def test_dit_starts_as_the_best_linear_denoiser_of_unit_data():
    model = seeded("dit-nano")
    y = torch.randn(3, 1, 2, 4)
    for sigma in (0.01, 0.5, 20.0):
        torch.testing.assert_close(model(y, sigma), y / (1 + sigma**2))


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_preconditioning_is_table_1_of_karras(sigma_data):
    edm = EDM(torch.nn.Identity(), sigma_data)
    sigma = torch.logspace(-3, 2, 20, dtype=torch.float64)
    c_skip, c_out, c_in, c_noise = edm.coefficients(sigma)
    torch.testing.assert_close(c_skip, sigma_data**2 / (sigma**2 + sigma_data**2))
    torch.testing.assert_close(c_out, sigma * sigma_data / (sigma_data**2 + sigma**2) ** 0.5)
    torch.testing.assert_close(c_in, 1 / (sigma**2 + sigma_data**2) ** 0.5)
    torch.testing.assert_close(c_noise, 0.25 * sigma.log())
    weight = loss_weight(sigma, sigma_data)
    torch.testing.assert_close(weight, (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2)
    torch.testing.assert_close(weight * c_out**2, torch.ones_like(sigma))


def test_positions_tell_all_cells_apart_at_unit_scale():
    positions = grid_positions((6, 6), 48)
    assert positions.shape == (36, 48)
    assert positions.square().mean() == pytest.approx(0.5, abs=1e-6)
    assert torch.pdist(positions).min() > 0.5


def test_bf16_changes_results_only_by_rounding():
    model = seeded("dit-nano")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    y = torch.randn(5, 1, 2, 4)
    exact = model(y, 1.0)
    set_precision(model, "bf16")
    rounded = model(y, 1.0)
    assert rounded.dtype == torch.float32
    difference = (rounded - exact).abs().max()
    assert 0 < difference < 0.05 * exact.abs().max()
    with pytest.raises(ValueError, match="fp32"):
        set_precision(model, "fp8")


def test_unknown_models_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"dit-nano.*gpt-small"):
        tc.build_model("dit-huge", RULE)
    with pytest.raises(ValueError, match="no encoding"):
        tc.build_model("gpt-nano", RULE, tc.Encoding((2, 4), 2))
    with pytest.raises(ValueError, match="divisible by 4"):
        grid_positions((2, 2), 50)
    assert isinstance(GPT(4, 2, Size(1, 1, 4)), torch.nn.Module)


def test_channels_and_data_scale_follow_the_encoding():
    latin = tc.rule("latin:3")
    onehot = seeded("dit-nano", latin)
    assert onehot.sigma_data == pytest.approx(tc.Encoding((3, 3), 3, "onehot").sigma_data)
    assert onehot(torch.randn(2, 3, 3, 3), 1.0).shape == (2, 3, 3, 3)
    scalar = seeded("dit-nano", latin, tc.Encoding((3, 3), 3, "scalar"))
    assert scalar(torch.randn(2, 1, 3, 3), 1.0).shape == (2, 1, 3, 3)
