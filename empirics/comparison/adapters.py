"""Any diffusion or flow network as a denoiser net(y, sigma), to set beside the exact ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .networks import answer, evaluation_mode, shown, tensor_in, weight_of
from .schedules import Schedule

Prediction = Literal["noise", "data", "velocity", "flow", "score"]
Timesteps = Literal["fractional", "integer"]


@dataclass(frozen=True)
class NetworkDenoiser:
    """A network read as a denoiser; made by `as_denoiser`, called like an EDM network, ``net(y, sigma)``.

    Attributes:
        network: called network(z, t).
        predicts: what its output estimates.
        schedule: how its input z is noised.
        timesteps: ``"fractional"`` or ``"integer"``.
    """

    network: Callable[[Tensor, Tensor], Tensor]
    predicts: Prediction
    schedule: Schedule
    timesteps: Timesteps

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """The network's estimate of the clean images in y = x + sigma n.

        Args:
            y: noisy images (B, ...), any float dtype.
            sigma: noise standard deviation in data units, a number or (B,).

        Returns:
            Like y.

        Raises:
            ValueError: sigma outside the schedule's range or of another shape; a network whose output is not like y.
        """
        levels = torch.as_tensor(sigma, dtype=torch.float64, device=y.device)
        if levels.numel() not in (1, len(y)):
            raise ValueError(f"sigma must be a number or have shape ({len(y)},), got shape {tuple(levels.shape)}")
        levels = self.schedule.check(levels.reshape(-1).expand(len(y)))
        t = self.schedule.time(levels)
        work = y.to(torch.promote_types(y.dtype, torch.float32))
        if self.timesteps == "fractional":
            return self._denoised(work, t, t.to(work.dtype), levels).to(y.dtype)
        below, above = self.schedule.neighbours(t)
        before, after = (self._denoised(work, k, k.long(), self.schedule.sigma(k)) for k in (below, above))
        share = ((t - below) / (above - below)).to(work.dtype)
        return torch.lerp(before, after, _images(share, y)).to(y.dtype)

    def _denoised(self, y: Tensor, t: Tensor, timestep: Tensor, sigma: Tensor) -> Tensor:
        """The estimate at times t (B,), whose noise levels are sigma; timestep is what the network is told."""
        z = _images(self.schedule.signal(t).to(y.dtype), y) * y
        weight = weight_of(self.network)
        dtypes = [z.dtype]
        if weight is not None:
            z, timestep = z.to(weight.device), timestep.to(weight.device)
            own = isinstance(self.network, nn.Module)  # a function around a module may convert its input
            dtypes = [weight.dtype] if own else [z.dtype, weight.dtype]
        with evaluation_mode(self.network):
            output = tensor_in(answer(self.network, z, timestep, dtypes), tuple(y.shape))
        if not isinstance(output, Tensor) or output.shape != y.shape:
            raise ValueError(
                f"the network must return a tensor like its input, {tuple(y.shape)}, alone or in a tuple, dict or "
                f"dataclass; got {shown(output)}"
            )
        skip, scale = (_images(c.to(y.dtype), y) for c in self._coefficients(t, sigma))
        return skip * y + scale * output.to(y)

    def _coefficients(self, t: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """D = skip y + scale output; the formulas of `as_denoiser` with z = signal y and noise = signal sigma."""
        one = torch.ones_like(sigma)
        if self.predicts == "noise":
            return one, -sigma
        if self.predicts == "data":
            return 0 * one, one
        if self.predicts == "score":
            return one, sigma**2 * self.schedule.signal(t)
        if self.predicts == "velocity":
            return 1 / (1 + sigma**2), -sigma / (1 + sigma**2) / self.schedule.signal(t)
        signal, signal_rate = _value_and_rate(self.schedule.signal, t)
        noise, noise_rate = _value_and_rate(self.schedule.noise, t)
        wronskian = noise_rate * signal - noise * signal_rate
        return noise_rate * signal / wronskian, -noise / wronskian


def as_denoiser(
    network: Callable[[Tensor, Tensor], Tensor],
    predicts: Prediction,
    schedule: Schedule,
    timesteps: Timesteps = "fractional",
) -> NetworkDenoiser:
    """Turn a diffusion or flow network into a denoiser in this package's convention, y = x + sigma n.

    The network sees z = signal(t) y at the time t where noise(t) / signal(t) = sigma, just as in its training. From
    its output F the clean image follows by one of these identities (a = signal(t), s = noise(t)):

    ========== =================================== ============================== ================================
    predicts   F estimates                         clean image                    source
    ========== =================================== ============================== ================================
    noise      n                                   (z - s F) / a                  Ho et al., 2020
    data       x                                   F                              Ho et al., 2020
    velocity   a n - s x                           (a z - s F) / (a^2 + s^2)      Salimans and Ho, 2022
    flow       dz/dt = a' x + s' n                 (s' z - s F) / (s' a - s a')   Lipman et al., 2023; Liu et al.,
                                                                                  2023; Albergo et al., 2023
    score      grad_z log p_t(z)                   (z + s^2 F) / a                Song et al., 2021; Efron, 2011
    ========== =================================== ============================== ================================

    A torch module, also inside a compiled, data-parallel or other wrapper, gets its input on the device and in the
    dtype of its weights, is called in evaluation mode, and is left in the mode it was in. Gradients reach y and the
    weights.

    Args:
        network: any callable network(z, t), z like y and t (B,) floating or, for integer timesteps, int64; returns a
            tensor like z, or a tuple, dict or dataclass that holds one. One that wants another time, such as 1000 t, or
            a class label, is wrapped: ``lambda z, t: net(z, 1000 * t)``.
        predicts: what the output estimates.
        schedule: how z is noised.
        timesteps: for a discrete schedule. ``"fractional"``: the network takes real-valued timesteps (sinusoidal
            embeddings do), and is asked for the exact sigma. ``"integer"``: it takes t as int64 only. Then it is asked
            at the two neighbouring timesteps, each with its own noise level, and the two estimates are interpolated
            linearly in log sigma. At a training timestep (`Schedule.snap`) that is the network's own estimate; between
            two the error is of second order in their distance, where rounding to the nearest would be of first order.

    Returns:
        A callable net(y, sigma), y (B, ...), sigma a number or (B,).

    Raises:
        ValueError: an unknown prediction or kind of timesteps; integer timesteps of a schedule in continuous time;
            a flow on a discrete table, whose rate dz/dt no definition fixes.
    """
    if predicts not in get_args(Prediction):
        raise ValueError(f"predicts must be one of {', '.join(get_args(Prediction))}, got {predicts!r}")
    if timesteps not in get_args(Timesteps):
        raise ValueError(f"timesteps must be 'fractional' or 'integer', got {timesteps!r}")
    if timesteps == "integer" and schedule.timesteps is None:
        raise ValueError("integer timesteps need a discrete schedule, such as Schedule.from_alphas_cumprod")
    if predicts == "flow" and schedule.timesteps is not None:
        raise ValueError("a flow dz/dt needs a schedule in continuous time, such as Schedule.flow")
    return NetworkDenoiser(network, predicts, schedule, timesteps)


def _value_and_rate(curve: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """curve(t) and its derivative, exact by differentiation, wherever gradients are off."""
    with torch.inference_mode(False), torch.enable_grad():
        t = t.detach().clone().requires_grad_()
        value = curve(t) + 0 * t  # a constant curve depends on t too
        (rate,) = torch.autograd.grad(value.sum(), t)
    return value.detach(), rate


def _images(values: Tensor, y: Tensor) -> Tensor:
    """(B,) shaped to multiply y (B, ...)."""
    return values.reshape(-1, *[1] * (y.ndim - 1))
