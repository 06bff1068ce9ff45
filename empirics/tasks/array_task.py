"""Learning from arrays of one's own: no rule, so copying is held against held-out samples, and so is the loss.

There is no tau_rule. In its place stands tau_best, the step with the least loss on held-out samples: until then the
network gets better on data it has not seen. tau_mem is where `Memorization` finds more copies among the generations
than among the held-out samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...theory import EmpiricalDensity, OptimalDenoiser
from ..clocks import RULED, Clocks
from ..data import random_stream
from ..data_files import HELD_OUT, data_digest, read_data, read_held_out
from ..families import Batches, Generations, family
from ..memorization import Memorization
from ..onsets import onset_as_json
from ..pixels import Pixels, as_samples
from ..runs.files import read_samples, write_samples
from ..runs.foreign_files import DamagedFile, printable
from ..unruled import DataEvaluator
from .task import Task, TrainingData

MOST_HELD_OUT = 4096
"""Held-out samples that a run uses, at most."""
LOSS_DRAWS = 64, 16
"""Batch size and batches behind a held-out loss, and behind a floor."""


class ArrayTask(Task):
    """See `Task`; its samples are floats or bytes (N, ...), as the file holds them."""

    @property
    def rule(self) -> None:
        return None

    def check(self) -> None:
        config = self.config
        kind = family(config.model)
        if kind.channel != "gaussian":
            raise ValueError(f"data of your own are numbers, and {config.model} reads symbols; take a DiT")
        if config.encoding is not None:
            raise ValueError(f"encoding={config.encoding!r} is for symbols; leave it out with data")
        if config.online:
            raise ValueError("online draws fresh grids of a rule; data of your own end, leave it out")
        if config.stop_when in RULED:
            raise ValueError(
                f"stop_when={config.stop_when!r} needs a rule; with data take never, memorized, both or patience"
            )
        self._read()
        _ = self.tokens

    @property
    def tokens(self) -> int:
        return Pixels(self._read()[0].shape[1:], self.config.patch).tokens

    def data(self) -> TrainingData:
        """N random samples of the file; held-out ones are the file's own, or others of it, at most 4096 of them."""
        config = self.config
        x, own = self._read()
        order = torch.randperm(len(x), generator=random_stream(config.seed, "training set")).numpy()
        held_out = _rows(x, order[config.n_train :]) if own is None else own
        if len(held_out) > MOST_HELD_OUT:
            some = torch.randperm(len(held_out), generator=random_stream(config.seed, "held-out"))[:MOST_HELD_OUT]
            held_out = _rows(held_out, some.numpy())
        train = as_samples(_rows(x, order[: config.n_train]))
        return TrainingData(train, as_samples(held_out), data_digest(self._source))

    def codes(self, data: TrainingData | None) -> Pixels:
        assert data is not None
        return Pixels.of(data.train, self.config.patch)

    def evaluator(self, data: TrainingData) -> Callable[[Generations], dict[str, float]]:
        measured = DataEvaluator(Memorization(data.train, data.held_out))
        return lambda generations: measured.metrics(generations.symbols)

    def clocks(self, data: TrainingData, seen: pd.DataFrame | None = None) -> Clocks:
        return Clocks(train=data.train, control=data.held_out, stop=self.config.stop_when, seen=seen)

    def see(
        self, clocks: Clocks, step: int, generations: Generations, model: nn.Module, data: TrainingData
    ) -> dict[str, float]:
        assert data.held_out is not None
        loss = self.mean_loss(model, data.held_out, self.codes(data))
        ratios = clocks.see(step, generations, held_out_loss=loss)
        return {**ratios, "held_out_loss": loss, "ambiguous": float(generations.ambiguous.double().mean())}

    def outcome(self, clocks: Clocks) -> dict[str, Any]:
        test = clocks.memorization
        return {
            "onsets": {name: onset_as_json(onset) for name, onset in clocks.onsets.items()},
            "chance": test.chance,
            "null": {"memorization": test.chance},  # what is seen without copying: held-out samples do not copy
            "control_size": test.control_size,
            "duplicates": len(test.duplicates),
            "held_out_duplicates": len(test.held_out_duplicates),
            "held_out_near": len(test.held_out_near),
        }

    def floors(self, data: TrainingData) -> dict[str, float]:
        """The loss of the optimum that has memorized; the population's is not known."""
        codes = self.codes(data)
        optimum = OptimalDenoiser(EmpiricalDensity(codes.encode(data.train)))
        return {"empirical": self.mean_loss(optimum, data.train, codes)}

    @torch.no_grad()
    def mean_loss(self, denoiser: Any, x: Tensor, codes: Pixels) -> float:
        """The training loss of a denoiser on some samples, a mean over the same 1024 draws of sample and noise always.

        Args:
            denoiser: net(y, sigma) on encoded images.
            x: samples as stored.
            codes: of the run.
        """
        config = self.config
        weight = next(denoiser.parameters(), None) if isinstance(denoiser, nn.Module) else None
        place = torch.device("cpu") if weight is None else weight.device
        kind = family(config.model)
        size, count = LOSS_DRAWS
        few = replace(config, batch_size=size, seed=config.seed ^ 1)  # other noise than that of training
        draws = Batches(kind, few, x, codes, place)
        return float(torch.stack([kind.loss(denoiser, draws[k], codes) for k in range(count)]).mean())

    def write_data(self, path: Path, data: TrainingData) -> None:
        assert data.held_out is not None
        source = np.frombuffer(bytes.fromhex(data.source), np.uint8)
        write_samples(path, train=data.train.numpy(), held_out=data.held_out.numpy(), source=source)

    def read_data(self, path: Path) -> TrainingData:
        arrays = read_samples(path, ("train", HELD_OUT, "source"))
        train, held_out, source = arrays["train"], arrays[HELD_OUT], arrays["source"]
        shapes = train.shape[1:] == held_out.shape[1:] and source.shape == (32,) and source.dtype == np.uint8
        if not shapes or train.ndim < 2 or len(train) != self.config.n_train or train.dtype != held_out.dtype:
            raise DamagedFile(f"{printable(path)} does not hold {self.config.n_train} samples and held-out ones")
        try:
            return TrainingData(as_samples(train), as_samples(held_out), source.tobytes().hex())
        except ValueError as fault:
            raise DamagedFile(f"{printable(path)}: {fault}") from None

    def check_source(self, path: Path) -> None:
        if self.read_data(path).source != data_digest(self._source):
            raise ValueError(
                f"{self._source} has changed since the run in {path.parent} began; start in another folder"
            )

    def write_generations(self, path: Path, generations: Generations) -> str:
        return write_samples(path, x=generations.symbols.numpy(), broken=generations.ambiguous.numpy())

    def read_generations(self, path: Path) -> Generations:
        arrays = read_samples(path, ("x", "broken"))
        x, broken = arrays["x"], arrays["broken"]
        if x.ndim < 2 or len(x) != self.config.n_eval or broken.shape != (len(x),) or broken.dtype != bool:
            raise DamagedFile(f"{printable(path)} does not hold {self.config.n_eval} generations")
        return Generations(as_samples(x), torch.from_numpy(broken))

    @property
    def _source(self) -> str:
        assert self.config.data is not None
        return self.config.data

    def _read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Samples and, where the file has them, held-out ones; ValueError where they do not fit the config or each
        other.
        """
        try:
            x, held_out = read_data(self._source), read_held_out(self._source)
        except ImportError as missing:
            raise ValueError(str(missing)) from missing
        n, most = self.config.n_train, len(x) - (2 if held_out is None else 0)
        if not 2 <= n <= most:
            kept = "" if held_out is not None else f"; the others of its {len(x):,} samples are held out, for chance"
            raise ValueError(f"n_train must lie in 2..{most} for {self._source}, got {n}{kept}")
        if held_out is not None and (held_out.shape[1:] != x.shape[1:] or (held_out.dtype.kind != x.dtype.kind)):
            raise ValueError(f"held_out of {self._source} must be like its samples, {x.shape[1:]} {x.dtype}")
        return x, held_out


def _rows(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Some rows in this order, read from a memory map in the order of the file."""
    order = np.argsort(at, kind="stable")
    rows = np.empty((len(at), *x.shape[1:]), x.dtype)
    rows[order] = x[at[order]]
    return rows
