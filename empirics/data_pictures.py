"""Pictures of images that a network is trained on: what ideal denoisers make of them, and what generations copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..theory.dsm import Denoiser, check_sigmas
from ..theory.nearest import nearest_rows
from ..theory.rows import Rows
from .memorization import RATIO
from .pixels import image_shape
from .style import COLOURS, figure_style, new_figure


def plot_ideal_denoisers(
    x: Tensor, denoisers: Mapping[str, Denoiser], sigmas: Sequence[float] | Tensor, seed: int = 0
) -> Figure:
    """What denoisers make of one image at growing noise: Figure 1b of Karras et al. (2022), with as many as you like.

    The optimum that memorizes answers with the image itself at small sigma, with the mean of all data at large sigma,
    and in between, where few samples share the weight, with blends of them.

    Args:
        x: one clean image, (H, W), (C, H, W) or (H, W, C), floats in data units.
        denoisers: net(y, sigma) by name, such as those of `references`; each is a row of the figure.
        sigmas: noise standard deviations, in data units; each is a column.
        seed: of the noise, the same in every column.
    """
    levels = check_sigmas(sigmas)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    y = x + levels.float().reshape(-1, *[1] * x.ndim) * noise
    rows = {"x + sigma noise": y} | {name: D(y, levels.to(y)).detach() for name, D in denoisers.items()}
    span = float(x.min()), float(x.max())
    with figure_style():
        figure, axes = _grid(len(rows), len(levels))
        for (name, images), line in zip(rows.items(), axes, strict=True):
            for image, ax in zip(images, line, strict=True):
                _show(ax, image, span)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for sigma, ax in zip(levels.tolist(), axes[0], strict=True):
            ax.set_title(f"{sigma:.3g}", fontsize=8)
        figure.suptitle("noise level sigma, in data units", fontsize=9)
    return figure


def plot_nearest(generated: Any, train: Any, n: int = 10) -> Figure:
    """Generated images above the two training images nearest to each by Euclidean distance.

    Under each is its distance from the nearest over that from the second nearest. Framed are those below 1/3, which
    `Memorization` counts as copies by ``"l2-ratio"``. The first half shown have the least ratios; the others are the
    first of the rest, chosen by nothing.

    Args:
        generated, train: images (n, ...) and (N, ...), floats or bytes, N >= 2; equal training images count once.
        n: how many to show.
    """
    x, known = (np.asarray(part) for part in (generated, train))
    known = known[np.sort(np.unique(known.reshape(len(known), -1), axis=0, return_index=True)[1])]
    found = nearest_rows(Rows(x), Rows(known), 2)
    ratio = (found.distance[:, 0] / found.distance[:, 1]).numpy()
    order, half = np.argsort(ratio, kind="stable"), (min(n, len(x)) + 1) // 2
    rest = np.setdiff1d(np.arange(len(x)), order[:half])[: min(n, len(x)) - half]
    shown = np.concatenate([order[:half], rest])
    span = float(known.min()), float(known.max())
    with figure_style():
        figure, axes = _grid(3, len(shown))
        for column, at in enumerate(shown):
            pictures = (x[at], *(known[int(row)] for row in found.row[at]))
            for ax, picture in zip(axes[:, column], pictures, strict=True):
                _show(ax, torch.as_tensor(np.array(picture)), span)
            axes[2][column].set_xlabel(f"{ratio[at]:.2f}", fontsize=8)
            if ratio[at] < RATIO:
                axes[0][column].spines[:].set(visible=True, color=COLOURS["memorization"], linewidth=2.5)
        for ax, name in zip(axes[:, 0], ("generated", "nearest", "second nearest"), strict=True):
            ax.set_ylabel(name, rotation=0, ha="right", va="center")
        figure.suptitle(
            f"distance ratio below each; framed: below 1/3, {(ratio < RATIO).sum()} of {len(x)}", fontsize=9
        )
    return figure


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    figure, axes = new_figure(rows, columns, 0.75 * columns + 1.2, 0.78 * rows + 0.5)
    return figure, np.array(axes, dtype=object)


def _show(ax: Axes, image: Tensor, span: tuple[float, float]) -> None:
    """One image, in gray or in colours, without axes."""
    kind = image_shape(tuple(image.shape))
    picture = image.double().reshape(
        (kind.height, kind.width, kind.channels) if kind.last else (kind.channels, kind.height, kind.width)
    )
    picture = picture if kind.last else picture.movedim(0, -1)
    low, high = span
    shade = ((picture - low) / ((high - low) or 1.0)).clamp(0, 1).numpy()
    if kind.channels in (3, 4):
        ax.imshow(shade)
    else:
        ax.imshow(shade.mean(-1), cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
