"""The exact optimum as the network of every scheduler class of diffusers: its denoiser must be the exact one."""

import functools
import importlib
import inspect
import math
import pkgutil
import warnings

import numpy as np
import pytest
import torch

import twoclocks as tc

RULE = tc.rule("parity:2x3,G=3")
EXACT = tc.OptimalDenoiser(RULE)
SIGMAS = [0.02, 0.3, 1.0, 4.0, 60.0]
OPTIONS = [
    {},
    {"rescale_betas_zero_snr": True},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"num_train_timesteps": 50, "rescale_betas_zero_snr": True},
    # a cosine of which float32 keeps neither end: the first alphas round to 1, the last beta of 1 leaves 0
    {"trained_betas": [1e-9, 1e-9, *np.linspace(1e-4, 0.5, 30).tolist(), 1.0]},
]
PREDICTIONS = ["epsilon", "sample", "v_prediction", "flow_prediction"]
# by design these are no denoisers, or their networks take more than an image and a time
REFUSED = {"FlowMapEulerDiscreteScheduler", "PiflowScheduler"}
OTHER = {"CMStochasticIterativeScheduler", "ScoreSdeVeScheduler", "IPNDMScheduler", "LTXEulerAncestralRFScheduler"}


@functools.cache
def schedulers() -> dict[str, type]:
    """All scheduler classes that can be imported here, by name."""
    package = importlib.import_module("diffusers.schedulers")
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        try:
            members = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
        except ImportError:  # one that needs torchsde
            continue
        found |= {name: c for name, c in members.items() if inspect.isclass(c) and name.endswith("Scheduler")}
    return found


def made(cls: type, options: dict) -> object | None:
    """A scheduler with these options, or None where the class does not have them."""
    if not set(options) <= set(inspect.signature(cls.__init__).parameters):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of diffusers and the newest numpy
        try:
            return cls(**options)
        except (TypeError, NotImplementedError, ValueError):
            return None


def levels_of_table(scheduler) -> tuple[np.ndarray, np.ndarray]:
    """The timesteps of a scheduler's table that have a noise level of their own, and log sigma there."""
    table = scheduler.alphas_cumprod.double().numpy()
    kept, lowest = [], 1.0
    for t, value in enumerate(table):
        if 0 < value < lowest:
            kept.append(t)
            lowest = value
    alphas = table[kept]
    return np.array(kept, dtype=float), 0.5 * np.log((1 - alphas) / alphas)


def perfect(scheduler, prediction: str):
    """What the optimal network of this prediction returns, written out from the papers."""
    flow = prediction == "flow_prediction"
    timesteps, logs = (None, None) if flow else levels_of_table(scheduler)

    def network(z, t):
        if flow:
            s = (t.double() / scheduler.config.num_train_timesteps).reshape(-1, 1, 1, 1)
            a = 1 - s
        else:
            sigma = torch.from_numpy(np.exp(np.interp(t.double().numpy(), timesteps, logs))).reshape(-1, 1, 1, 1)
            a = (1 + sigma**2).rsqrt()
            s = a * sigma
        clean = EXACT(z.double() / a, (s / a).reshape(-1))
        noise = (z.double() - a * clean) / s
        answers = {"epsilon": noise, "sample": clean, "v_prediction": a * noise - s * clean}
        return (noise - clean) if flow else answers[prediction]

    return network


def noisy(sigmas: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    clean = EXACT.encoding.encode(RULE.sample(len(sigmas), generator), torch.float64)
    return clean + sigmas.reshape(-1, 1, 1, 1) * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(OPTIONS[0], id="plain", marks=pytest.mark.slow),
        pytest.param(OPTIONS[1], id="zero SNR"),
        pytest.param(OPTIONS[2], id="cosine", marks=pytest.mark.slow),
        pytest.param(OPTIONS[3], id="zero SNR of 50"),
        pytest.param(OPTIONS[4], id="ends", marks=pytest.mark.slow),
    ],
)
def test_the_optimum_as_the_network_of_every_table(options):
    tried = 0
    for name, cls in schedulers().items():
        for prediction in PREDICTIONS:
            scheduler = made(cls, options | {"prediction_type": prediction})
            if scheduler is None or getattr(scheduler, "alphas_cumprod", None) is None:
                continue
            denoiser = tc.diffusers_denoiser(perfect(scheduler, prediction), scheduler)
            low, high = denoiser.schedule.sigma_range
            sigmas = torch.tensor([s for s in SIGMAS if low <= s <= high] * 8, dtype=torch.float64)
            y = noisy(sigmas)
            off = float((denoiser(y, sigmas) - EXACT(y, sigmas)).abs().max())
            assert off < 1e-8, (name, prediction, off)
            single = float((denoiser(y.float(), sigmas) - EXACT(y, sigmas)).abs().max())
            assert single < 1e-3, (name, prediction, single)
            tried += 1
    assert tried >= 8


def test_the_case_of_zero_terminal_snr_by_name():
    """Euler and the DPM solvers write 2^-24 over the last 0, above the 4e-9 before it: no timestep may be told it."""
    for name in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler"):
        scheduler = made(schedulers()[name], {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True})
        assert float(scheduler.alphas_cumprod[-1]) == 2**-24 > float(scheduler.alphas_cumprod[-2])
        denoiser = tc.diffusers_denoiser(perfect(scheduler, "v_prediction"), scheduler)
        assert denoiser.schedule.steps == 999
        sigmas = torch.tensor([4096.0, 15000.0], dtype=torch.float64)  # the posterior mean is the mean of the codes
        assert float(denoiser(noisy(sigmas), sigmas).abs().max()) < 1e-3
        with pytest.raises(ValueError, match="outside the schedule's range"):
            denoiser(noisy(sigmas), 1e5)


def test_schedulers_without_a_table():
    sigmas = torch.tensor(SIGMAS * 4, dtype=torch.float64)
    y = noisy(sigmas)
    tried = set()
    for name, cls in schedulers().items():
        scheduler = made(cls, {})
        has_levels = getattr(scheduler, "sigmas", None) is not None or name in OTHER
        if scheduler is None or getattr(scheduler, "alphas_cumprod", None) is not None or not has_levels:
            continue
        if name in REFUSED:
            with pytest.raises(ValueError, match=f"{name}.*not supported"):
                tc.diffusers_denoiser(lambda z, t: z, scheduler)
            continue
        tried.add(name)
        if name == "ScoreSdeVeScheduler":
            network = lambda z, t: (EXACT(z, t) - z) / t.reshape(-1, 1, 1, 1) ** 2  # noqa: E731
        elif name == "IPNDMScheduler":

            def network(z, t):
                a, s = (math.pi / 2 * t).cos(), (math.pi / 2 * t).sin()
                a, s = a.reshape(-1, 1, 1, 1), s.reshape(-1, 1, 1, 1)
                return (z - a * EXACT(z / a, (s / a).reshape(-1))) / s

        elif name.startswith(("EDM", "Cosine", "CM")):
            network = preconditioned(scheduler, name)
        else:
            network = perfect(scheduler, "flow_prediction")
        denoiser = tc.diffusers_denoiser(network, scheduler)
        off = float((denoiser(y, sigmas) - EXACT(y, sigmas)).abs().max())
        assert off < 1e-6, (name, off)
    assert {"EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler", *OTHER} <= tried


def preconditioned(scheduler, name: str):
    """The optimal network inside the scaling of Karras et al. (2022), or of consistency models."""
    d = scheduler.config.sigma_data

    def network(z, t):
        sigma = ((t / 250) if name.startswith("CM") else 4 * t).exp().reshape(-1, 1, 1, 1)
        y = z * (sigma**2 + d**2).sqrt()
        low = scheduler.config.sigma_min if name.startswith("CM") else 0.0
        skip = d**2 / ((sigma - low) ** 2 + d**2)
        out = (sigma - low) * d / (sigma**2 + d**2).sqrt()
        return (EXACT(y, sigma.reshape(-1)) - skip * y) / out

    return network
