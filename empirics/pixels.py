"""How numbers become what a denoising network sees: images of mean 0 and spread 1, a token for each patch of pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..theory import Encoding
from ..theory.rows import Rows


class ImageShape(NamedTuple):
    """A sample's shape as an image."""

    channels: int
    height: int
    width: int
    last: bool  # whether the channels are stored last


def image_shape(shape: tuple[int, ...]) -> ImageShape:
    """Read the shape of one sample as an image.

    (n,) is a row of n numbers; (H, W) an image; (C, H, W) one of C channels. Three sizes are (H, W, C) where the last
    is 1, 3 or 4 and the first is none of these; 4 counts as the first only where the last is 4 too.

    Raises:
        ValueError: more than three dimensions.
    """
    if len(shape) == 3:
        last = shape[2] in (1, 3, 4) and shape[0] not in (1, 3) and (shape[0], shape[2]) != (4, 4)
        channels, height, width = (shape[2], *shape[:2]) if last else shape
        return ImageShape(channels, height, width, last)
    if len(shape) == 2:
        return ImageShape(1, *shape, False)
    if len(shape) == 1:
        return ImageShape(1, 1, shape[0], False)
    raise ValueError(f"a sample must have 1 to 3 dimensions to train a DiT on it, got shape {shape}")


class Pixels:
    """What an `Encoding` is for symbols, for numbers: samples to images and back.

    Args:
        shape: of one sample, see `image_shape`.
        patch: side of the square of pixels that is one token; for rows, how many numbers are one.
        mean, spread: of the numbers, in the units they are stored in; images are (x - mean) / spread.
        whole: whether samples are bytes.

    Attributes:
        shape: (H, W) in tokens.
        channels: entries of a token.
        sigma_data: 1, the root mean square of the images.

    Raises:
        ValueError: a shape that is no image's, or a patch that does not divide it.
    """

    sigma_data = 1.0

    def __init__(
        self, shape: tuple[int, ...], patch: int = 1, mean: float = 0.0, spread: float = 1.0, whole: bool = False
    ) -> None:
        self.sample_shape, self.image = tuple(shape), image_shape(shape)
        self.mean, self.spread, self.whole = mean, spread, whole
        self.high, self.wide = (1 if self.image.height == 1 else patch), patch
        if self.image.height % self.high or self.image.width % self.wide:
            sides = f"{self.image.height} x {self.image.width}"
            raise ValueError(f"patch must divide both sides of the samples, {sides}, got {patch}")
        self.shape = self.image.height // self.high, self.image.width // self.wide
        self.channels = self.image.channels * self.high * self.wide

    @classmethod
    def of(cls, train: Tensor, patch: int = 1) -> Pixels:
        """With the mean and the spread of training samples (N, ...).

        Raises:
            ValueError: as above, or numbers that are all equal or not finite.
        """
        rows = Rows(train)
        mean = float(rows.centre.mean())  # refuses what is not finite
        step = max(1, 2**22 // rows.dim)
        parts = (rows.read(slice(first, first + step)).double() for first in range(0, rows.n, step))
        spread = math.sqrt(sum(float((part - mean).square().sum()) for part in parts) / (rows.n * rows.dim))
        if not spread > 0:
            raise ValueError("the training samples must not all be the same number")
        return cls(tuple(train.shape[1:]), patch, mean, spread, train.dtype == torch.uint8)

    @property
    def tokens(self) -> int:
        """How many tokens a sample is."""
        return self.shape[0] * self.shape[1]

    def encode(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Images (B, channels, H, W) of samples x (B, *sample_shape), as the network sees them."""
        if tuple(x.shape[1:]) != self.sample_shape:
            raise ValueError(f"samples must have shape (B, {', '.join(map(str, self.sample_shape))}), got {x.shape}")
        images = (x.to(dtype) - self.mean) / self.spread
        if self.image.last:
            images = images.movedim(-1, 1)
        images = images.reshape(len(x), self.image.channels, self.image.height, self.image.width)
        if self.high == self.wide:
            return F.pixel_unshuffle(images, self.wide).contiguous()
        return images.reshape(len(x), *self.shape, -1).movedim(-1, 1).contiguous()  # a row: neighbours are one token

    def decode(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `encode`: samples (B, *sample_shape), float32 or rounded bytes, and which were not finite, bool (B,).

        Those that were not finite become the mean.
        """
        broken = ~y.flatten(1).isfinite().all(1)
        images = torch.where(broken[:, None, None, None], 0, y.float())
        if self.high == self.wide:
            images = F.pixel_shuffle(images, self.wide)
        else:
            images = images.movedim(1, -1).reshape(len(y), self.image.channels, 1, self.image.width)
        images = images * self.spread + self.mean
        x = images.movedim(1, -1) if self.image.last else images
        x = x.reshape(len(y), *self.sample_shape).contiguous()
        return (x.round().clamp(0, 255).to(torch.uint8) if self.whole else x), broken

    def __repr__(self) -> str:
        kind = "bytes" if self.whole else "floats"
        return f"Pixels({kind} {self.sample_shape}, {self.tokens} tokens of {self.channels})"


Codes = Encoding | Pixels
"""How what is learned becomes images: symbols by an encoding, numbers by their mean and spread."""


def as_samples(x: np.ndarray) -> Tensor:
    """Rows of a file in memory: bytes as they are, floats in float32; ValueError for what is not finite there."""
    array = np.ascontiguousarray(x) if x.dtype == np.uint8 else np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError("the data must be finite in float32; found NaN or an infinity")
    return torch.from_numpy(array if array.flags.writeable else array.copy())
