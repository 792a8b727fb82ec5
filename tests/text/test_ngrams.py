"""Repeated n-grams are counted as each implementation says, in plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.rules.repetition_ngrams import Counting, NgramCounter
from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words

WAYS = {
    "datatrove": Counting(blanks=True, ties="first", once=True, repeated="jump"),
    "dclm": Counting(blanks=False, ties="longest", once=False, repeated="union"),
    "dolma": Counting(blanks=False, ties="first", once=True, repeated="share"),
}


def measured(texts: Sequence[str | None], how: Counting) -> list[tuple[list[int], list[int]]]:
    words = cut_words(text_buffers(pa.array(texts, pa.large_string())), "whitespace")
    parts, wholes = NgramCounter(how)(words)
    return list(zip(parts.tolist(), wholes.tolist(), strict=True))


def plain(text: str | None, how: Counting) -> tuple[list[int], list[int]]:
    """What each way of counting means."""
    words = (text or "").split()
    tops = [plain_top(words, n, how) for n in (2, 3, 4)]
    pairs = [plain_repeated(words, n, how) for n in range(5, 11)]
    return [*tops, *(part for part, _ in pairs)], [0, 0, 0, *(whole for _, whole in pairs)]


def n_grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def length(words: Sequence[str]) -> int:
    return sum(map(len, words))


def plain_top(words: list[str], n: int, how: Counting) -> int:
    counts = Counter(n_grams(words, n)).most_common()
    if not counts or (counts[0][1] == 1 and not how.once):
        return 0
    most = counts[0][1]
    best = counts[0][0] if how.ties == "first" else max((gram for gram, count in counts if count == most), key=length)
    return most * (length(best) + (n - 1 if how.blanks else 0))


def plain_repeated(words: list[str], n: int, how: Counting) -> tuple[int, int]:
    grams = n_grams(words, n)
    counts = Counter(grams)
    if how.repeated == "union":
        places = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
        return sum(len(words[i]) for i in places), 0
    if how.repeated == "share":
        return sum(length(gram) for gram in grams if counts[gram] > 1), sum(map(length, grams))
    seen: set[str] = set()
    chars = i = 0
    while i <= len(words) - n:
        joined = "".join(words[i : i + n])
        if joined in seen:
            chars += len(joined)
            i += n
        else:
            seen.add(joined)
            i += 1
    return chars, 0


# Few words, and words that join to the same letters in several ways: "ab c" and "a bc".
WORDS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab", "é", "中文", "longer-word", "eighteen-characters"]), max_size=60)
TEXTS = st.one_of(
    st.none(), WORDS.map(" ".join), st.text(), st.tuples(WORDS, st.integers(1, 4)).map(lambda p: " ".join(p[0] * p[1]))
)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=400)
@given(st.lists(TEXTS, max_size=5))
def test_arbitrary_texts_count_as_in_plain_python(way: str, texts: list[str | None]) -> None:
    assert measured(texts, WAYS[way]) == [plain(text, WAYS[way]) for text in texts]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "text",
    ["", "one", "a " * 3000, "a b " * 3000, "word" * 100_000, " ".join(map(str, range(20_000))), "ab a b ab " * 500],
    ids=lambda text: repr(text[:6]) + f"*{len(text)}",
)
def test_long_and_monotonous_texts_count_as_in_plain_python(way: str, text: str) -> None:
    assert measured(["a b", text, "b a"], WAYS[way]) == [plain(one, WAYS[way]) for one in ("a b", text, "b a")]


def test_a_text_says_nothing_about_the_next() -> None:
    """One table serves all texts: what a text left there must not count for another."""
    counter = NgramCounter(WAYS["datatrove"])
    words = cut_words(text_buffers(pa.array(["a b c d e f g"] * 50, pa.large_string())), "whitespace")
    first, again = counter(words)[0].tolist(), counter(words)[0].tolist()
    assert first == again == [plain("a b c d e f g", WAYS["datatrove"])[0]] * 50
