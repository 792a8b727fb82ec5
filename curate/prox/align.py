"""Content labels for the lines of a page, by alignment of its full text with its main text.

The words of both texts are aligned in order, as in a longest common subsequence, but adjacent matches score higher than
scattered ones, so that a menu entry takes no word from a sentence that contains it. A line is content when more than half of
its words are matched.

The labels make training pairs from pages whose main text is known, and evaluate refiners on such pages.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WORD = re.compile(r"[぀-ヿ㐀-鿿가-힣]|[^\W_]+")
MAX_CELLS = 600_000_000
"""Largest alignment matrix: words of one text times words of the other, a byte per cell."""


def words_of(text: str) -> list[str]:
    """Words after NFKC normalization and case folding: runs of letters and digits, and single characters of scripts without
    blanks."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def label_lines(lines: Sequence[str], gold: str, min_frac: float = 0.5) -> npt.NDArray[np.bool_] | None:
    """True where a line is content. A blank line is content if the nearest lines with words on both sides are. Shape (lines,).

    None when the texts are too long to be aligned.
    """
    from curate.text.words.align import match_words

    cut = [words_of(line) for line in lines]
    wanted = words_of(gold)
    numbers: dict[str, int] = {}
    left = np.array([numbers.setdefault(word, len(numbers)) for words in cut for word in words], np.int32)
    right = np.array([numbers.setdefault(word, len(numbers)) for word in wanted], np.int32)
    if len(left) * len(right) > MAX_CELLS:
        return None
    matched = match_words(left, right) >= 0
    ends = np.cumsum([len(words) for words in cut])
    sums = np.concatenate([[0], np.cumsum(matched)])
    starts = ends - np.array([len(words) for words in cut])
    share = (sums[ends] - sums[starts]) / np.maximum(1, ends - starts)
    keep = share > min_frac
    return _with_blanks(keep, ends == starts)


def _with_blanks(keep: npt.NDArray[np.bool_], blank: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Lines without words are kept where the nearest lines with words before and after them both are."""
    filled = keep.copy()
    worded = np.flatnonzero(~blank)
    for line in np.flatnonzero(blank):
        after = np.searchsorted(worded, line)
        around = worded[max(0, after - 1) : after + 1]
        filled[line] = bool(len(around)) and bool(keep[around].all())
    return filled


def word_f1(text: str, gold: str) -> float:
    """F1 of two bags of words; 1 where both are empty.

    >>> word_f1("the tide the", "The tide")
    0.8
    """
    found, wanted = Counter(words_of(text)), Counter(words_of(gold))
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 1.0


def line_f1(removed: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]) -> float:
    """F1 of the removed lines against the labels; 1 where both are empty. Source: ProX, appendix A.3."""
    total = int(removed.sum()) + int(wanted.sum())
    return 2 * int((removed & wanted).sum()) / total if total else 1.0
