"""EDM preconditioning: a raw network becomes a denoiser (Karras et al., 2022, Table 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EDM(nn.Module):
    """D(y, sigma) = c_skip y + c_out F(c_in y, c_noise), so that F sees and predicts unit variance at every sigma.

    Args:
        net: the raw network F(input, c_noise).
        sigma_data: root mean square of the clean data.
    """

    def __init__(self, net: nn.Module, sigma_data: float = 1.0) -> None:
        super().__init__()
        self.net = net
        self.sigma_data = sigma_data

    def forward(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """The denoised images, like y.

        Args:
            y: noisy images (B, C, H, W).
            sigma: noise standard deviation in data units, a number or (B,).
        """
        s = torch.as_tensor(sigma, dtype=y.dtype, device=y.device).reshape(-1, 1, 1, 1).expand(len(y), 1, 1, 1)
        c_skip, c_out, c_in, c_noise = self.coefficients(s)
        return c_skip * y + c_out * self.net(c_in * y, c_noise.reshape(-1))

    def coefficients(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in, c_noise."""
        total = (sigma**2 + self.sigma_data**2).sqrt()
        return (self.sigma_data / total) ** 2, sigma * self.sigma_data / total, 1 / total, sigma.log() / 4


def loss_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """lambda(sigma) = 1 / c_out^2: with it the raw network's loss has unit weight at every sigma."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
