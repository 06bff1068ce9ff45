"""Networks as people bring them, compiled, wrapped, in half precision, with any answer: read as the bare one."""

import dataclasses
import functools
import importlib
import types

import pytest
import torch
from torch import nn

import twoclocks as tc
from twoclocks.empirics.comparison.networks import evaluation_mode, objects_within, tensor_in, weight_of

RULE = tc.rule("parity:2x3,G=3")
EDM = tc.Schedule.edm()


class Net(nn.Module):
    """Times matter, and so does dropout, if it is on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, z, t):
        return self.dropout(self.layer(z)) / (1 + t.reshape(-1, 1, 1, 1).to(z))


class Forwarding(nn.Module):
    """A wrapper whose unknown attributes are those of the network inside."""

    def __init__(self, net):
        super().__init__()
        self.inside = net

    def forward(self, *given, **named):
        return self.inside(*given, **named)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inside"), name)


class Plain:
    """A wrapper that is no module, and forwards nothing but the call."""

    def __init__(self, net):
        self._net = net

    def __call__(self, *given, **named):
        return self._net(*given, **named)


class Slotted:
    __slots__ = ("net",)

    def __init__(self, net):
        self.net = net

    def __call__(self, z, t):
        return self.net(z, t)


WRAPPERS = {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "parallel": nn.DataParallel,
    "parallel of compiled": lambda net: nn.DataParallel(torch.compile(net, backend="eager")),
    "forwarding": Forwarding,
    "plain": Plain,
    "slots": Slotted,
    "function": lambda net: lambda z, t: net(z, t),
    "partial": lambda net: functools.partial(net),
    "method": lambda net: net.forward,
    "wrapped twice": lambda net: Plain(Forwarding(net)),
}
ANSWERS = {
    "tuple": lambda out: (out,),
    "list": lambda out: [out, None],
    "dict": lambda out: {"prediction": out},
    "sample": lambda out: types.SimpleNamespace(sample=out),
    "dict with sample": lambda out: {"loss": out.mean(), "sample": out},
    "dataclass": lambda out: dataclasses.make_dataclass("Output", ["loss", "image"])(out.mean(), out),
    "loss first": lambda out: (out.mean(), out),
}


def images(n=4):
    return torch.randn(n, 1, 2, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_networks_are_the_network(wrapper):
    net = Net()
    wrapped = WRAPPERS[wrapper](net)
    expected = tc.as_denoiser(net, "data", EDM)(images(), 0.5)
    assert torch.equal(tc.as_denoiser(net, "data", EDM)(images(), 0.5), expected)  # no dropout
    torch.testing.assert_close(tc.as_denoiser(wrapped, "data", EDM)(images(), 0.5), expected)
    assert all(module.training for module in net.modules())
    if wrapper != "method":
        assert weight_of(wrapped) is net.layer.weight
    references = {"population": tc.OptimalDenoiser(RULE)}
    bare = tc.compare_denoisers(net, references, RULE.sample(8), [0.7])
    again = tc.compare_denoisers(wrapped, references, RULE.sample(8), [0.7])
    assert set(bare) == set(again)


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_of_any_kind(answer):
    net = Net().eval()
    wrapped = lambda z, t: ANSWERS[answer](net(z, t))  # noqa: E731
    expected = tc.as_denoiser(net, "data", EDM)(images(), 0.5)
    assert torch.equal(tc.as_denoiser(wrapped, "data", EDM)(images(), 0.5), expected)
    references = {"population": tc.OptimalDenoiser(RULE)}
    x = RULE.sample(8, torch.Generator().manual_seed(0))
    bare, again = (tc.compare_denoisers(n, references, x, [0.7]) for n in (net, wrapped))
    assert bare.equals(again)


@pytest.mark.parametrize("bad", [None, "text", (), {}, (1.0, "x"), torch.zeros(4, 1, 2)])
def test_answers_without_images_are_refused(bad):
    with pytest.raises(ValueError, match=r"must return a tensor like its input, \(4, 1, 2, 3\)") as caught:
        tc.as_denoiser(lambda z, t: bad, "data", EDM)(images(), 0.5)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="must return images like it was given"):
        tc.compare_denoisers(lambda z, t: bad, {"p": tc.OptimalDenoiser(RULE)}, RULE.sample(4), [0.5])


def test_a_method_called_sample_is_no_answer():
    normal = torch.distributions.Normal(torch.zeros(2), 1.0)
    assert tensor_in(normal, (2,)) is not normal.sample
    assert isinstance(tensor_in(normal, (2,)), torch.Tensor)  # its mean


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_networks_of_another_precision(dtype):
    class Convolution(nn.Module):
        """Lets the time, in float32, widen its images before a layer that takes its own precision only."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Conv2d(1, 1, 1)

        def forward(self, y, sigma):
            return self.layer(y / (1 + sigma.reshape(-1, 1, 1, 1)))

    single, other = Convolution(), Convolution().to(dtype)
    references = {"population": tc.OptimalDenoiser(RULE)}
    x = RULE.sample(16, torch.Generator().manual_seed(0))
    bare, low = (tc.compare_denoisers(net, references, x, [0.7]) for net in (single, other))
    assert float(low["score_mse_population"].iloc[0]) == pytest.approx(
        float(bare["score_mse_population"].iloc[0]), 0.03
    )
    y = images()
    expected = tc.as_denoiser(single, "data", EDM)(y, 0.5)
    torch.testing.assert_close(tc.as_denoiser(other, "data", EDM)(y, 0.5), expected, rtol=0.03, atol=0.03)
    torch.testing.assert_close(
        tc.as_denoiser(lambda z, t: other(z, t), "data", EDM)(y, 0.5), expected, rtol=0.03, atol=0.03
    )


def test_images_in_half_precision_are_told_the_time_in_float32():
    told = []
    table = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    schedule = tc.Schedule.from_alphas_cumprod(table)
    denoiser = tc.as_denoiser(lambda z, t: told.append(t) or z, "data", schedule)
    out = denoiser(images().bfloat16(), schedule.sigma(torch.tensor([997.0], dtype=torch.float64)))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(told[0], torch.full((4,), 997.0))


def test_channels_last():
    net = Net().eval().to(memory_format=torch.channels_last)
    conv = nn.Conv2d(3, 3, 1).to(memory_format=torch.channels_last)
    rule = tc.rule("permutation:2x3")
    references = {"population": tc.OptimalDenoiser(rule)}
    last = lambda y, s: conv(y.to(memory_format=torch.channels_last))  # noqa: E731
    wide = lambda y, s: conv(y)  # noqa: E731
    x = rule.sample(8, torch.Generator().manual_seed(0))
    assert tc.compare_denoisers(last, references, x, [0.5]).equals(tc.compare_denoisers(wide, references, x, [0.5]))
    y = images()
    torch.testing.assert_close(
        tc.as_denoiser(net, "data", EDM)(y.to(memory_format=torch.channels_last), 0.5), net(y, torch.full((4,), 0.5))
    )
    assert tc.OptimalDenoiser(rule)(torch.randn(2, 3, 2, 3).to(memory_format=torch.channels_last), 0.5).shape == (
        2,
        3,
        2,
        3,
    )


def test_a_network_that_holds_itself_is_looked_through_once():
    net = Plain(None)
    net._net, net.owner = Net(), net
    assert sum(isinstance(thing, Net) for thing in objects_within(net)) == 1
    with evaluation_mode(net):
        assert not net._net.training
    assert net._net.training


def unet(**options):
    torch.manual_seed(0)
    diffusers = importlib.import_module("diffusers")
    options = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4} | options
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    return diffusers.UNet2DModel(in_channels=1, out_channels=1, **blocks, **options)


class Bare(nn.Module):
    """A user's wrapper of a diffusers network that returns the tensor, and takes two arguments alone."""

    def __init__(self, net):
        super().__init__()
        self.backbone = net

    def forward(self, x, t):
        return self.backbone(x, t).sample


@pytest.mark.parametrize("wrapper", ["compiled", "parallel", "forwarding", "plain", "bare", "function"])
@torch.no_grad()
def test_wrapped_diffusers_networks(wrapper):
    diffusers = importlib.import_module("diffusers")
    net, scheduler = unet(), diffusers.DDPMScheduler()
    wrapped = (WRAPPERS | {"bare": Bare})[wrapper](net)
    y = torch.randn(2, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = tc.diffusers_denoiser(net, scheduler)(y, 1.0)
    torch.testing.assert_close(tc.diffusers_denoiser(wrapped, scheduler)(y, 1.0), expected)
    with pytest.raises(ValueError, match=r"divisible by 2, got 3x6"):  # what the network inside takes is known
        tc.diffusers_denoiser(wrapped, scheduler)(y[:, :, :3], 1.0)


@torch.no_grad()
def test_diffusers_networks_in_wrappers_keep_their_classes_and_precision():
    diffusers = importlib.import_module("diffusers")
    net, scheduler = unet(num_class_embeds=4), diffusers.DDPMScheduler()
    y = torch.randn(2, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="class-conditional; give label"):
        tc.diffusers_denoiser(nn.DataParallel(net), scheduler)
    expected = tc.diffusers_denoiser(net, scheduler, label=2)(y, 1.0)
    torch.testing.assert_close(tc.diffusers_denoiser(nn.DataParallel(net), scheduler, label=2)(y, 1.0), expected)

    def sees_to_it(z, t):
        return net(z, t, class_labels=torch.full((len(z),), 2))

    torch.testing.assert_close(tc.diffusers_denoiser(sees_to_it, scheduler)(y, 1.0), expected)
    with pytest.raises(ValueError, match="takes no class_labels"):
        tc.diffusers_denoiser(sees_to_it, scheduler, label=2)
    half = unet().bfloat16()
    single = tc.diffusers_denoiser(unet(), scheduler)(y, 1.0)
    torch.testing.assert_close(tc.diffusers_denoiser(half, scheduler)(y, 1.0), single, rtol=0.05, atol=0.05)


@torch.no_grad()
def test_any_network_trained_with_a_scheduler():
    diffusers = importlib.import_module("diffusers")
    net, scheduler = Net().eval(), diffusers.DDPMScheduler(prediction_type="sample")
    y, cumulative = images(), scheduler.alphas_cumprod[400].double()
    got = tc.diffusers_denoiser(net, scheduler)(y, ((1 - cumulative) / cumulative).sqrt())
    torch.testing.assert_close(got, net(y * cumulative.sqrt().float(), torch.full((4,), 400.0)), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"called model\(z, t\), got Identity; use as_denoiser instead"):
        tc.diffusers_denoiser(nn.Identity(), scheduler)


class Tokens(nn.Module):
    """A wrapper of a language model that takes tokens alone and returns the logits in a tuple."""

    def __init__(self, model):
        super().__init__()
        self.lm = model

    def forward(self, tokens):
        return (self.lm(tokens).logits,)


@pytest.mark.parametrize("wrapper", ["compiled", "parallel", "forwarding", "plain", "tokens"])
@torch.no_grad()
def test_wrapped_language_models(wrapper):
    transformers = importlib.import_module("transformers")
    torch.manual_seed(0)
    options = {"vocab_size": 7, "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2, "initializer_range": 0.3}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(bos_token_id=3, eos_token_id=3, **options))
    wrapped = (WRAPPERS | {"tokens": Tokens})[wrapper](model)
    x = torch.randint(3, (4, 6), generator=torch.Generator().manual_seed(0))
    bare, got = (tc.huggingface_next_token(m, [5, 2, 6]) for m in (model, wrapped))
    torch.testing.assert_close(got(x), bare(x))
    torch.testing.assert_close(got.outside_mass(x), bare.outside_mass(x))
    assert all(module.training for module in model.modules())


def test_language_models_that_are_none():
    with pytest.raises(ValueError, match=r"no model of transformers.*compare_next_token takes any callable") as caught:
        tc.huggingface_next_token(nn.Linear(2, 2), [0, 1])
    assert "\n" not in str(caught.value)


def test_a_begin_token_outside_a_tiny_vocabulary_is_named():
    transformers = importlib.import_module("transformers")
    config = transformers.GPT2Config(vocab_size=3, n_positions=16, n_embd=16, n_layer=1, n_head=2)  # begins with 50256
    model = transformers.GPT2LMHeadModel(config)
    with pytest.raises(ValueError, match=r"the begin token 50256 of the model's config .* 0\.\.2; give bos_token_id"):
        tc.huggingface_next_token(model, [0, 1])
    with pytest.raises(ValueError, match=r"the begin token 3 lies outside"):
        tc.huggingface_next_token(model, [0, 1], bos_token_id=3)
    tc.huggingface_next_token(model, [0, 1], bos_token_id=2)
