"""A learned score against the exact ones: distance, angle, and the position between rule and memory, at each sigma."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ...theory import DensityDenoiser, Encoding, OptimalDenoiser
from ...theory.dsm import Denoiser, check_sigmas
from .codes import warn_of_other_codes
from .coordinate import line_position, nearest, ratio_and_error
from .networks import answer, evaluation_mode, shown, tensor_in, weight_of

Samples = Tensor | Mapping[str, Tensor]


@torch.no_grad()
def compare_denoisers(
    net: Denoiser,
    references: Mapping[str, Denoiser],
    x: Samples,
    sigmas: Sequence[float] | Tensor,
    encoding: Encoding | None = None,
    n_noise: int = 4,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    batch_size: int = 1024,
) -> pd.DataFrame:
    """How far a learned score is from each reference, and where it lies between rule and memory, at each sigma.

    All of them see the same images y = e(x) + sigma noise, or y = x + sigma noise for x in numbers. The scores are
    (D(y, sigma) - y) / sigma^2.

    Args:
        net: any callable net(y, sigma) on images (B, C, H, W) with sigma (B,), which returns denoised images, alone or
            in a tuple, dict or dataclass. A module is called in evaluation mode.
        references: denoisers by name. Optima of laws are evaluated in float64, with the codes of the images; others,
            also those of densities (see `references`), as the net. The memorization coordinate runs from the one named
            ``population`` (0) to the one named ``empirical`` (1); where no population is known, name so the optimum of
            another half of the data.
        x: clean symbols (N, D), integers; or clean images, latents, points (N, ...), floats; or several such by split
            name, such as train, held-out and cube.
        sigmas: noise standard deviations, in data units.
        encoding: how symbols become images, in the codes that the net was trained on; by default that of the first of
            net and references that has one. A UserWarning tells where the net seems to know other codes.
        n_noise: noise draws for each sample; every sigma sees the same draws.
        generator: source of the noise, on the CPU. Every split starts from its present state; by default seeded with 0.
        dtype: of the images that the net gets, float32 or float64.
        batch_size: images a call; bounds the memory.

    Returns:
        One row per split and sigma:
        split: its name; ``"x"`` when x is a tensor.
        sigma: in data units.
        denoising_loss, denoising_loss_se: mean over images and dimensions of the squared error of the net's denoised
            images, in data units^2, and its standard error over samples.
        score_mse_R, score_mse_R_se: for each reference R, mean over images and dimensions of the squared difference of
            the scores, in units of 1 / data unit^2 (times sigma^4: that of the denoised images), and its standard
            error over samples.
        explained_R, explained_R_se: the share of the learned score that the reference explains, 1 - sum |s - s_R|^2 /
            sum |s|^2 over the same images (a score has mean 0 over images), and its standard error; 1 where they
            agree, negative where s_R is farther from s than 0 is.
        captured_R, captured_R_se: the other way round, the share of the reference's score that the net has,
            1 - sum |s - s_R|^2 / sum |s_R|^2.
        cosine_R, cosine_R_se: mean cosine of the two scores as vectors in R^(C D), and its standard error; a score of
            zero length counts as cosine 0.
        nearest: the reference with the least score_mse, the first of equals; None when the net returned NaN.
        memorization_coordinate, memorization_coordinate_se, off_line_fraction, off_line_distance, signal (in data
            units^2), effective_samples: see `line_position`; NaN without both optima.
        n_samples: samples behind the row.

    Raises:
        ValueError: samples, sigmas, encoding or dtype that do not fit; no reference; a denoiser that returns another
            shape than it was given, or has an encoding with other codes.
    """
    splits = check_splits(x, numbers=True)
    if all(samples.is_floating_point() for samples in splits.values()):
        if encoding is not None or any(hasattr(D, "encoding") for D in (net, *references.values())):
            raise ValueError("x holds numbers, which take no encoding; give integer symbols, see Encoding.decode")
    else:
        encoding = encoding or _find_encoding(net, references)
        net = _with_codes(net, encoding, "net")
        references = {name: _with_codes(denoiser, encoding, name) for name, denoiser in references.items()}
    if encoding is not None and not isinstance(net, OptimalDenoiser):
        warn_of_other_codes(lambda y, sigma: _call(net, y, sigma), next(iter(splits.values())), encoding, dtype)
    batches = noisy_batches(references, splits, sigmas, encoding, n_noise, generator, dtype, batch_size)
    return compare_on(net, batches, splits, sigmas)


class NoisyBatch(NamedTuple):
    """Noisy images of one split and sigma, with what each reference makes of them."""

    split: str
    rows: slice  # of the split's samples
    level: int  # index of sigma
    sigma: float
    clean: Tensor  # (B, C, H, W)
    y: Tensor  # like clean
    denoised: dict[str, Tensor]  # float64, like y


@torch.no_grad()
def noisy_batches(
    references: Mapping[str, Denoiser],
    splits: Mapping[str, Tensor],
    sigmas: Sequence[float] | Tensor,
    encoding: Encoding | None,
    n_noise: int = 4,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    batch_size: int = 1024,
    device: str = "cpu",
) -> Iterator[NoisyBatch]:
    """The images on which denoisers are compared, batch by batch; keep them in a list to compare several nets.

    Arguments as of `compare_denoisers`, encoding None for numbers; a batch holds at most batch_size images of one
    split, noise draw and sigma. References without weights, such as exact optima, are computed on the device.
    """
    levels = check_sigmas(sigmas)
    if not references or not len(levels) or n_noise < 1 or batch_size < 1:
        raise ValueError(
            f"need at least one reference, sigma, noise draw and image a batch, got {len(references)}, {len(levels)}, "
            f"n_noise={n_noise} and batch_size={batch_size}"
        )
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    generator = generator or torch.Generator().manual_seed(0)
    start = generator.get_state()
    for split, x in splits.items():
        if encoding is not None and (int(x.min()) < 0 or int(x.max()) >= encoding.alphabet):
            found = f"{int(x.min())}..{int(x.max())}"
            raise ValueError(f"symbols of split {split!r} must lie in 0..{encoding.alphabet - 1}, got {found}")
        generator.set_state(start)
        for _ in range(n_noise):
            shape = x.shape[1:] if encoding is None else (encoding.channels, *encoding.shape)
            noise = torch.randn(len(x), *shape, generator=generator)
            for low in range(0, len(x), batch_size):
                rows = slice(low, min(low + batch_size, len(x)))
                clean = x[rows].cpu().to(dtype) if encoding is None else encoding.encode(x[rows], dtype)
                for k, sigma in enumerate(levels.tolist()):
                    y = clean + sigma * noise[rows].to(dtype)
                    denoised = {R: _call(D, y, sigma, device) for R, D in references.items()}
                    yield NoisyBatch(split, rows, k, sigma, clean, y, denoised)


@torch.no_grad()
def compare_on(
    net: Denoiser,
    batches: Iterator[NoisyBatch] | Sequence[NoisyBatch],
    splits: Mapping[str, Tensor],
    sigmas: Sequence[float] | Tensor,
) -> pd.DataFrame:
    """`compare_denoisers` on images drawn by `noisy_batches`, with the same splits and sigmas."""
    levels = check_sigmas(sigmas)
    sums: dict[str, _Sums] = {}
    dtype = torch.float32
    for batch in batches:
        dtype = batch.y.dtype
        here = sums.setdefault(batch.split, _Sums(len(splits[batch.split]), len(levels), list(batch.denoised)))
        here.add(batch, _call(net, batch.y, batch.sigma))
    return pd.concat([here.table(split, levels, dtype) for split, here in sums.items()], ignore_index=True)


class _Sums:
    """Sums over the noise draws of each sample and sigma, (n, n_sigmas) each."""

    def __init__(self, n: int, n_sigmas: int, references: list[str]) -> None:
        def zeros() -> Tensor:
            return torch.zeros(n, n_sigmas, dtype=torch.float64)

        self.references = references
        self.squared = {R: zeros() for R in references}
        self.missed = zeros()  # squared errors of the net's denoised images
        self.own, self.reference = zeros(), {R: zeros() for R in references}  # squared scores, times sigma^4
        self.cosine = {R: zeros() for R in references}
        self.along, self.signal, self.displacement = zeros(), zeros(), zeros()
        self.draws, self.numbers = zeros(), zeros()

    def add(self, batch: NoisyBatch, denoised: Tensor) -> None:
        at = batch.rows, batch.level
        f, y = denoised.flatten(1), batch.y.double().cpu().flatten(1)
        exact = {R: D.flatten(1) for R, D in batch.denoised.items()}
        self.missed[at] += (f - batch.clean.double().cpu().flatten(1)).square().sum(1)
        self.own[at] += (f - y).square().sum(1)
        self.draws[at] += 1
        self.numbers[at] += f.shape[1]
        for R, D in exact.items():
            # cosine_similarity floors each norm at eps, in units of sigma here: a zero score gives 0, others are exact
            a, b = (f - y) / batch.sigma, (D - y) / batch.sigma
            self.squared[R][at] += (f - D).square().sum(1)
            self.reference[R][at] += (D - y).square().sum(1)
            self.cosine[R][at] += torch.cosine_similarity(a, b, dim=1, eps=1e-100)
        if "population" in exact and "empirical" in exact:
            p, q = exact["population"], exact["empirical"]
            self.along[at] += ((f - p) * (q - p)).sum(1)
            self.signal[at] += (q - p).square().sum(1)
            self.displacement[at] += (f - p).square().sum(1)

    def table(self, split: str, levels: Tensor, dtype: torch.dtype) -> pd.DataFrame:
        columns: dict[str, object] = {"split": split, "sigma": levels.numpy()}
        mse = {}
        loss, error = ratio_and_error(self.missed, self.numbers)
        columns |= {"denoising_loss": loss.numpy(), "denoising_loss_se": error.numpy()}
        for R in self.references:
            mse[R], error = ratio_and_error(self.squared[R], self.numbers)
            columns[f"score_mse_{R}"] = (mse[R] / levels**4).numpy()
            columns[f"score_mse_{R}_se"] = (error / levels**4).numpy()
            for name, scale in (("explained", self.own), ("captured", self.reference[R])):
                missed, error = ratio_and_error(self.squared[R], scale)
                columns[f"{name}_{R}"], columns[f"{name}_{R}_se"] = (1 - missed).numpy(), error.numpy()
            mean, error = ratio_and_error(self.cosine[R], self.draws)
            columns[f"cosine_{R}"], columns[f"cosine_{R}_se"] = mean.numpy(), error.numpy()
        columns["nearest"] = [nearest({R: float(mse[R][k]) for R in mse}) for k in range(len(levels))]
        position = line_position(self.along, self.signal, self.displacement, self.numbers, dtype)
        both = "population" in self.references and "empirical" in self.references
        columns |= {name: value.numpy() if both else float("nan") for name, value in position.items()}
        return pd.DataFrame(columns | {"n_samples": len(self.draws)})


def check_splits(x: Samples, numbers: bool = False) -> dict[str, Tensor]:
    """Symbols by split name, or numbers where these are allowed; a single tensor becomes the split ``"x"``.

    Raises:
        ValueError: no split; symbols that are not integers (N, D) with N >= 1; numbers of several shapes or not finite,
            or beside symbols.
    """
    splits = dict(x) if isinstance(x, Mapping) else {"x": x}
    if not splits:
        raise ValueError("x holds no split; give symbols (N, D), or a dict of them by split name")
    if numbers and all(isinstance(part, Tensor) and part.is_floating_point() for part in splits.values()):
        for name, part in splits.items():
            if part.ndim < 2 or len(part) == 0 or part.shape[1:] != next(iter(splits.values())).shape[1:]:
                raise ValueError(f"split {name!r} must hold numbers (N, ...) shaped alike, got {tuple(part.shape)}")
            if not bool(part.isfinite().all()):
                raise ValueError(f"split {name!r} must be finite; found NaN or an infinity")
        return splits
    for name, symbols in splits.items():
        if (
            not isinstance(symbols, Tensor) or symbols.dtype.is_floating_point
            or symbols.ndim != 2 or len(symbols) == 0
        ):  # fmt: skip
            what = (tuple(symbols.shape), symbols.dtype) if isinstance(symbols, Tensor) else type(symbols).__name__
            raise ValueError(
                f"split {name!r} must hold integer symbols (N, D) with N >= 1, got {what}; Encoding.decode turns "
                "images into symbols"
            )
    return splits


def _call(denoiser: Denoiser, y: Tensor, sigma: float, device: str = "cpu") -> Tensor:
    """The denoised images in float64 on the CPU, computed where the denoiser lives; without weights, on the device."""
    if isinstance(denoiser, OptimalDenoiser) and not isinstance(denoiser, DensityDenoiser):
        exact = y.double().to(device)
        output: object = denoiser(exact, exact.new_full((len(y),), sigma))
    else:
        weight = weight_of(denoiser)
        given = y.to(device if weight is None else weight.device)
        dtypes = [y.dtype] if weight is None else list(dict.fromkeys([y.dtype, weight.dtype]))
        with evaluation_mode(denoiser):
            output = tensor_in(answer(denoiser, given, given.new_full((len(y),), sigma), dtypes), tuple(y.shape))
    if not isinstance(output, Tensor) or output.shape != y.shape:
        raise ValueError(f"a denoiser must return images like it was given, {tuple(y.shape)}, got {shown(output)}")
    return output.double().cpu()


def _with_codes(denoiser: Denoiser, encoding: Encoding, name: str) -> Denoiser:
    """The denoiser for images with these codes: an exact one made for others is made again."""
    own = getattr(denoiser, "encoding", None)
    if not isinstance(own, Encoding) or own.same_codes(encoding):
        return denoiser
    if isinstance(denoiser, OptimalDenoiser):
        return OptimalDenoiser(denoiser.law, encoding)
    raise ValueError(f"{name} denoises images of {own}, and is to be shown images of {encoding}; give one encoding")


def _find_encoding(net: Denoiser, references: Mapping[str, Denoiser]) -> Encoding:
    for denoiser in (net, *references.values()):
        if isinstance(encoding := getattr(denoiser, "encoding", None), Encoding):
            return encoding
    raise ValueError("no denoiser here has an encoding; give encoding=Encoding(shape, alphabet, codes)")
