"""Which lines of a page's text are its content: the lines of a loose text held against the words of a precise one.

Words of both texts are aligned in order, as in a longest common subsequence, but so that words matched side by side count
more than words scattered: a menu entry does not win a word from the sentence that it stands in. A line is content when more
than half of its words are matched.

Used to make training pairs from pages whose main text is known, and to measure refiners on such pages.
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
"""Words of one text times words of the other, a byte each."""


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, case folded; characters of scripts written without blanks one by one."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def label_lines(lines: Sequence[str], gold: str, min_frac: float = 0.5) -> npt.NDArray[np.bool_] | None:
    """True where a line is content; blank lines are as the content lines on both sides of them. Shape (lines,).

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
    """A line without words stays where the nearest lines with words before and after it both do."""
    filled = keep.copy()
    worded = np.flatnonzero(~blank)
    for line in np.flatnonzero(blank):
        after = np.searchsorted(worded, line)
        around = worded[max(0, after - 1) : after + 1]
        filled[line] = bool(len(around)) and bool(keep[around].all())
    return filled


def word_f1(text: str, gold: str) -> float:
    """F1 of the words of a text against those wanted, as bags; 1 where both have none."""
    found, wanted = Counter(words_of(text)), Counter(words_of(gold))
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 1.0


def line_f1(removed: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]) -> float:
    """F1 of the lines removed against those to be removed; 1 where both are none. Source: ProX, appendix A.3."""
    total = int(removed.sum()) + int(wanted.sum())
    return 2 * int((removed & wanted).sum()) / total if total else 1.0
