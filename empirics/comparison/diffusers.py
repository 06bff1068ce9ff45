"""A HuggingFace diffusers model with its scheduler as a denoiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .adapters import NetworkDenoiser, Prediction, as_denoiser
from .schedules import Schedule

PREDICTIONS: dict[str, Prediction] = {
    "epsilon": "noise",
    "sample": "data",
    "original_sample": "data",
    "v_prediction": "velocity",
}


def diffusers_denoiser(model: Any, scheduler: Any, label: int | None = None) -> NetworkDenoiser:
    """Read a diffusers network and its scheduler as a denoiser in this package's convention, y = x + sigma n.

    From the scheduler come what the network predicts and its training noise, not the sampler's choices: neither
    inference steps nor shifts of time nor clipping of the clean image (``clip_sample``, ``thresholding``) play a part.

    =============================================== ======================================== =======================
    scheduler                                       network                                  schedule
    =============================================== ======================================== =======================
    with ``alphas_cumprod`` (DDPM, DDIM, PNDM, DPM, ``prediction_type`` epsilon, sample or   from_alphas_cumprod
    Euler, Heun, LMS, ...)                          v_prediction
    ``FlowMatch...``, or ``flow_prediction``        flow, told t times the training steps    flow
    ``EDM...`` and others that precondition         as the scheduler preconditions it        edm
    ``ScoreSdeVeScheduler``                         score, told sigma                        edm
    =============================================== ======================================== =======================

    A network with twice the channels of its input has learned a variance too; the first half is the prediction.

    Args:
        model: a ``UNet2DModel`` or a ``DiTTransformer2DModel``. Images must have its channels; a UNet halves them at
            each downsampling block, so height and width must be divisible accordingly; a DiT takes squares of its own
            ``sample_size`` only.
        scheduler: the one it was trained with.
        label: the class for every image, of a class-conditional model. A DiT's default is its null label, the
            unconditional prediction of classifier-free guidance.

    Returns:
        A callable net(y, sigma) on images (B, C, H, W).

    Raises:
        ImportError: diffusers is not installed.
        ValueError: another model or scheduler, a label the model lacks or needs; at the call, images of a size or
            number of channels that the model cannot take, or sigma outside the scheduler's range.
    """
    try:
        from diffusers import DiTTransformer2DModel, UNet2DModel
    except ImportError as error:
        raise ImportError("diffusers_denoiser needs diffusers: pip install 'twoclocks[diffusers]'") from error
    config: Any = getattr(model, "config", None)
    embedding: Any = getattr(model, "class_embedding", None)
    if isinstance(model, DiTTransformer2DModel):
        classes = config.num_embeds_ada_norm
        network = _Network(model, classes if label is None else label, classes + 1, config.patch_size)
    elif isinstance(model, UNet2DModel):
        if label is None and embedding is not None:
            raise ValueError("the model is class-conditional; give label, the class for every image")
        network = _Network(model, label, getattr(embedding, "num_embeddings", 0), 2 ** _downsamplings(model))
    else:
        raise ValueError(
            f"model must be a UNet2DModel or DiTTransformer2DModel, got {type(model).__name__}; use as_denoiser instead"
        )
    return _with_scheduler(network, scheduler)


def _with_scheduler(network: _Network, scheduler: Any) -> NetworkDenoiser:
    config: Any = getattr(scheduler, "config", {})
    names = [cls.__name__ for cls in type(scheduler).__mro__]
    predicted = config.get("prediction_type", "epsilon")
    if hasattr(scheduler, "precondition_outputs"):
        return as_denoiser(_Preconditioned(network, scheduler), "data", Schedule.edm())
    if "ScoreSdeVeScheduler" in names:
        return as_denoiser(network, "score", Schedule.edm())
    if predicted == "flow_prediction" or any(name.startswith("FlowMatch") for name in names):
        network.time_scale = float(config["num_train_timesteps"])
        return as_denoiser(network, "flow", Schedule.flow(data_at=1 if config.get("invert_sigmas", False) else 0))
    if not hasattr(scheduler, "alphas_cumprod") or predicted not in PREDICTIONS:
        raise ValueError(
            f"{names[0]} with prediction_type {predicted!r} is not supported: no alphas_cumprod, flow or EDM "
            "preconditioning to read; wrap the model with as_denoiser and its Schedule"
        )
    prediction = PREDICTIONS[predicted]
    if prediction == "velocity" and config.get("timestep_type") == "continuous":
        return as_denoiser(network, prediction, _LOG_SIGMA_TIME)
    whole = network.model.config.get("time_embedding_type") == "learned"  # a table of embeddings
    schedule = Schedule.from_alphas_cumprod(scheduler.alphas_cumprod)
    return as_denoiser(network, prediction, schedule, "integer" if whole else "fractional")


# EulerDiscreteScheduler with continuous v-prediction: variance preserving, told t = log(sigma) / 4 as EDM networks are.
_LOG_SIGMA_TIME = Schedule(
    signal=lambda t: torch.sigmoid(-8 * t).sqrt(),
    noise=lambda t: torch.sigmoid(8 * t).sqrt(),
    time=lambda sigma: sigma.log() / 4,
    sigma_range=(0.0, float("inf")),
)


class _Network(nn.Module):
    """A diffusers model as network(z, t): its class label, time scale and first half of the channels seen to."""

    def __init__(self, model: Any, label: int | None, n_labels: int, divisor: int) -> None:
        super().__init__()
        if label is not None and not 0 <= label < n_labels:
            known = f"lie in 0..{n_labels - 1}" if n_labels else "be None, for a model without a table of classes"
            raise ValueError(f"label must {known}, got {label}")
        self.model = model
        self.label = label
        self.divisor = divisor
        self.time_scale = 1.0

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        self._check(z)
        labels = None if self.label is None else torch.full((len(z),), self.label, device=z.device)
        t = t if self.time_scale == 1 else t * self.time_scale
        output = self.model(z, timestep=t, class_labels=labels).sample
        if output.shape[1] not in (z.shape[1], 2 * z.shape[1]):
            raise ValueError(
                f"the model turns {z.shape[1]} channels into {output.shape[1]}; need as many or twice as many"
            )
        return output[:, : z.shape[1]]

    def _check(self, z: Tensor) -> None:
        config, square = self.model.config, getattr(self.model, "pos_embed", None) is not None
        if z.ndim != 4 or z.shape[1] != config.in_channels:
            raise ValueError(f"the model takes images (B, {config.in_channels}, H, W), got shape {tuple(z.shape)}")
        if square and tuple(z.shape[2:]) != (config.sample_size, config.sample_size):
            raise ValueError(f"this DiT takes {config.sample_size}x{config.sample_size} images, got {_size(z)}")
        if any(side % self.divisor for side in z.shape[2:]):
            raise ValueError(
                f"the model needs height and width divisible by {self.divisor}, got {_size(z)}; use a model with fewer "
                "downsampling blocks or a smaller patch size"
            )


class _Preconditioned(nn.Module):
    """network(y, sigma) that returns clean images, preconditioned as its scheduler does (Karras et al., 2022)."""

    def __init__(self, network: _Network, scheduler: Any) -> None:
        super().__init__()
        self.network = network
        self.scheduler = scheduler

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.reshape(-1, 1, 1, 1)
        output = self.network(self.scheduler.precondition_inputs(y, s), self.scheduler.precondition_noise(sigma))
        return self.scheduler.precondition_outputs(y, output, s)


def _downsamplings(model: Any) -> int:
    """How many blocks of a UNet halve the image."""
    places = ("downsamplers", "resnet_down")
    return sum(any(getattr(block, place, None) is not None for place in places) for block in model.down_blocks)


def _size(z: Tensor) -> str:
    return f"{z.shape[2]}x{z.shape[3]}"
