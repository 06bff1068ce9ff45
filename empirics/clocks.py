"""Both clocks of any training loop: give it what the model generates, and it tells when rule and copying set in.

For data without a rule, the clock of copying runs against held-out samples, and the best held-out loss is the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..theory import Encoding, NullOfCopying, Rule
from ..theory.arguments import whole_number
from ..theory.encodings import default_encoding
from .evaluation import Evaluator
from .families import Generations
from .memorization import Memorization, Metric
from .onsets import CLOCKS, Onset, detect_onset, find_onsets
from .unruled import DataEvaluator, data_onsets

STOP_RULES = {
    "never": "go on",
    "ruled": "tau_rule is known",
    "memorized": "tau_mem is known",
    "both": "both clocks are known",
    "copied": "both clocks are known and memorization was at least 0.3 at two evaluations in a row, or 0.9 at three",
    "window": "the innovation window has opened and closed again (Fig. 4)",
    "patience": "the held-out loss has not improved for `patience` evaluations",
}
"""When `Clocks.should_stop` says so."""
RULED = ("ruled", "copied", "window")
"""Those that need a rule."""


class Clocks:
    """The two clocks of a training loop, its own or yours.

        clocks = tc.Clocks(rule, train)
        for step in range(steps):
            ...
            if step in evaluations:
                clocks.see(step, model.generate(1024))
                if clocks.should_stop:
                    break
        clocks.onsets["tau_mem"], clocks.table

    Evaluations may come at any steps, ascending, with any number of generations each; an onset is an interval between
    two of them, so that a geometric grid of steps gives both clocks to the same relative precision.

    Data that no rule defines, such as images, need held-out samples instead, ``Clocks(train=x, control=held_out)``.
    Then tau_mem is where `Memorization` finds more copies than among the held-out samples. There is no tau_rule: in its
    place stands ``tau_best``, the evaluation with the least held-out loss given to `see`.

    Args:
        rule: the rule that generations should obey; None for data without one.
        train: training symbols (N, D); without a rule, data as of `Memorization`.
        encoding: how generated images are read as symbols; by default -1/+1 for two symbols and one-hot above.
        stop: when `should_stop` is true, one of `STOP_RULES`.
        patience: evaluations without a better held-out loss, for the stop rule of that name.
        seen: a `table` to continue from.
        control: without a rule, held-out samples of the same source as train.
        metric, embed: without a rule, what counts as a copy, see `Memorization`.

    Raises:
        ValueError: symbols that do not fit the rule, an unknown stop rule or one that needs a rule, a patience below 1,
            neither rule nor control, or both.
    """

    def __init__(
        self,
        rule: Rule | None = None,
        train: Any = None,
        encoding: Encoding | None = None,
        stop: str = "both",
        patience: int = 5,
        seen: pd.DataFrame | None = None,
        *,
        control: Any = None,
        metric: Metric = "l2-ratio",
        embed: Callable[[Any], Any] | None = None,
    ) -> None:
        if train is None or (rule is None) == (control is None):
            raise ValueError("give Clocks(rule, train), or Clocks(train=x, control=held_out) for data without a rule")
        self.stop, self.patience = _stop_rule(stop, rule), whole_number("patience", patience, least=1)
        self._unruled: DataEvaluator | None = None
        if rule is None:
            if encoding is not None:
                raise ValueError("an encoding needs a rule")
            self._unruled = DataEvaluator(Memorization(train, control, metric, embed))
        else:
            self.rule = rule
            self.encoding = encoding or default_encoding(rule.shape, rule.alphabet)
            self.evaluator = Evaluator(rule, train)
        self._rows: list[dict[str, float]] = []
        for row in [] if seen is None else seen.to_dict("records"):
            self._rows.append({str(name): value for name, value in row.items()})

    def see(
        self, step: int, generated: Tensor | np.ndarray | Generations, held_out_loss: float | None = None
    ) -> dict[str, float]:
        """Take one evaluation.

        Args:
            step: training steps so far; later than the evaluation before.
            generated: symbols (n, D), integers; or images, floats, which `encoding` reads; or both parts of
                `Encoding.decode`, symbols and which of them are ambiguous. Without a rule, samples (n, ...) like train.
            held_out_loss: the model's loss on data it is not trained on, kept in the table; `stop="patience"` and
                ``tau_best`` need it.

        Returns:
            The evaluation's ratios in [0, 1] with their exact 95% intervals, `_low` and `_high`: rule_accuracy,
            memorization with its one-sided p against chance, novel_valid and others, see `Run.metrics`. Without a rule:
            memorization and its chance with their intervals, the p-value, and the median distance to the nearest
            training sample.

        Raises:
            ValueError: a step not after the last, no generations, or generations that do not fit the rule.
        """
        if self._rows and step <= self._rows[-1]["step"]:
            raise ValueError(f"steps must increase: {step} comes after {self._rows[-1]['step']:g}")
        if self._unruled:
            samples = generated.symbols if isinstance(generated, Generations) else generated
            ratios, n = self._unruled.metrics(samples), len(samples)
        else:
            generations = self._read(generated)
            ratios, n = self.evaluator.metrics(generations), len(generations.symbols)
        kept = {} if held_out_loss is None else {"held_out_loss": float(held_out_loss)}
        self._rows.append({"step": step, "n_generated": n, **ratios, **kept})
        return ratios

    @property
    def table(self) -> pd.DataFrame:
        """One row per evaluation: step, n_generated, and what `see` returned."""
        return pd.DataFrame(self._rows)

    @property
    def onsets(self) -> dict[str, Onset]:
        """``tau_rule`` and ``tau_mem``, each in the interval (lower, upper] of training steps; censored if not seen.

        See `CRITERIA` for what counts, and `find` for its other criteria. Without a rule,
        ``tau_best`` and ``tau_mem``: the first lies between the evaluations on either side of the least loss,
        censored while that is the last one; the second asks for 0.01 more copies than the control has, and p < 1e-3, at
        two evaluations in a row.
        """
        return self._onsets(self.table)

    def find(self, criteria: Sequence[str]) -> dict[str, Onset]:
        """The onsets by any criteria of `CRITERIA`, by their names; ValueError before the first evaluation."""
        return self._find(criteria, self.table)

    @property
    def null(self) -> NullOfCopying:
        """The memorization that a model shows without copying, against which tau_mem is read."""
        return self.evaluator.null

    @property
    def memorization(self) -> Memorization:
        """The test of copying, without a rule."""
        if self._unruled is None:
            raise ValueError("a rule has its exact chance and null of copying; `memorization` is for data without one")
        return self._unruled.memorization

    @property
    def should_stop(self) -> bool:
        """Whether the stop rule is met."""
        return self._meets(self.stop, self.table)

    def stopping_step(self, stop: str) -> float:
        """The step of the first evaluation at which a stop rule would have ended this training; inf if it would not.

        Raises:
            ValueError: an unknown rule, or one that needs a rule of the data or held-out losses that there are not.
        """
        _stop_rule(stop, None if self._unruled else self.rule)
        table = self.table
        return next((row["step"] for k, row in enumerate(self._rows, 1) if self._meets(stop, table[:k])), np.inf)

    def _meets(self, stop: str, table: pd.DataFrame) -> bool:
        """Whether evaluations meet a stop rule."""
        if stop == "never" or table.empty:
            return False
        if stop == "patience":
            return _evaluations_since_best(table) >= self.patience
        if stop == "window":
            return not self._find(("window_closes",), table)["window_closes"].censored
        onsets = self._onsets(table)
        wanted: Sequence[str] = {"ruled": ["tau_rule"], "memorized": ["tau_mem"]}.get(stop, list(onsets))
        known = not any(onsets[name].censored for name in wanted)
        if stop != "copied":
            return known
        steps, copied = (table[name].to_numpy() for name in ("step", "memorization"))
        # Where nearly all are copies, hardly a generation is left that could show the rule: tau_rule stays unseen.
        spent = not detect_onset(steps, copied, 0.9, patience=3).censored
        return spent or (known and not detect_onset(steps, copied, 0.3, patience=2).censored)

    def _onsets(self, table: pd.DataFrame) -> dict[str, Onset]:
        if self._unruled:
            return data_onsets(table)
        if table.empty:  # nothing is known
            return {name: Onset(np.inf, 0.0, np.inf, True) for name in CLOCKS}
        return self._find(CLOCKS, table)

    def _find(self, criteria: Sequence[str], table: pd.DataFrame) -> dict[str, Onset]:
        n = table["n_generated"].to_numpy() if len(table) else None
        null = self.null.memorization
        return find_onsets(table, self.evaluator.chance, self.rule.alphabet, criteria, null=null, n_generated=n)

    def _read(self, generated: Tensor | np.ndarray | Generations) -> Generations:
        if isinstance(generated, tuple):
            symbols, ambiguous = generated
            generations = Generations(torch.as_tensor(symbols).cpu(), torch.as_tensor(ambiguous).cpu())
        else:
            x = torch.as_tensor(generated).detach().cpu()
            if x.dtype.is_floating_point:
                generations = Generations(*self.encoding.decode(x))
            else:
                generations = Generations(x, torch.zeros(len(x) if x.ndim else 0, dtype=torch.bool))
        x = generations.symbols
        if x.ndim != 2 or not len(x) or x.shape[1] != self.rule.dim or x.dtype.is_floating_point:
            wanted = f"(n, {self.rule.dim}) with n >= 1"
            raise ValueError(f"generated must be symbols {wanted}, or images, got {tuple(x.shape)} {x.dtype}")
        if int(x.min()) < 0 or int(x.max()) >= self.rule.alphabet:
            found = f"{int(x.min())}..{int(x.max())}"
            raise ValueError(f"generated symbols must lie in 0..{self.rule.alphabet - 1}, got {found}")
        return generations


def _stop_rule(stop: str, rule: Rule | None) -> str:
    if stop not in STOP_RULES:
        raise ValueError(f"stop must be one of {', '.join(STOP_RULES)}, got {stop!r}")
    if rule is None and stop in RULED:
        raise ValueError(f"stop={stop!r} needs a rule; without one stop can be never, memorized, both or patience")
    return stop


def _evaluations_since_best(table: pd.DataFrame) -> int:
    losses = table.get("held_out_loss", pd.Series(dtype=float)).to_numpy(float)
    if len(losses) != len(table) or np.isnan(losses).any():
        raise ValueError("stop='patience' needs the held_out_loss of every evaluation; give it to see()")
    return len(losses) - 1 - int(losses.argmin())
