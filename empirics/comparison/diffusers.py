"""A HuggingFace diffusers model with its scheduler as a denoiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .adapters import NetworkDenoiser, Prediction, as_denoiser
from .networks import objects_within, shown, takes, tensor_in
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
    ``CMStochasticIterativeScheduler``              consistency model, as it is scaled       edm
    ``IPNDMScheduler``                              noise, told t in [0, 1]                  cosine(0)
    ``ScoreSdeVeScheduler``                         score, told sigma                        edm
    =============================================== ======================================== =======================

    A network with twice the channels of its input has learned a variance too; the first half is the prediction.
    Zero terminal signal-to-noise is read as `Schedule.from_alphas_cumprod` says.

    Args:
        model: a ``UNet2DModel`` or a ``DiTTransformer2DModel``, also compiled, in ``DataParallel`` or in a wrapper of
            your own; or any other network, called network(z, t). Images must have its channels; a UNet halves them at
            each downsampling block, so height and width must be divisible accordingly; a DiT takes squares of its own
            ``sample_size`` only.
        scheduler: the one it was trained with.
        label: the class for every image, of a class-conditional model. A DiT's default is its null label, the
            unconditional prediction of classifier-free guidance.

    Returns:
        A callable net(y, sigma) on images (B, C, H, W).

    Raises:
        ImportError: diffusers is not installed.
        ValueError: a model that cannot be called model(z, t), another scheduler, a label the model lacks or needs; at
            the call, images of a size or number of channels that the model cannot take, or sigma outside the
            scheduler's range.
    """
    try:
        from diffusers import DiTTransformer2DModel, UNet2DModel
    except ImportError as error:
        raise ImportError("diffusers_denoiser needs diffusers: pip install 'twoclocks[diffusers]'") from error
    known = (thing for thing in objects_within(model) if isinstance(thing, DiTTransformer2DModel | UNet2DModel))
    inner: Any = next(known, None)
    is_transformer, is_unet = isinstance(inner, DiTTransformer2DModel), isinstance(inner, UNet2DModel)
    if is_transformer:
        classes, divisor = inner.config.num_embeds_ada_norm, inner.config.patch_size
        if label is None and takes(model, None, None, class_labels=None):  # a wrapper may see to it itself
            label = classes
        network = _Network(model, inner, label, classes + 1, divisor)
    elif is_unet:
        embedding: Any = inner.class_embedding
        if label is None and embedding is not None and inner is _unwrapped(model):
            raise ValueError("the model is class-conditional; give label, the class for every image")
        network = _Network(model, inner, label, getattr(embedding, "num_embeddings", 0), 2 ** _downsamplings(inner))
    elif takes(model, None, None):
        network = _Network(model, None, label, 0, 1)
    else:
        raise ValueError(
            f"model must be a UNet2DModel, a DiTTransformer2DModel or a network called model(z, t), got "
            f"{type(model).__name__}; use as_denoiser instead"
        )
    return _with_scheduler(network, scheduler)


def _with_scheduler(network: _Network, scheduler: Any) -> NetworkDenoiser:
    config: Any = getattr(scheduler, "config", {})
    names = [cls.__name__ for cls in type(scheduler).__mro__]
    predicted = config.get("prediction_type", "epsilon")
    if hasattr(scheduler, "precondition_outputs"):
        return as_denoiser(_Preconditioned(network, scheduler), "data", Schedule.edm())
    if "CMStochasticIterativeScheduler" in names:
        return as_denoiser(_Consistent(network, scheduler), "data", Schedule.edm())
    if "ScoreSdeVeScheduler" in names:
        return as_denoiser(network, "score", Schedule.edm())
    if "IPNDMScheduler" in names:
        return as_denoiser(network, "noise", Schedule.cosine(0.0))
    if predicted == "flow_prediction" or any("FlowMatch" in name for name in (*names, *_compatible(scheduler))):
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
    schedule = Schedule.from_alphas_cumprod(scheduler.alphas_cumprod)
    return as_denoiser(network, prediction, schedule, "integer" if network.whole_timesteps else "fractional")


# EulerDiscreteScheduler with continuous v-prediction: variance preserving, told t = log(sigma) / 4 as EDM networks are.
_LOG_SIGMA_TIME = Schedule(
    signal=lambda t: torch.sigmoid(-8 * t).sqrt(),
    noise=lambda t: torch.sigmoid(8 * t).sqrt(),
    time=lambda sigma: sigma.log() / 4,
    sigma_range=(0.0, float("inf")),
)


class _Network(nn.Module):
    """A diffusers model as network(z, t): its class label, time scale and first half of the channels seen to.

    Args:
        model: what is called.
        inner: the diffusers model inside it, which knows what images it takes; None for any other network.
        label: the class for every image.
        n_labels: how many classes there are.
        divisor: of the images' sides.
    """

    def __init__(self, model: Any, inner: Any, label: int | None, n_labels: int, divisor: int) -> None:
        super().__init__()
        if label is not None and not 0 <= label < n_labels:
            known = f"lie in 0..{n_labels - 1}" if n_labels else "be None, for a model without a table of classes"
            raise ValueError(f"label must {known}, got {label}")
        if label is not None and not takes(model, None, None, class_labels=None):
            raise ValueError(f"{type(model).__name__} takes no class_labels to give it the label {label}")
        self.model = model
        self.config: Any = None if inner is None else inner.config
        self.square = getattr(inner, "pos_embed", None) is not None
        self.label = label
        self.divisor = divisor
        self.time_scale = 1.0

    @property
    def whole_timesteps(self) -> bool:
        """Whether the model has a table of time embeddings."""
        return self.config is not None and self.config.get("time_embedding_type") == "learned"

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        self._check(z)
        labels = {} if self.label is None else {"class_labels": torch.full((len(z),), self.label, device=z.device)}
        t = t if self.time_scale == 1 else t * self.time_scale
        output = tensor_in(self.model(z, t, **labels), tuple(z.shape))
        if not isinstance(output, Tensor) or output.ndim != z.ndim:
            raise ValueError(f"the model must return images like its input, {tuple(z.shape)}, got {shown(output)}")
        if output.shape[1] not in (z.shape[1], 2 * z.shape[1]):
            raise ValueError(
                f"the model turns {z.shape[1]} channels into {output.shape[1]}; need as many or twice as many"
            )
        return output[:, : z.shape[1]]

    def _check(self, z: Tensor) -> None:
        config = self.config
        if config is None:
            return
        if z.ndim != 4 or z.shape[1] != config.in_channels:
            raise ValueError(f"the model takes images (B, {config.in_channels}, H, W), got shape {tuple(z.shape)}")
        if self.square and tuple(z.shape[2:]) != (config.sample_size, config.sample_size):
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


class _Consistent(nn.Module):
    """network(y, sigma) that returns clean images, scaled as a consistency model is (Song et al., 2023, appendix C)."""

    def __init__(self, network: _Network, scheduler: Any) -> None:
        super().__init__()
        self.network = network
        self.scheduler = scheduler

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.reshape(-1, 1, 1, 1)
        scale = (s**2 + self.scheduler.config.sigma_data**2).rsqrt()
        skip, out = self.scheduler.get_scalings_for_boundary_condition(s)
        return skip * y + out * self.network(scale * y, 250 * sigma.log())


def _unwrapped(model: Any) -> Any:
    """The module inside torch.compile, DataParallel and the like, which are called as the module itself is."""
    while isinstance(model, nn.Module) and (held := getattr(model, "_orig_mod", getattr(model, "module", None))):
        model = held
    return model


def _compatible(scheduler: Any) -> list[str]:
    """The names of the schedulers whose configuration this one shares."""
    return list(getattr(scheduler, "_compatibles", ()))


def _downsamplings(model: Any) -> int:
    """How many blocks of a UNet halve the image."""
    places = ("downsamplers", "resnet_down")
    return sum(any(getattr(block, place, None) is not None for place in places) for block in model.down_blocks)


def _size(z: Tensor) -> str:
    return f"{z.shape[2]}x{z.shape[3]}"
