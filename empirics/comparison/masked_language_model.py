"""Any masked language model with HuggingFace's interface as a model of masked cells on grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .huggingface import LanguageModel, check_grids, check_symbol_tokens, configured, context_of, vocabulary_of


@dataclass(frozen=True)
class MaskedLanguageModel(LanguageModel):
    """A masked language model on grids of Q symbols; made by `huggingface_masked`, called like ours, ``model(x)``.

    Attributes:
        model: a masked language model of ``transformers``.
        mask_token_id: the token of a masked cell.
        symbol_token_ids: int64 (Q,), the token of each symbol.
        before: tokens in front of the first cell, such as BERT's ``[CLS]``.
        after: tokens behind the last cell, such as ``[SEP]``.
    """

    model: Any
    mask_token_id: int
    symbol_token_ids: Tensor
    before: tuple[int, ...]
    after: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Logits of every cell's symbol; their softmax is the law given "some symbol".

        Args:
            x: symbols (B, D), integers in 0..Q-1, or Q where masked.

        Returns:
            (B, D, Q), float32, or float64 if the model is; on the device of x.

        Raises:
            ValueError: symbols of another shape or range, or grids longer than the model's context.
        """
        return self._of_symbols(x)

    def _logits(self, x: Tensor) -> Iterator[Tensor]:
        """Logits of the cells over the whole vocabulary (b, D, V), on the model's device, for parts of the batch."""
        known = torch.cat([self.symbol_token_ids, torch.tensor([self.mask_token_id])])
        inner = configured(self.model)
        check_grids(x)
        if int(x.min()) < 0 or int(x.max()) >= len(known):
            found = f"{int(x.min())}..{int(x.max())}"
            raise ValueError(f"symbols must lie in 0..{len(known) - 1}, the last for a masked cell, got {found}")
        length = len(self.before) + x.shape[1] + len(self.after)
        if length > (context := context_of(inner) or length):
            raise ValueError(
                f"grids of {x.shape[1]} cells, {length} tokens in all, do not fit the model's context of {context}"
            )
        cells = known.to(x.device)[x.long()]
        ends = [cells.new_tensor(tokens).expand(len(x), -1) for tokens in (self.before, self.after)]
        tokens = torch.cat([ends[0], cells, ends[1]], 1).to(inner.device)
        for logits in self._run(tokens):
            yield logits[:, len(self.before) : len(self.before) + x.shape[1]]


def huggingface_masked(
    model: Any,
    symbol_token_ids: Sequence[int] | Tensor,
    mask_token_id: int,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
) -> MaskedLanguageModel:
    """Read a HuggingFace masked language model as a model of masked cells, to set beside the exact laws.

    A grid x (B, D), with the symbol Q where masked, is given as the tokens before, one token a cell, after, and the
    logits of the Q symbols are read off at each cell. Leaving out all other tokens renormalises the law over the
    symbols; `MaskedLanguageModel.outside_mass` tells how much that hides. Dropout is off during a call, and the model
    is left in the mode it was in. Large vocabularies are run in parts of the batch.

    Args:
        model: a masked language model of ``transformers`` (any that a class ``...ForMaskedLM`` holds), also compiled,
            in ``DataParallel``, or in a wrapper of your own that is called with tokens (B, T).
        symbol_token_ids: the token of each symbol 0..Q-1, Q at least 2, all different.
        mask_token_id: the token of a masked cell; a tokenizer names it ``mask_token_id``.
        before, after: tokens around the cells that stood there in training, such as ``[cls]`` and ``[sep]``.

    Returns:
        A callable x (B, D) -> logits (B, D, Q), for `compare_masked`.

    Raises:
        ValueError: tokens outside the vocabulary or repeated, a mask that is a symbol, an encoder-decoder model, or one
            whose predictions do not change with later tokens (a causal language model).
    """
    inner = configured(model)
    symbols = check_symbol_tokens(symbol_token_ids, vocabulary_of(inner))
    for token in (mask_token_id, *before, *after):
        if not 0 <= token < vocabulary_of(inner):
            raise ValueError(f"token {token} lies outside the model's vocabulary, 0..{vocabulary_of(inner) - 1}")
    if mask_token_id in symbols:
        raise ValueError(f"the mask's token {mask_token_id} is that of a symbol too; give the token of masked cells")
    if getattr(inner.config, "is_encoder_decoder", False):
        raise ValueError("an encoder-decoder model is not a masked language model")
    adapted = MaskedLanguageModel(model, int(mask_token_id), symbols, tuple(map(int, before)), tuple(map(int, after)))
    _check_bidirectional(adapted)
    return adapted


def _check_bidirectional(model: MaskedLanguageModel) -> None:
    """ValueError for a model whose first cell does not see the second."""
    Q = len(model.symbol_token_ids)
    with torch.no_grad():
        logits = model(torch.tensor([[Q, symbol] for symbol in range(Q)]))[:, 0]
    if bool((logits == logits[0]).all()):
        raise ValueError(
            "what the model predicts for a masked cell does not depend on the cell after it: it is a causal language "
            "model, see huggingface_next_token"
        )
