"""Queries to a bidirectional model in torch: probabilities at positions of sequences, in one forward pass each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from curate.lm.model import CausalLM
from curate.lm.query import Query, QueryScores

_TOKENS_AT_ONCE = 2**14


def score_queries(model: CausalLM, queries: Sequence[Query], device: str) -> list[QueryScores]:
    """The scores of each query, in their order.

    Sequences of similar length form a batch. Padding is masked.
    """
    order = sorted(range(len(queries)), key=lambda number: len(queries[number].ids))
    scores: dict[int, QueryScores] = {}
    while order:
        longest = len(queries[order[-1]].ids)
        batch = [order.pop() for _ in range(min(len(order), max(1, _TOKENS_AT_ONCE // longest)))]
        ids, mask = torch.full((len(batch), longest), model.shape.bos), torch.zeros(len(batch), 1, 1, longest, dtype=torch.bool)
        for row, number in enumerate(batch):
            length = len(queries[number].ids)
            ids[row, :length], mask[row, :, :, :length] = torch.tensor(queries[number].ids), True
        with torch.inference_mode():
            hidden = model.hidden(ids.to(device), mask.to(device))
            for row, number in enumerate(batch):
                scores[number] = _scores_of(model, hidden[row], queries[number])
    return [scores[number] for number in range(len(queries))]


def _scores_of(model: CausalLM, hidden: Tensor, query: Query) -> QueryScores:
    """`hidden` has the shape (length, width)."""
    positions = torch.tensor(list(query.positions), dtype=torch.long, device=hidden.device)
    logits = model.logits(hidden[positions])
    first_of_pair = logits[:, list(query.pair)].softmax(dim=-1)[:, 0].cpu().numpy()
    if not query.yes:
        return QueryScores(first_of_pair, float("nan"), 0.0)
    next_token = model.logits(hidden[len(query.ids) - 1]).softmax(dim=-1)
    yes, no = (float(next_token[sorted(ids)].sum()) for ids in (query.yes, query.no))
    return QueryScores(first_of_pair, yes / (yes + no) if yes + no else float("nan"), yes + no)
