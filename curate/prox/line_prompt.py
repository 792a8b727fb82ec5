"""The prompt of a model that decides every line in one forward pass, without writing anything.

    [bos] [doc] [first] <w0>                  or [next] and how many lines of the document come before this window
      <w2> some words of line 0 [000]
      <w5> the first words of a long line [cut] its last words [001]
    [/doc] [end] <w0> [doc]                   or [more] and how many come after it

Numbers are tokens too, for ranges that double with every second one. A line is shown by the number of its words, its tokens
(of a long line the first and the last), and its mark. The model reads in both directions: at the mark of a line, having seen
the whole window, it says `[keep]` or `[remove]`, and at the very end `keep_doc()` or `drop_doc()`. Read forwards only, the same
model goes on after that end and writes a program: the same decisions as calls, in tokens of their own.

So a page costs its prefill, and twice that where windows overlap, so that every line is read far from the edge of one. A model
that generates pays for every token of the program one forward pass of its own, must decide on a line before it has seen what
comes after, or remember which line is which, and has no probabilities of lines, by which a threshold can be moved afterwards.
Long lines cost no more than short ones, and none is too long to be judged.

Text is encoded without special tokens: a `[000]` in a document is text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.prox.line_masks import runs

MARKS = 256
"""Lines that a window can have."""
BUCKETS = 16
BOS, EOS, DOC, END_DOC, CUT = "[bos]", "[eos]", "[doc]", "[/doc]", "[cut]"
FIRST, NEXT, END, MORE = "[first]", "[next]", "[end]", "[more]"
KEEP, REMOVE, KEEP_DOC, DROP_DOC = "[keep]", "[remove]", "keep_doc()\n", "drop_doc()\n"
KEEP_CHUNK, CALL, COMMA, CLOSE = "keep_chunk()", "remove_lines(line_start=", ", line_end=", ")\n"
SPECIAL = (
    BOS, EOS, DOC, END_DOC, CUT, FIRST, NEXT, END, MORE, KEEP, REMOVE, KEEP_DOC, DROP_DOC, KEEP_CHUNK, CALL, COMMA, CLOSE,
    *(f"<w{number}>" for number in range(BUCKETS)), *(f"[{number:03d}]" for number in range(MARKS)),
)  # fmt: skip
"""The special tokens of a tokenizer for such a model, in the order of their ids, from 0."""
GRAMMAR = r"""
root ::= decision? ("keep_chunk()" | call+)
decision ::= "keep_doc()\n" | "drop_doc()\n"
call ::= "remove_lines(line_start=" mark ", line_end=" mark ")\n"
mark ::= "[" [0-9] [0-9] [0-9] "]"
"""
"""Of the programs that it writes, for decoding that follows it."""
_ID = {token: number for number, token in enumerate(SPECIAL)}
KEEP_ID, REMOVE_ID, KEEP_DOC_ID, DROP_DOC_ID, EOS_ID, CUT_ID = (
    _ID[name] for name in (KEEP, REMOVE, KEEP_DOC, DROP_DOC, EOS, CUT)
)
_MARK, _BUCKET = _ID["[000]"], _ID["<w0>"]
_TAIL = 3
_FAR, _TINY = 12, 1e-4
"""Lines from the edge of a window at which it weighs most; the least a probability can be before it is averaged."""
AROUND = 8
"""Tokens of a prompt besides those of lines."""


@dataclass(frozen=True)
class LinePrompt:
    """The tokens of lines first..stop-1 of a document."""

    first: int
    stop: int
    ids: tuple[int, ...]
    places: tuple[int, ...]
    """Where the marks of the lines stand, at which they are decided."""


def shown_lines(lines: Sequence[str], encoder: Any, max_line_tokens: int) -> list[list[int]]:
    """What is shown of every line, without its mark; `encoder` is a `tokenizers.Tokenizer`."""
    encoded = encoder.encode_batch(list(lines), add_special_tokens=False)
    return [_shown(line, encoding.ids, max_line_tokens) for line, encoding in zip(lines, encoded, strict=True)]


def _shown(line: str, ids: list[int], most: int) -> list[int]:
    words = len(line.split())
    if not words:
        return []
    if len(ids) > most:
        ids = [*ids[: most - _TAIL - 1], _ID[CUT], *ids[-_TAIL:]]
    return [_bucket(words), *ids]


def marked_prompts(shown: Sequence[Sequence[int]], window: int, start: int = 0) -> list[LinePrompt]:
    """Prompts of at most `window` tokens for the lines of a document from number `start` on, packed greedily."""
    prompts, first = [], start
    while first < len(shown):
        prompts.append(_prompt(shown, window, first))
        first = prompts[-1].stop
    return prompts


def overlapping_prompts(shown: Sequence[Sequence[int]], window: int) -> list[LinePrompt]:
    """Prompts that show every line, and, where there are several, most lines twice: once near an edge and once far from it."""
    whole = marked_prompts(shown, window)
    return [*whole, *(_prompt(shown, window, (one.first + one.stop) // 2) for one in whole[:-1])]


def _prompt(shown: Sequence[Sequence[int]], window: int, first: int) -> LinePrompt:
    """The prompt that begins with line number `first`, and has as many as fit."""
    stop, size = first, AROUND
    while stop < len(shown) and stop - first < MARKS and size + len(shown[stop]) + 1 <= window:
        size += len(shown[stop]) + 1
        stop += 1
    if stop == first:
        raise ValueError(f"window ({window}) is less than what one line takes: {AROUND + len(shown[first]) + 1} tokens")
    left = len(shown) - stop
    ids, places = [_ID[BOS], _ID[DOC], _ID[NEXT if first else FIRST], _bucket(first)], []
    for number in range(stop - first):
        ids += [*shown[first + number], _MARK + number]
        places.append(len(ids) - 1)
    ids += [_ID[END_DOC], _ID[MORE if left else END], _bucket(left), _ID[DOC]]
    return LinePrompt(first, stop, tuple(ids), tuple(places))


def _bucket(count: int) -> int:
    """A token for a number: of words in a line, of lines before a window and after it."""
    return _BUCKET + min(BUCKETS - 1, int(2 * math.log2(count))) if count else _BUCKET


def combined(
    prompts: Sequence[LinePrompt], shares: Sequence[npt.NDArray[np.float32]], num_lines: int
) -> npt.NDArray[np.float32]:
    """One probability for every line, shape (lines,), from those at the `places` of its windows; NaN where there is none.

    Log-odds are averaged, and of two windows that weighs more in which the line is further from where the document is cut.
    """
    sums, weights = np.zeros(num_lines), np.zeros(num_lines)
    for prompt, share in zip(prompts, shares, strict=True):
        size = prompt.stop - prompt.first
        before = np.arange(1, size + 1) if prompt.first else np.full(size, _FAR)
        after = np.arange(size, 0, -1) if prompt.stop < num_lines else np.full(size, _FAR)
        weight = np.minimum(np.minimum(before, after), _FAR) * np.isfinite(share)
        odds = np.clip(np.nan_to_num(np.asarray(share, np.float64), nan=0.5), _TINY, 1 - _TINY)
        sums[prompt.first : prompt.stop] += weight * np.log(odds / (1 - odds))
        weights[prompt.first : prompt.stop] += weight
    with np.errstate(invalid="ignore"):
        return np.asarray(1 / (1 + np.exp(-sums / weights)), np.float32)


def program_ids(remove: Sequence[bool]) -> list[int]:
    """The tokens of the program that removes these lines of a window, and the end of it."""
    calls = [(_ID[CALL], _MARK + first, _ID[COMMA], _MARK + last, _ID[CLOSE]) for first, last in runs(remove)]
    return [*([token for call in calls for token in call] or [_ID[KEEP_CHUNK]]), EOS_ID]
