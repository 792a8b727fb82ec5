"""Cuts texts into lines, applies the C4 rules to every line and says what to cut out, in one pass over the bytes.

A `Cleaner` says how: the peers agree on the rules and differ in what a line is, when it is stripped and what ends it.
`c4_cleaner` gives counts per text and edits; `apply_edits` makes the new texts. The definitions are those of the stage
`c4_quality`. Malformed UTF-8 gives some result and reads nothing outside its row.

Decisions. Phrases are found by one automaton that takes a step per character, so that time is linear whatever the text.
Lower case is that of `str.lower`, code point by code point: the only characters outside ASCII that it turns into an ASCII
letter are U+212A, a k, and U+0130, which becomes an i and a combining dot and so stands in no phrase. Sentences in tokens of
spaCy are counted from `Words` of the whole text. A line that a citation was cut out of reads differently then, so these few
are collected and cut into words on their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.rules.c4_chars import build_phrases, byte_table, character_table
from curate.text.rules.c4_edits import CleanedText, string_column
from curate.text.rules.c4_lines import Out, Rows, Switches, Tables, Tokens, clean_rows
from curate.text.unicode.buffers import TextBuffers, text_buffers
from curate.text.unicode.chars import SPACE, char_kinds
from curate.text.unicode.utf8 import decode_char
from curate.text.words.types import GAP, PERIOD, PUNCT, Words

COUNTS = ("lines", "kept_lines", "sentences", "lorem_ipsum_line", "curly_bracket_line", "javascript_line", "kept_words")
"""What is counted per text. `..._line` is the number of the first line (from 1) that has it, 0 for none; `kept_words` is the
number of words in the text that comes out, where sentences are counted by spaCy's tokens."""
LINES, KEPT_LINES, SENTENCES, LOREM_LINE, CURLY_LINE, JAVASCRIPT_LINE, KEPT_WORDS = range(7)

NEWLINE = ord("\n")


@dataclass(frozen=True, kw_only=True)
class Cleaner:
    """What a line is, what is done to it, and which rules are on; a rule is off when None or False."""

    lines: Literal["splitlines", "newline"]
    """`str.splitlines` or `str.split("\\n")`."""
    strip: Literal["none", "before", "after"]
    """Lines are stripped not at all, or before or after citations are taken out."""
    join: bool = True
    """Kept lines are joined by a newline; otherwise the others are cut out with the line breaks after them."""
    strip_text: bool = True
    """The text that comes out is stripped. With `join` only."""
    whole_words: Literal["none", "long", "all"] = "none"
    """Which word rules see lines before citations are taken out: none, that on long words, or that on few words too."""
    keep_empty: bool = False
    """A line of no characters passes."""
    raw: bool = False
    """A document is dropped for what any of its lines has, kept or not."""
    any_case: bool = False
    """JavaScript and policy phrases are matched as `re.IGNORECASE` does, which takes ſ for an s and İ and ı for an i."""
    line_ends: str
    ellipsis_ends: bool = False
    """A line may end in three dots."""
    sentence_ends: str = ""
    """Characters that end a sentence where white space follows, or anywhere in a line when outside ASCII."""
    closers: str = ""
    """Characters that may stand after the end of a line or sentence."""
    max_word_chars: int | None
    citations: bool
    terminal_punctuation: bool
    min_line_words: int | None
    lorem_ipsum: bool
    javascript: Literal["line", "document"] | None
    """Drop the line that has it; or the document that has it as a word of its own."""
    curly_bracket: bool
    policy: bool
    sentences: Literal["spacy", "marks"] | None
    """How sentences are counted; None: not at all."""


def c4_cleaner(
    cleaner: Cleaner, cut_words: Callable[[TextBuffers], Words]
) -> Callable[[TextBuffers, Words | None], CleanedText]:
    """A function from texts to what becomes of them. It wants their words when sentences are counted by spaCy's tokens."""
    phrases, on = build_phrases(cleaner.any_case), _switches(cleaner)
    chars = character_table(
        phrases.letters,
        every_break=on.every_break,
        line_ends=cleaner.line_ends,
        sentence_ends=cleaner.sentence_ends,
        closers=cleaner.closers,
    )
    tables = Tables(chars, byte_table(chars), phrases.steps, phrases.first_hit, phrases.hits)

    def clean(texts: TextBuffers, words: Words | None = None) -> CleanedText:
        rows = len(texts.starts)
        given = Rows(texts.data, texts.starts, texts.ends)
        tokens = _no_tokens(rows) if words is None else Tokens(words.firsts, words.lasts, words.starts, words.kinds)
        out = _room(rows, len(texts.data) if on.spacy else 0)
        row = 0
        while (row := int(clean_rows(row, given, tables, tokens, out, on))) < rows:
            out = _more_room(out)
        if extras := int(out.used[1]):
            lines = text_buffers(string_column(out.extra_data, out.extra_ends[: extras + 1]))
            cut, rows_of = cut_words(lines), out.extra_rows[:extras]
            np.add.at(out.counts[:, SENTENCES], rows_of, count_sentences(lines, cut))
            np.add.at(out.counts[:, KEPT_WORDS], rows_of, cut.counts)
        return CleanedText(out.counts, out.edits[: out.used[0]], out.edit_ends)

    return clean


def _no_tokens(rows: int) -> Tokens:
    none = np.zeros(rows, np.int64)
    return Tokens(none, none, np.zeros(1, np.int32), np.zeros(0, np.uint8))


def _room(rows: int, extra_bytes: int) -> Out:
    """Room for the usual number of edits, citations and extra lines."""
    return Out(
        counts=np.zeros((rows, len(COUNTS)), np.int64),
        edits=np.empty((4 * rows + 64, 6), np.int64),
        edit_ends=np.zeros(rows + 1, np.int64),
        cites=np.empty((64, 4), np.int64),
        extra_data=np.empty(extra_bytes, np.uint8),
        extra_ends=np.zeros(65, np.int64),
        extra_rows=np.empty(65, np.int64),
        used=np.zeros(2, np.int64),
        want=np.zeros(3, np.int64),
    )


def _more_room(out: Out) -> Out:
    """The same with room for what the kernel wants."""
    edits, cites, extras = (int(wanted) for wanted in out.want)
    return out._replace(
        edits=_grown(out.edits, edits),
        cites=_grown(out.cites, cites),
        extra_ends=_grown(out.extra_ends, extras + 1),
        extra_rows=_grown(out.extra_rows, extras + 1),
    )


def _grown(array: npt.NDArray[Any], wanted: int) -> npt.NDArray[Any]:
    """The array with room for twice what is wanted, where it has too little for that."""
    if len(array) >= wanted:
        return array
    grown = np.empty((2 * wanted, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _switches(cleaner: Cleaner) -> Switches:
    return Switches(
        strip_before=cleaner.strip == "before",
        strip_after=cleaner.strip == "after",
        join=cleaner.join,
        strip_text=cleaner.join and cleaner.strip_text,
        long_before=cleaner.whole_words != "none",
        few_before=cleaner.whole_words == "all",
        keep_empty=cleaner.keep_empty,
        raw=cleaner.raw,
        ellipsis_ends=cleaner.ellipsis_ends,
        every_break=cleaner.lines == "splitlines",
        max_word_chars=-1 if cleaner.max_word_chars is None else cleaner.max_word_chars,
        citations=cleaner.citations,
        terminal_punctuation=cleaner.terminal_punctuation,
        min_line_words=cleaner.min_line_words or 0,
        lorem_ipsum=cleaner.lorem_ipsum,
        javascript_line=cleaner.javascript == "line",
        javascript_document=cleaner.javascript == "document",
        curly_bracket=cleaner.curly_bracket,
        policy=cleaner.policy,
        spacy=cleaner.sentences == "spacy",
        marks=cleaner.sentences == "marks",
    )


def count_sentences(texts: TextBuffers, words: Words) -> npt.NDArray[np.int64]:
    """Sentences of every line by spaCy's rule: one, and one more wherever a token other than punctuation, white space
    tokens among them, follows a token that ends a sentence."""
    counts = np.ones(len(words), np.int64)
    spaces = char_kinds() & SPACE != 0
    _count_sentences(texts.data, texts.starts, texts.ends, spaces, words.firsts, words.lasts, words.kinds, counts)
    return counts


@njit(nogil=True, cache=True)
def _count_sentences(data, starts, ends, spaces, word_firsts, word_lasts, word_kinds, counts):  # type: ignore[no-untyped-def]
    """Add to the ones in `counts`."""
    base = data.ctypes.data
    for row in range(len(starts)):
        seen = False
        for word in range(word_firsts[row], word_lasts[row]):
            bits = word_kinds[word]
            if seen and bits & GAP:
                counts[row] += 1
                seen = False
            if bits & PERIOD:
                seen = True
            elif seen and not bits & PUNCT:
                counts[row] += 1
                seen = False
        if not seen:
            continue
        i, end, blanks, first_blank = starts[row], ends[row], 0, np.uint32(0)
        while i < end:
            code, width = decode_char(base, i, end)
            i += width
            if not spaces[code]:
                blanks = 0
                continue
            if not blanks:
                first_blank = code
            blanks += 1
        if blanks > 1 or (blanks == 1 and first_blank != 0x20):
            counts[row] += 1


def count_paragraphs(texts: TextBuffers, min_chars: int) -> npt.NDArray[np.int64]:
    """How many lines between newlines have at least `min_chars` code points, per text. An empty text is one empty line."""
    counts = np.zeros(len(texts.starts), np.int64)
    _count_paragraphs(texts.data, texts.starts, texts.ends, min_chars, counts)
    return counts


@njit(nogil=True, cache=True)
def _count_paragraphs(data, starts, ends, min_chars, counts):  # type: ignore[no-untyped-def]
    for row in range(len(starts)):
        chars = 0
        for i in range(starts[row], ends[row]):
            if data[i] == NEWLINE:
                counts[row] += chars >= min_chars
                chars = 0
            else:
                chars += data[i] & 0xC0 != 0x80
        counts[row] += chars >= min_chars
