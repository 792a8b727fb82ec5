"""The FineWeb kernel agrees with what it means in plain Python, on every code point and on arbitrary text."""

import sys
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.rules.fineweb import COUNTS, LineRules, line_counter
from curate.text.unicode.buffers import text_buffers
from curate.text.words.punctuation import TERMINAL_PUNCTUATION

RULES = {
    "ours": LineRules(TERMINAL_PUNCTUATION + "…", 30, splitlines=True, strip=True, passed="\"')»” \u00a0\u3000"),
    "datatrove": LineRules(TERMINAL_PUNCTUATION, 30),
    "fineweb": LineRules(".'\"!?", 3, blank_lines=True),
}
ENDS = {rules.ends: frozenset(rules.ends) for rules in RULES.values()}
EVERY = pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
CHARS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def column(texts: Sequence[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def counts(texts: pa.Array, rules: LineRules) -> list[dict[str, int]]:
    return [dict(zip(COUNTS, row, strict=True)) for row in line_counter(rules)(text_buffers(texts)).tolist()]


def plain_counts(text: str | None, rules: LineRules) -> dict[str, int]:
    """The definitions, word for word."""
    text = text or ""
    lines = text.splitlines() if rules.splitlines else text.split("\n")
    if rules.strip:
        lines = [line.strip() for line in lines]
    solid = [line for line in lines if line.strip()]
    counted = lines if rules.blank_lines else solid
    seen: set[str] = set()
    repeated = 0
    for line in solid:
        repeated += len(line) if line in seen else 0
        seen.add(line)
    return {
        "lines": len(counted),
        "ended_lines": sum(line.rstrip(rules.passed or "\n")[-1:] in ENDS[rules.ends] for line in counted),
        "short_lines": sum(len(line) <= rules.short_chars for line in counted),
        "repeated_chars": repeated,
        "chars": sum(map(len, lines)),
        "newlines": text.count("\n"),
    }


LINE = st.text("a.é。 '\"”»\t\u00a0\u3000", max_size=5)
BREAK = st.sampled_from(["\n", "\n", "\r\n", "\r", "\x0b", "\x85", "\u2028", "\u2029", "\n \n"])
LINES = st.lists(st.one_of(LINE, BREAK, st.sampled_from(["a line of some length, ended.", "x" * 31])), max_size=20).map("".join)


@EVERY
@settings(max_examples=300)
@given(texts=st.lists(st.one_of(st.none(), st.text(), LINES), max_size=8), data=st.data())
def test_arbitrary_texts_count_as_in_plain_python(rules: LineRules, texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    assert counts(column(texts)[start:stop], rules) == [plain_counts(text, rules) for text in texts[start:stop]]


@EVERY
def test_lines_are_cut_ended_and_measured_as_in_python_at_every_code_point(rules: LineRules) -> None:
    texts = ["".join(f"{char}a.{char}\n{char}\n" for char in CHARS[start : start + 64]) for start in range(0, len(CHARS), 64)]
    assert counts(column(texts), rules) == [plain_counts(text, rules) for text in texts]


@EVERY
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\r\n\x85\u2028 \t",
        "a\n" * 300_000,
        "\n".join(map(str, range(300_000))),
        "x" * 5_000_000,
        "x" * 2_000_000 + "\n" + "x" * 2_000_000,
        "中" * 1_000_000,
        " " * 3_000_000 + "\n" + "." + " " * 3_000_000,
        ". ' " * 500_000,
        "\u3000\n" * 200_000,
        "\r\n" * 200_000,
        "\u2028\u2027" * 200_000,
        "\U0010ffff",
    ],
    ids=lambda text: repr(text[:8]) + f"*{len(text)}",
)
def test_hostile_texts_count_as_in_plain_python(rules: LineRules, text: str) -> None:
    expected = [plain_counts(each, rules) for each in ("one\none", text, "one\none")]
    assert counts(column(["one\none", text, "one\none"]), rules) == expected


@EVERY
def test_a_line_is_no_copy_of_one_in_another_text(rules: LineRules) -> None:
    texts = ["same line\nother", "same line", "same line\nsame line"]
    assert [row["repeated_chars"] for row in counts(column(texts), rules)] == [0, 0, 9]


@EVERY
def test_a_million_equal_or_distinct_lines_take_time_in_proportion(rules: LineRules) -> None:
    counter = line_counter(rules)
    for line in ("a\n", "{}\n"):
        seconds = []
        for size in (100_000, 1_000_000):
            texts = text_buffers(column(["".join(line.format(number) for number in range(size))]))
            counter(texts)
            started = time.thread_time()
            counter(texts)
            seconds.append(time.thread_time() - started)
        assert seconds[1] < 60 * max(seconds[0], 0.001)


def test_an_array_of_no_rows_and_one_of_nulls_have_no_lines() -> None:
    rules = RULES["datatrove"]
    assert counts(pa.array([], pa.large_string()), rules) == []
    assert counts(pa.nulls(2, pa.large_string()), rules) == [plain_counts(None, rules)] * 2
    assert counts(pa.array(["a\na", None]), rules) == [plain_counts("a\na", rules), plain_counts(None, rules)]


def test_the_bytes_behind_a_null_row_are_not_read() -> None:
    _, offsets, data = column(["hidden\nline", "seen"]).buffers()
    texts = pa.Array.from_buffers(pa.large_string(), 2, [pa.py_buffer(b"\x02"), offsets, data])
    assert counts(texts, RULES["ours"]) == [plain_counts(None, RULES["ours"]), plain_counts("seen", RULES["ours"])]


@EVERY
def test_malformed_utf8_reads_nothing_outside_its_row(rules: LineRules) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 8192, np.uint8).tobytes()
    broken = pa.Array.from_buffers(pa.large_string(), 2048, [None, pa.py_buffer(np.arange(0, 8193, 4)), pa.py_buffer(noise)])
    alone = [
        counts(pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer(np.array([0, 4])), pa.py_buffer(piece)]), rules)
        for piece in (noise[start : start + 4] for start in range(0, 8192, 4))
    ]
    assert counts(broken, rules) == [row for rows in alone for row in rows]
    pieces = [b"a\xe2\x80", b"\xa8b", b"a\xc2", b"\x85b", b"\x80" * 40]
    ends = np.cumsum([0, *map(len, pieces)])
    cut = pa.Array.from_buffers(pa.large_string(), len(pieces), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(pieces))])
    assert all(row["lines"] == 1 for row in counts(cut, rules))
