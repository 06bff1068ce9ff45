"""Any causal language model with HuggingFace's interface as a next-symbol model on grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .adapters import evaluation_mode

CHUNK = 2**26  # most logits held at once: vocabularies run to 1e5 and more


@dataclass(frozen=True)
class CausalLanguageModel:
    """A language model on grids of Q symbols; made by `huggingface_next_token`, called like a GPT, ``model(x)``.

    Attributes:
        model: a causal language model of ``transformers``.
        bos_token_id: the token before the first cell.
        symbol_token_ids: int64 (Q,), the token of each symbol.
    """

    model: Any
    bos_token_id: int
    symbol_token_ids: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Next-symbol logits, teacher-forced: position t sees x[:, :t]. Their softmax is the law given "some symbol".

        Args:
            x: symbols (B, D), integers in 0..Q-1.

        Returns:
            (B, D, Q), float32, or float64 if the model is; on the device of x.

        Raises:
            ValueError: symbols of another shape or range, or grids longer than the model's context.
        """
        symbols = self.symbol_token_ids
        return torch.cat([part[..., symbols.to(part.device)].to(x.device) for part in self._logits(x)])

    def outside_mass(self, x: Tensor) -> Tensor:
        """The probability at each cell of tokens that are no symbol, which `__call__` leaves out: (B, D) in [0, 1]."""
        masses = []
        for part in self._logits(x):
            outside = torch.ones(part.shape[-1], dtype=torch.bool, device=part.device)
            outside[self.symbol_token_ids.to(part.device)] = False
            masses.append((part[..., outside].logsumexp(-1) - part.logsumexp(-1)).exp().to(x.device))
        return torch.cat(masses)

    def _logits(self, x: Tensor) -> Iterator[Tensor]:
        """Logits over the whole vocabulary (b, D, V), on the model's device, for parts of the batch."""
        symbols, config = self.symbol_token_ids, self.model.config
        if not isinstance(x, Tensor) or x.dtype.is_floating_point or x.ndim != 2 or not x.numel():
            what = (tuple(x.shape), x.dtype) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"x must hold integer symbols (B, D), got {what}")
        if int(x.min()) < 0 or int(x.max()) >= len(symbols):
            raise ValueError(f"symbols must lie in 0..{len(symbols) - 1}, got {int(x.min())}..{int(x.max())}")
        context = getattr(config, "max_position_embeddings", None) or x.shape[1]
        if x.shape[1] > context:
            raise ValueError(f"grids of {x.shape[1]} cells do not fit the model's context of {context} tokens")
        tokens = symbols.to(x.device)[x.long()]
        tokens = torch.cat([tokens.new_full((len(x), 1), self.bos_token_id), tokens[:, :-1]], 1).to(self.model.device)
        for part in tokens.split(max(1, CHUNK // (x.shape[1] * _vocabulary(self.model)))):
            with evaluation_mode(self.model):
                # An explicit mask: a symbol may be the model's pad token, at which some models warn without one.
                output = self.model(input_ids=part, attention_mask=torch.ones_like(part), use_cache=False)
            yield output.logits if output.logits.dtype == torch.float64 else output.logits.float()


def huggingface_next_token(
    model: Any, symbol_token_ids: Sequence[int] | Tensor, bos_token_id: int | None = None
) -> CausalLanguageModel:
    """Read a HuggingFace causal language model as a next-symbol model, to set beside the exact next-symbol laws.

    A grid x (B, D) is given as the tokens bos, symbol_token_ids[x[:, 0]], symbol_token_ids[x[:, 1]], ..., and the
    logits of the Q symbols are read off at each position. Leaving out all other tokens renormalises the law over the
    symbols; `CausalLanguageModel.outside_mass` tells how much that hides. Dropout is off during a call, and the model
    is left in the mode it was in. Large vocabularies are run in parts of the batch.

    Args:
        model: a causal language model of ``transformers``, 4.46 or newer (any that a class ``...ForCausalLM`` holds).
        symbol_token_ids: the token of each symbol 0..Q-1, Q at least 2, all different.
        bos_token_id: the token before the first cell; by default that of ``model.config``.

    Returns:
        A callable x (B, D) -> logits (B, D, Q), teacher-forced: position t sees x[:, :t].

    Raises:
        ValueError: tokens outside the vocabulary or repeated, no begin token, an encoder-decoder model, or one whose
            predictions change with later tokens (a masked language model).
    """
    symbols = torch.as_tensor(symbol_token_ids)
    vocabulary = _vocabulary(model)
    if symbols.ndim != 1 or symbols.dtype.is_floating_point or len(symbols) < 2 or len(symbols.unique()) < len(symbols):
        raise ValueError(f"symbol_token_ids must be at least 2 different integers, got {symbols.tolist()}")
    bos = model.config.bos_token_id if bos_token_id is None else bos_token_id
    if bos is None:
        raise ValueError("the model's config names no begin token; give bos_token_id")
    for token in (*symbols.tolist(), bos):
        if not 0 <= token < vocabulary:
            raise ValueError(f"token {token} lies outside the model's vocabulary, 0..{vocabulary - 1}")
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError("an encoder-decoder model is not a causal language model")
    adapted = CausalLanguageModel(model, int(bos), symbols.long().cpu())
    _check_causal(adapted)
    return adapted


def _vocabulary(model: Any) -> int:
    return int(model.config.get_text_config().vocab_size)


@torch.no_grad()
def _check_causal(adapted: CausalLanguageModel) -> None:
    """A model that sees the symbol it is asked for would look perfect: refuse it."""
    first, second = adapted(torch.tensor([[0, 0], [1, 0]]))[:, 0]
    rounding = torch.finfo(adapted.model.dtype).eps ** 0.5
    if float((first - second).abs().max()) > rounding * float(first.abs().max()):
        raise ValueError("the model's prediction at a cell changes with later cells; it is not a causal language model")
