"""diffusers models as denoisers: against the schedulers' own predicted clean images, and against the exact optima."""

import importlib
import math
import sys

import pytest
import torch

import twoclocks as tc


class _Late:
    """diffusers, imported at its first use: it takes seconds, for the process that runs these tests alone to pay."""

    def __getattr__(self, name: str):
        return getattr(importlib.import_module("diffusers"), name)


diffusers = _Late()


def unet(channels: int = 1, **options):
    torch.manual_seed(0)
    options = {
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "attention_head_dim": 4,
    } | options
    return diffusers.UNet2DModel(in_channels=channels, out_channels=channels, **options)


def dit(**options):
    torch.manual_seed(0)
    options = {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 1, "out_channels": 2} | options
    options = {"num_layers": 2, "sample_size": 6, "patch_size": 2, "num_embeds_ada_norm": 3} | options
    return diffusers.DiTTransformer2DModel(norm_num_groups=1, **options)


def images(size: tuple[int, ...] = (4, 1, 8, 8)) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
@torch.no_grad()
def test_variance_preserving_schedulers(kind, prediction):
    model, scheduler = unet().eval(), getattr(diffusers, kind)(prediction_type=prediction, clip_sample=False)
    scheduler.set_timesteps(1000)
    denoiser = tc.diffusers_denoiser(model, scheduler)
    for timestep in (0, 17, 400, 800):
        cumulative = scheduler.alphas_cumprod[timestep].double()
        z = images()
        step = scheduler.step(model(z, timestep).sample, timestep, z)
        sigma = ((1 - cumulative) / cumulative).sqrt()
        got = denoiser((z / cumulative.sqrt()).float(), sigma)
        torch.testing.assert_close(got, step.pred_original_sample, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"prediction_type": "epsilon", "timestep_spacing": "leading"},  # whole timesteps
        {"prediction_type": "sample", "timestep_spacing": "leading"},
        {"prediction_type": "v_prediction", "timestep_spacing": "leading"},
        {"use_karras_sigmas": True},  # fractional timesteps, interpolated in log sigma
        {"prediction_type": "v_prediction", "timestep_type": "continuous", "sigma_min": 0.02, "sigma_max": 80.0},
    ],
)
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@torch.no_grad()
def test_euler(options):
    model, scheduler = unet().eval(), diffusers.EulerDiscreteScheduler(**options)
    denoiser = tc.diffusers_denoiser(model, scheduler)
    scheduler.set_timesteps(7)
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        y = images() * float(sigma)
        output = model(scheduler.scale_model_input(y, timestep), timestep).sample
        expected = scheduler.step(output, timestep, y).pred_original_sample
        # y - sigma F of size sigma, and timesteps, rounded to float32
        torch.testing.assert_close(denoiser(y, sigma), expected, rtol=1e-5, atol=1e-5 * max(1, float(sigma)))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@torch.no_grad()
def test_edm(prediction):
    model, scheduler = unet().eval(), diffusers.EDMEulerScheduler(sigma_data=0.7, prediction_type=prediction)
    denoiser = tc.diffusers_denoiser(model, scheduler)
    scheduler.set_timesteps(6)
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        y = images() * float(sigma)
        output = model(scheduler.scale_model_input(y, timestep), timestep).sample
        expected = scheduler.step(output, timestep, y).pred_original_sample
        torch.testing.assert_close(denoiser(y, sigma), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("invert", [False, True])
@torch.no_grad()
def test_flow_matching_steps_straight_to_the_clean_image(invert):
    """One Euler step from any time to the clean end lands on x - predicted, with the scheduler's own arithmetic."""
    model = unet().eval()
    for time in (0.05, 0.3, 0.9):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0, invert_sigmas=invert)
        denoiser = tc.diffusers_denoiser(model, scheduler)
        scheduler.set_timesteps(sigmas=[time])  # then one last level, clean
        z, timestep = images(), scheduler.timesteps[0]
        expected = scheduler.step(model(z, timestep).sample, timestep, z).prev_sample
        noise = time  # after inversion the scheduler's "sigma" is the share of data, 1 - time
        got = denoiser(z / (1 - noise), noise / (1 - noise))
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_flow_matching_ignores_the_shift_of_sampling_times():
    model, y = unet().eval(), images()
    plain, shifted = (
        tc.diffusers_denoiser(model, diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)) for shift in (1.0, 3.0)
    )
    assert torch.equal(plain(y, 0.5), shifted(y, 0.5))


@torch.no_grad()
def test_score_networks():
    model = unet(time_embedding_type="fourier").eval()
    y, sigma = images(), torch.tensor([0.1, 0.5, 1.0, 20.0])
    denoiser = tc.diffusers_denoiser(model, diffusers.ScoreSdeVeScheduler())
    expected = y + sigma.reshape(-1, 1, 1, 1) ** 2 * model(y, sigma).sample  # Tweedie
    torch.testing.assert_close(denoiser(y, sigma), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_dit_takes_the_first_half_of_a_learned_variance_and_a_label():
    model, scheduler = dit().eval(), diffusers.DDPMScheduler(clip_sample=False, variance_type="learned_range")
    for block in (model.proj_out_1, model.proj_out_2, *(b.norm1.linear for b in model.transformer_blocks)):
        torch.nn.init.normal_(block.weight, std=0.3)  # labels and times must matter
    z, cumulative = images((4, 1, 6, 6)), scheduler.alphas_cumprod[300]
    sigma = ((1 - cumulative) / cumulative).sqrt()
    results = {}
    for label in (None, 0, 3):
        labels = torch.full((4,), 3 if label is None else label)
        output = model(z, timestep=torch.full((4,), 300), class_labels=labels).sample
        assert output.shape[1] == 2
        expected = scheduler.step(output, 300, z).pred_original_sample
        results[label] = tc.diffusers_denoiser(model, scheduler, label=label)(z / cumulative.sqrt(), sigma)
        torch.testing.assert_close(results[label], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(results[None], results[3])  # the null label
    assert not torch.allclose(results[None], results[0], atol=1e-3)


@torch.no_grad()
def test_a_model_left_in_training_mode_is_not_random():
    model = unet(dropout=0.5).train()
    denoiser = tc.diffusers_denoiser(model, diffusers.DDPMScheduler())
    assert torch.equal(denoiser(images(), 0.5), denoiser(images(), 0.5))
    assert all(module.training for module in model.modules())


@torch.no_grad()
def test_learned_time_embeddings_get_whole_timesteps():
    model = unet(time_embedding_type="learned", num_train_timesteps=50).eval()
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=50, clip_sample=False)
    denoiser = tc.diffusers_denoiser(model, scheduler)
    assert denoiser.timesteps == "integer"
    cumulative, z = scheduler.alphas_cumprod[20], images()
    step = scheduler.step(model(z, 20).sample, 20, z)
    got = denoiser(z / cumulative.sqrt(), ((1 - cumulative) / cumulative).sqrt())
    torch.testing.assert_close(got, step.pred_original_sample, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_image_sizes():
    scheduler = diffusers.DDPMScheduler()
    small, deep = unet(), unet(
        block_out_channels=(4, 8, 8), down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3
    )  # fmt: skip
    for size in ((6, 6), (4, 6)):
        assert tc.diffusers_denoiser(small, scheduler)(images((1, 1, *size)), 0.5).shape == (1, 1, *size)
    with pytest.raises(ValueError, match="divisible by 4, got 6x6"):
        tc.diffusers_denoiser(deep, scheduler)(images((1, 1, 6, 6)), 0.5)
    with pytest.raises(ValueError, match=r"images \(B, 1, H, W\)"):
        tc.diffusers_denoiser(small, scheduler)(images((1, 2, 8, 8)), 0.5)
    with pytest.raises(ValueError, match="turns 1 channels into 3"):
        tc.diffusers_denoiser(dit(out_channels=3), scheduler)(images((1, 1, 6, 6)), 0.5)
    with pytest.raises(ValueError, match="takes 6x6 images, got 4x6"):
        tc.diffusers_denoiser(dit(), scheduler)(images((1, 1, 4, 6)), 0.5)


def test_refusals(monkeypatch):
    with pytest.raises(ValueError, match="class-conditional"):
        tc.diffusers_denoiser(unet(num_class_embeds=4), diffusers.DDPMScheduler())
    with pytest.raises(ValueError, match=r"label must lie in 0\.\.3, got 4"):
        tc.diffusers_denoiser(unet(num_class_embeds=4), diffusers.DDPMScheduler(), label=4)
    with pytest.raises(ValueError, match="label must be None"):
        tc.diffusers_denoiser(unet(), diffusers.DDPMScheduler(), label=0)
    with pytest.raises(ValueError, match="use as_denoiser instead"):
        tc.diffusers_denoiser(torch.nn.Identity(), diffusers.DDPMScheduler())
    with pytest.raises(ValueError, match="not supported"):
        tc.diffusers_denoiser(unet(), diffusers.DDPMScheduler(prediction_type="nonsense"))
    with pytest.raises(ValueError, match="NoneType"):
        tc.diffusers_denoiser(unet(), None)
    with pytest.raises(ValueError, match=r"schedule's range, 0\.01\d* to 157"):
        tc.diffusers_denoiser(unet(), diffusers.DDPMScheduler())(images(), 200.0)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"pip install 'twoclocks\[diffusers\]'"):
        tc.diffusers_denoiser(torch.nn.Identity(), None)


@pytest.mark.parametrize("make", [lambda: unet(), lambda: dit(sample_size=4)])
def test_compared_with_the_optima_end_to_end(make):
    rule = tc.rule("parity:4x4,G=4")
    generator = torch.Generator().manual_seed(0)
    train = rule.sample(20, generator)
    references = {
        "population": tc.OptimalDenoiser(rule),
        "empirical": tc.OptimalDenoiser(tc.EmpiricalLaw(train, 2, rule.shape)),
    }
    denoiser = tc.diffusers_denoiser(make(), diffusers.DDPMScheduler())
    table = tc.compare_denoisers(denoiser, references, train, denoiser.schedule.snap([0.3, 1.0]))
    assert len(table) == 2
    assert table.score_mse_population.gt(0.01).all()
    assert table.memorization_coordinate.map(math.isfinite).all()


@pytest.mark.slow
def test_trained_end_to_end():
    """A DiT trained with diffusers' own noising first learns each cell by itself: it nears the rule-blind optimum."""
    rule = tc.rule("parity:4x4,G=4")
    model = dit(sample_size=4, patch_size=1, out_channels=1, attention_head_dim=16)
    scheduler = diffusers.DDPMScheduler(prediction_type="v_prediction")
    denoiser = tc.diffusers_denoiser(model, scheduler)
    cube, population = (tc.OptimalDenoiser(law) for law in (tc.CubeLaw(rule.shape, 2), rule))
    generator = torch.Generator().manual_seed(0)
    x = rule.sample(100, generator)

    def compare():
        return tc.compare_denoisers(denoiser, {"cube": cube, "population": population}, x, [0.5, 1.0, 2.0], n_noise=1)

    before = compare()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        clean = cube.encoding.encode(rule.sample(64, generator))
        noise = torch.randn(clean.shape, generator=generator)
        t = torch.randint(1000, (64,), generator=generator)
        output = model(scheduler.add_noise(clean, noise, t), timestep=t, class_labels=torch.full((64,), 3)).sample
        optimiser.zero_grad()
        (output - scheduler.get_velocity(clean, noise, t)).square().mean().backward()
        optimiser.step()
    after = compare()
    assert (after.score_mse_cube < 0.2 * before.score_mse_cube).all()
    assert (after.cosine_cube > 0.95).all()
    assert (after.nearest == "cube").all()
