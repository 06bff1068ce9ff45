"""Any causal language model with HuggingFace's interface as a next-symbol model on grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .causality import check_causal
from .networks import evaluation_mode, objects_within, shown, takes, tensor_in

CHUNK = 2**26  # most logits held at once: vocabularies run to 1e5 and more


class LanguageModel:
    """What both kinds of language models on grids share: the logits of the symbols out of those of a vocabulary."""

    model: Any
    symbol_token_ids: Tensor

    def outside_mass(self, x: Tensor) -> Tensor:
        """The probability at each cell of tokens that are no symbol, which `__call__` leaves out: (B, D) in [0, 1]."""
        masses = []
        for part in self._logits(x):
            outside = torch.ones(part.shape[-1], dtype=torch.bool, device=part.device)
            outside[self.symbol_token_ids.to(part.device)] = False
            masses.append((part[..., outside].logsumexp(-1) - part.logsumexp(-1)).exp().to(x.device))
        return torch.cat(masses)

    def _of_symbols(self, x: Tensor) -> Tensor:
        """Logits of the symbols (B, D, Q), on the device of x."""
        symbols = self.symbol_token_ids
        return torch.cat([part[..., symbols.to(part.device)].to(x.device) for part in self._logits(x)])

    def _logits(self, x: Tensor) -> Iterator[Tensor]:
        """Logits over the whole vocabulary (b, D, V), on the model's device, for parts of the batch."""
        raise NotImplementedError

    def _run(self, tokens: Tensor, **wanted: bool) -> Iterator[Tensor]:
        """Logits (b, T, V) of tokens (B, T), in parts that memory holds; options are passed where they are taken."""
        vocabulary = vocabulary_of(configured(self.model))
        for part in tokens.split(max(1, CHUNK // (tokens.shape[1] * vocabulary))):
            # An explicit mask: a symbol may be the model's pad token, at which some models warn or look away without.
            options = {"attention_mask": torch.ones_like(part), **wanted}
            options = {name: value for name, value in options.items() if takes(self.model, part, **{name: value})}
            with evaluation_mode(self.model):
                named = takes(self.model, input_ids=part)
                output = self.model(input_ids=part, **options) if named else self.model(part, **options)
            logits = tensor_in(output, (*part.shape, vocabulary))
            if not isinstance(logits, Tensor) or logits.shape[:2] != part.shape or logits.ndim != 3:
                raise ValueError(
                    f"the model must return logits {(*part.shape, vocabulary)}, alone or in an output with logits; got "
                    f"{shown(logits)}"
                )
            yield logits if logits.dtype == torch.float64 else logits.float()


@dataclass(frozen=True)
class CausalLanguageModel(LanguageModel):
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
        return self._of_symbols(x)

    def _logits(self, x: Tensor) -> Iterator[Tensor]:
        """Logits over the whole vocabulary (b, D, V), on the model's device, for parts of the batch."""
        symbols, inner = self.symbol_token_ids, configured(self.model)
        check_grids(x)
        if int(x.min()) < 0 or int(x.max()) >= len(symbols):
            raise ValueError(f"symbols must lie in 0..{len(symbols) - 1}, got {int(x.min())}..{int(x.max())}")
        context = context_of(inner) or x.shape[1]
        if x.shape[1] > context:
            raise ValueError(f"grids of {x.shape[1]} cells do not fit the model's context of {context} tokens")
        tokens = symbols.to(x.device)[x.long()]
        tokens = torch.cat([tokens.new_full((len(x), 1), self.bos_token_id), tokens[:, :-1]], 1).to(inner.device)
        yield from self._run(tokens, use_cache=False)


def huggingface_next_token(
    model: Any, symbol_token_ids: Sequence[int] | Tensor, bos_token_id: int | None = None
) -> CausalLanguageModel:
    """Read a HuggingFace causal language model as a next-symbol model, to set beside the exact next-symbol laws.

    A grid x (B, D) is given as the tokens bos, symbol_token_ids[x[:, 0]], symbol_token_ids[x[:, 1]], ..., and the
    logits of the Q symbols are read off at each position. Leaving out all other tokens renormalises the law over the
    symbols; `CausalLanguageModel.outside_mass` tells how much that hides. Dropout is off during a call, and the model
    is left in the mode it was in. Large vocabularies are run in parts of the batch.

    Args:
        model: a causal language model of ``transformers``, 4.46 or newer (any that a class ``...ForCausalLM`` holds),
            also compiled, in ``DataParallel``, or in a wrapper of your own that is called with tokens (B, D).
        symbol_token_ids: the token of each symbol 0..Q-1, Q at least 2, all different.
        bos_token_id: the token before the first cell; by default that of ``model.config``.

    Returns:
        A callable x (B, D) -> logits (B, D, Q), teacher-forced: position t sees x[:, :t].

    Raises:
        ValueError: tokens outside the vocabulary or repeated, no begin token, an encoder-decoder model, or one whose
            predictions change with later tokens (a masked language model).
    """
    inner = configured(model)
    vocabulary = vocabulary_of(inner)
    symbols = check_symbol_tokens(symbol_token_ids, vocabulary)
    bos = inner.config.bos_token_id if bos_token_id is None else bos_token_id
    if bos is None:
        raise ValueError("the model's config names no begin token; give bos_token_id")
    if not 0 <= bos < vocabulary:
        origin = "of the model's config " if bos_token_id is None else ""
        raise ValueError(
            f"the begin token {bos} {origin}lies outside the model's vocabulary, 0..{vocabulary - 1}; give "
            "bos_token_id, the token that stood before the first cell in training"
        )
    if getattr(inner.config, "is_encoder_decoder", False):
        raise ValueError("an encoder-decoder model is not a causal language model")
    adapted = CausalLanguageModel(model, int(bos), symbols)
    # three cells: one to ask for, one before it and one after it
    check_causal(adapted, torch.zeros(1, min(3, context_of(inner) or 3), dtype=torch.int64), len(symbols), inner.dtype)
    return adapted


def check_grids(x: Tensor) -> None:
    """ValueError unless x holds integer symbols (B, D)."""
    if not isinstance(x, Tensor) or x.dtype.is_floating_point or x.ndim != 2 or not x.numel():
        what = (tuple(x.shape), x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must hold integer symbols (B, D), got {what}")


def check_symbol_tokens(symbol_token_ids: Sequence[int] | Tensor, vocabulary: int) -> Tensor:
    """The token of each symbol, int64 (Q,); ValueError unless they are different tokens of the vocabulary."""
    symbols = torch.as_tensor(symbol_token_ids)
    if symbols.ndim != 1 or symbols.dtype.is_floating_point or len(symbols) < 2 or len(symbols.unique()) < len(symbols):
        raise ValueError(f"symbol_token_ids must be at least 2 different integers, got {symbols.tolist()}")
    for token in symbols.tolist():
        if not 0 <= token < vocabulary:
            raise ValueError(f"token {token} lies outside the model's vocabulary, 0..{vocabulary - 1}")
    return symbols.long().cpu()


def configured(model: Any) -> Any:
    """The model of ``transformers`` that a model is or holds: it knows vocabulary, begin token, context and device."""
    for thing in objects_within(model):
        if hasattr(getattr(thing, "config", None), "get_text_config") and hasattr(thing, "device"):
            return thing
    raise ValueError(
        f"found no model of transformers, with its config, in {type(model).__name__}; compare_next_token takes any "
        "callable that returns logits (B, D, Q)"
    )


def context_of(model: Any) -> int | None:
    """The most tokens that a model takes; None where its config sets no bound."""
    return getattr(model.config, "max_position_embeddings", None)


def vocabulary_of(model: Any) -> int:
    return int(model.config.get_text_config().vocab_size)
