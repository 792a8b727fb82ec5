"""The published executor of cleanup programs, held against a record of what the published code was seen to do (ProX).

The numbers are those of the 32 rows of that record. Texts are ten lines of eight words if nothing else is said.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.prox.published_executor import MAX_GROWTH, ROOM_CHARS, published_decision, run_published

LINES = [f"line {number} has some words of text here" for number in range(10)]
TEXT = "\n".join(LINES)
FORTY = [f"line {number} has some words of text here" for number in range(40)]
SHORT = "five words and no more"
TOP = "remove_lines(line_start=0, line_end=2)"
URL = "http://a.com/?p=12&q=3"


def joined(*lines: str) -> str:
    return "\n".join(lines)


def marked(mark: str) -> str:
    return TEXT.replace("words", f"words {mark}")


def words(*counts: int) -> str:
    return "\n".join(" ".join(["word"] * count) for count in counts)


# Row, why, text, program, what is left, errors.
GOLDEN: list[tuple[int, str, str, str, str, int]] = [
    (1, "both ends are included", TEXT, TOP, joined(*LINES[3:]), 0),
    (2, "any keyword is one", TEXT, "remove_lines(start=1, end=1)", joined(LINES[0], *LINES[2:]), 0),
    (3, "numbers without keywords are not read", TEXT, "remove_lines(0, 2)", TEXT, 1),
    (4, "a call behind a blank is none", TEXT, f"keep_chunk()\n {TOP}", TEXT, 0),
    (5, "a call that was cut off is two errors", TEXT, f"{TOP}\nremove_lines(line_start=5, line_en", TEXT, 2),
    (6, "a call without its parenthesis is two errors", TEXT, "remove_lines(line_start=0, line_end=2", TEXT, 2),
    (7, "or loses a digit", joined(*FORTY), "remove_lines(line_start=0, line_end=25", joined(*FORTY[3:]), 1),
    (8, "a name that was cut off is nothing", TEXT, f"{TOP}\nremove_li", joined(*LINES[3:]), 0),
    (9, "lines that are not there", TEXT, "remove_lines(line_start=50, line_end=60)", TEXT, 1),
    (10, "lines some of which are there", TEXT, "remove_lines(line_start=8, line_end=60)", joined(*LINES[:8]), 1),
    (11, "an end before the start", TEXT, "remove_lines(line_start=5, line_end=2)", TEXT, 0),
    (12, "a negative start", TEXT, "remove_lines(line_start=-3, line_end=2)", joined(*LINES[3:]), 0),
    (13, "all lines", TEXT, "remove_lines(all=True)", "", 0),
    (14, "eight words left", TEXT, "remove_lines(line_start=0, line_end=8)", "", 0),
    (15, "all occurrences", TEXT, 'normalize(source_str="has ", target_str="")', TEXT.replace("has ", ""), 0),
    (16, "a comma in the source", marked("a,b"), 'normalize(source_str="a,b", target_str="")', marked("a,b"), 0),
    (17, "= in the source", marked("a=b"), 'normalize(source_str="a=b", target_str="")', marked("a=b").replace("a", ""), 0),
    (18, "a URL", marked(URL), f'normalize(source_str="{URL}", target_str="")', marked("=12&q=3"), 0),
    (19, ") in the source", marked("(x)"), 'normalize(source_str="words (x)", target_str="")',
     marked("(x)").replace("words (x", ""), 0),
    (20, "single quotes are part of it", TEXT, "normalize(source_str='has ', target_str='')", TEXT, 0),
    (21, "all blanks deleted", TEXT, 'normalize(source_str=" ")', "", 0),
    (22, "a source that does not occur", TEXT, 'normalize(source_str="zzz", target_str="")', TEXT, 0),
    (23, "no change by the released model", TEXT, "untouch_doc()", TEXT, 0),
    (23, "no change by the paper", TEXT, "keep_chunk()", TEXT, 0),
    (23, "an empty program", TEXT, "", TEXT, 0),
    (23, "prose", TEXT, "I would remove_lines 0 to 2.", TEXT, 0),
    (24, "a short text that nothing was done to", SHORT, "keep_chunk()", "", 0),
    (25, "a short text and two errors", SHORT, "remove_lines(0)\nremove_lines(1)", "", 2),
    (26, "two errors and a valid call", TEXT, f"remove_lines(0)\n{TOP}\nnormalize(has)", TEXT, 2),
    (27, "ranges that share lines are one error", TEXT,
     "remove_lines(start=50, end=60)\nremove_lines(start=51, end=61)", TEXT, 1),
    (28, "others are two", TEXT, f"remove_lines(start=50, end=60)\nremove_lines(start=70, end=80)\n{TOP}", TEXT, 2),
    (29, "a name that goes on", TEXT, "remove_lines_foo(line_start=0, line_end=2)", joined(*LINES[3:]), 0),
    (30, "a comment", TEXT, f"# the menu\n{TOP}", joined(*LINES[3:]), 0),
    (32, "ten words of 200 left", words(190, 10), "remove_lines(start=0, end=0)", "", 0),
    (32, "eleven words of 200 left", words(189, 11), "remove_lines(start=0, end=0)", words(11), 0),
]  # fmt: skip


@pytest.mark.parametrize(("row", "why", "text", "program", "left", "num_errors"), GOLDEN)
def test_programs_do_what_the_published_code_was_seen_to_do(
    row: int, why: str, text: str, program: str, left: str, num_errors: int
) -> None:
    assert run_published(text, program)[1:] == (left, num_errors)


@pytest.mark.parametrize("text", [" \n\t\n", ""])
def test_row_31_a_text_without_words_is_an_exception(text: str) -> None:
    with pytest.raises(ZeroDivisionError):
        run_published(text, "keep_chunk()")


def test_every_row_of_the_record_is_here() -> None:
    assert sorted({row for row, *_ in GOLDEN} | {31}) == list(range(1, 33))


def test_the_words_of_the_rows_that_count_them() -> None:
    assert [len(run_published(TEXT, GOLDEN[row - 1][3])[0].split()) for row in (1, 14, 15, 21)] == [56, 8, 70, 10]


@pytest.mark.parametrize(
    ("why", "program", "edited", "num_errors"),
    [
        ("strings are replaced before lines are removed", f'{TOP}\nnormalize(source_str="line 3", target_str="x")',
         joined(LINES[3].replace("line 3", "x"), *LINES[4:]), 0),
        ("one replacement is made after the other",
         'normalize(source_str="line 3", target_str="xyz")\nnormalize(source_str="xyz has", target_str="")',
         TEXT.replace("line 3 has", ""), 0),
        ("a blank is not replaced, only deleted", 'normalize(source_str=" ", target_str="_")', TEXT, 0),
        ("an empty source is not replaced", 'normalize(source_str="", target_str="_")', TEXT, 0),
        ("escapes are not read", r'normalize(source_str="\x68as", target_str="")', TEXT, 0),
        ("a target is cut at = too", 'normalize(source_str="line 3", target_str="a=b")', TEXT.replace("line 3", "a"), 0),
        ("strings without keywords are not read", 'normalize("has", "")', TEXT, 1),
        ("a string without its parenthesis loses its quote", 'normalize(source_str="has "', TEXT.replace("has ", ""), 1),
        ("a string without any", "normalize", TEXT, 1),
        ("lines without any", "remove_lines", TEXT, 1),
        ("a third number is not read", "remove_lines(start=0, end=2, x=9)", joined(*LINES[3:]), 0),
        ("an end before the first line", "remove_lines(start=-5, end=-2)", TEXT, 0),
        ("ranges that touch are merged before they are held against the last line: one error",
         "remove_lines(start=50, end=60)\nremove_lines(start=61, end=70)", TEXT, 1),
        ("ranges that touch at the last line are one error too",
         "remove_lines(start=8, end=9)\nremove_lines(start=10, end=12)", joined(*LINES[:8]), 1),
        ("ranges with a line between them are two errors", "remove_lines(start=50, end=60)\nremove_lines(start=62, end=70)",
         TEXT, 2),
        ("ranges of equal start are merged in the order of the program, the longer one first",
         "remove_lines(start=50, end=60)\nremove_lines(start=50, end=40)", TEXT, 1),
        ("or not merged, the reversed one first", "remove_lines(start=50, end=40)\nremove_lines(start=50, end=60)", TEXT, 2),
        ("all=True is no range that others are merged with", "remove_lines(all=True)\nremove_lines(start=10, end=3)", "", 1),
        ("a line with all=True anywhere", "remove_lines(start=0, end=1) # all=True", "", 0),
        ("errors of ranges and of calls are added up", "remove_lines(x)\nremove_lines(start=8, end=60)", joined(*LINES[:8]), 2),
    ],
)  # fmt: skip
def test_what_the_record_says_in_words(why: str, program: str, edited: str, num_errors: int) -> None:
    assert run_published(TEXT, program)[::2] == (edited, num_errors)


@pytest.mark.parametrize(
    ("why", "program", "edited", "final", "num_errors"),
    [
        ("the call behind a blank is executed for the final text, not for the edits", f" {TOP}", TEXT, joined(*LINES[3:]), 0),
        ("its errors are counted neither", f"  remove_lines(0)\nremove_lines(1)\n{TOP}", joined(*LINES[3:]), TEXT, 1),
        ("a tabulator is not stripped", f"\t{TOP}", TEXT, TEXT, 0),
        ("blanks before later calls are not stripped", f"keep_chunk()\n {TOP}", TEXT, TEXT, 0),
        ("a blank at the end is lost in place of a digit, but for the final text it is stripped",
         "remove_lines(start=0, end=12 ", "", joined(*LINES[2:]), 2),
    ],
)  # fmt: skip
def test_blanks_around_a_program_are_stripped_for_the_final_text(
    why: str, program: str, edited: str, final: str, num_errors: int
) -> None:
    assert run_published(TEXT, program) == (edited, final, num_errors)


@pytest.mark.parametrize(
    ("why", "before", "after", "errors", "left"),
    [
        ("exactly one twentieth of the words", 400, 20, 0, ""),
        ("one word more", 400, 21, 0, words(21)),
        ("one twentieth and one error", 400, 20, 1, ""),
        ("one twentieth and two errors: given up instead", 400, 20, 2, words(380, 20)),
        ("ten words and two errors: dropped first", 400, 10, 2, ""),
        ("eleven words and two errors", 200, 11, 2, words(189, 11)),
        ("eleven words and one error", 200, 11, 1, words(11)),
    ],
)
def test_guards(why: str, before: int, after: int, errors: int, left: str) -> None:
    program = "\n".join(["remove_lines(start=0, end=0)"] + ["remove_lines(x)"] * errors)
    assert run_published(words(before - after, after), program) == (words(after), left, errors)


def test_huge_ranges_take_no_time() -> None:
    started = time.process_time()
    assert run_published(TEXT, f"remove_lines(start=3, end={10**4000})") == (joined(*LINES[:3]), joined(*LINES[:3]), 1)
    assert run_published(TEXT, f"remove_lines(start=-{10**4000}, end=0)") == (joined(*LINES[1:]), joined(*LINES[1:]), 0)
    assert time.process_time() - started < 0.1


def test_a_text_that_would_grow_without_end_does_not() -> None:
    """Eight lines would make it 20**8 times as long."""
    edited, _, num_errors = run_published(TEXT, "\n".join(['normalize(source_str="e", target_str="' + 20 * "e" + '")'] * 8))
    assert edited == TEXT.replace("e", "e" * 20**3)
    assert num_errors == 5
    assert len(edited) < MAX_GROWTH * len(TEXT) + ROOM_CHARS < 20 * len(edited)


@given(st.text(), st.lists(st.text("remove_lines(start=01-9,all=True)normalize\"' \n") | st.text(), max_size=4))
def test_no_program_raises(text: str, lines: list[str]) -> None:
    edited, final, _ = run_published(f"word {text}", "\n".join(f"normalize{line}\nremove_lines{line}" for line in lines))
    assert final in ("", f"word {text}", edited)


@given(st.lists(st.tuples(st.integers(-3, 14), st.integers(-3, 14)), max_size=5))
def test_lines_are_removed_as_by_a_set_of_their_numbers(ranges: list[tuple[int, int]]) -> None:
    program = "\n".join(f"remove_lines(start={first}, end={last})" for first, last in ranges)
    gone = {line for first, last in ranges for line in range(first, last + 1)}
    assert run_published(TEXT, program)[0] == joined(*(line for number, line in enumerate(LINES) if number not in gone))


@pytest.mark.parametrize(
    ("output", "kept"),
    [("keep_doc()", True), ("drop_doc()", False), ("Drop_doc()", True), ("a dropdown menu", False), ("", True), ("?", True)],
)
def test_a_document_is_dropped_by_the_word_drop(output: str, kept: bool) -> None:
    assert published_decision(output) is kept
