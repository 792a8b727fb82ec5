"""The kernel of the C4 rules: reads lines, applies the rules to each and writes the edits, in one pass over the bytes.

A place is a pair of numbers: a byte of the data and a code point of the text. The steps (scan a line, apply the rules, emit
edits) are functions that are inlined: an array that is handed to a compiled function costs numba a count of references. Runs
of plain ASCII letters have a loop of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.rules.c4_chars import (
    BREAK,
    CLOSER,
    CURLY,
    CURLY_FOUND,
    DIGIT,
    FREE_END,
    JAVASCRIPT,
    JAVASCRIPT_FOUND,
    JAVASCRIPT_WORD,
    LETTER,
    LINE_END,
    LOREM_FOUND,
    NEWLINE,
    OPEN,
    POLICY_FOUND,
    SENTENCE_END,
    SPACE,
    STOP,
)
from curate.text.rules.c4_edits import (
    BLANK_LINE,
    BYTE_END,
    BYTE_START,
    CHAR_END,
    CHAR_START,
    CITATION,
    HAS_JAVASCRIPT,
    HAS_POLICY,
    LINE_BREAK,
    NEW_BREAK,
    NO_END,
    RULE,
    TOO_FEW_WORDS,
    TOO_LONG_WORD,
    WHITESPACE,
    add_edit,
)
from curate.text.unicode.utf8 import decode_char
from curate.text.words.types import GAP, PERIOD, PUNCT

KEEP = -1
NO_MARK, ENDS_SENTENCE, ENDS_LINE = range(3)
"""What the last character of a line is, closers left out."""
RETURN, DOT, CLOSING_BRACKET = (np.uint32(ord(char)) for char in "\r.]")
JAVASCRIPT_CHARS = len(JAVASCRIPT)
EDIT = np.frombuffer(b"edit]", np.uint8)
CITATION_NEEDED = np.frombuffer(b"citation needed]", np.uint8)


class Switches(NamedTuple):
    """A `Cleaner` in numbers."""

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


class Rows(NamedTuple):
    """The texts, as in `TextBuffers`."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class Tables(NamedTuple):
    """Kinds of code points and of bytes, and the automaton of the phrases (`c4_chars.py`)."""

    chars: npt.NDArray[np.uint16]
    bytes: npt.NDArray[np.uint16]
    steps: npt.NDArray[np.int32]
    first_hit: int
    hits: npt.NDArray[np.uint8]


class Tokens(NamedTuple):
    """spaCy's words of the texts, as in `Words`; empty where sentences are not counted by them."""

    firsts: npt.NDArray[np.int64]
    lasts: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.uint8]


class Out(NamedTuple):
    """What the kernel writes."""

    counts: npt.NDArray[np.int64]
    edits: npt.NDArray[np.int64]
    edit_ends: npt.NDArray[np.int64]
    cites: npt.NDArray[np.int64]
    """Scratch: the citations of a line, from and to byte, from and to code point."""
    extra_data: npt.NDArray[np.uint8]
    """Lines that citations were cut out of and whose sentences are still to be counted, their ends, and their rows."""
    extra_ends: npt.NDArray[np.int64]
    extra_rows: npt.NDArray[np.int64]
    used: npt.NDArray[np.int64]
    """Edits, and extra lines, so far."""
    want: npt.NDArray[np.int64]
    """Room that a row needs: edits, citations, extra lines."""


class Counts(NamedTuple):
    """The counts of one text, in the order of `COUNTS`."""

    lines: int
    kept_lines: int
    sentences: int
    lorem_line: int
    curly_line: int
    javascript_line: int
    kept_words: int


class LineWords(NamedTuple):
    """The words of a line, those of `str.split`, with and without the citations in them."""

    words: int
    """Words without citations."""
    more: int
    """How many more there are with citations."""
    longest: int
    """Characters of the longest word in which no citation stands."""
    longest_with: int
    longest_without: int
    """Characters of the longest word in which one stands, with it and without it."""


class LineEnd(NamedTuple):
    """What the characters read so far say of the ends of the line and of sentences."""

    dots: int
    """Length of the run of dots that ends here."""
    end_dots: int
    """Length of the last run of dots."""
    tail: int
    """NO_MARK, ENDS_SENTENCE or ENDS_LINE."""
    sentences: int
    pending: int
    """1 where the next character begins a sentence."""


class Line(NamedTuple):
    """A line that has been read."""

    start: Any
    first: Any
    """The first character that is neither blank nor in a citation; `content` where there is none."""
    last: Any
    """Behind the last such character."""
    content: Any
    """The end of the line without its break."""
    stop: Any
    """The end of the line with its break."""
    blank: bool
    more: bool
    """Another line follows."""
    words: LineWords
    end: LineEnd
    found: int
    cites: int
    """Citations, however many there was room for."""
    cite_chars: int
    spaces_before: int
    """Bytes of white space in the text before the line."""
    spaces: int
    """The same with the line and its break."""


@njit(nogil=True, cache=True)
def _citation(data, start, end, table):  # type: ignore[no-untyped-def]
    """The end of the citation that opens at byte `start`: bytes of the data, and code points from `start`; 0, 0 for none."""
    base, i, chars = data.ctypes.data, start + 1, 1
    while i < end:
        code, width = decode_char(base, i, end)
        if not table[code] & DIGIT:
            break
        i += width
        chars += 1
    if i < end and data[i] == CLOSING_BRACKET:
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


@njit(inline="always")
def _end_word(words, chars, cut, cited):  # type: ignore[no-untyped-def]
    """The words of a line and one more, of `chars` characters, and `cited` ones in citations where it is `cut`."""
    more, longest, longest_with, longest_without = words.more, words.longest, words.longest_with, words.longest_without
    if cut:
        more += int(chars + cited > 0) - int(chars > 0)
        longest_with = max(longest_with, chars + cited)
        longest_without = max(longest_without, chars)
    else:
        longest = max(longest, chars)
    return LineWords(words.words + int(chars > 0), more, longest, longest_with, longest_without)


@njit(inline="always")
def _read_mark(ends, kind, code):  # type: ignore[no-untyped-def]
    """The end of a line after one more character."""
    dots, end_dots, tail, sentences, pending = ends
    if kind & (LINE_END | SENTENCE_END):
        dots = dots + 1 if code == DOT else 0
        end_dots = dots
        tail = ENDS_LINE if kind & LINE_END else ENDS_SENTENCE
        if kind & FREE_END:
            pending = 1
    elif kind & CLOSER:
        dots = 0
    else:
        sentences += pending
        dots, tail, pending = 0, NO_MARK, 0
    return LineEnd(dots, end_dots, tail, sentences, pending)


@njit(inline="always")
def _scan_line(data, base, start, end, spaces, chars_table, bytes_table, steps, first_hit, hits, cites, on):  # type: ignore[no-untyped-def]
    """The line at `start`. Its citations go into `cites` as far as there is room."""
    i, c = start
    spaces_before = spaces
    first_b, first_c, last_b, last_c, inside = -1, 0, i, c, False
    chars, cut, cited, whole_at = 0, False, 0, False  # of the word: length, whether citations were cut out, their length
    words, ends = LineWords(0, 0, 0, 0, 0), LineEnd(0, 0, NO_MARK, 0, 1)
    state, found, cite_count, cite_chars = 0, 0, 0, 0
    while True:
        run = i
        while i < end:  # characters that are ASCII and nothing but letters of the automaton
            kind = bytes_table[data[i]]
            if kind & STOP:
                break
            state = steps[state | kind >> LETTER]
            if state >= first_hit:
                hit = hits[(state - first_hit) >> 6]
                found |= hit
                whole_at |= hit & JAVASCRIPT_FOUND != 0 and chars + i + 1 - run == JAVASCRIPT_CHARS
            i += 1
        if i > run:
            if first_b < 0:
                first_b, first_c = run, c
            chars += i - run
            c += i - run
            inside = True
            ends = LineEnd(0, ends.end_dots, NO_MARK, ends.sentences + ends.pending, 0)
        code, width = NEWLINE, 1  # the end of the text ends its last line
        if i < end:
            code, width = decode_char(base, i, end)
        kind = chars_table[code]
        if kind & SPACE:
            if chars or cut:
                words = _end_word(words, chars, cut, cited)
                if whole_at and chars == JAVASCRIPT_CHARS:
                    found |= JAVASCRIPT_WORD
                ends = LineEnd(
                    0 if chars else ends.dots, ends.end_dots, ends.tail, ends.sentences, 1 if ends.tail else ends.pending
                )
                chars, cut, cited, whole_at = 0, False, 0, False
            if inside:
                last_b, last_c, inside = i, c, False
            if kind & BREAK:
                break
            spaces += width
        else:
            if kind & OPEN and on.citations:
                cite_end, cite_size = _citation(data, i, end, chars_table)
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
                        words = LineWords(
                            words.words,
                            words.more + 1,
                            words.longest,
                            max(words.longest_with, chars + cited - 8),
                            words.longest_without,
                        )
                        cited = 7 - chars
                        spaces += 1
                    i = cite_end
                    c += cite_size
                    continue
            if kind & CURLY:
                found |= CURLY_FOUND
            ends = _read_mark(ends, kind, code)
            chars += 1
            if first_b < 0:
                first_b, first_c = i, c
            inside = True
        state = steps[state | kind >> LETTER]
        if state >= first_hit:
            hit = hits[(state - first_hit) >> 6]
            found |= hit
            whole_at |= hit & JAVASCRIPT_FOUND != 0 and chars == JAVASCRIPT_CHARS
        i += width
        c += 1
    content, more = (i, c), False
    if i < end:
        i += width
        c += 1
        if code == RETURN and i < end and data[i] == NEWLINE:
            i += 1
            c += 1
        spaces += i - content[0]
        more = i < end or not on.every_break
    blank = first_b < 0
    first, last = (first_b, first_c), (last_b, last_c)
    if blank:
        first, last = content, content
    return Line(
        start, first, last, content, (i, c), blank, more, words, ends, found, cite_count, cite_chars, spaces_before, spaces
    )


@njit(inline="always")
def _own_part(line, cites, cite_count, on):  # type: ignore[no-untyped-def]
    """From where to where a line goes once it is stripped as wanted, and whether blanks are left at its end."""
    start, stop, open_end = line.first, line.last, False
    if on.strip_before and cite_count:
        if line.blank or cites[0, 0] < line.first[0]:
            start = (cites[0, 0], cites[0, 2])
        if line.blank or cites[cite_count - 1, 1] > line.last[0]:
            stop = (cites[cite_count - 1, 1], cites[cite_count - 1, 3])
        left, k = stop[0] - line.last[0], cite_count - 1
        while k >= 0 and cites[k, 0] >= line.last[0]:
            left -= cites[k, 1] - cites[k, 0]
            k -= 1
        open_end = left > 0
    elif not on.strip_before and not on.strip_after:
        start, stop = line.start, line.content
        open_end = line.last[0] < line.content[0]
    return start, stop, open_end


@njit(inline="always")
def _line_rule(line, open_end, on):  # type: ignore[no-untyped-def]
    """The first rule on words and on the end of a line that the line breaks, KEEP for none."""
    words, rule = line.words, KEEP
    longest = max(words.longest, words.longest_with if on.long_before else words.longest_without)
    if on.max_word_chars >= 0 and longest > on.max_word_chars:
        rule = TOO_LONG_WORD
    elif not (on.keep_empty and line.content[1] - line.start[1] == line.cite_chars):
        three_dots = line.end.end_dots >= 3 and not on.ellipsis_ends
        ended = line.end.tail == ENDS_LINE and not three_dots and not (on.strip_before and open_end)
        if on.terminal_punctuation and not ended:
            rule = NO_END
        elif words.words + (words.more if on.few_before else 0) < on.min_line_words:
            rule = TOO_FEW_WORDS
    return rule


@njit(inline="always")
def _hold(line, rule, page, on):  # type: ignore[no-untyped-def]
    """The rule by which a line goes for what it holds, the one given where there is none; and the counts of the page."""
    lorem_line, curly_line, javascript_line = page.lorem_line, page.curly_line, page.javascript_line
    lines, found = page.lines + 1, line.found
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
    if rule != KEEP and not line.words.words + line.words.more:
        rule = BLANK_LINE
    return rule, Counts(lines, page.kept_lines, page.sentences, lorem_line, curly_line, javascript_line, page.kept_words)


@njit(inline="always")
def _count_tokens(kinds, starts, word, last, low, high):  # type: ignore[no-untyped-def]
    """Sentences and words of the line between the places `low` and `high` of the stream, and the first word behind it."""
    while word < last and starts[word] < low:
        word += 1
    sentences, seen, first = 1, False, word
    while word < last and starts[word] < high:
        bits = kinds[word]
        if seen and word > first and bits & GAP:
            sentences += 1
            seen = False
        if bits & PERIOD:
            seen = True
        elif seen and not bits & PUNCT:
            sentences += 1
            seen = False
        word += 1
    return sentences, word - first, word


@njit(inline="always")
def _copy_line(data, start, stop, cites, cite_count, out, at):  # type: ignore[no-untyped-def]
    """Copy the bytes from `start` to `stop` without citations to out[at:]; returns the end of the copy."""
    i, k = start, 0
    while i < stop:
        if k < cite_count and cites[k, 0] < i:
            k += 1
        elif k < cite_count and cites[k, 0] == i:
            i = cites[k, 1]
        else:
            out[at] = data[i]
            at += 1
            i += 1
    return at


@njit(inline="always")
def _edit_line(edits, count, first_edit, line, start, stop, cites, cite_count):  # type: ignore[no-untyped-def]
    """Cut out of a line that stays its citations, and what stands outside `start` .. `stop`. Returns the number of edits."""
    at = line.start
    for k in range(cite_count):
        opens, closes = (cites[k, 0], cites[k, 2]), (cites[k, 1], cites[k, 3])
        if at[0] < start[0]:
            count = add_edit(edits, count, first_edit, WHITESPACE, at, opens if opens[0] < start[0] else start, 0)
        if opens[0] > stop[0]:
            if at[0] < stop[0]:
                at = stop
            count = add_edit(edits, count, first_edit, WHITESPACE, at, opens, 0)
        count = add_edit(edits, count, first_edit, CITATION, opens, closes, 0)
        at = closes
    if at[0] < start[0]:
        count = add_edit(edits, count, first_edit, WHITESPACE, at, start, 0)
        at = start
    if at[0] < stop[0]:
        at = stop
    return add_edit(edits, count, first_edit, WHITESPACE, at, line.content, 0)


@njit(inline="always")
def _strip_end(edits, count, first_edit, at, end):  # type: ignore[no-untyped-def]
    """Cut out blanks from `at`, where the text that stays ends, to `end`, also between the edits there. Returns their number.

    The new edits are written behind the others, then moved to their place.
    """
    top, k = count, count
    while k > first_edit and edits[k - 1, BYTE_START] >= at[0]:
        k -= 1
    below = k
    while k < count:
        start, stop = (edits[k, BYTE_START], edits[k, CHAR_START]), (edits[k, BYTE_END], edits[k, CHAR_END])
        rule = WHITESPACE if edits[k, NEW_BREAK] else edits[k, RULE]
        top = add_edit(edits, top, count, WHITESPACE, at, start, 0)
        top = add_edit(edits, top, count, rule, start, stop, 0)
        at = stop
        k += 1
    top = add_edit(edits, top, count, WHITESPACE, at, end, 0)
    if top <= len(edits):
        for k in range(top - count):
            edits[below + k] = edits[count + k]
        top = below + top - count
    return top


@njit(nogil=True, cache=True)
def clean_rows(row, texts, tables, tokens, out, on):  # type: ignore[no-untyped-def]
    """Go through the texts from `row` on. Returns the row for which some array has no room, with the room wanted in
    `out.want`, or the number of rows."""
    data, starts, ends = texts
    chars_table, bytes_table, steps, first_hit, hits = tables
    word_firsts, word_lasts, word_starts, word_kinds = tokens
    counts, edits, edit_ends, cites, extra_data, extra_ends, extra_rows, used, want = out
    base, edit_count, extra_count = data.ctypes.data, used[0], used[1]
    want[:] = 0
    while row < len(starts):
        first_edit, first_extra = edit_count, extra_count
        at, end = (starts[row], np.int64(0)), ends[row]
        word, last_word = word_firsts[row], word_lasts[row]
        # What is added to a byte of the row, less the white space before it, to have its place in the stream of words.
        shift = (word_starts[word] if on.spacy and word < last_word else 0) - at[0]
        page = Counts(0, 0, 0, 0, 0, 0, 0)
        before = at  # where the line before ends, and its break begins
        started, clean_end, final = False, True, at  # of the text that comes out: begun; its end so far
        spaces, most_cites = 0, 0
        more = at[0] < end or not on.every_break
        while more:
            line = _scan_line(data, base, at, end, spaces, chars_table, bytes_table, steps, first_hit, hits, cites, on)
            at, spaces, more = line.stop, line.spaces, line.more
            most_cites = max(most_cites, line.cites)
            cite_count = min(line.cites, len(cites))  # without room for all of them the row is done again
            start, stop, open_end = _own_part(line, cites, cite_count, on)
            rule, page = _hold(line, _line_rule(line, open_end, on), page, on)
            if rule != KEEP:
                if on.join and started:  # a line goes with the break before it, so that nothing is left at the end
                    edit_count = add_edit(edits, edit_count, first_edit, rule, before, line.content, 0)
                else:
                    edit_count = add_edit(edits, edit_count, first_edit, rule, line.start, line.stop, 0)
                before = line.content
                continue

            sentences, kept_words = 0, 0
            if on.marks:
                sentences = max(line.end.sentences, 1) if line.words.words else 0
            elif on.spacy and not (line.blank and on.keep_empty):
                if not cite_count:
                    low, high = line.start[0] - line.spaces_before, line.stop[0] - line.spaces
                    sentences, kept_words, word = _count_tokens(
                        word_kinds, word_starts, word, last_word, shift + low, shift + high
                    )
                else:
                    if extra_count < len(extra_rows) - 1:
                        whole = (start, stop) if on.strip_before else (line.first, line.last)
                        extra_rows[extra_count] = row
                        extra_ends[extra_count + 1] = _copy_line(
                            data, whole[0][0], whole[1][0], cites, cite_count, extra_data, extra_ends[extra_count]
                        )
                    extra_count += 1
            page = Counts(
                page.lines, page.kept_lines + 1, page.sentences + sentences, page.lorem_line, page.curly_line,
                page.javascript_line, page.kept_words + kept_words,
            )  # fmt: skip

            if on.join:
                if not started and on.strip_text and line.blank:
                    edit_count = add_edit(edits, edit_count, first_edit, WHITESPACE, line.start, line.stop, 0)
                    before = line.content
                    continue
                if not started:
                    started = True
                    if on.strip_text:
                        start = line.first
                elif line.start[0] - before[0] != 1 or data[before[0]] != NEWLINE:
                    edit_count = add_edit(edits, edit_count, first_edit, LINE_BREAK, before, line.start, 1)
                edit_count = _edit_line(edits, edit_count, first_edit, line, start, stop, cites, cite_count)
                clean_end = not (line.blank or open_end)
                if not line.blank:
                    final = line.last
            before = line.content

        if on.strip_text and started:
            text_end = (end, at[1])
            if edit_count <= len(edits) and not clean_end:
                edit_count = _strip_end(edits, edit_count, first_edit, final, text_end)
            else:
                edit_count = add_edit(edits, edit_count, first_edit, WHITESPACE, before, text_end, 0)
        if edit_count > len(edits) or most_cites > len(cites) or extra_count >= len(extra_rows):
            want[0], want[1], want[2] = edit_count, most_cites, extra_count
            used[0], used[1] = first_edit, first_extra
            return row
        edit_ends[row + 1] = edit_count
        for k in range(len(page)):
            counts[row, k] = page[k]
        row += 1
    used[0], used[1] = edit_count, extra_count
    return row
