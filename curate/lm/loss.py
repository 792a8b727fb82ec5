"""How well a language model predicts documents: negative log-likelihoods in nats, each document for itself.

No document is ever context for another, and every token of a document is scored exactly once, with `bos` before the first. A
document that does not fit in a window goes on in further ones, each of which scores at most `stride` new tokens after what fits
of those before them. The order of the documents and what they are batched with change nothing but rounding.

Source: Huang et al. 2024, "Compression Represents Intelligence Linearly", whose tool scores a whole shard as one stream:
context crosses documents there, and the tail of the shard is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Forward = Callable[[Tensor], Tensor]
"""Logits (batch, length, vocabulary) of ids (batch, length). A padded end must not change what comes before it."""


@dataclass(frozen=True)
class Window:
    """Ids of which the last `scored` are targets, and the number of the document they belong to."""

    owner: int
    ids: I64
    scored: int


def document_nats(
    forward: Forward,
    documents: Sequence[npt.ArrayLike],
    *,
    bos: int,
    window: int,
    stride: int,
    batch_tokens: int,
    device: str = "cpu",
) -> F64:
    """Nats of all tokens of each document. A window has `window` ids, its last target included: the model sees one less."""
    if not 1 <= stride < window:
        raise ValueError(f"stride ({stride}) is not between 1 and window - 1 ({window - 1})")
    windows = [
        part
        for owner, document in enumerate(documents)
        for part in windows_of(owner, np.asarray(document, np.int64), bos, window, stride)
    ]
    return _nats(forward, windows, len(documents), batch_tokens, device)


def windows_of(owner: int, tokens: I64, bos: int, window: int, stride: int) -> Iterator[Window]:
    """The windows of one document, which together have every token as a target once."""
    if not len(tokens):
        return
    first = tokens[: window - 1]
    yield Window(owner, np.concatenate([[bos], first]), len(first))
    for start in range(window - 1, len(tokens), stride):
        end = min(start + stride, len(tokens))
        yield Window(owner, tokens[end - window : end], end - start)


def continuation_nats(
    forward: Forward,
    contexts: Sequence[npt.ArrayLike],
    continuations: Sequence[npt.ArrayLike],
    *,
    bos: int,
    window: int,
    batch_tokens: int,
    device: str = "cpu",
) -> F64:
    """Nats of each continuation after `bos` and its context, of which the beginning is left out if it does not fit."""
    windows = []
    for owner, (context, continuation) in enumerate(zip(contexts, continuations, strict=True)):
        before, after = np.asarray(context, np.int64), np.asarray(continuation, np.int64)
        room = window - 1 - len(after)
        if room < 0:
            raise ValueError(f"continuation {owner} has {len(after)} tokens, a window has room for {window - 1}")
        ids = np.concatenate([[bos], before[max(0, len(before) - room) :], after])
        if len(after):
            windows.append(Window(owner, ids, len(after)))
    return _nats(forward, windows, len(contexts), batch_tokens, device)


def bits_per_character(nats: F64, texts: Sequence[str]) -> F64:
    """Normalised loss, comparable between tokenizers because all divide by the same code points. Of no text: nan."""
    characters = np.array([len(text) or math.nan for text in texts], np.float64)
    return nats / (math.log(2) * characters)


def _nats(forward: Forward, windows: Sequence[Window], num_documents: int, batch_tokens: int, device: str) -> F64:
    """Windows of similar length run together, the longest first, so that memory runs out at once or not at all."""
    sums = np.zeros(num_documents)
    batch: list[Window] = []
    for part in sorted(windows, key=lambda part: -len(part.ids)):
        if batch and (len(batch) + 1) * (len(batch[0].ids) - 1) > batch_tokens:
            _add(sums, batch, forward, device)
            batch = []
        batch.append(part)
    if batch:
        _add(sums, batch, forward, device)
    return sums


@torch.inference_mode()
def _add(sums: F64, batch: Sequence[Window], forward: Forward, device: str) -> None:
    ids = torch.zeros(len(batch), len(batch[0].ids), dtype=torch.int64)
    for row, part in zip(ids, batch, strict=True):
        row[: len(part.ids)] = torch.from_numpy(part.ids)
    ids = ids.to(device)
    logits = forward(ids[:, :-1])
    # One row at a time, so that beside the logits of the batch there is a float32 copy of one row only.
    found = [
        _row_nats(
            row[len(part.ids) - 1 - part.scored : len(part.ids) - 1], targets[len(part.ids) - part.scored : len(part.ids)]
        )
        for row, targets, part in zip(logits, ids, batch, strict=True)
    ]
    np.add.at(sums, [part.owner for part in batch], torch.stack(found).cpu().numpy())


def _row_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum over targets. Exponentials in float32; what is left is one number per target, and taken in float64."""
    logits = logits.float()
    top = logits.amax(dim=-1, keepdim=True)
    chosen = logits.gather(-1, targets[:, None]) - top
    return ((logits - top).exp_().sum(dim=-1).double().log() - chosen.squeeze(-1).double()).sum()
