"""What a model that reads in both directions holds for likely at chosen places of sequences, in one forward pass each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.lm.model import CausalLM

Asked = tuple[Sequence[int], Sequence[int], tuple[int, int], Sequence[int], Sequence[int]]
"""Ids; places; a pair of ids; ids for yes and ids for no."""
_TOKENS_AT_ONCE = 2**14


def pair_probabilities(
    model: CausalLM, asked: Sequence[Asked], device: str
) -> list[tuple[npt.NDArray[np.float32], tuple[float, float]]]:
    """For each sequence: at every place P(the first of the pair | one of them), shape (places,); and at its end P(one of yes |
    one of yes or no), with how likely it is that any of them is said.

    Sequences of like length go through the model together; what fills up the shorter ones is not seen.
    """
    order = sorted(range(len(asked)), key=lambda number: len(asked[number][0]))
    found: dict[int, tuple[npt.NDArray[np.float32], tuple[float, float]]] = {}
    while order:
        longest = len(asked[order[-1]][0])
        some = [order.pop() for _ in range(min(len(order), max(1, _TOKENS_AT_ONCE // longest)))]
        ids, seen = torch.full((len(some), longest), model.shape.bos), torch.zeros(len(some), 1, 1, longest, dtype=torch.bool)
        for row, number in enumerate(some):
            length = len(asked[number][0])
            ids[row, :length], seen[row, :, :, :length] = torch.tensor(asked[number][0]), True
        with torch.inference_mode():
            hidden = model.hidden(ids.to(device), seen.to(device))
            for row, number in enumerate(some):
                found[number] = _read(model, hidden[row], asked[number])
    return [found[number] for number in range(len(asked))]


def _read(model: CausalLM, hidden: Tensor, asked: Asked) -> tuple[npt.NDArray[np.float32], tuple[float, float]]:
    ids, places, pair, yes, no = asked
    logits = model.logits(hidden[torch.tensor(list(places), dtype=torch.long, device=hidden.device)])
    shares = logits[:, list(pair)].softmax(dim=-1)[:, 0].cpu().numpy()
    if not yes:
        return shares, (float("nan"), 0.0)
    last = model.logits(hidden[len(ids) - 1]).softmax(dim=-1)
    one, other = (float(last[list(some)].sum()) for some in (yes, no))
    return shares, (one / (one + other) if one + other else float("nan"), one + other)
