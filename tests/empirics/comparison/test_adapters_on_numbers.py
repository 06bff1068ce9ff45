"""Networks for images without a rule, by real schedulers, as people bring them: the optimum explains all of itself."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import twoclocks as tc

diffusers = pytest.importorskip("diffusers")

X = torch.randn(40, 2, 4, 4, generator=torch.Generator().manual_seed(0)).mul(0.5)
EXACT = tc.OptimalDenoiser(tc.EmpiricalDensity(X))
SCHEDULERS = {
    "DDPM": lambda: diffusers.DDPMScheduler(),
    "Euler, Karras sigmas": lambda: diffusers.EulerDiscreteScheduler(use_karras_sigmas=True),
    "Euler, exponential sigmas": lambda: diffusers.EulerDiscreteScheduler(use_exponential_sigmas=True),
    "Heun, Karras sigmas": lambda: diffusers.HeunDiscreteScheduler(use_karras_sigmas=True),
    "DPM, Karras sigmas, v": lambda: diffusers.DPMSolverMultistepScheduler(
        use_karras_sigmas=True, prediction_type="v_prediction"
    ),
    "DPM, flow sigmas": lambda: diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction"
    ),
    "flow": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow, Karras sigmas": lambda: diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
}


class Perfect(nn.Module):
    """The optimal network of a scheduler: what it predicts, from the exact clean images, in float64."""

    def __init__(self, scheduler):
        super().__init__()
        self.unit = nn.Parameter(torch.ones(1))  # so that it has a dtype and can be halved
        config = scheduler.config
        self.kind = "flow" if "FlowMatch" in type(scheduler).__name__ else config.prediction_type
        self.flow = self.kind.startswith("flow")
        self.steps = config.num_train_timesteps
        self.alphas = None if self.flow else scheduler.alphas_cumprod.double()

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        seen = z.double() * self.unit.double()
        if self.flow:
            s = t.double() / self.steps
            a = 1 - s
        else:  # between two timesteps of the table, linear in log sigma
            low = t.double().floor().long().clamp(0, self.steps - 1)
            high, share = (low + 1).clamp(max=self.steps - 1), t.double() - low
            logs = 0.5 * ((1 - self.alphas) / self.alphas).log()
            sigma = torch.lerp(logs[low], logs[high], share).exp()
            a = (1 + sigma**2).rsqrt()
            s = a * sigma
        a, s = (c.reshape(-1, 1, 1, 1) for c in (a, s))
        clean = EXACT(seen / a, (s / a).reshape(-1))
        noise = (seen - a * clean) / s
        answers = {"epsilon": noise, "sample": clean, "v_prediction": a * noise - s * clean}
        return (noise - clean if self.flow else answers[self.kind]).to(z.dtype)


@dataclass
class Output:
    sample: Tensor


WRAPPERS = {
    "bare": lambda net: net,
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "channels last": lambda net: lambda z, t: net(z.to(memory_format=torch.channels_last), t),
    "tuple": lambda net: lambda z, t: (net(z, t), None),
    "dataclass": lambda net: lambda z, t: Output(net(z, t)),
    "half": lambda net: net.half(),
    "bfloat16": lambda net: net.bfloat16(),
}


def explained(denoiser) -> list[float]:
    table = tc.compare_denoisers(denoiser, {"empirical": EXACT}, X, [0.1, 0.5, 2.0], n_noise=1)
    assert table["nearest"].eq("empirical").all()
    return table["explained_empirical"].tolist()


@pytest.mark.filterwarnings("ignore")  # of diffusers and the newest numpy
@pytest.mark.parametrize("name", SCHEDULERS)
def test_samplers_choices_of_sigmas_play_no_part(name):
    scheduler = SCHEDULERS[name]()
    denoiser = tc.diffusers_denoiser(Perfect(scheduler), scheduler)
    assert explained(denoiser) == pytest.approx([1, 1, 1], abs=1e-6)
    scheduler.set_timesteps(7)  # as a sampler leaves it
    assert explained(tc.diffusers_denoiser(Perfect(scheduler), scheduler)) == pytest.approx([1, 1, 1], abs=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scheduler", ["DDPM", "flow"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_networks_on_images_without_a_rule(wrapper, scheduler):
    made = SCHEDULERS[scheduler]()
    net = WRAPPERS[wrapper](Perfect(made))
    rounding = {"half": 2e-3, "bfloat16": 5e-2}.get(wrapper, 1e-6)
    found = explained(tc.diffusers_denoiser(net, made))
    assert found == pytest.approx([1, 1, 1], abs=rounding)
    if wrapper in ("half", "bfloat16"):
        assert max(1 - value for value in found) > 1e-9  # it was rounded indeed


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_edm_networks_on_images_without_a_rule(wrapper):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.unit = nn.Parameter(torch.ones(1))

        def forward(self, y, sigma):
            return EXACT(y.double() * self.unit.double(), sigma.double()).to(y.dtype)

    rounding = {"half": 2e-2, "bfloat16": 1e-1}.get(wrapper, 1e-6)
    assert explained(WRAPPERS[wrapper](Net())) == pytest.approx([1, 1, 1], abs=rounding)
