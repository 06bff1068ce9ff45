"""Does a next-token model see the symbol that it is asked for? One that does would look perfect."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MOST_POSITIONS = 64  # of the cells that are changed in turn


@torch.no_grad()
def check_causal(
    logits_of: Callable[[Tensor], Tensor], x: Tensor, alphabet: int, dtype: torch.dtype, batch_size: int = 1024
) -> None:
    """ValueError unless the logits at position t depend on x[:, :t] alone.

    Each cell of a grid is changed in turn; at and before it the logits must stay.

    Args:
        logits_of: symbols (B, D) -> logits (B, D, Q).
        x: symbols (N, D), of which the first row is used.
        alphabet: Q.
        dtype: the precision in which the model computes: changes below its square root count as rounding.
        batch_size: rows a call.
    """
    D = x.shape[1]
    cells = torch.linspace(0, D - 1, min(D, MOST_POSITIONS), dtype=torch.float64).round().long().unique()
    rows = x[:1].long().cpu().repeat(len(cells) + 2, 1)  # the last two stay as they are
    at = torch.arange(len(cells))
    rows[at, cells] = (rows[at, cells] + 1) % alphabet
    logits = torch.cat([logits_of(part) for part in rows.split(batch_size)]).double().cpu()
    same = logits[-1]
    rounding = torch.finfo(dtype).eps ** 0.5 * float(same[same.isfinite()].abs().max() if same.isfinite().any() else 0)
    equal = (logits == same) | (logits.isnan() & same.isnan()) | ((logits - same).abs() <= rounding)
    moved = ~equal.all(-1)  # (rows, D)
    if bool(moved[-2].any()):
        raise ValueError("the model gives the same symbols other logits at each call; switch what is random in it off")
    sees_itself = moved[at, cells]
    sees_later = torch.stack([moved[row, :cell].any() for row, cell in zip(at.tolist(), cells.tolist(), strict=True)])
    if bool(sees_later.any()):
        raise ValueError(
            f"the model's logits change with later cells, here with cell {int(cells[sees_later][0])} (from 0); it is "
            "not a causal language model: it sees what it is asked for. Mask its attention to later cells"
        )
    if bool(sees_itself.any()):
        raise ValueError(
            f"the model's logits at position t change with x[:, t], here at t = {int(cells[sees_itself][0])} (from "
            "0): they are unshifted, and predict the symbol after it. Shift them by one: give the model a begin token "
            "and then x[:, :-1], as in model(cat([begin, x[:, :-1]], 1)), so that position t sees x[:, :t] alone"
        )


def shape_fault(got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to do about logits of another shape than (B, D, Q): a hint, empty where none is known."""
    B, D, Q = wanted
    if got[:1] != (B,) or len(got) != 3:
        return ""
    if got[1:] == (Q, D):
        return "; swap the last two dimensions, logits.transpose(1, 2)"
    if got[1] == D + 1:
        return "; leave out the last position, logits[:, :-1], which predicts a symbol after the grid"
    if got[1] == D - 1:
        return (
            "; the first cell needs logits too: give the model a begin token and then x[:, :-1], so that it predicts "
            "every cell"
        )
    if got[1] == 1 < D:
        return "; it returned the last position alone, and all are needed (nanoGPT does that unless targets are given)"
    if got[1] == D and got[2] > Q:
        return "; keep the logits of the symbols alone, as in logits[..., :Q]"
    return ""
