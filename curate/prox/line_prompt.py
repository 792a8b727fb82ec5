"""The line prompt: a prompt from which a bidirectional line classifier decides every line in one forward pass.

    [bos] [doc] [first] <w0>                  or [next] and the number of lines of the document before this window
      <w2> some words of line 0 [000]
      <w5> the first words of a long line [cut] its last words [001]
    [/doc] [end] <w0> [doc]                   or [more] and the number of lines after it

Numbers are tokens too (`<w0>` to `<w15>`), each for a range; the ranges double with every second token. A line is shown as the
number of its words, its tokens (of a long line the first and the last), and its mark `[000]`. The model has bidirectional
attention: at the mark of a line it predicts `[keep]` or `[remove]` from the whole window, and at the very end `keep_doc()` or
`drop_doc()`. With causal attention the same model continues after that end and writes a program: the same decisions as calls,
in tokens of their own.

A page costs one prefill, or two where windows overlap so that every line is far from the edge of one of them. A model that
generates a program pays a forward pass per token, decides on lines before it has seen what follows, or must remember line
numbers, and gives no probabilities of lines, whose threshold can be moved afterwards. Long lines cost no more than short ones,
and none is too long to be classified.

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
"""The most lines in a window: each has a mark of its own."""
BUCKETS = 16
BOS, EOS, DOC, END_DOC, CUT = "[bos]", "[eos]", "[doc]", "[/doc]", "[cut]"
FIRST, NEXT, END, MORE = "[first]", "[next]", "[end]", "[more]"
KEEP, REMOVE, KEEP_DOC, DROP_DOC = "[keep]", "[remove]", "keep_doc()\n", "drop_doc()\n"
KEEP_CHUNK, CALL, COMMA, CLOSE = "keep_chunk()", "remove_lines(line_start=", ", line_end=", ")\n"
SPECIAL = (
    BOS, EOS, DOC, END_DOC, CUT, FIRST, NEXT, END, MORE, KEEP, REMOVE, KEEP_DOC, DROP_DOC, KEEP_CHUNK, CALL, COMMA, CLOSE,
    *(f"<w{number}>" for number in range(BUCKETS)), *(f"[{number:03d}]" for number in range(MARKS)),
)  # fmt: skip
"""The special tokens of a line classifier's tokenizer, in the order of their ids, from 0."""
GRAMMAR = r"""
root ::= decision? ("keep_chunk()" | call+)
decision ::= "keep_doc()\n" | "drop_doc()\n"
call ::= "remove_lines(line_start=" mark ", line_end=" mark ")\n"
mark ::= "[" [0-9] [0-9] [0-9] "]"
"""
"""Grammar (GBNF) of the programs in these tokens, for constrained decoding."""
_ID = {token: number for number, token in enumerate(SPECIAL)}
KEEP_ID, REMOVE_ID, KEEP_DOC_ID, DROP_DOC_ID, EOS_ID, CUT_ID = (
    _ID[name] for name in (KEEP, REMOVE, KEEP_DOC, DROP_DOC, EOS, CUT)
)
_MARK, _BUCKET = _ID["[000]"], _ID["<w0>"]
_TAIL = 3
_FULL_WEIGHT_LINES = 12
"""Distance from the edge of a window at which its predictions reach full weight."""
_MIN_PROBABILITY = 1e-4
"""Probabilities are clipped to this distance from 0 and 1 before log-odds are averaged."""
AROUND = 8
"""Tokens of a prompt apart from those of its lines."""


@dataclass(frozen=True)
class LinePrompt:
    """The tokens of lines first..stop-1 of a document."""

    first: int
    stop: int
    ids: tuple[int, ...]
    positions: tuple[int, ...]
    """Indices of the lines' marks in `ids`, at which lines are classified."""


def shown_lines(lines: Sequence[str], encoder: Any, max_line_tokens: int) -> list[list[int]]:
    """Tokens per line of the prompt, without marks; none for a blank line. `encoder` is a `tokenizers.Tokenizer`."""
    encoded = encoder.encode_batch(list(lines), add_special_tokens=False)
    return [_shown(line, encoding.ids, max_line_tokens) for line, encoding in zip(lines, encoded, strict=True)]


def _shown(line: str, ids: list[int], max_tokens: int) -> list[int]:
    words = len(line.split())
    if not words:
        return []
    if len(ids) > max_tokens:
        ids = [*ids[: max_tokens - _TAIL - 1], _ID[CUT], *ids[-_TAIL:]]
    return [_bucket(words), *ids]


def line_prompts(shown: Sequence[Sequence[int]], window: int, start: int = 0) -> list[LinePrompt]:
    """Prompts of at most `window` tokens for the lines of a document from number `start` on, packed greedily.

    Raises ValueError where one line exceeds the window.
    """
    prompts, first = [], start
    while first < len(shown):
        prompts.append(_prompt(shown, window, first))
        first = prompts[-1].stop
    return prompts


def overlapping_prompts(shown: Sequence[Sequence[int]], window: int) -> list[LinePrompt]:
    """Prompts that cover every line once, followed by prompts that start in the middle of these. Most lines are in two windows:
    near the edge of one and far from the edge of the other."""
    cover = line_prompts(shown, window)
    return [*cover, *(_prompt(shown, window, (prompt.first + prompt.stop) // 2) for prompt in cover[:-1])]


def _prompt(shown: Sequence[Sequence[int]], window: int, first: int) -> LinePrompt:
    """The prompt of as many lines from number `first` on as fit."""
    stop, size = first, AROUND
    while stop < len(shown) and stop - first < MARKS and size + len(shown[stop]) + 1 <= window:
        size += len(shown[stop]) + 1
        stop += 1
    if stop == first:
        raise ValueError(f"window ({window}) is less than what one line takes: {AROUND + len(shown[first]) + 1} tokens")
    lines_after = len(shown) - stop
    ids, positions = [_ID[BOS], _ID[DOC], _ID[NEXT if first else FIRST], _bucket(first)], []
    for number in range(stop - first):
        ids += [*shown[first + number], _MARK + number]
        positions.append(len(ids) - 1)
    ids += [_ID[END_DOC], _ID[MORE if lines_after else END], _bucket(lines_after), _ID[DOC]]
    return LinePrompt(first, stop, tuple(ids), tuple(positions))


def _bucket(count: int) -> int:
    """The token of a number: of words in a line, or of lines before or after a window."""
    return _BUCKET + min(BUCKETS - 1, int(2 * math.log2(count))) if count else _BUCKET


def combined(
    prompts: Sequence[LinePrompt], probabilities: Sequence[npt.NDArray[np.float32]], num_lines: int
) -> npt.NDArray[np.float32]:
    """One probability per line, shape (lines,), from those at the `positions` of its windows; NaN where there is none.

    Log-odds are averaged. The weight of a window grows with the line's distance from an edge inside the document.
    """
    sums, weights = np.zeros(num_lines), np.zeros(num_lines)
    for prompt, probability in zip(prompts, probabilities, strict=True):
        size = prompt.stop - prompt.first
        before = np.arange(1, size + 1) if prompt.first else np.full(size, _FULL_WEIGHT_LINES)
        after = np.arange(size, 0, -1) if prompt.stop < num_lines else np.full(size, _FULL_WEIGHT_LINES)
        weight = np.minimum(np.minimum(before, after), _FULL_WEIGHT_LINES) * np.isfinite(probability)
        odds = np.clip(np.nan_to_num(np.asarray(probability, np.float64), nan=0.5), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
        sums[prompt.first : prompt.stop] += weight * np.log(odds / (1 - odds))
        weights[prompt.first : prompt.stop] += weight
    with np.errstate(invalid="ignore"):
        return np.asarray(1 / (1 + np.exp(-sums / weights)), np.float32)


def program_ids(remove: Sequence[bool]) -> list[int]:
    """The tokens of the program that removes these lines of a window, with the end-of-sequence token."""
    calls = [(_ID[CALL], _MARK + first, _ID[COMMA], _MARK + last, _ID[CLOSE]) for first, last in runs(remove)]
    return [*([token for call in calls for token in call] or [_ID[KEEP_CHUNK]]), EOS_ID]
