"""Cuts texts into lines, judges every line by the C4 rules and says what to cut out, in one pass over the bytes.

A `Cleaner` says how: the peers agree on the rules and differ in what a line is, when it is stripped and what ends it.
`clean` gives counts per text and edits; `apply_edits` makes the new texts. The definitions are those of the stage
`c4_quality`. Malformed UTF-8 gives some result and reads nothing outside its row.

Decisions. Phrases are looked for by one automaton (Aho and Corasick 1975) that takes a step per character, so that time is
linear whatever the text. Lower case is that of `str.lower`, code point by code point: the only characters outside ASCII that
it turns into an ASCII letter are U+212A, a k, and U+0130, which becomes an i and a combining dot and so stands in no phrase.
Sentences in tokens of spaCy are counted from `Words` of the whole text. A line that a citation was cut out of reads
differently then, so these few are collected and cut into words on their own. The kernel is one function for the reason
given in `text/gopher.py`, and runs of plain ASCII letters have a loop of their own: it reads web text 1.3 times as fast as
the one there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import or_
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from curate.text.unicode.buffers import TextBuffers, text_buffers
from curate.text.unicode.chars import BREAK as CHAR_BREAK
from curate.text.unicode.chars import CODE_POINTS, char_kinds, lower_chars
from curate.text.unicode.chars import SPACE as CHAR_SPACE
from curate.text.unicode.utf8 import decode_char
from curate.text.words.trie import build_automaton, flatten
from curate.text.words.types import GAP, PERIOD, PUNCT, Words

LOREM_IPSUM = "lorem ipsum"
JAVASCRIPT = "javascript"
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")

COUNTS = ("lines", "kept_lines", "sentences", "lorem_ipsum_line", "curly_bracket_line", "javascript_line", "kept_words")
"""What is counted per text. `..._line` is the number of the first line (from 1) that has it, 0 for none; `kept_words` is the
number of words in the text that comes out, where sentences are counted by spaCy's tokens."""
LINES, KEPT_LINES, SENTENCES, LOREM_LINE, CURLY_LINE, JAVASCRIPT_LINE, KEPT_WORDS = range(7)

EDIT_RULES = (
    "line_too_long_word",
    "line_no_terminal_punctuation",
    "line_too_few_words",
    "line_javascript",
    "line_policy",
    "blank_line",
    "citation",
    "line_break",
    "whitespace",
)
TOO_LONG_WORD, NO_END, TOO_FEW_WORDS, HAS_JAVASCRIPT, HAS_POLICY, BLANK_LINE, CITATION, LINE_BREAK, WHITESPACE = range(9)
KEEP = -1

# Kinds of characters. Above them in the same number stands the letter of the automaton.
SPACE, BREAK, LINE_END, SENTENCE_END, FREE_END, CLOSER, OPEN, CURLY, DIGIT = (1 << bit for bit in range(9))
MARK = LINE_END | SENTENCE_END | CLOSER | OPEN | CURLY
LETTER = 9
LETTERS = 64
STOP = 1 << 15
"""Of a byte: it is not a character of its own, or one to look at."""
# What the automaton finds.
LOREM_FOUND, JAVASCRIPT_FOUND, POLICY_FOUND, CURLY_FOUND, JAVASCRIPT_WORD = (1 << bit for bit in range(5))
# How the last character of a line stands to its end.
NO_MARK, ENDS_SENTENCE, ENDS_LINE = range(3)
NEWLINE, RETURN, DOT = (np.uint32(ord(char)) for char in "\n\r.")
EDIT = np.frombuffer(b"edit]", np.uint8)
CITATION_NEEDED = np.frombuffer(b"citation needed]", np.uint8)
RULE, BYTE_START, BYTE_END, CHAR_START, CHAR_END, NEW_BREAK = range(6)
"""Columns of the array of edits."""


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


class Switches(NamedTuple):
    """A `Cleaner` in numbers, for the kernel."""

    strip_before: bool
    strip_after: bool
    join: bool
    strip_text: bool
    long_before: bool
    few_before: bool
    keep_empty: bool
    raw: bool
    ellipsis_ends: bool
    every_break: bool
    max_word_chars: int
    citations: bool
    terminal_punctuation: bool
    min_line_words: int
    lorem_ipsum: bool
    javascript_line: bool
    javascript_document: bool
    curly_bracket: bool
    policy: bool
    spacy: bool
    marks: bool


@dataclass(frozen=True)
class Phrases:
    """An automaton: after a character the state is steps[state | letter], and below `first_hit` nothing was found."""

    letters: dict[str, int]
    """The number of every character in a phrase; 0 stands for all others. They are told apart in lower case."""
    steps: npt.NDArray[np.int32]
    first_hit: int
    hits: npt.NDArray[np.uint8]
    """What was found, for states from `first_hit` on; shape ((states - first_hit) / LETTERS,)."""


@dataclass(frozen=True)
class CleanedText:
    """What came of some texts."""

    counts: npt.NDArray[np.int64]
    """Shape (rows, len(COUNTS))."""
    edits: npt.NDArray[np.int64]
    """Shape (edits, 6): rule, from and to byte of the data, from and to code point of the text, whether a newline comes in."""
    edit_ends: npt.NDArray[np.int64]
    """Shape (rows + 1,): the edits of row r are edits[edit_ends[r]:edit_ends[r + 1]]."""


def c4_cleaner(
    cleaner: Cleaner, cut_words: Callable[[TextBuffers], Words]
) -> Callable[[TextBuffers, Words | None], CleanedText]:
    """A function from texts to what becomes of them. It wants their words when sentences are counted by spaCy's tokens."""
    phrases = build_phrases(cleaner.any_case)
    table = character_table(cleaner, phrases.letters)
    bytes_ = np.where(np.arange(256) < 0x80, table[:256], STOP).astype(np.uint16)
    bytes_[table[:256] & (SPACE | MARK) != 0] |= STOP
    switches = _switches(cleaner)

    def clean(texts: TextBuffers, words: Words | None = None) -> CleanedText:
        rows = len(texts.starts)
        counts = np.zeros((rows, len(COUNTS)), np.int64)
        edit_ends = np.zeros(rows + 1, np.int64)
        edits = np.empty((4 * rows + 64, 6), np.int64)
        cites = np.empty((64, 4), np.int64)
        extra_ends = np.zeros(65, np.int64)
        extra_rows = np.empty(65, np.int64)
        extra_data = np.empty(len(texts.data) if switches.spacy else 0, np.uint8)
        used = np.zeros(2, np.int64)
        given = words if words is not None else _no_words(rows)
        row, want = 0, np.zeros(3, np.int64)
        while True:
            row = _clean(
                row, texts.data, texts.starts, texts.ends, table, bytes_, phrases.steps, phrases.first_hit, phrases.hits,
                given.firsts, given.lasts, given.starts, given.kinds, switches,
                counts, edits, edit_ends, cites, extra_data, extra_ends, extra_rows, used, want,
            )  # fmt: skip
            if row == rows:
                break
            edits, cites = _grown(edits, want[0]), _grown(cites, want[1])
            extra_ends, extra_rows = _grown(extra_ends, want[2] + 1), _grown(extra_rows, want[2] + 1)
        if extras := int(used[1]):
            lines, rows_of = text_buffers(_column(extra_data, extra_ends[: extras + 1])), extra_rows[:extras]
            cut = cut_words(lines)
            np.add.at(counts[:, SENTENCES], rows_of, count_sentences(lines, cut))
            np.add.at(counts[:, KEPT_WORDS], rows_of, cut.counts)
        return CleanedText(counts, edits[: used[0]], edit_ends)

    return clean


def _no_words(rows: int) -> Words:
    none = np.zeros(rows, np.int64)
    return Words(
        firsts=none, lasts=none, stream=np.zeros(0, np.uint8), starts=np.zeros(1, np.int32), chars=np.zeros(1, np.int32),
        hashes=np.zeros(0, np.uint64), kinds=np.zeros(0, np.uint8),
    )  # fmt: skip


def _grown(array: npt.NDArray[Any], wanted: int) -> npt.NDArray[Any]:
    """The array with room for twice what is wanted, where it has too little for that."""
    if len(array) >= wanted:
        return array
    grown = np.empty((2 * int(wanted), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _column(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> pa.Array:
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


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


def character_table(cleaner: Cleaner, letters: dict[str, int]) -> npt.NDArray[np.uint16]:
    """Kinds and letter of every code point."""
    chars = char_kinds()
    table = np.zeros(CODE_POINTS, np.uint16)
    table[chars & CHAR_SPACE != 0] |= SPACE
    if cleaner.lines == "splitlines":
        table[chars & CHAR_BREAK != 0] |= BREAK
    table[NEWLINE] |= BREAK
    for bit, members in ((LINE_END, cleaner.line_ends), (SENTENCE_END, cleaner.sentence_ends), (CLOSER, cleaner.closers)):
        table[_codes(members)] |= np.uint16(bit)
    table[_codes(char for char in cleaner.sentence_ends if not char.isascii() and char != "…")] |= np.uint16(FREE_END)
    table[_codes("[")] |= np.uint16(OPEN)
    table[_codes("{")] |= np.uint16(CURLY)
    table[_codes(chr(code) for code in range(CODE_POINTS) if chr(code).isdecimal())] |= np.uint16(DIGIT)
    for char, number in letters.items():
        table[ord(char)] |= np.uint16(number << LETTER)
    for char, lower in lower_chars().items():
        if lower in letters and char not in letters:
            table[ord(char)] |= np.uint16(letters[lower] << LETTER)
    table.flags.writeable = False
    return table


def _codes(chars: Iterable[str]) -> list[int]:
    return [ord(char) for char in chars]


def build_phrases(any_case: bool) -> Phrases:
    """The automaton that finds the phrases."""
    found = {LOREM_IPSUM: LOREM_FOUND}
    for phrases, bit in (((JAVASCRIPT,), JAVASCRIPT_FOUND), (POLICY, POLICY_FOUND)):
        for phrase in phrases:
            found |= dict.fromkeys(_spellings(phrase) if any_case else [phrase], bit)
    letters = {char: number for number, char in enumerate(sorted(set("".join(found))), 1)}
    spellings = [[letters[char] for char in phrase] for phrase in found]
    automaton = flatten(build_automaton(spellings, len(letters) + 1), LETTERS)
    bits = list(found.values())
    hits = [reduce(or_, (bits[phrase] for phrase in ended)) for ended in automaton.endings]
    return Phrases(letters, automaton.steps, automaton.first_hit, np.array(hits, np.uint8))


def _spellings(phrase: str) -> list[str]:
    """All that `re.IGNORECASE` takes for the phrase, in lower case where that is one character."""
    return ["".join(chars) for chars in product(*({"s": "sſ", "i": "iİı"}.get(char, char) for char in phrase))]


@njit(nogil=True, cache=True)
def _add(edits, count, first, rule, byte_start, byte_end, char_start, char_end, new_break):  # type: ignore[no-untyped-def]
    """Add an edit, or let the one before it grow. Returns how many there are; where there is no room, it only counts."""
    if byte_start == byte_end:
        return count
    if count >= len(edits):
        return count + 1
    if count > first and not new_break:
        last = count - 1
        if edits[last, RULE] == rule and edits[last, BYTE_END] == byte_start and not edits[last, NEW_BREAK]:
            edits[last, BYTE_END], edits[last, CHAR_END] = byte_end, char_end
            return count
    edits[count, RULE], edits[count, NEW_BREAK] = rule, new_break
    edits[count, BYTE_START], edits[count, BYTE_END] = byte_start, byte_end
    edits[count, CHAR_START], edits[count, CHAR_END] = char_start, char_end
    return count + 1


@njit(nogil=True, cache=True)
def _citation(data, start, end, table):  # type: ignore[no-untyped-def]
    """The end of the mark that opens at `start`, in bytes and in code points counted from there; the first 0 for none."""
    base, i, chars = data.ctypes.data, start + 1, 1
    while i < end:
        code, width = decode_char(base, i, end)
        if not table[code] & DIGIT:
            break
        i += width
        chars += 1
    if i < end and data[i] == 0x5D:
        return i + 1, chars + 1
    for words in (EDIT, CITATION_NEEDED):
        size = len(words)
        if start + 1 + size <= end and data[start + 1] == words[0]:
            k = 0
            while k < size and data[start + 1 + k] == words[k]:
                k += 1
            if k == size:
                return start + 1 + size, 1 + size
    return 0, 0


@njit(nogil=True, cache=True)
def _clean(  # type: ignore[no-untyped-def]
    row, data, starts, ends, table, bytes_, steps, first_hit, hits, word_firsts, word_lasts, word_starts, word_kinds, on,
    counts, edits, edit_ends, cites, extra_data, extra_ends, extra_rows, used, want,
):  # fmt: skip
    """Go through the texts from `row` on. Returns the row for which some array has no room, and in `want` how much it needs."""
    base, edit_count, extra_count = data.ctypes.data, used[0], used[1]
    want[:] = 0
    while row < len(starts):
        first_edit, first_extra = edit_count, extra_count
        i, c, end = starts[row], 0, ends[row]
        row_start, spaces = i, 0
        word, last_word = word_firsts[row], word_lasts[row]
        stream = word_starts[word] if on.spacy and word < last_word else 0
        lines, kept, sentences, lorem_line, curly_line, javascript_line, kept_words = 0, 0, 0, 0, 0, 0, 0
        before_b, before_c = i, 0  # where the line before ends, and its break begins
        started, clean_end, final_b, final_c = False, True, i, 0  # of the text that comes out: begun; its end so far
        most_cites = 0
        more = i < end or not on.every_break
        while more:
            line_b, line_c = i, c
            chars, cut, cited = 0, False, 0  # of the word: length, whether citations were cut out, their length
            words, more_words, longest, longest_with, longest_without = 0, 0, 0, 0, 0
            first_b, first_c, last_b, last_c, inside = -1, 0, line_b, line_c, False  # of what is not blank
            dots, end_dots, tail, line_sentences, pending = 0, 0, NO_MARK, 0, 1
            state, found, whole_at = 0, 0, False
            cite_count, cite_chars = 0, 0
            line_spaces = spaces
            width = 1
            code = NEWLINE
            while True:
                run = i
                while i < end:  # characters that are ASCII and nothing but letters of the automaton
                    kind = bytes_[data[i]]
                    if kind & STOP:
                        break
                    state = steps[state | kind >> LETTER]
                    if state >= first_hit:
                        hit = hits[(state - first_hit) >> 6]
                        found |= hit
                        whole_at |= hit & JAVASCRIPT_FOUND != 0 and chars + i + 1 - run == len(JAVASCRIPT)
                    i += 1
                if i > run:
                    if first_b < 0:
                        first_b, first_c = run, c
                    chars += i - run
                    c += i - run
                    inside = True
                    line_sentences += pending
                    dots, tail, pending = 0, NO_MARK, 0
                code, width = NEWLINE, 1  # the end of the text ends its last line
                if i < end:
                    code, width = decode_char(base, i, end)
                kind = table[code]
                if kind & SPACE:
                    if chars or cut:
                        if cut:
                            more_words += int(chars + cited > 0) - int(chars > 0)
                            longest_with = max(longest_with, chars + cited)
                            longest_without = max(longest_without, chars)
                        else:
                            longest = max(longest, chars)
                        if chars:
                            words += 1
                            dots = 0
                            if whole_at and chars == len(JAVASCRIPT):
                                found |= JAVASCRIPT_WORD
                        if tail:
                            pending = 1
                        chars, cut, cited, whole_at = 0, False, 0, False
                    if inside:
                        last_b, last_c, inside = i, c, False
                    if kind & BREAK:
                        break
                    spaces += width
                    state = steps[state | kind >> LETTER]
                    if state >= first_hit:
                        found |= hits[(state - first_hit) >> 6]
                    i += width
                    c += 1
                    continue
                if kind & MARK:
                    if kind & OPEN and on.citations:
                        cite_end, cite_size = _citation(data, i, end, table)
                        if cite_end:
                            if cite_count < len(cites):
                                cites[cite_count, 0], cites[cite_count, 1] = i, cite_end
                                cites[cite_count, 2], cites[cite_count, 3] = c, c + cite_size
                            cite_count += 1
                            cite_chars += cite_size
                            if inside:
                                last_b, last_c, inside = i, c, False
                            cut = True
                            cited += cite_size
                            if data[i + 1] == CITATION_NEEDED[0]:  # "[citation" ends a word, "needed]" begins another
                                longest_with = max(longest_with, chars + cited - 8)
                                more_words += 1
                                cited = 7 - chars
                                spaces += 1
                            i = cite_end
                            c += cite_size
                            continue
                    if kind & CURLY:
                        found |= CURLY_FOUND
                    if kind & (LINE_END | SENTENCE_END):
                        dots = dots + 1 if code == DOT else 0
                        end_dots = dots
                        tail = ENDS_LINE if kind & LINE_END else ENDS_SENTENCE
                        if kind & FREE_END:
                            pending = 1
                    elif kind & CLOSER:
                        dots = 0
                    else:
                        line_sentences += pending
                        dots, tail, pending = 0, NO_MARK, 0
                else:
                    line_sentences += pending
                    dots, tail, pending = 0, NO_MARK, 0
                chars += 1
                if first_b < 0:
                    first_b, first_c = i, c
                inside = True
                state = steps[state | kind >> LETTER]
                if state >= first_hit:
                    hit = hits[(state - first_hit) >> 6]
                    found |= hit
                    whole_at |= hit & JAVASCRIPT_FOUND != 0 and chars == len(JAVASCRIPT)
                i += width
                c += 1
            content_b, content_c = i, c  # the end of the line without its break
            more = False
            if i < end:
                i += width
                c += 1
                if code == RETURN and i < end and data[i] == NEWLINE:
                    i += 1
                    c += 1
                spaces += i - content_b
                more = i < end or not on.every_break
            lines += 1
            most_cites = max(most_cites, cite_count)
            cite_count = min(cite_count, len(cites))  # without room for all of them the row is done again

            # What of the line is its own: all, or from the first to the last character that is not blank.
            blank = first_b < 0
            if blank:
                first_b, first_c, last_b, last_c = content_b, content_c, content_b, content_c
            from_b, from_c, to_b, to_c = first_b, first_c, last_b, last_c
            open_end = False
            if on.strip_before and cite_count:
                if blank or cites[0, 0] < first_b:
                    from_b, from_c = cites[0, 0], cites[0, 2]
                if blank or cites[cite_count - 1, 1] > last_b:
                    to_b, to_c = cites[cite_count - 1, 1], cites[cite_count - 1, 3]
                left = to_b - last_b
                k = cite_count - 1
                while k >= 0 and cites[k, 0] >= last_b:
                    left -= cites[k, 1] - cites[k, 0]
                    k -= 1
                open_end = left > 0
            elif not on.strip_before and not on.strip_after:
                from_b, from_c, to_b, to_c = line_b, line_c, content_b, content_c
                open_end = last_b < content_b
            longest_without = max(longest, longest_without)
            longest_with = max(longest, longest_with)
            all_words = words + more_words

            rule = KEEP
            if on.max_word_chars >= 0 and (longest_with if on.long_before else longest_without) > on.max_word_chars:
                rule = TOO_LONG_WORD
            elif not (on.keep_empty and content_c - line_c == cite_chars):
                ended = tail == ENDS_LINE and (end_dots < 3 or on.ellipsis_ends) and not (on.strip_before and open_end)
                if on.terminal_punctuation and not ended:
                    rule = NO_END
                elif (all_words if on.few_before else words) < on.min_line_words:
                    rule = TOO_FEW_WORDS
            if rule == KEEP or on.raw:
                if on.lorem_ipsum and found & LOREM_FOUND and not lorem_line:
                    lorem_line = lines
                if on.javascript_document and found & JAVASCRIPT_WORD and not javascript_line:
                    javascript_line = lines
                if on.javascript_line and found & JAVASCRIPT_FOUND:
                    rule = HAS_JAVASCRIPT
                elif on.curly_bracket and found & CURLY_FOUND and not curly_line:
                    curly_line = lines
                if rule == KEEP and on.policy and found & POLICY_FOUND:
                    rule = HAS_POLICY

            if rule != KEEP:
                if not all_words:
                    rule = BLANK_LINE
                if on.join and started:  # a line goes with the break before it, so that nothing is left at the end
                    edit_count = _add(edits, edit_count, first_edit, rule, before_b, content_b, before_c, content_c, 0)
                else:
                    edit_count = _add(edits, edit_count, first_edit, rule, line_b, i, line_c, c, 0)
                before_b, before_c = content_b, content_c
                continue

            kept += 1
            if on.marks:
                sentences += max(line_sentences, 1) if words else 0
            elif on.spacy and not (blank and on.keep_empty):
                if cite_count:
                    if extra_count < len(extra_rows) - 1:
                        at, k = extra_ends[extra_count], 0
                        j = from_b if on.strip_before else first_b
                        while j < (to_b if on.strip_before else last_b):
                            if k < cite_count and cites[k, 0] < j:
                                k += 1
                            elif k < cite_count and cites[k, 0] == j:
                                j = cites[k, 1]
                            else:
                                extra_data[at] = data[j]
                                at += 1
                                j += 1
                        extra_rows[extra_count] = row
                        extra_ends[extra_count + 1] = at
                    extra_count += 1
                else:
                    low = stream + line_b - row_start - line_spaces
                    high = low + i - line_b - (spaces - line_spaces)
                    while word < last_word and word_starts[word] < low:
                        word += 1
                    count, seen, first = 1, False, True
                    while word < last_word and word_starts[word] < high:
                        bits = word_kinds[word]
                        if seen and not first and bits & GAP:
                            count += 1
                            seen = False
                        first = False
                        if bits & PERIOD:
                            seen = True
                        elif seen and not bits & PUNCT:
                            count += 1
                            seen = False
                        word += 1
                        kept_words += 1
                    sentences += count

            if on.join:
                if not started and on.strip_text and blank:
                    edit_count = _add(edits, edit_count, first_edit, WHITESPACE, line_b, i, line_c, c, 0)
                    before_b, before_c = content_b, content_c
                    continue
                if not started:
                    started = True
                    if on.strip_text:
                        from_b, from_c = first_b, first_c
                elif line_b - before_b != 1 or data[before_b] != NEWLINE:
                    edit_count = _add(edits, edit_count, first_edit, LINE_BREAK, before_b, line_b, before_c, line_c, 1)
                at_b, at_c = line_b, line_c
                for k in range(cite_count):
                    if at_b < from_b:
                        if cites[k, 0] < from_b:
                            stop_b, stop_c = cites[k, 0], cites[k, 2]
                        else:
                            stop_b, stop_c = from_b, from_c
                        edit_count = _add(edits, edit_count, first_edit, WHITESPACE, at_b, stop_b, at_c, stop_c, 0)
                    if cites[k, 0] > to_b:
                        if at_b < to_b:
                            at_b, at_c = to_b, to_c
                        edit_count = _add(edits, edit_count, first_edit, WHITESPACE, at_b, cites[k, 0], at_c, cites[k, 2], 0)
                    edit_count = _add(
                        edits, edit_count, first_edit, CITATION, cites[k, 0], cites[k, 1], cites[k, 2], cites[k, 3], 0
                    )
                    at_b, at_c = cites[k, 1], cites[k, 3]
                if at_b < from_b:
                    edit_count = _add(edits, edit_count, first_edit, WHITESPACE, at_b, from_b, at_c, from_c, 0)
                    at_b, at_c = from_b, from_c
                if at_b < to_b:
                    at_b, at_c = to_b, to_c
                edit_count = _add(edits, edit_count, first_edit, WHITESPACE, at_b, content_b, at_c, content_c, 0)
                clean_end = not (blank or open_end)
                if not blank:
                    final_b, final_c = last_b, last_c
            before_b, before_c = content_b, content_c

        if on.strip_text and started:
            if edit_count <= len(edits) and not clean_end:  # blanks are left at the end: between its edits they go too
                top, k, at_b, at_c = edit_count, edit_count, final_b, final_c
                while k > first_edit and edits[k - 1, BYTE_START] >= final_b:
                    k -= 1
                below = k
                while k < edit_count:
                    from_b, from_c = edits[k, BYTE_START], edits[k, CHAR_START]
                    rule = WHITESPACE if edits[k, NEW_BREAK] else edits[k, RULE]
                    top = _add(edits, top, edit_count, WHITESPACE, at_b, from_b, at_c, from_c, 0)
                    at_b, at_c = edits[k, BYTE_END], edits[k, CHAR_END]
                    top = _add(edits, top, edit_count, rule, from_b, at_b, from_c, at_c, 0)
                    k += 1
                top = _add(edits, top, edit_count, WHITESPACE, at_b, end, at_c, c, 0)
                if top <= len(edits):
                    for k in range(top - edit_count):
                        edits[below + k] = edits[edit_count + k]
                    top = below + top - edit_count
                edit_count = top
            else:
                edit_count = _add(edits, edit_count, first_edit, WHITESPACE, before_b, end, before_c, c, 0)
        if edit_count > len(edits) or most_cites > len(cites) or extra_count >= len(extra_rows):
            want[0], want[1], want[2] = edit_count, most_cites, extra_count
            used[0], used[1] = first_edit, first_extra
            return row
        edit_ends[row + 1] = edit_count
        counts[row, LINES], counts[row, KEPT_LINES], counts[row, SENTENCES] = lines, kept, sentences
        counts[row, LOREM_LINE], counts[row, CURLY_LINE], counts[row, JAVASCRIPT_LINE] = lorem_line, curly_line, javascript_line
        counts[row, KEPT_WORDS] = kept_words
        row += 1
    used[0], used[1] = edit_count, extra_count
    return row


def count_sentences(texts: TextBuffers, words: Words) -> npt.NDArray[np.int64]:
    """Sentences of every line by spaCy's rule: one, and one more wherever a token other than punctuation, white space
    tokens among them, follows a token that ends a sentence."""
    counts = np.ones(len(words), np.int64)
    spaces = char_kinds() & CHAR_SPACE != 0
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


def apply_edits(texts: pa.Array, cleaning: CleanedText, where: npt.NDArray[np.bool_]) -> pa.Array:
    """The texts, edited where `where` is true."""
    buffers = text_buffers(texts)
    edits, bounds = cleaning.edits, cleaning.edit_ends
    change = np.concatenate([[0], np.cumsum(edits[:, NEW_BREAK] - edits[:, BYTE_END] + edits[:, BYTE_START])])
    sizes = buffers.ends - buffers.starts + np.where(where, change[bounds[1:]] - change[bounds[:-1]], 0)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    out = np.empty(offsets[-1], np.uint8)
    _apply(buffers.data, buffers.starts, buffers.ends, edits, bounds, where, out, offsets)
    column = _column(out, offsets)
    if not texts.null_count:
        return column
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    packed = np.packbits(valid, bitorder="little")
    return pa.Array.from_buffers(pa.large_string(), len(texts), [pa.py_buffer(packed), *column.buffers()[1:]])


@njit(nogil=True, cache=True)
def _apply(data, starts, ends, edits, bounds, where, out, offsets):  # type: ignore[no-untyped-def]
    for row in range(len(starts)):
        at, i = offsets[row], starts[row]
        if where[row]:
            for k in range(bounds[row], bounds[row + 1]):
                size = edits[k, BYTE_START] - i
                out[at : at + size] = data[i : i + size]
                at += size
                if edits[k, NEW_BREAK]:
                    out[at] = NEWLINE
                    at += 1
                i = edits[k, BYTE_END]
        out[at : at + ends[row] - i] = data[i : ends[row]]


def edit_column(cleaning: CleanedText, where: npt.NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    """The edits as a list column of type `kind` (`EDITS_TYPE`), null where `where` is false."""
    sizes = np.diff(cleaning.edit_ends)
    edits = cleaning.edits[np.repeat(where, sizes)]
    fields = [
        pa.array(EDIT_RULES).take(pa.array(edits[:, RULE])),
        pa.array(np.ascontiguousarray(edits[:, CHAR_START])),
        pa.array(np.ascontiguousarray(edits[:, CHAR_END])),
        pa.array(["", "\n"]).take(pa.array(edits[:, NEW_BREAK])),
    ]
    parts = pa.StructArray.from_arrays(fields, fields=list(kind.value_type))
    offsets = np.concatenate([[0], np.cumsum(np.where(where, sizes, 0))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), parts, type=kind, mask=pa.array(~where))


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
