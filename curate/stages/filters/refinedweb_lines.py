"""RefinedWeb's line corrections as DCLM runs them: remove lines of interface text, drop documents that lose much by it.

Source: Penedo et al. 2023, "The RefinedWeb Dataset" (arXiv:2306.01116), appendix G.2, which gives the rules in words;
numbers, order and measures are those of DCLM (Li et al. 2024, arXiv:2406.11794; `dclm_baseline_refinedweb.yaml` and
`modifiers.py`), and a kept document has the text that DCLM gives it. Lines are cut at line feeds only. In this order, each
off when null, false or empty:

- newlines: a run of more than `max_newlines` is shortened to that many.
- upper_line: removed when more than `max_upper_frac` of its characters are capitals (`str.isupper`).
- digit_line: removed when more than `max_digit_frac` of its characters are digits (`str.isdigit`).
- counter_line: removed when it is a number (`1,200`, `3.4k`) and one of the words of `COUNTED`, in any case, with only signs
  around them.
- short_line: removed when it has fewer than `min_line_words` words (`str.split`). An empty line stays.
- phrase: on lines of at most `max_phrase_line_words` words, the `phrases` are removed anywhere, the `end_phrases` at the end of
  the line, the `start_phrases` at its beginning, in any case, with the white space character before them (for `start_phrases`
  after them). A full stop in a phrase matches any one character. A line with nothing but white space left is removed.
- edge_space: white space at both ends of the text is removed, after every correction but newlines and short_line, and at the
  end.

Characters are code points, blanks and punctuation included. Edits have the names above; neighbouring removals by one rule are
one edit. Then documents are dropped, in this order:

- nothing_left: no text is left, or there was none.
- no_words, too_many_words_removed: `removed_words_frac` is the share of the words that were removed. Words are runs of
  characters other than ASCII white space and NUL whose first character is a letter or digit. A text without words has no share
  and is dropped while the limit is on.

Decisions. The order matters, and so does trimming between the steps: a first line ` 12` is all digits; in the middle it is not,
and is a short line instead. The dots of DCLM's "Read more..." are wild cards of a regular expression by accident. They remain
wild cards, so that the kept text is the same; no other character of a phrase is one. DCLM runs `newlines` before its quality
rules, which makes no difference to them. A dropped document keeps its original text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count
from operator import add
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from annotated_types import Ge, Le

from curate.api.batch import Batch, Edit, Kernel, drop_where, edit_rows
from curate.api.stage import Stage
from curate.schema import TEXT

if TYPE_CHECKING:
    from curate.text.rules.refinedweb import Notable

COUNTED = (
    "likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes", "downvotes", "downloads", "views",
    "followers",
)  # fmt: skip
"""Words that make a line with a number a counter line."""

TRIM = "edge_space"
COLUMN = "refinedweb_removed_words_frac"

Count = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class RefinedwebLines(Stage):
    """RefinedWeb's line corrections, DCLM's reading."""

    max_newlines: Annotated[int, Ge(1)] | None = 2
    max_upper_frac: Share | None = 0.5
    max_digit_frac: Share | None = 0.999999
    counters: bool = True
    """Remove lines that count likes, views and the like."""
    min_line_words: Count | None = 2
    phrases: tuple[str, ...] = ("items in cart",)
    end_phrases: tuple[str, ...] = ("Read more...",)
    start_phrases: tuple[str, ...] = ("Sign-in",)
    max_phrase_line_words: Count | None = 10
    max_removed_words_frac: Share | None = 0.05
    values: bool = False
    """Write the share of words removed as a column: refinedweb_removed_words_frac."""

    reasons = ("nothing_left", "no_words", "too_many_words_removed")

    def __post_init__(self) -> None:
        for phrase in (*self.phrases, *self.end_phrases, *self.start_phrases):
            if not phrase.strip() or "\n" in phrase:
                raise ValueError(f"a phrase is part of a line and not blank, and this is one: {phrase!r}")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {TEXT: pa.large_string(), **({COLUMN: pa.float64()} if self.values else {})}

    def open(self) -> Kernel:
        from curate.text.rules.refinedweb import count_words, notable_finder
        from curate.text.unicode.buffers import text_buffers

        find = notable_finder(
            max_newlines=self.max_newlines,
            max_upper_frac=self.max_upper_frac,
            max_digit_frac=self.max_digit_frac,
            counters=self.counters,
            min_words=self.min_line_words,
            # What stands before the first wild card is enough to notice a line.
            phrases=[phrase.lower().partition(".")[0] for phrase in (*self.phrases, *self.end_phrases, *self.start_phrases)],
            max_phrase_words=self.max_phrase_line_words,
        )
        correct = self._corrector()

        def kernel(batch: Batch) -> Batch:
            notable = find(batch.buffers)
            rows = np.flatnonzero(notable.touched)
            texts = batch[TEXT].take(pa.array(rows)).to_pylist()
            corrected = [correct(text or "", facts) for text, facts in zip(texts, _facts(notable, rows), strict=True)]
            after = notable.words.copy()
            after[rows] = count_words(text_buffers(pa.array([text for text, _ in corrected], pa.large_string())))
            return self._put(batch, notable.words, after, dict(zip(rows.tolist(), corrected, strict=True)))

        return kernel

    def _put(
        self, batch: Batch, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64], corrected: Mapping[int, Corrected]
    ) -> Batch:
        """Drop documents by what is left of them, and give the others their new texts."""
        nothing = np.zeros(len(batch), np.bool_)
        nothing[[row for row, (text, _) in corrected.items() if not text]] = True
        share = (before - after) / np.maximum(before, 1)
        batch = drop_where(batch, nothing, "nothing_left")
        if self.max_removed_words_frac is not None:
            batch = drop_where(batch, before == 0, "no_words")
            far = share > self.max_removed_words_frac
            batch = drop_where(batch, far, "too_many_words_removed", value=share, limit=self.max_removed_words_frac)
        if self.values:
            batch = batch.put(COLUMN, pa.array(share))
        return edit_rows(batch, corrected)

    def _corrector(self) -> Callable[[str, Facts], Corrected]:
        """A function that applies all corrections to a text, given the facts about its notable lines."""
        counter = re.compile(rf"\W*\d[,.\d]*[kmb]?\s+(?:{'|'.join(COUNTED)})\W*")
        cutters = [
            re.compile(before + "|".join(map(_pattern, phrases)) + behind, re.IGNORECASE)
            for before, phrases, behind in (
                (r"\s?(?:", self.phrases, ")"),
                (r"\s?(?:", self.end_phrases, r")\Z"),
                (r"\A(?:", self.start_phrases, r")\s?"),
            )
            if phrases
        ]

        def correct(text: str, facts: Facts) -> Corrected:
            lines = _Lines(text)
            if self.max_newlines is not None:
                lines.squeeze(self.max_newlines)
            if not facts:
                lines.trim()
                return lines.result()
            if self.max_upper_frac is not None:
                lines.drop("upper_line", (n for n, upper, *_ in facts if upper / (lines.size(n) or 1) > self.max_upper_frac))
            if self.max_digit_frac is not None:
                lines.drop("digit_line", (n for n, _, digit, *_ in facts if digit / (lines.size(n) or 1) > self.max_digit_frac))
            if self.counters:
                lines.drop("counter_line", (n for n, *_, may, _ in facts if may and counter.fullmatch(lines[n].lower())))
            if self.min_line_words is not None:
                least = self.min_line_words
                lines.drop("short_line", (n for n, _, _, words, *_ in facts if words < least), trim=False)
            for cutter in cutters:
                lines.cut_out("phrase", cutter, [n for n, *_, may in facts if may])
            lines.trim()
            return lines.result()

        return correct


Facts = list[list[int]]
"""For every notable line: its number, capitals, digits, words, whether it may be a counter, whether it may have a phrase."""
Corrected = tuple[str, list[Edit]]


def _facts(notable: Notable, rows: npt.NDArray[np.int64]) -> Iterator[Facts]:
    for row in rows:
        yield notable.lines[notable.firsts[row] : notable.firsts[row + 1]].tolist()


def _pattern(phrase: str) -> str:
    return ".".join(map(re.escape, phrase.lower().split(".")))


@dataclass
class _Lines:
    """The lines of a text while it is corrected, and what every rule removed."""

    text: str
    lines: list[str] = field(init=False)
    """The lines of the original text."""
    removed: dict[int, str] = field(default_factory=dict)
    """Number of every removed line -> the rule."""
    pieces: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Line number -> (start, end) of the remaining parts, for lines that lost a part."""
    cuts: dict[int, list[tuple[int, int, str]]] = field(default_factory=dict)
    """Line number -> (start, end, rule) of the removed parts."""

    def __post_init__(self) -> None:
        self.lines = self.text.split("\n")
        self.first, self.last = 0, len(self.lines) - 1
        self.trimmed = False

    def __getitem__(self, n: int) -> str:
        line = self.lines[n]
        return "".join(line[start:end] for start, end in self.pieces[n]) if n in self.pieces else line

    def size(self, n: int) -> int:
        return sum(end - start for start, end in self.pieces[n]) if n in self.pieces else len(self.lines[n])

    def squeeze(self, most: int) -> None:
        """Shorten runs of newlines to `most`."""
        run = -1  # empty lines; within the text there is one newline more, at its ends there are as many
        for n, line in enumerate(self.lines[:-1]):
            run = 0 if line else run + 1
            if run >= most:
                self.removed[n] = "newlines"

    def drop(self, rule: str, lines: Iterator[int], trim: bool = True) -> None:
        for n in lines:
            self.removed.setdefault(n, rule)
            self.trimmed = False
        if trim:
            self.trim()

    def cut_out(self, rule: str, cutter: re.Pattern[str], lines: Sequence[int]) -> None:
        for n in lines:
            if n in self.removed:
                continue
            line = self[n]
            left = cutter.sub("", line)
            if not left or left.isspace():
                self.removed[n] = rule
                self.trimmed = False
            elif left != line:
                for match in reversed(list(cutter.finditer(line))):
                    self._cut(n, *match.span(), rule)
        self.trim()

    def trim(self) -> None:
        """Remove white space at both ends of the remaining text."""
        if self.trimmed:
            return
        while self.first <= self.last and self._remove_if_blank(self.first):
            self.first += 1
        while self.first <= self.last and self._remove_if_blank(self.last):
            self.last -= 1
        self.trimmed = True
        if self.first > self.last:
            return
        line = self[self.last]
        if line[-1].isspace():
            self._cut(self.last, len(line.rstrip()), len(line), TRIM)
        line = self[self.first]
        if line[0].isspace():
            self._cut(self.first, 0, len(line) - len(line.lstrip()), TRIM)

    def _remove_if_blank(self, n: int) -> bool:
        """Remove a line at an end of the text if it is blank. Returns whether it is removed now."""
        if n not in self.removed and not self[n].strip():
            self.removed[n] = TRIM
        return n in self.removed

    def _cut(self, n: int, start: int, end: int, rule: str) -> None:
        """Remove start..end of the remaining text of a line."""
        self.trimmed = rule == TRIM
        position, left = 0, []
        for low, high in self.pieces.get(n) or [(0, len(self.lines[n]))]:
            a, b = (min(max(low + edge - position, low), high) for edge in (start, end))
            left += [(low, a), (b, high)]
            if a < b:
                self.cuts.setdefault(n, []).append((a, b, rule))
            position += high - low
        self.pieces[n] = [(low, high) for low, high in left if low < high]

    def result(self) -> Corrected:
        """The corrected text, and the edits that lead to it."""
        ends = [-1, *map(add, accumulate(map(len, self.lines)), count())]
        edits: list[Edit] = []
        for n in sorted(self.removed.keys() | self.cuts.keys()):
            first = ends[n] + 1
            if n not in self.removed:
                taken = [(rule, first + start, first + end) for start, end, rule in sorted(self.cuts[n])]
            elif n < self.last:
                taken = [(self.removed[n], first, ends[n + 1] + 1)]
            else:  # no line is left behind it: the newline before it goes with it
                taken = [(self.removed[n], max(first - 1, 0), ends[n + 1])]
            for rule, start, end in taken:
                if edits and edits[-1][0] == rule and edits[-1][2] == start:
                    start = edits.pop()[1]
                edits.append((rule, start, end, ""))
        if not edits:
            return self.text, edits
        stops = [end for _, _, end, _ in edits]
        parts = [self.text[low:high] for low, (_, high, _, _) in zip([0, *stops[:-1]], edits, strict=True)]
        return "".join([*parts, self.text[stops[-1] :]]), edits
