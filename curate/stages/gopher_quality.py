"""The quality rules of Gopher (Rae et al. 2021, arXiv:2112.11446, appendix A.1.1), on whitespace words.

Rules run in the order of the options and the first that fails stands. Each keeps a document when min <= x <= max and is
off when null. What is measured:

- words of the text: maximal runs of anything but white space (`str.split`). `words` and `mean_word_chars` count those
  with a letter or digit (`str.isalnum`) and no others; length is in code points, punctuation included.
- hash_ratio, ellipsis_ratio: how often '#' occurs, how often '...' (without overlap: six dots are two) and '…' occur
  together, each per word, all words counted.
- lines: those of `str.splitlines` that are not blank. A bullet line begins, after white space, with one of
  - * • ‣ ⁃ ⁌ ⁍ ∙ ○ ● ◘ ◦ ⦾ ⦿ ▪ ■ ·  whatever follows. An ellipsis line ends, before white space, in '...' or '…'.
- alpha_words_frac: share of all words that have a letter (`str.isalpha`).
- stop_words: how many different stop words occur. Words are compared in lower case, ASCII punctuation around them removed;
  lower case is taken code point by code point, which differs from `str.lower` for a final capital sigma and for 'İ' only.

A share or mean of nothing is 0, and a null text is an empty one: with all rules on it has too few words.

Decisions. The paper leaves open what a word, a line and a bullet are, and peers differ. Punctuation that stands alone is
no word to count, but stays in the denominators, so that rows of signs fail. "The" and "the," are the stop word, "the the"
is one. Blank lines do not dilute the shares of lines. Bullets are all that some peer takes for one, and ▪ ■ · besides; a
dash longer than the hyphen opens speech in many languages and is none.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from annotated_types import Ge, Le

from curate.schema import TEXT
from curate.stage import Batch, Kernel, Stage, drop_where

BULLETS = "-*•‣⁃⁌⁍∙○●◘◦⦾⦿▪■·"

# Reason, what is measured, and the option that bounds it; the option's prefix says on which side.
RULES = (
    ("too_few_words", "words", "min_words"),
    ("too_many_words", "words", "max_words"),
    ("short_words", "mean_word_chars", "min_mean_word_chars"),
    ("long_words", "mean_word_chars", "max_mean_word_chars"),
    ("too_many_hashes", "hash_ratio", "max_hash_ratio"),
    ("too_many_ellipses", "ellipsis_ratio", "max_ellipsis_ratio"),
    ("too_many_bullet_lines", "bullet_lines_frac", "max_bullet_lines_frac"),
    ("too_many_ellipsis_lines", "ellipsis_lines_frac", "max_ellipsis_lines_frac"),
    ("too_few_alpha_words", "alpha_words_frac", "min_alpha_words_frac"),
    ("too_few_stop_words", "stop_words", "min_stop_words"),
)

Count = Annotated[int, Ge(0)]
Mean = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class GopherQuality(Stage):
    """Gopher quality rules."""

    min_words: Count | None = 50
    max_words: Count | None = 100_000
    min_mean_word_chars: Mean | None = 3.0
    max_mean_word_chars: Mean | None = 10.0
    max_hash_ratio: Mean | None = 0.1
    max_ellipsis_ratio: Mean | None = 0.1
    max_bullet_lines_frac: Share | None = 0.9
    max_ellipsis_lines_frac: Share | None = 0.3
    min_alpha_words_frac: Share | None = 0.8
    min_stop_words: Count | None = 2
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    """In lower case, without blanks and without ASCII punctuation at either end."""
    values: bool = False
    """Write what was measured as columns: gopher_words, gopher_mean_word_chars, ..."""

    reasons = tuple(reason for reason, _, _ in RULES)

    def __post_init__(self) -> None:
        for low, high in (("min_words", "max_words"), ("min_mean_word_chars", "max_mean_word_chars")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} ({least}) is greater than {high} ({most})")
        for word in self.stop_words:
            if not word or word != word.lower().strip(string.punctuation) or len(word.split()) != 1:
                raise ValueError(f"stop_words: {word!r} never matches: give lower case, no blanks, no punctuation around it")
        if self.min_stop_words is not None and self.min_stop_words > len(set(self.stop_words)):
            raise ValueError(f"min_stop_words ({self.min_stop_words}) is greater than the number of stop_words")
        if not self.values and all(getattr(self, option) is None for _, _, option in RULES):
            raise ValueError("every rule is off and 'values' is false: there is nothing to do")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        if not self.values:
            return {}
        counts = ("words", "stop_words")
        return {f"gopher_{name}": pa.int64() if name in counts else pa.float64() for _, name, _ in RULES}

    def open(self) -> Kernel:
        from curate.text.buffers import text_buffers
        from curate.text.gopher import COUNTS, gopher_counter

        counter = gopher_counter(BULLETS, self.stop_words)

        def kernel(batch: Batch) -> Batch:
            counts = counter(text_buffers(batch[TEXT]))
            return self._judge(batch, _measures(dict(zip(COUNTS, counts.T, strict=True))))

        return kernel

    def _judge(self, batch: Batch, measures: Mapping[str, npt.NDArray[np.generic]]) -> Batch:
        for reason, name, option in RULES:
            value, limit = measures[name], getattr(self, option)
            if limit is not None:
                fails = value < limit if option.startswith("min_") else value > limit
                batch = drop_where(batch, fails, reason, value=value, limit=limit)
        for column, kind in self.writes.items():
            batch = batch.put(column, pa.array(measures[column.removeprefix("gopher_")], kind))
        return batch


def _measures(counts: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.generic]]:
    return {
        "words": counts["words"],
        "mean_word_chars": _ratio(counts["word_chars"], counts["words"]),
        "hash_ratio": _ratio(counts["hashes"], counts["all_words"]),
        "ellipsis_ratio": _ratio(counts["ellipses"], counts["all_words"]),
        "bullet_lines_frac": _ratio(counts["bullet_lines"], counts["lines"]),
        "ellipsis_lines_frac": _ratio(counts["ellipsis_lines"], counts["lines"]),
        "alpha_words_frac": _ratio(counts["alpha_words"], counts["all_words"]),
        "stop_words": counts["stop_words"],
    }


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return part / np.maximum(whole, 1)
