"""The C4 kernel agrees with what it means in plain Python, for every profile and with rules off, on arbitrary text."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.api.batch import apply_edits as apply_to_one
from curate.schema import EDITS_TYPE
from curate.stages.filters.c4_quality import CLOSERS, C4Quality
from curate.text.rules.c4 import COUNTS, Cleaner, c4_cleaner, count_sentences
from curate.text.rules.c4_chars import (
    BREAK,
    CLOSER,
    CURLY,
    DIGIT,
    LINE_END,
    OPEN,
    POLICY,
    SPACE,
    build_phrases,
    character_table,
)
from curate.text.rules.c4_edits import EDIT_RULES, CleanedText, apply_edits, edit_column
from curate.text.unicode.buffers import TextBuffers, text_buffers
from curate.text.words.punctuation import SENTENCE_ENDS, TERMINAL_PUNCTUATION
from curate.text.words.types import GAP, PERIOD, PUNCT, Words

CHARS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
"""A text with this word is cut as if it were not there, as by spaCy."""


def tokens_of(text: str) -> list[tuple[str, bool]]:
    """Words cut at punctuation, each with whether white space other than one blank stands before it and something before
    that. They are not spaCy's: sentences are counted from any tokens."""
    found: list[tuple[str, bool]] = []
    for match in re.finditer(r"\w+|[^\w\s]", text):
        before = text[: match.start()]
        space = before[len(before.rstrip()) :]
        found.append((match[0], bool(found) and space not in ("", " ")))
    return found


def cut_words(texts: TextBuffers) -> Words:
    rows = [bytes(texts.data[start:end]).decode() for start, end in zip(texts.starts, texts.ends, strict=True)]
    tokens = [tokens_of(row) for row in rows]
    flat = [token for row in tokens for token in row]
    lengths = [len(word.encode()) for word, _ in flat]
    lasts = np.cumsum([len(row) for row in tokens], dtype=np.int64)
    kinds = [
        (PUNCT if all(unicodedata.category(char)[0] == "P" for char in word) else 0)
        | (PERIOD if word in SENTENCE_ENDS else 0)
        | (GAP if gap else 0)
        for word, gap in flat
    ]
    return Words(
        firsts=np.concatenate([np.zeros(1, np.int64), lasts[:-1]])[: len(rows)],
        lasts=lasts,
        stream=np.frombuffer("".join(word for word, _ in flat).encode(), np.uint8),
        starts=np.cumsum([0, *lengths], dtype=np.int32),
        chars=np.zeros(len(flat) + 1, np.int32),
        hashes=np.zeros(len(flat), np.uint64),
        kinds=np.array(kinds, np.uint8),
    )


def plain_spacy_sentences(line: str) -> int:
    """spaCy's sentencizer over the tokens of a line, blank ones among them."""
    tokens = []
    for match in re.finditer(r"\w+|[^\w\s]|\s+", line):
        token = match[0]
        if token.isspace() and match.start() and token[0] == " ":
            token = token[1:]  # the first blank after a word belongs to the word
        if token:
            tokens.append(token)
    count, seen = 1, False
    for token in tokens:
        ends = token in SENTENCE_ENDS
        if seen and not ends and not all(unicodedata.category(char)[0] == "P" for char in token):
            count, seen = count + 1, False
        elif ends:
            seen = True
    return count


def plain_sentences(line: str) -> int:
    ends = re.escape(TERMINAL_PUNCTUATION + "…")
    free = re.escape("".join(char for char in TERMINAL_PUNCTUATION if not char.isascii()))
    line = "".join(char for char in line if char not in CLOSERS)
    pieces = re.split(rf"[{free}]|(?<=[{ends}])\s", line)
    return sum(re.search(rf"[^\s{ends}]", piece) is not None for piece in pieces)


def plain_ended(line: str, cleaner: Cleaner) -> bool:
    if cleaner.strip == "before" and line != line.rstrip():
        return False
    while line and (line[-1].isspace() or line[-1] in cleaner.closers):
        line = line[:-1]
    return line != "" and line[-1] in cleaner.line_ends and (cleaner.ellipsis_ends or not line.endswith("..."))


def plain_clean(text: str | None, cleaner: Cleaner) -> tuple[dict[str, int], str]:
    """The definitions, word for word."""
    text = text or ""
    counts, kept = dict.fromkeys(COUNTS[:-1], 0), []
    lines = text.splitlines() if cleaner.lines == "splitlines" else text.split("\n")
    flags = re.IGNORECASE if cleaner.any_case else 0
    for number, whole in enumerate(lines, 1):
        line = whole if cleaner.strip == "none" else whole.strip()
        before = line.split()
        if cleaner.citations:
            line = re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", line)
        line = line.strip() if cleaner.strip == "after" else line
        after = line.split()
        low = line if cleaner.any_case else line.lower()
        keep = True
        words = before if cleaner.whole_words != "none" else after
        if cleaner.max_word_chars is not None and any(len(word) > cleaner.max_word_chars for word in words):
            keep = False
        elif not (cleaner.keep_empty and not line):
            words = before if cleaner.whole_words == "all" else after
            keep = not cleaner.terminal_punctuation or plain_ended(line, cleaner)
            keep = keep and len(words) >= (cleaner.min_line_words or 0)
        if keep or cleaner.raw:
            if cleaner.lorem_ipsum and "lorem ipsum" in line.lower():
                counts["lorem_ipsum_line"] = counts["lorem_ipsum_line"] or number
            if cleaner.javascript == "document" and "javascript" in line.lower().split():
                counts["javascript_line"] = counts["javascript_line"] or number
            if cleaner.javascript == "line" and re.search("javascript", low, flags):
                keep = False
            elif cleaner.curly_bracket and "{" in line:
                counts["curly_bracket_line"] = counts["curly_bracket_line"] or number
            if cleaner.policy and re.search("|".join(POLICY), low, flags):
                keep = False
        if keep:
            kept.append(whole + "\n" * (number < len(lines)) if not cleaner.join else line)
            if cleaner.sentences == "spacy" and not (cleaner.keep_empty and not line.strip()):
                counts["sentences"] += plain_spacy_sentences(line if cleaner.strip == "before" else line.strip())
            elif cleaner.sentences == "marks" and after:
                counts["sentences"] += max(plain_sentences(line), 1)
    counts["lines"], counts["kept_lines"] = len(lines), len(kept)
    if not cleaner.join:
        return counts, "".join(kept)
    return counts, "\n".join(kept).strip() if cleaner.strip_text else "\n".join(kept)


_cleaners: dict[Cleaner, Any] = {}


def clean(texts: pa.Array, cleaner: Cleaner) -> CleanedText:
    run = _cleaners.setdefault(cleaner, None) or c4_cleaner(cleaner, cut_words)
    _cleaners[cleaner] = run
    buffers = text_buffers(texts)
    cleaning: CleanedText = run(buffers, cut_words(buffers) if cleaner.sentences == "spacy" else None)
    return cleaning


def cleaned(texts: pa.Array, cleaner: Cleaner) -> list[tuple[dict[str, int], str]]:
    """Counts and new text per row, having checked that the edits are in order and lead there."""
    cleaning = clean(texts, cleaner)
    where = np.diff(cleaning.edit_ends) > 0
    news = apply_edits(texts, cleaning, where)
    news.validate(full=True)
    assert news.is_valid().equals(texts.is_valid())
    rows = edit_column(cleaning, where, EDITS_TYPE)
    rows.validate(full=True)
    for old, new, edits in zip(texts.to_pylist(), news.to_pylist(), rows.to_pylist(), strict=True):
        check_edits(old or "", new or "", edits)
    counts = [dict(zip(COUNTS, row, strict=True)) for row in cleaning.counts.tolist()]
    for count, words in zip(counts, cut_words(text_buffers(news)).counts.tolist(), strict=True):
        kept = count.pop("kept_words")
        assert cleaner.sentences != "spacy" or kept == words
    return list(zip(counts, [new or "" for new in news.to_pylist()], strict=True))


def check_edits(old: str, new: str, edits: list[dict[str, Any]] | None) -> None:
    assert (edits is None) == (old == new)
    edits = edits or []
    assert apply_to_one(old, edits) == new
    for edit in edits:
        removed = old[edit["start"] : edit["end"]]
        assert removed and edit["rule"] in EDIT_RULES
        assert edit["rule"] != "line_break" or (removed.splitlines() == [""] and edit["replacement"] == "\n")
        assert edit["rule"] not in ("blank_line", "whitespace") or edits_a_mark(removed) or removed.isspace()
        assert edit["rule"] == "line_break" or edit["replacement"] == ""
    for one, two in pairwise(edits):
        assert one["end"] <= two["start"]
        assert one["end"] < two["start"] or one["rule"] != two["rule"] or one["replacement"]


def edits_a_mark(removed: str) -> bool:
    """A line of citations only is blank without them."""
    return re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", removed).strip() == ""


def column(texts: Sequence[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


@cache
def cleaner(profile: Any, **options: Any) -> Cleaner:
    return C4Quality(profile=profile, **{"values": True, **options}).cleaner


CLEANERS = {
    "ours": cleaner("ours"),
    "ours, lines kept": cleaner("ours", terminal_punctuation=False),
    "ours, blank lines kept": cleaner("ours", terminal_punctuation=False, min_line_words=None, citations=False),
    "ours, short words": cleaner("ours", max_word_chars=3, min_line_words=1),
    "datatrove": cleaner("datatrove-0.10"),
    "datatrove, as in FineWeb": cleaner("datatrove-0.10", terminal_punctuation=False),
    "datatrove, blank lines kept": cleaner("datatrove-0.10", terminal_punctuation=False, min_line_words=0),
    "datatrove, short words": cleaner("datatrove-0.10", terminal_punctuation=False, max_word_chars=8, min_line_words=2),
    "datatrove, one rule": cleaner(
        "datatrove-0.10", terminal_punctuation=False, min_line_words=None, citations=False, policy=False, javascript=False
    ),
    "dclm": cleaner("dclm"),
    "dclm, lines kept": cleaner("dclm", terminal_punctuation=False, min_line_words=1, max_word_chars=8),
    "dclm, not stripped": cleaner("dclm", terminal_punctuation=False, min_line_words=2, javascript=False, policy=None),
    "dolma": cleaner("dolma-1.6"),
    "dolma, short lines kept": cleaner("dolma-1.6", min_line_words=None),
}
EACH = pytest.mark.parametrize("rules", CLEANERS.values(), ids=CLEANERS)

PIECES = [
    *"ab1 .!?…\"')[]{«»。। ",
    "\n", "\n", "\n", "\r", "\r\n", "\x0b", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", "  ",
    "...", ".)", "[1]", "[]", "[edit]", "[citation needed]", "[citation", "[٣]", "[1", "[[2]", "[𝟙]",
    "lorem ipsum", "Lorem Ipsum", "javascript", "JavaScript", "terms of use", "privacy policy", "cookie policy",
    "uses cookies", "use of cookies", "use cookies", "use of use cookies", "javajavascript", "ſ", "ı", "İ", "\u212a",
    "use coo\u212aies", "javaſcript", "javascrİpt", "pr\u0131vacy policy", "one two three", "four five six.",
    "seven eight nine.\n", "ten eleven twelve thirteen fourteen!\n", "word " * 3, "é中😀",
]  # fmt: skip
TEXTS = st.lists(st.one_of(st.none(), st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)), max_size=6)


@EACH
@settings(max_examples=400)
@given(TEXTS, st.data())
def test_arbitrary_texts_are_cleaned_as_in_plain_python(rules: Cleaner, texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    assert cleaned(column(texts)[start:stop], rules) == [plain_clean(text, rules) for text in texts[start:stop]]


def table_of(rules: Cleaner, letters: dict[str, int]) -> npt.NDArray[np.uint16]:
    ends = {"line_ends": rules.line_ends, "sentence_ends": rules.sentence_ends, "closers": rules.closers}
    return character_table(letters, every_break=rules.lines == "splitlines", **ends)


def test_every_code_point_is_of_the_kinds_python_says() -> None:
    table = table_of(CLEANERS["ours"], build_phrases(False).letters)

    def having(bit: int) -> str:
        return "".join(char for char in CHARS if table[ord(char)] & bit)

    text = "".join(CHARS)
    assert having(SPACE) == "".join(filter(str.isspace, CHARS))
    assert [*having(BREAK)] == [line[-1] for line in text.splitlines(keepends=True)[:-1]]
    assert having(DIGIT) == "".join(re.findall(r"\d", text))
    assert set(having(LINE_END)) == set(TERMINAL_PUNCTUATION)
    assert (set(having(CLOSER)), having(OPEN), having(CURLY)) == (set(CLOSERS), "[", "{")


def test_every_code_point_has_the_letter_of_its_lower_case() -> None:
    letters = build_phrases(False).letters
    table = table_of(CLEANERS["ours"], letters)
    assert [table[ord(char)] >> 9 for char in CHARS] == [letters.get(char.lower(), 0) for char in CHARS]


SPECIAL = [
    char for char in CHARS if char.isspace() or char.isdecimal() or char in TERMINAL_PUNCTUATION + CLOSERS + "[{ſıİ\u212a"
]


@EACH
def test_every_special_character_is_taken_as_in_plain_python(rules: Cleaner) -> None:
    """As a line break, a blank, a mark, a digit and a letter."""
    for form in ("one two three{}four five six{}", "[{}] one two three.\n {} [1]", "use coo{}ies now.", "java{}cript is on."):
        texts = [form.replace("{}", char) for char in SPECIAL]
        assert cleaned(column(texts), rules) == [plain_clean(text, rules) for text in texts], form


def test_only_two_characters_outside_ascii_have_an_ascii_letter_in_lower_case() -> None:
    found = {char: char.lower() for char in CHARS if not char.isascii() and any(map(str.isascii, char.lower()))}
    assert found == {"\u212a": "k", "\u0130": "i\u0307"}


def test_ignoring_case_takes_four_characters_outside_ascii_for_ascii_letters() -> None:
    letters = "".join(sorted(set("".join(POLICY) + "javascript")))
    found = {(char, letter) for letter in letters for char in re.findall(f"(?i){letter}", "".join(CHARS)) if not char.isascii()}
    assert found == {("\u0130", "i"), ("\u0131", "i"), ("\u017f", "s"), ("\u212a", "k")}


@pytest.mark.parametrize("any_case", [False, True])
def test_the_automaton_has_room_for_its_letters(any_case: bool) -> None:
    phrases = build_phrases(any_case)
    assert max(phrases.letters.values()) < 64
    assert phrases.steps.max() < len(phrases.steps)


HOSTILE = [
    "",
    " ",
    "\n\r\n\x85\u2028 \t",
    "." * 1000,
    "a" * 2_000_000,
    "中" * 1_000_000,
    "[" * 1_000_000,
    "[1" * 500_000,
    "[1]" * 100_000,
    "[citation needed" * 50_000,
    "use" * 1_000_000,
    "a\n" * 30_000,
    "\n" * 30_000,
    "a b c.\r\n" * 20_000,
    " a b [1] c. \r" * 20_000,
    "\x00",
    "\ufeffone two three.",
    "\U0010ffff",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:8]) + f"*{len(text)}")
@pytest.mark.parametrize("name", ["ours", "ours, blank lines kept", "datatrove", "dclm, lines kept", "dolma"])
def test_hostile_texts_are_cleaned_as_in_plain_python(name: str, text: str) -> None:
    sentences: Any = "marks" if name.startswith("ours") else None  # the plain tokens take quadratic time
    rules = replace(CLEANERS[name], sentences=sentences)
    texts = ["one two three.", text, "one two three!"]
    assert cleaned(column(texts), rules) == [plain_clean(row, rules) for row in texts]


@EACH
def test_only_edited_rows_change_and_null_stays_null(rules: Cleaner) -> None:
    texts = column(["a b c d e\nf g h i j.\n", None, "a\nb\n", ""])
    cleaning = clean(texts, rules)
    nowhere = np.zeros(4, np.bool_)
    assert apply_edits(texts, cleaning, nowhere).to_pylist() == texts.to_pylist()
    assert edit_column(cleaning, nowhere, EDITS_TYPE).to_pylist() == [None] * 4


def test_an_array_of_no_rows_and_one_of_nulls_have_no_lines() -> None:
    rules = CLEANERS["ours"]
    assert cleaned(pa.array([], pa.large_string()), rules) == []
    assert cleaned(pa.nulls(2, pa.large_string()), rules) == [plain_clean(None, rules)] * 2


@EACH
def test_malformed_utf8_reads_nothing_outside_its_row(rules: Cleaner) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 4096, np.uint8)
    noise[noise == ord("\n")] = 0xF0
    offsets = np.arange(0, 4097, 4)
    broken = pa.Array.from_buffers(pa.large_string(), 1024, [None, pa.py_buffer(offsets), pa.py_buffer(noise.tobytes())])
    words = cut_words(text_buffers(column(["a b. c" * 3] * 1024)))  # as wrong as can be
    cleaning = c4_cleaner(rules, lambda texts: words)(text_buffers(broken), words)
    spans = cleaning.edits[:, 1:3]
    rows = np.repeat(np.arange(1024), np.diff(cleaning.edit_ends))
    assert (spans[:, 0] >= offsets[rows]).all() and (spans[:, 1] <= offsets[rows + 1]).all()


def test_sentences_of_a_line_are_counted_as_in_plain_python() -> None:
    lines = ["", " ", "a.", "a. ", "a.  ", "a.\xa0", "a. b", "a.\tb", "a.\t.", "a.) b", " a", "。"]
    texts = text_buffers(column(lines))
    assert count_sentences(texts, cut_words(texts)).tolist() == [plain_spacy_sentences(line) for line in lines]
